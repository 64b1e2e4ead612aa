package relay

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"confab/extdisco/credential"
	"confab/extdisco/stun"
)

// gone expects the relay to end the connection without a word.
func (c *caller) gone() {
	c.t.Helper()
	if b, err := c.next(); err == nil {
		c.t.Fatalf("an answer: % x", clip(b))
	} else if !errors.Is(err, io.EOF) && !isReset(err) {
		c.t.Fatal(err)
	}
}

// turn.md §7.8: who has no allocation sends no long messages; who has one, the longest.
func TestLongFrames(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	c := w.login("tcp")
	c.write(c.unsigned(stun.Binding, raw(stun.AttrSoftware, make([]byte, 4096-24)...))) // 4 KiB
	c.expect(stun.Binding, 0)
	c.write(c.unsigned(stun.Binding, raw(stun.AttrSoftware, make([]byte, 4096-20)...)))
	c.gone()

	c = w.login("tcp")
	c.sayOn(0x4000, strings.Repeat("x", 4093))
	c.gone()

	c = w.login("tcp")
	relayed := c.allocate()
	c.write(c.unsigned(stun.Binding, raw(stun.AttrSoftware, make([]byte, 65_528)...))) // of 65,552 bytes
	c.expect(stun.Binding, 0)
	p := newFar(t, local4)
	c.ask(stun.ChannelBind, 0, channel(0x4000), peerAt(p.addr))
	c.sayOn(0x4000, strings.Repeat("x", 65_535)) // too long for UDP
	c.sayOn(0x4000, strings.Repeat("y", 65_507))
	p.hear(relayed, strings.Repeat("y", 65_507))
	p.say(relayed, strings.Repeat("z", 65_507))
	c.hearOn(0x4000, strings.Repeat("z", 65_507))
	c.ask(stun.Refresh, 0, lifetime(0))
	c.write(c.unsigned(stun.Binding, raw(stun.AttrSoftware, make([]byte, 5000)...)))
	c.gone()
}

// A whole conversation byte by byte, and in one piece.
func TestPiecesOfAConversation(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "tls"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			piecesOver(t, network)
		})
	}
}

func piecesOver(t *testing.T, network string) {
	w := serve(t, withTLS(t, nil))
	c, p := w.login(network), newFar(t, local4)
	var all []byte
	all = append(all, c.signed(stun.Allocate, overUDP)...)
	all = append(all, c.signed(stun.ChannelBind, channel(0x4000), peerAt(p.addr))...)
	for _, s := range []string{"", "a", "bc", "def", "ghij"} {
		all = append(append(stun.AppendChannelHeader(all, 0x4000, len(s)), s...), make([]byte, -len(s)&3)...)
	}
	all = append(all, c.unsigned(stun.Send|stun.Indication, peerAt(p.addr), data("klmno"))...)
	all = append(all, c.signed(stun.Refresh, lifetime(0))...)
	for _, step := range []int{1, 3, 7, len(all)} {
		for b := all; len(b) > 0; b = b[min(step, len(b)):] {
			c.write(b[:min(step, len(b))])
		}
		relayed := address(t, c.answer(), stun.AttrXORRelayedAddress)
		for range 2 {
			if m := c.answer(); m.Class() != stun.Success {
				t.Fatalf("in pieces of %d: %#x, code %d", step, m.Type(), m.ErrorCode())
			}
		}
		for _, s := range []string{"", "a", "bc", "def", "ghij", "klmno"} {
			p.hear(relayed, s)
		}
		w.ended("deleted")
	}
}

// turn.md §7.8 and §13 row 11: media that a client does not read is dropped, the oldest
// first; answers are not, and nobody else waits.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "tls"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			slowReader(t, network)
		})
	}
}

func slowReader(t *testing.T, network string) {
	w := serve(t, withTLS(t, func(c *Config) { c.MaxBps, c.Queue = 0, 64<<10 }))
	slow, quick, p := w.login(network), w.login("udp"), newFar(t, local4)
	_ = bottom(slow.conn).SetReadBuffer(8 << 10)
	to, from := slow.allocate(), quick.allocate()
	slow.ask(stun.ChannelBind, 0, channel(0x4000), peerAt(p.addr))
	quick.ask(stun.ChannelBind, 0, channel(0x4000), peerAt(p.addr))
	sent := uint32(0)
	say := func() {
		b := make([]byte, 1000)
		binary.BigEndian.PutUint32(b, sent)
		p.say(to, string(b))
		sent++
	}
	for w.Stats().QueueDrops < 200 {
		for range 50 {
			say()
		}
		quick.sayOn(0x4000, "I do not wait")
		p.hear(from, "I do not wait")
		p.say(from, "neither do I")
		quick.hearOn(0x4000, "neither do I")
	}
	slow.write(slow.signed(stun.Refresh)) // answered although nothing is read
	quick.settle()
	say()
	last := sent - 1
	answers, lost, next := 0, 0, uint32(0)
	for answers == 0 || next <= last {
		b := slow.read()
		if b[0]>>6 == 0 {
			if m, ok := stun.Parse(b); !ok || m.Type() != stun.Refresh|stun.Success || m.ID() != slow.lastID() {
				t.Fatalf("% x", clip(b))
			}
			answers++
			continue
		}
		_, v, ok := stun.ParseChannelData(b)
		if !ok || len(v) != 1000 {
			t.Fatalf("% x", clip(b))
		}
		n := binary.BigEndian.Uint32(v)
		if n < next {
			t.Fatalf("%d after %d", n, next-1)
		}
		lost += int(n - next)
		next = n + 1
	}
	if lost < 200 {
		t.Errorf("%d lost", lost)
	}
}

// Answers that a client asks for and does not read end its connection.
func TestWhoAsksAndDoesNotRead(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "tls"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			asksAndDoesNotRead(t, network)
		})
	}
}

func asksAndDoesNotRead(t *testing.T, network string) {
	w := serve(t, withTLS(t, nil))
	c := w.login(network)
	_ = bottom(c.conn).SetReadBuffer(4 << 10)
	b := bytes.Repeat(c.unsigned(stun.Binding), 1000)
	_ = c.conn.SetWriteDeadline(time.Now().Add(patience))
	for {
		if _, err := c.conn.Write(b); err != nil {
			if !isReset(err) {
				t.Error(err)
			}
			return
		}
	}
}

// turn.md §8.2: connections of one address, and in all.
func TestConnectionLimits(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"address": func(c *Config) { c.ConnsPerAddress = 3 },
		"all":     func(c *Config) { c.Conns = 3 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := serve(t, change)
			var open []*caller
			for range 3 {
				open = append(open, w.login("tcp"))
			}
			w.call("tcp").gone()
			if got := w.Stats().OverBudget; got != 1 {
				t.Errorf("%d counted", got)
			}
			open[0].allocate()
			_ = open[0].conn.Close()
			w.ended("connection closed")
			_ = open[1].conn.Close()
			for { // until the relay has seen it
				c := w.call("tcp")
				c.write(c.unsigned(stun.Binding))
				if _, err := c.next(); err == nil {
					break
				}
			}
		})
	}
}

// Nobody stays who says nothing, or only the half of it.
func TestHalfOpenConnections(t *testing.T) {
	t.Parallel()
	w := serve(t, func(c *Config) { c.AuthTimeout = 50 * time.Millisecond })
	for _, b := range []string{"", "\x00", "\x00\x01\x00\x00\x21\x12\xa4\x42", "\x40\x00\x03\xff", "\x16\x03\x01\x02"} {
		c := w.call("tcp")
		c.write([]byte(b))
		c.gone()
	}
}

func TestHTTPOnTheTCPPort(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	for request, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost: meet.example\r\n\r\n":    "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
		"HEAD / HTTP/1.1\r\nHost: meet.example\r\n\r\n":   "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
		"POST /x HTTP/1.1\r\nHost: meet.example\r\n\r\n":  "",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":                "",
		"SSH-2.0-OpenSSH_9.9\r\n":                         "",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03ABC": "", // TLS on the plain port is off here
	} {
		c := w.call("tcp")
		c.write([]byte(request))
		_ = c.conn.SetReadDeadline(time.Now().Add(patience))
		if got, err := io.ReadAll(c.conn); string(got) != want || err != nil && !isReset(err) {
			t.Errorf("%q: %q, %v", request, got, err)
		}
	}
}

func certificate(t *testing.T) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "meet.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{"meet.example"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// ahead is a TLS connection that gives back what was read of it to see what it is.
type ahead struct {
	*tls.Conn
	first []byte
}

func (a *ahead) Read(b []byte) (int, error) {
	if len(a.first) > 0 {
		n := copy(b, a.first)
		a.first = a.first[n:]
		return n, nil
	}
	return a.Conn.Read(b)
}

// looking reads the first byte of every connection.
type looking struct {
	net.Listener
	config *tls.Config
}

func (l looking) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	a := &ahead{Conn: tls.Server(Switch(c), l.config), first: make([]byte, 1)}
	if _, err := io.ReadFull(a.Conn, a.first); err != nil {
		return nil, err
	}
	return a, nil
}

// TURN over TLS: the same as over TCP, however its connections come in.
func TestTLS(t *testing.T) {
	t.Parallel()
	for name, listen := range map[string]func(net.Listener, *tls.Config) net.Listener{
		"in goroutines":  tls.NewListener,
		"in event loops": func(ln net.Listener, c *tls.Config) net.Listener { return tls.NewListener(Switchable(ln), c) },
		"after a look":   func(ln net.Listener, c *tls.Config) net.Listener { return looking{ln, c} },
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+" "+tls.VersionName(version), func(t *testing.T) {
				t.Parallel()
				overTLS(t, listen, version)
			})
		}
	}
}

func overTLS(t *testing.T, listen func(net.Listener, *tls.Config) net.Listener, version uint16) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := serve(t, func(c *Config) {
		c.TLS = []net.Listener{listen(ln, &tls.Config{Certificates: []tls.Certificate{*certificate(t)}, MaxVersion: version})}
	})
	conn, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	c, p := w.over(conn, true), newFar(t, local4)
	c.greet()
	relayed := c.allocate()
	c.ask(stun.ChannelBind, 0, channel(0x4000), peerAt(p.addr))
	for _, n := range []int{0, 1, 1200, 20_000, 65_000} {
		s := strings.Repeat("x", n)
		c.sayOn(0x4000, s)
		p.hear(relayed, s)
		p.say(relayed, s)
		c.hearOn(0x4000, s)
	}
	for range 30 { // several records with one read
		c.sayOn(0x4000, "a")
	}
	for range 30 {
		p.hear(relayed, "a")
	}
	if by := w.Stats().ByTransport; by["tls"] != 1 {
		t.Errorf("%v", by)
	}
	_ = conn.Close()
	w.ended("connection closed")
}

// TURN over DTLS (turn.md §7.11): a message is a record, without padding.
func TestDTLS(t *testing.T) {
	t.Parallel()
	ln := listenDTLS(t, nil)
	w := serve(t, func(c *Config) { c.DTLS = []net.Listener{ln} })
	conn := dialDTLS(t, ln.Addr())
	c, p := w.over(conn, false), newFar(t, local4)
	if _, err := conn.Write(nil); err != nil { // an empty record once was the end of the process
		t.Fatal(err)
	}
	c.greet()
	relayed := c.allocate()
	c.ask(stun.CreatePermission, 0, peerIP("127.0.0.1"))
	for _, n := range []int{0, 1, 2, 3, 4, 5, 1199, 1200} {
		s := strings.Repeat("x", n)
		c.say(p.addr, s)
		p.hear(relayed, s)
		p.say(relayed, s)
		c.hear(p.addr, s)
	}
	c.ask(stun.ChannelBind, 0, channel(0x4000), peerAt(p.addr))
	for i := range 20 { // several wait for one write
		p.say(relayed, fmt.Sprint(i))
	}
	for i := range 20 {
		c.hearOn(0x4000, fmt.Sprint(i))
	}
	c.sayOn(0x4000, "hello")
	p.hear(relayed, "hello")
	if st := w.Stats(); st.ByTransport["dtls"] != 1 || st.Panics != 0 {
		t.Errorf("%+v", st)
	}
	_ = conn.Close()
	w.ended("connection closed")
}

// broken are credentials that panic for one user.
type broken struct{ secrets }

func (b broken) Lookup(username, realm string, now time.Time) (credential.Identity, bool) {
	if strings.HasSuffix(username, ":boom") {
		panic("a fault of ours")
	}
	return b.secrets.Lookup(username, realm, now)
}

// A fault of ours costs who has met it, and no other allocation.
func TestPanicsAreContained(t *testing.T) {
	t.Parallel()
	w := serve(t, func(c *Config) { c.Credentials = broken{secrets{"north"}} })
	p := newFar(t, local4)
	var others []*caller
	var relayed []netip.AddrPort
	for range 4 { // on both loops, in all likelihood
		for _, network := range []string{"udp", "tcp"} {
			c := w.login(network)
			c.as(fmt.Sprint(len(others)), w.clock.Now().Add(time.Hour), "north")
			relayed = append(relayed, c.allocate())
			c.ask(stun.ChannelBind, 0, channel(0x4000), peerAt(p.addr))
			others = append(others, c)
		}
	}
	for range 4 {
		for _, network := range []string{"udp", "tcp"} {
			c := w.login(network)
			c.as("boom", w.clock.Now().Add(time.Hour), "north")
			c.write(c.signed(stun.Allocate, overUDP))
			if network == "tcp" {
				c.gone()
			} else {
				c.settle() // the loop lives
			}
		}
	}
	for i, c := range others {
		c.sayOn(0x4000, "alive")
		p.hear(relayed[i], "alive")
		p.say(relayed[i], "alive")
		c.hearOn(0x4000, "alive")
	}
	if st := w.Stats(); st.Panics != 8 || st.Allocations != 8 {
		t.Errorf("%d panics, %d allocations", st.Panics, st.Allocations)
	}
}

// fragile is a bridge that panics.
type fragile struct{ at netip.AddrPort }

func (f fragile) Local(ap netip.AddrPort) bool              { return ap == f.at }
func (f fragile) Deliver(b []byte, from, to netip.AddrPort) { panic("a fault of the bridge") }

func TestPanicOnThePacketPath(t *testing.T) {
	t.Parallel()
	bridge, p := newFar(t, local4), newFar(t, local4)
	w := serve(t, func(c *Config) { c.Bridge = fragile{bridge.addr} })
	c, d := w.login("udp"), w.login("tcp")
	relayed := c.allocate()
	d.allocate()
	for _, x := range []*caller{c, d} {
		x.ask(stun.ChannelBind, 0, channel(0x4000), peerAt(p.addr))
		x.ask(stun.ChannelBind, 0, channel(0x4001), peerAt(bridge.addr))
		x.sayOn(0x4001, "boom")
	}
	d.gone()
	w.ended("connection closed")
	c.settle()
	c.sayOn(0x4000, "alive")
	p.hear(relayed, "alive")
	if got := w.Stats().Panics; got != 2 {
		t.Errorf("%d panics", got)
	}
}
