package relay

import (
	"encoding/binary"
	"hash/maphash"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

func now() time.Time { return time.Now() }

const (
	stunCookie      = 0x2112A442 // RFC 8489 §5
	bindingRequest  = 0x0001
	allocateRequest = 0x0003
)

// gate limits what a source can make the server answer before it has shown a
// credential. It is a fixed table: no memory grows with the number of spoofed
// sources (turn.md §8.2). Sources whose hashes collide share a budget.
type gate struct {
	seed    maphash.Seed
	perSec  uint32
	buckets [4096]atomic.Uint64 // window in the high half, count in the low
}

func newGate(perSec int) *gate {
	return &gate{seed: maphash.MakeSeed(), perSec: uint32(perSec)}
}

// admit counts one request of ip in the present second.
func (g *gate) admit(ip netip.Addr, t time.Time) bool {
	if g.perSec == 0 || ip.IsLoopback() {
		return true
	}
	if ip.Is6() { // a site has a /64
		p, _ := ip.Prefix(64)
		ip = p.Addr()
	}
	b := &g.buckets[maphash.Comparable(g.seed, ip)%uint64(len(g.buckets))]
	window := uint64(uint32(t.Unix())) << 32
	for {
		old := b.Load()
		next := old + 1
		if old&^0xffffffff != window {
			next = window | 1
		}
		if uint32(next) > g.perSec {
			return false
		}
		if b.CompareAndSwap(old, next) {
			return true
		}
	}
}

// intake looks at every message before pion does.
type intake struct {
	gate     *gate
	keys     *keyring
	counters *counters
}

// admit lets through what is STUN or ChannelData and within the budget of its
// source; the rest is dropped before any state or answer.
func (in *intake) admit(b []byte, src netip.Addr) bool {
	if !plausible(b) {
		in.counters.garbage.Add(1)
		return false
	}
	if b[0]&0xc0 != 0 {
		return true // ChannelData
	}
	switch binary.BigEndian.Uint16(b) {
	case bindingRequest, allocateRequest:
		if !in.gate.admit(src, now()) {
			in.counters.overBudget.Add(1)
			return false
		}
	}
	in.keys.learn(b)
	return true
}

// gatedConn is the UDP listener that pion reads.
type gatedConn struct {
	*net.UDPConn
	in *intake
}

func (c *gatedConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, ap, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return n, nil, err
		}
		ap = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
		if !c.in.admit(b[:n], ap.Addr()) {
			continue
		}
		return n, net.UDPAddrFromAddrPort(ap), nil
	}
}

// plausible reports whether b can be STUN with a cookie and a true length
// (RFC 8489 §5; RFC 3489 clients are gone) or ChannelData (RFC 8656 §12.4).
func plausible(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	length := int(binary.BigEndian.Uint16(b[2:]))
	switch b[0] >> 6 {
	case 0:
		return len(b) >= 20 && length%4 == 0 && len(b) == 20+length && binary.BigEndian.Uint32(b[4:]) == stunCookie
	case 1:
		return len(b) >= 4+length
	}
	return false
}
