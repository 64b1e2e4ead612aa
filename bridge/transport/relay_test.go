package transport

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"confab/bridge/rtpx"
)

// turnRelay is a relay in small: allocations whose clients are in the process.
type turnRelay struct {
	s *Sockets

	mu   sync.Mutex
	live map[netip.AddrPort]*allocation
}

// allocation has one client, who has permissions for everybody.
type allocation struct {
	relay   *turnRelay
	relayed netip.AddrPort
	client  *nat
	ended   atomic.Bool

	mu      sync.Mutex
	froms   map[netip.AddrPort]int           // packets by peer
	asked   map[transactionID]netip.AddrPort // where the client's checks went
	answers chan relayAnswer
}

// relayAnswer is where a check of the client went, and where its answer came from.
type relayAnswer struct{ to, from netip.AddrPort }

// deliver sends what the client has for a peer.
func (a *allocation) deliver(b []byte, to netip.AddrPort) {
	if kind, ok := stunType(b); ok && kind == bindingRequest {
		a.mu.Lock()
		a.asked[stunTransaction(b)] = to
		a.mu.Unlock()
	}
	a.relay.s.Deliver(b, a.relayed, to)
}

// receive takes what a peer has for the client.
func (a *allocation) receive(b []byte, from netip.AddrPort) {
	a.mu.Lock()
	a.froms[from]++
	if kind, ok := stunType(b); ok && kind == bindingSuccess {
		select {
		case a.answers <- relayAnswer{a.asked[stunTransaction(b)], from}:
		default:
		}
	}
	a.mu.Unlock()
	select {
	case a.client.in <- natPacket{bytes.Clone(b), net.UDPAddrFromAddrPort(from)}:
	default:
	}
}

func newTurnRelay(s *Sockets) *turnRelay {
	r := &turnRelay{s: s, live: map[netip.AddrPort]*allocation{}}
	s.SetRelay(r)
	return r
}

// allocate puts a client behind the relay.
func (r *turnRelay) allocate(n *nat, relayed netip.AddrPort) *allocation {
	a := &allocation{relay: r, relayed: relayed, client: n, froms: map[netip.AddrPort]int{},
		asked: map[transactionID]netip.AddrPort{}, answers: make(chan relayAnswer, 1024)}
	r.mu.Lock()
	r.live[relayed] = a
	r.mu.Unlock()
	n.by = a
	return a
}

func (r *turnRelay) Lookup(relayed netip.AddrPort) (any, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.live[relayed]
	return a, ok
}

func (r *turnRelay) Outlet() RelayOutlet { return &turnOutlet{} }

type turnOutlet struct{ taken []turnPacket }

type turnPacket struct {
	a    *allocation
	from netip.AddrPort
	b    []byte
}

func (o *turnOutlet) Send(a any, from netip.AddrPort, b []byte) bool {
	if a.(*allocation).ended.Load() {
		return false
	}
	o.taken = append(o.taken, turnPacket{a.(*allocation), from, b})
	return true
}

func (o *turnOutlet) Flush() {
	for _, p := range o.taken {
		p.a.receive(p.b, p.from)
	}
	o.taken = o.taken[:0]
}

var relayedAddr = netip.MustParseAddrPort("203.0.113.5:50000")

// behindNAT is a port on loopback that is announced as another address, too.
func behindNAT(c *Config) { c.PublicAddresses = []string{"198.51.100.7/127.0.0.1"} }

// A client behind our own relay, which knows us by either address, connects and
// exchanges media without a packet on the network; what it gets comes from the
// address that it knows.
func TestOwnRelay(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"host", "srflx"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := listen(t, behindNAT)
			r := newTurnRelay(s)
			var a *allocation
			h, c := newHeard(), newClient(t)
			a = r.allocate(c.nat, relayedAddr)
			tr, err := s.New(TransportConfig{}, h)
			if err != nil {
				t.Fatal(err)
			}
			d := tr.Local()
			var known netip.AddrPort
			for _, k := range d.Candidates {
				if k.Type == kind {
					known, d.Candidates = k.Addr, []Candidate{k}
				}
			}
			if !s.Local(known) || s.Local(relayedAddr) {
				t.Errorf("ours: %v %v", s.Local(known), s.Local(relayedAddr))
			}
			if err := tr.SetRemote(c.dial(d)); err != nil {
				t.Fatal(err)
			}
			if err := c.secure(); err != nil {
				t.Fatal(err)
			}
			h.waitState(t, StateConnected)
			exchange(t, s, tr, h, c, 1)

			st := tr.Stats()
			if !st.Relayed || st.Remote != relayedAddr || st.Local != s.Locals()[0] {
				t.Errorf("%+v", st)
			}
			total := s.Stats()
			if total.ToRelay != 2 || total.FromRelay == 0 || total.Unsent != 0 {
				t.Errorf("%+v", total)
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			if len(a.froms) != 1 || a.froms[known] == 0 {
				t.Errorf("the client knows %v, packets came from %v", known, a.froms)
			}
		})
	}
}

// A client that checks both addresses gets each answer from where it has asked.
func TestOwnRelayOfTwoPairs(t *testing.T) {
	t.Parallel()
	s := listen(t, behindNAT)
	r := newTurnRelay(s)
	if len(s.Candidates()) != 2 {
		t.Fatalf("candidates %v", s.Candidates())
	}
	// A client that is quick takes the first pair that works, and never checks the other.
	for range 100 {
		var a *allocation
		tr, h, c := connect(t, s, func(_ *TransportConfig, c *client) { a = r.allocate(c.nat, relayedAddr) })
		exchange(t, s, tr, h, c, 1)
		answered := map[netip.AddrPort]bool{}
		for range len(a.answers) {
			got := <-a.answers
			if got.from != got.to {
				t.Fatalf("a check of %v was answered by %v", got.to, got.from)
			}
			answered[got.to] = true
		}
		c.close()
		if err := tr.Close(); err != nil {
			t.Fatal(err)
		}
		if len(answered) == 2 {
			return
		}
	}
	t.Error("no client checked both addresses")
}

// What is for an allocation that has ended goes to its address on the network, as
// if the relay were elsewhere.
func TestOwnRelayEnds(t *testing.T) {
	t.Parallel()
	s := listen(t, nil)
	r := newTurnRelay(s)
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	var a *allocation
	tr, h, c := connect(t, s, func(_ *TransportConfig, c *client) {
		a = r.allocate(c.nat, socket.LocalAddr().(*net.UDPAddr).AddrPort())
	})
	exchange(t, s, tr, h, c, 1)
	if err := socket.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if n, err := socket.Read(make([]byte, 10)); err == nil {
		t.Errorf("%d bytes on the network", n)
	}

	b := s.NewBatch(0)
	media := func(seq uint16) {
		t.Helper()
		for i := range uint16(2) {
			if err := b.Add(tr, rtpPacket(0x3333, seq+i, "media")); err != nil {
				t.Fatal(err)
			}
		}
	}
	media(1)
	a.ended.Store(true) // between two packets of a batch
	media(3)
	if n := b.Flush(); n != 4 {
		t.Errorf("%d of 4 sent", n)
	}
	for range 2 {
		wait(t, c.rtp, "media by the relay")
	}
	if err := socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1500)
	for seq := uint16(3); seq < 5; {
		_, src, err := socket.ReadFromUDPAddrPort(buf)
		if err != nil || src != s.Locals()[0] {
			t.Fatalf("from %v: %v", src, err)
		}
		if buf[0] >= 128 { // ICE goes there too
			if got := binary.BigEndian.Uint16(buf[2:]); got != seq {
				t.Errorf("packet %d, want %d", got, seq)
			}
			seq++
		}
	}
}

// What comes from the relay is judged like what comes from the network, and never
// goes back to a relay on the same port.
func TestDeliverIsNoWayIn(t *testing.T) {
	t.Parallel()
	s := listen(t, nil)
	newTurnRelay(s)
	f := newForeigner()
	s.SetForeign(f)
	to, before := s.Locals()[0], s.Stats()
	s.Deliver(nil, relayedAddr, to)
	s.Deliver(make([]byte, rtpx.BufferSize+1), relayedAddr, to)
	s.Deliver(rtpPacket(1, 1, "stranger"), relayedAddr, to)
	s.Deliver(rtpPacket(1, 1, "misled"), relayedAddr, relayedAddr)
	s.Deliver(buildSTUN(t, stun.NewType(stun.MethodAllocate, stun.ClassRequest)), relayedAddr, to)
	s.Deliver([]byte{0x40, 0, 0, 0}, relayedAddr, to)
	s.Deliver(buildSTUN(t, stun.BindingRequest), relayedAddr, to)
	after := s.Stats()
	if after.Oversize-before.Oversize != 2 || after.Strangers-before.Strangers != 2 || after.Garbage-before.Garbage != 2 ||
		after.UnknownUfrag-before.UnknownUfrag != 1 || after.FromRelay != 4 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if n := len(f.got); n != 0 {
		t.Errorf("%d datagrams were passed on", n)
	}
}

// The way by the relay allocates nothing either.
func TestOwnRelayAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("allocation counts mean nothing under the race detector")
	}
	s, tr, h, c := secured(t, "GCM-128")
	s.SetRelay(nowhere{})
	const runs = 1000
	wire := make([][]byte, runs+10)
	for i := range wire {
		wire[i] = c.encrypt(rtpPacket(0x1111, uint16(i), "media"))
	}
	from, to, i, before := c.nat.addr(), s.Locals()[0], 0, h.n
	_ = c.nat.Close() // with its noise
	if n := testing.AllocsPerRun(runs, func() { s.Deliver(wire[i], from, to); i++ }); n != 0 {
		t.Errorf("delivering allocates %v times", n)
	}
	if h.n-before != i {
		t.Errorf("%d of %d packets came through", h.n-before, i)
	}
	sink(t, tr) // a path that is made now
	b, plain := s.NewBatch(0), rtpPacket(0x2222, 0, "media")
	seq := 0
	if n := leastAllocs(100, func() {
		for range batchSize {
			seq++
			plain[2], plain[3] = byte(seq>>8), byte(seq)
			if err := b.Add(tr, plain); err != nil {
				t.Fatal(err)
			}
		}
		if b.Flush() != batchSize {
			t.Fatal("not sent")
		}
	}); n != 0 {
		t.Errorf("sending a batch allocates %v times", n)
	}
	if n := s.Stats().ToRelay; n != uint64(seq) {
		t.Errorf("%d of %d packets went by the relay", n, seq)
	}
}

// nowhere is a relay that has every address and loses all packets.
type nowhere struct{}

func (nowhere) Lookup(netip.AddrPort) (any, bool)     { return nil, true }
func (nowhere) Outlet() RelayOutlet                   { return nowhere{} }
func (nowhere) Send(any, netip.AddrPort, []byte) bool { return true }
func (nowhere) Flush()                                {}
