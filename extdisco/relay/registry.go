package relay

import (
	"crypto/rand"
	"net/netip"
	"sync"
	"time"

	"confab/internal/datagram"
)

const (
	tokenSize = 8                // RFC 8656 §18.9
	tokenTime = 30 * time.Second // RFC 8656 §7.2
)

// registry is what allocations share: who has how many, and how they are found by
// anything but their client.
type registry struct {
	mu         sync.RWMutex
	live       map[*allocation]struct{}
	relayeds   map[netip.AddrPort]*relaySocket
	tcpRelayed map[netip.AddrPort]*tcpRelay // RFC 6062
	byUser     map[string]int
	byAddr     map[netip.Addr]int
	total      int
	created    uint64
	reserved   map[[tokenSize]byte]*reservation
	tickets    map[ticket]*allocation
}

// reservation is a port that was kept for a second allocation (RFC 8656 §7.2). It
// counts as one until it is redeemed.
type reservation struct {
	socket *datagram.Socket
	ports  *ports
	user   string
	source netip.Addr
	until  time.Time
}

func newRegistry() registry {
	return registry{live: map[*allocation]struct{}{}, relayeds: map[netip.AddrPort]*relaySocket{}, tcpRelayed: map[netip.AddrPort]*tcpRelay{}, byUser: map[string]int{},
		byAddr: map[netip.Addr]int{}, reserved: map[[tokenSize]byte]*reservation{}, tickets: map[ticket]*allocation{}}
}

// reserveQuota counts an allocation or a reservation that is being made. If it is one too
// many, room says whether others could still have one.
func (s *Server) reserveQuota(user string, source netip.Addr) (ok, room bool) {
	p := s.policy()
	s.mu.Lock()
	defer s.mu.Unlock()
	room = s.total < p.QuotaTotal
	if s.byUser[user] >= p.QuotaUser || s.byAddr[source] >= p.QuotaAddress || !room {
		return false, room
	}
	s.byUser[user]++
	s.byAddr[source]++
	s.total++
	return true, room
}

func (s *Server) releaseQuota(user string, source netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	decrement(s.byUser, user)
	decrement(s.byAddr, source)
	s.total--
}

// decrement counts down and forgets what has come to nothing.
func decrement[K comparable](m map[K]int, k K) {
	if m[k]--; m[k] <= 0 {
		delete(m, k)
	}
}

func (s *Server) add(a *allocation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.created++
	a.number = s.created
	s.live[a] = struct{}{}
	if a.tcp != nil {
		s.tcpRelayed[a.tcp.relayed] = a.tcp
	}
	for _, r := range a.relays {
		if r != nil {
			s.relayeds[r.relayed] = r
		}
	}
}

func (s *Server) allocations() []*allocation {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]*allocation, 0, len(s.live))
	for a := range s.live {
		out = append(out, a)
	}
	return out
}

// relayAt is the relayed address of a live allocation. It is known by its public
// address, and to peers behind the same NAT by the one it is bound to.
func (s *Server) relayAt(ap netip.AddrPort) *relaySocket {
	ap = s.relayed(ap)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.relayeds[ap]
}

// relaysAt reports whether there are relayed addresses at an address.
func (s *Server) relaysAt(a netip.Addr) bool {
	if s.portsAt(a) == nil {
		return false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.relayeds) > 0
}

// finish ends an allocation from elsewhere than a request of its own, unless it has
// ended already.
func (s *Server) finish(a *allocation, reason string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return false
	}
	s.end(a, reason)
	return true
}

// end ends an allocation. a.mu is held.
func (s *Server) end(a *allocation, reason string) {
	if a.ended {
		return
	}
	a.ended = true
	s.mu.Lock()
	delete(s.live, a)
	if a.tcp != nil {
		delete(s.tcpRelayed, a.tcp.relayed)
	}
	for _, r := range a.relays {
		if r != nil {
			delete(s.relayeds, r.relayed)
		}
	}
	s.forgetTickets(a)
	s.mu.Unlock()
	s.releaseQuota(a.user, a.source)
	c := a.client.Load()
	c.release(a)
	if next := a.next.Swap(nil); next != nil {
		next.release(a)
	}
	a.closeSockets()
	s.counters.ended(a)
	if !count(&s.summary.ends, endLines, s.cfg.Now(), time.Second) && !s.draining.Load() {
		s.counters.untold.Add(1)
		return
	}
	s.log.Info("allocation ended", "allocation", a.number, "reason", reason, "remote", c.addr, "transport", c.leg.network(),
		"relayed", a.relayed(), "id", a.user, "duration", s.cfg.Now().Sub(a.began).Round(time.Second),
		"packets_to_peers", a.packetsOut.Load(), "bytes_to_peers", a.bytesOut.Load(),
		"packets_from_peers", a.packetsIn.Load(), "bytes_from_peers", a.bytesIn.Load())
}

// endRelay ends one family of a dual allocation. a.mu is held; packets go on reading
// a.relays, so the entry stays and its socket is closed.
func (s *Server) endRelay(a *allocation, i int) {
	r := a.relays[i]
	if r.ended.Swap(true) {
		return
	}
	s.mu.Lock()
	delete(s.relayeds, r.relayed)
	s.mu.Unlock()
	a.loop.poller.Remove(r.socket)
	r.ports.close(r.socket)
}

// sweep ends what has expired of a loop's.
func (s *Server) sweep(l *loop) {
	now := l.flight.now
	for _, a := range s.allocations() {
		if a.loop != l || a.expires.Load() > now && a.next.Load() == nil {
			continue
		}
		s.expire(a, now)
	}
	for _, k := range l.listening() {
		k.forget()
	}
	if l.index == 0 {
		s.sweepShared(s.cfg.Now())
		s.summarize(s.cfg.Now())
	}
}

// expire ends an allocation that has not been refreshed, and a move that has not
// been made.
func (s *Server) expire(a *allocation, now int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.expires.Load() <= now {
		s.end(a, "expired")
	} else if next := a.next.Load(); next != nil && a.nextUntil.Before(s.cfg.Now()) {
		a.next.Store(nil)
		next.release(a)
	}
}

func (s *Server) sweepShared(now time.Time) {
	var done []*reservation
	s.mu.Lock()
	for token, r := range s.reserved {
		if !r.until.After(now) {
			delete(s.reserved, token)
			done = append(done, r)
		}
	}
	s.mu.Unlock()
	for _, r := range done {
		r.ports.close(r.socket)
		s.releaseQuota(r.user, r.source)
	}
}

// reserve keeps a socket for whoever shows the token.
func (s *Server) reserve(a *allocation, socket *datagram.Socket, p *ports) []byte {
	var token [tokenSize]byte
	_, _ = rand.Read(token[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved[token] = &reservation{socket, p, a.user, a.source, s.cfg.Now().Add(tokenTime)}
	return token[:]
}

// redeem takes the reservation of a token; nil if there is none.
func (s *Server) redeem(token []byte) *reservation {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := [tokenSize]byte(token)
	r := s.reserved[key]
	if r == nil || !r.until.After(s.cfg.Now()) {
		return nil
	}
	delete(s.reserved, key)
	return r
}

func (s *Server) dropReservations() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for token, r := range s.reserved {
		delete(s.reserved, token)
		_ = r.socket.Close()
	}
}
