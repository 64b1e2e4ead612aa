package relay

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"confab/extdisco/stun"
)

// TCP relays (RFC 6062) lead to services that trust whoever reaches them, so they are
// closed but for peers that the operator has named one by one (turn.md §7.3).

const (
	// connectTime is how long a peer may take to accept a connection, and how long a
	// connection with a peer waits for the client to take it (RFC 6062 §5.2, §5.3).
	connectTime = 30 * time.Second
	// pieceSize is how much of a connection is relayed at a time.
	pieceSize = 16 << 10
	// paceTime is how long a connection over its bandwidth pauses.
	paceTime = 20 * time.Millisecond
)

// tcpRelays are the connections of all TCP allocations with peers.
type tcpRelays struct {
	limit time.Duration // connectTime

	mu      sync.Mutex
	closed  bool
	waiting map[uint32]*peerConn // by CONNECTION-ID, until ConnectionBind
	running sync.WaitGroup
}

// goes runs f unless the server has closed.
func (s *Server) goes(f func()) bool {
	t := &s.tcp
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.running.Go(func() {
			defer func() {
				if err := recover(); err != nil {
					s.panicked("tcp relay", err)
				}
			}()
			f()
		})
	}
	return !t.closed
}

// close waits for what runs; the allocations have ended.
func (t *tcpRelays) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.running.Wait()
}

// tcpRelay is the relayed transport address of a TCP allocation.
type tcpRelay struct {
	allocation *allocation
	listener   net.Listener
	ports      *ports
	relayed    netip.AddrPort // as announced
	context    context.Context
	cancel     context.CancelFunc

	mu    sync.Mutex
	ended bool
	conns map[netip.AddrPort]*peerConn // by peer, those on their way too
}

// peerConn is a connection with a peer.
type peerConn struct {
	relay *tcpRelay
	id    uint32
	peer  netip.AddrPort
	conn  net.Conn    // nil while it is being made
	timer *time.Timer // ends it if no client takes it
	bound bool
}

// tcpWish reports what is wrong with an Allocate request for a TCP relay (RFC 6062 §5.1).
func (q *request) tcpWish(w *wish) (code int) {
	switch {
	case !q.server.cfg.TCPRelay:
		return stun.CodeUnsupportedTransport
	case q.stream() == nil, w.even, w.dontFragment, w.token != nil, w.additional, w.mobile:
		return stun.CodeBadRequest
	}
	w.tcp = true
	return 0
}

// stream is the connection that a request has come by; nil over UDP and DTLS.
func (q *request) stream() *stream {
	s, ok := q.leg.(*stream)
	if !ok || s.kind == "dtls" {
		return nil
	}
	return s
}

// openTCP opens the relayed address of a TCP allocation.
func (a *allocation) openTCP(w wish) error {
	i := 0
	if !w.families[0] {
		i = 1
	}
	err := errNoFamily
	for _, p := range a.server.portsFor(i, w.local) {
		var ln net.Listener
		if ln, err = p.listen(); err != nil {
			continue
		}
		a.tcp = &tcpRelay{allocation: a, listener: ln, ports: p, conns: map[netip.AddrPort]*peerConn{},
			relayed: netip.AddrPortFrom(p.addr.Public, addrPort(ln.Addr()).Port())}
		a.tcp.context, a.tcp.cancel = context.WithCancel(context.Background())
		return nil
	}
	return err
}

// listen opens a TCP port of the range.
func (p *ports) listen() (ln net.Listener, err error) {
	config := net.ListenConfig{Control: reusable}
	size := int(p.max) - int(p.min) + 1
	start := mathrand.IntN(size)
	for i := range size {
		port := p.min + uint16((start+i)%size)
		if !p.take(port) {
			continue
		}
		ap := netip.AddrPortFrom(p.addr.Bind, port)
		if ln, err = config.Listen(context.Background(), family("tcp", ap), ap.String()); err == nil {
			return ln, nil
		}
		p.free(port, false)
		if !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EACCES) {
			return nil, err
		}
	}
	return nil, errNoPort
}

// allowed reports whether TCP may be relayed to a peer: only if the operator has named
// its address, or another TCP allocation has it. With port 0 the question is whether any
// port of the address can be reached.
func (r *tcpRelay) allowed(ap netip.AddrPort) bool {
	p := &r.allocation.server.policy().Peers
	return contains(p.Allowed, ap.Addr()) && p.address(ap.Addr()) || r.ours(ap)
}

// ours reports whether a peer is the relayed address of another TCP allocation.
func (r *tcpRelay) ours(ap netip.AddrPort) bool {
	s := r.allocation.server
	if s.portsAt(ap.Addr()) == nil {
		return false
	}
	if ap = s.relayed(ap); ap == r.relayed {
		return false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.tcpRelayed[ap] != nil || ap.Port() == 0
}

// judgeAgain closes the connections with peers that may not be reached any more.
func (r *tcpRelay) judgeAgain() {
	r.mu.Lock()
	conns := slices.Collect(maps.Values(r.conns))
	r.mu.Unlock()
	for _, c := range conns {
		if !r.allowed(c.peer) {
			c.leave()
		}
	}
}

// close ends it with all connections.
func (r *tcpRelay) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return
	}
	r.ended = true
	r.cancel()
	port := addrPort(r.listener.Addr()).Port()
	_ = r.listener.Close()
	r.ports.free(port, true)
	for _, c := range r.conns {
		if c.conn != nil {
			_ = c.conn.Close()
		}
	}
}

// enter makes room for a connection with a peer. It returns the code of the error, or 0.
func (r *tcpRelay) enter(peer netip.AddrPort, conn net.Conn) (*peerConn, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.ended:
		return nil, stun.CodeAllocationMismatch
	case r.conns[peer] != nil:
		return nil, stun.CodeConnectionExists
	case len(r.conns) >= r.allocation.server.policy().Channels:
		return nil, stun.CodeInsufficientCapacity
	}
	c := &peerConn{relay: r, peer: peer, conn: conn}
	r.conns[peer] = c
	return c, 0
}

// leave ends a connection with a peer.
func (c *peerConn) leave() {
	r := c.relay
	r.mu.Lock()
	if r.conns[c.peer] == c {
		delete(r.conns, c.peer)
	}
	conn := c.conn
	r.mu.Unlock()
	if conn != nil {
		_ = conn.Close()
	}
}

// wait gives a connection an id, under which the client can take it for a while. It is
// false if the allocation has ended.
func (c *peerConn) wait(conn net.Conn) bool {
	t := &c.relay.allocation.server.tcp
	c.relay.mu.Lock()
	c.conn = conn
	ended := c.relay.ended
	c.relay.mu.Unlock()
	if ended {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for c.id == 0 || t.waiting[c.id] != nil { // not to be guessed, though it takes the user as well
		var b [4]byte
		_, _ = rand.Read(b[:])
		c.id = binary.BigEndian.Uint32(b[:])
	}
	t.waiting[c.id] = c
	c.timer = time.AfterFunc(t.limit, func() {
		if t.take(c.id, c) {
			c.leave()
		}
	})
	return true
}

// waits is the allocation of a connection that waits, if there is one.
func (t *tcpRelays) waits(id uint32) *allocation {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.waiting[id]; c != nil {
		return c.relay.allocation
	}
	return nil
}

// take takes a connection that waits.
func (t *tcpRelays) take(id uint32, c *peerConn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting[id] != c {
		return false
	}
	delete(t.waiting, id)
	return true
}

// connect answers a Connect request (RFC 6062 §5.2) when the peer has accepted, or has
// not. a.mu is held.
func (q *request) connect(a *allocation) {
	value, _ := q.m.Get(stun.AttrXORPeerAddress)
	peer, ok := q.m.Address(value)
	if a.tcp == nil || !ok || peer.Port() == 0 {
		q.fail(stun.CodeBadRequest)
		return
	}
	peer = netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
	if code := q.refusal(a, peer); code != 0 {
		q.fail(code)
		return
	}
	c, code := a.tcp.enter(peer, nil)
	if code != 0 {
		q.fail(code)
		return
	}
	later := *q
	later.m = append(stun.Message(nil), q.m...)
	if !q.server.goes(func() { later.dial(c) }) {
		c.leave()
	}
}

func (q *request) dial(c *peerConn) {
	s := q.server
	r := c.relay
	dialer := net.Dialer{Timeout: s.tcp.limit, LocalAddr: net.TCPAddrFromAddrPort(addrPort(r.listener.Addr())), Control: reusable}
	to := c.peer
	if r.ours(to) {
		to = netip.AddrPortFrom(s.portsAt(to.Addr()).addr.Bind, to.Port()) // a NAT in front might not let it back in
	}
	conn, err := dialer.DialContext(r.context, family("tcp", to), to.String())
	f := s.flights.Get().(*flight)
	f.now, q.flight = s.clock(), f
	if err == nil && !c.wait(conn) {
		_ = conn.Close()
		err = net.ErrClosed
	}
	if err != nil {
		c.leave()
		q.fail(stun.CodeConnectionFailed)
	} else {
		q.start(stun.Success).AddUint32(stun.AttrConnectionID, c.id)
		q.finish()
	}
	f.flush()
	s.flights.Put(f)
}

// accept takes connections of peers that there is a permission for, and tells the client
// (RFC 6062 §5.3).
func (r *tcpRelay) accept() {
	s := r.allocation.server
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			select {
			case <-r.context.Done():
				return
			case <-time.After(time.Second): // out of descriptors, for example
			}
			continue
		}
		peer := s.relayed(addrPort(conn.RemoteAddr()))
		if !r.permitted(peer, s.clock()) {
			s.counters.unpermitted.Add(1)
			_ = conn.Close()
			continue
		}
		c, code := r.enter(peer, conn)
		if code != 0 || !c.wait(conn) {
			_ = conn.Close()
			continue
		}
		f := s.flights.Get().(*flight)
		f.now = s.clock()
		var id stun.ID
		_, _ = rand.Read(id[:])
		f.build.Start(stun.ConnectionAttempt|stun.Indication, id)
		f.build.AddUint32(stun.AttrConnectionID, c.id)
		f.build.AddXORAddress(stun.AttrXORPeerAddress, peer)
		to := r.allocation.client.Load()
		to.leg.send(f, nil, f.keep(f.build.Bytes()), to.dest)
		f.flush()
		s.flights.Put(f)
	}
}

func (r *tcpRelay) permitted(peer netip.AddrPort, now int64) bool {
	perm := r.allocation.bindings.Load().permissions[peer.Addr()]
	return perm != nil && perm.expires.Load() > now && r.allowed(peer)
}

// connectionBind makes the connection that the request has come by that of the client
// with a peer (RFC 6062 §5.4).
func (q *request) connectionBind() {
	s := q.stream()
	id, ok := q.m.Uint32(stun.AttrConnectionID)
	t := &q.server.tcp
	t.mu.Lock()
	c := t.waiting[id]
	t.mu.Unlock()
	if s == nil || !ok || c == nil || c.relay.allocation.username != q.username || s.client.held.Load() != nil || !t.take(id, c) {
		q.fail(stun.CodeBadRequest)
		return
	}
	c.timer.Stop()
	s.peer = c
	s.authorized(true)
	q.start(stun.Success)
	q.finish()
}

// pipe relays bytes between the connection of a client and that of a peer until either
// ends; first is what the client has sent behind its request.
func (s *stream) pipe(first []byte) {
	c := s.peer
	defer c.leave()
	_ = s.conn.SetWriteDeadline(time.Time{})
	patient(s.conn, 0)
	a := c.relay.allocation
	defer context.AfterFunc(a.tcp.context, s.hangUp)()
	var back sync.WaitGroup
	back.Go(func() {
		s.guard("relaying", func() { a.copy(s.conn, c.conn, nil, false) })
		_ = s.conn.Close()
	})
	a.copy(c.conn, s.conn, first, true)
	_ = c.conn.Close()
	back.Wait()
}

// copy relays one direction.
func (a *allocation) copy(to, from net.Conn, first []byte, out bool) {
	s := a.server
	own, all, packets, bytes := &a.in, &s.in, &a.packetsIn, &a.bytesIn
	if out {
		own, all, packets, bytes = &a.out, &s.out, &a.packetsOut, &a.bytesOut
	}
	buf := make([]byte, pieceSize)
	for n := copy(buf, first); ; {
		if n > 0 {
			if !a.pay(own, n, func(p *Policy) int { return p.MaxBps }) || !a.pay(all, n, func(p *Policy) int { return p.TotalBps }) {
				return
			}
			packets.Add(1)
			bytes.Add(uint64(n))
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		first = first[min(n, len(first)):]
		if n = copy(buf, first); n > 0 {
			continue
		}
		var err error
		if n, err = from.Read(buf); err != nil && n == 0 {
			return
		}
	}
}

// pay waits until a bucket has paid for n bytes: what comes by TCP is not dropped, but
// slowed down. It is false if the allocation has ended meanwhile.
func (a *allocation) pay(b *bucket, n int, rate func(*Policy) int) bool {
	for n > 0 {
		most, piece := rate(a.server.policy()), n
		if most > 0 {
			piece = min(n, most) // more is never paid for
		}
		if b.take(piece, most, a.server.clock()) {
			n -= piece
			continue
		}
		select {
		case <-a.tcp.context.Done():
			return false
		case <-time.After(paceTime):
		}
	}
	return true
}
