package forward

import (
	"confab/bridge/bwe"
	"confab/bridge/rtpx"
)

// Senders that negotiated goog-remb and no transport-wide feedback are told what their
// network carries in the old way (draft-alvestrand-rmcat-remb-03): we estimate it, out
// of when they say that packets left (abs-send-time) and when these arrived. The
// estimator is the one for receivers, which is told the sender's clock as if it were
// ours and gets feedback of our own.

// rembInterval separates the feedback that the estimator gets.
const rembInterval = int64(100e6)

// rembPause is after how long without packets the sender's clock is taken for a new
// one: it tells differences of up to 32 s.
const rembPause = int64(16e9)

// maxREMB is how many SSRCs a REMB names (bridge.md §8.4).
const maxREMB = 8

// incoming is the estimate of one sender's network. It is guarded by Endpoint.mu.
type incoming struct {
	est  *bwe.Estimator
	seen rtpx.TWCCRecorder
	seq  uint16
	buf  [rtpx.BufferSize]byte

	last  uint32 // abs-send-time, 24 bits
	sent  int64  // the same as time of ours
	next  int64  // when the estimator is to be told; 0 before the first packet
	heard int64  // when the newest packet arrived
}

// arrived notes a packet of n bytes that left when its sender says.
func (r *incoming) arrived(abs uint32, n int, now int64) {
	switch {
	case r.next == 0:
		r.sent, r.next = now, now+rembInterval
	case now-r.heard > rembPause:
		r.sent = now // how often its clock began anew nobody can tell
	default:
		// 6.18 fixed point seconds that begin anew every 64 s.
		r.sent += int64(int32(abs<<8-r.last<<8)>>8) * 1e9 >> 18
	}
	// Clocks differ and drift apart; no packet arrives before it left.
	r.last, r.sent, r.heard = abs, min(r.sent, now), now
	r.seq++
	r.est.Sent(r.seq, n, r.sent, 0)
	r.seen.Record(r.seq, now)
	if now < r.next {
		return
	}
	r.next = now + rembInterval
	for r.seen.Pending() {
		if p, _, ok := rtpx.NextRTCP(r.seen.Append(r.buf[:0], 0, 0)); ok {
			r.est.Feedback(&p, now)
		}
	}
	r.est.Tick(now) // it asks for probes, which nobody can send here
}

// recordSendTime notes the arrival of a packet for the estimate of its sender's
// network. ep.mu is held.
func (ep *Endpoint) recordSendTime(in *rtpx.Info, b []byte, m *mediaTable, now int64) {
	if !m.remb || m.ext.AbsSendTime == 0 {
		return
	}
	e, ok := in.Ext(b, m.ext.AbsSendTime)
	if !ok || len(e) < 3 {
		return
	}
	r := ep.in.remb
	if r == nil {
		r = &incoming{est: bwe.New(bwe.DefaultConfig())}
		ep.in.remb = r
	}
	r.arrived(uint32(e[0])<<16|uint32(e[1])<<8|uint32(e[2]), len(b), now)
}

// appendREMB appends what an endpoint's network carries, if that is how it wants to
// know. ep.mu is held.
func (ep *Endpoint) appendREMB(b []byte, now int64) []byte {
	r := ep.in.remb
	if r == nil || now-r.heard > int64(ep.p.e.cfg.ReportInterval) || !ep.media.Load().wantsREMB() {
		return b
	}
	var ssrcs [maxREMB]uint32
	n := 0
	for _, src := range *ep.sending.Load() {
		for _, st := range src.streams {
			if src.Kind == Video && n < len(ssrcs) {
				ssrcs[n] = st.SSRC
				n++
			}
		}
	}
	if n == 0 {
		return b
	}
	return rtpx.AppendREMB(b, ep.feedback, uint64(r.est.Estimate()), ssrcs[:n])
}

// wantsREMB says that REMB was negotiated, and nothing better.
func (m *mediaTable) wantsREMB() bool { return m.remb && !m.transportCC }
