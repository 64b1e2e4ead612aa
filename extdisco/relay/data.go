package relay

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"

	"confab/extdisco/stun"
)

// What comes with every packet of media: no allocation, no lock.

// channelData relays ChannelData of a client (RFC 8656 §12.6).
func (s *Server) channelData(f *flight, c *client, b []byte) {
	number, data, ok := stun.ParseChannelData(b)
	if !ok {
		s.counters.garbage.Add(1)
		return
	}
	a := s.allocationOf(c)
	if a == nil {
		s.counters.unallocated.Add(1)
		return
	}
	p := a.bound(number, f.now)
	if p == nil {
		s.counters.unbound.Add(1)
		return
	}
	a.send(f, p, data)
}

// sendIndication relays the data of a Send indication (RFC 8656 §11.2). Whatever is
// wrong with it, there is no answer.
func (s *Server) sendIndication(f *flight, c *client, m stun.Message) {
	a := s.allocationOf(c)
	if a == nil {
		s.counters.unallocated.Add(1)
		return
	}
	value, _ := m.Get(stun.AttrXORPeerAddress)
	addr, ok := m.Address(value)
	data, has := m.Get(stun.AttrData)
	if !ok || !has || len(m.Unknown(nil)) > 0 {
		s.counters.garbage.Add(1)
		return
	}
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	p := a.lastSent.Load()
	if p == nil || p.addr != addr || p.permission.expires.Load() <= f.now {
		b := a.bindings.Load()
		if p = a.permitted(addr, b, f.now); p == nil {
			s.counters.unpermitted.Add(1)
			return
		}
		a.remember(&a.lastSent, p, b)
	}
	a.send(f, p, data)
}

// allocationOf is the allocation that a client has.
func (s *Server) allocationOf(c *client) *allocation {
	if c == nil {
		return nil
	}
	a := c.held.Load()
	if a != nil && a.next.Load() == c {
		a.arrived(c)
	}
	return a
}

// send sends data to a peer.
func (a *allocation) send(f *flight, p *peer, data []byte) {
	s := a.server
	r := a.relays[familyOf(p.addr.Addr())]
	switch {
	case r == nil:
		return
	case p.way == refused:
		s.counters.refusedPeer.Add(1)
		return
	case !a.out.take(len(data), s.policy().MaxBps, f.now) || !s.out.take(len(data), s.policy().TotalBps, f.now):
		s.counters.overRate.Add(1)
		return
	}
	switch p.way {
	case network:
		f.toPeer(r, data, p.dest)
	case ownBridge:
		s.cfg.Bridge.Deliver(data, r.relayed, p.addr)
	case ownRelay:
		// Both are here: a NAT in front of us might not even let it back in.
		to := p.live(s)
		if to == nil {
			s.counters.refusedPeer.Add(1)
			return
		}
		to.fromPeer(f, r.relayed, data)
	}
	a.packetsOut.Add(1)
	a.bytesOut.Add(uint64(len(data)))
}

// fromPeer takes what has come to a relayed address (RFC 8656 §11.3).
func (r *relaySocket) fromPeer(f *flight, src netip.AddrPort, data []byte) {
	a := r.allocation
	p := r.lastIn.Load()
	if p == nil || p.addr != src || p.permission.expires.Load() <= f.now {
		b := a.bindings.Load()
		if p = a.permitted(src, b, f.now); p == nil {
			a.server.counters.unpermitted.Add(1)
			return
		}
		a.remember(&r.lastIn, p, b)
	}
	if p.way == refused || p.way == ownRelay && p.live(a.server) == nil {
		a.server.counters.refusedPeer.Add(1)
		return
	}
	a.receive(f, p, data)
}

// live is the relayed address of another allocation that a peer is; nil if none has it
// now, so that it is just a port of ours.
func (p *peer) live(s *Server) *relaySocket {
	to := p.relay.Load()
	if to == nil || to.ended.Load() {
		if to = s.relayAt(p.addr); to != nil {
			p.relay.Store(to)
		}
	}
	return to
}

// receive hands data of a peer to the client: on its channel if it has one, else in a
// Data indication.
func (a *allocation) receive(f *flight, p *peer, data []byte) {
	s := a.server
	if !a.in.take(len(data), s.policy().MaxBps, f.now) || !s.in.take(len(data), s.policy().TotalBps, f.now) {
		s.counters.overRate.Add(1)
		return
	}
	c := a.client.Load()
	if p.channel != 0 && p.expires.Load() > f.now {
		head := stun.AppendChannelHeader(f.space(stun.ChannelHeaderSize)[:0], p.channel, len(data))
		c.leg.send(f, head, data, c.dest)
	} else {
		var id stun.ID
		binary.NativeEndian.PutUint64(id[:], rand.Uint64())
		binary.NativeEndian.PutUint32(id[8:], rand.Uint32())
		if !f.build.DataIndication(id, p.addr, len(data)) {
			s.counters.garbage.Add(1) // as large as only another client of ours can send
			return
		}
		head := f.build.Bytes()
		n := len(head) + len(data)
		b := f.space((n + 3) &^ 3)
		copy(b[copy(b, head):], data)
		clear(b[n:])
		c.leg.send(f, nil, b, c.dest)
	}
	a.packetsIn.Add(1)
	a.bytesIn.Add(uint64(len(data)))
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}
