package relay

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"confab/extdisco/stun"
)

// patience is how long a test waits for what has to come.
const patience = 60 * time.Second

// clock is one that only the test moves.
type clock struct{ ns atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ns.Store(time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) Now() time.Time { return time.Unix(0, c.ns.Load()) }

// world is a relay with a clock of the test's.
type world struct {
	*Server
	t     testing.TB
	clock *clock
	ends  chan string // reasons for which allocations have ended

	closed bool
}

// tap is a log that tells of ends.
type tap struct{ ends chan string }

func (tap) Enabled(context.Context, slog.Level) bool { return true }
func (h tap) WithAttrs([]slog.Attr) slog.Handler     { return h }
func (h tap) WithGroup(string) slog.Handler          { return h }

func (h tap) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "allocation ended" {
		r.Attrs(func(a slog.Attr) bool {
			if a.Key != "reason" {
				return true
			}
			select {
			case h.ends <- a.Value.String():
			default:
			}
			return false
		})
	}
	return nil
}

var (
	local4 = netip.MustParseAddr("127.0.0.1")
	local6 = netip.MustParseAddr("::1")
)

// testConfig may reach peers on loopback.
func testConfig(now func() time.Time) Config {
	cfg := DefaultConfig()
	cfg.Realm = "meet.example"
	cfg.Credentials = secrets{"north"}
	cfg.Loops = 2
	cfg.UDP = []netip.AddrPort{netip.AddrPortFrom(local4, 0)}
	cfg.TCP = []netip.AddrPort{netip.AddrPortFrom(local4, 0)}
	cfg.Relays = []Address{{Bind: local4, Public: local4}}
	cfg.SocketBuffer = 1 << 20
	cfg.NonceKey = []byte("of the test")
	cfg.Peers.Announced = func(ap netip.AddrPort) bool { return ap.Addr().IsLoopback() }
	cfg.Now = now
	return cfg
}

// serve runs a relay with a clock that stands still.
func serve(t testing.TB, change func(*Config)) *world {
	t.Helper()
	w := &world{t: t, clock: newClock(), ends: make(chan string, 10_000)}
	cfg := testConfig(w.clock.Now)
	if change != nil {
		change(&cfg)
	}
	s, err := Listen(cfg, slog.New(tap{w.ends}))
	if err != nil {
		t.Fatal(err)
	}
	w.Server = s
	t.Cleanup(w.close)
	return w
}

// withTLS has the TCP port take TLS.
func withTLS(t *testing.T, change func(*Config)) func(*Config) {
	cert := certificate(t)
	return func(c *Config) {
		c.PlainTLS = &tls.Config{Certificates: []tls.Certificate{*cert}}
		if change != nil {
			change(c)
		}
	}
}

// close ends the relay, before the test does if it wants to.
func (w *world) close() {
	if w.closed {
		return
	}
	w.closed = true
	if err := w.Close(); err != nil {
		w.t.Error(err)
	}
}

// dual gives a relay both families.
func dual(t testing.TB) func(*Config) {
	c, err := net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local6, 0)))
	if err != nil {
		t.Skip("no IPv6 here: ", err)
	}
	_ = c.Close()
	return func(c *Config) { c.Relays = append(c.Relays, Address{Bind: local6, Public: local6}) }
}

// pass moves the clock and has the loops look at it.
func (w *world) pass(d time.Duration) {
	w.clock.ns.Add(int64(d))
	for _, l := range w.loops {
		l.poller.Wake()
	}
}

// ended waits for an allocation to end.
func (w *world) ended(reason string) {
	w.t.Helper()
	select {
	case got := <-w.ends:
		if got != reason {
			w.t.Fatalf("an allocation has ended: %s; want %s", got, reason)
		}
	case <-time.After(patience):
		w.t.Fatalf("no allocation has ended: %s", reason)
	}
}

// counted checks what quotas count in all.
func (w *world) counted(n int) {
	w.t.Helper()
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.total != n || n == 0 && (len(w.byUser) != 0 || len(w.byAddr) != 0) {
		w.t.Errorf("quotas count %d, %v, %v; want %d", w.total, w.byUser, w.byAddr, n)
	}
}

// attribute is one of a request.
type attribute struct {
	kind   uint16
	value  []byte
	addr   netip.AddrPort // XORed, in place of value
	mapped netip.AddrPort // the same, of an IPv4 address in IPv6 form
}

func raw(kind uint16, value ...byte) attribute { return attribute{kind: kind, value: value} }
func number(kind uint16, v uint32) attribute {
	return attribute{kind: kind, value: binary.BigEndian.AppendUint32(nil, v)}
}
func peerAt(ap netip.AddrPort) attribute { return attribute{kind: stun.AttrXORPeerAddress, addr: ap} }
func peerIP(ip string) attribute         { return peerAt(netip.AddrPortFrom(netip.MustParseAddr(ip), 0)) }
func lifetime(seconds uint32) attribute  { return number(stun.AttrLifetime, seconds) }
func channel(n uint16) attribute         { return number(stun.AttrChannelNumber, uint32(n)<<16) }
func ofFamily(f byte) attribute          { return raw(stun.AttrRequestedAddressFamily, f, 0, 0, 0) }
func alsoFamily(f byte) attribute        { return raw(stun.AttrAdditionalAddressFamily, f, 0, 0, 0) }
func data(s string) attribute            { return raw(stun.AttrData, []byte(s)...) }
func withTicket(b []byte) attribute      { return attribute{kind: stun.AttrMobilityTicket, value: b} }

var overUDP = raw(stun.AttrRequestedTransport, stun.TransportUDP, 0, 0, 0)

// caller is a client that speaks STUN by hand.
type caller struct {
	t        testing.TB
	world    *world
	conn     net.Conn
	framed   bool // a stream of bytes
	build    stun.Builder
	username string
	key      []byte
	nonce    []byte
	ids      uint64
	buf      []byte
}

// call connects; network is udp, tcp, or tls for TLS on the TCP port (withTLS). The client has no nonce yet.
func (w *world) call(network string) *caller {
	w.t.Helper()
	addr := ""
	if network != "udp" {
		addr = w.listeners[0].Addr().String()
	} else {
		addr = w.UDPAddrs()[0].String()
	}
	return w.callAt(network, addr)
}

func (w *world) callAt(network, addr string) *caller {
	w.t.Helper()
	if network == "tls" {
		conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			w.t.Fatal(err)
		}
		return w.over(conn, true)
	}
	conn, err := net.Dial(network, addr)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.over(conn, network == "tcp")
}

func (w *world) over(conn net.Conn, framed bool) *caller {
	w.t.Cleanup(func() { _ = conn.Close() })
	c := &caller{t: w.t, world: w, conn: conn, framed: framed, buf: make([]byte, 70_000)}
	c.as("k3v9", w.clock.Now().Add(time.Hour), "north")
	return c
}

// as has the client sign with a time-limited credential.
func (c *caller) as(id string, expires time.Time, secret string) {
	c.username = strconv.FormatInt(expires.Unix(), 10) + ":" + id
	c.key = keyOf(secret, c.username, "meet.example")
}

// login connects and gets a nonce.
func (w *world) login(network string) *caller {
	w.t.Helper()
	c := w.call(network)
	c.greet()
	return c
}

func (c *caller) greet() {
	c.t.Helper()
	c.write(c.unsigned(stun.Allocate))
	c.nonce = bytes.Clone(c.expect(stun.Allocate, 401, stun.AttrNonce))
}

func (c *caller) id() (id stun.ID) {
	c.ids++
	binary.BigEndian.PutUint64(id[:], c.ids)
	return id
}

func (c *caller) start(kind uint16, id stun.ID, list []attribute) {
	c.build.Start(kind, id)
	for _, a := range list {
		if a.addr.IsValid() {
			c.build.AddXORAddress(a.kind, a.addr)
		} else if a.mapped.IsValid() {
			c.build.Add(a.kind, xored(c.build.Bytes(), a.mapped))
		} else {
			c.build.Add(a.kind, a.value)
		}
	}
}

// xored is the value of XOR-PEER-ADDRESS for an address of 16 bytes.
func xored(message []byte, ap netip.AddrPort) []byte {
	v := []byte{0, stun.FamilyIPv6, byte(ap.Port()>>8) ^ message[4], byte(ap.Port()) ^ message[5]}
	for i, b := range ap.Addr().As16() {
		v = append(v, b^message[4+i])
	}
	return v
}

func (c *caller) unsigned(kind uint16, list ...attribute) []byte {
	c.start(kind, c.id(), list)
	return bytes.Clone(c.build.Bytes())
}

func (c *caller) signed(kind uint16, list ...attribute) []byte {
	return c.signedAs(c.id(), kind, list...)
}

func (c *caller) signedAs(id stun.ID, kind uint16, list ...attribute) []byte {
	c.start(kind, id, list)
	c.build.AddString(stun.AttrUsername, c.username)
	c.build.AddString(stun.AttrRealm, "meet.example")
	c.build.Add(stun.AttrNonce, c.nonce)
	c.build.Sign(c.key)
	return bytes.Clone(c.build.Bytes())
}

func (c *caller) write(b []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// read returns the next message of either kind. It is good until the next.
func (c *caller) read() []byte {
	c.t.Helper()
	b, err := c.next()
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

func (c *caller) next() ([]byte, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	if !c.framed {
		n, err := c.conn.Read(c.buf)
		return c.buf[:n], err
	}
	if _, err := io.ReadFull(c.conn, c.buf[:4]); err != nil {
		return nil, err
	}
	n := stun.FrameSize(c.buf)
	if n == 0 {
		return nil, fmt.Errorf("no frame: % x", c.buf[:4])
	}
	_, err := io.ReadFull(c.conn, c.buf[4:n])
	return c.buf[:n], err
}

// answer reads a STUN message and checks how it is signed.
func (c *caller) answer() stun.Message {
	c.t.Helper()
	b := c.read()
	m, ok := stun.Parse(b)
	if !ok {
		c.t.Fatalf("no message: % x", b)
	}
	if present, valid := m.Fingerprinted(); !valid || m.Has(stun.AttrMessageIntegrity) && !present {
		c.t.Fatalf("FINGERPRINT of % x", b)
	}
	if m.Has(stun.AttrMessageIntegrity) && !m.Signed(c.key, &c.build) {
		c.t.Fatalf("signed by nobody: % x", b)
	}
	return m
}

// expect reads the answer to the last request: 0 is success. It returns the value of
// an attribute if one is named.
func (c *caller) expect(method uint16, code int, kinds ...uint16) (value []byte) {
	c.t.Helper()
	m := c.answer()
	if m.Method() != method || m.ID() != c.lastID() || m.ErrorCode() != code || (m.Class() == stun.Success) != (code == 0) {
		c.t.Fatalf("answer %#x with code %d, want method %#x and code %d", m.Type(), m.ErrorCode(), method, code)
	}
	for _, k := range kinds {
		v, ok := m.Get(k)
		if !ok {
			c.t.Fatalf("answer %#x with code %d has no attribute %#x", m.Type(), code, k)
		}
		value = v
	}
	return value
}

func (c *caller) lastID() (id stun.ID) {
	binary.BigEndian.PutUint64(id[:], c.ids)
	return id
}

// ask sends a signed request and returns the answer, which must be of that code.
func (c *caller) ask(method uint16, code int, list ...attribute) stun.Message {
	c.t.Helper()
	c.write(c.signed(method, list...))
	m := c.answer()
	if m.Method() != method || m.ID() != c.lastID() || m.ErrorCode() != code || (m.Class() == stun.Success) != (code == 0) {
		c.t.Fatalf("request %#x %v: answer %#x with code %d, want %d", method, list, m.Type(), m.ErrorCode(), code)
	}
	return m
}

// allocate returns the first relayed address.
func (c *caller) allocate(list ...attribute) netip.AddrPort {
	c.t.Helper()
	m := c.ask(stun.Allocate, 0, append([]attribute{overUDP}, list...)...)
	return address(c.t, m, stun.AttrXORRelayedAddress)
}

func address(t testing.TB, m stun.Message, kind uint16) netip.AddrPort {
	t.Helper()
	v, _ := m.Get(kind)
	ap, ok := m.Address(v)
	if !ok {
		t.Fatalf("no address in attribute %#x: % x", kind, v)
	}
	return ap
}

// granted is the lifetime of an answer.
func granted(t testing.TB, m stun.Message) int {
	t.Helper()
	v, ok := m.Uint32(stun.AttrLifetime)
	if !ok {
		t.Fatal("no LIFETIME")
	}
	return int(v)
}

// say sends a Send indication.
func (c *caller) say(to netip.AddrPort, s string) {
	c.t.Helper()
	c.write(c.unsigned(stun.Send|stun.Indication, peerAt(to), data(s)))
}

// sayOn sends ChannelData, padded on a stream only.
func (c *caller) sayOn(n uint16, s string) {
	c.t.Helper()
	b := append(stun.AppendChannelHeader(nil, n, len(s)), s...)
	for c.framed && len(b)%4 != 0 {
		b = append(b, 0xff)
	}
	c.write(b)
}

// hear expects a Data indication.
func (c *caller) hear(from netip.AddrPort, s string) {
	c.t.Helper()
	b := c.read()
	m, ok := stun.Parse(b)
	if !ok || m.Type() != stun.Data|stun.Indication {
		c.t.Fatalf("no Data indication: % x", b)
	}
	v, has := m.Get(stun.AttrData)
	if ap := address(c.t, m, stun.AttrXORPeerAddress); !has || string(v) != s || ap != from {
		c.t.Fatalf("%d bytes %q of %s, want %d %q of %s", len(v), clip(v), ap, len(s), clip([]byte(s)), from)
	}
}

// hearOn expects ChannelData; over UDP it is not padded.
func (c *caller) hearOn(n uint16, s string) {
	c.t.Helper()
	b := c.read()
	got, v, ok := stun.ParseChannelData(b)
	if !ok || got != n || string(v) != s || !c.framed && len(b) != stun.ChannelHeaderSize+len(s) {
		c.t.Fatalf("ChannelData of %d bytes: %#x %q %v, want %#x %q", len(b), got, clip(v), ok, n, clip([]byte(s)))
	}
}

func clip(b []byte) []byte { return b[:min(len(b), 40)] }

// settle returns when the relay has dealt with all that was sent before: it answers in
// order.
func (c *caller) settle() {
	c.t.Helper()
	c.write(c.unsigned(stun.Binding))
	c.expect(stun.Binding, 0)
}

// far is a peer.
type far struct {
	t    testing.TB
	conn *net.UDPConn
	addr netip.AddrPort
}

func newFar(t testing.TB, ip netip.Addr) *far {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &far{t, conn, conn.LocalAddr().(*net.UDPAddr).AddrPort()}
}

func (p *far) say(to netip.AddrPort, s string) {
	p.t.Helper()
	if _, err := p.conn.WriteToUDPAddrPort([]byte(s), to); err != nil {
		p.t.Fatal(err)
	}
}

func (p *far) hear(from netip.AddrPort, s string) {
	p.t.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 70_000)
	n, src, err := p.conn.ReadFromUDPAddrPort(buf)
	src = netip.AddrPortFrom(src.Addr().Unmap(), src.Port())
	if err != nil || string(buf[:n]) != s || src != from {
		p.t.Fatalf("%d bytes %q from %s (%v), want %d %q from %s", n, clip(buf[:n]), src, err, len(s), clip([]byte(s)), from)
	}
}
