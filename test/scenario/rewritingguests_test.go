package scenario

import (
	"testing"

	"confab/internal/meettest"
	"confab/xmpp"
)

// SSRC rewriting for those who don't simply join: visitors, who come through a lobby,
// recorders, and who was peer-to-peer.

// mappedTo checks of how many SSRCs a client has heard, each of which had its own source.
func (w *world) mappedTo(c *meettest.Client, want int) {
	w.t.Helper()
	if n := c.SSRCs(); n != want {
		w.t.Errorf("%s has been told of %d SSRCs, not %d", c.Nick(), n, want)
	}
	if s := c.Strange(); len(s) > 0 {
		w.t.Errorf("%s got packets that nobody signalled: %v", c.Nick(), s)
	}
}

// Visitors get everybody under SSRCs of their own, cost those who talk no SSRC, and
// take part in it all when they are let in, and when they are sent back.
func TestVisitorsUnderRewriting(t *testing.T) {
	w := newWorld(t, "[visitors]\nafter = 2\n")
	a, b := w.join("Ann", rewriting), w.join("Bea", nil)
	w.talk(a, b)
	to := w.redirected("Eve", false)
	v, plain := w.visit("Eve", to, rewriting), w.visit("Eva", to)
	for _, guest := range []*meettest.Client{v, plain} {
		w.watches(guest, a, b)
		w.smooth(guest, a, b)
	}
	w.mappedTo(v, 4)
	w.mappedTo(plain, 0)
	w.mappedTo(a, 2)

	v.RaiseHand(true)
	req, err := a.ExpectVisitors(w.ctx, "promotion-request")
	w.must(err)
	w.must(a.Admit(req.From, true))
	p, err := v.ExpectPromotion(w.ctx)
	w.must(err)
	w.must(v.Leave(w.ctx))
	w.must(v.Close())
	c := w.join("Eve", func(o *meettest.Options) {
		rewriting(o)
		p.Return(o)
	})
	w.talk(a, b, c)
	w.watches(plain, a, b, c)
	w.smooth(a, b, c)
	w.smooth(c, a, b)
	w.smooth(plain, a, b, c)
	w.mappedTo(a, 4)
	w.mappedTo(c, 4)

	// A screen reaches them, too.
	w.must(b.ShareScreen(w.ctx, true))
	for _, m := range []*meettest.Client{a, c, plain} {
		w.must(m.Want(1080))
		w.more(m, b.Nick()+"-v1", 10)()
	}

	w.must(a.Demote(c.Nick()))
	_, err = c.ExpectVisitors(w.ctx, "demote-request")
	w.must(err)
	w.must(c.Leave(w.ctx))
	w.must(c.Close())
	v = w.visit("Eve", w.redirected("Eve", true), rewriting)
	w.watches(v, a, b)
	w.must(v.Want(1080))
	w.more(v, b.Nick()+"-v1", 10)()
	w.smooth(v, a, b)
	w.mappedTo(v, 5)
}

// Who waits in the lobby is told of nothing, and of everybody once inside.
func TestLobbyUnderRewriting(t *testing.T) {
	w := newWorld(t, "")
	ada, bob := w.join("Ada", rewriting), w.join("Bob", rewriting)
	w.must(ada.Until(w.ctx, "to be moderator", ada.Moderator))
	w.talk(ada, bob)
	w.closed(ada)
	eve := w.Dial(w.ctx, "Eve", func(o *meettest.Options) {
		o.Room, o.Media = w.room, meettest.Camera()
		rewriting(o)
	})
	w.keptOut(eve)
	w.knock(ada)
	w.knock(eve)
	w.sees(ada, bob, 20)
	w.mappedTo(eve, 0)
	w.mappedTo(ada, 2)
	w.must(ada.Send(xmpp.Message, "", "", ada.RoomJID(w.room).String(), `<x xmlns="`+nsMUCUser+`"><invite to="`+eve.JID().String()+`"/></x>`))
	w.invited(eve)
	w.must(eve.Join(w.ctx, w.room))
	w.must(eve.Send(xmpp.Presence, xmpp.TypeUnavailable, "", w.lobby()+"/"+eve.Nick(), ""))
	w.talk(ada, bob, eve)
	w.smooth(eve, ada, bob)
	w.smooth(ada, bob, eve)
	w.mappedTo(ada, 4)
	w.mappedTo(eve, 4)
}

// Two who talk peer-to-peer send nothing to the bridge. When a third comes they are
// back on it, under the SSRCs of which they know, and go on without a seam.
func TestBackFromPeerToPeerUnderRewriting(t *testing.T) {
	w := newWorld(t, "")
	a, b := w.join("Ann", rewriting), w.join("Bea", rewriting)
	w.talk(a, b)
	for round := range 2 {
		a.Elsewhere(true)
		b.Elsewhere(true)
		c := w.join("Cem", rewriting)
		w.must(c.Media(w.ctx))
		for _, o := range []*meettest.Client{a, b} {
			w.sees(o, c, 30) // two seconds
			o.Elsewhere(false)
		}
		w.talk(a, b, c)
		w.smooth(a, b, c)
		w.smooth(b, a, c)
		w.smooth(c, a, b)
		w.mappedTo(a, 4+2*round) // new ones before those that are free again
		w.mappedTo(c, 4)
		if round == 0 {
			w.must(c.Leave(w.ctx))
			w.must(a.Until(w.ctx, "Cem to be gone", func() bool { return a.Others() == 1 && !contains(a.Sources(), c.Nick()+"-v0") }))
		}
	}
}
