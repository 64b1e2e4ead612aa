package focus_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"confab/focus"
	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
	"confab/xmpp/xep/jingle"
	"confab/xmpp/xep/jitmeet"
)

// The room is destroyed by a moderator: the conference ends with it, and the
// next request makes another.
func TestRoomDestroyed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a, _ := w.two()
		destroy := xmpp.NewStanza(xmpp.IQ, "set", "", xmpp.JID{}, w.room, `<query xmlns="http://jabber.org/protocol/muc#owner"><destroy><reason>over</reason></destroy></query>`)
		if _, err := a.port.Request(t.Context(), destroy, time.Minute); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := w.focus.Stats(); n.Conferences != 0 || n.Participants != 0 {
			t.Errorf("%+v", n)
		}
		reqs := w.bridge.requests()
		if len(reqs) == 0 || !reqs[len(reqs)-1].Expire {
			t.Errorf("the bridge was asked %v", reqs)
		}
		w.meet("cccccccc")
	})
}

// A room that refuses the focus for the moment makes the client ask again; one
// that refuses for good is an error.
func TestRoomRefusesFocus(t *testing.T) {
	for refusal, want := range map[*xmpp.StanzaError]string{
		xmpp.ResourceConstraint("full"): "",
		xmpp.NotAllowed("no focus"):     xmpp.CondServiceUnavailable,
	} {
		bubbleIn(t, refusal.Cond, func(t *testing.T) {
			w := newWorld(t, func(c *focus.Config) { c.MUC = "conference.closed.example" })
			w.router.Serve("conference.closed.example", closed{refusal})
			w.room = xmpp.MustJID("r@conference.closed.example")
			r, se := w.client("u1@meet.example", "x").request(`machine-uid="m"`)
			switch {
			case want == "" && (se != nil || r.Ready):
				t.Errorf("%+v %v", r, se)
			case want != "" && (se == nil || se.Cond != want):
				t.Errorf("%+v %v", r, se)
			}
			synctest.Wait()
			if n := w.focus.Stats().Conferences; n != 0 {
				t.Errorf("%d conferences", n)
			}
		})
	}
}

func bubbleIn(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { bubble(t, f) })
}

// closed is a service that refuses everything.
type closed struct{ err *xmpp.StanzaError }

// The last one leaves for a side room and may come back.
func TestSwitchRoom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a := w.meet("aaaaaaaa")
		a.port.Send(xmpp.NewStanza(xmpp.Presence, "unavailable", "", xmpp.JID{}, a.me, "<status>switch_room</status>"))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if r, se := a.request(`machine-uid="m"`); se != nil || !r.Ready {
			t.Fatal(se)
		}
		a.join(caps2026)
		if p := a.presences("aaaaaaaa"); len(p) == 0 || p[len(p)-1].Type == "error" {
			t.Errorf("back: %v", p)
		}
	})
}

// A room that is to linger outlives a reload of the only participant, with its
// password; not more than that.
func TestLinger(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, func(c *focus.Config) { c.Linger = 20 * time.Second })
		a := w.meet("aaaaaaaa")
		lock := xmpp.NewStanza(xmpp.IQ, "set", "", xmpp.JID{}, w.room, `<query xmlns="http://jabber.org/protocol/muc#owner"><x xmlns="jabber:x:data" type="submit">`+
			`<field var="FORM_TYPE"><value>http://jabber.org/protocol/muc#roomconfig</value></field><field var="muc#roomconfig_roomsecret"><value>s</value></field></x></query>`)
		if _, err := a.port.Request(t.Context(), lock, time.Minute); err != nil {
			t.Fatal(err)
		}
		a.leave()
		time.Sleep(18 * time.Second)
		b := w.client("u2@meet.example", "bbbbbbbb")
		if r, se := b.request(`machine-uid="m"`); se != nil || !r.Ready {
			t.Fatal(se)
		}
		b.join(caps2026)
		if p := b.presences("bbbbbbbb"); len(p) != 1 || p[0].Type != "error" {
			t.Errorf("let in without the password: %v", p)
		}
		time.Sleep(21 * time.Second)
		synctest.Wait()
		if n := w.focus.Stats().Conferences; n != 0 {
			t.Errorf("%d conferences", n)
		}
	})
}

// What a client asks the service and the focus itself.
func TestSmallQuestions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a := w.meet("aaaaaaaa")
		ask := func(to xmpp.JID, typ, inner string) (*xmpp.Stanza, error) {
			return a.port.Request(t.Context(), xmpp.NewStanza(xmpp.IQ, typ, "", xmpp.JID{}, to, inner), time.Minute)
		}
		service, occupant := xmpp.MustJID("focus.meet.example"), w.room.WithResource("focus")
		for name, tc := range map[string]struct {
			to         xmpp.JID
			typ, inner string
			want       string // in the answer, or the condition
		}{
			"disco of the service":  {service, "get", `<query xmlns="http://jabber.org/protocol/disco#info"/>`, `var="http://jitsi.org/protocol/focus"`},
			"items of the service":  {service, "get", `<query xmlns="http://jabber.org/protocol/disco#items"/>`, `disco#items`},
			"ping of the service":   {service, "get", `<ping xmlns="urn:xmpp:ping"/>`, ""},
			"something else":        {service, "get", `<x xmlns="urn:x"/>`, xmpp.CondServiceUnavailable},
			"a user of the service": {xmpp.MustJID("x@focus.meet.example"), "get", `<ping xmlns="urn:xmpp:ping"/>`, xmpp.CondItemNotFound},
			"login-url":             {service, "get", `<login-url xmlns="http://jitsi.org/protocol/focus" room="standup@conference.meet.example" machine-uid="m"/>`, `url="./standup?login=true"`},
			"login-url, no room":    {service, "get", `<login-url xmlns="http://jitsi.org/protocol/focus" machine-uid="m"/>`, xmpp.CondNotAcceptable},
			"login-url, no machine": {service, "get", `<login-url xmlns="http://jitsi.org/protocol/focus" room="r@x"/>`, xmpp.CondBadRequest},
			"disco of the occupant": {occupant, "get", `<query xmlns="http://jabber.org/protocol/disco#info"/>`, `type="bot"`},
			"ping of the occupant":  {occupant, "get", `<ping xmlns="urn:xmpp:ping"/>`, ""},
			"version":               {occupant, "get", `<query xmlns="jabber:iq:version"/>`, xmpp.CondServiceUnavailable},
			"disco of the account":  {xmpp.MustJID("focus@auth.meet.example/focus"), "get", `<query xmlns="http://jabber.org/protocol/disco#info"/>`, `type="bot"`},
		} {
			s, err := ask(tc.to, tc.typ, tc.inner)
			if err != nil {
				if !strings.Contains(err.Error(), tc.want) || tc.want == "" {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			if !strings.Contains(s.Inner, tc.want) {
				t.Errorf("%s: %s", name, s)
			}
		}
		// Mail to the service bounces, noise is ignored.
		a.port.Send(xmpp.NewStanza(xmpp.Message, "", "m1", xmpp.JID{}, service, "<body>hi</body>"))
		a.port.Send(xmpp.NewStanza(xmpp.Presence, "", "", xmpp.JID{}, service, ""))
	})
}

// A recorder of the trusted domain is no person; a pretender is one.
func TestServices(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, func(c *focus.Config) { c.TrustedDomains = []string{"recorder.meet.example"} })
		ask := w.client("u1@meet.example", "x")
		if _, se := ask.request(`machine-uid="m"`); se != nil {
			t.Fatal(se)
		}
		claim := `<features><feature var="` + jitmeet.FeatureJibri + `"/></features>` + caps2026
		rec := w.client("recorder@recorder.meet.example", "rrrrrrrr")
		rec.join(claim)
		if rec.owner() {
			t.Error("the recorder is moderator")
		}
		fake := w.client("u2@meet.example", "ffffffff")
		fake.join(claim)
		if !fake.owner() {
			t.Error("the pretender is not taken for a person")
		}
		rec.expect(jingle.SessionInitiate)
		reqs := w.bridge.requests()
		for _, m := range reqs {
			ep := m.Endpoints[0]
			if ep.Has(colibri2.CapPrivateAddress) != (ep.ID == "rrrrrrrr") {
				t.Errorf("%s has capabilities %v", ep.ID, ep.Capabilities)
			}
		}
	})
}

// The bridge is shutting down gracefully and takes no new conference.
func TestGracefulShutdown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.bridge.refusing(func(m *colibri2.Modify) error {
			if m.Create {
				return colibri2.Refuse(xmpp.ServiceUnavailable(""), colibri2.ReasonGracefulShutdown, "")
			}
			return nil
		})
		second := w.newBridge("b2")
		w.meet("aaaaaaaa")
		b := w.meet("bbbbbbbb")
		time.Sleep(5 * time.Second)
		b.expect(jingle.SessionInitiate)
		if len(second.requests()) != 2 {
			t.Error("not on the second bridge")
		}
	})
}
