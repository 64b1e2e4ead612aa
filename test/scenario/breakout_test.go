package scenario

import (
	"fmt"
	"testing"

	"mellium.im/sasl"
	mellium "mellium.im/xmpp"
	"mellium.im/xmpp/jid"

	"confab/internal/meettest"
	"confab/xmpp"
)

// breakout makes a breakout room and waits until everybody has heard of it.
func (w *world) breakout(by *meettest.Client, name string, all ...*meettest.Client) xmpp.JID {
	w.t.Helper()
	w.must(by.AddBreakout(name))
	var room meettest.BreakoutRoom
	for _, c := range append(all, by) {
		_, err := c.ExpectBreakouts(w.ctx, "a breakout room "+name, func(b *meettest.Breakouts) (ok bool) {
			room, ok = b.Named(name)
			return ok
		})
		w.must(err)
	}
	return xmpp.MustJID(room.JID)
}

// shown waits until c is told that so many people are in a room.
func (w *world) shown(c *meettest.Client, room xmpp.JID, people int) {
	w.t.Helper()
	_, err := c.ExpectBreakouts(w.ctx, fmt.Sprintf("%d people in %s", people, room), func(b *meettest.Breakouts) bool {
		r := b.Rooms[room.Local]
		return r.JID == room.String() && len(r.Participants) == people
	})
	w.must(err)
}

// A moderator sends two of three people to a breakout room, where they see and hear
// each other and nobody else, and calls them back.
func TestBreakoutRoom(t *testing.T) {
	w := newWorld(t, "")
	a, b, c := w.join("Ann", nil), w.join("Bea", nil), w.join("Cem", nil)
	w.talk(a, b, c)
	main, room := a.RoomJID(w.room), w.breakout(a, "Left", b, c)

	w.must(a.SendTo(b, room))
	w.must(a.SendTo(c, room))
	w.must(b.Follow(w.ctx))
	w.must(c.Follow(w.ctx))
	w.talk(b, c)
	w.shown(a, room, 2)
	w.must(a.Until(w.ctx, "to be alone", func() bool { return a.Others() == 0 && len(a.Sources()) == 0 }))
	if b.Moderator() || c.Moderator() {
		t.Error("the first in a breakout room is moderator")
	}
	for _, x := range []*meettest.Client{b, c} {
		if _, there := x.Occupant(a.Nick()); there || len(x.Sources()) != 2 {
			t.Errorf("%s sees Ann, or %v", x.Nick(), x.Sources())
		}
	}
	w.must(b.Chat("just us"))
	if _, err := c.ExpectChat(w.ctx, "just us"); err != nil {
		t.Fatal(err)
	}
	w.must(a.Chat("nobody hears me"))
	if _, err := a.ExpectChat(w.ctx, "nobody hears me"); err != nil {
		t.Fatal(err)
	}

	w.must(a.SendTo(b, main))
	w.must(a.SendTo(c, main))
	w.must(b.Follow(w.ctx))
	w.must(c.Follow(w.ctx))
	w.talk(a, b, c)
	w.shown(a, room, 0)
	if _, err := a.ExpectChat(cancelled(), "just us"); err == nil {
		t.Error("the main room heard the breakout room")
	}
	w.must(a.RemoveBreakout(room))
	_, err := b.ExpectBreakouts(w.ctx, "the room to be gone", func(b *meettest.Breakouts) bool { return len(b.Rooms) == 1 && b.RoomCounter == 1 })
	w.must(err)
	w.sees(b, a, 10)
}

// Everybody goes to breakout rooms, the moderator too, and moderates there; the main
// room waits for them.
func TestEverybodyInBreakoutRooms(t *testing.T) {
	w := newWorld(t, "")
	a, b := w.join("Ann", nil), w.join("Bea", nil)
	w.talk(a, b)
	main, room := a.RoomJID(w.room), w.breakout(a, "Right", b)
	w.must(a.SendTo(b, room))
	w.must(b.Follow(w.ctx))
	w.must(a.Switch(w.ctx, room))
	w.talk(a, b)
	if !a.Moderator() || b.Moderator() {
		t.Errorf("moderator in the breakout room: Ann %v, Bea %v", a.Moderator(), b.Moderator())
	}
	// The room is removed under their feet; both come back.
	w.must(a.RemoveBreakout(room))
	for _, c := range []*meettest.Client{a, b} {
		w.must(c.Until(w.ctx, "to be out of the room", c.Gone))
	}
	// The moderator first: a room without one gets one (focus.md §5).
	w.must(a.Switch(w.ctx, main))
	w.must(b.Switch(w.ctx, main))
	w.talk(a, b)
	if !a.Moderator() || b.Moderator() {
		t.Errorf("moderator after the return: Ann %v, Bea %v", a.Moderator(), b.Moderator())
	}
}

// A plain client goes to a breakout room first: it makes no conference request, and
// yet the focus comes.
func TestPlainClientInABreakoutRoom(t *testing.T) {
	w := newWorld(t, "")
	a := w.join("Ann", nil)
	p := w.plain(w.Domain, mellium.SASL("", "", sasl.Anonymous))
	p.join("Pat")
	room := w.breakout(a, "Chat")
	p.leave()
	p.enter(jid.MustParse(room.String() + "/Pat"))
	w.must(a.Switch(w.ctx, room))
	w.must(a.Chat("hello Pat"))
	p.hears(a.Nick() + ": hello Pat")
	p.say("hello Ann")
	if _, err := a.ExpectChat(w.ctx, "hello Ann"); err != nil {
		t.Fatal(err)
	}
}
