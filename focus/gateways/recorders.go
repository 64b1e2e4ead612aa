package gateways

import (
	"slices"
	"time"

	"confab/xmpp"
)

// Times of the choice (JICOFO JibriDetector).
const (
	selectPause = 200 * time.Millisecond // until a chosen recorder's "busy" is here
	failPause   = time.Minute            // for one that failed
)

// Recorders are those of one brewery. A recorder says something only when that
// changes.
type Recorders struct{ list []*recorder } // in order of appearance

type recorder struct {
	jid      xmpp.JID // occupant in the brewery
	idle     bool     // and healthy
	failed   time.Time
	selected time.Time // zero: never
}

func (r *Recorders) find(jid xmpp.JID) *recorder {
	for _, x := range r.list {
		if x.jid == jid {
			return x
		}
	}
	return nil
}

// Report takes a recorder's presence. One that calls itself available is
// forgiven what it failed at.
func (r *Recorders) Report(jid xmpp.JID, available bool) {
	x := r.find(jid)
	if x == nil {
		x = &recorder{jid: jid}
		r.list = append(r.list, x)
	}
	if x.idle = available; available {
		x.failed = time.Time{}
	}
}

// Remove forgets a recorder that left.
func (r *Recorders) Remove(jid xmpp.JID) {
	r.list = slices.DeleteFunc(r.list, func(x *recorder) bool { return x.jid == jid })
}

// Clear forgets all and returns who they were.
func (r *Recorders) Clear() []xmpp.JID {
	var out []xmpp.JID
	for _, x := range r.list {
		out = append(out, x.jid)
	}
	r.list = nil
	return out
}

// Failed marks a recorder that did not do what it was asked.
func (r *Recorders) Failed(now time.Time, jid xmpp.JID) {
	if x := r.find(jid); x != nil {
		x.failed = now
	}
}

// Pick chooses the available recorder that has not failed for the longest time.
func (r *Recorders) Pick(now time.Time) (xmpp.JID, bool) {
	var best *recorder
	for _, x := range r.list {
		if !x.idle || !x.selected.IsZero() && now.Sub(x.selected) < selectPause {
			continue
		}
		if best == nil || x.failed.Before(best.failed) {
			best = x
		}
	}
	if best == nil || !best.failed.IsZero() && now.Sub(best.failed) < failPause {
		return xmpp.JID{}, false
	}
	best.selected = now
	return best.jid, true
}

// Count is how many recorders there are, and how many of them are available.
func (r *Recorders) Count() (all, available int) {
	for _, x := range r.list {
		if x.idle {
			available++
		}
	}
	return len(r.list), available
}
