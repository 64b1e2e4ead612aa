package forward

import "confab/bridge/rtpx"

// requestKeyframe asks the owner for a key frame, at most once per
// KeyframeInterval for all who ask; false when it is too early. Any goroutine.
func (s *source) requestKeyframe(now int64) bool {
	cfg := &s.ep.p.e.cfg
	last := s.lastKeyframe.Load()
	if now-last < int64(cfg.KeyframeInterval) || !s.lastKeyframe.CompareAndSwap(last, now) {
		return false
	}
	// bridge.md §15: the request names the primary SSRC; browsers answer with
	// key frames on all encodings.
	ssrc := s.Encodings[0].SSRC
	pkt := cfg.Pool.Get()
	b := pkt.Space()[:0]
	if m := s.ep.media.Load(); m.pli || !m.fir {
		b = rtpx.AppendPLI(b, s.ep.feedback, ssrc)
	} else {
		b = rtpx.AppendFIR(b, s.ep.feedback, ssrc, uint8(s.firSeq.Add(1)))
	}
	pkt.SetLen(len(b))
	s.ep.stats.keyframes.Add(1)
	s.ep.sendRTCP(pkt)
	return true
}

// asker limits the key frame requests of one receiver for one source. Of the worker.
type asker struct {
	times [16]int64 // of the last requests, newest at next-1
	next  int
	n     int
}

// ask requests a key frame of src if that is within the receiver's limits. A
// wish that another receiver's request already covers costs nothing.
func (a *asker) ask(src *source, now int64) {
	cfg, size := &src.ep.p.e.cfg, len(a.times)
	limit := min(cfg.KeyframeMax, size)
	if a.n >= limit && now-a.times[(a.next+size-limit)%size] < int64(cfg.KeyframeWindow) {
		return
	}
	if !src.requestKeyframe(now) {
		return
	}
	a.times[a.next] = now
	a.next = (a.next + 1) % size
	a.n = min(a.n+1, size)
}
