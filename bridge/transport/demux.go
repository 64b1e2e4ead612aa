package transport

// What happens to a datagram between the socket and its transport.
// RFC 7983 §7: the first byte tells STUN (0-3), DTLS (20-63) and RTP or RTCP
// (128-191) apart; RFC 5761 §4: RTCP has 192-223 in the second byte.

import (
	"net/netip"

	"confab/bridge/rtpx"
	"confab/internal/datagram"
)

// run is the reader goroutine of one socket.
func (s *Sockets) run(k *datagram.Socket, at *local) {
	r := newReader(k, s.cfg.Pool)
	defer r.close()
	for {
		n, err := r.read()
		if err != nil {
			return
		}
		now := s.cfg.Clock()
		for i := range n {
			age := r.age(i)
			p, src := r.take(i)
			if p == nil {
				s.drops.oversize.Add(1)
				continue
			}
			p.Arrived = now - age
			s.dispatch(p, src, at)
			p.Release()
		}
	}
}

// dispatch routes one datagram. Whoever keeps p retains it.
func (s *Sockets) dispatch(p *rtpx.Packet, src netip.AddrPort, at *local) {
	b := p.Bytes()
	switch first := b[0]; {
	case first >= 128 && first <= 191:
		if t := s.addrs.get(src); t != nil {
			t.media(p, src)
		} else {
			s.drops.strangers.Add(1)
		}
	case first <= 3:
		s.stun(p, src, at)
	case first >= 20 && first <= 63:
		t := s.addrs.get(src)
		if t == nil {
			s.drops.strangers.Add(1)
		} else if !t.pipe.push(p, src) {
			s.drops.queueFull.Add(1)
		}
	default:
		s.drops.garbage.Add(1)
	}
}

// stun routes requests by the ufrag in USERNAME and responses by transaction.
// Never by address: after an ICE restart two agents have the same address.
func (s *Sockets) stun(p *rtpx.Packet, src netip.AddrPort, at *local) {
	b := p.Bytes()
	kind, ok := stunType(b)
	if !ok {
		s.drops.garbage.Add(1)
		return
	}
	switch kind {
	case bindingRequest:
		s.mu.RLock()
		a := s.ufrags[string(stunUfrag(b))]
		s.mu.RUnlock()
		if a == nil {
			s.drops.unknownUfrag.Add(1)
			return
		}
		a.request(p, src, at)
	case bindingSuccess, bindingError:
		if a := s.transactions.finish(stunTransaction(b), src); a != nil {
			a.response(p, src, at, kind == bindingSuccess)
		} else {
			s.drops.strangers.Add(1)
		}
	default:
		s.drops.garbage.Add(1)
	}
}
