package relay

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"
)

// gate limits what a source can make the server answer before it has shown a
// credential. It is a fixed table: no memory grows with the number of spoofed
// sources (turn.md §8.2). Sources whose hashes collide share a budget.
type gate struct {
	seed    maphash.Seed
	perSec  uint32
	total   uint32 // of all sources; 0: no limit
	sum     atomic.Uint64
	buckets [4096]atomic.Uint64 // window in the high half, count in the low
}

func newGate(perSec, total int) *gate {
	return &gate{seed: maphash.MakeSeed(), perSec: uint32(perSec), total: uint32(total)}
}

// admit counts one request of ip in the present second.
func (g *gate) admit(ip netip.Addr, t time.Time) bool {
	if ip.IsLoopback() {
		return true
	}
	b := &g.buckets[maphash.Comparable(g.seed, site(ip))%uint64(len(g.buckets))]
	return count(b, g.perSec, t) && count(&g.sum, g.total, t)
}

// site is what bounds by address count: of IPv6 a /64, which one host may have all of.
func site(ip netip.Addr) netip.Addr {
	if ip.Is6() {
		p, _ := ip.Prefix(64)
		return p.Addr()
	}
	return ip
}

// count adds one to the window of t unless it is full.
func count(b *atomic.Uint64, limit uint32, t time.Time) bool {
	if limit == 0 {
		return true
	}
	window := uint64(uint32(t.Unix())) << 32
	for {
		old := b.Load()
		next := old + 1
		if old&^0xffffffff != window {
			next = window | 1
		}
		if uint32(next) > limit {
			return false
		}
		if b.CompareAndSwap(old, next) {
			return true
		}
	}
}
