package swarm

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/ice/v4"
	"github.com/pion/stun/v4"
)

const (
	checkEvery     = 50 * time.Millisecond
	keepaliveEvery = 2500 * time.Millisecond
	handshakeTime  = 30 * time.Second
)

// Local is what the other side must be told of a leg.
type Local struct {
	Ufrag, Pwd  string
	Fingerprint string // sha-256, upper case with colons
	Address     netip.AddrPort
}

// Remote is what the other side has told.
type Remote struct {
	Ufrag, Pwd  string
	Fingerprint string // sha-256
	Address     netip.AddrPort
	// Controlling says that we are the controlling side of ICE.
	Controlling bool
	// Active says that the other side begins the DTLS handshake.
	Active bool
}

// Leg is one endpoint: an ICE transport with DTLS and SRTP over it.
type Leg struct {
	s     *Swarm
	local Local
	index int
	addr  [4]byte

	// OnSecure runs on a goroutine of its own, with the DTLS connection: for SCTP.
	// The leg closes the connection when it is closed, or when OnSecure is nil.
	OnSecure func(ctx context.Context, conn *dtls.Conn)

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	ready  chan struct{}
	err    error // set before ready is closed
	once   sync.Once
	dtlsIn chan []byte
	peer   atomic.Pointer[netip.AddrPort]

	// Of the swarm's goroutine.
	started   bool
	connected bool
	rem       Remote
	remote    netip.AddrPort
	checked   int64 // when the last check was sent
	pending   [stun.TransactionIDSize]byte
	keys      *keys
	in        map[uint32]*Incoming
	order     []*Incoming
	out       []*Outgoing
	formats   Formats
	feedback  feedback
}

// New makes a leg that waits for Start.
func (s *Swarm) New() (*Leg, error) {
	ctx, cancel := context.WithCancel(context.Background())
	l := &Leg{s: s, ctx: ctx, cancel: cancel, ready: make(chan struct{}), dtlsIn: make(chan []byte, 64), in: map[uint32]*Incoming{}}
	l.local = Local{Ufrag: random(4), Pwd: random(12)}
	if err := s.add(l); err != nil {
		cancel()
		return nil, err
	}
	l.local.Address = netip.AddrPortFrom(netip.AddrFrom4(l.addr), s.sock.port)
	l.local.Fingerprint = certificate().Fingerprint
	return l, nil
}

func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// Local is what to tell the other side.
func (l *Leg) Local() Local { return l.local }

// Start begins to connect. Ready tells the end of it.
func (l *Leg) Start(r Remote, f Formats) {
	addr := r.Address
	l.peer.Store(&addr)
	l.s.Do(func() {
		l.rem, l.remote, l.formats, l.started = r, r.Address, f, true
		l.feedback.ssrc = f.FeedbackSSRC
	})
}

// Negotiate changes the formats later.
func (l *Leg) Negotiate(f Formats) {
	l.s.Do(func() {
		f.FeedbackSSRC = l.formats.FeedbackSSRC
		l.formats = f
	})
}

// Ready waits until media can flow.
func (l *Leg) Ready(ctx context.Context) error {
	select {
	case <-l.ready:
		return l.err
	case <-ctx.Done():
		state := "ICE"
		l.s.Do(func() {
			if l.connected {
				state = "DTLS"
			}
		})
		return fmt.Errorf("%s of %v: %w", state, l.local.Address, ctx.Err())
	}
}

// Close ends the leg without a word.
func (l *Leg) Close() {
	l.s.Do(func() {
		if l.index < len(l.s.legs) && l.s.legs[l.index] == l {
			l.s.legs[l.index] = nil
		}
		for _, o := range l.out {
			o.stop()
		}
	})
	l.cancel()
	l.wg.Wait()
	l.finish(errClosed)
}

var errClosed = errors.New("closed")

func (l *Leg) finish(err error) {
	l.once.Do(func() {
		l.err = err
		close(l.ready)
	})
}

// turn is this leg's share of time, every 50 ms.
func (l *Leg) turn(now int64) {
	if !l.started {
		return
	}
	every := checkEvery
	if l.connected {
		every = keepaliveEvery
	}
	if now-l.checked >= int64(every) {
		l.check(now)
	}
	if l.keys != nil {
		l.report(now)
	}
}

// check sends a binding request (RFC 8445 §7.2.2), also to keep the consent alive
// (RFC 7675).
func (l *Leg) check(now int64) {
	l.checked = now
	role := stun.Setter(ice.AttrControlled(uint64(l.index) + 1))
	// Until one is answered they are retransmissions of one and the same.
	if !l.connected && l.pending == [stun.TransactionIDSize]byte{} || l.connected {
		l.pending = stun.NewTransactionID()
	}
	setters := []stun.Setter{stun.BindingRequest, stun.NewTransactionIDSetter(l.pending), stun.NewUsername(l.rem.Ufrag + ":" + l.local.Ufrag)}
	if l.rem.Controlling {
		role = ice.AttrControlling(uint64(l.index) + 1)
		setters = append(setters, ice.UseCandidate())
	}
	setters = append(setters, role, ice.PriorityAttr(110<<24|65535<<8|255), stun.NewShortTermIntegrity(l.rem.Pwd), stun.Fingerprint)
	m, err := stun.Build(setters...)
	if err != nil {
		return
	}
	l.put(m.Raw, l.remote)
}

func (l *Leg) put(b []byte, to netip.AddrPort) {
	n := copy(l.s.sock.room()[:sendSize], b)
	l.s.sock.commit(n, l.addr, to)
}

// receive splits what arrives (RFC 7983). at is Unix ns.
func (l *Leg) receive(b []byte, from netip.AddrPort, at int64) {
	switch {
	case len(b) == 0:
	case b[0] >= 128:
		l.media(b, at)
	case b[0] < 4:
		l.stun(b, from, at)
	case b[0] >= 20 && b[0] < 64:
		select {
		case l.dtlsIn <- append([]byte(nil), b...):
		default: // lost: DTLS retransmits
		}
	}
}

func (l *Leg) stun(b []byte, from netip.AddrPort, at int64) {
	m := &stun.Message{Raw: append([]byte(nil), b...)}
	if m.Decode() != nil || !l.started {
		return
	}
	switch m.Type {
	case stun.BindingRequest:
		if stun.NewShortTermIntegrity(l.local.Pwd).Check(m) != nil {
			return
		}
		reply, err := stun.Build(stun.NewTransactionIDSetter(m.TransactionID), stun.BindingSuccess,
			&stun.XORMappedAddress{IP: net.IP(from.Addr().AsSlice()), Port: int(from.Port())},
			stun.NewShortTermIntegrity(l.local.Pwd), stun.Fingerprint)
		if err == nil {
			l.put(reply.Raw, from)
		}
	case stun.BindingSuccess:
		if m.TransactionID != l.pending || l.connected || stun.NewShortTermIntegrity(l.rem.Pwd).Check(m) != nil {
			return
		}
		l.connected = true
		l.wg.Go(l.secure)
	}
}
