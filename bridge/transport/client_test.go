package transport

// The client side of the tests: pion's ICE, DTLS and SRTP on a UDP socket whose
// address can change, so that tests can also misbehave on the wire.

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/ice/v4"
	"github.com/pion/srtp/v3"

	"confab/bridge/rtpx"
)

// patience bounds every wait of the tests.
const patience = time.Minute

func testConfig() Config {
	c := DefaultConfig()
	c.Port = 0
	c.IPv6 = false
	c.PublicAddresses = []string{"127.0.0.1"}
	c.Sockets = 2
	c.SocketBuffer = 0
	return c
}

func listen(t testing.TB, change func(*Config)) *Sockets {
	t.Helper()
	c := testConfig()
	if change != nil {
		change(&c)
	}
	s, err := Listen(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if n := s.cfg.Pool.Outstanding(); n != 0 {
			t.Errorf("%d packets were not released", n)
		}
	})
	return s
}

// heard is a Handler that passes everything to channels.
type heard struct {
	rtp, rtcp chan []byte
	states    chan State
	open      chan struct{}
	messages  chan string
}

func newHeard() *heard {
	return &heard{
		make(chan []byte, 1024), make(chan []byte, 1024), make(chan State, 64),
		make(chan struct{}, 8), make(chan string, 64),
	}
}

func (h *heard) RTP(p *rtpx.Packet)  { h.rtp <- append([]byte(nil), p.Bytes()...) }
func (h *heard) RTCP(p *rtpx.Packet) { h.rtcp <- append([]byte(nil), p.Bytes()...) }
func (h *heard) State(s State)       { h.states <- s }
func (h *heard) ChannelOpen()        { h.open <- struct{}{} }
func (h *heard) Message(b []byte)    { h.messages <- string(b) }

// wait receives from c within patience.
func wait[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("no %s within %v", what, patience)
		panic("unreachable")
	}
}

func (h *heard) waitState(t testing.TB, want State) {
	t.Helper()
	for {
		if got := wait(t, h.states, "state "+want.String()); got == want {
			return
		}
	}
}

// nat is the client's UDP socket behind an address that can change.
type nat struct {
	cur atomic.Pointer[net.UDPConn]
	by  *allocation // sends by a relay
	in  chan natPacket
	end chan struct{}
	wg  sync.WaitGroup

	mu   sync.Mutex
	all  []*net.UDPConn
	once sync.Once
}

type natPacket struct {
	b   []byte
	src net.Addr
}

func newNAT(t testing.TB) *nat {
	n := &nat{in: make(chan natPacket, 4096), end: make(chan struct{})}
	n.rebind(t)
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// rebind moves the client to a new address; the old one goes deaf.
func (n *nat) rebind(t testing.TB) {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	n.mu.Lock()
	n.all = append(n.all, c)
	n.mu.Unlock()
	if old := n.cur.Swap(c); old != nil {
		_ = old.Close()
	}
	n.wg.Go(func() {
		for {
			b := make([]byte, 2000)
			k, src, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			select {
			case n.in <- natPacket{b[:k], src}:
			case <-n.end:
				return
			}
		}
	})
}

func (n *nat) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case p := <-n.in:
		return copy(b, p.b), p.src, nil
	case <-n.end:
		return 0, nil, net.ErrClosed
	}
}

func (n *nat) WriteTo(b []byte, to net.Addr) (int, error) {
	if n.by != nil {
		n.by.deliver(b, to.(*net.UDPAddr).AddrPort())
		return len(b), nil
	}
	return n.cur.Load().WriteTo(b, to)
}

func (n *nat) Close() error {
	n.once.Do(func() {
		close(n.end)
		n.mu.Lock()
		for _, c := range n.all {
			_ = c.Close()
		}
		n.mu.Unlock()
		n.wg.Wait()
	})
	return nil
}

var natAddr = &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9}

func (n *nat) LocalAddr() net.Addr              { return natAddr }
func (n *nat) SetDeadline(time.Time) error      { return nil }
func (n *nat) SetReadDeadline(time.Time) error  { return nil }
func (n *nat) SetWriteDeadline(time.Time) error { return nil }
func (n *nat) addr() netip.AddrPort {
	return n.cur.Load().LocalAddr().(*net.UDPAddr).AddrPort()
}

// clientMux gives every agent of a client what arrives at its socket; only
// requests are told apart. (pion's own mux tells agents apart by the remote
// address, which fails when two talk to one bridge.)
type clientMux struct {
	nat *nat

	mu    sync.Mutex
	conns map[string]*clientConn
}

type clientConn struct {
	*nat
	in   chan natPacket
	end  chan struct{}
	once sync.Once
}

func newClientMux(n *nat) *clientMux {
	m := &clientMux{nat: n, conns: map[string]*clientConn{}}
	n.wg.Go(m.run)
	return m
}

func (m *clientMux) run() {
	buf := make([]byte, 2000)
	for {
		n, src, err := m.nat.ReadFrom(buf)
		if err != nil {
			return
		}
		p := natPacket{append([]byte(nil), buf[:n]...), src}
		kind, isSTUN := stunType(p.b)
		m.mu.Lock()
		for ufrag, c := range m.conns {
			if isSTUN && kind == bindingRequest && string(stunUfrag(p.b)) != ufrag {
				continue
			}
			select {
			case c.in <- p:
			default:
			}
		}
		m.mu.Unlock()
	}
}

func (m *clientMux) GetConn(ufrag string, _ net.Addr) (net.PacketConn, error) {
	c := &clientConn{nat: m.nat, in: make(chan natPacket, 1024), end: make(chan struct{})}
	m.mu.Lock()
	m.conns[ufrag] = c
	m.mu.Unlock()
	return c, nil
}

func (m *clientMux) RemoveConnByUfrag(ufrag string) {
	m.mu.Lock()
	delete(m.conns, ufrag)
	m.mu.Unlock()
}
func (m *clientMux) GetListenAddresses() []net.Addr { return []net.Addr{natAddr} }
func (m *clientMux) Close() error                   { return nil }

func (c *clientConn) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case p := <-c.in:
		return copy(b, p.b), p.src, nil
	case <-c.end:
		return 0, nil, net.ErrClosed
	}
}

func (c *clientConn) Close() error {
	c.once.Do(func() { close(c.end) })
	return nil
}

// client is a browser in small: controlled, DTLS client, no candidates signalled.
type client struct {
	t    testing.TB
	nat  *nat
	mux  *clientMux
	cert tls.Certificate

	profiles []dtls.SRTPProtectionProfile
	mtu      int  // of its DTLS
	liar     bool // signals a fingerprint that is not its certificate's

	agents []*ice.Agent
	conn   atomic.Pointer[ice.Conn]
	dtlsIn chan []byte
	stop   chan struct{}
	wg     sync.WaitGroup
	dtls   *dtls.Conn
	in     *srtp.Context
	out    *srtp.Context
	inMu   sync.Mutex

	rtp, rtcp chan []byte
}

func newClient(t testing.TB) *client {
	t.Helper()
	cert, err := newCertificate()
	if err != nil {
		t.Fatal(err)
	}
	c := &client{
		t: t, nat: newNAT(t), cert: cert, mtu: 1200,
		profiles: []dtls.SRTPProtectionProfile{dtls.SRTP_AES128_CM_HMAC_SHA1_80, dtls.SRTP_AEAD_AES_128_GCM},
		dtlsIn:   make(chan []byte, 256), stop: make(chan struct{}),
		rtp: make(chan []byte, 1024), rtcp: make(chan []byte, 1024),
	}
	c.mux = newClientMux(c.nat)
	t.Cleanup(c.close)
	return c
}

// dial makes an agent towards d and returns what the client would answer.
func (c *client) dial(d Description) Description {
	c.t.Helper()
	agent, err := ice.NewAgentWithOptions(
		ice.WithNet(noNet{}), ice.WithUDPMux(c.mux), ice.WithIncludeLoopback(),
		ice.WithCandidateTypes([]ice.CandidateType{ice.CandidateTypeHost}),
		ice.WithNetworkTypes([]ice.NetworkType{ice.NetworkTypeUDP4}),
		ice.WithMulticastDNSMode(ice.MulticastDNSModeDisabled),
		ice.WithCheckInterval(20*time.Millisecond),
		ice.WithKeepaliveInterval(50*time.Millisecond),
	)
	if err != nil {
		c.t.Fatal(err)
	}
	c.agents = append(c.agents, agent)
	_ = agent.OnCandidate(func(ice.Candidate) {})
	if err := agent.GatherCandidates(); err != nil {
		c.t.Fatal(err)
	}
	ufrag, pwd, err := agent.GetLocalUserCredentials()
	if err != nil {
		c.t.Fatal(err)
	}
	for _, k := range d.Candidates {
		host, err := ice.NewCandidateHost(&ice.CandidateHostConfig{
			Network: "udp", Address: k.Addr.Addr().String(), Port: int(k.Addr.Port()), Component: 1,
		})
		if err != nil {
			c.t.Fatal(err)
		}
		if err := agent.AddRemoteCandidate(host); err != nil {
			c.t.Fatal(err)
		}
	}
	conn, err := agent.StartAccept(d.Ufrag, d.Pwd)
	if err != nil {
		c.t.Fatal(err)
	}
	if c.conn.Load() == nil {
		c.conn.Store(conn)
	}
	c.wg.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if agent.AwaitConnect(ctx) == nil {
			c.conn.Store(conn)
		}
	})
	c.wg.Go(func() { c.read(conn) })
	der := c.cert.Certificate[0]
	if c.liar {
		der = []byte("another certificate")
	}
	return Description{
		Ufrag: ufrag, Pwd: pwd, Generation: d.Generation,
		Fingerprints: []Fingerprint{{Hash: "sha-256", Setup: "active", Value: fingerprint(crypto.SHA256, der)}},
	}
}

func (c *client) read(conn *ice.Conn) {
	buf := make([]byte, 2000)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		b := append([]byte(nil), buf[:n]...)
		switch {
		case b[0] >= 20 && b[0] <= 63:
			select {
			case c.dtlsIn <- b:
			default:
			}
		case b[0] >= 128:
			c.inMu.Lock()
			if c.in == nil {
				c.inMu.Unlock()
				continue
			}
			var plain []byte
			to := c.rtp
			if rtpx.IsRTCP(b) {
				to = c.rtcp
				plain, err = c.in.DecryptRTCP(nil, b, nil)
			} else {
				plain, err = c.in.DecryptRTP(nil, b, nil)
			}
			c.inMu.Unlock()
			if err == nil {
				select {
				case to <- plain:
				default: // measurements don't read
				}
			}
		}
	}
}

// clientPipe is the client's DTLS pipe.
type clientPipe struct {
	*client
	q *queue
}

func (p clientPipe) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		select {
		case d := <-p.dtlsIn:
			return copy(b, d), natAddr, nil
		case <-p.q.deadline.Done():
			return 0, nil, &net.OpError{Op: "read", Err: context.DeadlineExceeded}
		case <-p.stop:
			return 0, nil, net.ErrClosed
		}
	}
}

func (p clientPipe) WriteTo(b []byte, _ net.Addr) (int, error) {
	_, _ = p.conn.Load().Write(b) // lost while nothing is selected; DTLS repeats
	return len(b), nil
}
func (p clientPipe) Close() error                       { return nil }
func (p clientPipe) LocalAddr() net.Addr                { return natAddr }
func (p clientPipe) SetDeadline(t time.Time) error      { p.q.deadline.Set(t); return nil }
func (p clientPipe) SetReadDeadline(t time.Time) error  { p.q.deadline.Set(t); return nil }
func (p clientPipe) SetWriteDeadline(t time.Time) error { return nil }

// secure performs the DTLS handshake as client and derives SRTP keys.
func (c *client) secure() error {
	conn, err := dtls.ClientWithOptions(clientPipe{c, newQueue(1)}, natAddr,
		dtls.WithCertificates(c.cert),
		dtls.WithSRTPProtectionProfiles(c.profiles...),
		dtls.WithInsecureSkipVerify(true),
		dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
		dtls.WithFlightInterval(50*time.Millisecond),
		dtls.WithMTU(c.mtu),
		dtls.WithVerifyPeerCertificate(func(raw [][]byte, _ [][]*x509.Certificate) error {
			if len(raw) == 0 {
				return errors.New("no certificate")
			}
			return nil
		}),
	)
	if err != nil {
		return err
	}
	c.dtls = conn
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	// Pion's SRTP, as a browser has its own.
	selected, _ := conn.SelectedSRTPProtectionProfile()
	state, _ := conn.ConnectionState()
	cfg := srtp.Config{Profile: srtp.ProtectionProfile(selected)}
	if err := cfg.ExtractSessionKeysFromDTLS(&state, true); err != nil {
		return err
	}
	k := &cfg.Keys
	in, err := srtp.CreateContext(k.RemoteMasterKey, k.RemoteMasterSalt, cfg.Profile,
		srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(replayWindow))
	if err != nil {
		return err
	}
	out, err := srtp.CreateContext(k.LocalMasterKey, k.LocalMasterSalt, cfg.Profile)
	if err != nil {
		return err
	}
	c.inMu.Lock()
	c.in, c.out = in, out
	c.inMu.Unlock()
	return nil
}

func (c *client) close() {
	select {
	case <-c.stop:
		return
	default:
	}
	if c.dtls != nil {
		_ = c.dtls.Close()
	}
	close(c.stop)
	for _, a := range c.agents {
		_ = a.GracefulClose()
	}
	_ = c.nat.Close()
	c.wg.Wait()
}

// encrypt returns an SRTP packet of the client.
func (c *client) encrypt(plain []byte) []byte {
	c.t.Helper()
	var out []byte
	var err error
	if rtpx.IsRTCP(plain) {
		out, err = c.out.EncryptRTCP(nil, plain, nil)
	} else {
		out, err = c.out.EncryptRTP(nil, plain, nil)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

func (c *client) send(plain []byte) {
	c.t.Helper()
	if _, err := c.conn.Load().Write(c.encrypt(plain)); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		c.t.Fatal(err)
	}
}

// connect joins a client and a new transport.
func connect(t testing.TB, s *Sockets, change func(*TransportConfig, *client)) (*Transport, *heard, *client) {
	t.Helper()
	h, c := newHeard(), newClient(t)
	var cfg TransportConfig
	if change != nil {
		change(&cfg, c)
	}
	tr, err := s.New(cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.SetRemote(c.dial(tr.Local())); err != nil {
		t.Fatal(err)
	}
	if err := c.secure(); err != nil {
		t.Fatal(err)
	}
	h.waitState(t, StateConnected)
	return tr, h, c
}

// rtpPacket makes a packet with a one-byte header extension.
func rtpPacket(ssrc uint32, seq uint16, payload string) []byte {
	b := make([]byte, 20, 20+len(payload))
	b[0], b[1] = 0x90, 111
	binary.BigEndian.PutUint16(b[2:], seq)
	binary.BigEndian.PutUint32(b[4:], uint32(seq)*960)
	binary.BigEndian.PutUint32(b[8:], ssrc)
	binary.BigEndian.PutUint16(b[12:], 0xBEDE)
	binary.BigEndian.PutUint16(b[14:], 1)
	b[16], b[17] = 0x10, 0x85
	return append(b, payload...)
}

// receiverReport is an empty RTCP receiver report.
func receiverReport(ssrc uint32) []byte {
	b := []byte{0x80, 201, 0, 1, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(b[4:], ssrc)
	return b
}
