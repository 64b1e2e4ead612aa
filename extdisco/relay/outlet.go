package relay

import "net/netip"

// Outlet takes packets of our own bridge to the clients of allocations in memory
// (turn.md §9.5). It belongs to one goroutine.
type Outlet struct {
	server *Server
	flight *flight
	open   bool // packets wait for Flush
}

// Outlet makes one.
func (s *Server) Outlet() *Outlet {
	return &Outlet{server: s, flight: newFlight(int(s.next.Add(1)))}
}

// Lookup returns the allocation that has a relayed transport address, for Send.
func (s *Server) Lookup(relayed netip.AddrPort) (allocation any, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.relayeds[relayed]
	return r, r != nil
}

// Send takes a datagram from a peer to what Lookup has returned, as if it had come to
// the relayed address. b must stay as it is until Flush. It returns false if the
// allocation has ended.
func (o *Outlet) Send(allocation any, from netip.AddrPort, b []byte) bool {
	r, ok := allocation.(*relaySocket)
	if !ok || r.ended.Load() {
		return false
	}
	if !o.open {
		o.open = true
		o.flight.now = o.server.clock()
	}
	r.fromPeer(o.flight, from, b)
	return true
}

// Flush sends what was taken.
func (o *Outlet) Flush() {
	if o.open {
		o.open = false
		o.flight.flush()
	}
}
