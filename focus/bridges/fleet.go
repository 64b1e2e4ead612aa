package bridges

import (
	"slices"
	"time"

	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
)

// Bridge is what is known of one bridge. Copies are snapshots.
type Bridge struct {
	JID          xmpp.JID // occupant JID in the brewery
	Stress       float64  // as reported
	Version      string   // version-release
	Region       string
	RelayID      string
	Draining     bool // true until the first statistics
	Graceful     bool // latched: no new conferences
	ShuttingDown bool // latched: everybody is moved away
	Corrected    float64
	Operational  bool
	LastResort   bool // not operational, but better than none
}

// Change is what news about a bridge mean for the conferences on it.
type Change uint8

// Changes.
const (
	NoChange Change = iota
	Appeared        // new, or operational again
	MoveAway        // its participants must go
)

type record struct {
	Bridge
	average   float64
	healthy   bool
	failed    bool
	failedAt  time.Time
	reported  time.Time   // the last statistics
	placed    []time.Time // endpoints placed lately
	announced bool        // Appeared was reported
}

// Fleet are the bridges of a brewery.
type Fleet struct {
	cfg  Config
	list []*record // in order of appearance
}

// NewFleet returns an empty fleet.
func NewFleet(cfg Config) *Fleet { return &Fleet{cfg: cfg} }

func (f *Fleet) find(jid xmpp.JID) *record {
	for _, r := range f.list {
		if r.JID == jid {
			return r
		}
	}
	return nil
}

// Report takes the statistics of a bridge's presence. A first report makes the
// bridge known.
func (f *Fleet) Report(now time.Time, jid xmpp.JID, s colibri2.Stats) Change {
	r := f.find(jid)
	if r == nil {
		r = &record{Bridge: Bridge{JID: jid, Draining: true}, average: f.cfg.AverageStress, healthy: true}
		f.list = append(f.list, r)
	}
	r.reported = now
	r.Stress = s.Float(colibri2.StatStress, r.Stress)
	r.average = s.Float(colibri2.StatAverageStress, r.average)
	if v, ok := s[colibri2.StatVersion]; ok {
		r.Version = v
		if rel := s[colibri2.StatRelease]; rel != "" {
			r.Version += "-" + rel
		}
	}
	if v, ok := s[colibri2.StatRegion]; ok {
		r.Region = v
	}
	if v, ok := s[colibri2.StatRelayID]; ok {
		r.RelayID = v
	}
	if v, ok := s[colibri2.StatDrain]; ok {
		r.Draining = v == "true"
	}
	// Both latch on (JICOFO Bridge.setStats).
	r.Graceful = r.Graceful || s.Bool(colibri2.StatGracefulShutdown)
	down := s.Bool(colibri2.StatShuttingDown) && !r.ShuttingDown
	r.ShuttingDown = r.ShuttingDown || down
	if v, ok := s[colibri2.StatHealthy]; ok {
		was := r.healthy
		r.healthy = v == "true"
		down = down || was && !r.healthy
	}
	if down {
		r.announced = false
		return MoveAway
	}
	if usable, last := f.usable(now, r); (usable || last) && !r.announced {
		r.announced = true
		return Appeared
	}
	return NoChange
}

// Silent marks the bridges that have not reported for longer than limit as
// failed. Their participants stay: media may well go on.
func (f *Fleet) Silent(now time.Time, limit time.Duration) {
	for _, r := range f.list {
		if now.Sub(r.reported) > limit {
			r.failed, r.failedAt, r.announced = true, now, false
		}
	}
}

// Remove forgets a bridge that left the brewery.
func (f *Fleet) Remove(jid xmpp.JID) Change {
	if r := f.find(jid); r == nil {
		return NoChange
	}
	f.list = slices.DeleteFunc(f.list, func(r *record) bool { return r.JID == jid })
	return MoveAway
}

// Clear forgets all bridges.
func (f *Fleet) Clear() { f.list = nil }

// Failed marks a bridge that did not answer or answered wrongly. A report after
// the cool-down brings it back; one before makes it the last resort.
func (f *Fleet) Failed(now time.Time, jid xmpp.JID) {
	if r := f.find(jid); r != nil {
		r.failed, r.failedAt, r.announced = true, now, false
	}
}

// Closing marks a bridge that refused because it is shutting down gracefully.
func (f *Fleet) Closing(jid xmpp.JID) {
	if r := f.find(jid); r != nil {
		r.Graceful = true
	}
}

// Placed counts an endpoint that was put on a bridge.
func (f *Fleet) Placed(now time.Time, jid xmpp.JID) {
	if r := f.find(jid); r != nil {
		r.placed = append(r.recent(now, f.cfg.RecentWindow), now)
	}
}

func (r *record) recent(now time.Time, window time.Duration) []time.Time {
	i := 0
	for i < len(r.placed) && now.Sub(r.placed[i]) >= window {
		i++
	}
	r.placed = r.placed[i:]
	return r.placed
}

// usable reports whether r may be picked, or else whether it may be when there is
// no other: it failed, but has reported since. With one bridge to a machine the
// cool-down would be an outage.
func (f *Fleet) usable(now time.Time, r *record) (usable, last bool) {
	if r.failed && now.Sub(r.failedAt) >= f.cfg.FailureReset && r.reported.After(r.failedAt) {
		r.failed = false
	}
	up := r.healthy && !r.ShuttingDown
	return up && !r.failed, up && r.failed && r.reported.After(r.failedAt)
}

// List is the fleet as it is now, the best bridge first.
func (f *Fleet) List(now time.Time) []Bridge {
	out := make([]Bridge, len(f.list))
	for i, r := range f.list {
		b := r.Bridge
		b.Operational, b.LastResort = f.usable(now, r)
		b.Corrected = r.Stress + float64(len(r.recent(now, f.cfg.RecentWindow)))*r.average
		out[i] = b
	}
	slices.SortStableFunc(out, compare)
	return out
}

// Pick chooses a bridge for a participant, or reports that there is none.
func (f *Fleet) Pick(now time.Time, s Strategy, conf ConfLoad, want Want) (Bridge, bool) {
	return s.Pick(now, candidates(f.List(now), conf), conf, want)
}

func compare(a, b Bridge) int {
	rank := func(b Bridge) int {
		switch {
		case !b.Operational:
			return 2
		case b.Graceful:
			return 1
		}
		return 0
	}
	if d := rank(a) - rank(b); d != 0 {
		return d
	}
	switch {
	case a.Corrected < b.Corrected:
		return -1
	case a.Corrected > b.Corrected:
		return 1
	}
	return 0
}
