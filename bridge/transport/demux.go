package transport

// What happens to a datagram between the socket and its transport.
// RFC 7983 §7: the first byte tells STUN (0-3), DTLS (20-63) and RTP or RTCP
// (128-191) apart, and from TURN channels (64-79); RFC 5761 §4: RTCP has 192-223 in the second byte.

import (
	"net/netip"
	"sync/atomic"

	"confab/bridge/rtpx"
	"confab/internal/datagram"
)

// run is the reader goroutine of one socket.
func (s *Sockets) run(number int, k *datagram.Socket, at *local) {
	r := newReader(k, s.cfg.Pool)
	defer r.close()
	for {
		n, err := r.read()
		if err != nil {
			return
		}
		now := s.cfg.Clock()
		foreign, passed := s.foreign.Load(), false
		for i := range n {
			age := r.age(i)
			p, src := r.take(i)
			if p == nil {
				s.drops.oversize.Add(1)
				continue
			}
			p.Arrived = now - age
			if nobody := s.dispatch(p, src, at); nobody != nil {
				if foreign != nil {
					(*foreign).Datagram(number, p.Bytes(), src, at.addr)
					passed = true
				} else {
					nobody.Add(1)
				}
			}
			p.Release()
		}
		if passed {
			(*foreign).Flush(number)
		}
	}
}

// dispatch routes one datagram. Whoever keeps p retains it. If it may be somebody
// else's, it returns where it counts if it is nobody's.
func (s *Sockets) dispatch(p *rtpx.Packet, src netip.AddrPort, at *local) (nobody *atomic.Uint64) {
	b := p.Bytes()
	switch first := b[0]; {
	case first >= 128 && first <= 191:
		if t := s.addrs.get(src); t != nil {
			t.media(p, src)
		} else {
			s.drops.strangers.Add(1)
		}
	case first <= 3:
		return s.stun(p, src, at)
	case first >= 20 && first <= 63:
		t := s.addrs.get(src)
		if t == nil {
			s.drops.strangers.Add(1)
		} else if t.clear.Drops(b, p.Arrived) {
			s.drops.unauthenticated.Add(1)
		} else if !t.pipe.push(p, src) {
			s.drops.queueFull.Add(1)
		}
	case first >= 64 && first <= 127: // ChannelData; RFC 5766 §11 had channels up to 0x7fff, and nothing of ours begins so
		return &s.drops.garbage
	default:
		s.drops.garbage.Add(1)
	}
	return nil
}

// stun routes requests by the ufrag in USERNAME and responses by transaction.
// Never by address: after an ICE restart two agents have the same address. Other
// requests and indications may be somebody else's, as dispatch says.
func (s *Sockets) stun(p *rtpx.Packet, src netip.AddrPort, at *local) (nobody *atomic.Uint64) {
	b := p.Bytes()
	kind, ok := stunType(b)
	if !ok {
		s.drops.garbage.Add(1)
		return nil
	}
	switch kind {
	case bindingRequest:
		s.mu.RLock()
		a := s.ufrags[string(stunUfrag(b))]
		s.mu.RUnlock()
		if a == nil {
			return &s.drops.unknownUfrag
		}
		a.request(p, src, at)
	case bindingSuccess, bindingError:
		if a := s.transactions.finish(stunTransaction(b), src); a != nil {
			a.response(p, src, at, kind == bindingSuccess)
		} else {
			s.drops.strangers.Add(1)
		}
	default:
		if kind&stunResponse == 0 {
			return &s.drops.garbage
		}
		s.drops.garbage.Add(1)
	}
	return nil
}
