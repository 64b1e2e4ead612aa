package scenario

import (
	"crypto/rand"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"confab/bridge/rtpx"
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

// Somebody has joined, with keys and all, and attacks with what only a participant can
// send: packets again and again, reports and requests about the media of others,
// feedback about packets that nobody sent, floods, and messages without end. The meeting
// of the others goes on, and none of it is a panic (bridge.md §22).
func TestHostileParticipant(t *testing.T) {
	w := newWorld(t, "")
	a, b, mal := w.join("Ann", nil), w.join("Bea", nil), w.join("Mal", nil)
	w.talk(a, b, mal)
	video, audio := mal.Stats(a.Nick() + "-v0").SSRCs[0], mal.Stats(a.Nick() + "-a0").SSRCs[0]
	const own = 1
	noise := func(first byte, n int) []byte {
		p := make([]byte, n)
		_, _ = rand.Read(p)
		p[0] = first
		return p
	}
	pictures := w.metric("confab_bridge_pli_total")
	for what, attack := range map[string]func(){
		"replays": func() { mal.Replay(2000) },
		"reports of others": func() {
			for range 200 {
				mal.SendRTCP(rtpx.AppendSR(nil, video, rtpx.SenderInfo{NTP: 1, TS: 0xFFFFFFFF, Packets: 1 << 31, Octets: 1 << 31}))
				mal.SendRTCP(rtpx.AppendRR(nil, own, []rtpx.ReportBlock{{SSRC: video, Fraction: 255, Lost: 1<<23 - 1, Highest: 0xFFFFFFFF, Jitter: 1 << 31}}))
				mal.SendRTCP([]byte{0x82, 203, 0, 2, byte(video >> 24), byte(video >> 16), byte(video >> 8), byte(video), byte(audio >> 24), byte(audio >> 16), byte(audio >> 8), byte(audio)}) // BYE
			}
		},
		"requests without end": func() {
			for i := range 2000 {
				mal.SendRTCP(rtpx.AppendPLI(nil, own, video))
				mal.SendRTCP(rtpx.AppendFIR(nil, own, video, uint8(i)))
				mal.SendRTCP(rtpx.AppendNACK(nil, own, video, []uint16{uint16(i), uint16(i + 17), uint16(i + 34), uint16(i + 1000)}))
			}
		},
		"feedback about what was never sent": func() {
			for i := range 500 {
				// 60,000 statuses of "received" in runs, from some number on (draft-holmer §3.1).
				p := []byte{0x8F, 205, 0, 0, 0, 0, 0, own, byte(video >> 24), byte(video >> 16), byte(video >> 8), byte(video), byte(i), 0, 0xEA, 0x60, 0, 0, byte(i), byte(i)}
				for range 8 {
					p = append(p, 0x3F, 0xFF)
				}
				p = append(p, make([]byte, 1000)...)
				p[3], p[2] = byte(len(p)/4-1), byte((len(p)/4-1)>>8)
				mal.SendRTCP(p)
				mal.SendRTCP(rtpx.AppendREMB(nil, own, uint64(i%2)<<60, []uint32{video, audio}))
			}
		},
		"noise": func() {
			for i := range 1000 {
				for _, first := range []byte{0x00, 0x16, 0x17, 0x40, 0x80, 0x90, 0xFF} { // STUN, DTLS, ChannelData, RTP
					mal.SendRaw(noise(first, 1+i))
				}
			}
		},
		"messages without end": func() {
			for range 2000 {
				if mal.SendChannel(`{"colibriClass":"EndpointMessage","to":"","msgPayload":{"x":"`+strings.Repeat("x", 100)+`"}}`) != nil {
					return
				}
			}
			_ = mal.SendChannel(`{"colibriClass":"EndpointMessage","to":"","msgPayload":{"x":"` + strings.Repeat("x", 60_000) + `"}}`)
		},
	} {
		attack()
		for _, pair := range [][2]*meettest.Client{{a, b}, {b, a}} {
			w.sees(pair[0], pair[1], 5)
			w.hears(pair[0], pair[1])
			for _, kind := range []string{"-a0", "-v0"} {
				if st := pair[0].Stats(pair[1].Nick() + kind); len(st.SSRCs) != 1 || st.Foreign != 0 || st.Remaps != 0 {
					t.Errorf("%s: %s at %s: %+v", what, pair[1].Nick()+kind, pair[0].Nick(), st)
				}
			}
			if s := pair[0].Strange(); len(s) > 0 {
				t.Errorf("%s: packets that nobody signalled: %v", what, s)
			}
		}
	}
	// Whatever is asked for, one picture serves all who ask within a while.
	if n := w.metric("confab_bridge_pli_total") - pictures; n > 2000 {
		t.Errorf("%v key frames were asked of people for 4,000 requests of one", n)
	}
	for _, component := range []string{"bridge", "focus", "xmpp"} {
		if n := w.metric(`confab_panics_total{component="` + component + `"}`); n != 0 {
			t.Errorf("%v panics of %s", n, component)
		}
	}
	if n := w.metric("confab_bridge_excess_total"); n == 0 {
		t.Error("nothing of it was too much")
	}
}

// What anybody can write who can put another's address on a packet: DTLS that is not
// encrypted, and media and checks without a key. Whose address it is must not lose his
// connection for it.
func TestForgedDatagramsOfAParticipant(t *testing.T) {
	w := newWorld(t, "")
	a, b := w.join("Ann", nil), w.join("Bea", nil)
	w.talk(a, b)
	record := func(kind, epoch byte, payload ...byte) []byte {
		return append([]byte{kind, 0xFE, 0xFD, 0, epoch, 0, 0, 0, 0, 0xFF, 0xFF, 0, byte(len(payload))}, payload...)
	}
	hello := append([]byte{1, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0, 42, 0xFE, 0xFD}, make([]byte, 32)...) // RFC 6347 §4.2.2
	hello = append(hello, 0, 0, 0, 2, 0xC0, 0x2B, 1, 0)
	for what, datagram := range map[string][]byte{
		"fatal alert":           record(21, 0, 2, 40),
		"goodbye":               record(21, 0, 1, 0),
		"goodbye in disguise":   record(21, 1, 1, 0),
		"hello":                 record(22, 0, hello...),
		"change of cipher":      record(20, 0, 1),
		"data":                  record(23, 0, 1, 2, 3),
		"RTCP that says bye":    {0x81, 203, 0, 1, 0, 0, 0, 1},
		"a check with no key":   {0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12},
		"an error to no check":  {1, 0x11, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12},
		"an answer to no check": {1, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12},
	} {
		t.Logf("%s, fifty times", what)
		for range 50 {
			a.SendRaw(datagram)
		}
		w.sees(a, b, 2)
	}
	w.sees(b, a, 5)
	if a.Lost() || !a.ChannelOpen() || a.SendChannel(`{"colibriClass":"EndpointMessage","to":"`+b.Nick()+`","msgPayload":{"still":"here"}}`) != nil {
		t.Error("the channel is gone")
	}
	_, err := b.ExpectMessage(w.ctx, "EndpointMessage", nil)
	w.must(err)
}
