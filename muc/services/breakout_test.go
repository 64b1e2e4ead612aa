package services_test

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"confab/internal/meettest/roomworld"
	"confab/internal/meettest/script"
	"confab/muc"
	"confab/muc/policy"
	"confab/muc/services"
	"confab/xmpp"
)

// breakoutWorld is a world with breakout rooms at breakout.meet.example.
func breakoutWorld(change func(*roomworld.Options, *services.BreakoutConfig)) roomworld.Options {
	cfg := services.BreakoutConfig{Domain: "breakout.meet.example"}
	opt := roomworld.Options{}
	if change != nil {
		change(&opt, &cfg)
	}
	f := services.NewBreakouts(cfg)
	opt.Commands = []string{cfg.Domain}
	opt.Services = append(opt.Services, f.InMain)
	opt.Build = func(w *roomworld.World) {
		focus := xmpp.MustJID("focus@auth.meet.example")
		meta := services.MetadataConfig{Domain: "metadata.meet.example"}
		mc := muc.DefaultConfig()
		mc.Domain, mc.Main, mc.Inside, mc.EndWithPeople = cfg.Domain, w.Main, true, false
		mc.Admins, mc.Focus, mc.FocusService = []xmpp.JID{focus}, focus, xmpp.MustJID("focus.meet.example")
		mc.ServiceDomains = []string{"auth.meet.example", "recorder.meet.example"}
		mc.Client = w.Client
		mc.Stages = policy.Breakout(policy.DefaultConfig())
		mc.Services = []func(*muc.Room) muc.RoomService{services.NewMetadata(meta), f.InBreakout}
		sv := muc.NewService(mc, w.Router, slog.New(slog.DiscardHandler))
		w.Serve(sv)
		w.Router.Serve(cfg.Domain, f.Serve(sv, w.Main, w.Router))
	}
	return opt
}

func TestBreakoutTranscripts(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*roomworld.Options, *services.BreakoutConfig){
		"breakout": nil,
		"breakoutfull": func(o *roomworld.Options, _ *services.BreakoutConfig) {
			o.Policy = func(c *policy.Config) { c.MaxOccupants = 2 }
		},
		"breakoutend":    nil,
		"breakoutkick":   nil,
		"breakoutplain":  nil,
		"breakoutreturn": nil,
		"breakoutmax":    func(_ *roomworld.Options, c *services.BreakoutConfig) { c.Max = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			roomworld.Twice(t, "testdata/"+name+".xmpp", func(t *testing.T, webSocket bool) *roomworld.World {
				world := breakoutWorld(change)
				world.WebSocket = webSocket
				return roomworld.New(t, world)
			})
		})
	}
}

// While another service keeps the room, for people in the lobby, it doesn't end
// with its last person; when that one lets go it does.
func TestBreakoutsLeaveHeldRooms(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := roomworld.New(t, breakoutWorld(nil))
		room := xmpp.MustJID("r@conference.meet.example")
		do := func(fn func(*muc.Room)) error { return w.Main.Do(t.Context(), room, fn) }
		send := func(c script.Conn, x string) {
			t.Helper()
			if err := c.Send(x); err != nil {
				t.Fatal(err)
			}
		}
		dial := func(name string) script.Conn {
			c, err := w.Dial(name)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		const join = `<x xmlns="http://jabber.org/protocol/muc"/>`
		focus, one := dial("F"), dial("1")
		send(focus, `<presence to="r@conference.meet.example/focus">`+join+`</presence>`)
		send(one, `<presence to="r@conference.meet.example/aaaa1111">`+join+`</presence>`)
		send(focus, `<iq type="set" id="g" to="r@conference.meet.example"><query xmlns="http://jabber.org/protocol/muc#admin"><item affiliation="owner" jid="u1@meet.example"/></query></iq>`)
		send(one, `<message to="breakout.meet.example"><breakout_rooms type="features/breakout-rooms/add" subject="A"/></message>`)
		for range 2 { // also after somebody has come back
			synctest.Wait()
			if err := do(func(r *muc.Room) { r.Hold("lobby") }); err != nil {
				t.Fatal(err)
			}
			send(one, `<presence type="unavailable" to="r@conference.meet.example/aaaa1111"/>`)
			time.Sleep(time.Minute)
			synctest.Wait()
			if err := do(func(*muc.Room) {}); err != nil {
				t.Fatal("the room ended while it was held:", err)
			}
			send(one, `<presence to="r@conference.meet.example/aaaa1111">`+join+`</presence>`)
			synctest.Wait()
			_ = do(func(r *muc.Room) { r.Unhold("lobby") })
		}
		_ = do(func(r *muc.Room) { r.Hold("lobby") })
		send(one, `<presence type="unavailable" to="r@conference.meet.example/aaaa1111"/>`)
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := do(func(r *muc.Room) { r.Unhold("lobby") }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := do(func(*muc.Room) {}); err == nil || w.Main.Stats().Rooms != 0 {
			t.Fatal("nothing keeps the room any more, and it stays")
		}
	})
}
