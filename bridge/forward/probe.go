package forward

import (
	"encoding/binary"

	"confab/bridge/bwe"
	"confab/bridge/rtpx"
)

const (
	// probePeriod is how finely a probe is spread over its time.
	probePeriod = int64(2e6)
	// probeLeast is in how many packets a probe goes out at least.
	probeLeast = 3
	// probeTimeout ends a probe that could not be sent.
	probeTimeout = int64(500e6)
	// maxPadding is what one padding-only packet can carry (RFC 3550 §5.1).
	maxPadding = 255
	// paddingReach is how many of the newest packets of a stream are looked at for
	// some that fit.
	paddingReach = 64
	// maxBurst bounds the packets sent to one receiver at once as padding.
	maxBurst = 64

	// paddingTry is how long padding may fill the estimate without lifting it by
	// paddingGain before it rests, for paddingRest at first and twice as long with
	// every time it was in vain.
	paddingTry     = int64(3e9)
	paddingRest    = int64(5e9)
	maxPaddingRest = int64(40e9)
	paddingGain    = 1.1
)

// probe is a cluster of packets that is being sent, to measure whether the network
// carries more. Media that happens to go out meanwhile is part of it.
type probe struct {
	bwe.Probe
	on      bool
	since   int64
	bytes   int64
	packets int
}

// congested says that padding would do harm.
func congested(s *bwe.State) bool { return s.Usage == bwe.Overuse || s.Silent }

func (p *probe) sent(n int) {
	p.bytes += int64(n)
	p.packets++
}

// sendProbe sends what of a probe is due.
func (w *worker) sendProbe(eg *egress) (sent int) {
	p := &eg.link.probe
	elapsed := w.now - p.since
	if elapsed > probeTimeout {
		*p = probe{}
		return 0
	}
	size := int64(p.Bytes())
	// The first packet only starts the clock of the measurement.
	due := min(p.Rate*(elapsed+probePeriod)/8e9, size)
	sent = w.sendPaced(eg, due-p.bytes) // better than padding
	sent += w.fill(eg, due-p.bytes, max(1, size/int64(max(1, p.Packets))))
	// Large packets are fewer: to wait for more would stretch it, and measure less.
	if p.bytes >= size {
		for ; p.packets < min(p.Packets, probeLeast) && w.fill(eg, 1, 1) > 0; sent++ {
		}
		*p = probe{}
	}
	return sent
}

// padder is allocation probing (bridge.md §13.3): what is sent is filled up to the
// estimate, so that the estimate can grow, as long as the next better picture needs
// more than the estimate.
type padder struct {
	owed  int64 // bytes
	since int64 // when it began to fill, 0: it rests
	peak  int64 // the best estimate that it led to
	until int64 // until when it rests
	rest  int64 // how long it rested last
	next  int64 // what it is for
}

// rate is how much may be sent in all, 0 when there is nothing to find out.
func (p *padder) rate(estimate, sending, next int64, congested bool, now int64) int64 {
	if next > p.next*5/4 || next < p.next*3/4 {
		// Another picture is next: a new start.
		*p = padder{next: next, owed: p.owed}
	}
	if next == 0 || estimate >= next || estimate <= sending {
		p.owed, p.since = 0, 0
		return 0
	}
	if now < p.until {
		return 0
	}
	vain := congested
	switch {
	case p.since == 0:
		p.since, p.peak = now, max(p.peak, estimate)
	case float64(estimate) > float64(p.peak)*paddingGain:
		p.since, p.peak, p.rest = now, estimate, 0
	case now-p.since > paddingTry:
		vain = true
	}
	if vain {
		p.rest = min(max(2*p.rest, paddingRest), maxPaddingRest)
		p.until, p.since, p.owed = now+p.rest, 0, 0
		return 0
	}
	return min(estimate, next)
}

// sendPadding fills up what was sent since the last time.
func (w *worker) sendPadding(eg *egress, estimate, elapsed int64) int {
	l, b := &eg.link, &eg.ep.bw
	p := &l.pad
	state := l.est.State()
	rate := p.rate(estimate, b.sending.Load(), b.next.Load(), congested(&state), w.now)
	if rate == 0 || l.pace.waiting() || l.est.Hold(w.now) {
		return 0
	}
	// Frames come in bursts: what was too much is taken off for a while, what was
	// too little is not made up for.
	p.owed += rate*min(elapsed, int64(100e6))/8e9 - l.bytes
	p.owed = min(max(p.owed, -rate*2/10/8), rate*3/100/8)
	if p.owed < maxPadding {
		return 0
	}
	before := l.bytes
	sent := w.fill(eg, p.owed, p.owed)
	p.owed -= l.bytes - before
	return sent
}

// fill sends about n bytes that carry nothing new, in packets of at most limit: the
// newest packets of the stream that video went out on last, as retransmissions, which
// repairs what may have been lost of them; else padding. Decoders see neither:
// libwebrtc drops both below the decoder, and sends the same itself.
func (w *worker) fill(eg *egress, n, limit int64) (sent int) {
	l := &eg.link
	if n <= 0 || eg.sender == nil {
		return 0
	}
	w.filling = true
	defer func() { w.filling = false }()
	o := l.newest
	if o != nil && (o.rtx == nil || o.sub == nil || o.sub.gone.Load()) {
		o = nil
	}
	back := uint16(0)
	for n > 0 && sent < maxBurst {
		size := 0
		if o != nil && o.hist.ring != nil {
			for ; back < paddingReach && size == 0; back++ {
				h := o.hist.get(o.hist.head - back)
				if h == nil || int64(len(h.pkt.Bytes())) > min(n+maxPadding, limit+maxPadding) {
					continue
				}
				before := l.bytes
				if w.send(eg, o, h.st, h.pkt, &h.rw, h.first) {
					h.at = w.now
					size = int(l.bytes - before)
				}
			}
		}
		if size == 0 {
			size = w.sendDummy(eg, o, int(min(n, limit, maxPadding)))
		}
		if size == 0 {
			break
		}
		n -= int64(size)
		sent++
	}
	return sent
}

// sendDummy sends a packet of padding only: on the retransmission stream of o, where
// libwebrtc puts its own, or without one on the SSRC of our feedback, as JVB does; a
// gap in the numbers of media would stop decoders. It returns the packet's length.
func (w *worker) sendDummy(eg *egress, o *outStream, padding int) int {
	m := eg.ep.media.Load()
	padding = min(max(padding, 1), maxPadding)
	var pt uint8
	var seq uint16
	var ts, ssrc uint32
	if o != nil && o.rtx != nil && m.rtx[o.pt] != 0 {
		x := o.rtx
		x.last.seq++
		x.last.ts, x.lastAt, x.started, x.ended = o.last.ts, w.now, true, true
		pt, seq, ts, ssrc = m.rtx[o.pt], x.last.seq, o.last.ts, x.ssrc
	} else {
		if !m.anyVideo {
			return 0
		}
		eg.link.dummy++
		pt, seq, ts, ssrc = m.videoPT, eg.link.dummy, uint32(w.now/1e3*9/100), eg.ep.feedback
	}
	b := w.space()
	rtpx.PutHeader(b, pt, false, seq, ts, ssrc)
	b[0] |= 0x20
	x := &w.exts
	x.Reset()
	eg.transportSeq++
	binary.BigEndian.PutUint16(w.ext2[:], eg.transportSeq)
	x.Add(m.ext.TransportCC, w.ext2[:2])
	if o != nil && o.mid != nil {
		x.Add(m.ext.Mid, o.mid)
	}
	n, _ := x.Put(b)
	clear(b[n : n+padding])
	n += padding
	b[n-1] = byte(padding)
	if eg.sender.WriteRTP(w.batch, b[:n]) != nil {
		return 0
	}
	w.count(eg, n)
	eg.link.padding.bytes += int64(n)
	w.numbered(eg, eg.transportSeq, n)
	return n
}
