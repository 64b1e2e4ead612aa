package xmpp_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"confab/xmpp"
)

func streamError(cond string) string {
	return `<stream:error xmlns:stream="http://etherx\.jabber\.org/streams"><` + cond + ` xmlns="urn:ietf:params:xml:ns:xmpp-streams"/>.*</stream:error>`
}

// What ends a session of somebody who is logged in: a clear error, nothing at
// all for the others.
func TestHostileElements(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	other := s.dial("")
	other.bind()
	for _, c := range []struct {
		name, send, cond string
		code             websocket.StatusCode
	}{
		{"malformed", `<message to="meet.test" xmlns="jabber:client"><body></message>`, "not-well-formed", websocket.StatusNormalClosure},
		{"two elements", `<presence xmlns="jabber:client"/><presence xmlns="jabber:client"/>`, "not-well-formed", websocket.StatusNormalClosure},
		{"comment", `<message to="meet.test" xmlns="jabber:client"><!-- --></message>`, "restricted-xml", websocket.StatusNormalClosure},
		{"entity", `<message to="meet.test" xmlns="jabber:client"><body>&lol;</body></message>`, "restricted-xml", websocket.StatusNormalClosure},
		{"prefix", `<x:message to="meet.test" xmlns="jabber:client"/>`, "bad-namespace-prefix", websocket.StatusNormalClosure},
		{"deep", `<message xmlns="jabber:client">` + strings.Repeat("<a>", 100) + strings.Repeat("</a>", 100) + `</message>`, "policy-violation", websocket.StatusPolicyViolation},
		{"10 MB", `<message xmlns="jabber:client"><body>` + strings.Repeat("x", 10<<20) + `</body></message>`, "policy-violation", websocket.StatusPolicyViolation},
		{"unknown element", `<foo xmlns="of:ours"/>`, "unsupported-stanza-type", websocket.StatusNormalClosure},
		{"no namespace", `<message/>`, "unsupported-stanza-type", websocket.StatusNormalClosure},
		{"login again", anonymous, "unsupported-stanza-type", websocket.StatusNormalClosure},
		{"open again", openC, "invalid-xml", websocket.StatusNormalClosure},
		{"forged from", `<message to="OTHER" from="OTHER" xmlns="jabber:client"><body>x</body></message>`, "invalid-from", websocket.StatusNormalClosure},
		{"forged room", `<message to="OTHER" from="room@conference.meet.test/x" xmlns="jabber:client"><body>x</body></message>`, "invalid-from", websocket.StatusNormalClosure},
		{"bad from", `<message to="OTHER" from="@" xmlns="jabber:client"><body>x</body></message>`, "invalid-from", websocket.StatusNormalClosure},
		{"bad ack", `<a h="x" xmlns="urn:xmpp:sm:3"/>`, "undefined-condition", websocket.StatusNormalClosure},
	} {
		d := s.dial("")
		d.bind()
		id := d.enable()
		d.send(strings.ReplaceAll(c.send, "OTHER", other.jid))
		d.expect(streamError(c.cond))
		if last := d.expectClosed(c.code); len(last) != 1 || last[0] != `<close xmlns="urn:ietf:params:xml:ns:xmpp-framing" />` {
			t.Errorf("%s: after the error %q", c.name, last)
		}
		if _, bound := s.router.Port(xmpp.MustJID(d.jid)); bound {
			t.Errorf("%s: the session is still there", c.name)
		}
		e := s.dial("?previd=" + id)
		e.login()
		e.send(`<resume xmlns="urn:xmpp:sm:3" h="0" previd="` + id + `"/>`)
		e.expect(`<failed .*item-not-found.*`)
	}
	other.ping() // and nothing else has come
}

// What is refused without ending the session.
func TestRefusedStanzas(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *xmpp.Config) { c.DirectedPresences = 2 })
	c := s.dial("")
	c.bind()
	for _, x := range []struct{ send, want string }{
		{`<iq id="1" type="get" to="a@@b" xmlns="jabber:client"><ping xmlns="urn:xmpp:ping"/></iq>`,
			`<iq [^>]*type="error" id="1" from="meet.test".*<error type="modify"><jid-malformed .*`},
		{`<iq type="get" to="meet.test" xmlns="jabber:client"><ping xmlns="urn:xmpp:ping"/></iq>`, `<iq .*type="error".*<bad-request .*`},
		{`<iq id="2" type="get" to="meet.test" xmlns="jabber:client"/>`, `<iq .*id="2".*<bad-request .*`},
		{`<iq id="3" type="get" to="meet.test" xmlns="jabber:client"><a/><b/></iq>`, `<iq .*id="3".*<bad-request .*`},
		{`<iq id="4" type="what" to="meet.test" xmlns="jabber:client"><a/></iq>`, `<iq .*id="4".*<bad-request .*`},
		{`<iq id="5" type="set" xmlns="jabber:client"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/></iq>`, `<iq .*id="5".*<service-unavailable .*`},
		{`<iq id="6" type="get" to="nowhere.test" xmlns="jabber:client"><a/></iq>`, `<iq .*id="6".*<remote-server-not-found .*`},
		{`<enable xmlns="urn:xmpp:sm:3"/>`, `<enabled xmlns="urn:xmpp:sm:3"/>`},
		{`<enable xmlns="urn:xmpp:sm:3"/>`, `<failed xmlns="urn:xmpp:sm:3"><unexpected-request .*`},
		{`<resume h="0" previd="x" xmlns="urn:xmpp:sm:3"/>`, `<failed xmlns="urn:xmpp:sm:3"><unexpected-request .*`},
	} {
		c.send(x.send)
		c.expect(x.want)
	}
	for i := range 3 {
		c.send(fmt.Sprintf(`<presence to="r%d@conference.meet.test/n" xmlns="jabber:client"/>`, i))
	}
	c.expect(`<presence .*type="error" from="r2@conference.meet.test/n".*<resource-constraint .*`)
	c.send(" ") // nothing
	c.send(`<message type="error" to="a@@b" xmlns="jabber:client"/>`)
	c.send(`<iq type="result" xmlns="jabber:client"/>`)
	c.send(`<iq id="p1" to="meet.test" type="get" xmlns="jabber:client"><ping xmlns="urn:xmpp:ping"/></iq>`)
	c.expect(`<iq .*type="result" id="p1".*`)
}

func TestBeforeLogin(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	for _, x := range []struct {
		send []string
		cond string
	}{
		{[]string{`<open to="other.test" version="1.0" xmlns="urn:ietf:params:xml:ns:xmpp-framing"/>`}, "host-unknown"},
		{[]string{`<open xmlns="of:ours" to="meet.test"/>`}, "invalid-namespace"},
		{[]string{`<presence xmlns="jabber:client"/>`}, "not-authorized"},
		{[]string{openC, `<presence xmlns="jabber:client"/>`}, "not-authorized"},
		{[]string{openC, openC}, "invalid-xml"},
		{[]string{openC, anonymous, `<presence xmlns="jabber:client"/>`}, "not-authorized"},
		{[]string{openC, anonymous, openC, `<presence xmlns="jabber:client"/>`}, "not-authorized"},
		{[]string{openC, anonymous, openC, anonymous}, "not-authorized"},
		{[]string{openC, `<message xmlns="jabber:client">` + strings.Repeat("x", 20<<10) + `</message>`}, "policy-violation"},
	} {
		c := s.dial("")
		for _, m := range x.send {
			c.send(m)
		}
		var last []string
		for {
			got, err := c.read()
			if err != nil {
				break
			}
			last = append(last, got)
		}
		if n := len(last); n < 3 || !strings.HasPrefix(last[0], "<open ") || !strings.Contains(last[n-2], "<"+x.cond+" ") {
			t.Errorf("%q got %q, want %s", x.send, last, x.cond)
		}
	}

	// A flood of small things, none of them wrong in itself.
	c := s.dial("")
	c.send(openC)
	for range 100 {
		if c.conn.Write(t.Context(), websocket.MessageText, []byte(`<response xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>`)) != nil {
			break
		}
	}
	c.expect(openS)
	c.expect(features1)
	for range 5 {
		c.expect(`<failure xmlns="urn:ietf:params:xml:ns:xmpp-sasl"><malformed-request/></failure>`)
	}
	c.expect(streamError("policy-violation"))

	// Legacy authentication is refused, not ignored.
	d := s.dial("")
	d.send(openC)
	d.expect(openS)
	d.expect(features1)
	d.send(`<iq type="get" id="_auth_1" to="meet.test" xmlns="jabber:client"><query xmlns="jabber:iq:auth"><username>x</username></query></iq>`)
	d.expect(`<iq xmlns="jabber:client" type="error" id="_auth_1" from="meet.test">.*<service-unavailable .*`)
}

// A wrong password a hundred times: each is refused in the form that LJM reads,
// each fifth ends the stream, and soon the address is not let in at all.
func TestWrongPasswordManyTimes(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *xmpp.Config) {
		c.Hosts[0].Auth = passwords()
		c.Exempt = nil
		c.LoginRate = 1000
		c.PasswordDelay = time.Millisecond
	})
	plain := func(password string) string {
		return `<auth mechanism="PLAIN" xmlns="urn:ietf:params:xml:ns:xmpp-sasl">` + base64.StdEncoding.EncodeToString([]byte("\x00host\x00"+password)) + `</auth>`
	}
	begin := time.Now()
	refused, ended, streams := 0, 0, 0
	for refused+ended < 100 {
		streams++
		c := s.dial("")
		c.send(openC)
		c.expect(openS)
		c.expect(`<stream:features.*<mechanism>PLAIN</mechanism>.*`)
		for {
			c.send(plain("wrong"))
			got, err := c.read()
			if err != nil {
				t.Fatal(err)
			}
			if got == `<failure xmlns="urn:ietf:params:xml:ns:xmpp-sasl"><not-authorized/></failure>` {
				if refused++; refused%5 != 0 {
					continue
				}
				got, _ = c.read()
			}
			if !strings.Contains(got, "<policy-violation ") {
				t.Fatalf("S: %s", got)
			}
			ended++
			c.expectClosed(websocket.StatusPolicyViolation)
			break
		}
	}
	// Ten at once, then one every six seconds.
	if most := 11 + int(time.Since(begin)/(6*time.Second)); refused < 10 || refused > most {
		t.Errorf("%d passwords were looked at in %d streams, want no more than %d", refused, streams, most)
	}
	if st := s.srv.Stats(); st.AuthFailures != uint64(refused) || st.Logins != 0 {
		t.Errorf("%+v", st)
	}
}

func TestConnectionsPerAddress(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *xmpp.Config) { c.Exempt = nil; c.ConnectionsPerAddress = 2; c.LoginRate = 100 })
	a, b := s.dial(""), s.dial("")
	a.bind()
	b.bind()
	c := s.dial("")
	c.expect(openS)
	c.expect(streamError("policy-violation"))
	_ = a.conn.CloseNow()
	s.wait(func() bool { return s.srv.Stats().Streams == 1 }, "the end of one")
	s.dial("").bind()
}

// A client that does not read is cut off; its session can be resumed, with
// everything that was meant for it, and grows no further than twice the bound.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *xmpp.Config) { c.QueuedStanzas = 100; c.QueuedBytes = 1 << 20; c.WriteTimeout = time.Hour })
	c := s.dial("")
	c.bind()
	id := c.enable()
	big := strings.Repeat("x", 8<<10)
	n := 0
	for s.srv.Stats().Detached == 0 { // fills the socket, then the queue
		n++
		s.router.RouteNow(xmpp.NewStanza(xmpp.Message, "groupchat", fmt.Sprint("m", n), xmpp.MustJID("room@conference.meet.test/x"), xmpp.MustJID(c.jid), "<body>"+big+"</body>"))
	}
	if st := s.srv.Stats(); st.Overflows != 1 {
		t.Errorf("%+v", st)
	}
	d := s.dial("?previd=" + id)
	d.login()
	d.send(`<resume xmlns="urn:xmpp:sm:3" h="0" previd="` + id + `"/>`)
	d.expect(`<resumed .*`)
	for i := 1; i <= n; {
		got, err := d.read()
		if err != nil {
			t.Fatalf("after %d of %d: %v", i-1, n, err)
		}
		if strings.HasPrefix(got, "<r ") {
			d.send(fmt.Sprintf(`<a xmlns="urn:xmpp:sm:3" h="%d"/>`, i-1))
			continue
		}
		if !strings.Contains(got, fmt.Sprintf(` id="m%d" `, i)) {
			t.Fatalf("S: %.100s, want message %d", got, i)
		}
		i++
	}
	d.jid = c.jid

	// Detached, too much ends it.
	_ = d.conn.CloseNow()
	s.waitDetached(1)
	for s.srv.Stats().Detached == 1 {
		n++
		s.tell(c.jid, fmt.Sprint("n", n))
	}
	if _, bound := s.router.Port(xmpp.MustJID(c.jid)); bound {
		t.Error("still bound")
	}
}

func TestWebSocketRequests(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *xmpp.Config) { c.Origins = []string{"meet.test"} })
	c := s.dial("")
	c.bind()
	id := c.enable()
	_ = c.conn.CloseNow()
	s.waitDetached(1)

	// LJM's keep-alive, after a loss with the previd: 200, and nothing happens.
	resp, err := s.http.Client().Get(s.http.URL + "/xmpp-websocket?room=x&previd=" + id)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != 200 || len(b) == 0 || s.srv.Stats().Detached != 1 {
		t.Errorf("%d %q", resp.StatusCode, b)
	}

	for name, opt := range map[string]*websocket.DialOptions{
		"no subprotocol": {},
		"foreign origin": {Subprotocols: []string{"xmpp"}, HTTPHeader: http.Header{"Origin": {"https://evil.test"}}},
	} {
		opt.HTTPClient = s.http.Client()
		if _, resp, err := websocket.Dial(t.Context(), s.http.URL+"/xmpp-websocket", opt); err == nil || resp == nil || resp.StatusCode/100 != 4 {
			t.Errorf("%s: %v", name, err)
		}
	}
	d := s.dial("")
	if err := d.conn.Write(t.Context(), websocket.MessageBinary, []byte(openC)); err != nil {
		t.Fatal(err)
	}
	d.expect(openS)
	d.expect(streamError("not-well-formed"))
}

// A second session under the same resource replaces the first.
func TestResourceConflict(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *xmpp.Config) { c.Hosts[0].Auth = passwords() })
	login := func(bind string) *client {
		c := s.dial("")
		c.send(openC)
		c.expect(openS)
		c.expect(`<stream:features.*`)
		c.send(`<auth mechanism="PLAIN" xmlns="urn:ietf:params:xml:ns:xmpp-sasl">AGhvc3QAc2VjcmV0</auth>`)
		c.expect(success)
		c.send(openC)
		c.expect(openS)
		c.expect(features2)
		c.send(`<iq id="b" type="set" xmlns="jabber:client"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"><resource>` + bind + `</resource></bind></iq>`)
		return c
	}
	bound := func(c *client) {
		c.expect(`<message .*`)
		c.expect(`<iq .*<jid>host@meet.test/desk</jid>.*`)
		c.jid = "host@meet.test/desk"
	}
	a := login("desk")
	bound(a)
	b := login("desk")
	bound(b)
	a.expect(streamError("conflict"))
	a.expectClosed(websocket.StatusNormalClosure)
	b.ping()
	c := login("\u0001")
	c.expect(streamError("not-well-formed"))
	d := login("a\u0080b")
	d.expect(`<iq xmlns="jabber:client" type="error" id="b"><error type="modify"><bad-request .*`)

	// Presence between the account's sessions.
	b.send(`<presence xmlns="jabber:client"><priority>5</priority></presence>`)
	b.expect(`<presence xmlns="jabber:client" from="host@meet.test/desk" to="host@meet.test/desk"><priority>5</priority></presence>`)
	e := login("phone")
	e.expect(`<message .*`)
	e.expect(`<iq .*`)
	e.send(`<message to="host@meet.test" type="chat" id="m" xmlns="jabber:client"><body>hi</body></message>`)
	b.expect(`<message xmlns="jabber:client" type="chat" id="m" from="host@meet.test/phone" to="host@meet.test"><body>hi</body></message>`)
	e.send(`<presence xmlns="jabber:client"/>`)
	b.expect(`<presence .*from="host@meet.test/phone".*`)
	e.expect(`<presence .*`)
	_ = e.conn.CloseNow()
	b.expect(`<presence xmlns="jabber:client" type="unavailable" from="host@meet.test/phone" to="host@meet.test/desk"/>`)
}
