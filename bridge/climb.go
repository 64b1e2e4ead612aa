package bridge

import (
	"time"

	"confab/bridge/alloc"
)

const (
	// climbTrial is how long a better picture must last to count as one that the
	// network carries.
	climbTrial = 10 * time.Second
	// climbRest is how long one that did not last is not tried again, doubled with
	// each failure up to climbMaxRest.
	climbRest    = 6 * time.Second
	climbMaxRest = 60 * time.Second
	// thinRest and thinMaxRest are the same where only the frame rate fell: that costs no
	// key frame, and a moment with half of the frames is hardly seen.
	thinRest    = 2 * time.Second
	thinMaxRest = 8 * time.Second
	// climbAnyway is how many times what failed must be there to try at once.
	climbAnyway = 1.5
)

// climb keeps a receiver's layers from flapping where the network carries a little
// less than the next one takes: estimates overshoot now and then, and every way up
// and down costs key frames and a moment of a worse picture. JVB has no such thing.
type climb struct {
	cost     alloc.Bitrate // of all, after the last way up
	at       time.Time     // of it; zero: it has stood its trial, or failed
	failures int
	until    time.Time // nothing that takes cost or more is tried before
}

// limit bounds what all may take after a way up; 0: nothing bounds it.
func (k *climb) limit(available alloc.Bitrate, at time.Time) alloc.Bitrate {
	if !k.at.IsZero() && at.Sub(k.at) > climbTrial {
		k.at, k.failures = time.Time{}, 0
	}
	if at.Before(k.until) && float64(available) < climbAnyway*float64(k.cost) {
		return max(k.cost-1, 1)
	}
	return 0
}

// decided takes what an allocation made better or, for want of bandwidth, worse; thin
// says that the picture only has fewer frames.
func (k *climb) decided(up, down, thin bool, sending alloc.Bitrate, at time.Time) {
	rest, most := climbRest, climbMaxRest
	if thin {
		rest, most = thinRest, thinMaxRest
	}
	switch {
	case down && !k.at.IsZero() && at.Sub(k.at) <= climbTrial:
		k.until = at.Add(min(rest<<min(k.failures, 8), most))
		k.failures++
		k.at = time.Time{}
	case up:
		k.cost, k.at = sending, at
	}
}
