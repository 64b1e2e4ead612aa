package xmpp_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"confab/xmpp"
	"confab/xmpp/auth"
)

// enable turns stream management on and returns the id.
func (c *client) enable() string {
	c.t.Helper()
	c.send(`<enable resume="true" xmlns="urn:xmpp:sm:3"/>`)
	return c.expect(`<enabled xmlns="urn:xmpp:sm:3" id="([\w-]{24})" resume="true" max="60"/>`)[1]
}

// tell sends a message from a room to the client.
func (s *site) tell(jid, text string) {
	s.t.Helper()
	s.router.RouteNow(xmpp.NewStanza(xmpp.Message, "groupchat", text, xmpp.MustJID("room@conference.meet.test/x"), xmpp.MustJID(jid),
		"<body>"+text+"</body>"))
}

func message(text string) string { return `<message [^>]*id="` + text + `".*</message>` }

func (s *site) waitDetached(n int) {
	s.t.Helper()
	s.wait(func() bool { return s.srv.Stats().Detached == n }, "%d detached sessions", n)
}

// wait polls for what another goroutine brings about; tests have no other way to
// see it.
func (s *site) wait(cond func() bool, format string, args ...any) {
	s.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			s.t.Fatalf("still waiting for "+format+": %+v", append(args, s.srv.Stats())...)
		}
	}
}

// As in captures/2026-resume-with-replay.xmpp: cut, others speak, resume.
func TestResumeWithReplay(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	c := s.dial("?room=dc-wdrn36")
	c.bind()
	id := c.enable()
	c.send(`<presence to="room@conference.meet.test/96a3f9d6" xmlns="jabber:client"/>`)
	<-s.room
	s.tell(c.jid, "one")
	s.tell(c.jid, "two")
	c.expect(message("one"))
	c.expect(message("two"))
	c.send(`<r xmlns="urn:xmpp:sm:3"/>`)
	c.expect(`<a xmlns="urn:xmpp:sm:3" h="1"/>`)
	_ = c.conn.CloseNow()
	s.waitDetached(1)
	if got := s.srv.Sessions(); len(got) != 1 || got[0].String() != c.jid {
		t.Errorf("who may come back is in %v", got)
	}
	s.tell(c.jid, "three")

	d := s.dial("?room=dc-wdrn36&previd=" + id)
	d.login()
	d.send(`<resume xmlns="urn:xmpp:sm:3" h="1" previd="` + id + `"/>`)
	d.expect(`<resumed xmlns="urn:xmpp:sm:3" h="1" previd="` + id + `"/>`)
	d.expect(message("two"))
	d.expect(message("three"))
	d.send(`<a xmlns="urn:xmpp:sm:3" h="3"/>`)
	s.tell(c.jid, "four")
	d.expect(message("four"))
	d.jid = c.jid
	d.ping()
	if st := s.srv.Stats(); st.Resumed != 1 || st.Connected["websocket"] != 1 || st.Detached != 0 {
		t.Errorf("%+v", st)
	}
	select {
	case x := <-s.room:
		t.Errorf("the room noticed: %s", x)
	default:
	}
	d.send(`<presence type="unavailable" xmlns="jabber:client"/>`)
	if x := <-s.room; x.Type != "unavailable" || x.To.Resource != "96a3f9d6" {
		t.Errorf("room got %s", x)
	}
	d.send(`<close xmlns="urn:ietf:params:xml:ns:xmpp-framing"/>`)
	d.expectClosed(websocket.StatusNormalClosure)
}

// The new socket comes while the old one still looks alive; the old one ends.
func TestResumeReplacesLiveConnection(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	c := s.dial("")
	c.bind()
	id := c.enable()
	d := s.dial("?previd=" + id + "&room=other")
	d.login()
	d.send(`<resume xmlns="urn:xmpp:sm:3" h="0" previd="` + id + `"/>`)
	d.expect(`<resumed xmlns="urn:xmpp:sm:3" h="0" previd="` + id + `"/>`)
	d.jid = c.jid
	d.ping()
	last := c.expectClosed(websocket.StatusNormalClosure)
	if len(last) != 2 || last[0] != `<stream:error xmlns:stream="http://etherx.jabber.org/streams"><conflict xmlns="urn:ietf:params:xml:ns:xmpp-streams"/><text xmlns="urn:ietf:params:xml:ns:xmpp-streams">Resumed elsewhere</text></stream:error>` ||
		last[1] != `<close xmlns="urn:ietf:params:xml:ns:xmpp-framing" />` {
		t.Errorf("old connection got %q", last)
	}
	d.ping()
	port, _ := s.router.Port(xmpp.MustJID(c.jid))
	if a := port.(*xmpp.Session).Attrs(); a.Room != "other" {
		t.Errorf("attributes %v are not the new connection's", a)
	}
}

func TestResumeRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *xmpp.Config) { c.ResumeTimeout = 50 * time.Millisecond })
	c := s.dial("")
	c.bind()
	c.send(`<presence to="room@conference.meet.test/n" xmlns="jabber:client"/>`)
	<-s.room
	c.send(`<enable resume="true" xmlns="urn:xmpp:sm:3"/>`)
	id := c.expect(`<enabled .*id="([^"]+)".*`)[1]

	// Another user can't have it.
	d := s.dial("")
	d.login()
	failed := `<failed xmlns="urn:xmpp:sm:3"><item-not-found xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/></failed>`
	d.send(`<resume xmlns="urn:xmpp:sm:3" h="0" previd="` + id + `"/>`)
	d.expect(failed)
	d.send(`<enable xmlns="urn:xmpp:sm:3"/>`)
	d.expect(`<failed xmlns="urn:xmpp:sm:3"><unexpected-request xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/></failed>`)
	d.send(`<resume xmlns="urn:xmpp:sm:3" h="x" previd="` + id + `"/>`)
	d.expect(`<failed .*<bad-request .*`)
	c.ping()

	// After its time it is gone, and the room knows.
	_ = c.conn.CloseNow()
	if x := <-s.room; x.Type != "unavailable" || x.To.Resource != "n" {
		t.Errorf("room got %s", x)
	}
	e := s.dial("?previd=" + id)
	e.login()
	e.send(`<resume xmlns="urn:xmpp:sm:3" h="0" previd="` + id + `"/>`)
	e.expect(failed)
	if st := s.srv.Stats(); st.ResumeRefused != 2 || st.Detached != 0 {
		t.Errorf("%+v", st)
	}
	e.send(bindIQ)
	e.expect(`<message .*`)
	e.expect(`<iq .*<bind .*`)
}

// The id of an account's session, which stands in URLs, does not spare the
// password: neither to resume it nor to be called like its owner.
func TestResumeNeedsPassword(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *xmpp.Config) { c.Hosts[0].Auth = auth.Either{auth.Token{Guests: true}, passwords()} })
	const anyFeatures = `<stream:features .*`
	login := func(query, first string) *client {
		c := s.dial(query)
		c.send(openC)
		c.expect(openS)
		c.expect(anyFeatures)
		c.send(first)
		c.expect(success)
		c.send(openC)
		c.expect(openS)
		c.expect(anyFeatures)
		return c
	}
	host := login("", `<auth mechanism="PLAIN" xmlns="urn:ietf:params:xml:ns:xmpp-sasl">`+base64.StdEncoding.EncodeToString([]byte("\x00host\x00secret"))+`</auth>`)
	host.send(bindIQ)
	host.expect(`<message .*`)
	host.expect(`<iq .*<jid>host@meet.test/.*`)
	id := host.enable()
	thief := login("?previd="+id, anonymous)
	thief.send(`<resume xmlns="urn:xmpp:sm:3" h="0" previd="` + id + `"/>`)
	thief.expect(`<failed .*item-not-found.*`)
	thief.send(bindIQ)
	thief.expect(`<message .*`)
	thief.expect(`<iq .*<jid>[0-9a-f-]{36}@meet.test/.*`)
}

// A name in the URL is its user's only when it was promised to it; a promise goes
// before the name of the session that the client comes from.
func TestPromisedName(t *testing.T) {
	t.Parallel()
	const promised = "11111111-2222-4333-a444-555555555555"
	s := newSite(t, func(c *xmpp.Config) {
		c.Promised = func(a xmpp.Attrs) string {
			if a.CustomUsername == promised && a.Room == "standup" {
				return promised
			}
			return ""
		}
	})
	other := s.dial("?room=standup")
	other.bind()
	id := other.enable()
	for query, want := range map[string]bool{
		"?room=standup&customusername=" + promised:                   true,
		"?room=standup&previd=" + id + "&customusername=" + promised: true,
		"?room=elsewhere&customusername=" + promised:                 false,
		"?room=standup&customusername=focus":                         false,
		"?room=standup&customusername=":                              false,
	} {
		c := s.dial(query)
		c.bind()
		if got := strings.HasPrefix(c.jid, promised+"@"); got != want {
			t.Errorf("%s: %s", query, c.jid)
		}
	}
}

func TestAckOutOfRange(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	const tooHigh = `<stream:error xmlns:stream="http://etherx.jabber.org/streams"><undefined-condition xmlns="urn:ietf:params:xml:ns:xmpp-streams"/><text xmlns="urn:ietf:params:xml:ns:xmpp-streams">You acknowledged more stanzas than sent by the server</text><handled-count-too-high xmlns="urn:xmpp:sm:3" h="%d" send-count="%d"/></stream:error>`
	c := s.dial("")
	c.bind()
	c.enable()
	s.tell(c.jid, "one")
	c.expect(message("one"))
	c.send(`<a xmlns="urn:xmpp:sm:3" h="2"/>`)
	c.expect(fmt.Sprintf(tooHigh, 2, 1))
	c.expectClosed(websocket.StatusNormalClosure)

	d := s.dial("")
	d.bind()
	id := d.enable()
	_ = d.conn.CloseNow()
	s.waitDetached(1)
	e := s.dial("?previd=" + id)
	e.login()
	e.send(`<resume xmlns="urn:xmpp:sm:3" h="7" previd="` + id + `"/>`)
	e.expect(fmt.Sprintf(tooHigh, 7, 0))
	e.expectClosed(websocket.StatusNormalClosure)
}

// A client that never acknowledges is closed and can't come back.
func TestUnacknowledgedBound(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *xmpp.Config) { c.QueuedStanzas, c.AckEvery, c.WriteTimeout = 16, 4, 500*time.Millisecond })
	c := s.dial("")
	c.bind()
	id := c.enable()
	for i := range 17 {
		s.tell(c.jid, fmt.Sprint("m", i))
		if i == 16 {
			break // the one too many is not sent
		}
		c.expect(message(fmt.Sprint("m", i)))
		if i%4 == 3 {
			c.expect(`<r xmlns="urn:xmpp:sm:3"/>`)
		}
	}
	last := c.expectClosed(websocket.StatusNormalClosure)
	if len(last) != 3 || !strings.Contains(last[0], `id="m16"`) || last[1][:60] != `<stream:error xmlns:stream="http://etherx.jabber.org/streams` {
		t.Errorf("got %q", last)
	}
	d := s.dial("?previd=" + id)
	d.login()
	d.send(`<resume xmlns="urn:xmpp:sm:3" h="0" previd="` + id + `"/>`)
	d.expect(`<failed .*item-not-found.*`)
}

// Silence is probed, then the connection is given up; a sign of life suffices.
func TestIdleProbe(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *xmpp.Config) { c.IdleTimeout = 2 * time.Second })
	c := s.dial("")
	c.bind()
	c.enable()
	c.expect(`<r xmlns="urn:xmpp:sm:3"/>`)
	c.send(`<a xmlns="urn:xmpp:sm:3" h="0"/>`)
	c.expect(`<r xmlns="urn:xmpp:sm:3"/>`)
	s.waitDetached(1)

	d := s.dial("")
	d.bind()
	d.expect(`<iq xmlns="jabber:client" type="get" id="ping-[\w-]+" from="meet.test" to="` + d.jid + `"><ping xmlns="urn:xmpp:ping"/></iq>`)
	s.wait(func() bool { return s.srv.Stats().Streams == 0 }, "the end of the silent client")
	if st := s.srv.Stats(); st.Detached != 1 {
		t.Errorf("%+v", st)
	}
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	c := s.dial("")
	c.bind()
	done := make(chan error, 1)
	go func() { done <- s.srv.Close() }()
	last := c.expectClosed(websocket.StatusGoingAway)
	if len(last) != 2 || last[0] != `<stream:error xmlns:stream="http://etherx.jabber.org/streams"><system-shutdown xmlns="urn:ietf:params:xml:ns:xmpp-streams"/></stream:error>` {
		t.Errorf("got %q", last)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if st := s.srv.Stats(); st.Streams != 0 || st.Connected["websocket"] != 0 {
		t.Errorf("%+v", st)
	}
}
