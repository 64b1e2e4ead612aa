package relay

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"confab/internal/datagram"
)

var (
	errNoFamily = errors.New("no relay address of that family")
	errNoPort   = errors.New("no free relay port")
	errNoToken  = errors.New("no port reserved under the token")
)

// restTime is how long a port that has been given back is not given out: packets of
// its last peers may still be on their way.
const restTime = 30 * time.Second

// relayBuffer is the kernel's for a relayed socket. The system's default holds less
// than a millisecond of a fast peer, which is gone when something else has the
// processor. (coturn: 64 KiB up to 4.6, then 2 MiB, sock-buf-size.)
const relayBuffer = 1 << 20

// ports opens the relayed sockets of one address.
type ports struct {
	addr     Address
	min, max uint16
	buffer   int
	faults   bool // ICMP is listened to
	tos      bool // so is how packets are marked
	now      func() time.Time

	mu      sync.Mutex
	taken   []uint64 // bit set: given out, or at rest
	resting []rest   // by time
}

type rest struct {
	port  uint16
	until time.Time
}

func newPorts(a Address, lowest, highest uint16, buffer int, now func() time.Time) *ports {
	return &ports{addr: a, min: lowest, max: highest, buffer: buffer, now: now, taken: make([]uint64, (int(highest)-int(lowest))/64+1)}
}

// portsAt are the ports of a relay's address, as it is bound or as clients see it.
func (s *Server) portsAt(a netip.Addr) *ports {
	for _, p := range s.ports[familyOf(a)] {
		if a == p.addr.Bind || a == p.addr.Public {
			return p
		}
	}
	return nil
}

// relayed is an address of the relay as clients know it.
func (s *Server) relayed(ap netip.AddrPort) netip.AddrPort {
	if p := s.portsAt(ap.Addr()); p != nil {
		return netip.AddrPortFrom(p.addr.Public, ap.Port())
	}
	return ap
}

// portsFor are those of a family in the order in which a client that has come to local
// may have them: local's own come first (turn.md §5.2, relay-ip), else all take turns.
func (s *Server) portsFor(family int, local netip.Addr) []*ports {
	list := s.ports[family]
	if len(list) < 2 {
		return list
	}
	first := slices.IndexFunc(list, func(p *ports) bool { return p.addr.Bind == local })
	if first < 0 {
		first = int(s.turns.Add(1)) % len(list)
	}
	return append(slices.Clone(list[first:]), list[:first]...)
}

// open binds a socket to a free port: an even one if asked for, and with the port
// behind it as well (RFC 8656 §7.2). The search begins at random, so that ports can't
// be foretold, and ends when all have been tried.
//
// Ports at rest are given out again when there is no other.
func (p *ports) open(even, pair, dontFragment bool) (first, second *datagram.Socket, err error) {
	first, second, err = p.search(even, pair, dontFragment)
	if errors.Is(err, errNoPort) && p.wake() {
		first, second, err = p.search(even, pair, dontFragment)
	}
	return first, second, err
}

func (p *ports) search(even, pair, dontFragment bool) (first, second *datagram.Socket, err error) {
	size := int(p.max) - int(p.min) + 1
	start := rand.IntN(size)
	for i := range size {
		port := p.min + uint16((start+i)%size)
		if (even || pair) && port%2 != 0 || pair && port == p.max {
			continue
		}
		if first, err = p.bind(port, dontFragment); err != nil {
			return nil, nil, err
		}
		if first == nil {
			continue
		}
		if !pair {
			return first, nil, nil
		}
		if second, err = p.bind(port+1, dontFragment); second != nil {
			return first, second, nil
		}
		_ = first.Close()
		p.free(port, false)
		if err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, errNoPort
}

// bind returns no socket if the port is taken, by us or by somebody else. The error is
// one that all ports have: no descriptor is left, for example.
func (p *ports) bind(port uint16, dontFragment bool) (*datagram.Socket, error) {
	if !p.take(port) {
		return nil, nil
	}
	s, err := datagram.Open(netip.AddrPortFrom(p.addr.Bind, port), datagram.Options{Buffer: p.buffer, GRO: true, DontFragment: dontFragment, Faults: p.faults, TOS: p.tos})
	if err != nil {
		p.free(port, false)
		if errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.EACCES) {
			return nil, nil
		}
		return nil, err
	}
	return s, nil
}

// wake ends the rest of all ports and reports whether there were any.
func (p *ports) wake() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.resting {
		p.clear(r.port)
	}
	any := len(p.resting) > 0
	p.resting = nil
	return any
}

func (p *ports) take(port uint16) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, most := p.now(), (int(p.max)-int(p.min)+1)/2 // a small range can't let more of it rest
	for ; len(p.resting) > 0 && (len(p.resting) > most || !p.resting[0].until.After(now)); p.resting = p.resting[1:] {
		p.clear(p.resting[0].port)
	}
	at, bit := p.bit(port)
	if p.taken[at]&bit != 0 {
		return false
	}
	p.taken[at] |= bit
	return true
}

func (p *ports) bit(port uint16) (at int, bit uint64) {
	i := int(port) - int(p.min)
	return i / 64, 1 << (i % 64)
}

func (p *ports) clear(port uint16) {
	at, bit := p.bit(port)
	p.taken[at] &^= bit
}

// free gives a port back, at once if nobody has used it.
func (p *ports) free(port uint16, used bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if used {
		p.resting = append(p.resting, rest{port, p.now().Add(restTime)})
	} else {
		p.clear(port)
	}
}

// close closes a socket that open has returned.
func (p *ports) close(s *datagram.Socket) {
	port := s.Local().Port()
	_ = s.Close()
	p.free(port, true)
}

// contains reports whether ap is of the range, from within or from outside.
func (p *ports) contains(ap netip.AddrPort) bool {
	return ap.Port() >= p.min && ap.Port() <= p.max && (ap.Addr() == p.addr.Public || ap.Addr() == p.addr.Bind)
}
