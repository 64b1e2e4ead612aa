package relay

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"confab/extdisco/stun"
)

var overTCP = raw(stun.AttrRequestedTransport, stun.TransportTCP, 0, 0, 0)

// tcpSite is where a test's relay and its TCP peers are: loopback can't be allowed.
func tcpSite(t *testing.T) netip.Addr {
	t.Helper()
	ip, ok := beyondLoopback()
	if !ok {
		t.Skip("this machine has no address but loopback")
	}
	return ip
}

// beyondLoopback is an address of this machine that clients may be let to reach.
func beyondLoopback() (netip.Addr, bool) {
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap().Is4() && !contains(never, ip.Unmap()) {
				return ip.Unmap(), true
			}
		}
	}
	return netip.Addr{}, false
}

// tcpWorld relays TCP to one address.
func tcpWorld(t *testing.T, change func(*Config)) (*world, netip.Addr) {
	t.Helper()
	ip := tcpSite(t)
	return serve(t, func(c *Config) {
		c.TCPRelay = true
		c.Relays = []Address{{Bind: ip, Public: ip}}
		c.Peers.Announced = nil
		c.Peers.Allowed = []netip.Prefix{netip.PrefixFrom(ip, 32)}
		if change != nil {
			change(c)
		}
	}), ip
}

// tcpFar is a peer that takes connections.
type tcpFar struct {
	*net.TCPListener
	t    *testing.T
	addr netip.AddrPort
}

func newTCPFar(t *testing.T, ip netip.Addr) *tcpFar {
	t.Helper()
	ln, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return &tcpFar{ln, t, addrPort(ln.Addr())}
}

func (p *tcpFar) take() net.Conn {
	p.t.Helper()
	_ = p.SetDeadline(time.Now().Add(patience))
	conn, err := p.Accept()
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// bind makes a new connection of the client that of a CONNECTION-ID; behind are bytes
// that are sent at once.
func (c *caller) bind(id []byte, behind string) net.Conn {
	c.t.Helper()
	return c.bindOver("tcp", id, behind)
}

func (c *caller) bindOver(network string, id []byte, behind string) net.Conn {
	c.t.Helper()
	d := c.world.call(network)
	d.username, d.key = c.username, c.key
	d.greet()
	d.write(append(d.signed(stun.ConnectionBind, raw(stun.AttrConnectionID, id...)), behind...))
	d.expect(stun.ConnectionBind, 0)
	_ = d.conn.SetDeadline(time.Now().Add(patience))
	return d.conn
}

func connectionID(t *testing.T, m stun.Message) []byte {
	t.Helper()
	v, ok := m.Get(stun.AttrConnectionID)
	if !ok || len(v) != 4 {
		t.Fatalf("CONNECTION-ID % x", v)
	}
	return bytes.Clone(v)
}

// says sends s from one end to the other.
func says(t *testing.T, from, to net.Conn, s string) {
	t.Helper()
	sent := make(chan error, 1)
	go func() { _, err := from.Write([]byte(s)); sent <- err }()
	hears(t, to, s)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

func hears(t *testing.T, to net.Conn, s string) {
	t.Helper()
	got := make([]byte, len(s))
	if _, err := io.ReadFull(to, got); err != nil || string(got) != s {
		t.Fatalf("%q, %v; want %q", clip(got), err, clip([]byte(s)))
	}
}

func ends(t *testing.T, conn net.Conn) {
	t.Helper()
	if n, err := conn.Read(make([]byte, 1)); err != io.EOF && !isReset(err) {
		t.Fatalf("%d bytes, %v", n, err)
	}
}

// RFC 6062 §4.3: the client connects to a peer.
func TestTCPConnect(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "tls"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			tcpConnect(t, network)
		})
	}
}

func tcpConnect(t *testing.T, network string) {
	w, ip := tcpWorld(t, withTLS(t, func(c *Config) { c.MaxBps = 0 }))
	p := newTCPFar(t, ip)
	c := w.login(network)
	relayed := address(t, c.ask(stun.Allocate, 0, overTCP), stun.AttrXORRelayedAddress)
	id := connectionID(t, c.ask(stun.Connect, 0, peerAt(p.addr)))
	far := p.take()
	if got := addrPort(far.RemoteAddr()); got != relayed {
		t.Errorf("the peer sees %s, relayed is %s", got, relayed)
	}
	if _, err := far.Write([]byte("220 ready\r\n")); err != nil { // it may speak first
		t.Fatal(err)
	}
	near := c.bindOver(network, id, "GET / HTTP/1.1\r\n")
	hears(t, near, "220 ready\r\n")
	hears(t, far, "GET / HTTP/1.1\r\n")
	long := string(bytes.Repeat([]byte("0123456789abcdef"), 2000))
	says(t, near, far, long)
	says(t, far, near, long)

	c.ask(stun.Connect, 446, peerAt(p.addr))
	d := w.login("tcp")
	for _, again := range [][]byte{id, {0, 0, 0, 0}, {1}} { // taken, unknown, none
		d.ask(stun.ConnectionBind, 400, raw(stun.AttrConnectionID, again...))
	}
	_ = near.Close()
	ends(t, far)
	p = newTCPFar(t, ip)
	id = connectionID(t, c.ask(stun.Connect, 0, peerAt(p.addr)))
	far, near = p.take(), c.bind(id, "")
	says(t, near, far, "again")
	_ = far.Close()
	ends(t, near)
	if st := w.Stats(); st.BytesToPeers < 32_000 || st.BytesFromPeers < 32_000 || st.ByTransport[network] != 1 || st.Refused[446] != 1 {
		t.Errorf("%+v", st)
	}
}

// RFC 6062 §4.4: a peer connects to the client.
func TestTCPConnectionAttempt(t *testing.T) {
	t.Parallel()
	w, ip := tcpWorld(t, nil)
	c := w.login("tcp")
	relayed := address(t, c.ask(stun.Allocate, 0, overTCP), stun.AttrXORRelayedAddress)
	call := func() net.Conn {
		conn, err := net.Dial("tcp", relayed.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(patience))
		return conn
	}
	ends(t, call()) // without a permission
	c.ask(stun.CreatePermission, 0, peerAt(netip.AddrPortFrom(ip, 0)))
	far := call()
	m := c.answer()
	if m.Type() != stun.ConnectionAttempt|stun.Indication || address(t, m, stun.AttrXORPeerAddress) != addrPort(far.LocalAddr()) {
		t.Fatalf("% x", m)
	}
	near := c.bind(connectionID(t, m), "hello")
	says(t, far, near, "hello to you")
	hears(t, far, "hello")
	// The allocation ends, and with it all.
	waits := call()
	c.answer()
	c.ask(stun.Refresh, 0, lifetime(0))
	ends(t, far)
	ends(t, near)
	ends(t, waits)
	w.ended("deleted")
	w.counted(0)
}

// Two TCP allocations of one relay reach each other; nobody reaches other ports of its
// address, or itself.
func TestTCPBetweenAllocations(t *testing.T) {
	t.Parallel()
	w := serve(t, func(c *Config) { // as behind a NAT
		c.TCPRelay = true
		c.Peers.Announced = nil
		c.Relays = []Address{{Bind: local4, Public: netip.MustParseAddr("192.0.2.9")}}
	})
	c, d := w.login("tcp"), w.login("tcp")
	to := address(t, c.ask(stun.Allocate, 0, overTCP), stun.AttrXORRelayedAddress)
	from := address(t, d.ask(stun.Allocate, 0, overTCP), stun.AttrXORRelayedAddress)
	secret := newTCPFar(t, local4)
	d.ask(stun.Connect, 403, peerAt(from))
	for _, ip := range []netip.Addr{local4, from.Addr()} {
		d.ask(stun.Connect, 403, peerAt(netip.AddrPortFrom(ip, secret.addr.Port())))
	}
	c.ask(stun.CreatePermission, 0, peerAt(from))
	id := connectionID(t, d.ask(stun.Connect, 0, peerAt(to)))
	m := c.answer()
	if got := address(t, m, stun.AttrXORPeerAddress); m.Type() != stun.ConnectionAttempt|stun.Indication || got != from {
		t.Fatalf("%#x of %s", m.Type(), got)
	}
	near, far := c.bind(connectionID(t, m), ""), d.bind(id, "")
	says(t, near, far, "hello")
	says(t, far, near, "hello to you")
}

// turn.md §1.3, §7.3.
func TestTCPRelayIsRefused(t *testing.T) {
	t.Parallel()
	w, ip := tcpWorld(t, func(c *Config) { c.Channels = 1; c.Peers.Private = true })
	w.login("udp").ask(stun.Allocate, 400, overTCP)
	c := w.login("tcp")
	c.ask(stun.Connect, 437, peerAt(netip.AddrPortFrom(ip, 1)))
	for _, a := range []attribute{raw(stun.AttrEvenPort, 0), raw(stun.AttrDontFragment), raw(stun.AttrReservationToken, []byte("12345678")...), alsoFamily(2), withTicket(nil)} {
		c.ask(stun.Allocate, 400, overTCP, a)
	}
	c.ask(stun.Allocate, 440, overTCP, ofFamily(2))
	c.ask(stun.Allocate, 0, overTCP)
	c.ask(stun.Refresh, 0)
	c.ask(stun.Connect, 400)
	c.ask(stun.Connect, 400, peerAt(netip.AddrPortFrom(ip, 0)))
	c.ask(stun.Connect, 443, peerAt(netip.MustParseAddrPort("[::1]:80")))
	for _, to := range []string{"127.0.0.1", "0.0.0.0", "169.254.169.254", "10.1.2.3", "8.8.8.8", "192.168.7.7"} { // not named, or never
		c.ask(stun.Connect, 403, peerAt(netip.AddrPortFrom(netip.MustParseAddr(to), 80)))
		c.ask(stun.Connect, 403, spelled(netip.MustParseAddr("::ffff:"+to), 80))
		c.ask(stun.CreatePermission, 403, peerIP(to))
	}
	c.ask(stun.ChannelBind, 400, channel(0x4000), peerAt(netip.AddrPortFrom(ip, 80)))
	c.say(netip.AddrPortFrom(ip, 80), "no Send indications")
	closed := newTCPFar(t, ip)
	_ = closed.Close()
	c.ask(stun.Connect, 447, peerAt(closed.addr))
	p := newTCPFar(t, ip)
	id := connectionID(t, c.ask(stun.Connect, 0, peerAt(p.addr)))
	c.ask(stun.Connect, 508, peerAt(closed.addr)) // as many as channels
	d := w.login("tcp")
	d.as("somebody", w.clock.Now().Add(time.Hour), "north")
	d.ask(stun.ConnectionBind, 400, raw(stun.AttrConnectionID, id...))
	d.write(d.unsigned(stun.ConnectionBind, raw(stun.AttrConnectionID, id...)))
	d.expect(stun.ConnectionBind, 401, stun.AttrNonce)
	w.login("udp").ask(stun.ConnectionBind, 400, raw(stun.AttrConnectionID, id...))
	c.ask(stun.ConnectionBind, 400, raw(stun.AttrConnectionID, id...)) // it has an allocation
	c.bind(id, "")
	if st := w.Stats(); st.Refused[446] != 0 || st.Refused[447] != 1 {
		t.Errorf("%v", st.Refused)
	}
	o := serve(t, nil).login("tcp")
	o.ask(stun.Allocate, 442, overTCP)
	o.write(o.unsigned(stun.Connect, peerAt(p.addr)))
	o.expect(stun.Connect, 400)
}

// A connection that the client does not take ends.
func TestTCPConnectionBindIsAwaitedForAWhile(t *testing.T) {
	t.Parallel()
	w, ip := tcpWorld(t, nil)
	p, c := newTCPFar(t, ip), w.login("tcp")
	c.ask(stun.Allocate, 0, overTCP)
	id := connectionID(t, c.ask(stun.Connect, 0, peerAt(p.addr)))
	w.tcp.mu.Lock()
	waits := w.tcp.waiting[binary.BigEndian.Uint32(id)]
	w.tcp.mu.Unlock()
	if waits == nil || !waits.timer.Reset(0) { // its time is over
		t.Fatal("no time runs for a connection that nobody has taken")
	}
	ends(t, p.take())
	w.login("tcp").ask(stun.ConnectionBind, 400, raw(stun.AttrConnectionID, id...))
	w.tcp.mu.Lock()
	defer w.tcp.mu.Unlock()
	if len(w.tcp.waiting) != 0 {
		t.Errorf("%d wait", len(w.tcp.waiting))
	}
}

// A peer that reads nothing keeps nobody from closing, wherever the client's connections
// have come in.
func TestCloseWithAStuckTCPPeer(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w, ip := tcpWorld(t, func(c *Config) {
		c.MaxBps = 0
		c.TLS = []net.Listener{tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{*certificate(t)}})}
	})
	conn, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	p, c := newTCPFar(t, ip), w.over(conn, true)
	c.greet()
	c.ask(stun.Allocate, 0, overTCP)
	near := c.bind(connectionID(t, c.ask(stun.Connect, 0, peerAt(p.addr))), "")
	p.take()
	_ = near.SetWriteDeadline(time.Now().Add(2 * time.Second)) // by then all buffers are full
	b := make([]byte, 1<<20)
	for range 100 {
		if _, err := near.Write(b); err != nil {
			break
		}
	}
	w.close()
}

// What comes by TCP is slowed down, not dropped.
func TestBandwidthOfTCPRelay(t *testing.T) {
	t.Parallel()
	w, ip := tcpWorld(t, func(c *Config) { c.MaxBps = 100_000; c.Now = time.Now })
	w.clock.ns.Store(time.Now().UnixNano())
	p, c := newTCPFar(t, ip), w.login("tcp")
	c.ask(stun.Allocate, 0, overTCP)
	near := c.bind(connectionID(t, c.ask(stun.Connect, 0, peerAt(p.addr))), "")
	far := p.take()
	began := time.Now()
	says(t, near, far, string(make([]byte, 150_000)))
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("150 kB at 100 kB/s, of which 100 at once, in %s", took)
	}
}
