package relay

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"

	"confab/extdisco/stun"
	"confab/internal/datagram"
)

// Bits of CHANGE-REQUEST (RFC 5780 §7.2).
const (
	changePort = 2
	changeIP   = 4
)

// paddingSize is what PADDING of an answer has: the usual MTU (RFC 5780 §7.6).
const paddingSize = 1500

// RFC 5780 lets a stranger have answers sent where no request came from, and long ones:
// only a source that has shown itself with a plain Binding within discoveryTime, and
// only so often a second (turn.md §7.1).
const (
	discoveryTime = 30 * time.Second
	discoveryRate = 5
)

// discovery remembers who has shown itself. It is a fixed table as that of a gate.
type discovery struct {
	rate *gate
	seed maphash.Seed
	seen [4096]atomic.Uint64 // a part of the hash in the high half, the second in the low
}

func newDiscovery() *discovery {
	return &discovery{rate: newGate(discoveryRate, 0), seed: maphash.MakeSeed()}
}

func (d *discovery) place(ip netip.Addr) (at *atomic.Uint64, tag uint64) {
	h := maphash.Comparable(d.seed, ip)
	return &d.seen[h%uint64(len(d.seen))], h &^ 0xffffffff
}

// shown notes a plain Binding.
func (d *discovery) shown(ip netip.Addr, now time.Time) {
	at, tag := d.place(ip)
	at.Store(tag | uint64(uint32(now.Unix())))
}

func (d *discovery) admit(ip netip.Addr, now time.Time) bool {
	at, tag := d.place(ip)
	v := at.Load()
	age := uint32(now.Unix()) - uint32(v)
	return v&^0xffffffff == tag && age <= uint32(discoveryTime/time.Second) && d.rate.admit(ip, now)
}

// binding answers a Binding request (RFC 8489 §7.3.1) and what RFC 5780 adds to it
// where it is offered: from another address or port, to another port, with padding.
func (q *request) binding() {
	s := q.server
	if !s.admit(s.bindings, q.from.Addr(), q.now) {
		return
	}
	s.counters.bindings.Add(1)
	if unknown := q.m.Unknown(nil); len(unknown) > 0 {
		q.start(stun.Error).AddError(stun.CodeUnknownAttribute)
		q.flight.build.AddUnknown(unknown)
		q.finish()
		return
	}
	change, _ := q.m.Uint32(stun.AttrChangeRequest)
	change &= changePort | changeIP
	port, hasPort := q.m.Get(stun.AttrResponsePort)
	padding := q.m.Has(stun.AttrPadding)
	discovers := q.udp != nil && q.udp.other.IsValid()
	if !discovers && (change != 0 || hasPort || padding) {
		if q.udp == nil {
			q.fail(stun.CodeBadRequest) // a stream has one way back only
			return
		}
		q.start(stun.Error).AddError(stun.CodeUnknownAttribute)
		q.flight.build.AddUnknown(q.discoveryAttributes())
		q.finish()
		return
	}
	if padding && hasPort || hasPort && len(port) < 2 {
		q.fail(stun.CodeBadRequest)
		return
	}
	if discovers {
		if change == 0 && !hasPort && !padding {
			s.discovery.shown(q.from.Addr(), q.now)
		} else if !s.discovery.admit(q.from.Addr(), q.now) {
			s.counters.overBudget.Add(1)
			return
		}
	}
	b := q.start(stun.Success)
	b.AddXORAddress(stun.AttrXORMappedAddress, q.from)
	if !discovers {
		q.finish()
		return
	}
	by := q.udp.alternate[change>>2&1][change>>1&1]
	b.AddAddress(stun.AttrResponseOrigin, s.public(by.addr))
	b.AddAddress(stun.AttrOtherAddress, q.udp.other)
	if padding {
		b.AddZeros(stun.AttrPadding, paddingSize)
	}
	to := q.from
	if hasPort {
		to = netip.AddrPortFrom(to.Addr(), uint16(port[0])<<8|uint16(port[1]))
	}
	if q.marked || s.policy().FingerprintAlways {
		b.Fingerprint()
	}
	q.answer(by, to)
}

// discoveryAttributes are those of RFC 5780 in the request.
func (q *request) discoveryAttributes() (out []uint16) {
	for _, kind := range []uint16{stun.AttrChangeRequest, stun.AttrResponsePort, stun.AttrPadding} {
		if q.m.Has(kind) {
			out = append(out, kind)
		}
	}
	return out
}

// destination is the address that an answer goes to.
func (q *request) destination(to netip.AddrPort) *datagram.Destination {
	if q.client != nil && q.client.addr == to {
		return q.client.dest
	}
	if q.leg.network() != "udp" {
		return nil
	}
	return datagram.NewDestination(to)
}

// openAlternates opens the second port of RFC 5780 on every address and tells the
// sockets of each other. It takes two addresses of a family.
func (s *Server) openAlternates() error {
	if s.cfg.AltPort == 0 {
		return nil
	}
	main := s.locals
	for six := range 2 {
		var first []*udpLocal
		for _, l := range main {
			if familyOf(l.addr.Addr()) == six {
				first = append(first, l)
			}
		}
		if len(first) < 2 {
			continue
		}
		second := make([]*udpLocal, len(first))
		for i, l := range first {
			var err error
			if second[i], err = s.openUDP(netip.AddrPortFrom(l.addr.Addr(), s.cfg.AltPort)); err != nil {
				return err
			}
		}
		for i := range first {
			j := (i + 1) % len(first) // the other address
			first[i].alternate = [2][2]*udpLocal{{first[i], second[i]}, {first[j], second[j]}}
			first[i].other = s.public(second[j].addr)
			second[i].alternate = [2][2]*udpLocal{{second[i], first[i]}, {second[j], first[j]}}
			second[i].other = s.public(first[j].addr)
		}
		s.log.Info("nat behaviour discovery open", "port", second[0].addr.Port(), "addresses", len(first))
	}
	return nil
}

// public is a listening address as clients see it.
func (s *Server) public(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(s.cfg.Public(ap.Addr()), ap.Port())
}
