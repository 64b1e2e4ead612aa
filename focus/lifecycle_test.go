package focus_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"confab/focus"
	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
	"confab/xmpp/xep/jingle"
)

// A room that nobody joins is given up, unless it is asked for again.
func TestStartTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a := w.client("u1@meet.example", "aaaaaaaa")
		ask := func() {
			t.Helper()
			if r, se := a.request(`machine-uid="m"`); se != nil || !r.Ready {
				t.Fatalf("%+v %v", r, se)
			}
		}
		ask()
		time.Sleep(10 * time.Second)
		ask()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := w.focus.Stats().Conferences; n != 1 {
			t.Errorf("%d conferences", n)
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if n := w.focus.Stats().Conferences; n != 0 {
			t.Errorf("%d conferences", n)
		}
		ask() // another meeting
		a.join(caps2026)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := w.focus.Stats().Conferences; n != 1 {
			t.Errorf("%d conferences with somebody in", n)
		}
		a.leave()
		if n := w.focus.Stats().Conferences; n != 0 {
			t.Errorf("%d conferences after the last has left", n)
		}
		ask()
	})
}

// Two requests at once make one conference, and both are answered.
func TestConcurrentRequests(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		c := w.client("u1@meet.example", "aaaaaaaa")
		ready := make(chan bool, 10)
		for range 10 {
			set := xmpp.NewStanza(xmpp.IQ, "set", "", xmpp.JID{}, xmpp.MustJID("focus.meet.example"),
				`<conference xmlns="http://jitsi.org/protocol/focus" room="`+w.room.String()+`"/>`)
			c.port.Go(set, time.Minute, func(s *xmpp.Stanza, err error) {
				ready <- err == nil && s.Child("http://jitsi.org/protocol/focus", "conference").Get("ready") == "true"
			})
		}
		for range 10 {
			if !<-ready {
				t.Error("not ready")
			}
		}
		if st := w.focus.Stats(); st.ConferencesTotal != 1 || st.Requests != 10 {
			t.Errorf("%+v", st)
		}
	})
}

// One session can't fill the server with rooms; it is put off, not refused.
func TestCreationIsLimited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, func(c *focus.Config) { c.CreationsPerMin = 3 })
		a := w.client("u1@meet.example", "aaaaaaaa")
		for i := range 5 {
			w.room = xmpp.JID{Local: "r" + string(rune('0'+i)), Domain: "conference.meet.example"}
			if r, se := a.request(`machine-uid="m"`); se != nil || r.Ready != (i < 3) {
				t.Errorf("request %d: %+v %v", i, r, se)
			}
		}
		if _, se := w.client("u2@meet.example", "x").request(`machine-uid="m"`); se != nil {
			t.Error(se)
		}
		time.Sleep(time.Minute)
		if r, se := a.request(`machine-uid="m"`); se != nil || !r.Ready {
			t.Errorf("a minute later: %+v %v", r, se)
		}
	})
}

// Nor can many sessions of one address: their requests are counted together. What the
// rooms ask on behalf of others is not.
func TestRequestsOfAnAddressAreLimited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		left := 2
		w := newWorld(t, func(c *focus.Config) {
			c.MayAsk = func(from xmpp.JID) bool {
				if from.Local == "elsewhere" {
					return true
				}
				left--
				return left >= 0
			}
		})
		for i, user := range []string{"u1", "u2", "u3", "elsewhere"} {
			w.room = xmpp.JID{Local: "r" + string(rune('0'+i)), Domain: "conference.meet.example"}
			r, se := w.client(user+"@meet.example", "aaaaaaa"+string(rune('0'+i))).request(`machine-uid="m"`)
			if user == "u3" {
				if se == nil || se.Cond != "resource-constraint" || se.Type != "wait" {
					t.Errorf("%s: %+v %v", user, r, se)
				}
			} else if se != nil || !r.Ready {
				t.Errorf("%s: %+v %v", user, r, se)
			}
		}
		if n := w.focus.Stats(); n.Conferences != 3 || n.RequestsDenied != 1 || n.Requests != 4 {
			t.Errorf("%+v", n)
		}
	})
}

func TestLonely(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a, b := w.two()
		b.leave()
		time.Sleep(15 * time.Second)
		a.nothing()
		b = w.client("u9@meet.example", "dddddddd") // in time
		b.join(caps2026)
		if err := b.accept(b.expect(jingle.SessionInitiate), 4000); err != nil {
			t.Fatal(err)
		}
		a.expect(jingle.SourceAdd)
		time.Sleep(time.Minute)
		a.nothing()
		w.bridge.requests()
		b.leave()
		time.Sleep(21 * time.Second)
		end := a.expect(jingle.SessionTerminate)
		if end.Reason.Cond != "expired" || end.Reason.Text != "Idle session timeout" || end.SID != a.sid {
			t.Errorf("%s", end)
		}
		reqs := w.bridge.requests()
		if last := reqs[len(reqs)-1]; !last.Expire { // ends the conference there
			t.Errorf("last request %s", last)
		}
		if p := a.presences("focus"); !strings.Contains(p[len(p)-1].Inner, `key="bridge-count" value="0"`) {
			t.Errorf("presence %s", p[len(p)-1])
		}
		w.meet("eeeeeeee").expect(jingle.SessionInitiate)
		a.expect(jingle.SessionInitiate) // both anew
		if reqs := w.bridge.requests(); !reqs[0].Create {
			t.Errorf("first request %s", reqs[0])
		}
	})
}

// Who leaves before accepting, or before the bridge answers, leaves nothing.
func TestLeaveEarly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a := w.meet("aaaaaaaa")
		w.meet("cccccccc")
		w.bridge.requests()
		var late *colibri2.Modify
		w.bridge.refusing(func(m *colibri2.Modify) error {
			if m.Endpoints[0].Create {
				late = m
				return errSilence
			}
			return nil
		})
		b := w.meet("bbbbbbbb")
		b.leave()
		w.bridge.refusing(nil)
		a.expect(jingle.SessionInitiate)
		time.Sleep(16 * time.Second) // the request times out
		b.nothing()
		if late == nil {
			t.Fatal("the bridge was not asked")
		}
		reqs := w.bridge.requests()
		if last := reqs[len(reqs)-1]; last.Endpoints[0].ID != "bbbbbbbb" || !last.Endpoints[0].Expire {
			t.Errorf("last request %s", last)
		}
		a.nothing() // one silence about one endpoint moves nobody: it is gone anyway
	})
}

// Restart at the client's wish: result, and a new offer at once.
func TestRestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a, b := w.two()
		restart := func(id string) error {
			return a.say((&jingle.Jingle{
				Action: jingle.SessionTerminate, SID: a.sid, Reason: &jingle.Reason{Cond: "connectivity-error", Text: "ICE FAILED"},
				BridgeSession: &jingle.BridgeSession{ID: id, Restart: true},
			}).String())
		}
		old := a.sid
		if err := restart("some-stale-id"); err != nil { // the sid is what counts
			t.Fatal(err)
		}
		offer := a.expect(jingle.SessionInitiate)
		if offer.SID == old || len(offer.Sources["bbbbbbbb"].Video) != 2 {
			t.Errorf("%s", offer)
		}
		b.expect(jingle.SourceRemove)
		reqs := w.bridge.requests()
		if len(reqs) != 2 || !reqs[0].Endpoints[0].Expire || !reqs[1].Endpoints[0].Create || reqs[1].Create {
			t.Errorf("bridge was asked %v", reqs)
		}
		// The old session is over.
		for action, cond := range map[string]string{
			jingle.SessionAccept: xmpp.CondGone, jingle.SourceAdd: xmpp.CondItemNotFound, jingle.TransportInfo: xmpp.CondItemNotFound,
		} {
			se, _ := a.say((&jingle.Jingle{Action: action, SID: old, Contents: a.media(1000)}).String()).(*xmpp.StanzaError)
			if se == nil || se.Cond != cond {
				t.Errorf("%s: %v", action, se)
			}
		}
		if err := a.say((&jingle.Jingle{Action: jingle.SessionTerminate, SID: old}).String()); err != nil {
			t.Errorf("terminate: %v", err)
		}
		if err := a.accept(offer, 1000); err != nil { // with the same SSRCs
			t.Fatal(err)
		}
		b.expect(jingle.SourceAdd)
		// Again within 5 s: refused, and over.
		se, _ := restart("x").(*xmpp.StanzaError)
		if se == nil || se.Cond != xmpp.CondResourceConstraint || se.Text != "rate-limited" {
			t.Errorf("second restart: %v", se)
		}
		a.nothing()
		b.expect(jingle.SourceRemove)
		st := w.focus.Stats()
		if st.Restarts != 2 || st.ParticipantTotal != 2 || !slices.Equal(st.OnBridge, []focus.OnBridge{{Bridge: "b1", Endpoints: 1, Restarts: 2}}) {
			t.Errorf("%+v", st)
		}
		if sent, got := st.Sent[slices.Index(focus.JingleActions[:], jingle.SessionInitiate)], st.Received[slices.Index(focus.JingleActions[:], jingle.SessionTerminate)]; sent != 3 || got != 3 {
			t.Errorf("%d offers sent, %d ends received", sent, got)
		}
		if se, _ := a.say((&jingle.Jingle{Action: jingle.SourceAdd, SID: "never"}).String()).(*xmpp.StanzaError); se == nil || !strings.Contains(se.App, "unknown-session") {
			t.Errorf("unknown session: %v", se)
		}
	})
}

// The bridge session's only participant restarts: its conference on the bridge
// ends with the endpoint, and is made again.
func TestRestartAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		p := w.client("plain@meet.example", "Romeo")
		p.features = featuresChat
		p.join("")
		a := w.meet("aaaaaaaa")
		if err := a.accept(a.expect(jingle.SessionInitiate), 1000); err != nil {
			t.Fatal(err)
		}
		w.bridge.requests()
		if err := a.say((&jingle.Jingle{Action: jingle.SessionTerminate, SID: a.sid, BridgeSession: &jingle.BridgeSession{Restart: true}}).String()); err != nil {
			t.Fatal(err)
		}
		// The bridge's own sources are new with its conference.
		if offer := a.expect(jingle.SessionInitiate); len(offer.Sources["jvb"].Video) != 1 || offer.Sources["jvb"].Video[0].SSRC != 1863439908 {
			t.Errorf("%s", offer)
		}
		if reqs := w.bridge.requests(); len(reqs) != 2 || !reqs[1].Create || reqs[1].Name == "" {
			t.Errorf("bridge was asked %v", reqs)
		}
	})
}

func TestICERestartInPlace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a := w.meet("aaaaaaaa")
		w.meet("bbbbbbbb")
		offer := a.expect(jingle.SessionInitiate)
		if err := a.accept(offer, 1000); err != nil {
			t.Fatal(err)
		}
		w.bridge.requests()
		ask := func(id string) *xmpp.StanzaError {
			se, _ := a.say((&jingle.Jingle{Action: jingle.SessionInfo, SID: a.sid, BridgeSession: &jingle.BridgeSession{ID: id, ICERestart: true}}).String()).(*xmpp.StanzaError)
			return se
		}
		if se := ask("stale"); se == nil || se.Cond != xmpp.CondItemNotFound {
			t.Errorf("stale id: %v", se)
		}
		if se := ask(offer.BridgeSession.ID); se != nil {
			t.Fatal(se)
		}
		info := a.expect(jingle.TransportInfo)
		tr := info.FirstTransport()
		if info.SID != a.sid || len(info.Contents) != 1 || info.Contents[0].Name != "audio" || tr.Generation != 3 || tr.Ufrag != "u3" {
			t.Errorf("%s", info)
		}
		// The client's answer, as the August 2026 library sends it; then a stale one.
		w.bridge.requests()
		for _, gen := range []int{3, 2} {
			j := &jingle.Jingle{Action: jingle.TransportInfo, SID: a.sid, Contents: []jingle.Content{
				{Creator: "responder", Name: "audio", Transport: &jingle.Transport{Ufrag: "new", Pwd: "p", Generation: gen, Fingerprints: []jingle.Fingerprint{{Hash: "sha-256", Setup: "active", Value: "AA"}}}},
			}}
			if err := a.say(j.String()); err != nil {
				t.Fatal(err)
			}
		}
		reqs := w.bridge.requests()
		if len(reqs) != 1 || reqs[0].Endpoints[0].Transport.ICE.Generation != 3 || reqs[0].Endpoints[0].Sources != nil {
			t.Errorf("bridge was asked %v", reqs)
		}
		if se := ask(offer.BridgeSession.ID); se == nil || se.Cond != xmpp.CondResourceConstraint {
			t.Errorf("again at once: %v", se)
		}
		if st := w.focus.Stats(); st.ICERestartsAsked != 3 || st.ICERestarts != 1 || st.ICERestartsFailed != 2 {
			t.Errorf("%+v", st)
		}
	})
}

func TestICERestartSwitchedOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, func(c *focus.Config) { c.ICERestart = false })
		a, _ := w.two()
		se, _ := a.say((&jingle.Jingle{Action: jingle.SessionInfo, SID: a.sid, BridgeSession: &jingle.BridgeSession{ID: "x", ICERestart: true}}).String()).(*xmpp.StanzaError)
		if se == nil || se.Cond != xmpp.CondFeatureNotImplemented {
			t.Errorf("%v", se)
		}
	})
}

// An old client reports that ICE failed.
func TestICEStateFailed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a := w.meet("aaaaaaaa")
		w.meet("bbbbbbbb")
		offer := a.expect(jingle.SessionInitiate)
		if err := a.accept(offer, 1000); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"other", offer.BridgeSession.ID} {
			j := &jingle.Jingle{Action: jingle.SessionInfo, SID: a.sid, ICEState: "FAILED", BridgeSession: &jingle.BridgeSession{ID: id}}
			if err := a.say(j.String()); err != nil {
				t.Fatal(err)
			}
			if id == "other" {
				a.nothing()
			}
		}
		if end := a.expect(jingle.SessionTerminate); end.Reason.Cond != "success" || end.Reason.Text != "moving" {
			t.Errorf("%s", end)
		}
		a.expect(jingle.SessionInitiate)
	})
}

func TestHangUpWithoutLeaving(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a, b := w.two()
		if err := a.say((&jingle.Jingle{Action: jingle.SessionTerminate, SID: a.sid, Reason: &jingle.Reason{Cond: "success"}}).String()); err != nil {
			t.Fatal(err)
		}
		b.expect(jingle.SourceRemove)
		w.meet("cccccccc").expect(jingle.SessionInitiate)
		a.nothing() // not asked again while the others go on
	})
}

// Errors of Jingle, exact.
func TestJingleErrors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a, b := w.two()
		outsider := w.client("evil@meet.example", "eeeeeeee")
		for name, tc := range map[string]struct{ inner, cond, text string }{
			"no action":           {`<jingle xmlns="urn:xmpp:jingle:1" sid="` + a.sid + `"/>`, xmpp.CondBadRequest, "Missing 'action'"},
			"foreign sid":         {`<jingle xmlns="urn:xmpp:jingle:1" action="source-add" sid="` + b.sid + `"/>`, xmpp.CondItemNotFound, ""},
			"content-modify":      {`<jingle xmlns="urn:xmpp:jingle:1" action="content-modify" sid="` + a.sid + `"/>`, xmpp.CondFeatureNotImplemented, ""},
			"no transport":        {`<jingle xmlns="urn:xmpp:jingle:1" action="transport-info" sid="` + a.sid + `"/>`, xmpp.CondBadRequest, "missing transport"},
			"second accept":       {(&jingle.Jingle{Action: jingle.SessionAccept, SID: a.sid, Contents: a.media(7000)}).String(), xmpp.CondUnexpectedRequest, ""},
			"unknown payload":     {`<x xmlns="urn:x"/>`, xmpp.CondServiceUnavailable, ""},
			"no recorders at all": {`<jibri xmlns="http://jitsi.org/protocol/jibri" action="start" recording_mode="file"/>`, xmpp.CondItemNotFound, ""},
			"removing another's":  {`<jingle xmlns="urn:xmpp:jingle:1" action="source-remove" sid="` + a.sid + `"><content name="video"><description media="video"><source ssrc="2001"/></description></content></jingle>`, xmpp.CondBadRequest, "SSRC 2001 is not one of the sender's"},
			"JSON garbage":        {`<jingle xmlns="urn:xmpp:jingle:1" action="source-add" sid="` + a.sid + `"><json-message xmlns="http://jitsi.org/jitmeet">{"sources":7}</json-message></jingle>`, xmpp.CondBadRequest, "Invalid JSON sources"},
			"mute of nobody":      {`<mute xmlns="http://jitsi.org/jitmeet/audio" jid="` + w.room.String() + `/zzzz">true</mute>`, xmpp.CondItemNotFound, ""},
			"mute without target": {`<mute xmlns="http://jitsi.org/jitmeet/audio">true</mute>`, xmpp.CondBadRequest, ""},
			"mute without text":   {`<mute xmlns="http://jitsi.org/jitmeet/audio" jid="` + b.me.String() + `"/>`, xmpp.CondBadRequest, ""},
			"unmuting another":    {`<mute xmlns="http://jitsi.org/jitmeet/audio" jid="` + b.me.String() + `">false</mute>`, xmpp.CondNotAllowed, "nobody unmutes another"},
		} {
			se, _ := a.say(tc.inner).(*xmpp.StanzaError)
			if se == nil || se.Cond != tc.cond || se.Text != tc.text {
				t.Errorf("%s: %v, want %s %s", name, se, tc.cond, tc.text)
			}
		}
		if err := outsider.say(`<jingle xmlns="urn:xmpp:jingle:1" action="session-terminate" sid="` + a.sid + `"/>`); err == nil {
			t.Error("an outsider ended a session")
		}
		b.nothing()
		if reqs := w.bridge.requests(); len(reqs) != 0 {
			t.Errorf("the bridge was told %v", reqs)
		}
	})
}

// An accept that is not valid ends the session.
func TestInvalidAccept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a, b := w.meet("aaaaaaaa"), w.meet("bbbbbbbb")
		if err := a.accept(a.expect(jingle.SessionInitiate), 1000); err != nil {
			t.Fatal(err)
		}
		offer := b.expect(jingle.SessionInitiate)
		se, _ := b.accept(offer, 1000).(*xmpp.StanzaError) // the SSRCs of the other
		if se == nil || se.Cond != xmpp.CondBadRequest {
			t.Fatal(se)
		}
		if se, _ := b.accept(offer, 2000).(*xmpp.StanzaError); se == nil || se.Cond != xmpp.CondGone {
			t.Errorf("accept after that: %v", se)
		}
	})
}

// A client that refuses the offer is not bothered again.
func TestOfferRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a := w.meet("aaaaaaaa")
		b := w.client("u2@meet.example", "bbbbbbbb")
		b.refuse = xmpp.ServiceUnavailable("")
		b.join(caps2026)
		b.expect(jingle.SessionInitiate)
		b.expect(jingle.SessionTerminate)
		time.Sleep(10 * time.Minute)
		w.meet("cccccccc")
		b.nothing()
		a.expect(jingle.SessionInitiate)
		reqs := w.bridge.requests()
		found := false
		for _, m := range reqs {
			found = found || len(m.Endpoints) == 1 && m.Endpoints[0].ID == "bbbbbbbb" && m.Endpoints[0].Expire
		}
		if !found {
			t.Error("its endpoint stays")
		}
	})
}

func TestMute(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a, b := w.two() // a is moderator
		mute := func(of *client, ns string) string {
			return `<mute xmlns="http://jitsi.org/jitmeet/` + ns + `" jid="` + of.me.String() + `">true</mute>`
		}
		for _, ns := range []string{"audio", "video", "desktop"} {
			if err := a.say(mute(b, ns)); err != nil {
				t.Fatal(err)
			}
			var got *xmpp.Stanza
			for _, s := range b.stanzas() {
				if s.Has("http://jitsi.org/jitmeet/"+ns, "mute") {
					got = s
				}
			}
			want := `<mute xmlns="http://jitsi.org/jitmeet/` + ns + `" actor="` + a.me.String() + `">true</mute>`
			if got == nil || got.Inner != want || got.From != w.room.WithResource("focus") || got.Type != "set" {
				t.Errorf("%s: %v", ns, got)
			}
		}
		se, _ := b.say(mute(a, "audio")).(*xmpp.StanzaError)
		if se == nil || se.Cond != xmpp.CondNotAllowed {
			t.Errorf("a participant mutes the moderator: %v", se)
		}
		if err := b.say(mute(b, "audio")); err != nil {
			t.Errorf("muting oneself: %v", err)
		}
	})
}

// The next in order of joining becomes moderator when the first leaves.
func TestModeratorLeaves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a, b, c := w.meet("aaaaaaaa"), w.meet("bbbbbbbb"), w.meet("cccccccc")
		a.leave()
		if !b.owner() || c.owner() {
			t.Errorf("b %v, c %v", b.owner(), c.owner())
		}
	})
}

func TestEveryoneModerates(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, func(c *focus.Config) { c.Moderators = focus.ModeratorsEveryone })
		if a, b := w.meet("aaaaaaaa"), w.meet("bbbbbbbb"); !a.owner() || !b.owner() {
			t.Errorf("a %v, b %v", a.owner(), b.owner())
		}
	})
}

// stanzas takes all that the client got.
func (c *client) stanzas() []*xmpp.Stanza {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.got
	c.got = nil
	return out
}

// owner reports whether the client has been made owner.
func (c *client) owner() bool {
	p := c.presences(c.nick)
	return len(p) > 0 && strings.Contains(p[len(p)-1].Inner, `affiliation="owner"`)
}
