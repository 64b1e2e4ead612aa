//go:build race

package transport

// raceEnabled: the race detector makes sync.Pool forget at random.
const raceEnabled = true
