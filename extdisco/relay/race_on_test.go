//go:build race

package relay

// raceEnabled says that allocation counts mean nothing.
const raceEnabled = true
