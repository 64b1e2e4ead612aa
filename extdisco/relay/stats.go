package relay

import (
	"cmp"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"confab/extdisco/stun"
)

type counters struct {
	panics                            atomic.Uint64
	bindings                          atomic.Uint64
	refusedPeer, overRate             atomic.Uint64 // packets
	unallocated, unbound, unpermitted atomic.Uint64 // packets
	garbage, overBudget               atomic.Uint64
	badCredential, overQuota          atomic.Uint64
	queueDrops                        atomic.Uint64 // packets to connections
	untold                            atomic.Uint64 // allocations whose end is not in the log
	codes                             [codes]atomic.Uint64
	endedPackets, endedBytes          [2]atomic.Uint64 // of allocations that are gone: to peers, from peers
}

// refusedCodes are the codes that are counted, in the order of counters.codes.
var refusedCodes = [codes]int{stun.CodeTryAlternate, stun.CodeBadRequest, stun.CodeUnauthorized, stun.CodeForbidden,
	stun.CodeMobilityForbidden, stun.CodeUnknownAttribute, stun.CodeAllocationMismatch, stun.CodeStaleNonce,
	stun.CodeFamilyNotSupported, stun.CodeWrongCredentials, stun.CodeUnsupportedTransport, stun.CodePeerFamilyMismatch,
	stun.CodeAllocationQuotaReached, stun.CodeInsufficientCapacity, stun.CodeConnectionExists, stun.CodeConnectionFailed}

const codes = 16

// refused counts an error response.
func (c *counters) refused(code int) {
	for i, k := range refusedCodes {
		if k == code {
			c.codes[i].Add(1)
		}
	}
}

// code is how many were refused with one.
func (c *counters) code(code int) uint64 { return c.codes[slices.Index(refusedCodes[:], code)].Load() }

// ended keeps the sums of an allocation.
func (c *counters) ended(a *allocation) {
	c.endedPackets[0].Add(a.packetsOut.Load())
	c.endedPackets[1].Add(a.packetsIn.Load())
	c.endedBytes[0].Add(a.bytesOut.Load())
	c.endedBytes[1].Add(a.bytesIn.Load())
}

// Stats is a snapshot of the relay's counters.
type Stats struct {
	Allocations int
	ByTransport map[string]int // live allocations by udp, tcp, tls, dtls
	Created     uint64
	Bindings    uint64

	PacketsToPeers, PacketsFromPeers uint64
	BytesToPeers, BytesFromPeers     uint64

	// Packets that were dropped: the peer is refused, over the bandwidth, no
	// allocation, no channel, no permission, the connection's queue is full.
	RefusedPeer, OverRate, Unallocated, Unbound, Unpermitted, QueueDrops uint64
	// Garbage is what is neither STUN nor ChannelData, OverBudget requests without an
	// answer.
	Garbage, OverBudget, BadCredential, OverQuota uint64
	Panics                                        uint64
	// Pending are the connections whose client has shown no credential.
	Pending int
	// Refused counts error responses by code.
	Refused map[int]uint64
}

// Stats is a snapshot of the counters.
func (s *Server) Stats() Stats {
	c := &s.counters
	st := Stats{ByTransport: map[string]int{}, Bindings: c.bindings.Load(),
		PacketsToPeers: c.endedPackets[0].Load(), PacketsFromPeers: c.endedPackets[1].Load(),
		BytesToPeers: c.endedBytes[0].Load(), BytesFromPeers: c.endedBytes[1].Load(),
		RefusedPeer: c.refusedPeer.Load(), OverRate: c.overRate.Load(), Unallocated: c.unallocated.Load(),
		Unbound: c.unbound.Load(), Unpermitted: c.unpermitted.Load(), QueueDrops: c.queueDrops.Load(),
		Garbage: c.garbage.Load(), OverBudget: c.overBudget.Load(), BadCredential: c.badCredential.Load(),
		OverQuota: c.overQuota.Load(), Panics: c.panics.Load(), Refused: map[int]uint64{}}
	for i, k := range refusedCodes {
		if n := c.codes[i].Load(); n > 0 {
			st.Refused[k] = n
		}
	}
	for _, ln := range s.cfg.DTLS {
		if l, ok := ln.(*dtlsListener); ok {
			st.OverBudget += l.Refused()
		}
	}
	st.Pending = s.lobby.size()
	s.mu.RLock()
	defer s.mu.RUnlock()
	st.Allocations, st.Created = len(s.live), s.created
	for a := range s.live {
		st.ByTransport[a.client.Load().leg.network()]++
		st.PacketsToPeers += a.packetsOut.Load()
		st.PacketsFromPeers += a.packetsIn.Load()
		st.BytesToPeers += a.bytesOut.Load()
		st.BytesFromPeers += a.bytesIn.Load()
	}
	return st
}

// Allocation describes a live allocation.
type Allocation struct {
	Number                           uint64
	User                             string // the credential's id
	Transport                        string // udp, tcp, tls, dtls
	Client, Server                   netip.AddrPort
	Relayed                          []netip.AddrPort
	Began, Expires                   time.Time
	Permissions, Channels            int
	PacketsToPeers, PacketsFromPeers uint64
	BytesToPeers, BytesFromPeers     uint64
}

// Allocations lists up to limit of the live ones in the order of their numbers, those
// after a number, and whether there are more.
func (s *Server) Allocations(after uint64, limit int) (list []Allocation, more bool) {
	live := slices.DeleteFunc(s.allocations(), func(a *allocation) bool { return a.number <= after })
	slices.SortFunc(live, func(a, b *allocation) int { return cmp.Compare(a.number, b.number) })
	if more = len(live) > limit; more {
		live = live[:limit]
	}
	list = make([]Allocation, len(live))
	for i, a := range live {
		list[i] = a.describe()
	}
	return list, more
}

func (a *allocation) describe() Allocation {
	c, b := a.client.Load(), a.bindings.Load()
	d := Allocation{Number: a.number, User: a.user, Transport: c.leg.network(), Client: c.addr, Server: c.leg.local(),
		Began: a.began, Expires: a.server.began.Add(time.Duration(a.expires.Load())), Permissions: len(b.permissions), Channels: len(b.channels),
		PacketsToPeers: a.packetsOut.Load(), PacketsFromPeers: a.packetsIn.Load(),
		BytesToPeers: a.bytesOut.Load(), BytesFromPeers: a.bytesIn.Load()}
	if a.tcp != nil {
		d.Relayed = append(d.Relayed, a.tcp.relayed)
	}
	for _, r := range a.relays {
		if r != nil && !r.ended.Load() {
			d.Relayed = append(d.Relayed, r.relayed)
		}
	}
	return d
}

// EndNumber ends the allocation with a number and reports whether there was one.
func (s *Server) EndNumber(number uint64, reason string) bool {
	live := s.allocations()
	i := slices.IndexFunc(live, func(a *allocation) bool { return a.number == number })
	return i >= 0 && s.finish(live[i], reason)
}

// Users counts the live allocations of each credential id.
func (s *Server) Users() map[string]int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := map[string]int{}
	for a := range s.live {
		out[a.user]++
	}
	return out
}

// EndUsers ends the allocations of the credential ids that match and returns how many.
func (s *Server) EndUsers(match func(user string) bool, reason string) (n int) {
	for _, a := range s.allocations() {
		if match(a.user) && s.finish(a, reason) {
			n++
		}
	}
	return n
}
