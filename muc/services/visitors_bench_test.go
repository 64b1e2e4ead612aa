package services_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"confab/muc"
	"confab/muc/policy"
	"confab/muc/services"
	"confab/xmpp"
)

// deaf is a session that counts.
type deaf struct {
	jid xmpp.JID
	n   int
}

func (d *deaf) JID() xmpp.JID              { return d.jid }
func (d *deaf) Deliver(*xmpp.Stanza) error { d.n++; return nil }

// BenchmarkVisitors is what one presence of a participant, one line of chat and one
// more visitor cost a room with so many visitors.
func BenchmarkVisitors(b *testing.B) {
	for _, n := range []int{500, 5000} {
		log := slog.New(slog.DiscardHandler)
		router := xmpp.NewRouter(log)
		focus := xmpp.MustJID("focus@auth.meet.example")
		var rooms *muc.Service
		mc := muc.DefaultConfig()
		mc.Domain, mc.Admins, mc.Focus, mc.ServiceDomains = "conference.meet.example", []xmpp.JID{focus}, focus, []string{"auth.meet.example"}
		mc.Mailbox = 1 << 20
		mc.Client = func(xmpp.Port) muc.Client { return muc.Client{Room: "r"} }
		mc.Services = []func(*muc.Room) muc.RoomService{services.NewVisitors(services.VisitorsConfig{
			Domain: "visitors.meet.example", Host: "v0.meet.jitsi", Node: "v0", Focus: focus,
			Rooms: func() *muc.Service { return rooms }, Promotions: services.NewPromotions(),
		})}
		main := muc.NewService(mc, router, log)
		mc.Domain, mc.Main, mc.Visitors, mc.EndWithPeople = "conference.v0.meet.jitsi", main, true, false
		mc.Stages = policy.VisitorRooms(policy.Config{}, "v0.meet.jitsi", 1<<20)
		mc.Services = []func(*muc.Room) muc.RoomService{services.NewVisitorRoom}
		rooms = muc.NewService(mc, router, log)
		router.Serve("conference.meet.example", main)
		router.Serve("conference.v0.meet.jitsi", rooms)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{}, 2)
		for _, sv := range []*muc.Service{main, rooms} {
			go func() { _ = sv.Run(ctx); done <- struct{}{} }()
		}
		room := xmpp.MustJID("r@conference.meet.example")
		send := func(from *deaf, to, inner string, kind xmpp.Kind, typ string) {
			router.RouteNow(xmpp.NewStanza(kind, typ, "", from.jid, xmpp.MustJID(to), inner))
		}
		enter := func(jid, to string) *deaf {
			d := &deaf{jid: xmpp.MustJID(jid)}
			if _, err := router.Bind(d); err != nil {
				b.Fatal(err)
			}
			send(d, to, `<x xmlns="http://jabber.org/protocol/muc"/>`, xmpp.Presence, "")
			return d
		}
		settle := func() { // all before it has been handled
			if err := main.Do(ctx, room, func(*muc.Room) {}); err != nil {
				b.Fatal(err)
			}
		}
		f := enter("focus@auth.meet.example/focus", "r@conference.meet.example/focus")
		settle()
		if err := main.Do(ctx, room, func(r *muc.Room) {
			if _, err := r.Open(rooms, "r"); err != nil {
				b.Error(err)
			}
		}); err != nil {
			b.Fatal(err)
		}
		send(f, "r@conference.v0.meet.jitsi/focus", `<x xmlns="http://jabber.org/protocol/muc"/>`, xmpp.Presence, "")
		var people []*deaf
		for i := range 50 {
			people = append(people, enter(fmt.Sprintf("u%d@meet.example/r", i), fmt.Sprintf("r@conference.meet.example/u%07d", i)))
		}
		visitor := func(i int) *deaf {
			return enter(fmt.Sprintf("v%d@v0.meet.jitsi/r", i), fmt.Sprintf("r@conference.v0.meet.jitsi/v%07d", i))
		}
		for i := range n {
			visitor(i)
		}
		settle()
		next := n
		b.Run(fmt.Sprintf("presence/%d", n), func(b *testing.B) {
			for i := range b.N {
				send(people[0], "r@conference.meet.example/u0000000", fmt.Sprintf("<k>%d</k>", i), xmpp.Presence, "")
				settle()
			}
		})
		b.Run(fmt.Sprintf("chat/%d", n), func(b *testing.B) {
			for range b.N {
				send(people[0], "r@conference.meet.example", "<body>x</body>", xmpp.Message, "groupchat")
				settle()
			}
		})
		b.Run(fmt.Sprintf("join/%d", n), func(b *testing.B) {
			for range b.N {
				visitor(next)
				next++
				settle()
			}
		})
		cancel()
		for range 2 {
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				b.Fatal("services don't end")
			}
		}
	}
}
