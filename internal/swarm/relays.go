package swarm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"time"
)

// RelayOptions are a load on a TURN server: clients with an allocation each, and for
// each a peer that it talks to.
type RelayOptions struct {
	// Network has the addresses of clients and peers, as in Options.
	Network netip.Prefix
	Server  netip.AddrPort
	// Transport is how clients come: "udp", "tcp" or "tls". Peers have UDP.
	Transport string
	// Secret makes time-limited credentials, one user for each client.
	Secret      string
	Allocations int
	Size        int // bytes of what is relayed, without any header of TURN
	Up, Down    bool
	// Send has Send and Data indications in place of channels.
	Send bool
	// Run is how many packets of one allocation in one direction come in a row. With
	// Slot it is as many as are due in that time, as libwebrtc's pacer sends them.
	// Segment has such a run be one for the kernel (UDP_SEGMENT, UDP_GRO).
	Run     int
	Slot    time.Duration
	Segment bool
}

// RelayMinSize is what the packets of a relay load need for themselves.
const RelayMinSize = 40

const (
	relayMagic = 0x5475726E
	// flushEvery is how many packets leave together: they have one time of departure.
	flushEvery = 16
	// behind bounds what is made up for if the generator had no time.
	behind = 5 * time.Millisecond
	// The end of a measurement is when nothing has arrived for silence, or for lateness if
	// something is missing, or drainTime: a machine that has stopped for a moment loses nothing.
	silence, lateness, drainTime = 50 * time.Millisecond, time.Second, 5 * time.Second
)

// Relays is such a load. All of it runs on the goroutine that calls Open, Run and
// Close, and only then.
type Relays struct {
	opt    RelayOptions
	sock   *socket
	base   uint32
	most   int
	allocs []*allocation
	poll   *poller // of the clients' connections, nil over UDP
	stuck  []*stream
	keptAt time.Time

	lanes  []*lane // in the order in which they send
	turn   int
	epoch  uint16
	flow   Flow
	window bool // whether what arrives is in the measurement
}

// Flow is what a measurement found.
type Flow struct {
	Seconds float64 // of the measurement itself, after the warming up
	// Of that time: packets that were due, that left, and that arrived.
	Due, Sent, Received uint64
	Late                Histogram
	// From the first packet to the silence after the last: nothing is under way.
	AllSent, AllReceived uint64
	Duplicate            uint64
	Foreign              uint64 // what was no packet of ours, or not as it had been sent
	Refused              uint64 // packets that the own kernel did not take, or a connection had no room for
}

// lane is one direction of an allocation.
type lane struct {
	a    *allocation
	up   bool
	sent uint64
	// What arrived: the number after the highest, and which of the last 64 before it.
	next, seen uint64
}

// NewRelays opens a socket for the load.
func NewRelays(opt RelayOptions) (*Relays, error) {
	if !opt.Network.IsValid() {
		opt.Network = netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 64, 0, 0}), 10)
	}
	switch {
	case !opt.Network.Addr().Is4() || opt.Network.Bits() < 8 || opt.Network.Bits() > 24:
		return nil, fmt.Errorf("the network %v: IPv4 with 8 to 24 bits expected", opt.Network)
	case opt.Allocations < 1 || opt.Allocations > 1<<(31-opt.Network.Bits())-2 || opt.Allocations > 1<<12:
		return nil, fmt.Errorf("%d allocations are not possible", opt.Allocations)
	case opt.Size < RelayMinSize || opt.Size > maxPacket:
		return nil, fmt.Errorf("packets of %d bytes: %d to %d expected", opt.Size, RelayMinSize, maxPacket)
	case !opt.Up && !opt.Down:
		return nil, errors.New("no direction")
	}
	opt.Run = opt.run(opt.Run)
	sock, err := listen(opt.Segment)
	if err != nil {
		return nil, err
	}
	base := opt.Network.Masked().Addr().As4()
	r := &Relays{opt: opt, sock: sock, base: binary.BigEndian.Uint32(base[:]), most: 1 << (31 - opt.Network.Bits())}
	return r, nil
}

// run bounds a number of packets in a row by what fits a batch and a UDP_SEGMENT.
func (o *RelayOptions) run(n int) int { return min(max(n, 1), sendBatch, 60000/(o.Size+sendHeader)) }

// Cipher is the suite that clients have agreed on with the server, "" without TLS.
func (r *Relays) Cipher() string {
	if len(r.allocs) == 0 || r.allocs[0].stream == nil {
		return ""
	}
	return r.allocs[0].stream.cipher()
}

// address of client i, or of peer i: the upper half of the network has the peers.
func (r *Relays) address(i int, peer bool) (a [4]byte) {
	if peer {
		i += r.most
	}
	binary.BigEndian.PutUint32(a[:], r.base+uint32(i)+1)
	return a
}

// Run sends rate packets/s, all lanes in turn, for warm and then for d, which is what
// is measured: mark is called at its beginning and at its end.
func (r *Relays) Run(ctx context.Context, rate float64, warm, d time.Duration, mark func() error) (f Flow, err error) {
	if err := r.keep(ctx); err != nil {
		return f, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	punctual()
	r.epoch++
	r.flow, r.window, r.turn = Flow{}, false, 0
	for _, l := range r.lanes {
		l.sent, l.next, l.seen = 0, 0, 0
	}
	if r.opt.Slot > 0 {
		r.opt.Run = r.opt.run(int(math.Round(rate / float64(len(r.lanes)) * r.opt.Slot.Seconds())))
	}
	refused := r.sock.refused
	begin := time.Now().UnixNano()
	from, end := begin+int64(warm), begin+int64(warm+d)
	most := max(int64(rate*behind.Seconds()), 4*flushEvery)
	var issued int64
	for {
		now := time.Now().UnixNano()
		if !r.window && now >= from {
			if err := mark(); err != nil {
				return f, err
			}
			r.window, from = true, now
		}
		if now >= end || ctx.Err() != nil {
			end = now
			break
		}
		due := int64(rate*float64(now-begin)/1e9) - issued
		if skip := due - most; skip > 0 {
			issued += skip
			due -= skip
			if r.window {
				r.flow.Due += uint64(skip)
			}
		}
		for n := min(due, flushEvery); n > 0; n -= int64(r.opt.Run) {
			issued += int64(r.next(now))
		}
		r.push()
		if r.receive() == 0 && due <= 0 {
			if left := time.Duration(float64(issued+1)/rate*1e9) - time.Duration(now-begin); left > 20*time.Microsecond {
				rest(min(left-10*time.Microsecond, 20*time.Microsecond))
			}
		}
	}
	if err := mark(); err != nil {
		return f, err
	}
	r.window = false
	r.flow.Seconds = float64(end-from) / 1e9
	for heard := time.Now(); time.Since(time.Unix(0, end)) < drainTime; {
		quiet := silence
		if r.flow.AllReceived < r.flow.AllSent {
			quiet = lateness
		}
		if time.Since(heard) > quiet {
			break
		}
		r.push()
		if r.receive() > 0 {
			heard = time.Now()
		} else {
			rest(idle)
		}
	}
	for _, a := range r.allocs {
		if a.stream != nil && a.stream.failed() != nil {
			return r.flow, fmt.Errorf("connection of client %d: %w", a.index, a.stream.failed())
		}
	}
	r.flow.Refused += r.sock.refused - refused
	r.flow.AllSent -= min(r.sock.refused-refused, r.flow.AllSent)
	return r.flow, ctx.Err()
}

// next sends one run of packets of the lane whose turn it is, and returns how many
// were due.
func (r *Relays) next(now int64) int {
	l := r.lanes[r.turn]
	r.turn++
	if r.turn == len(r.lanes) {
		r.turn = 0
	}
	n := r.opt.Run
	if l.up && l.a.stream != nil {
		for range n {
			r.sendStream(l)
		}
	} else {
		r.sock.reserve(n)
		from, to := r.address(l.a.index, !l.up), l.a.relayed
		if l.up {
			to = r.opt.Server
		}
		for k := range n {
			b := r.sock.room()[:sendSize]
			size := r.write(b, l, now)
			if r.opt.Segment {
				r.sock.commitRun(k, size, from, to)
			} else {
				r.sock.commit(size, from, to)
			}
			r.sentOne(l)
		}
	}
	if r.window {
		r.flow.Due += uint64(n)
	}
	return n
}

func (r *Relays) sentOne(l *lane) {
	l.sent++
	r.flow.AllSent++
	if r.window {
		r.flow.Sent++
	}
}

// write makes the next packet of a lane and returns its size.
func (r *Relays) write(b []byte, l *lane, now int64) int {
	head, size := 0, r.opt.Size
	if l.up {
		head, size = l.wrap(b, r.opt.Size, r.opt.Send)
	}
	r.stamp(b[head:head+r.opt.Size], l, now)
	return size
}

// stamp writes what a packet carries: whose it is, its number twice, and when it left.
func (r *Relays) stamp(b []byte, l *lane, now int64) {
	binary.BigEndian.PutUint32(b, relayMagic)
	binary.BigEndian.PutUint16(b[4:], r.epoch)
	binary.BigEndian.PutUint16(b[6:], l.mark())
	binary.BigEndian.PutUint64(b[8:], l.sent)
	binary.BigEndian.PutUint64(b[16:], uint64(now))
	binary.BigEndian.PutUint64(b[len(b)-8:], l.sent)
}

// mark tells lanes apart.
func (l *lane) mark() uint16 {
	m := uint16(l.a.index) << 1
	if l.up {
		m |= 1
	}
	return m
}

// arrived takes a packet where it should have come to.
func (r *Relays) arrived(l *lane, b []byte, at int64) {
	n := binary.BigEndian.Uint64(b[8:])
	if len(b) != r.opt.Size || binary.BigEndian.Uint32(b) != relayMagic || binary.BigEndian.Uint16(b[6:]) != l.mark() ||
		binary.BigEndian.Uint64(b[len(b)-8:]) != n {
		r.flow.Foreign++
		return
	}
	if binary.BigEndian.Uint16(b[4:]) != r.epoch {
		return // late, of a measurement before
	}
	switch {
	case n >= l.next:
		l.seen <<= min(n-l.next+1, 64)
		l.seen |= 1
		l.next = n + 1
	case l.next-1-n > 63 || l.seen>>(l.next-1-n)&1 != 0:
		r.flow.Duplicate++
		return
	default:
		l.seen |= 1 << (l.next - 1 - n)
	}
	r.flow.AllReceived++
	if r.window {
		r.flow.Received++
		r.flow.Late.Add(time.Duration(at - int64(binary.BigEndian.Uint64(b[16:]))))
	}
}

// receive takes what waits, up to a batch of each kind.
func (r *Relays) receive() int {
	n := r.sock.read(r.datagram)
	if r.poll != nil {
		n += r.poll.ready(r.readable)
	}
	return n
}

func (r *Relays) datagram(d *datagram) {
	i := int(int64(binary.BigEndian.Uint32(d.to[:])) - int64(r.base) - 1)
	peer := i >= r.most
	if peer {
		i -= r.most
	}
	if i < 0 || i >= len(r.allocs) {
		r.flow.Foreign++
		return
	}
	a := r.allocs[i]
	for b := d.b; len(b) > 0; {
		n := len(b)
		if d.segment > 0 {
			n = min(n, d.segment)
		}
		switch {
		case !peer:
			r.unwrap(a, b[:n], d.at)
		case d.from == a.relayed && n == r.opt.Size:
			r.arrived(&a.lanes[0], b[:n], d.at)
		default:
			r.flow.Foreign++
		}
		b = b[n:]
	}
}

// push hands the kernel what has been written.
func (r *Relays) push() {
	r.sock.flush()
	stuck := r.stuck[:0]
	for _, c := range r.stuck {
		if c.push(); c.full() {
			stuck = append(stuck, c)
		}
	}
	r.stuck = stuck
}
