package xmpp_test

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"confab/xmpp"
)

// boshClient posts bodies.
type boshClient struct {
	s    *site
	sid  string
	rid  int
	path string
}

// result is the answer to a post; HTTP runs beside the test.
type result struct {
	body string
	err  error
}

func (s *site) post(body string) <-chan result {
	ch := make(chan result, 1)
	req, err := http.NewRequestWithContext(s.t.Context(), "POST", s.http.URL+"/http-bind?room=dc-8lo0sx", strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "text/plain;charset=UTF-8")
	go func() {
		resp, err := s.http.Client().Do(req)
		if err != nil {
			ch <- result{err: err}
			return
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/xml; charset=utf-8" || resp.Header.Get("Access-Control-Allow-Origin") != "*" {
			err = fmt.Errorf("%d %v", resp.StatusCode, resp.Header)
		}
		ch <- result{string(b), err}
	}()
	return ch
}

func (s *site) answer(ch <-chan result, pattern string) []string {
	s.t.Helper()
	select {
	case r := <-ch:
		if r.err != nil {
			s.t.Fatal(r.err)
		}
		m := regexp.MustCompile("^(?s:" + pattern + ")$").FindStringSubmatch(r.body)
		if m == nil {
			s.t.Fatalf("S: got  %s\n   want %s", r.body, pattern)
		}
		return m
	case <-time.After(patience):
		s.t.Fatalf("no answer like %s", pattern)
	}
	return nil
}

func (s *site) held(ch <-chan result) {
	s.t.Helper()
	select {
	case r := <-ch:
		s.t.Fatalf("not held: %v", r)
	default:
	}
}

// send posts the next request of the session.
func (b *boshClient) send(attrs, payload string) <-chan result {
	b.rid++
	return b.s.post(b.body(b.rid, attrs, payload))
}

func (b *boshClient) body(rid int, attrs, payload string) string {
	return fmt.Sprintf(`<body rid="%d" sid="%s" xmlns="http://jabber.org/protocol/httpbind"%s>%s</body>`, rid, b.sid, attrs, payload)
}

func body(inner string) string {
	return `<body xmlns="http://jabber.org/protocol/httpbind" xmlns:stream="http://etherx.jabber.org/streams" sid="[\w-]+">` + inner + `</body>`
}

const (
	emptyBody    = `<body xmlns="http://jabber.org/protocol/httpbind" xmlns:stream="http://etherx.jabber.org/streams" sid="[\w-]+"/>`
	boshFeature1 = `<stream:features xmlns:stream="http://etherx.jabber.org/streams"><mechanisms xmlns="urn:ietf:params:xml:ns:xmpp-sasl"><mechanism>ANONYMOUS</mechanism></mechanisms></stream:features>`
	boshFeature2 = `<stream:features xmlns:stream="http://etherx.jabber.org/streams"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"><required/></bind></stream:features>`
)

// boshLogin follows captures/2026-bosh-join.xmpp up to the legacy session.
func (s *site) boshLogin() (b *boshClient, jid string) {
	s.t.Helper()
	b = &boshClient{s: s, rid: 3754983071}
	m := s.answer(s.post(`<body content="text/xml; charset=utf-8" hold="1" rid="3754983071" to="meet.test" ver="1.6" wait="60" xml:lang="en" xmlns="http://jabber.org/protocol/httpbind" xmlns:xmpp="urn:xmpp:xbosh" xmpp:version="1.0"/>`),
		`<body xmlns="http://jabber.org/protocol/httpbind" xmlns:stream="http://etherx.jabber.org/streams" xmlns:xmpp="urn:xmpp:xbosh" from="meet.test" authid="[\w-]+" wait="60" hold="1" requests="2" inactivity="60" ver="1.6" xmpp:version="1.0" xmpp:restartlogic="true" sid="([\w-]{24})">`+boshFeature1+`</body>`)
	b.sid = m[1]
	s.answer(b.send("", `<auth mechanism="ANONYMOUS" xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>`), body(`<success xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>`))
	s.answer(b.send(` to="meet.test" xml:lang="en" xmlns:xmpp="urn:xmpp:xbosh" xmpp:restart="true"`, ""), body(boshFeature2))
	m = s.answer(b.send("", bindIQ), body(`<message xmlns="jabber:client" from="meet.test" .*</message><iq xmlns="jabber:client" type="result" id="_bind_auth_2" to="[^"]+"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"><jid>([^<]+)</jid></bind></iq>`))
	jid = m[1]
	s.answer(b.send("", `<iq id="_session_auth_2" type="set" xmlns="jabber:client"><session xmlns="urn:ietf:params:xml:ns:xmpp-session"/></iq>`),
		body(`<iq xmlns="jabber:client" type="result" id="_session_auth_2" to="`+jid+`"/>`))
	return b, jid
}

func TestBOSHJoin(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b, jid := s.boshLogin()

	// Two stanzas in a request; the answers come in one or two bodies.
	s.router.Serve("focus.meet.test", chanHandler(make(chan *xmpp.Stanza, 1)))
	first := b.send("", `<iq from="`+jid+`" id="d" to="meet.test" type="get" xmlns="jabber:client"><query xmlns="http://jabber.org/protocol/disco#info"/></iq>`+
		`<iq id="c" to="focus.meet.test" type="set" xmlns="jabber:client"><conference xmlns="http://jitsi.org/protocol/focus"/></iq>`)
	s.answer(first, body(`<iq xmlns="jabber:client" type="result" id="d" .*</iq>`))

	// A poll is held until something comes.
	poll := b.send("", "")
	next := b.send("", `<presence to="dc-8lo0sx@conference.meet.test/ba65e5d5" xmlns="jabber:client"><x xmlns="http://jabber.org/protocol/muc"/></presence>`)
	if p := <-s.room; p.From.String() != jid {
		t.Errorf("room got %s", p)
	}
	s.answer(poll, emptyBody) // one request is held, not two
	s.held(next)
	s.tell(jid, "hello")
	s.answer(next, body(message("hello")))

	// The answer got lost: the same request again gets the same.
	s.answer(s.post(b.body(b.rid, "", "")), body(message("hello")))

	// Out of order: handled in order.
	late := s.post(b.body(b.rid+2, "", `<presence to="dc-8lo0sx@conference.meet.test/two" xmlns="jabber:client"/>`))
	early := s.post(b.body(b.rid+1, "", `<presence to="dc-8lo0sx@conference.meet.test/one" xmlns="jabber:client"/>`))
	b.rid += 2
	for _, nick := range []string{"one", "two"} {
		if p := <-s.room; p.To.Resource != nick {
			t.Errorf("room got %s, want %s first", p, nick)
		}
	}
	s.answer(early, emptyBody)

	// Logout.
	end := b.send(` type="terminate"`, `<presence type="unavailable" xmlns="jabber:client"/>`)
	s.answer(late, `<body [^>]*(type="terminate")?/>`)
	s.answer(end, `<body [^>]* type="terminate"/>`)
	if p := <-s.room; p.Type != "unavailable" || p.From.String() != jid {
		t.Errorf("room got %s", p)
	}
	s.answer(b.send("", ""), `<body [^>]*type="terminate" condition="item-not-found"/>`)
	s.wait(func() bool { return s.srv.Stats().Streams == 0 }, "the end of the stream")
}

func TestBOSHRefusals(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	terminate := func(cond string) string {
		return `<body xmlns="http://jabber.org/protocol/httpbind" xmlns:stream="http://etherx.jabber.org/streams" type="terminate" condition="` + cond + `"/>`
	}
	s.answer(s.post(`<body`), terminate("bad-request"))
	s.answer(s.post(`<body xmlns="of:ours" rid="1"/>`), terminate("bad-request"))
	s.answer(s.post(`<body xmlns="http://jabber.org/protocol/httpbind"/>`), terminate("bad-request"))
	s.answer(s.post(`<body xmlns="http://jabber.org/protocol/httpbind" rid="7" sid="x"/>`), terminate("item-not-found"))
	s.answer(s.post(`<body xmlns="http://jabber.org/protocol/httpbind" rid="7" to="`+strings.Repeat("x", 17<<10)+`"/>`), terminate("policy-violation"))
	s.answer(s.post(`<body xmlns="http://jabber.org/protocol/httpbind" rid="7" to="`+strings.Repeat("x", 10<<20)+`"/>`), terminate("policy-violation"))
	s.answer(s.post(`<body xmlns="http://jabber.org/protocol/httpbind" rid="7" to="other.test"/>`),
		`<body .*type="terminate" condition="remote-stream-error"><stream:error .*<host-unknown .*</body>`)
	b, _ := s.boshLogin()
	s.answer(s.post(b.body(b.rid+9, "", "")), terminate("item-not-found"))
	s.answer(s.post(b.body(b.rid-9, "", "")), terminate("item-not-found"))
	s.answer(b.send("", `<message xmlns="jabber:client"><body>`+strings.Repeat("x", 520<<10)+`</body></message>`),
		`<body .*type="terminate" condition="remote-stream-error"><stream:error .*<policy-violation .*</body>`)
}

func TestBOSHInactivityAndWait(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *xmpp.Config) { c.BOSHInactivity = 2 * time.Second; c.BOSHWait = 100 * time.Millisecond })
	b := &boshClient{s: s, rid: 5}
	m := s.answer(s.post(`<body hold="1" rid="5" to="meet.test" wait="60" xmlns="http://jabber.org/protocol/httpbind"/>`), `<body .* sid="([^"]+)">.*</body>`)
	b.sid = m[1]
	s.answer(b.send("", ""), emptyBody) // after the wait
	s.wait(func() bool { return s.srv.Stats().Streams == 0 }, "the end of the silent session")
	s.answer(b.send("", ""), `<body .*item-not-found.*`)
}

// A client that goes on sending while what it has sent can't be handled is ended:
// its requests are answered all the time.
func TestBOSHBacklog(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *xmpp.Config) { c.BOSHWait = 10 * time.Millisecond })
	stuck := make(chan *xmpp.Stanza)
	s.router.Serve("stuck.meet.test", chanHandler(stuck))
	b := &boshClient{s: s, rid: 5}
	b.sid = s.answer(s.post(`<body hold="1" rid="5" to="meet.test" wait="60" xmlns="http://jabber.org/protocol/httpbind"/>`), `<body .* sid="([^"]+)">.*</body>`)[1]
	s.answer(b.send("", anonymous), body(`<success .*`))
	s.answer(b.send(` to="meet.test" xmlns:xmpp="urn:xmpp:xbosh" xmpp:restart="true"`, ""), body(boshFeature2))
	s.answer(b.send("", bindIQ), body(`.*`))
	big := `<message to="x@stuck.meet.test" xmlns="jabber:client"><body>` + strings.Repeat("x", 300<<10) + `</body></message>`
	for i := range 20 {
		if got := s.answer(b.send("", big), `(.*)`)[1]; strings.Contains(got, `condition="policy-violation"`) {
			if i < 3 {
				t.Errorf("ended after %d requests", i)
			}
			<-stuck
			s.wait(func() bool { return s.srv.Stats().Streams == 0 }, "the end of the stream")
			return
		}
	}
	t.Error("not ended")
	for range 20 {
		<-stuck
	}
}

func TestBOSHShutdown(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b, _ := s.boshLogin()
	poll := b.send("", "")
	s.wait(func() bool { return s.srv.Stats().Connected["bosh"] == 1 }, "the session")
	if err := s.srv.Close(); err != nil {
		t.Error(err)
	}
	s.answer(poll, `<body .*type="terminate" condition="(remote-stream-error"><stream:error .*<system-shutdown .*|item-not-found"/>)`)
}

func TestBOSHPreflight(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *xmpp.Config) { c.Origins = []string{"*.meet.test"} })
	for origin, want := range map[string]string{"https://www.meet.test": "https://www.meet.test", "https://evil.test": ""} {
		req, err := http.NewRequestWithContext(t.Context(), "OPTIONS", s.http.URL+"/http-bind", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", origin)
		resp, err := s.http.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if got := resp.Header.Get("Access-Control-Allow-Origin"); resp.StatusCode != 204 || got != want {
			t.Errorf("%s: %d %q", origin, resp.StatusCode, got)
		}
	}
}
