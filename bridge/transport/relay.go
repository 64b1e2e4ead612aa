package transport

// The way to clients behind our own TURN server, in memory (turn.md §9.5): no
// packet between the two goes through the kernel, or to a NAT in front of us that
// might not let it back in. The transport addresses stay those of the wire, so that
// ICE sees what it would see of a relay elsewhere.

import (
	"net/netip"
	"sync"

	"confab/bridge/rtpx"
)

// Relay is a TURN server in the same process: see SetRelay.
type Relay interface {
	// Lookup returns the allocation whose relayed transport address is relayed, as
	// XOR-RELAYED-ADDRESS has it. It is called when a transport's path changes and for
	// packets of ICE, with locks of the transport held; it must not wait.
	Lookup(relayed netip.AddrPort) (allocation any, ok bool)
	// Outlet returns a way for the packets of one goroutine at a time.
	Outlet() RelayOutlet
}

// RelayOutlet passes packets to allocations.
type RelayOutlet interface {
	// Send takes a datagram to the relayed address from the peer from: an address of
	// ours as the client of the allocation knows it. b stays as it is until Flush.
	// It returns false if the allocation has ended: the packet then goes as it would
	// to a relay elsewhere. Whatever else keeps it from the client, the lack of a
	// permission for instance, is the relay's to count. It must not wait.
	Send(allocation any, from netip.AddrPort, b []byte) bool
	// Flush sends what was taken. It does not wait either; what there is no room for
	// is the relay's to count.
	Flush()
}

// relayHook is the relay, with the outlet of ICE and DTLS, whose packets are few.
type relayHook struct {
	Relay

	mu  sync.Mutex
	out RelayOutlet
}

// SetRelay has packets to relayed addresses of r go to r. Call it once, before there
// are transports. What its clients send to us comes by Deliver.
func (s *Sockets) SetRelay(r Relay) { s.relay.Store(&relayHook{Relay: r, out: r.Outlet()}) }

// write sends one packet.
func (h *relayHook) write(allocation any, from netip.AddrPort, b []byte) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.out.Send(allocation, from, b) {
		return false
	}
	h.out.Flush()
	return true
}

// Local tells whether ap is an address of this port as clients may know it, its own
// or one that is announced for it.
func (s *Sockets) Local(ap netip.AddrPort) bool { return s.known[unmap(ap)] != nil }

// Deliver takes a datagram that a client has sent through a relay of this process,
// from its relayed address to one that Local knows. It is treated as if it had come
// from the network, on the goroutine of the caller, which must hold no lock that
// Lookup or Send takes. It copies b, does not wait, and any goroutine may call it.
func (s *Sockets) Deliver(b []byte, from, to netip.AddrPort) {
	at := s.known[unmap(to)]
	switch {
	case at == nil:
		s.drops.strangers.Add(1)
		return
	case len(b) == 0 || len(b) > rtpx.BufferSize:
		s.drops.oversize.Add(1)
		return
	}
	p := s.cfg.Pool.Get()
	p.SetLen(copy(p.Space(), b))
	p.Arrived = s.cfg.Clock()
	s.fromRelay.Add(1)
	// What is not ours is nobody's: a relay is no way to the relay.
	if nobody := s.dispatch(p, unmap(from), at); nobody != nil {
		nobody.Add(1)
	}
	p.Release()
}

// know lists the addresses under which clients may know us. Which of them a packet
// was sent to shows only when it comes through our own relay.
func (s *Sockets) know() {
	s.known = map[netip.AddrPort]*local{}
	add := func(as netip.AddrPort, l *local) {
		if s.known[as] == nil {
			s.known[as] = &local{index: l.index, addr: l.addr, sockets: l.sockets, as: as}
		}
	}
	for _, l := range s.locals {
		add(l.addr, l)
	}
	for _, c := range s.offered.all {
		for _, l := range s.locals {
			if c.Related == l.addr {
				add(c.Addr, l)
			}
		}
	}
}

// checksKept is how many checks of a client are remembered until they are answered.
const checksKept = 64

// relayedChecks is what is known of a client behind our own relay: to which of our
// addresses it has sent. What goes back must come from there, or the client takes it
// for another pair's; a local address may have two, its own and one that is announced
// for it.
type relayedChecks struct {
	last  map[relayedPair]netip.AddrPort
	asked [checksKept]relayedCheck
	next  int
}

// relayedPair is a client's relayed address and a local address, by its index.
type relayedPair struct {
	remote netip.AddrPort
	local  int
}

type relayedCheck struct {
	id transactionID
	to netip.AddrPort
}

// checkedBy notes a check that came through our own relay.
func (a *agent) checkedBy(id transactionID, src netip.AddrPort, at *local) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.relayed
	if c == nil {
		c = &relayedChecks{last: map[relayedPair]netip.AddrPort{}}
		a.relayed = c
	}
	c.last[relayedPair{src, at.index}] = at.as
	c.asked[c.next] = relayedCheck{id, at.as}
	c.next = (c.next + 1) % checksKept
}

// sender is the address from which a client behind our own relay expects what is sent
// from l: the answer to its check of that id, or else whatever there is.
func (a *agent) sender(remote netip.AddrPort, l *local, id transactionID) netip.AddrPort {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.relayed; c != nil {
		for i := range c.asked {
			if c.asked[i].id == id && c.asked[i].to.IsValid() {
				return c.asked[i].to
			}
		}
		if to, ok := c.last[relayedPair{remote, l.index}]; ok {
			return to
		}
	}
	return l.addr
}

// toRelay passes a packet of ICE to our own relay if the address is one of its.
func (c *agentConn) toRelay(b []byte, to netip.AddrPort) bool {
	h := c.agent.s.relay.Load()
	if h == nil || len(b) < stunHeader {
		return false
	}
	allocation, ok := h.Lookup(to)
	return ok && h.write(allocation, c.agent.sender(to, c.local, stunTransaction(b)), b)
}

// shorten has the path lead to our own relay if its address is one of its.
func (w *path) shorten(h *relayHook, a *agent) {
	if h == nil {
		return
	}
	if allocation, ok := h.Lookup(w.remote); ok {
		w.relay, w.allocation, w.from = h, allocation, a.sender(w.remote, w.local, transactionID{})
	}
}

// write sends one packet of DTLS.
func (w *path) write(b []byte) {
	if w.relay == nil || !w.relay.write(w.allocation, w.from, b) {
		_, _ = w.local.write(b, w.remote)
	}
}

// toRelay passes a packet of the batch to the relay of its path.
func (b *Batch) toRelay(out []byte, way *path) bool {
	if b.relay == nil {
		b.relay = way.relay.Outlet()
	}
	if !b.relay.Send(way.allocation, way.from, out) {
		return false
	}
	b.relayed++
	return true
}
