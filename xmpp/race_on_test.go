//go:build race

package xmpp

// raceEnabled skips what counts allocations: the race detector allocates, too.
const raceEnabled = true
