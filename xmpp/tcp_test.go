package xmpp_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mellium.im/sasl"
	mellium "mellium.im/xmpp"
	mjid "mellium.im/xmpp/jid"
	"mellium.im/xmpp/ping"

	"confab/xmpp"
	"confab/xmpp/auth"
	"confab/xmpp/scram"
)

// accounts are those of the test site: password by localpart.
type accounts map[string]string

func (a accounts) Account(_ context.Context, user, _ string) (auth.Record, bool, error) {
	p, ok := a[user]
	if !ok {
		return auth.Record{}, false, nil
	}
	k, err := scram.DeriveKeys(p, []byte("0123456789abcdef"), 4096)
	return auth.Record{Keys: k, Host: true}, true, err
}

func passwords() *auth.Password {
	return auth.NewPassword(accounts{"host": "secret"}, []byte("x"), nil)
}

// listen serves TCP and returns the address.
func (s *site) listen(direct bool) string {
	s.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	serve := s.srv.ServeTCP
	if direct {
		serve = s.srv.ServeDirectTLS
	}
	go func() {
		if err := serve(ln); err != nil {
			s.t.Error(err)
		}
	}()
	return ln.Addr().String()
}

var trustAll = &tls.Config{InsecureSkipVerify: true}

// tcpClient speaks raw XML over TCP.
type tcpClient struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func dialTCP(t *testing.T, addr string) *tcpClient {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return &tcpClient{t: t, conn: conn, r: bufio.NewReader(conn)}
}

func (c *tcpClient) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, s); err != nil {
		c.t.Fatalf("C: %.100s: %v", s, err)
	}
}

// until reads to the end of a text.
func (c *tcpClient) until(end string) string {
	c.t.Helper()
	var b strings.Builder
	for !strings.HasSuffix(b.String(), end) {
		x, err := c.r.ReadByte()
		if err != nil {
			c.t.Fatalf("S: %q, want it to end with %q: %v", b.String(), end, err)
		}
		b.WriteByte(x)
	}
	return b.String()
}

// rest reads to the end of the connection.
func (c *tcpClient) rest() string {
	c.t.Helper()
	b, err := io.ReadAll(c.r)
	if err != nil {
		c.t.Fatalf("S: %q: %v", b, err)
	}
	return string(b)
}

const tcpHeader = `<?xml version='1.0'?><stream:stream version="1.0" xmlns="jabber:client" xmlns:stream="http://etherx.jabber.org/streams" to="meet.test">`

// As in captures/plain-client-join.xmpp.
func TestPlainClientOverTCP(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	c := dialTCP(t, s.listen(false))
	c.send(tcpHeader)
	if got := c.until("</stream:features>"); !strings.HasPrefix(got, `<?xml version="1.0"?><stream:stream xmlns="jabber:client" xmlns:stream="http://etherx.jabber.org/streams" from="meet.test" id="`) ||
		!strings.HasSuffix(got, `<stream:features><mechanisms xmlns="urn:ietf:params:xml:ns:xmpp-sasl"><mechanism>ANONYMOUS</mechanism></mechanisms></stream:features>`) {
		t.Fatalf("S: %s", got)
	}
	c.send(`<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="ANONYMOUS"/>`)
	c.until(`<success xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>`)
	c.send(tcpHeader)
	c.until(`<stream:features><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"><required/></bind><sm xmlns="urn:xmpp:sm:3"/></stream:features>`)
	c.send(`<iq type="set" id="g1m55jpwqm"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/></iq>`)
	got := c.until(`</iq>`)
	if !strings.HasPrefix(got, `<iq type="result" id="g1m55jpwqm"`) {
		t.Fatalf("S: %s: nothing comes before the result of bind", got)
	}
	c.send(`<enable xmlns="urn:xmpp:sm:3" resume="true"/><presence/>`)
	c.until(`resume="true" max="60"/>`)
	if got := c.until("/>"); !strings.HasPrefix(got, `<presence from="`) {
		t.Fatalf("S: %s", got)
	}
	c.send(`<presence to="room@conference.meet.test/Pat"><x xmlns="http://jabber.org/protocol/muc"><history maxstanzas="0"/></x></presence>` +
		"  \n" + `<c:message xmlns:c="jabber:client" to="room@conference.meet.test" type="groupchat"><c:body>hi</c:body></c:message>`)
	if p := <-s.room; p.Inner != `<x xmlns="http://jabber.org/protocol/muc"><history maxstanzas="0"/></x>` {
		t.Errorf("room got %s", p)
	}
	if p := <-s.room; p.Inner != `<body>hi</body>` {
		t.Errorf("room got %s", p)
	}
	c.send(`</stream:stream>`)
	if got := c.rest(); got != `</stream:stream>` {
		t.Errorf("S: %q", got)
	}
	if p := <-s.room; p.Type != "unavailable" {
		t.Errorf("room got %s", p)
	}
}

// testTLS is a certificate for loopback.
func testTLS() *tls.Config {
	h := httptest.NewTLSServer(nil)
	defer h.Close()
	return &tls.Config{Certificates: h.TLS.Certificates}
}

// mellium's client over STARTTLS and over direct TLS, with each mechanism.
func TestMelliumClient(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *xmpp.Config) {
		c.Hosts[0].Auth = passwords()
		c.TLS = testTLS()
	})
	starttls, direct := s.listen(false), s.listen(true)
	for _, m := range []sasl.Mechanism{sasl.ScramSha256, sasl.ScramSha1, sasl.Plain} {
		for _, addr := range []string{starttls, direct} {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			features := []mellium.StreamFeature{mellium.SASL("", "secret", m), mellium.BindResource()}
			state := mellium.SessionState(0)
			var rw io.ReadWriter = conn
			if addr == direct {
				rw, state = tls.Client(conn, trustAll), mellium.Secure
			} else {
				features = append(features, mellium.StartTLS(trustAll))
			}
			me := mjid.MustParse("host@meet.test/desk")
			session, err := mellium.NewSession(ctx, me.Domain(), me, rw, state,
				mellium.NewNegotiator(func(*mellium.Session, *mellium.StreamConfig) mellium.StreamConfig {
					return mellium.StreamConfig{Features: features}
				}))
			if err != nil {
				t.Fatalf("%s at %s: %v", m.Name, addr, err)
			}
			// mellium v0.22.0 sends an empty resource element.
			if got := session.LocalAddr(); !got.Bare().Equal(me.Bare()) || got.Resourcepart() == "" {
				t.Errorf("bound %s", got)
			}
			served := make(chan error, 1)
			go func() { served <- session.Serve(nil) }()
			if err := ping.Send(ctx, session, me.Domain()); err != nil {
				t.Errorf("ping: %v", err)
			}
			if err := session.Close(); err != nil {
				t.Error(err)
			}
			if err := <-served; err != nil {
				t.Error(err)
			}
		}
	}
}

// fromAfar makes clients look as if they were not on loopback.
type fromAfar struct{ net.Listener }

type afarConn struct{ net.Conn }

func (l fromAfar) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return afarConn{c}, err
}

func (afarConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 9} }

func TestStartTLSRequired(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *xmpp.Config) {
		c.Hosts[0].Auth = passwords()
		c.TLS = testTLS()
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.srv.ServeTCP(fromAfar{ln}) }()
	c := dialTCP(t, ln.Addr().String())
	c.send(tcpHeader)
	c.until(`<stream:features><starttls xmlns="urn:ietf:params:xml:ns:xmpp-tls"><required/></starttls></stream:features>`)
	c.send(`<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="PLAIN">AGhvc3QAc2VjcmV0</auth>`)
	c.until(`<failure xmlns="urn:ietf:params:xml:ns:xmpp-sasl"><encryption-required/></failure>`)
	c.send(`<starttls xmlns="urn:ietf:params:xml:ns:xmpp-tls"/>`)
	c.until(`<proceed xmlns="urn:ietf:params:xml:ns:xmpp-tls"/>`)
	sec := tls.Client(c.conn, trustAll)
	c.conn, c.r = sec, bufio.NewReader(sec)
	c.send(tcpHeader)
	c.until(`<mechanism>SCRAM-SHA-256</mechanism><mechanism>SCRAM-SHA-1</mechanism><mechanism>PLAIN</mechanism></mechanisms></stream:features>`)
	c.send(`<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="PLAIN"/>`)
	c.until(`<challenge xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>`)
	c.send(`<response xmlns="urn:ietf:params:xml:ns:xmpp-sasl">AGhvc3QAc2VjcmV0</response>`)
	c.until(`<success xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>`)

	// What is sent in clear before the handshake is no part of the stream.
	d := dialTCP(t, ln.Addr().String())
	d.send(tcpHeader)
	d.until(`</stream:features>`)
	d.send(`<starttls xmlns="urn:ietf:params:xml:ns:xmpp-tls"/><auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="PLAIN">AGhvc3QAc2VjcmV0</auth>`)
	d.until(`<policy-violation xmlns="urn:ietf:params:xml:ns:xmpp-streams"/></stream:error></stream:stream>`)
}

func TestTCPStreamErrors(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	addr := s.listen(false)
	for _, c := range []struct{ send, cond string }{
		{`<stream:stream xmlns="jabber:client" xmlns:stream="http://etherx.jabber.org/streams" version="1.0" to="other.test">`, "host-unknown"},
		{`<stream:stream xmlns="jabber:client" xmlns:stream="http://etherx.jabber.org/streams" version="1.0" to="meet.test"/>`, "not-well-formed"},
		{`<stream:stream xmlns="jabber:server" xmlns:stream="http://etherx.jabber.org/streams" version="1.0" to="meet.test">`, "invalid-namespace"},
		{`<stream:stream xmlns="jabber:client" xmlns:stream="of:ours" version="1.0" to="meet.test">`, "invalid-namespace"},
		{`<stream:stream to="meet.test">`, "bad-namespace-prefix"},
		{`GET / HTTP/1.1` + "\r\n", "not-well-formed"},
		{`<!DOCTYPE x><stream:stream>`, "restricted-xml"},
		{tcpHeader + `<!-- x -->`, "restricted-xml"},
		{tcpHeader + `<?php ?>`, "restricted-xml"},
		{tcpHeader + `text`, "not-well-formed"},
		{tcpHeader + `<a><b></a></b>`, "not-well-formed"},
		{tcpHeader + `<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl">&x;</auth>`, "restricted-xml"},
		{tcpHeader + `<iq type="get" id="1" to="meet.test"><ping xmlns="urn:xmpp:ping"/></iq>`, "not-authorized"},
		{tcpHeader + `<iq type="get" id="` + strings.Repeat("x", 20<<10), "policy-violation"},
		{tcpHeader + tcpHeader, "restricted-xml"},
	} {
		d := dialTCP(t, addr)
		d.send(c.send)
		got := d.rest()
		want := `<` + c.cond + ` xmlns="urn:ietf:params:xml:ns:xmpp-streams"/>`
		if !strings.HasPrefix(got, `<?xml version="1.0"?><stream:stream xmlns="jabber:client"`) || !strings.Contains(got, want) || !strings.HasSuffix(got, `</stream:error></stream:stream>`) {
			t.Errorf("C: %.200s\nS: %s\nwant %s", c.send, got, c.cond)
		}
	}
}

// Who never finishes a handshake counts against the bound of its address.
func TestHandshakesPerAddress(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *xmpp.Config) {
		c.TLS = &tls.Config{Certificates: []tls.Certificate{{}}}
		c.Exempt, c.ConnectionsPerAddress = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, 1
		c.NegotiationTimeout = time.Hour // no connection ends for that
	})
	addr := s.listen(true)
	first := dialTCP(t, addr)
	second := dialTCP(t, addr)
	for _, c := range []*tcpClient{first, second} {
		_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	}
	// One of the two is in the handshake, the other is closed at once.
	ended := make(chan error, 2)
	for _, c := range []*tcpClient{first, second} {
		go func() {
			_, err := c.conn.Read(make([]byte, 1))
			ended <- err
		}()
	}
	if err := <-ended; !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	_, _ = first.conn.Close(), second.conn.Close()
	<-ended
}
