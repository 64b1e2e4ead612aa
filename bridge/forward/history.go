package forward

import "confab/bridge/rtpx"

// history keeps what was sent on one outgoing stream, for retransmission: a
// ring by sequence number from tail to head. It retains the packets.
type history struct {
	ring       []sentPacket // nil until the first packet
	tail, head uint16       // oldest and newest number; valid with ring
}

// sentPacket is one entry.
type sentPacket struct {
	pkt   *rtpx.Packet // nil: empty
	st    *stream
	rw    rewrite
	first int64 // when it was sent first
	at    int64 // when it was sent last
}

// add keeps a packet. Numbers may come late, but not later than the ring is long.
func (h *history) add(pkt *rtpx.Packet, st *stream, rw rewrite, now int64, size int) {
	switch {
	case h.ring == nil:
		h.ring = make([]sentPacket, size)
		h.tail, h.head = rw.seq, rw.seq
	case rtpx.SeqNewer(rw.seq, h.head):
		if int(rw.seq-h.head) >= len(h.ring) {
			h.clear()
			h.tail = rw.seq
		} else {
			for s := h.head + 1; s != rw.seq; s++ {
				h.slot(s).drop() // not sent yet; whatever lies there is too old
			}
			if int(rw.seq-h.tail) >= len(h.ring) {
				h.tail = rw.seq - uint16(len(h.ring)) + 1
			}
		}
		h.head = rw.seq
	case int(h.head-rw.seq) >= len(h.ring):
		return
	case rtpx.SeqNewer(h.tail, rw.seq):
		h.tail = rw.seq
	}
	e := h.slot(rw.seq)
	e.drop()
	pkt.Retain()
	*e = sentPacket{pkt: pkt, st: st, rw: rw, first: now, at: now}
}

// get finds a packet, nil if it is not kept.
func (h *history) get(seq uint16) *sentPacket {
	if h.ring == nil {
		return nil
	}
	if e := h.slot(seq); e.pkt != nil && e.rw.seq == seq {
		return e
	}
	return nil
}

// expire lets packets go that were first sent before a time.
func (h *history) expire(before int64) {
	if h.ring == nil {
		return
	}
	for h.tail != h.head+1 {
		if e := h.slot(h.tail); e.pkt != nil && e.rw.seq == h.tail {
			if e.first >= before {
				return
			}
			e.drop()
		}
		h.tail++
	}
	h.tail = h.head // empty, but the numbers go on
}

// clear lets all packets go.
func (h *history) clear() {
	for i := range h.ring {
		h.ring[i].drop()
	}
}

func (h *history) slot(seq uint16) *sentPacket { return &h.ring[int(seq)%len(h.ring)] }

func (e *sentPacket) drop() {
	if e.pkt != nil {
		e.pkt.Release()
		*e = sentPacket{}
	}
}
