package focus_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"confab/focus"
	"confab/xmpp"
	"confab/xmpp/xep/jingle"
	"confab/xmpp/xep/jitmeet"
)

// A gateway (Jigasi) in its brewery.
type jigasi struct {
	port  *xmpp.LocalPort
	nick  xmpp.JID
	mu    sync.Mutex
	asked []*jitmeet.Dial
	fail  error // what it answers; errSilence: nothing
	uri   string
}

func (w *world) jigasi(name, stats string) *jigasi {
	w.t.Helper()
	g := &jigasi{uri: "xmpp:call-1@internal.auth.meet.example", nick: xmpp.MustJID("jigasibrewery@internal.auth.meet.example/" + name)}
	var err error
	if g.port, err = w.router.NewLocalPort(xmpp.MustJID("jigasi@auth.meet.example/"+name), g.receive); err != nil {
		w.t.Fatal(err)
	}
	g.port.Send(xmpp.NewStanza(xmpp.Presence, "", "", xmpp.JID{}, g.nick,
		`<x xmlns="http://jabber.org/protocol/muc"/><stats xmlns="http://jitsi.org/protocol/colibri">`+stats+`</stats>`))
	synctest.Wait()
	return g
}

func stat(kv ...string) (out string) {
	for i := 0; i < len(kv); i += 2 {
		out += `<stat name="` + kv[i] + `" value="` + kv[i+1] + `"/>`
	}
	return out
}

func (g *jigasi) receive(s *xmpp.Stanza) error {
	el := s.Child(jitmeet.NSRayo, "dial")
	if el == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = append(g.asked, jitmeet.ParseDial(el))
	if g.fail == errSilence {
		return nil
	} else if g.fail != nil {
		return g.fail
	}
	g.port.Send(s.Result(jitmeet.EncodeRef(g.uri)))
	return nil
}

func (g *jigasi) dials() int {
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.asked)
	g.asked = nil
	return n
}

// dial asks for a call and returns its address or the condition.
func (c *client) dial(attrs, room string) (uri, failure string) {
	c.w.t.Helper()
	header := ""
	if room != "" {
		header = `<header name="JvbRoomName" value="` + room + `"/>`
	}
	s, err := c.port.Request(c.w.t.Context(), xmpp.NewStanza(xmpp.IQ, "set", "", xmpp.JID{}, c.w.room.WithResource("focus"),
		`<dial xmlns="urn:xmpp:rayo:1" `+attrs+`>`+header+`</dial>`), 10*time.Minute)
	synctest.Wait()
	if err != nil {
		return "", cond(err)
	}
	return jitmeet.ParseRef(s.Payload()), ""
}

// The server calls somebody by itself, for the HTTP interface.
func TestDialFromOutside(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, func(c *focus.Config) { recorders(c); c.TrustedDomains = []string{"recorder.meet.example"} })
		dial := func(room xmpp.JID) error { return w.focus.Dial(t.Context(), room, "+15551234") }
		if err := dial(w.room); err != focus.ErrNoConference {
			t.Errorf("without a meeting: %v", err)
		}
		w.two()
		if err := dial(w.room); err != focus.ErrNoGateway {
			t.Errorf("without a gateway: %v", err)
		}
		w.jigasi("scribe", stat("supports_transcription", "true", "participants", "1"))
		if err := dial(w.room); err != focus.ErrNoGateway {
			t.Errorf("with a transcriber only: %v", err)
		}
		g := w.jigasi("g", stat("supports_sip", "true", "participants", "0"))
		if err := dial(w.room); err != nil {
			t.Error(err)
		}
		g.mu.Lock()
		if len(g.asked) != 1 || g.asked[0].String() != `<dial xmlns="urn:xmpp:rayo:1" from="fromnumber" to="+15551234"><header xmlns="urn:xmpp:rayo:1" name="JvbRoomName" value="`+w.room.String()+`"/></dial>` {
			t.Errorf("asked %v", g.asked)
		}
		g.mu.Unlock()
		g.fail = xmpp.InternalServerError("")
		var se *xmpp.StanzaError
		if err := dial(w.room); !errors.As(err, &se) {
			t.Errorf("a gateway that refuses: %v", err)
		}
		g.fail = errSilence
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.focus.Dial(ctx, w.room, "+1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a gateway that hangs: %v", err)
		}
	})
	t.Run("no brewery", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			w := newWorld(t, nil)
			w.two()
			if err := w.focus.Dial(t.Context(), w.room, "+1"); err != focus.ErrNoBrewery {
				t.Error(err)
			}
		})
	})
}

func TestDial(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, func(c *focus.Config) { recorders(c); c.TrustedDomains = []string{"recorder.meet.example"} })
		a, b := w.two()
		room := w.room.String()
		_, failure := a.dial(`to="+15551234" from="fromnumber"`, room)
		is(t, "no gateway", failure, xmpp.CondServiceUnavailable)
		far := w.jigasi("far", stat("supports_sip", "true", "participants", "0", "region", "us-east"))
		near := w.jigasi("near", stat("supports_sip", "true", "participants", "9", "region", "eu-west"))
		scribe := w.jigasi("scribe", stat("supports_transcription", "true", "participants", "1"))
		uri, failure := a.dial(`to="+15551234" from="fromnumber"`, room)
		is(t, "dial", uri+failure, "xmpp:call-1@internal.auth.meet.example")
		near.mu.Lock()
		if len(near.asked) != 1 || near.asked[0].String() != `<dial xmlns="urn:xmpp:rayo:1" from="fromnumber" to="+15551234"><header xmlns="urn:xmpp:rayo:1" name="JvbRoomName" value="`+room+`"/></dial>` {
			t.Errorf("asked %v", near.asked)
		}
		near.mu.Unlock()
		near.dials()
		for name, tc := range map[string]struct {
			c           *client
			attrs, room string
			want        string
		}{
			"no moderator": {b, `to="+1"`, room, xmpp.CondForbidden},
			"other room":   {a, `to="+1"`, "other@conference.meet.example", xmpp.CondForbidden},
			"no room":      {a, `to="+1"`, "@@", xmpp.CondForbidden},
			"no number":    {a, ``, room, xmpp.CondBadRequest},
		} {
			_, failure := tc.c.dial(tc.attrs, tc.room)
			is(t, name, failure, tc.want)
		}
		// The near one fails, the far one takes the call.
		near.fail = xmpp.InternalServerError("")
		uri, failure = a.dial(`to="+1"`, room)
		is(t, "second try", uri+failure, "xmpp:call-1@internal.auth.meet.example")
		if near.dials() != 1 || far.dials() != 1 || scribe.dials() != 0 {
			t.Error("not each tried once")
		}
		third := w.jigasi("third", stat("supports_sip", "true", "participants", "20"))
		third.fail = errSilence
		far.fail = xmpp.InternalServerError("")
		_, failure = a.dial(`to="+1"`, room)
		is(t, "all fail", failure, xmpp.CondRemoteServerTimeout)
		// A gateway without what it needs says so where the address of the call would be.
		scribe.uri = "not_acceptable"
		_, failure = a.dial(`to="jitsi_meet_transcribe"`, room)
		is(t, "no call", failure, xmpp.CondServiceUnavailable)
		scribe.uri = "xmpp:call-1@internal.auth.meet.example"
		scribe.dials()
		// Transcribers are others, and one is enough.
		uri, _ = a.dial(`to="Jitsi_Meet_Transcribe"`, room)
		is(t, "transcriber", uri, "xmpp:call-1@internal.auth.meet.example")
		is(t, "its number", scribe.asked[0].To, "jitsi_meet_transcribe")
		_, failure = a.dial(`to="jitsi_meet_transcribe"`, room)
		is(t, "second transcriber", failure, xmpp.CondConflict)
		tr := w.client("transcriber@recorder.meet.example", "tttttttt")
		tr.join(`<features><feature var="` + jitmeet.FeatureTranscriber + `"/></features>` + caps2026)
		tr.expect(jingle.SessionInitiate)
		time.Sleep(time.Minute)
		_, failure = a.dial(`to="jitsi_meet_transcribe"`, room)
		is(t, "one is here", failure, xmpp.CondConflict)
		tr.leave()
		uri, failure = a.dial(`to="jitsi_meet_transcribe"`, room)
		is(t, "it has left", uri+failure, "xmpp:call-1@internal.auth.meet.example")
		if st := w.focus.Stats(); st.Gateways != 4 || st.SIPGateways != 3 || st.Transcribers != 1 || st.Calls != 4 || st.CallFailures != 3 ||
			st.CallsAsked != 7 || st.CallsRefused != 6 || st.CallErrors != 4 || st.CallTimeouts != 1 || st.CallRetries != 4 {
			t.Errorf("%+v", st)
		}
	})
}

// The button to dial is there when there is a gateway.
func TestGatewayIsAnnounced(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, recorders)
		c := w.client("u1@meet.example", "aaaaaaaa")
		has := func() bool {
			r, se := c.request(`machine-uid="m"`)
			if se != nil {
				t.Fatal(se)
			}
			for _, p := range r.Properties {
				if p.Name == "sipGatewayEnabled" {
					return p.Value == "true"
				}
			}
			return false
		}
		if has() {
			t.Error("without a gateway")
		}
		g := w.jigasi("g", stat("supports_sip", "true"))
		if !has() {
			t.Error("with a gateway")
		}
		g.port.Send(xmpp.NewStanza(xmpp.Presence, "unavailable", "", xmpp.JID{}, g.nick, ""))
		synctest.Wait()
		if has() {
			t.Error("after it has left")
		}
	})
}
