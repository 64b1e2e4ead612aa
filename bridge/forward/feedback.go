package forward

import (
	"math/bits"

	"confab/bridge/rtpx"
)

// writeRTCP sends RTCP of our own.
func (eg *egress) writeRTCP(w *worker, b []byte) {
	if eg.sender == nil {
		return
	}
	n := copy(w.scratch[:], b)
	// A packet that cannot be sent is lost as any other.
	_ = eg.sender.WriteRTCP(w.batch, w.scratch[:n])
}

// senderReport takes a sender report of a stream and passes it to those who
// receive that very encoding.
func (w *worker) senderReport(st *stream, sr senderReport) {
	st.reports[w.index] = sr
	for _, b := range st.src.subs.Load().byWorker[w.index] {
		w.reportTo(b, st, sr)
	}
}

// reportTo sends a sender report to one receiver: NTP as it was, which keeps
// the streams of a sender in sync, timestamp and counters as the receiver sees
// them. Nothing is reported of a stream on which nothing was sent.
func (w *worker) reportTo(b *sub, st *stream, sr senderReport) {
	o, eg := b.out, &b.ep.eg
	if !sr.set || o == nil || !o.started || o.sub != b || b.addr.Load() != b.at || eg.sender == nil || b.gone.Load() {
		return
	}
	ts := sr.ts
	if b.proj != nil {
		if b.proj.cur != int(st.enc) {
			return
		}
		ts += b.proj.tsOff
	} else {
		ts += b.shift.ts
	}
	o.report, o.reportAt = uint32(sr.ntp>>16), w.now
	out := rtpx.AppendSR(w.scratch[:0], o.ssrc, rtpx.SenderInfo{NTP: sr.ntp, TS: ts, Packets: o.packets, Octets: o.octets})
	_ = eg.sender.WriteRTCP(w.batch, out)
}

// feedback takes RTCP that a receiver sent about what it gets.
func (w *worker) feedback(ep *Endpoint, b []byte) {
	eg := &ep.eg
	for {
		p, rest, ok := rtpx.NextRTCP(b)
		if !ok {
			return
		}
		b = rest
		switch {
		case p.Type == rtpx.TypeRR || p.Type == rtpx.TypeSR:
			for i := 0; ; i++ {
				r, ok := p.Report(i)
				if !ok {
					break
				}
				if o := eg.outs[r.SSRC]; o != nil {
					eg.received(w, o, &r)
					eg.lost(w, o, &r)
				}
			}
		case p.Is(rtpx.TypeRTPFB, rtpx.FormatNACK):
			if o := eg.outs[p.Media()]; o != nil && o.video {
				for i := 0; ; i++ {
					pid, mask, ok := p.NACK(i)
					if !ok {
						break
					}
					if !eg.asked.take(1+int64(bits.OnesCount16(mask)), maxNacked, maxNacked, w.now) {
						ep.stats.excess.Add(1)
						break
					}
					w.resend(eg, o, pid)
					for k := uint16(1); mask != 0; k, mask = k+1, mask>>1 {
						if mask&1 != 0 {
							w.resend(eg, o, pid+k)
						}
					}
				}
			}
		case p.Is(rtpx.TypeRTPFB, rtpx.FormatTWCC):
			eg.transportFeedback(w, &p)
		case p.Is(rtpx.TypePSFB, rtpx.FormatREMB):
			eg.remb(w, &p)
		case p.Is(rtpx.TypePSFB, rtpx.FormatPLI):
			w.keyframeFor(eg, p.Media())
		case p.Is(rtpx.TypePSFB, rtpx.FormatFIR):
			for i := 0; ; i++ {
				ssrc, _, ok := p.FIR(i)
				if !ok {
					break
				}
				w.keyframeFor(eg, ssrc)
			}
		}
	}
}

// keyframeFor passes a receiver's request on to who is behind the SSRC.
func (w *worker) keyframeFor(eg *egress, ssrc uint32) {
	o := eg.outs[ssrc]
	if o == nil || !o.video || o.sub == nil || o.sub.addr.Load() != o.sub.at || o.sub.gone.Load() || o.sub.target.Load() < 0 {
		return // nobody has it now
	}
	o.sub.asker.ask(o.sub.src, w.now)
}

// received learns the round-trip time from a reception report (RFC 3550 §6.4.1).
func (eg *egress) received(w *worker, o *outStream, r *rtpx.ReportBlock) {
	if r.LSR == 0 || r.LSR != o.report {
		return
	}
	rtt := w.now - o.reportAt - int64(r.DLSR)*int64(1e9)/65536
	if rtt <= 0 || rtt > int64(10e9) {
		return
	}
	if old := eg.ep.rtt.Load(); old > 0 {
		rtt = (7*old + rtt) / 8
	}
	eg.ep.rtt.Store(rtt)
	if l := &eg.link; l.est != nil {
		l.est.RTT(rtt, w.now)
	}
}
