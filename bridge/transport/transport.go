package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"

	"confab/bridge/rtpx"
	"confab/internal/cleartext"
	"confab/internal/datagram"
)

// Errors of a transport.
var (
	ErrNotConnected = errors.New("transport is not connected")
	ErrICE          = errors.New("the client is not reachable")
	ErrPeerClosed   = errors.New("the client closed its DTLS connection")
	ErrCredentials  = errors.New("bad ICE credentials")
	ErrGeneration   = errors.New("no agent of this ICE generation")
	ErrPanic        = errors.New("the handler panicked")
)

// State is where a transport is in its life.
type State int

// States, in the usual order. A failed transport can be connected again by an
// ICE restart, unless DTLS is what failed.
const (
	StateNew        State = iota // no remote credentials yet
	StateConnecting              // ICE and DTLS under way
	StateConnected               // media flows
	StateFailed                  // see Transport.Err
	StateClosed
)

func (s State) String() string {
	return [...]string{"new", "connecting", "connected", "failed", "closed"}[s]
}

// Handler is what a transport delivers to. RTP and RTCP run on a socket
// reader, never two at a time for one transport, and must not wait; p is
// decrypted in place and its reference belongs to the caller: retain it to
// keep it. The other methods run on goroutines of the transport. After
// Transport.Close has returned, nothing is called any more. No method may call
// Transport.Close.
type Handler interface {
	RTP(p *rtpx.Packet)
	RTCP(p *rtpx.Packet)
	State(s State)
	ChannelOpen()     // the bridge channel can be written
	Message(b []byte) // one text message of the bridge channel; b is valid during the call
}

// Description is one side's ICE and DTLS parameters: XEP-0176's <transport/>
// with XEP-0320's fingerprints.
type Description struct {
	Ufrag, Pwd   string
	Generation   int // ice-generation; 0 outside ICE restarts (reference/bridge.md §4.5)
	Candidates   []Candidate
	Fingerprints []Fingerprint
}

// TransportConfig is what differs between transports.
type TransportConfig struct {
	Controlled bool         // be the controlled agent; towards clients we control
	Data       bool         // accept SCTP and one data channel
	Private    bool         // show private addresses whatever Config.AdvertisePrivate says
	Moved      func()       // packets go another way from now on; nil: nobody wants to know. It must not wait
	Log        *slog.Logger // with the attributes of the endpoint; nil takes that of Sockets
}

// path is where datagrams of a transport go. Immutable but for the atomics.
type path struct {
	local  *local
	remote netip.AddrPort
	dest   *datagram.Destination
	heard  atomic.Int64 // when the last authenticated packet came this way

	relay      *relayHook // our own, if the client is behind it
	allocation any        // of the client
	from       netip.AddrPort
}

// route is what makes a path another one.
type route struct {
	local  int // index of the address
	remote netip.AddrPort
}

// Transport is the media connection of one endpoint.
type Transport struct {
	s       *Sockets
	cfg     TransportConfig
	h       Handler
	log     *slog.Logger
	pion    pionLog
	cert    tls.Certificate
	print   string // its sha-256
	offered []Candidate

	ctx    context.Context // ended by Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	pipe   *pipe

	path   atomic.Pointer[path]
	way    route // of the last path; guarded by mu
	in     ingress
	out    egress
	active atomic.Int64     // Clock of the last authenticated packet
	clear  cleartext.Filter // of DTLS
	chans  channel

	notes chan struct{} // states holds something

	mu           sync.Mutex
	cur, next    *agent
	generation   int
	fingerprints []Fingerprint
	setup        string // ours: "actpass" until the client's role is known
	securing     bool   // the DTLS goroutine runs or ran
	secured      bool   // SRTP keys are in place
	over         bool   // the DTLS connection has ended, and with it the use of this transport
	conn         *dtls.Conn
	profile      string
	state        State
	err          error
	states       []State // not yet told to the handler
	claimed      map[netip.AddrPort]struct{}
	closed       bool
	done         chan struct{} // Close has finished
}

// New makes a transport that waits for the client. It costs no handshake yet:
// one ICE agent and a few goroutines.
func (s *Sockets) New(cfg TransportConfig, h Handler) (*Transport, error) {
	cert, print, err := s.certs.get()
	if err != nil {
		return nil, err
	}
	t := &Transport{
		s: s, cfg: cfg, h: h, log: cfg.Log, cert: cert, print: print,
		offered: s.offered.public,
		notes:   make(chan struct{}, 1),
		setup:   "actpass",
		claimed: map[netip.AddrPort]struct{}{},
		done:    make(chan struct{}),
	}
	if cfg.Private {
		t.offered = s.offered.all
	}
	if t.log == nil {
		t.log = s.log
	}
	t.pion = pionLog{t.log}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.pipe = newPipe(t)

	t.mu.Lock()
	t.cur, err = t.newAgent(0)
	t.mu.Unlock()
	if err == nil {
		s.mu.Lock()
		if s.closed {
			err = ErrClosed
		} else {
			s.transports[t] = struct{}{}
		}
		s.mu.Unlock()
	}
	if err != nil {
		t.cancel()
		if t.cur != nil {
			t.cur.close()
		}
		return nil, fmt.Errorf("new transport: %w", err)
	}
	t.wg.Go(t.tell)
	return t, nil
}

// Local describes our side: the newest agent's credentials, the candidates,
// the fingerprint.
func (t *Transport) Local() Description {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next != nil {
		return t.describe(t.next)
	}
	return t.describe(t.cur)
}

func (t *Transport) describe(a *agent) Description {
	d := Description{
		Ufrag: a.ufrag, Pwd: a.pwd, Generation: a.generation,
		Fingerprints: []Fingerprint{{Hash: "sha-256", Setup: t.setup, Value: t.print}},
	}
	for _, c := range t.offered {
		c.Generation = a.generation
		d.Candidates = append(d.Candidates, c)
	}
	return d
}

// State returns the present state.
func (t *Transport) State() State {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state
}

// Err tells why the transport failed; nil if it did not.
func (t *Transport) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// setState queues s for the handler. Called with t.mu held.
func (t *Transport) setState(s State, err error) {
	if t.state == s || t.state == StateClosed {
		return
	}
	t.state, t.err = s, err
	t.states = append(t.states, s)
	select {
	case t.notes <- struct{}{}:
	default:
	}
	if err != nil {
		t.log.Debug("transport changed state", "state", s, "err", err)
	} else {
		t.log.Debug("transport changed state", "state", s)
	}
}

// tell is the goroutine that reports states, in order.
func (t *Transport) tell() {
	for {
		<-t.notes
		for {
			t.mu.Lock()
			if len(t.states) == 0 {
				t.mu.Unlock()
				break
			}
			s := t.states[0]
			t.states = t.states[1:]
			t.mu.Unlock()
			t.h.State(s)
			if s == StateClosed {
				return
			}
		}
	}
}

// media takes an SRTP or SRTCP packet from a validated address. It runs on a
// socket reader.
func (t *Transport) media(p *rtpx.Packet, src netip.AddrPort) {
	b := p.Bytes()
	in := &t.in
	in.mu.Lock()
	defer t.guard() // after the unlock
	defer in.mu.Unlock()
	if in.rtp == nil {
		in.early++
		return
	}
	if !in.limit.allow(p.Arrived, len(b), int64(t.s.cfg.MaxIngress), int64(t.s.cfg.MaxIngressPackets)) {
		in.overLimit++
		return
	}
	control := rtpx.IsRTCP(b)
	out, ok := in.decrypt(b, control, t.s.cfg.MaxSSRCs)
	if !ok {
		in.decryptFailures++
		return
	}
	p.SetLen(len(out))
	if in.packets++; in.packets == 1 {
		t.clear.Proved()
	}
	in.bytes += uint64(len(b))
	t.active.Store(p.Arrived)
	if way := t.path.Load(); way != nil && way.remote == src {
		way.heard.Store(p.Arrived)
	}
	if control {
		t.h.RTCP(p)
	} else {
		t.h.RTP(p)
	}
}

// guard, deferred, turns a panic of the handler into the failure of this one
// transport (architecture §14).
func (t *Transport) guard() {
	r := recover()
	if r == nil {
		return
	}
	t.s.panics.Add(1)
	t.log.Error("media handler panicked", "panic", r, "stack", string(debug.Stack()))
	t.stopSRTP()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.secured = false
	t.setState(StateFailed, ErrPanic)
}

// Stats is a snapshot of a transport. Bytes are UDP payload.
type Stats struct {
	State   State
	Profile string // SRTP profile
	Local   netip.AddrPort
	Remote  netip.AddrPort // of the pair in use
	Relayed bool           // the client uses a relay
	RTT     time.Duration  // of the last consent check; 0 unknown
	Active  int64          // Clock of the last authenticated packet or consent; 0 never

	PacketsIn, BytesIn   uint64
	PacketsOut, BytesOut uint64
	DecryptFailures      uint64 // forged, replayed, malformed, or beyond MaxSSRCs
	OverLimit            uint64 // beyond MaxIngress or MaxIngressPackets
	Early                uint64 // media before DTLS was done
	MessagesDropped      uint64 // too long, or not text
	ChannelsRejected     uint64
}

// Stats returns the counters now. The RTT asks the ICE agent, so this is not
// for the packet path.
func (t *Transport) Stats() Stats {
	t.mu.Lock()
	st := Stats{State: t.state, Profile: t.profile}
	cur, closed := t.cur, t.closed
	if way := t.path.Load(); way != nil {
		st.Local, st.Remote = way.local.addr, way.remote
		st.Relayed = way.relay != nil || slices.Contains(cur.relays, way.remote)
	}
	t.mu.Unlock()
	if !closed && cur.selected.Load() {
		if pair, ok := cur.ice.GetSelectedCandidatePairStats(); ok {
			st.RTT = time.Duration(pair.CurrentRoundTripTime * float64(time.Second))
		}
	}
	st.Active = t.active.Load()
	t.in.mu.Lock()
	st.PacketsIn, st.BytesIn = t.in.packets, t.in.bytes
	st.DecryptFailures, st.OverLimit, st.Early = t.in.decryptFailures, t.in.overLimit, t.in.early
	t.in.mu.Unlock()
	st.PacketsOut = t.out.packets.Load()
	st.BytesOut = t.out.bytes.Load()
	st.MessagesDropped, st.ChannelsRejected = t.chans.dropped.Load(), t.chans.rejected.Load()
	return st
}

// Profile is the SRTP profile in use, "" before DTLS is done.
func (t *Transport) Profile() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.profile
}

// LastActive is the Clock time of the last authenticated media packet or
// consent; 0 before the first. Consent counts, or silent viewers would look dead.
func (t *Transport) LastActive() int64 { return t.active.Load() }

// Close ends the transport and waits for everything it started. When it
// returns, no method of the Handler runs or will run. It must not be called
// from one.
func (t *Transport) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		<-t.done
		return nil
	}
	t.closed = true
	conn, agents := t.conn, []*agent{t.cur, t.next}
	t.mu.Unlock()
	defer close(t.done)

	t.stopSRTP()

	// DTLS, which says goodbye to the client, with the data channel in it.
	var err error
	if conn != nil {
		if err = conn.Close(); err != nil {
			err = fmt.Errorf("close dtls: %w", err)
		}
	}
	t.cancel()
	t.pipe.Close()

	for _, a := range agents {
		if a != nil && !a.closing { // else somebody else does that
			a.close()
		}
	}
	t.mu.Lock()
	claimed := t.claimed
	t.claimed = nil
	t.mu.Unlock()
	for addr := range claimed {
		t.s.addrs.release(addr, t)
	}
	t.s.mu.Lock()
	delete(t.s.transports, t)
	t.s.mu.Unlock()

	t.mu.Lock()
	t.setState(StateClosed, nil)
	t.mu.Unlock()
	t.wg.Wait()
	return err
}
