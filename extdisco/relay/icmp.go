package relay

import (
	"crypto/rand"
	"encoding/binary"

	"confab/extdisco/stun"
	"confab/internal/datagram"
)

// faultBatch is how many faults of one socket are read at a time; the others wait for
// the next round.
const faultBatch = 16

// fail tells the client what ICMP says of what it has sent to peers.
func (l *loop) fail(r *relaySocket) {
	for range faultBatch {
		f, ok := l.faults.Next(r.socket)
		if !ok {
			return
		}
		r.fault(l.flight, f)
	}
}

// fault tells the client of one fault: by a Data indication with ICMP in place of DATA
// (RFC 8656 §11.5). It is about a peer that there is a permission for, or nobody's
// business.
func (r *relaySocket) fault(f *flight, e datagram.Fault) {
	a := r.allocation
	value, ok := icmpAttribute(e)
	if !ok || !e.To.IsValid() {
		return
	}
	if a.permitted(e.To, a.bindings.Load(), f.now) == nil {
		a.server.counters.unpermitted.Add(1)
		return
	}
	p := a.server.policy()
	if !a.in.take(len(value), p.MaxBps, f.now) || !a.server.in.take(len(value), p.TotalBps, f.now) {
		a.server.counters.overRate.Add(1)
		return
	}
	var id stun.ID
	_, _ = rand.Read(id[:])
	f.build.Start(stun.Data|stun.Indication, id)
	f.build.AddXORAddress(stun.AttrXORPeerAddress, e.To)
	f.build.Add(stun.AttrICMP, value[:])
	c := a.client.Load()
	c.leg.send(f, nil, f.keep(f.build.Bytes()), c.dest)
}

// Types of ICMP and of ICMPv6 that clients are told of (RFC 8656 §11.5).
const (
	icmpUnreachable, icmpFragmentation, icmpExceeded = 3, 4, 11 // RFC 792; the second is a code
	icmp6Unreachable, icmp6TooBig, icmp6Exceeded     = 1, 2, 3  // RFC 4443
)

// icmpAttribute is the value of ICMP (RFC 8656 §18.13): 16 bits reserved, 7 of the type, 9
// of the code, and 32 of the next hop's MTU, if the packet was too big.
func icmpAttribute(e datagram.Fault) (value [8]byte, ok bool) {
	big := false
	switch six := e.To.Addr().Is6(); {
	case six && e.Type == icmp6TooBig, !six && e.Type == icmpUnreachable && e.Code == icmpFragmentation:
		big = true
	case six && (e.Type == icmp6Unreachable || e.Type == icmp6Exceeded), !six && (e.Type == icmpUnreachable || e.Type == icmpExceeded):
	default:
		return value, false
	}
	binary.BigEndian.PutUint16(value[2:], uint16(e.Type)<<9|uint16(e.Code))
	if big {
		binary.BigEndian.PutUint32(value[4:], e.MTU)
	}
	return value, true
}
