package forward

import "confab/bridge/rtpx"

// reception keeps the statistics of one incoming stream for receiver reports
// (RFC 3550 §6.4.1, A.1, A.3, A.8).
type reception struct {
	u        rtpx.Unwrapper
	base     int64
	received int64

	expectedBefore, receivedBefore int64

	transit int64 // in units of the media clock
	jitter  int64 // scaled by 16

	lsr   uint32 // middle of the NTP time of the last sender report
	lsrAt int64
	any   bool
	fresh bool  // something arrived since the last report
	at    int64 // when the newest packet arrived

	active int64 // how long packets have come, since the last report

	expected, lost int64 // of the last report
}

// activeGap is how far apart the packets of a stream are at most that has not paused
// (JVB IncomingStatisticsTracker).
const activeGap = int64(1e9)

// note counts a packet that came the first time (no retransmission).
func (r *reception) note(seq uint16, ts uint32, now int64, clock uint32) {
	pos := r.u.Unwrap(seq)
	// RFC 3550 A.8: jitter is measured on the differences of transit times.
	transit := now/1000*int64(clock)/1e6 - int64(ts)
	if !r.any {
		r.base, r.any = pos, true
	} else {
		d := int64(int32(uint32(transit) - uint32(r.transit)))
		r.jitter += max(d, -d) - (r.jitter+8)>>4
		if apart := now - r.at; apart < activeGap {
			r.active += apart
		}
	}
	r.transit = transit
	r.at = now
	r.base = min(r.base, pos)
	r.received++
	r.fresh = true
}

// reportsApart is how far apart sender reports are taken: browsers send one or two
// a second, and each goes on to every receiver.
const reportsApart = int64(100e6)

// senderReport notes the clock of a sender report; false when it comes too early.
func (r *reception) senderReport(ntp uint64, now int64) bool {
	if r.lsrAt != 0 && now-r.lsrAt < reportsApart {
		return false
	}
	r.lsr, r.lsrAt = uint32(ntp>>16), now
	return true
}

// report makes the next reception report; ok is false if nothing came since the
// last one.
func (r *reception) report(ssrc uint32, now int64) (b rtpx.ReportBlock, ok bool) {
	if !r.fresh {
		return b, false
	}
	r.fresh = false
	high, _ := r.u.Last()
	expected := high - r.base + 1
	b = rtpx.ReportBlock{
		SSRC:    ssrc,
		Lost:    int32(min(max(expected-r.received, -1<<23), 1<<23-1)),
		Highest: uint32(high - 1<<16), // the unwrapper's line begins one cycle up
		Jitter:  uint32(r.jitter >> 4),
	}
	de, dr := expected-r.expectedBefore, r.received-r.receivedBefore
	r.expectedBefore, r.receivedBefore = expected, r.received
	r.expected, r.lost = max(de, 0), min(max(de-dr, 0), max(de, 0))
	if de > 0 && de > dr {
		b.Fraction = uint8(min((de-dr)<<8/de, 255))
	}
	if r.lsrAt != 0 {
		b.LSR = r.lsr
		b.DLSR = uint32((now - r.lsrAt) / 1000 * 65536 / 1e6)
	}
	return b, true
}
