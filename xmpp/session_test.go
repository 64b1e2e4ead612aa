package xmpp_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"confab/xmpp"
	"confab/xmpp/auth"
)

// site is a server with one anonymous host, and a room service that echoes.
type site struct {
	t      *testing.T
	router *xmpp.Router
	host   *xmpp.Host
	srv    *xmpp.Server
	http   *httptest.Server
	room   chan *xmpp.Stanza // what reaches conference.meet.test
}

type chanHandler chan *xmpp.Stanza

func (c chanHandler) HandleStanza(_ context.Context, s *xmpp.Stanza, _ bool) error {
	c <- s
	return nil
}

func newSite(t *testing.T, change func(*xmpp.Config)) *site {
	t.Helper()
	r := xmpp.NewRouter(slog.New(slog.DiscardHandler))
	h := xmpp.NewHost(r, "meet.test")
	h.SetDisco(xmpp.DiscoInfo{Identities: []xmpp.Identity{{Category: "component", Type: "room_metadata", Name: "metadata.meet.test"}}})
	room := make(chan *xmpp.Stanza, 1024)
	r.Serve("conference.meet.test", chanHandler(room))
	cfg := xmpp.DefaultConfig()
	cfg.Hosts = []xmpp.LoginHost{{Host: h, Auth: auth.Token{Guests: true}}}
	if change != nil {
		change(&cfg)
	}
	s := &site{t: t, router: r, host: h, srv: xmpp.NewServer(cfg, r), room: room}
	mux := http.NewServeMux()
	mux.Handle("/xmpp-websocket", s.srv.WebSocketHandler())
	mux.Handle("/http-bind", s.srv.BOSHHandler())
	s.http = httptest.NewTLSServer(mux)
	t.Cleanup(func() {
		if err := s.srv.Close(); err != nil {
			t.Error(err)
		}
		s.http.Close()
	})
	return s
}

// client speaks raw XML over a WebSocket.
type client struct {
	t    *testing.T
	conn *websocket.Conn
	jid  string
}

func (s *site) dial(query string) *client {
	s.t.Helper()
	url := "wss" + strings.TrimPrefix(s.http.URL, "https") + "/xmpp-websocket" + query
	c, _, err := websocket.Dial(s.t.Context(), url, &websocket.DialOptions{
		Subprotocols: []string{"xmpp"},
		HTTPClient:   &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	c.SetReadLimit(-1)
	s.t.Cleanup(func() { _ = c.CloseNow() })
	return &client{t: s.t, conn: c}
}

// patience bounds every wait: a busy machine, the race detector.
const patience = time.Minute

func (c *client) send(text string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	if err := c.conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		c.t.Fatalf("C: %.200s: %v", text, err)
	}
}

func (c *client) read() (string, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	_, b, err := c.conn.Read(ctx)
	return string(b), err
}

// expect reads one message, which must match the regular expression, whole.
func (c *client) expect(pattern string) []string {
	c.t.Helper()
	got, err := c.read()
	if err != nil {
		c.t.Fatalf("S: want %s: %v", pattern, err)
	}
	m := regexp.MustCompile("^(?s:" + pattern + ")$").FindStringSubmatch(got)
	if m == nil {
		c.t.Fatalf("S: got  %s\n   want %s", got, pattern)
	}
	return m
}

// expectClosed reads until the connection ends and returns what came last.
func (c *client) expectClosed(code websocket.StatusCode) (last []string) {
	c.t.Helper()
	for {
		got, err := c.read()
		if err != nil {
			if s := websocket.CloseStatus(err); s != code {
				c.t.Fatalf("closed with %v (%v), want %v", s, err, code)
			}
			return last
		}
		last = append(last, got)
	}
}

const (
	openC     = `<open to="meet.test" version="1.0" xmlns="urn:ietf:params:xml:ns:xmpp-framing"/>`
	openS     = `<open xmlns="urn:ietf:params:xml:ns:xmpp-framing" from="meet\.test" id="[\w-]+" version="1\.0" xml:lang="en"/>`
	features1 = `<stream:features xmlns:stream="http://etherx\.jabber\.org/streams"><mechanisms xmlns="urn:ietf:params:xml:ns:xmpp-sasl"><mechanism>ANONYMOUS</mechanism></mechanisms></stream:features>`
	features2 = `<stream:features xmlns:stream="http://etherx\.jabber\.org/streams"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"><required/></bind><sm xmlns="urn:xmpp:sm:3"/></stream:features>`
	anonymous = `<auth mechanism="ANONYMOUS" xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>`
	success   = `<success xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>`
	bindIQ    = `<iq id="_bind_auth_2" type="set" xmlns="jabber:client"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/></iq>`
)

func (c *client) login() {
	c.t.Helper()
	c.send(openC)
	c.expect(openS)
	c.expect(features1)
	c.send(anonymous)
	c.expect(success)
	c.send(openC)
	c.expect(openS)
	c.expect(features2)
}

// bind logs in as LJM does.
func (c *client) bind() {
	c.t.Helper()
	c.login()
	c.send(bindIQ)
	c.expect(`<message xmlns="jabber:client" from="meet\.test" to="([^"]+)"><query xmlns="http://jabber.org/protocol/disco#info"><identity category="component" type="room_metadata" name="metadata.meet.test"/>.*</query>(<services .*)?</message>`)
	c.jid = c.expect(`<iq xmlns="jabber:client" type="result" id="_bind_auth_2" to="[^"]+"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"><jid>([0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}@meet.test/[\w-]{12})</jid></bind></iq>`)[1]
}

func (c *client) ping() {
	c.t.Helper()
	c.send(`<iq id="p1" to="meet.test" type="get" xmlns="jabber:client"><ping xmlns="urn:xmpp:ping"/></iq>`)
	c.expect(`<iq xmlns="jabber:client" type="result" id="p1" from="meet\.test" to="` + c.jid + `"/>`)
}

func TestWebSocketJoin(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *xmpp.Config) {
		c.Hosts[0].Services = func(u xmpp.JID) string {
			return `<services xmlns="urn:xmpp:extdisco:2"><service type="stun" host="` + u.Domain + `"/></services>`
		}
	})
	c := s.dial("?room=dc-wdrn36")
	c.bind()
	c.send(`<iq id="_session_auth_2" type="set" xmlns="jabber:client"><session xmlns="urn:ietf:params:xml:ns:xmpp-session"/></iq>`)
	c.expect(`<iq xmlns="jabber:client" type="result" id="_session_auth_2" to="` + c.jid + `"/>`)
	c.ping()
	c.send(`<iq from="` + c.jid + `" id="d" to="meet.test" type="get" xmlns="jabber:client"><query xmlns="http://jabber.org/protocol/disco#info"/></iq>`)
	c.expect(`<iq [^>]*id="d"[^>]*><query.*<feature var="urn:xmpp:ping"/></query></iq>`)
	c.send(`<iq id="x" to="meet.test" type="get" xmlns="jabber:client"><nothing xmlns="of:ours"/></iq>`)
	c.expect(`<iq xmlns="jabber:client" type="error" id="x" from="meet.test" to="` + c.jid + `"><error type="cancel"><service-unavailable xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/></error></iq>`)

	port, ok := s.router.Port(xmpp.MustJID(c.jid))
	if !ok {
		t.Fatal("not on the router")
	}
	if se := port.(*xmpp.Session); se.Attrs().Room != "dc-wdrn36" || !se.Remote().IsLoopback() || se.Transport() != xmpp.TransportWebSocket {
		t.Errorf("attrs %v over %s", se.Attrs(), se.Transport())
	}

	// Logout: everybody who saw the presence is told; nothing but the closing
	// handshake comes back.
	c.send(`<presence to="dc-wdrn36@conference.meet.test/96a3f9d6" xmlns="jabber:client"><x xmlns="http://jabber.org/protocol/muc"/></presence>`)
	if p := <-s.room; p.From.String() != c.jid || p.To.Resource != "96a3f9d6" {
		t.Errorf("room got %s", p)
	}
	c.send(`<close xmlns="urn:ietf:params:xml:ns:xmpp-framing"/>`)
	if last := c.expectClosed(websocket.StatusNormalClosure); len(last) != 0 {
		t.Errorf("after close came %q", last)
	}
	if p := <-s.room; p.Type != "unavailable" || p.From.String() != c.jid || p.To.String() != "dc-wdrn36@conference.meet.test/96a3f9d6" {
		t.Errorf("room got %s", p)
	}
}

// A client that pings by WebSocket frames, as libraries outside of browsers do,
// is answered however long nothing has been written to it.
func TestWebSocketPing(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *xmpp.Config) { c.WriteTimeout = time.Second })
	c := s.dial("")
	c.bind()
	idle := time.NewTimer(1200 * time.Millisecond)
	defer idle.Stop()
	<-idle.C
	ctx, cancel := context.WithTimeout(c.conn.CloseRead(t.Context()), patience)
	defer cancel()
	if err := c.conn.Ping(ctx); err != nil {
		t.Fatal(err)
	}
}
