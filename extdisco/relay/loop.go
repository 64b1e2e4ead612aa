package relay

import (
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"confab/internal/datagram"
)

const (
	// slots is how many datagrams a loop has in hand at most, and slotSize the room
	// for one: a run of them if the kernel has put them together (UDP_GRO).
	slots    = 256
	slotSize = 64 << 10
	// clientBatch and peerBatch are how many are read from one socket before the
	// others have their turn.
	clientBatch = 128
	peerBatch   = 32
	// sweepTime is how often a loop looks for what has expired.
	sweepTime = time.Second
	// yieldTime is how long a loop runs until it lets the scheduler count a turn. After
	// 10 ms of one the scheduler takes its processor away in the next system call, wakes
	// a thread that finds nothing to do, and looks every 20 µs for more of the kind.
	yieldTime = 5 * time.Millisecond
)

// loop is one goroutine that owns sockets: one of every listening address, and the
// relayed sockets of the allocations that were made through it. All that it reads in
// one round it sends at the end of it.
type loop struct {
	server  *Server
	index   int
	poller  *datagram.Poller
	reader  *datagram.Reader
	flight  *flight
	faults  *datagram.FaultReader
	ready   []any
	at, to  int // what was read and is not yet taken
	swept   int64
	yielded int64
	gather  gathering
	inbox   inbox
	sockets atomic.Pointer[[]*udpSocket] // listening; one at a time replaces them
}

// udpLocal is a listening address with the sockets that share it, one for each loop:
// the kernel keeps a 5-tuple at one of them.
type udpLocal struct {
	index     int
	addr      netip.AddrPort
	sockets   []*datagram.Socket
	alternate [2][2]*udpLocal // RFC 5780: [address changed][port changed]; nil: not offered
	other     netip.AddrPort  // RFC 5780 §7.4
}

func (l *udpLocal) network() string       { return "udp" }
func (l *udpLocal) local() netip.AddrPort { return l.addr }

func (l *udpLocal) send(f *flight, head, body []byte, to *datagram.Destination) {
	f.toClient(l, head, body, to)
}

// udpSocket is a listening socket of one loop with the clients that come to it.
type udpSocket struct {
	at      *udpLocal
	socket  *datagram.Socket
	clients map[netip.AddrPort]*client
	last    *client // of the datagram before
}

func (s *Server) newLoop(index int) (*loop, error) {
	p, err := datagram.NewPoller()
	if err != nil {
		return nil, err
	}
	return &loop{server: s, index: index, poller: p, reader: datagram.NewReader(slots, slotSize), flight: newFlight(index), faults: datagram.NewFaultReader()}, nil
}

// listening are the sockets of the listening addresses.
func (l *loop) listening() []*udpSocket {
	if list := l.sockets.Load(); list != nil {
		return *list
	}
	return nil
}

func (l *loop) listen(u *udpSocket) {
	list := append(slices.Clone(l.listening()), u)
	l.sockets.Store(&list)
}

func (l *loop) run() {
	for {
		var err error
		if l.ready, err = l.poller.Wait(int(sweepTime/time.Millisecond), l.ready[:0]); err != nil {
			return // closed
		}
		l.flight.now = l.server.clock()
		for i, v := range l.ready {
			l.serve(v)
			l.ready[i] = nil
		}
		l.send()
		if l.gather.due(l.flight.now) {
			datagram.Pause(gatherTime)
		}
		if l.flight.now-l.yielded >= int64(yieldTime) {
			l.yielded = l.flight.now
			runtime.Gosched()
		}
		if l.flight.now-l.swept >= int64(sweepTime) {
			l.swept = l.flight.now
			l.sweep()
		}
	}
}

func (l *loop) sweep() {
	defer func() {
		if err := recover(); err != nil {
			l.server.panicked("sweep", err)
		}
	}()
	l.server.sweep(l)
}

// serve reads from a socket that has something.
func (l *loop) serve(v any) {
	switch v := v.(type) {
	case *udpSocket:
		l.read(v.socket, clientBatch)
	case *relaySocket:
		l.read(v.socket, peerBatch)
		if v.socket.Failed() {
			l.fail(v)
		}
	case *stream:
		l.fromStream(v)
	}
	for l.at < l.to {
		l.take(v)
	}
	l.flight.tos = 0
}

// take takes what was read. A datagram that makes it panic is left behind, and ends the
// allocation if it came to one; nobody else loses more than packets.
func (l *loop) take(v any) {
	defer func() {
		if err := recover(); err != nil {
			l.server.panicked("event loop", err)
			l.flight.discard()
			if r, ok := v.(*relaySocket); ok {
				l.at = l.to
				l.server.finish(r.allocation, "panic")
			}
		}
	}()
	switch v := v.(type) {
	case *udpSocket:
		l.fromClients(v)
	case *relaySocket:
		l.fromPeers(v)
	}
}

// read reads a batch.
func (l *loop) read(s *datagram.Socket, batch int) {
	if l.reader.Free() < batch {
		l.send()
	}
	l.at, l.to = l.reader.Read(s, batch)
	l.gather.round += l.to - l.at
}

// next is what has been read next; ok is false if the kernel has cut it off.
func (l *loop) next() (b []byte, src netip.AddrPort, segment int, ok bool) {
	b, src, segment = l.reader.Datagram(l.at)
	if l.server.cfg.TOS {
		l.flight.tos = l.reader.TOS(l.at)
	}
	l.at++
	if b == nil {
		l.server.counters.garbage.Add(1)
	}
	return b, src, segment, b != nil
}

// send sends what the round has given; then its buffers are free.
func (l *loop) send() {
	l.gather.round += (l.flight.taken + len(l.flight.spool.list)) * streamWeight
	l.flight.taken = 0
	l.flight.flush()
	l.reader.Reset()
	l.inbox.used = 0
}

func (l *loop) fromClients(s *udpSocket) {
	for l.at < l.to {
		if b, src, segment, ok := l.next(); ok {
			each(b, segment, func(b []byte) { l.server.fromClient(l.flight, l, s, src, b) })
		}
	}
}

// each calls f with the datagrams of a run.
func each(b []byte, segment int, f func([]byte)) {
	for segment > 0 && len(b) > segment {
		f(b[:segment:segment])
		b = b[segment:]
	}
	f(b)
}

// fromClient takes a datagram of a UDP client. l reads the relayed sockets of an
// allocation that comes of it.
func (s *Server) fromClient(f *flight, l *loop, k *udpSocket, src netip.AddrPort, b []byte) {
	if len(b) == 0 {
		return
	}
	c := k.last
	if c == nil || c.addr != src {
		if c = k.clients[src]; c != nil {
			k.last = c
		}
	}
	switch b[0] >> 6 {
	case 1: // RFC 8656 §12.4
		s.channelData(f, c, b)
	case 0:
		if c = s.message(f, arrival{leg: k.at, udp: k.at, from: src, client: c, loop: l}, b); c != nil {
			k.clients[src] = c
		}
	default:
		s.counters.garbage.Add(1)
	}
}

func (l *loop) fromPeers(r *relaySocket) {
	for l.at < l.to {
		if b, src, segment, ok := l.next(); ok {
			each(b, segment, func(b []byte) { r.fromPeer(l.flight, src, b) })
		}
	}
}

// forget drops the clients that have no allocation any more.
func (s *udpSocket) forget() {
	for addr, c := range s.clients {
		if c.held.Load() == nil {
			delete(s.clients, addr)
		}
	}
	s.last = nil
}
