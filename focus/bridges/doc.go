// Package bridges knows the bridges of a fleet and picks one for a participant.
//
// Rules of this package:
//   - It is pure: the time is an argument, nothing is sent, nothing waits.
//   - A Fleet is used on one goroutine or under its owner's lock.
package bridges

import "time"

// Config are the thresholds of selection, with jicofo's values as default.
type Config struct {
	// AverageStress is what one participant adds when the bridge doesn't say.
	AverageStress float64
	// RecentWindow is how long an endpoint placed on a bridge is not yet in its
	// reported stress.
	RecentWindow time.Duration
	// FailureReset is how long a failed bridge is left alone at least.
	FailureReset time.Duration
}

// DefaultConfig is jicofo's.
func DefaultConfig() Config {
	return Config{AverageStress: 0.01, RecentWindow: 20 * time.Second, FailureReset: time.Minute}
}
