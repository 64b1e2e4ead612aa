package forward

import "confab/bridge/rtpx"

// Redundant audio (RFC 2198) goes as it is to receivers that negotiated it, and in
// its primary block to all others; what those would miss is taken out of the
// redundancy for them.

// arrivals remembers which of the newest 64 positions of a stream arrived.
type arrivals struct {
	high int64
	mask uint64 // bit i: high-i
	set  bool
}

// note notes a position; again says that it was noted before, or is so old that
// nobody knows.
func (a *arrivals) note(pos int64) (again bool) {
	if !a.set {
		*a = arrivals{high: pos, mask: ^uint64(0), set: true} // nothing before the first is missing
		return false
	}
	if ahead := pos - a.high; ahead > 0 {
		a.mask <<= min(ahead, 64)
		a.mask |= 1
		a.high = pos
		return false
	}
	back := a.high - pos
	if back >= 64 {
		return true
	}
	again = a.mask&(1<<back) != 0
	a.mask |= 1 << back
	return again
}

// has says whether a position arrived.
func (a *arrivals) has(pos int64) bool {
	back := a.high - pos
	return back < 0 || back >= 64 || a.mask&(1<<back) != 0
}

// maxRecovered is how far back losses are made good out of redundancy (JVB).
const maxRecovered = 2

// recover makes the packets that were lost before this one of redundant audio out
// of its redundancy, for receivers that cannot read that (bridge.md §16.5). pos is
// its position. ep.mu is held.
func (ep *Endpoint) recover(st *stream, pkt *rtpx.Packet, m *mediaTable, pos int64) {
	s := &st.in
	if s.arrivals.has(pos-1) && s.arrivals.has(pos-2) || pos != s.arrivals.high {
		return
	}
	in := &pkt.Info
	var red rtpx.RED
	if !red.Parse(in.Payload(pkt.Bytes())) {
		return
	}
	for back := maxRecovered; back > 0; back-- {
		if s.arrivals.has(pos - int64(back)) {
			continue
		}
		block, ok := red.Redundant(back)
		if !ok || !m.known[block.PT] || m.pt[block.PT].Kind != Audio || m.pt[block.PT].red {
			continue
		}
		n, ok := s.gaps.place(pos-int64(back), false)
		if !ok {
			continue
		}
		out := ep.p.e.cfg.Pool.Get()
		b := out.Space()
		rtpx.PutHeader(b, block.PT, false, in.Seq-uint16(back), in.TS-uint32(block.Offset), in.SSRC)
		out.SetLen(rtpx.HeaderSize + copy(b[rtpx.HeaderSize:], block.Data))
		out.Arrived = pkt.Arrived
		o := &out.Info
		*o = rtpx.Info{For: rtpx.ForPlain, Number: uint16(n), Codec: m.pt[block.PT].Codec, Start: true, End: true}
		if o.Parse(out.Bytes()) {
			s.arrivals.note(pos - int64(back)) // if it comes after all, it comes again
			ep.stats.recovered.Add(1)
			st.fanOut(out)
		}
		out.Release()
	}
}

// passes says whether an endpoint is among those a packet is for.
func (m *mediaTable) passes(a rtpx.Audience, strip bool) bool {
	reads := !strip && (m.red || !m.any)
	return a == rtpx.ForAll || reads == (a == rtpx.ForRED)
}
