package bridges

import (
	"time"

	"confab/xmpp"
)

// ConfLoad is what a conference has on bridges already.
type ConfLoad struct {
	Version string           // of the bridges in use, "" when there are none
	On      map[xmpp.JID]int // participants by bridge
}

// Want is what a participant would like.
type Want struct{ Region string }

// Strategy picks a bridge for a new participant out of those that may be picked,
// best first. Pure.
type Strategy interface {
	Pick(now time.Time, fleet []Bridge, conf ConfLoad, want Want) (Bridge, bool)
}

// candidates is the filter chain before any strategy (focus.md §12.2).
func candidates(all []Bridge, conf ConfLoad) []Bridge {
	keep := func(in []Bridge, ok func(Bridge) bool) []Bridge {
		var out []Bridge
		for _, b := range in {
			if ok(b) {
				out = append(out, b)
			}
		}
		return out
	}
	prefer := func(in []Bridge, ok func(Bridge) bool) []Bridge {
		if out := keep(in, ok); len(out) > 0 {
			return out
		}
		return in
	}
	// A bridge that the conference is on already stays in, whatever it drains.
	in := func(b Bridge) bool { return conf.On[b.JID] > 0 }
	out := keep(all, func(b Bridge) bool { return b.Operational })
	if len(out) == 0 {
		out = keep(all, func(b Bridge) bool { return b.LastResort })
	}
	if len(conf.On) > 0 {
		out = keep(out, func(b Bridge) bool { return b.Version == conf.Version })
	}
	out = prefer(out, func(b Bridge) bool { return !b.Draining || in(b) })
	return prefer(out, func(b Bridge) bool { return !b.Graceful || in(b) })
}

// Single keeps a conference on one bridge: the least loaded one in the first
// participant's region, else the least loaded; then always the same.
type Single struct{}

// Pick implements Strategy.
func (Single) Pick(_ time.Time, fleet []Bridge, conf ConfLoad, want Want) (Bridge, bool) {
	if len(conf.On) > 0 {
		for _, b := range fleet {
			if conf.On[b.JID] > 0 {
				return b, true
			}
		}
		return Bridge{}, false
	}
	for _, b := range fleet {
		if want.Region != "" && b.Region == want.Region {
			return b, true
		}
	}
	if len(fleet) > 0 {
		return fleet[0], true
	}
	return Bridge{}, false
}
