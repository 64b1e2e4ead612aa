package focus_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"confab/focus"
	"confab/muc"
	"confab/xmpp"
	"confab/xmpp/xep/jingle"
)

// side is what the focus reads of a breakout room.
type side struct{ main xmpp.JID }

func (side) Name() string { return "breakout" }

func (s side) Form(_ *muc.Room, f *muc.Form) {
	f.Bool("muc#roominfo_isbreakout", true)
	f.Text("muc#roominfo_breakout_main_room", s.main.String())
}

func (side) Submit(*muc.Room, *muc.Occupant, *muc.Form) error { return nil }

// breakouts gives the world a breakout MUC.
func (w *world) breakouts() *muc.Service {
	bc := muc.DefaultConfig()
	bc.Domain, bc.Main, bc.Inside, bc.SummonFocus, bc.EndWithPeople = "breakout.meet.example", w.main, true, false, false
	bc.Admins = []xmpp.JID{xmpp.MustJID("focus@auth.meet.example")}
	bc.Focus = bc.Admins[0]
	main := w.room
	bc.Services = []func(*muc.Room) muc.RoomService{func(*muc.Room) muc.RoomService { return side{main} }}
	sv := muc.NewService(bc, w.router, w.log)
	w.router.Serve(bc.Domain, sv)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = sv.Run(ctx) }()
	w.t.Cleanup(func() { cancel(); <-done })
	return sv
}

// open opens a breakout room, as the command "add" does.
func (w *world) open(sv *muc.Service, local string) xmpp.JID {
	w.t.Helper()
	err := w.main.Do(w.t.Context(), w.room, func(r *muc.Room) {
		r.Hold("breakout")
		if _, err := r.Open(sv, local); err != nil {
			w.t.Error(err)
		}
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return xmpp.MustJID(local + "@breakout.meet.example")
}

// move goes to another room of the meeting as a client does.
func (c *client) move(to xmpp.JID) {
	c.w.t.Helper()
	c.port.Send(xmpp.NewStanza(xmpp.Presence, "unavailable", "", xmpp.JID{}, c.me, "<status>switch_room</status>"))
	synctest.Wait()
	was := c.w.room
	c.w.room, c.me = to, to.WithResource(c.nick)
	if r, se := c.request(`machine-uid="m"`); se != nil || !r.Ready {
		c.w.t.Fatalf("%s to %s: %+v %v", c.nick, to, r, se)
	}
	c.join(caps2026)
	c.w.room = was
}

// People in breakout rooms keep the conference of the main room alive, have media
// of their own there, and are made nothing that they weren't.
func TestBreakout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, func(c *focus.Config) { c.Breakout = "breakout.meet.example" })
		a, b := w.two()
		sv := w.breakouts()
		room := w.open(sv, "0d7c1111-0000-4000-8000-000000000001")
		main := w.room
		b.presences("bbbbbbbb")
		b.move(room)
		a.move(room)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := w.focus.Stats().Conferences; n != 2 {
			t.Fatalf("%d conferences while everybody is in a breakout room", n)
		}
		// Media between the two, in a conference of its own.
		w.room = room
		for i, c := range []*client{a, b} {
			if err := c.accept(c.expect(jingle.SessionInitiate), uint32(i+5)*1000); err != nil {
				t.Fatal(err)
			}
		}
		a.expect(jingle.SourceAdd)
		b.expect(jingle.SourceAdd)
		if b.owner() {
			t.Error("the first in the breakout room is moderator")
		}
		if !a.owner() {
			t.Error("the moderator of the meeting is none in the breakout room")
		}
		// The breakout room is removed: everybody returns, into the same conference.
		total := w.focus.Stats().ConferencesTotal
		if err := sv.Do(t.Context(), room, func(r *muc.Room) { r.Destroy(main, "Breakout room removed.", nil) }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := w.focus.Stats().Conferences; n != 1 {
			t.Errorf("%d conferences", n)
		}
		time.Sleep(10 * time.Second)
		w.room = main
		for _, c := range []*client{a, b} {
			c.me = main.WithResource(c.nick)
			if r, se := c.request(`machine-uid="m"`); se != nil || !r.Ready {
				t.Fatal(r, se)
			}
			c.join(caps2026)
		}
		if got := w.focus.Stats().ConferencesTotal; got != total {
			t.Error("another conference was made")
		}
		b.expect(jingle.SessionInitiate)
		// Nobody comes back from the next one: the meeting ends.
		room = w.open(sv, "0d7c1111-0000-4000-8000-000000000002")
		b.move(room)
		a.move(room)
		for _, c := range []*client{a, b} {
			c.leave()
		}
		time.Sleep(16 * time.Second)
		synctest.Wait()
		if n := w.focus.Stats().Conferences; n != 0 {
			t.Errorf("%d conferences after all have left", n)
		}
	})
}

// A room that nobody opened is none, and hosts are not needed for one that was.
func TestBreakoutRequests(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, func(c *focus.Config) {
			requireHost(c)
			c.Breakout = "breakout.meet.example"
		})
		host := w.client("alice@meet.example", "aaaaaaaa")
		if r, se := host.request(`machine-uid="m"`); se != nil || !r.Ready {
			t.Fatal(se)
		}
		host.join(caps2026)
		guest := w.client("u1@guest.meet.example", "bbbbbbbb")
		if r, se := guest.request(`machine-uid="g"`); se != nil || !r.Ready {
			t.Fatal(se)
		}
		guest.join(caps2026)
		main := w.room
		sv := w.breakouts()
		w.room = xmpp.MustJID("0d7c1111-0000-4000-8000-00000000000f@breakout.meet.example")
		if r, se := guest.request(`machine-uid="g"`); se == nil {
			t.Errorf("a breakout room that nobody opened: %+v", r)
		}
		w.room = main
		room := w.open(sv, "0d7c1111-0000-4000-8000-000000000001")
		guest.move(room)
		host.leave()
		time.Sleep(time.Hour)
		if n := w.focus.Stats().Conferences; n != 2 {
			t.Fatalf("%d conferences", n)
		}
		if guest.owner() {
			t.Error("a guest is moderator")
		}
		// Even when the focus had given the main room up, whoever returns opens it.
		guest.move(main)
		time.Sleep(time.Minute)
		if n := w.focus.Stats().Conferences; n != 1 {
			t.Errorf("%d conferences", n)
		}
	})
}
