package relay

import (
	"net/netip"

	"confab/internal/datagram"
)

// Shared serves UDP clients that come to a port of somebody else's, the bridge's media
// port (turn.md §11): its readers bring what is not theirs.
type Shared struct {
	server  *Server
	readers []sharedReader
}

// sharedReader belongs to one goroutine that reads.
type sharedReader struct {
	flight  *flight
	sockets map[netip.AddrPort]*udpSocket // by local address
	swept   int64
}

// Share makes a Shared for a number of readers. outlets are sockets that send from
// each local address, at least one; they stay their owner's.
func (s *Server) Share(readers int, outlets map[netip.AddrPort][]*datagram.Socket) *Shared {
	x := &Shared{server: s}
	locals := make([]*udpLocal, 0, len(outlets))
	for addr, sockets := range outlets {
		locals = append(locals, &udpLocal{index: s.nextLocal(), addr: addr, sockets: sockets})
	}
	for i := range readers {
		r := sharedReader{flight: newFlight(i), sockets: map[netip.AddrPort]*udpSocket{}}
		for _, l := range locals {
			r.sockets[l.addr] = &udpSocket{at: l, clients: map[netip.AddrPort]*client{}}
		}
		x.readers = append(x.readers, r)
	}
	return x
}

// Datagram takes one that a reader has for local from src. b is copied. A panic ends
// here: the reader is the bridge's.
func (x *Shared) Datagram(reader int, b []byte, src, local netip.AddrPort) {
	defer func() {
		if err := recover(); err != nil {
			x.server.panicked("media port", err)
		}
	}()
	r := &x.readers[reader]
	k := r.sockets[local]
	if k == nil || x.server.draining.Load() && k.clients[src] == nil {
		return
	}
	r.flight.now = x.server.clock()
	x.server.fromClient(r.flight, nil, k, src, r.flight.keep(b))
}

// Flush sends what came of the datagrams since the last.
func (x *Shared) Flush(reader int) {
	r := &x.readers[reader]
	r.flight.flush()
	if now := r.flight.now; now-r.swept >= int64(sweepTime) {
		r.swept = now
		for _, k := range r.sockets {
			k.forget()
		}
	}
}
