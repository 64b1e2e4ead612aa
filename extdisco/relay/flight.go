package relay

import (
	"net/netip"
	"sync/atomic"

	"confab/extdisco/stun"
	"confab/internal/datagram"
)

const (
	// flightSize is how many datagrams one system call sends at most.
	flightSize = 128
	// arenaSize is room for what is built for a flight: heads and answers.
	arenaSize = 128 << 10
)

// flight is what one goroutine is about to send. Packets of a batch are put in order
// of the sockets they leave by, so that the kernel gets runs of them; within a way
// they keep their order. What is added must stay as it is until flush.
type flight struct {
	now     int64 // the server's clock, in ns, when the batch was read
	tos     byte  // of the datagram in hand: what comes of it is marked the same (RFC 8656 §14)
	loop    int   // which of the sockets of a listening address to send by
	peers   []outgoing
	chains  map[*relaySocket]int // index in groups
	groups  []chain
	writer  *datagram.Writer // to peers
	clients []clientWriter   // by listening address
	streams []*stream        // to be woken
	taken   int              // messages of connections, for gathering
	spool   spool            // to streams of event loops
	arena   []byte
	used    int
	build   stun.Builder
}

// outgoing is a datagram to a peer; next is that which follows it by the same socket.
type outgoing struct {
	body []byte
	to   *datagram.Destination
	tos  byte
	next int
}

type chain struct {
	relay       *relaySocket
	first, last int
}

// clientWriter writes to UDP clients of one listening address.
type clientWriter struct {
	socket *datagram.Socket
	writer *datagram.Writer
	dirty  bool
}

func newFlight(loop int) *flight {
	return &flight{loop: loop, chains: map[*relaySocket]int{}, spool: newSpool(), writer: datagram.NewWriter(flightSize), arena: make([]byte, arenaSize)}
}

// space is room for n bytes that lives until flush.
func (f *flight) space(n int) []byte {
	if f.used+n > len(f.arena) {
		f.flush()
	}
	b := f.arena[f.used : f.used+n : f.used+n]
	f.used += n
	return b
}

// keep copies b to where it lives until flush.
func (f *flight) keep(b []byte) []byte {
	c := f.space(len(b))
	copy(c, b)
	return c
}

// toPeer adds a datagram that leaves by a relayed socket.
func (f *flight) toPeer(r *relaySocket, body []byte, to *datagram.Destination) {
	i := len(f.peers)
	f.peers = append(f.peers, outgoing{body, to, f.tos, -1})
	if n := len(f.groups); n > 0 && f.groups[n-1].relay == r {
		f.follow(n-1, i)
	} else if g, ok := f.chains[r]; ok {
		f.follow(g, i)
	} else {
		f.chains[r] = n
		f.groups = append(f.groups, chain{r, i, i})
	}
}

func (f *flight) follow(group, i int) {
	g := &f.groups[group]
	f.peers[g.last].next = i
	g.last = i
}

// toClient adds a datagram to a UDP client of a listening address.
func (f *flight) toClient(l *udpLocal, head, body []byte, to *datagram.Destination) {
	for len(f.clients) <= l.index {
		f.clients = append(f.clients, clientWriter{})
	}
	w := &f.clients[l.index]
	if w.writer == nil {
		w.socket, w.writer = l.sockets[f.loop%len(l.sockets)], datagram.NewWriter(flightSize)
	}
	if w.writer.Full() {
		w.writer.Flush(w.socket)
	}
	w.writer.AddMarked(head, body, to, f.tos)
	w.dirty = true
}

// discard forgets what was added for peers; what was for clients is whole.
func (f *flight) discard() {
	clear(f.chains)
	clear(f.groups)
	clear(f.peers)
	f.groups, f.peers = f.groups[:0], f.peers[:0]
}

// flush sends all that was added.
func (f *flight) flush() {
	for i := range f.groups {
		g := &f.groups[i]
		for at := g.first; at >= 0; at = f.peers[at].next {
			if f.writer.Full() {
				f.writer.Flush(g.relay.socket)
			}
			o := &f.peers[at]
			f.writer.AddMarked(nil, o.body, o.to, o.tos)
		}
		f.writer.Flush(g.relay.socket)
		g.relay = nil
	}
	if len(f.groups) > 0 {
		clear(f.chains)
		clear(f.peers)
		f.groups, f.peers = f.groups[:0], f.peers[:0]
	}
	for i := range f.clients {
		if w := &f.clients[i]; w.dirty {
			w.writer.Flush(w.socket)
			w.dirty = false
		}
	}
	for i, s := range f.streams {
		s.wake()
		f.streams[i] = nil
	}
	f.streams = f.streams[:0]
	f.spool.flush()
	f.used = 0
}

// leg is the server's side of clients' 5-tuples (RFC 8656 §3.2): how messages go back.
type leg interface {
	// network is udp, tcp, tls or dtls; local what the client has sent to.
	network() string
	local() netip.AddrPort
	// send adds a message to a client. to is the destination that was made for it.
	send(f *flight, head, body []byte, to *datagram.Destination)
}

// client is a 5-tuple that has an allocation, or a connection.
type client struct {
	leg  leg
	addr netip.AddrPort
	dest *datagram.Destination
	held atomic.Pointer[allocation]
}

// hold gives a client its allocation, release takes it away.
func (c *client) hold(a *allocation) {
	c.held.Store(a)
	if s, ok := c.leg.(*stream); ok {
		s.authorized(true)
	}
}

func (c *client) release(a *allocation) {
	if !c.held.CompareAndSwap(a, nil) {
		return
	}
	if s, ok := c.leg.(*stream); ok {
		s.authorized(false)
	}
}
