package relay

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"confab/extdisco/stun"
	"confab/internal/datagram"
)

// allocation is RFC 8656 §3.2's. Requests change it under mu; the packet path reads
// what they have published through atomic loads.
type allocation struct {
	server   *Server
	number   uint64
	username string
	user     string // what quotas count
	key      []byte
	ends     time.Time // of the credential; zero: never
	began    time.Time
	request  stun.ID    // of its Allocate, for retransmissions
	source   netip.Addr // what quotas count
	loop     *loop

	client   atomic.Pointer[client]
	next     atomic.Pointer[client] // RFC 8016: takes over when it sends
	relays   [2]*relaySocket        // IPv4, IPv6
	tcp      *tcpRelay              // RFC 6062; nil: UDP
	expires  atomic.Int64           // the server's clock, ns
	bindings atomic.Pointer[bindings]
	lastOut  atomic.Pointer[peer] // of the ChannelData before
	lastSent atomic.Pointer[peer] // of the Send indication before

	in, out               bucket // from peers, to peers
	packetsIn, packetsOut atomic.Uint64
	bytesIn, bytesOut     atomic.Uint64

	mu        sync.Mutex
	ended     bool
	nextUntil time.Time
	granted   time.Duration
	token     []byte // RESERVATION-TOKEN of its Allocate

	// RFC 8016: its ticket, zero if it is not mobile, and the one before. They change
	// with both mu and the registry's lock held.
	ticket, former ticket
	formerUntil    time.Time
}

// relaySocket is a relayed transport address.
type relaySocket struct {
	allocation *allocation
	socket     *datagram.Socket
	ports      *ports
	relayed    netip.AddrPort // as announced
	ended      atomic.Bool
	lastIn     atomic.Pointer[peer] // of the packet before
}

// bindings is a snapshot of permissions and channels.
type bindings struct {
	permissions map[netip.Addr]*permission
	channels    map[uint16]*peer
	peers       map[netip.AddrPort]*peer // of channels
}

// permission is RFC 8656 §9's: for an address with all its ports.
type permission struct {
	expires atomic.Int64
	recent  [4]atomic.Pointer[peer] // without a channel
	turn    atomic.Uint32
}

// peer is a transport address on the far side.
type peer struct {
	addr       netip.AddrPort
	dest       *datagram.Destination
	way        way
	permission *permission
	channel    uint16       // 0: none
	expires    atomic.Int64 // of the channel
	relay      atomic.Pointer[relaySocket]
}

// way says how packets get to a peer.
type way uint8

const (
	refused   way = iota
	network       // through the relayed socket
	ownRelay      // it is in the range of our own relayed addresses: to the allocation that has it now
	ownBridge     // to the bridge in memory
)

// bound returns the peer of a channel, nil if it is not bound.
func (a *allocation) bound(number uint16, now int64) *peer {
	p := a.lastOut.Load()
	if p == nil || p.channel != number || p.expires.Load() <= now {
		b := a.bindings.Load()
		if p = b.channels[number]; p == nil || p.expires.Load() <= now {
			return nil
		}
		a.remember(&a.lastOut, p, b)
	}
	return p
}

// remember keeps a peer of b at hand for the next packet. Whoever replaces b first
// publishes what replaces it and then clears what is at hand; what was found in b and
// came to be stored after that is cleared here.
func (a *allocation) remember(last *atomic.Pointer[peer], p *peer, b *bindings) {
	last.Store(p)
	if a.bindings.Load() != b {
		last.Store(nil)
	}
}

// permitted returns the peer at an address that there is a permission for.
func (a *allocation) permitted(addr netip.AddrPort, b *bindings, now int64) *peer {
	perm := b.permissions[addr.Addr()]
	if perm == nil || perm.expires.Load() <= now {
		return nil
	}
	if p := b.peers[addr]; p != nil {
		return p
	}
	for i := range perm.recent {
		if p := perm.recent[i].Load(); p != nil && p.addr == addr {
			return p
		}
	}
	p := a.server.newPeer(addr, perm)
	perm.recent[perm.turn.Add(1)%uint32(len(perm.recent))].Store(p)
	return p
}

func (s *Server) newPeer(addr netip.AddrPort, perm *permission) *peer {
	p := &peer{addr: addr, dest: datagram.NewDestination(addr), permission: perm}
	switch {
	case s.cfg.Bridge != nil && s.cfg.Bridge.Local(addr):
		p.way = ownBridge
	case s.ownRelay(addr):
		p.way = ownRelay
	case s.policy().Peers.Allow(addr):
		p.way = network
	}
	return p
}

// ownRelay reports whether an address is of our own range and nothing else that this
// process announces.
func (s *Server) ownRelay(addr netip.AddrPort) bool {
	if s.policy().Peers.Announced != nil && s.policy().Peers.Announced(addr) {
		return false
	}
	p := s.portsAt(addr.Addr())
	return p != nil && p.contains(addr)
}

// permit gives or renews permissions for addresses; all or none (RFC 8656 §10.2).
// It reports whether there was room.
func (a *allocation) permit(addrs []netip.Addr, now int64) bool {
	next := a.bindings.Load()
	if slices.ContainsFunc(addrs, func(addr netip.Addr) bool { return next.permissions[addr] == nil }) {
		next = next.without(now)
	}
	for _, addr := range addrs {
		if next.permissions[addr] != nil {
			continue
		}
		if len(next.permissions) >= a.server.policy().Permissions {
			return false
		}
		next.permissions[addr] = &permission{}
	}
	for _, addr := range addrs {
		next.permissions[addr].expires.Store(now + int64(permissionLifetime))
	}
	a.bindings.Store(next)
	return true
}

// without copies b but for what has expired.
func (b *bindings) without(now int64) *bindings {
	c := &bindings{maps.Clone(b.permissions), maps.Clone(b.channels), maps.Clone(b.peers)}
	kept := map[netip.Addr]bool{}
	for number, p := range c.channels {
		if p.expires.Load() <= now {
			delete(c.channels, number)
			delete(c.peers, p.addr)
		} else {
			kept[p.addr.Addr()] = true
		}
	}
	for addr, p := range c.permissions {
		if p.expires.Load() <= now && !kept[addr] {
			delete(c.permissions, addr)
		}
	}
	return c
}

// bind binds a channel to a peer or renews that (RFC 8656 §12.2) and its permission.
// It returns the code of the error, or 0.
func (a *allocation) bind(number uint16, addr netip.AddrPort, now int64) int {
	b := a.bindings.Load()
	p, q := b.channels[number], b.peers[addr]
	if p != nil && p.expires.Load() <= now {
		p = nil
	}
	if q != nil && q.expires.Load() <= now {
		q = nil
	}
	switch {
	case p != q:
		return stun.CodeBadRequest // either is bound to another
	case p == nil && len(b.channels) >= a.server.policy().Channels:
		if b = b.without(now); len(b.channels) >= a.server.policy().Channels {
			return stun.CodeInsufficientCapacity
		}
		a.bindings.Store(b)
	}
	if !a.permit([]netip.Addr{addr.Addr()}, now) {
		return stun.CodeInsufficientCapacity
	}
	if p == nil {
		next := a.bindings.Load().without(now)
		p = a.server.newPeer(addr, next.permissions[addr.Addr()])
		p.channel = number
		next.channels[number], next.peers[addr] = p, p
		p.expires.Store(now + int64(channelLifetime))
		a.bindings.Store(next)
		for _, r := range a.relays {
			if r != nil {
				r.lastIn.Store(nil) // it may have been known without a channel
			}
		}
		return 0
	}
	p.expires.Store(now + int64(channelLifetime))
	return 0
}

// bucket is a token bucket of one second (as GCRA: the time up to which is paid).
type bucket struct{ paid atomic.Int64 }

// take pays for n bytes at a rate in bytes a second; 0 is no limit.
func (b *bucket) take(n, rate int, now int64) bool {
	if rate <= 0 {
		return true
	}
	cost := int64(n) * int64(time.Second) / int64(rate)
	for {
		old := b.paid.Load()
		next := max(old, now) + cost
		if next-now > int64(time.Second) {
			return false
		}
		if b.paid.CompareAndSwap(old, next) {
			return true
		}
	}
}
