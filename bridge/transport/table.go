package transport

import (
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
)

// addrTable finds the transport of a source address. Reading takes no lock:
// each shard is a small map replaced as a whole when it changes.
type addrTable struct {
	shards [256]addrShard
}

type addrShard struct {
	mu sync.Mutex // held by writers
	m  atomic.Pointer[map[netip.AddrPort]*Transport]
}

func (a *addrTable) shard(addr netip.AddrPort) *addrShard {
	ip := addr.Addr().As16()
	port := addr.Port()
	// The last bytes of an address and the port differ most between clients.
	return &a.shards[ip[15]^ip[14]*3^ip[13]*5^ip[7]*7^byte(port)^byte(port>>8)]
}

func (a *addrTable) get(addr netip.AddrPort) *Transport {
	if m := a.shard(addr).m.Load(); m != nil {
		return (*m)[addr]
	}
	return nil
}

// claim gives addr to t and reports whether t has it now. An address that
// another transport holds changes hands only if take is set, which needs proof
// that t's client answers there: a forged source must not steal a neighbour's media.
func (a *addrTable) claim(addr netip.AddrPort, t *Transport, take bool) bool {
	s := a.shard(addr)
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.m.Load()
	m := map[netip.AddrPort]*Transport{}
	if old != nil {
		switch (*old)[addr] {
		case t:
			return true
		case nil:
		default:
			if !take {
				return false
			}
		}
		m = maps.Clone(*old)
	}
	m[addr] = t
	s.m.Store(&m)
	return true
}

// release removes addr if it still belongs to t.
func (a *addrTable) release(addr netip.AddrPort, t *Transport) {
	s := a.shard(addr)
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.m.Load()
	if old == nil || (*old)[addr] != t {
		return
	}
	m := maps.Clone(*old)
	delete(m, addr)
	s.m.Store(&m)
}

// size counts the addresses known.
func (a *addrTable) size() (n int) {
	for i := range a.shards {
		if m := a.shards[i].m.Load(); m != nil {
			n += len(*m)
		}
	}
	return n
}
