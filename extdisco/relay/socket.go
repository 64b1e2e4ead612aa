package relay

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"

	"github.com/pion/turn/v5"
	"golang.org/x/time/rate"
)

// Address is one address that relayed sockets are opened on.
type Address struct {
	Bind   netip.Addr // local address
	Public netip.Addr // what clients and peers see: Bind, or the outside of a one-to-one NAT
}

// sockets opens the relayed sockets of allocations; it is pion's
// RelayAddressGenerator. All listeners share one.
type sockets struct {
	addrs    []Address
	min, max uint16
	maxBps   int
	peers    *Peers
	counters *counters

	mu   sync.Mutex
	live map[netip.AddrPort]struct{} // relayed addresses as announced
	wg   sync.WaitGroup              // open sockets
}

var (
	errNoFamily = errors.New("no relay address of that family")
	errNoPort   = errors.New("no free relay port")
	errNoTCP    = errors.New("TCP relays are not offered") // RFC 6062
)

func (s *sockets) Validate() error {
	if len(s.addrs) == 0 || s.min == 0 || s.max < s.min {
		return fmt.Errorf("relay range %d-%d on %d addresses", s.min, s.max, len(s.addrs))
	}
	return nil
}

// AllocatePacketConn opens a socket on a free port of the range. The first try
// is random, as RFC 8656 §7.2 asks; then the range is walked, so that a free port
// is found whenever there is one.
func (s *sockets) AllocatePacketConn(cfg turn.AllocateListenerConfig) (net.PacketConn, net.Addr, error) {
	addr, err := s.family(cfg.Network == "udp6")
	if err != nil {
		return nil, nil, err
	}
	// pion turns a reservation into the port behind an even one, without asking
	// whether that is ours.
	if p := cfg.RequestedPort; p != 0 && (p < int(s.min) || p > int(s.max)) {
		return nil, nil, errNoPort
	}
	size := int(s.max) - int(s.min) + 1
	start := rand.IntN(size)
	for i := range size {
		port := int(s.min) + (start+i)%size
		if cfg.RequestedPort != 0 {
			port = cfg.RequestedPort
		}
		conn, err := net.ListenUDP(cfg.Network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr.Bind, uint16(port))))
		if err == nil {
			relayed := netip.AddrPortFrom(addr.Public, uint16(port))
			s.add(relayed)
			return newRelaySocket(s, conn, relayed), net.UDPAddrFromAddrPort(relayed), nil
		}
		if cfg.RequestedPort != 0 {
			return nil, nil, fmt.Errorf("relay port %d: %w", port, err)
		}
	}
	return nil, nil, errNoPort
}

func (s *sockets) family(six bool) (Address, error) {
	for _, a := range s.addrs {
		if a.Bind.Is6() == six {
			return a, nil
		}
	}
	return Address{}, errNoFamily
}

// AllocateListener and AllocateConn would serve TCP relays (RFC 6062). In the
// library that is linked a second Connect to one peer freezes the listener, and
// no Jitsi client asks for them.
func (s *sockets) AllocateListener(turn.AllocateListenerConfig) (net.Listener, net.Addr, error) {
	return nil, nil, errNoTCP
}

func (s *sockets) AllocateConn(turn.AllocateConnConfig) (net.Conn, error) { return nil, errNoTCP }

func (s *sockets) add(ap netip.AddrPort) {
	s.wg.Add(1)
	s.mu.Lock()
	s.live[ap] = struct{}{}
	s.mu.Unlock()
}

func (s *sockets) remove(ap netip.AddrPort) {
	s.mu.Lock()
	delete(s.live, ap)
	s.mu.Unlock()
	s.wg.Done()
}

// announced reports whether ap is the relayed address of a live allocation: two
// clients that both use the relay must reach each other. Port 0 asks for any.
func (s *sockets) announced(ap netip.AddrPort) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ap.Port() != 0 {
		_, ok := s.live[ap]
		return ok
	}
	for _, a := range s.addrs {
		if a.Public == ap.Addr() {
			return len(s.live) > 0
		}
	}
	return false
}

// relaySocket enforces the peer policy and the bandwidth ceiling per packet, in
// both directions; pion asks about addresses only when a permission is made, and
// then without a port.
type relaySocket struct {
	*net.UDPConn
	owner   *sockets
	relayed netip.AddrPort
	in, out verdictCache
	close   func() error
}

// verdictCache remembers the last peer that was allowed: nearly all packets of an
// allocation go to the same one. Each direction has one goroutine. Addresses that
// are only allowed while somebody else's allocation lives are not remembered.
type verdictCache struct {
	peer  netip.AddrPort
	limit *rate.Limiter
}

func newRelaySocket(s *sockets, conn *net.UDPConn, relayed netip.AddrPort) *relaySocket {
	r := &relaySocket{UDPConn: conn, owner: s, relayed: relayed}
	if s.maxBps > 0 { // a bucket of one second
		r.in.limit = rate.NewLimiter(rate.Limit(s.maxBps), s.maxBps)
		r.out.limit = rate.NewLimiter(rate.Limit(s.maxBps), s.maxBps)
	}
	r.close = sync.OnceValue(func() error {
		err := conn.Close()
		s.remove(relayed)
		return err
	})
	return r
}

func (r *relaySocket) admit(c *verdictCache, ap netip.AddrPort, n int) bool {
	ap = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	if ap != c.peer {
		switch {
		case r.owner.announced(ap):
		case r.owner.peers.Allow(ap):
			c.peer = ap
		default:
			r.owner.counters.refusedPeer.Add(1)
			return false
		}
	}
	if c.limit != nil && !c.limit.AllowN(now(), n) {
		r.owner.counters.overRate.Add(1)
		return false
	}
	return true
}

// WriteTo sends to a peer. What policy refuses is dropped silently, as a firewall
// would (RFC 8656 §11.2 knows no error for Send indications).
func (r *relaySocket) WriteTo(b []byte, to net.Addr) (int, error) {
	ua, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, net.InvalidAddrError("not a UDP address")
	}
	ap := ua.AddrPort()
	if !r.admit(&r.out, ap, len(b)) {
		return len(b), nil
	}
	r.owner.counters.toPeers.Add(uint64(len(b)))
	return r.WriteToUDPAddrPort(b, netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()))
}

// ReadFrom receives from peers that policy allows.
func (r *relaySocket) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, ap, err := r.ReadFromUDPAddrPort(b)
		if err != nil {
			return n, nil, err
		}
		if r.admit(&r.in, ap, n) {
			r.owner.counters.fromPeers.Add(uint64(n))
			return n, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())), nil
		}
	}
}

func (r *relaySocket) Close() error { return r.close() }
