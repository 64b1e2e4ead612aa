//go:build !race

package meettest

const raceEnabled = false
