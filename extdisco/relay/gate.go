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
	window  time.Duration // whole seconds
	all     bool          // loopback is no exception
	each    atomic.Uint32
	total   atomic.Uint32 // of all sources; 0: no limit
	sum     atomic.Uint64
	buckets [4096]atomic.Uint64 // window in the high half, count in the low
}

func newGate(each, total int) *gate {
	g := &gate{seed: maphash.MakeSeed(), window: time.Second}
	g.limit(each, total)
	return g
}

// limit sets what is admitted of one source and of all in a window.
func (g *gate) limit(each, total int) {
	g.each.Store(uint32(each))
	g.total.Store(uint32(total))
}

// admit counts one request of ip in the present window.
func (g *gate) admit(ip netip.Addr, t time.Time) bool {
	if ip.IsLoopback() && !g.all {
		return true
	}
	return count(g.bucket(ip), g.each.Load(), t, g.window) && count(&g.sum, g.total.Load(), t, g.window)
}

// full reports whether admit would refuse ip, without counting.
func (g *gate) full(ip netip.Addr, t time.Time) bool {
	b, limit := g.bucket(ip).Load(), g.each.Load()
	return limit > 0 && b&^0xffffffff == windowOf(t, g.window) && uint32(b) >= limit
}

func (g *gate) bucket(ip netip.Addr) *atomic.Uint64 {
	return &g.buckets[maphash.Comparable(g.seed, site(ip))%uint64(len(g.buckets))]
}

// site is what bounds by address count: of IPv6 a /64, which one host may have all of.
func site(ip netip.Addr) netip.Addr {
	if ip.Is6() {
		p, _ := ip.Prefix(64)
		return p.Addr()
	}
	return ip
}

// windowOf numbers the windows, in the high half.
func windowOf(t time.Time, size time.Duration) uint64 {
	return uint64(uint32(t.Unix()/int64(size/time.Second))) << 32
}

// count adds one to the window of t unless it is full.
func count(b *atomic.Uint64, limit uint32, t time.Time, size time.Duration) bool {
	if limit == 0 {
		return true
	}
	window := windowOf(t, size)
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
