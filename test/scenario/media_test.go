package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"confab/internal/meettest"
	"confab/xmpp"
)

func TestTwoTalk(t *testing.T) {
	w := newWorld(t, "")
	a, b := w.join("Ann", nil), w.join("Bea", nil)
	w.talk(a, b)
	if !a.Moderator() || b.Moderator() {
		t.Errorf("moderator: first %v, second %v", a.Moderator(), b.Moderator())
	}
	w.must(a.Chat("hello"))
	for _, c := range []*meettest.Client{a, b} { // one's own comes back, too
		if _, err := c.ExpectChat(w.ctx, "hello"); err != nil {
			t.Fatal(err)
		}
	}
	w.smooth(a, b)
	w.smooth(b, a)

	w.must(b.Leave(w.ctx))
	err := a.Until(w.ctx, "Bea to be gone", func() bool {
		_, there := a.Occupant(b.Nick())
		return !there && len(a.Sources()) == 0
	})
	w.must(err)
	w.must(b.Close())
}

func TestThirdJoinsLate(t *testing.T) {
	w := newWorld(t, "")
	a, b := w.join("Ann", nil), w.join("Bea", nil)
	w.talk(a, b)
	c := w.join("Cem", nil)
	w.talk(a, b, c)
	w.smooth(c, a, b)
	w.smooth(a, b, c)
	c.Kill() // the page crashes; the others go on
	w.sees(a, b, 20)
	w.smooth(a, b)
}

// Who asks for 720p gets it, who wants less gets less, from one sender at once.
func TestHeightAskedIsHeightGot(t *testing.T) {
	w := newWorld(t, "")
	a, b, c := w.join("Ann", nil), w.join("Bea", nil), w.join("Cem", nil)
	w.talk(a, b, c)
	source := a.Nick() + "-v0"
	w.must(b.Want(720))
	w.must(c.Want(180))
	w.height(b, source, 720)
	w.height(c, source, 180)
	if a.SendHeight() >= 0 && a.SendHeight() < 720 {
		t.Errorf("the sender is asked for %d", a.SendHeight())
	}
	w.sees(b, a, 20)
	w.sees(c, a, 20)
	w.smooth(b, a, c)
	w.smooth(c, a, b)
}

func (w *world) height(c *meettest.Client, source string, height int) {
	w.t.Helper()
	err := c.Until(w.ctx, fmt.Sprintf("%s in %dp", source, height), func() bool { return c.Stats(source).Height == height })
	if err != nil {
		w.t.Fatalf("%v\n%+v", err, c.Stats(source))
	}
}

// Up and down again and again: one stream for the receiver, without a seam.
func TestLayerSwitchesAreSeamless(t *testing.T) {
	w := newWorld(t, "")
	a, b := w.join("Ann", nil), w.join("Bea", nil)
	w.talk(a, b)
	source := a.Nick() + "-v0"
	for _, height := range []int{720, 180, 360, 720, 360, 180} {
		w.must(b.Want(height))
		w.height(b, source, height)
		w.sees(b, a, 5)
	}
	w.smooth(b, a)
	if st := b.Stats(source); st.Switches < 5 {
		t.Errorf("%+v", st)
	}
}

func TestLastN(t *testing.T) {
	w := newWorld(t, "")
	a, b := w.join("Ann", nil), w.join("Bea", nil)
	w.talk(a, b)
	none, all := 0, -1
	w.must(b.Constrain(meettest.Constraints{LastN: &none}))
	w.must(b.Until(w.ctx, "no video to be forwarded", func() bool { return len(b.Forwarded()) == 0 }))
	// The only receiver wants nothing: the sender is told to stop.
	w.must(a.Until(w.ctx, "the camera to be stopped", func() bool { return a.SendHeight() == 0 }))
	w.hears(b, a)
	w.must(b.Constrain(meettest.Constraints{LastN: &all}))
	w.sees(b, a, 10)
	w.smooth(b, a)
}

func TestActiveSpeaker(t *testing.T) {
	w := newWorld(t, "")
	a, b, c := w.join("Ann", nil), w.join("Bea", nil), w.join("Cem", nil)
	w.talk(a, b, c)
	for _, speaker := range []*meettest.Client{b, c} {
		speaker.SetAudioLevel(5)
		for _, listener := range []*meettest.Client{a, b, c} {
			err := listener.Until(w.ctx, speaker.Nick()+" to be the speaker", func() bool { return listener.Speaker() == speaker.Nick() })
			if err != nil {
				t.Fatalf("%v, but %s is", err, listener.Speaker())
			}
		}
		speaker.SetAudioLevel(127)
	}
}

func TestICERestart(t *testing.T) {
	w := newWorld(t, "")
	a, b := w.join("Ann", nil), w.join("Bea", nil)
	w.talk(a, b)
	w.must(a.RestartICE(w.ctx))
	w.sees(a, b, 20)
	w.sees(b, a, 20)
	// Not at once again: the focus bounds how often (focus.md).
	var se *xmpp.StanzaError
	if err := a.RestartICE(w.ctx); !errors.As(err, &se) || se.Cond != xmpp.CondResourceConstraint {
		t.Errorf("a second restart at once: %v", err)
	}
	w.smooth(b, a)
}

// Keys are made anew by another session (DTLS restart): a client whose connection is lost
// wants one, and one whose DTLS has ended gets one when it asks for an ICE restart, as it
// does because the bridge does not answer its checks any more. The others go on meanwhile.
func TestDTLSRestart(t *testing.T) {
	w := newWorld(t, "")
	a, b, c := w.join("Ann", nil), w.join("Bea", nil), w.join("Cem", nil)
	w.talk(a, b, c)
	for how, restart := range map[string]func(context.Context) error{
		"the client ends its session": a.RestartSession,
		"its DTLS has ended": func(ctx context.Context) error {
			w.must(a.EndDTLS())
			w.must(a.Until(ctx, "its checks to be left unanswered", a.Lost))
			return a.RestartICEInVain(ctx)
		},
	} {
		began := time.Now()
		w.must(restart(w.ctx))
		t.Logf("%s: %v until media can flow again", how, time.Since(began).Round(time.Millisecond))
		for _, other := range []*meettest.Client{b, c} {
			w.sees(a, other, 5)
			w.hears(a, other)
			w.sees(other, a, 5)
			w.hears(other, a)
		}
	}
	// To the others nothing has happened: what they get of each other is one stream still.
	for _, pair := range [][2]*meettest.Client{{b, c}, {c, b}} {
		for _, kind := range []string{"-a0", "-v0"} {
			if st := pair[0].Stats(pair[1].Nick() + kind); len(st.SSRCs) != 1 || st.Foreign != 0 || st.Remaps != 0 {
				t.Errorf("%s at %s: %+v", pair[1].Nick()+kind, pair[0].Nick(), st)
			}
		}
		if s := pair[0].Strange(); len(s) > 0 {
			t.Errorf("%s got packets that nobody signalled: %v", pair[0].Nick(), s)
		}
	}
	if n := w.metric("jitsi_jicofo_participants_restart_requested_total"); n != 1 {
		t.Errorf("%v sessions restarted", n)
	}
}

func TestRelayOnly(t *testing.T) {
	for _, transport := range []string{"udp", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			w := newWorld(t, "")
			a := w.join("Ann", func(o *meettest.Options) { o.Relay = transport })
			b := w.join("Bea", nil)
			w.talk(a, b)
			if a.Path() != "relay" || b.Path() != "host" {
				t.Errorf("paths %s and %s", a.Path(), b.Path())
			}
			// Between the relay and the bridge nothing goes through the kernel: all that
			// came out of the relay went to the bridge, and the other way round.
			for _, direction := range []string{"to_relay", "from_relay"} {
				if n := w.metric(`confab_bridge_relay_packets_total{direction="` + direction + `"}`); n < 20 {
					t.Errorf("%v packets %s in memory", n, direction)
				}
			}
		})
	}
}

func TestColibriWebSocket(t *testing.T) {
	w := newWorld(t, "[bridge]\nchannel = \"both\"\n")
	a := w.join("Ann", func(o *meettest.Options) { o.WebSocket = true })
	b := w.join("Bea", nil)
	w.talk(a, b)
	w.must(a.Want(720))
	w.height(a, b.Nick()+"-v0", 720)
	w.must(a.SendChannel(`{"colibriClass":"EndpointMessage","to":"` + b.Nick() + `","from":"forged","msgPayload":{"name":"wave"}}`))
	m, err := b.ExpectMessage(w.ctx, "EndpointMessage", nil)
	w.must(err)
	var msg struct{ From string }
	if json.Unmarshal(m, &msg) != nil || msg.From != a.Nick() {
		t.Errorf("%s", m)
	}
}

func TestXMLSources(t *testing.T) {
	w := newWorld(t, "")
	a := w.join("Ann", func(o *meettest.Options) {
		o.Features = without(meettest.Features2026, "http://jitsi.org/json-encoded-sources")
	})
	b := w.join("Bea", nil)
	w.talk(a, b)
}

func without(list []string, drop string) (out []string) {
	for _, s := range list {
		if s != drop {
			out = append(out, s)
		}
	}
	return out
}
