// Package relay is the STUN and TURN server (RFC 8489, RFC 8656): clients that
// can't reach the bridge or each other directly go through it.
//
// Rules of this package:
//   - It holds nothing but live allocations: credentials are looked up, nonces are
//     signed, and what is refused leaves no trace but in a counter.
//   - Everything is closed by default: which peers can be reached (peers.go), how
//     much an allocation may carry, what a source may cost before it has
//     authenticated (gate.go).
//   - Sockets belong to event loops, one for each core (loop.go). A packet is read,
//     looked up and sent by one goroutine, without a lock and without an
//     allocation (data.go). TCP connections belong to them as well (polled.go).
//   - Requests change an allocation under its lock and publish what the packets
//     need as a snapshot (allocation.go).
package relay

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"confab/internal/datagram"
)

// Bridge is the port of our own bridge, which packets reach without the kernel.
type Bridge interface {
	// Local reports whether ap is an address of the bridge, as clients see it.
	Local(ap netip.AddrPort) bool
	// Deliver hands over a datagram as if it had come from the relayed address from.
	// It copies b and does not wait.
	Deliver(b []byte, from, to netip.AddrPort)
}

// Server is a running relay.
type Server struct {
	cfg          Config // but for the policy, which changes
	rules        atomic.Pointer[Policy]
	log          *slog.Logger
	began        time.Time
	nonces       *nonces
	bindings     *gate
	unauthorized *gate
	badTickets   *gate
	discovery    *discovery
	ports        [2][]*ports   // IPv4, IPv6
	turns        atomic.Uint32 // which of several is next
	in, out      bucket        // of all allocations
	counters     counters
	summary      summary
	draining     atomic.Bool

	opening   sync.Mutex // guards locals and shut
	locals    []*udpLocal
	shut      bool
	loops     []*loop
	next      atomic.Uint32 // loop of the next allocation over a stream
	indices   atomic.Int32  // of udpLocals
	sent      atomic.Uint32 // clients that were sent on
	listeners []*listener
	flights   sync.Pool // of connections
	running   sync.WaitGroup

	lobby *lobby
	tcp   tcpRelays
	registry
}

// Listen opens the sockets and serves until Close.
func Listen(cfg Config, log *slog.Logger) (*Server, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: log, began: cfg.Now(), nonces: newNonces(cfg.NonceKey),
		bindings: newGate(cfg.RequestRate, 0), unauthorized: newGate(cfg.UnauthorizedRate, cfg.UnauthorizedTotal), badTickets: newTicketGate(), discovery: newDiscovery(),
		registry: newRegistry(), lobby: newLobby(cfg.PendingPerAddress, cfg.Pending)}
	s.rules.Store(&s.cfg.Policy)
	s.tcp.limit, s.tcp.waiting = connectTime, map[uint32]*peerConn{}
	s.flights.New = func() any { return newFlight(int(s.next.Add(1))) }
	for _, a := range cfg.Relays {
		if s.portsAt(a.Bind) != nil || s.portsAt(a.Public) != nil {
			continue // a port of it would stand for two
		}
		p := newPorts(a, cfg.MinPort, cfg.MaxPort, relayBuffer, cfg.Now)
		p.faults, p.tos = cfg.ICMP, cfg.TOS
		i := familyOf(a.Bind)
		s.ports[i] = append(s.ports[i], p)
	}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	for _, l := range s.loops {
		s.running.Go(l.run)
	}
	for _, l := range s.listeners {
		s.running.Go(l.accept)
	}
	return s, nil
}

func (s *Server) open() error {
	for i := range s.cfg.Loops {
		l, err := s.newLoop(i)
		if err != nil {
			return fmt.Errorf("TURN event loop: %w", err)
		}
		s.loops = append(s.loops, l)
	}
	for _, ap := range s.cfg.UDP {
		if _, err := s.openUDP(ap); err != nil {
			return err
		}
	}
	if err := s.openAlternates(); err != nil {
		return err
	}
	for _, ap := range s.cfg.TCP {
		tcp, err := net.ListenTCP(family("tcp", ap), net.TCPAddrFromAddrPort(ap))
		if err != nil {
			return fmt.Errorf("TURN over TCP on %s: %w", ap, err)
		}
		ln := net.Listener(tcp)
		if s.cfg.Proxied != nil {
			ln = ListenProxied(ln, s.cfg.Proxied)
		}
		s.listeners = append(s.listeners, newListener(s, ln, "tcp"))
	}
	for _, ln := range s.cfg.TLS {
		s.listeners = append(s.listeners, newListener(s, ln, "tls"))
	}
	for _, ln := range s.cfg.DTLS {
		s.listeners = append(s.listeners, newListener(s, ln, "dtls"))
	}
	return nil
}

// maxLocals bounds the addresses listened on. One that the machine has lost stays open,
// for it may come back, and a machine may have a new one each hour (RFC 8981).
const maxLocals = 256

var errLocals = errors.New("so many addresses have come that no more are listened on")

// ListenUDP listens on one more address, if it does not do so already: the machine has got
// it while the relay ran.
func (s *Server) ListenUDP(ap netip.AddrPort) error {
	s.opening.Lock()
	defer s.opening.Unlock()
	switch {
	case s.shut:
		return net.ErrClosed
	case slices.ContainsFunc(s.locals, func(l *udpLocal) bool { return l.addr == ap }):
		return nil
	case len(s.locals) >= maxLocals:
		return errLocals
	}
	l, err := s.openUDP(ap)
	if err == nil {
		s.log.Info("address has come", "listening", l.addr)
	}
	return err
}

// openUDP opens a socket of every loop on an address.
func (s *Server) openUDP(ap netip.AddrPort) (*udpLocal, error) {
	n := len(s.loops)
	if !datagram.CanShare {
		n = 1 // all clients come to one loop
	}
	sockets, err := datagram.OpenGroup(ap, n, datagram.Options{Share: true, GRO: true, TOS: s.cfg.TOS, Buffer: s.cfg.SocketBuffer})
	if err != nil {
		return nil, fmt.Errorf("TURN over UDP on %s: %w", ap, err)
	}
	l := &udpLocal{index: s.nextLocal(), addr: sockets[0].Local(), sockets: sockets}
	s.locals = append(s.locals, l)
	for i, k := range sockets {
		u := &udpSocket{at: l, socket: k, clients: map[netip.AddrPort]*client{}}
		on := s.loops[i%len(s.loops)]
		on.listen(u)
		if err := on.poller.Add(k, u); err != nil {
			return nil, fmt.Errorf("TURN over UDP on %s: %w", ap, err)
		}
	}
	return l, nil
}

// nextLocal numbers listening addresses: flights keep a writer for each.
func (s *Server) nextLocal() int { return int(s.indices.Add(1)) - 1 }

// family keeps a listener to its own address family.
func family(network string, ap netip.AddrPort) string {
	if ap.Addr().Unmap().Is4() {
		return network + "4"
	}
	return network + "6"
}

// clock is the time in ns since the server began.
func (s *Server) clock() int64 { return int64(s.cfg.Now().Sub(s.began)) }

// anyLoop spreads the allocations of connections.
func (s *Server) anyLoop() *loop { return s.loops[int(s.next.Add(1))%len(s.loops)] }

// UDPAddrs are the addresses listened on, with the ports the system chose.
func (s *Server) UDPAddrs() []netip.AddrPort {
	s.opening.Lock()
	defer s.opening.Unlock()
	out := make([]netip.AddrPort, 0, len(s.cfg.UDP))
	for _, l := range s.locals[:len(s.cfg.UDP)] {
		out = append(out, l.addr)
	}
	return out
}

// panicked counts and logs what a recover has caught.
func (s *Server) panicked(where string, err any) {
	s.counters.panics.Add(1)
	if !count(&s.summary.panic, panicLines, s.cfg.Now(), time.Second) {
		return
	}
	s.log.Error("panic in the turn relay", "where", where, "err", err, "stack", string(debug.Stack()))
}

// Drain opens no more allocations; those there are go on.
func (s *Server) Drain() { s.draining.Store(true) }

// Close ends all allocations and connections and waits for their goroutines.
func (s *Server) Close() error {
	s.draining.Store(true)
	var errs []error
	s.Drain()
	s.opening.Lock()
	s.shut = true
	s.opening.Unlock()
	for _, a := range s.allocations() { // first: connections with their peers end with them
		s.finish(a, "server closed")
	}
	for _, l := range s.listeners {
		errs = append(errs, l.close())
	}
	for _, l := range s.loops {
		errs = append(errs, l.poller.Close())
	}
	s.running.Wait()
	for _, a := range s.allocations() { // made meanwhile
		s.finish(a, "server closed")
	}
	s.tcp.close()
	s.dropReservations()
	for _, l := range s.loops {
		errs = append(errs, l.reader.Close())
	}
	for _, l := range s.locals {
		for _, k := range l.sockets {
			errs = append(errs, k.Close())
		}
	}
	return errors.Join(errs...)
}
