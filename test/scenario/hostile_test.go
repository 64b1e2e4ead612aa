package scenario

import (
	"crypto/rand"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"confab/internal/meettest"
)

// goesOn checks that the meeting of a and b does not notice what f does.
func (w *world) goesOn(a, b *meettest.Client, f func()) {
	w.t.Helper()
	f()
	w.sees(a, b, 10)
	w.sees(b, a, 10)
	w.smooth(a, b)
	w.smooth(b, a)
}

func TestForeignSSRC(t *testing.T) {
	w := newWorld(t, "")
	a, b, c := w.join("Ann", nil), w.join("Bea", nil), w.join("Mal", nil)
	w.talk(a, b, c)
	w.goesOn(a, b, func() {
		c.SendForeign(0xbad, 500)
		c.SendForeign(b.Stats(a.Nick() + "-v0").SSRCs[0], 500) // somebody else's
	})
	w.sees(a, c, 10)
}

func TestJunkOnBridgeChannel(t *testing.T) {
	w := newWorld(t, "")
	a, b, c := w.join("Ann", nil), w.join("Bea", nil), w.join("Mal", nil)
	w.talk(a, b, c)
	w.goesOn(a, b, func() {
		for _, m := range []string{
			"", "{", "null", "[]", `"x"`, "\x00\xff", `{"colibriClass":1}`, `{"colibriClass":"NoSuch"}`,
			`{"colibriClass":"ReceiverVideoConstraints","lastN":"all"}`,
			`{"colibriClass":"ReceiverVideoConstraints","constraints":{"x":{"maxHeight":-99}}}`,
			`{"colibriClass":"EndpointMessage","to":{},"msgPayload":1}`,
			`{"colibriClass":"ReceiverVideoConstraints","selectedSources":[` + strings.Repeat(`"a-v0",`, 5000) + `"b-v0"]}`,
			strings.Repeat("[", 20000),
		} {
			_ = c.SendChannel(m)
		}
	})
	w.must(c.Want(720)) // its own channel still works
	w.height(c, a.Nick()+"-v0", 720)
}

func TestUnknownSTUN(t *testing.T) {
	w := newWorld(t, "")
	a, b := w.join("Ann", nil), w.join("Bea", nil)
	w.talk(a, b)
	w.goesOn(a, b, func() {
		for _, port := range []int{w.Media, w.TURN} {
			conn, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", port))
			w.must(err)
			packet := make([]byte, 20, 64)
			for range 10_000 {
				_, _ = rand.Read(packet[8:20])
				copy(packet, []byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42})
				_, _ = conn.Write(packet)
			}
			_ = conn.Close()
		}
	})
}

func TestForgedFromAndBrokenXML(t *testing.T) {
	w := newWorld(t, "")
	a, b := w.join("Ann", nil), w.join("Bea", nil)
	w.talk(a, b)
	room := w.room + "@conference." + w.Domain
	w.goesOn(a, b, func() {
		for _, raw := range []string{
			`<message xmlns="jabber:client" from="` + a.JID().String() + `" to="` + room + `" type="groupchat"><body>I am Ann</body></message>`,
			`<iq xmlns="jabber:client" from="focus@auth.` + w.Domain + `/focus" to="` + room + `/` + a.Nick() + `" type="set" id="x"><mute xmlns="http://jitsi.org/jitmeet/audio">true</mute></iq>`,
			`<message xmlns="jabber:client" to="` + room + `"><body>`, // not well-formed
			`<message xmlns="jabber:client" to="` + room + `" type="groupchat"><body>` + strings.Repeat("x", 10<<20) + `</body></message>`,
			`<!DOCTYPE x [<!ENTITY a "b">]><message xmlns="jabber:client"/>`,
		} {
			m := w.Dial(w.ctx, "Mal", func(o *meettest.Options) { o.Room = w.room })
			w.must(m.Join(w.ctx, w.room))
			_ = m.SendXML(raw)
			// Refused, dropped, or the end of Mal's stream: not of anybody else's.
			_ = m.Ping(w.ctx)
			m.Kill()
		}
		w.must(a.Chat("still here"))
		s, err := b.ExpectChat(w.ctx, "still here")
		w.must(err)
		if s.From.Resource != a.Nick() {
			t.Errorf("said by %s", s.From)
		}
		if forged, err := b.ExpectChat(cancelled(), "I am Ann"); err == nil && forged.From.Resource == a.Nick() {
			t.Error("a forged from was believed")
		}
		if a.Muted("audio") {
			t.Error("muted by a forged focus")
		}
	})
	for _, c := range []*meettest.Client{a, b} {
		if err := c.Err(); err != nil {
			t.Error(err)
		}
	}
}

// A hundred wrong passwords: each is refused, and Ann's meeting goes on.
func TestWrongPasswords(t *testing.T) {
	w := newWorld(t, "")
	a, b := w.join("Ann", nil), w.join("Bea", nil)
	w.talk(a, b)
	w.goesOn(a, b, func() {
		var all sync.WaitGroup
		for attacker := range 20 {
			all.Go(func() {
				for try := range 5 {
					opt := w.Options("Mal")
					opt.Account, opt.Password, opt.Mechanism = w.HostLogin, fmt.Sprint("guess", attacker, try), "PLAIN"
					if _, err := meettest.Dial(w.ctx, opt); err == nil {
						t.Error("a wrong password was taken")
					}
				}
			})
		}
		all.Wait()
	})
}
