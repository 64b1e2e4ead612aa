//go:build race

package datagram

// raceEnabled says that allocation counts mean nothing.
const raceEnabled = true
