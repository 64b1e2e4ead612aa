package services

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"confab/muc"
	"confab/xmpp"
)

var (
	_ muc.Joining = (*breakouts)(nil)
	_ muc.Joined  = (*breakouts)(nil)
	_ muc.Left    = (*breakouts)(nil)
	_ muc.Ranked  = (*breakouts)(nil)
	_ muc.Filter  = (*breakouts)(nil)
	_ muc.Command = (*breakouts)(nil)
	_ muc.Joining = (*breakoutRoom)(nil)
	_ muc.Joined  = (*breakoutRoom)(nil)
	_ muc.Left    = (*breakoutRoom)(nil)
	_ muc.Ranked  = (*breakoutRoom)(nil)
	_ muc.Filter  = (*breakoutRoom)(nil)
	_ muc.Command = (*breakoutRoom)(nil)
	_ muc.Formed  = (*breakoutRoom)(nil)
	_ muc.Ended   = (*breakoutRoom)(nil)
)

// sink is a session that counts what it gets.
type sink struct {
	jid xmpp.JID
	n   *atomic.Int64
}

func (s *sink) JID() xmpp.JID              { return s.jid }
func (s *sink) Deliver(*xmpp.Stanza) error { s.n.Add(1); return nil }

// crowd is a meeting of n people, 0 the moderator, and a number of breakout rooms.
type crowd struct {
	main   *muc.Service
	router *xmpp.Router
	room   xmpp.JID
	people []*sink
	rooms  []xmpp.JID
	got    atomic.Int64
}

func newCrowd(t testing.TB, n, rooms int) *crowd {
	c := &crowd{router: xmpp.NewRouter(slog.New(slog.DiscardHandler)), room: xmpp.MustJID("r@conference.meet.example")}
	log := slog.New(slog.DiscardHandler)
	focus := xmpp.MustJID("focus@auth.meet.example")
	f := NewBreakouts(BreakoutConfig{Domain: "breakout.meet.example"})
	base := muc.Config{Domain: "conference.meet.example", Admins: []xmpp.JID{focus}, Focus: focus,
		Client: func(xmpp.Port) muc.Client { return muc.Client{Room: "r"} }}
	mc := base
	mc.Services = []func(*muc.Room) muc.RoomService{f.InMain}
	c.main = muc.NewService(mc, c.router, log)
	mc = base
	mc.Domain, mc.Main, mc.Inside = "breakout.meet.example", c.main, true
	mc.Services = []func(*muc.Room) muc.RoomService{f.InBreakout}
	side := muc.NewService(mc, c.router, log)
	c.router.Serve("conference.meet.example", c.main)
	c.router.Serve("breakout.meet.example", f.Serve(side, c.main, c.router))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, sv := range []*muc.Service{c.main, side} {
		wg.Go(func() { _ = sv.Run(ctx) })
	}
	t.Cleanup(func() { cancel(); wg.Wait() })

	c.bind(t, xmpp.MustJID("focus@auth.meet.example/focus"))
	c.join(0, c.room.WithResource("focus"))
	for i := range n {
		c.bind(t, xmpp.MustJID(fmt.Sprintf("3f2504e0-4f89-11d3-9a0c-%012x@meet.example/kX2mT%05d", i, i)))
		c.join(i+1, c.room.WithResource(fmt.Sprintf("%08x", i)))
	}
	c.people = c.people[1:]
	c.do(t, func(r *muc.Room) {
		r.SetMaxOccupants(0)
		r.Affiliate(c.people[0].jid.Bare(), muc.AffOwner, nil, "")
		for i := range rooms {
			if err := f.of(r).add(fmt.Sprintf("Group %d", i+1)); err != nil {
				t.Fatal(err)
			}
		}
		for _, x := range f.of(r).rooms() {
			c.rooms = append(c.rooms, x.JID())
		}
	})
	return c
}

// of is the service of a main room.
func (f *Breakouts) of(r *muc.Room) *breakouts { return r.Service(BreakoutName).(*breakouts) }

func (c *crowd) bind(t testing.TB, j xmpp.JID) {
	p := &sink{jid: j, n: &c.got}
	if _, err := c.router.Bind(p); err != nil {
		t.Fatal(err)
	}
	c.people = append(c.people, p)
}

func (c *crowd) join(i int, at xmpp.JID) {
	c.send(xmpp.NewStanza(xmpp.Presence, "", "", c.people[i].jid, at,
		fmt.Sprintf(`<x xmlns="http://jabber.org/protocol/muc"/><nick xmlns="http://jabber.org/protocol/nick">Participant %d</nick>`+
			`<stats-id>Ada-%d</stats-id><c xmlns="http://jabber.org/protocol/caps" hash="sha-1" node="https://jitsi.org/jitsi-meet" ver="KJJwjJ09kjLGU7Jd"/>`, i, i)))
}

func (c *crowd) send(s *xmpp.Stanza) { c.router.Route(context.Background(), s) }

func (c *crowd) do(t testing.TB, fn func(*muc.Room)) {
	t.Helper()
	if err := c.main.Do(context.Background(), c.room, fn); err != nil {
		t.Fatal(err)
	}
}

func (c *crowd) service(t testing.TB) (b *breakouts) {
	c.do(t, func(r *muc.Room) { b = r.Service(BreakoutName).(*breakouts) })
	return b
}

// BenchmarkBreakoutUpdate is the update that everybody in a meeting gets.
func BenchmarkBreakoutUpdate(b *testing.B) {
	for _, n := range []int{10, 100, 500} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := newCrowd(b, n, 10)
			sv := c.service(b)
			b.ReportAllocs()
			c.do(b, func(*muc.Room) {
				b.ResetTimer()
				for range b.N {
					sv.update.must = true
					sv.update.send(sv)
				}
				b.StopTimer()
			})
			b.ReportMetric(float64(len(sv.update.last)), "bytes/update")
		})
	}
}

// BenchmarkBreakoutAssign is a moderator's command that sends one of many people to
// a room, from the stanza to that person's queue.
func BenchmarkBreakoutAssign(b *testing.B) {
	for _, n := range []int{10, 100, 500} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := newCrowd(b, n, 10)
			sv := c.service(b)
			cmds := make([]*xmpp.Stanza, n)
			for i := range cmds {
				cmds[i] = xmpp.NewStanza(xmpp.Message, "", "", c.people[0].jid, xmpp.JID{Domain: "breakout.meet.example"},
					fmt.Sprintf(`<breakout_rooms type="features/breakout-rooms/move-to-room" participantJid="%s" roomJid="%s"/>`,
						c.people[i].jid, c.rooms[i%len(c.rooms)]))
			}
			b.ReportAllocs()
			c.do(b, func(r *muc.Room) {
				o := r.Occupies(c.people[0].jid)
				b.ResetTimer()
				for i := range b.N {
					if err := sv.Command(r, o, cmds[i%n]); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
			})
		})
	}
}

// BenchmarkBreakoutMove is the way of one person from the main room to a breakout
// room and back, with all that the others hear of it.
func BenchmarkBreakoutMove(b *testing.B) {
	for _, n := range []int{10, 100, 500} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := newCrowd(b, n, 10)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				who, nick := 1+i%(n-1), fmt.Sprintf("%08x", 1+i%(n-1))
				for _, way := range [][2]xmpp.JID{{c.room, c.rooms[i%10]}, {c.rooms[i%10], c.room}} {
					c.send(xmpp.NewStanza(xmpp.Presence, xmpp.TypeUnavailable, "", c.people[who].jid, way[0].WithResource(nick), "<status>switch_room</status>"))
					c.join(who, way[1].WithResource(nick))
				}
			}
			c.do(b, func(*muc.Room) {})
		})
	}
}

// Sending 500 people into 10 rooms and showing it to all costs in proportion to
// their number: nothing is looked up by going through all of them.
func TestBreakoutCrowd(t *testing.T) {
	t.Parallel()
	const n = 500
	c := newCrowd(t, n, 10)
	for i := 1; i < n; i++ {
		c.send(xmpp.NewStanza(xmpp.Presence, xmpp.TypeUnavailable, "", c.people[i].jid, c.room.WithResource(fmt.Sprintf("%08x", i)), "<status>switch_room</status>"))
		c.join(i, c.rooms[i%10].WithResource(fmt.Sprintf("%08x", i)))
	}
	sv := c.service(t)
	c.do(t, func(r *muc.Room) {
		if r.People() != 1 || len(sv.switching) != 0 || len(sv.passes) != n {
			t.Errorf("%d people, %d on their way, %d passes", r.People(), len(sv.switching), len(sv.passes))
		}
		before := c.got.Load()
		sv.update.must = true
		sv.update.send(sv)
		if got := c.got.Load() - before; got != n {
			t.Errorf("%d of %d got the update", got, n)
		}
		if wait := time.Until(sv.update.next); wait < updateEvery || wait > updateSlowest {
			t.Errorf("next update after %v", wait)
		}
		var u struct {
			RoomCounter int
			Rooms       map[string]struct {
				IsMainRoom    bool
				ID, JID, Name string
				Participants  map[string]struct{ JID, Role, DisplayName string }
			}
		}
		if err := json.Unmarshal([]byte(sv.update.last), &u); err != nil || len(u.Rooms) != 11 || u.RoomCounter != 10 {
			t.Fatal(err, len(u.Rooms), u.RoomCounter)
		}
		people := 0
		for _, x := range u.Rooms {
			people += len(x.Participants)
		}
		if people != n {
			t.Errorf("%d of %d people are in the update", people, n)
		}
	})
}

// An update follows at once, unless much has just been sent.
func TestBreakoutPause(t *testing.T) {
	t.Parallel()
	for bytes, want := range map[int]time.Duration{
		0: updateEvery, 100 * 20_000: updateEvery, updateRate: time.Second, 2000 * 400_000: updateSlowest,
	} {
		if got := updatePause(bytes); got < want-time.Millisecond || got > want+100*time.Millisecond {
			t.Errorf("%d bytes: %v, want %v", bytes, got, want)
		}
	}
}

// The number of rooms can be changed while meetings go on.
func TestBreakoutMax(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 2, 3)
	sv := c.service(t)
	c.do(t, func(*muc.Room) {
		for _, step := range []struct {
			max int
			ok  bool
		}{{2, false}, {3, false}, {4, true}, {4, false}} {
			sv.feature.SetMax(step.max)
			if err := sv.add("One more"); (err == nil) != step.ok {
				t.Errorf("%d rooms with %d allowed: %v", len(sv.rooms()), step.max, err)
			}
		}
	})
}

// Sessions that end without a word are forgotten.
func TestBreakoutPasses(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 2, 1)
	for i := range 50 * passSlack {
		j := xmpp.MustJID(fmt.Sprintf("x%d@meet.example/r", i))
		release, err := c.router.Bind(&sink{jid: j, n: &c.got})
		if err != nil {
			t.Fatal(err)
		}
		at := c.room.WithResource("guest")
		c.send(xmpp.NewStanza(xmpp.Presence, "", "", j, at, `<x xmlns="http://jabber.org/protocol/muc"/>`))
		c.send(xmpp.NewStanza(xmpp.Presence, xmpp.TypeUnavailable, "", j, at, "<status>switch_room</status>"))
		c.do(t, func(*muc.Room) {})
		release()
	}
	sv := c.service(t)
	c.do(t, func(*muc.Room) {
		if len(sv.passes) > 3*passSlack || len(sv.switching) > 1 {
			t.Errorf("%d passes, %d on their way", len(sv.passes), len(sv.switching))
		}
	})
}

// FuzzBreakoutText: whatever people call themselves and their rooms, what clients
// parse after unescape() is what was meant.
func FuzzBreakoutText(f *testing.F) {
	for _, s := range []string{"Ada", "100%25", `"\`, "<b>&amp;", "ü\u2028\x7f", "\t\r\n", "\xff", "]]>", "__proto__"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b := appendJSON(nil, text)
		var back string
		if err := json.Unmarshal(b, &back); err != nil || back != strings.ToValidUTF8(text, "\ufffd") && !slices.Equal([]rune(back), []rune(text)) {
			t.Fatalf("%q became %q: %v", text, b, err)
		}
		src := jsonMessage("", b)
		el, err := xmpp.ParseElement(src, xmpp.Limits{}, xmpp.Scope{})
		if err != nil || strings.Contains(src, "%") || json.Unmarshal([]byte(el.Text), &back) != nil {
			t.Fatalf("%v: %s", err, src)
		}
		if name, err := roomName(text); err == nil && (name == "" || len(name) > breakoutName || name != strings.TrimSpace(name)) {
			t.Fatalf("name %q", name)
		}
	})
}
