package services

import (
	"time"

	"confab/muc"
	"confab/xmpp"
)

// pass says that a session has been admitted to the main room, with its password,
// lobby and tokens: breakout rooms ask for nothing else (room-services.md §6.2).
type pass struct {
	nick string    // that it takes to another room, or ""
	left time.Time // when it set off
}

// passSlack is how many passes a meeting may have before those of sessions that are
// gone are looked for.
const passSlack = 64

// admitted gives a session that is in the main room its pass.
func (b *breakouts) admitted(o *muc.Occupant, t *muc.Seat) {
	switch {
	case o.Admin():
	case b.passes[t.Real] == nil:
		b.sweep()
		b.passes[t.Real] = &pass{}
	default:
		b.arrives(t.Real)
	}
}

// sweep forgets the sessions that have ended when there may be many of them.
func (b *breakouts) sweep() {
	if len(b.passes) < b.sweepAt {
		return
	}
	for real := range b.passes {
		if !b.main.Bound(real) {
			b.expel(real)
		}
	}
	b.sweepAt = 2*len(b.passes) + passSlack
}

// departs notes that a session is on its way to another room under the same nick,
// which is nobody else's meanwhile.
func (b *breakouts) departs(nick string, real xmpp.JID) {
	p := b.passes[real]
	if p == nil {
		return
	}
	b.arrives(real)
	p.nick, p.left = nick, time.Now()
	b.switching[nick] = real
}

// arrives ends that.
func (b *breakouts) arrives(real xmpp.JID) {
	p := b.passes[real]
	if p == nil || p.nick == "" {
		return
	}
	if b.switching[p.nick] == real {
		delete(b.switching, p.nick)
	}
	p.nick = ""
}

// expel takes the pass of a session back.
func (b *breakouts) expel(real xmpp.JID) {
	b.arrives(real)
	delete(b.passes, real)
}

// Admit decides about a join to a room of the meeting, for the stage of
// muc/policy.
func (b *breakouts) Admit(r *muc.Room, j *muc.Join) muc.Verdict {
	if !b.active || j.Admin {
		return muc.Pass
	}
	p := b.passes[j.Real]
	if r != b.main && j.Person(r) && p == nil {
		// LJM ChatRoom.onPresenceError: back to the main room.
		return muc.Refuse(xmpp.NotAllowed(""))
	}
	if b.taken(r, j) {
		err := xmpp.Conflict("")
		err.By = r.JID().String()
		return muc.Refuse(err)
	}
	j.Returns = r == b.main && p != nil && p.nick == j.Nick && time.Since(p.left) < breakoutReturn
	return muc.Pass
}

// taken reports whether the nick is that of somebody else in another room of the
// meeting, or on the way there: media and messages would be taken for theirs.
func (b *breakouts) taken(r *muc.Room, j *muc.Join) bool {
	bare := j.Real.Bare()
	if real, ok := b.switching[j.Nick]; ok && real.Bare() != bare {
		if b.main.Bound(real) {
			return true
		}
		b.expel(real)
	}
	for _, in := range b.main.Inside() {
		if o := in.Occupant(j.Nick); in != r && o != nil && o.Bare() != bare {
			return true
		}
	}
	return false
}
