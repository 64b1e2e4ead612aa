package relay

import (
	"net/netip"
	"sync"
)

// lobby counts what is kept of clients that have shown no credential: connections, and
// DTLS handshakes. That is all that a stranger can have here for nothing, so it is
// bounded by address and in all (turn.md §8.2).
type lobby struct {
	perAddress, total int

	mu   sync.Mutex
	all  int
	each map[netip.Addr]int // by site
}

func newLobby(perAddress, total int) *lobby {
	return &lobby{perAddress: perAddress, total: total, each: map[netip.Addr]int{}}
}

// enter reports whether there is room for one more.
func (l *lobby) enter(ip netip.Addr) bool {
	ip = site(ip)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= l.total || l.each[ip] >= l.perAddress {
		return false
	}
	l.all++
	l.each[ip]++
	return true
}

// comeBack counts one that had left: whoever has shown a credential once is not put out.
func (l *lobby) comeBack(ip netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all++
	l.each[site(ip)]++
}

func (l *lobby) leave(ip netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	decrement(l.each, site(ip))
}

// size is how many are in it.
func (l *lobby) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all
}
