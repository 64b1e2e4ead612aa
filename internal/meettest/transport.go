package meettest

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
	"github.com/pion/stun/v4"
	"github.com/pion/transport/v4/packetio"

	"confab/internal/dtlssrtp"
	"confab/xmpp/xep/jingle"
)

// transport is what a browser has below the media: a controlled ICE agent, DTLS
// as its client, SRTP both ways.
type transport struct {
	c      *Client
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	cert   dtlssrtp.Certificate
	remote []string // signalled fingerprints, sha-256
	onRTP  func(h *rtp.Header, payload []byte)
	onRTCP func(b []byte)
	dtlsIn *packetio.Buffer
	conn   atomic.Pointer[ice.Conn]
	pair   atomic.Pointer[string] // type of the local candidate in use
	lost   atomic.Bool            // the bridge does not answer checks any more

	mu     sync.Mutex
	agents []*ice.Agent
	closed bool

	inMu    sync.Mutex
	in      *srtp.Context
	dropped atomic.Uint64 // packets that did not decrypt

	outMu sync.Mutex
	out   *srtp.Context
	buf   []byte
	last  []byte // packet of media as it went out
}

func newTransport(c *Client) (*transport, error) {
	cert, err := dtlssrtp.NewCertificate()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(c.ctx)
	return &transport{
		c: c, ctx: ctx, cancel: cancel, cert: cert,
		dtlsIn: packetio.NewBuffer(), buf: make([]byte, 0, 2048),
	}, nil
}

// start makes an agent towards remote and returns the local side. The first one
// also starts DTLS; a later one takes over when it is connected (ICE restart).
func (t *transport) start(remote *jingle.Transport) (*jingle.Transport, error) {
	agent, err := ice.NewAgentWithOptions(t.agentOptions(remote)...)
	if err != nil {
		return nil, fmt.Errorf("ice agent: %w", err)
	}
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		_ = agent.Close()
		return nil, errEnded
	}
	t.agents = append(t.agents, agent)
	t.mu.Unlock()
	_ = agent.OnCandidate(func(ice.Candidate) {}) // LJM signals none: ours are learnt from checks
	_ = agent.OnSelectedCandidatePairChange(func(l, _ ice.Candidate) {
		kind := l.Type().String()
		t.pair.Store(&kind)
		t.c.changes.changed()
	})
	_ = agent.OnConnectionStateChange(func(s ice.ConnectionState) {
		t.lost.Store(s == ice.ConnectionStateDisconnected || s == ice.ConnectionStateFailed)
		t.c.changes.changed()
	})
	if err := agent.GatherCandidates(); err != nil {
		return nil, fmt.Errorf("ice candidates: %w", err)
	}
	ufrag, pwd, err := agent.GetLocalUserCredentials()
	if err != nil {
		return nil, fmt.Errorf("ice credentials: %w", err)
	}
	for _, k := range remote.Candidates {
		if t.c.opt.Through != 0 {
			k.IP, k.Port = "127.0.0.1", uint16(t.c.opt.Through)
		}
		host, err := ice.NewCandidateHost(&ice.CandidateHostConfig{
			Network: k.Protocol, Address: k.IP, Port: int(k.Port), Component: 1, Priority: k.Priority, Foundation: k.Foundation,
		})
		if err == nil {
			err = agent.AddRemoteCandidate(host)
		}
		if err != nil {
			return nil, fmt.Errorf("candidate %s %s:%d: %w", k.Protocol, k.IP, k.Port, err)
		}
	}
	conn, err := agent.StartAccept(remote.Ufrag, remote.Pwd)
	if err != nil {
		return nil, fmt.Errorf("start ice: %w", err)
	}
	first := t.conn.CompareAndSwap(nil, conn)
	if first {
		for _, f := range remote.Fingerprints {
			if strings.EqualFold(f.Hash, "sha-256") {
				t.remote = append(t.remote, f.Value)
			}
		}
	}
	t.run(func() { t.read(conn) })
	t.run(func() { t.connect(agent, conn, first) })
	return &jingle.Transport{
		Ufrag: ufrag, Pwd: pwd, Generation: remote.Generation,
		Fingerprints: []jingle.Fingerprint{{Hash: "sha-256", Setup: "active", Value: t.cert.Fingerprint}},
	}, nil
}

func (t *transport) agentOptions(remote *jingle.Transport) []ice.AgentOption {
	local := false // a bridge on this machine: loopback only, nothing else is quicker
	for _, k := range remote.Candidates {
		ip := net.ParseIP(k.IP)
		local = local || ip != nil && ip.IsLoopback()
	}
	opts := []ice.AgentOption{
		ice.WithLoggerFactory(dtlssrtp.Quiet()),
		ice.WithNetworkTypes([]ice.NetworkType{ice.NetworkTypeUDP4}),
		ice.WithMulticastDNSMode(ice.MulticastDNSModeDisabled),
		ice.WithDisableActiveTCP(),
		ice.WithIncludeLoopback(),
		ice.WithIPFilter(func(ip net.IP) bool { return ip.IsLoopback() == local }),
		ice.WithCheckInterval(20 * time.Millisecond),
		ice.WithMaxBindingRequests(200),
		ice.WithCandidateTypes([]ice.CandidateType{ice.CandidateTypeHost}),
	}
	if t.c.opt.Relay != "" {
		opts = append(opts, ice.WithCandidateTypes([]ice.CandidateType{ice.CandidateTypeRelay}), ice.WithUrls(t.c.turnURLs()),
			ice.WithRelayAcceptanceMinWait(0))
	}
	return opts
}

// turnURLs are the announced relays of the wanted transport.
func (c *Client) turnURLs() (out []*stun.URI) {
	for _, s := range c.Services() {
		if s.Type != "turn" || s.Transport != c.opt.Relay && (s.Transport != "" || c.opt.Relay != "udp") {
			continue
		}
		port, err := strconv.Atoi(s.Port)
		if err != nil {
			port = 3478
		}
		u := &stun.URI{Scheme: stun.SchemeTypeTURN, Host: c.resolve(s.Host), Port: port, Username: s.Username, Password: s.Password, Proto: stun.ProtoTypeUDP}
		if c.opt.Relay == "tcp" {
			u.Proto = stun.ProtoTypeTCP
		}
		out = append(out, u)
	}
	return out
}

// connect waits for ICE, then does the DTLS handshake or takes over from the
// agent before.
func (t *transport) connect(agent *ice.Agent, conn *ice.Conn, first bool) {
	if err := agent.AwaitConnect(t.ctx); err != nil {
		if t.ctx.Err() == nil {
			t.c.end(fmt.Errorf("ice: %w", err))
		}
		return
	}
	t.conn.Store(conn)
	t.c.changes.changed()
	if !first {
		return
	}
	if err := t.secure(); err != nil && t.ctx.Err() == nil {
		t.c.end(fmt.Errorf("dtls: %w", err))
	}
}

func (t *transport) secure() error {
	conn, keys, err := dtlssrtp.Handshake(t.ctx, dtlsPipe{t}, pipeAddr{}, dtlssrtp.Options{
		Certificate: t.cert, Fingerprints: t.remote, Flight: 100 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	in, out, err := keys.Contexts(srtp.SRTPReplayProtection(512), srtp.SRTCPReplayProtection(512))
	if err != nil {
		_ = conn.Close()
		return err
	}
	t.inMu.Lock()
	t.in = in
	t.inMu.Unlock()
	t.outMu.Lock()
	t.out = out
	t.outMu.Unlock()
	t.c.changes.changed()
	t.c.secured(t, conn)
	return nil
}

// connected reports whether media can flow.
func (t *transport) connected() bool {
	t.outMu.Lock()
	defer t.outMu.Unlock()
	return t.out != nil
}

// read splits what arrives (RFC 7983).
func (t *transport) read(conn *ice.Conn) {
	buf := make([]byte, 2048)
	var h rtp.Header
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		b := buf[:n]
		switch {
		case n == 0:
		case b[0] >= 20 && b[0] <= 63:
			_, _ = t.dtlsIn.Write(b)
		case b[0] >= 128 && n >= 12:
			t.media(b, &h)
		}
	}
}

func (t *transport) media(b []byte, h *rtp.Header) {
	t.inMu.Lock()
	defer t.inMu.Unlock()
	if t.in == nil {
		return // a browser drops what comes before the handshake's end, too
	}
	if b[1] >= 192 && b[1] <= 223 { // RFC 5761 §4
		plain, err := t.in.DecryptRTCP(b[:0], b, nil)
		if err != nil {
			t.dropped.Add(1)
			return
		}
		t.onRTCP(plain)
		return
	}
	plain, err := t.in.DecryptRTP(b[:0], b, h)
	if err != nil {
		t.dropped.Add(1)
		return
	}
	n, err := h.Unmarshal(plain)
	if err != nil {
		return
	}
	payload := plain[n:]
	if h.Padding && len(payload) > 0 {
		payload = payload[:max(0, len(payload)-int(payload[len(payload)-1]))]
	}
	t.onRTP(h, payload)
}

// sendRTP encrypts and sends; before the handshake's end it drops.
func (t *transport) sendRTP(h *rtp.Header, payload []byte) {
	conn := t.conn.Load()
	t.outMu.Lock()
	defer t.outMu.Unlock()
	if t.out == nil || conn == nil {
		return
	}
	n := h.MarshalSize()
	plain := append(t.buf[:0], make([]byte, n)...)
	if _, err := h.MarshalTo(plain); err != nil {
		return
	}
	plain = append(plain, payload...)
	b, err := t.out.EncryptRTP(plain[:0], plain, nil)
	if err == nil {
		t.last = append(t.last[:0], b...)
		_, _ = conn.Write(b)
	}
}

func (t *transport) sendRTCP(plain []byte) {
	conn := t.conn.Load()
	t.outMu.Lock()
	defer t.outMu.Unlock()
	if t.out == nil || conn == nil {
		return
	}
	if b, err := t.out.EncryptRTCP(nil, plain, nil); err == nil {
		_, _ = conn.Write(b)
	}
}

// run starts a goroutine that close waits for, unless the transport is closed.
func (t *transport) run(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.wg.Go(f)
	}
}

// close ends everything and waits.
func (t *transport) close() {
	t.mu.Lock()
	agents := t.agents
	t.closed, t.agents = true, nil
	t.mu.Unlock()
	t.cancel()
	_ = t.dtlsIn.Close()
	for _, a := range agents {
		_ = a.GracefulClose()
	}
	t.wg.Wait()
}

// dtlsPipe is the net.PacketConn of DTLS over whatever ICE path is in use.
type dtlsPipe struct{ *transport }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "ice" }
func (pipeAddr) String() string  { return "bridge" }

func (p dtlsPipe) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := p.dtlsIn.Read(b)
	return n, pipeAddr{}, err
}

func (p dtlsPipe) WriteTo(b []byte, _ net.Addr) (int, error) {
	if conn := p.conn.Load(); conn != nil {
		_, _ = conn.Write(b) // lost like any datagram: DTLS retransmits
	}
	return len(b), nil
}

func (p dtlsPipe) Close() error                      { return p.dtlsIn.Close() }
func (p dtlsPipe) LocalAddr() net.Addr               { return pipeAddr{} }
func (p dtlsPipe) SetDeadline(t time.Time) error     { return p.dtlsIn.SetReadDeadline(t) }
func (p dtlsPipe) SetReadDeadline(t time.Time) error { return p.dtlsIn.SetReadDeadline(t) }
func (p dtlsPipe) SetWriteDeadline(time.Time) error  { return nil }
