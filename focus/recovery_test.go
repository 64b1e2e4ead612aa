package focus_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"confab/focus"
	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
	"confab/xmpp/xep/jingle"
)

// bridgeGone reports whether the clients have been told that there is no bridge.
func (c *client) bridgeGone() bool {
	p := c.presences("focus")
	return len(p) > 0 && strings.Contains(p[len(p)-1].Inner, "bridgeNotAvailable")
}

// The bridge leaves the brewery and another takes over.
func TestBridgeReplaced(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a, b := w.two()
		second := w.newBridge("b2")
		w.bridge.leave()
		for _, c := range []*client{a, b} {
			if end := c.expect(jingle.SessionTerminate); end.Reason.Text != "moving" || end.SID != c.sid {
				t.Errorf("%s", end)
			}
			if offer := c.expect(jingle.SessionInitiate); len(offer.Sources) != 1 {
				t.Errorf("%s", offer) // nobody sends yet
			}
		}
		if reqs := second.requests(); len(reqs) != 2 || !reqs[0].Create || reqs[1].Create {
			t.Errorf("the second was asked %v", reqs)
		}
		if a.bridgeGone() {
			t.Error("bridgeNotAvailable")
		}
		if st := w.focus.Stats(); st.BridgesLost != 1 || st.BridgesRemoved != 1 || st.Moved != 2 || !slices.Equal(st.OnBridge, []focus.OnBridge{{Bridge: "b2", Endpoints: 2}}) {
			t.Errorf("%+v", st)
		}
	})
}

// The only bridge restarts: the clients are told nothing, and media comes back.
func TestBridgeRestarts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a, b := w.two()
		w.bridge.leave()
		for _, c := range []*client{a, b} {
			c.expect(jingle.SessionTerminate)
		}
		time.Sleep(5 * time.Second)
		w.newBridge("b1")
		for i, c := range []*client{a, b} {
			if err := c.accept(c.expect(jingle.SessionInitiate), uint32(i+1)*1000); err != nil {
				t.Fatal(err)
			}
			if c.bridgeGone() {
				t.Error("bridgeNotAvailable")
			}
		}
		a.expect(jingle.SourceAdd)
		b.expect(jingle.SourceAdd)
	})
}

// No bridge for long: only then the clients are told.
func TestNoBridge(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.bridge.leave()
		a, b := w.meet("aaaaaaaa"), w.meet("bbbbbbbb")
		time.Sleep(9 * time.Second)
		if a.bridgeGone() {
			t.Error("told too early")
		}
		time.Sleep(2 * time.Second)
		if !a.bridgeGone() || !b.bridgeGone() {
			t.Error("not told")
		}
		w.newBridge("b3")
		a.expect(jingle.SessionInitiate)
		if p := a.presences("focus"); len(p) == 0 || strings.Contains(p[len(p)-1].Inner, "bridgeNotAvailable") || !strings.Contains(p[len(p)-1].Inner, `key="bridge-count" value="1"`) {
			t.Errorf("presence %v", p)
		}
	})
}

// Each row of the table of refusals (focus.md §13.8), as far as it shows.
func TestAllocationRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		refusal error
		moved   bool          // those who were on the bridge are offered anew
		after   time.Duration // the newcomer is offered a session
	}{
		"bad request":               {colibri2.Refuse(xmpp.BadRequest(""), colibri2.ReasonUnspecified, ""), false, time.Second},
		"feature not implemented":   {colibri2.Refuse(xmpp.FeatureNotImplemented(""), colibri2.ReasonFeatureNotImplemented, ""), false, time.Second},
		"not the bridge":            {xmpp.ItemNotFound(""), false, time.Second},
		"internal error":            {colibri2.Refuse(xmpp.InternalServerError(""), colibri2.ReasonUnspecified, ""), false, time.Second},
		"conference not found":      {colibri2.Refuse(xmpp.ItemNotFound(""), colibri2.ReasonConferenceNotFound, ""), true, 0},
		"conference already exists": {colibri2.Refuse(xmpp.Conflict(""), colibri2.ReasonConferenceAlreadyExists, ""), true, 0},
		"silence":                   {errSilence, true, 16 * time.Second}, // and when it has reported again
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, nil)
				a, b := w.two()
				refusals := 0
				w.bridge.refusing(func(m *colibri2.Modify) error {
					if refusals == 0 && len(m.Endpoints) == 1 && m.Endpoints[0].ID == "cccccccc" && m.Endpoints[0].Create {
						refusals++
						return tc.refusal
					}
					return nil
				})
				c := w.meet("cccccccc")
				if tc.after > 0 {
					time.Sleep(tc.after - time.Millisecond)
					c.nothing()
					w.bridge.present("")
					time.Sleep(time.Millisecond)
				}
				c.expect(jingle.SessionInitiate)
				for _, o := range []*client{a, b} {
					if !tc.moved {
						o.nothing()
						continue
					}
					o.expect(jingle.SessionTerminate)
				}
				if refusals != 1 || a.bridgeGone() {
					t.Errorf("refused %d times", refusals)
				}
			})
		})
	}
}

// An update that names an unknown endpoint concerns that endpoint only; any
// other refusal the whole session.
func TestUpdateRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a, b := w.two()
		var refusal error
		w.bridge.refusing(func(m *colibri2.Modify) error {
			if len(m.Endpoints) == 1 && m.Endpoints[0].Sources != nil && !m.Endpoints[0].Create {
				err := refusal
				refusal = nil
				return err
			}
			return nil
		})
		refusal = colibri2.Refuse(xmpp.ItemNotFound(""), colibri2.ReasonUnknownEndpoint, "aaaaaaaa")
		if err := a.say(screen(a, 5000).String()); err != nil {
			t.Fatal(err)
		}
		a.expect(jingle.SessionTerminate)
		offer := a.expect(jingle.SessionInitiate)
		for j := b.jingle(); j != nil; j = b.jingle() {
			if j.Action != jingle.SourceAdd && j.Action != jingle.SourceRemove {
				t.Errorf("b got %s", j)
			}
		}
		refusal = colibri2.Refuse(xmpp.BadRequest(""), colibri2.ReasonUnspecified, "")
		if err := a.accept(offer, 1000); err != nil {
			t.Fatal(err)
		}
		for _, c := range []*client{a, b} {
			for j := c.jingle(); ; j = c.jingle() {
				if j == nil {
					t.Fatalf("%s was not moved", c.nick)
				}
				if j.Action == jingle.SessionTerminate {
					break
				}
			}
		}
	})
}

// A bridge that refuses everything is not asked in a loop.
func TestRefusalIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.bridge.refusing(func(m *colibri2.Modify) error {
			if m.Expire {
				return nil
			}
			return colibri2.Refuse(xmpp.Conflict(""), colibri2.ReasonConferenceAlreadyExists, "")
		})
		w.meet("aaaaaaaa")
		w.meet("bbbbbbbb")
		time.Sleep(time.Minute)
		if n := len(w.bridge.requests()); n > 60 {
			t.Errorf("asked %d times in a minute", n)
		}
	})
}

// Requests to the bridge go out one at a time; those that wait are merged.
func TestCoalescing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a, _ := w.two()
		silent := true
		w.bridge.refusing(func(*colibri2.Modify) error {
			if silent {
				silent = false
				return errSilence // until its time is over
			}
			return nil
		})
		for i := range uint32(5) {
			j := screen(a, 5000+100*i)
			for n := range j.Contents[0].Description.Sources {
				s := &j.Contents[0].Description.Sources[n]
				s.Name = strings.Replace(s.Name, "v1", "v1"+string(rune('0'+i)), 1)
				s.MSID += string(rune('0' + i))
			}
			if i == 4 {
				j.Action, j.Contents[0].Description = jingle.SourceRemove, &jingle.Description{Media: "video", Sources: []jingle.Source{{SSRC: 5001}, {SSRC: 5002}}}
			}
			if err := a.say(j.String()); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(w.bridge.requests()); n != 1 {
			t.Errorf("%d requests while one is under way", n)
		}
		time.Sleep(16 * time.Second)
		reqs := w.bridge.requests()
		if len(reqs) != 1 || len(*reqs[0].Endpoints[0].Sources) != 5 {
			t.Errorf("then %v", reqs)
		}
	})
}

// A crowd that joins at once, behind a bridge that is far away, costs two round trips:
// one for the conference, one for all others. Moderation of all is one request.
func TestCrowdDoesNotWaitInLine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const crowd = 75
		w := newWorld(t, moderated)
		w.bridge.slow(3 * time.Second)
		clients := []*client{w.meet("aaaaaaaa")}
		for i := range crowd - 1 {
			clients = append(clients, w.meet(fmt.Sprintf("%08d", i)))
		}
		time.Sleep(5 * time.Second) // the room itself lets them in 20 a second
		time.Sleep(3 * time.Second)
		var offers []*jingle.Jingle
		for _, c := range clients {
			offers = append(offers, c.expect(jingle.SessionInitiate))
		}
		w.bridge.slow(0)
		for i, c := range clients {
			if err := c.accept(offers[i], uint32(10000+100*i)); err != nil {
				t.Fatal(err)
			}
		}
		w.bridge.requests()
		w.moderate("audio", true, "aaaaaaaa")
		reqs := w.bridge.requests()
		if len(reqs) != 1 || len(reqs[0].Endpoints) != crowd-1 {
			t.Errorf("%d requests for moderation", len(reqs))
		}
		// They leave as they came: together.
		for _, c := range clients[2:] {
			c.port.Send(xmpp.NewStanza(xmpp.Presence, xmpp.TypeUnavailable, "", xmpp.JID{}, c.me, ""))
		}
		gone := 0
		for _, m := range w.bridge.requests() {
			for _, ep := range m.Endpoints {
				if ep.Expire {
					gone++
				}
			}
		}
		if gone != crowd-2 {
			t.Errorf("%d expired", gone)
		}
	})
}

// The bridge made the conference and its answer was lost: the conference is ended
// there before it is made again, else the bridge would refuse it for ever.
func TestLostAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		there, lost := false, false
		w.bridge.refusing(func(m *colibri2.Modify) error {
			switch {
			case m.Expire:
				there = false
			case m.Create && there:
				return colibri2.Refuse(xmpp.Conflict(""), colibri2.ReasonConferenceAlreadyExists, "")
			case m.Create:
				there = true
			}
			if !lost {
				lost = true
				return errSilence
			}
			return nil
		})
		a, b := w.meet("aaaaaaaa"), w.meet("bbbbbbbb")
		time.Sleep(16 * time.Second) // the bridge's time to answer
		w.bridge.present("", "healthy", "true")
		time.Sleep(5 * time.Second)
		a.expect(jingle.SessionInitiate)
		b.expect(jingle.SessionInitiate)
	})
}
