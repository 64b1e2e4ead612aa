package forward

import "confab/bridge/rtpx"

// resend sends a packet again that the receiver misses, unless it was sent less
// than a round trip ago or the receiver's allowance is used up.
func (w *worker) resend(eg *egress, o *outStream, seq uint16) {
	if eg.sender == nil || eg.link.est != nil && eg.link.est.Hold(w.now) {
		return
	}
	h := o.hist.get(seq)
	if h == nil {
		w.fillGap(eg, o, seq)
		return
	}
	if b := o.sub; b != nil && b.proj != nil && b.proj.dead(seq) && !rtpx.SeqNewer(b.proj.firstOut, o.went.seq) {
		return // of the picture before a key frame that has gone out since
	}
	// JVB: at least min(0.9 RTT, RTT - 5 ms) since it was sent.
	rtt := eg.ep.rtt.Load()
	if rtt > 0 && w.now-h.at < min(rtt*9/10, rtt-int64(5e6)) || rtt == 0 && h.at != h.first && w.now-h.at < unknownRTT {
		return
	}
	if !eg.allow(len(h.pkt.Bytes()), w.now, eg.repairRate(w.e.cfg.RetransmitBitrate)) {
		return
	}
	if w.send(eg, o, h.st, h.pkt, &h.rw, h.first) {
		h.at = w.now
		w.retransmitted.Add(1)
		eg.ep.stats.retransmitted.Add(1)
	}
}

// unknownRTT separates two retransmissions of a packet while the round-trip time is
// not known.
const unknownRTT = int64(100e6)

// repairRate bounds retransmission: where packets are lost because there are too
// many of them, sending all again would lose yet more (bridge.md §22).
func (eg *egress) repairRate(most int64) int64 {
	if l := &eg.link; l.est != nil && l.answered {
		return min(most, max(l.est.Estimate()/4, leastRepair))
	}
	return most
}

// leastRepair is the bitrate that retransmission may have on any network.
const leastRepair = 40_000

// fillGap sends an empty packet under a number that the receiver misses but that
// will never be sent, so that it does not go on asking.
func (w *worker) fillGap(eg *egress, o *outStream, seq uint16) {
	if o.sub == nil || o.sub.proj == nil || !o.sub.proj.dead(seq) {
		return
	}
	h := o.hist.get(o.hist.head) // what is newer than that may wait for long
	if h == nil || !o.numbers.take(seq) {
		return
	}
	rw := rewrite{seq: seq, ts: o.went.ts, empty: true}
	if w.send(eg, o, h.st, h.pkt, &rw, 0) {
		codec := o.went.codec
		o.goes(&rw, w.now, &codec, true)
	}
}

// allow is a token bucket of half a second.
func (eg *egress) allow(n int, now, bps int64) bool {
	full := bps / 16
	if eg.tokensAt == 0 {
		eg.tokens = full
	} else {
		eg.tokens = min(full, eg.tokens+min(now-eg.tokensAt, int64(1e9))*(bps/8)/1e9)
	}
	eg.tokensAt = now
	if eg.tokens < int64(n) {
		return false
	}
	eg.tokens -= int64(n)
	return true
}
