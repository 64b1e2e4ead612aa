package bwe

const (
	flightSlack = 100 * ms // of the estimate may be under way beyond round trip and feedback
	flightLeast = 5_000    // bytes that always may be
	flightRTT   = 100 * ms // round trip while it is unknown
	backMost    = 250 * ms // the longest time between two feedbacks that counts as usual
	holdBegin   = 120 * ms // of what lies in the queue ends sending,
	holdEnd     = 20 * ms  // until no more than this does,
	holdWait    = 25 * ms  // if packets waited so long
	overdue     = 6_000    // bytes that should have been told of: then one late packet tells a rate
	holdMax     = 600 * ms // without feedback; then silence lowers the estimate
	holdRest    = 5 * sec  // without, when the queue is that of others
	runLeast    = 20 * ms  // of arrivals that waited for each other tell a rate
	runWindow   = 200 * ms
)

// flight is what was sent and not told of. A queue that grows fast holds what would
// tell of it: when a link falls to a twentieth the delay of what arrives grows far
// slower than the queue, and the receiver's next feedbacks say next to nothing. What
// they don't speak of says it (libwebrtc: congestion window pushback).
type flight struct {
	bytes int64 // sent behind the newest packet that was told of

	heardAt int64 // last feedback
	every   int64 // usual time between two feedbacks
	passed  int64 // when the newest packet that was told of left the bottleneck, at the earliest
	rate    float64
	full    bool  // what lies in the queue is to go away before more is sent
	most    int64 // the longest that it was meanwhile
	over    int64 // when it had, 0: that is known of packets sent since
	others  int64 // until when the queue is taken for that of others, as it had not
}

// sent notes a packet.
func (f *flight) sent(size int) { f.bytes += int64(size) }

// heard takes a feedback: bytes are still under way behind a packet that was sent at
// a time, and waited. rate is what arrives while the link is busy, 0: it is not.
func (f *flight) heard(bytes, sent, wait int64, rate float64, now int64) {
	if f.heardAt != 0 {
		gap := min(now-f.heardAt, backMost)
		if f.every == 0 {
			f.every = gap
		}
		f.every += (gap - f.every) / 8
	}
	f.heardAt, f.bytes = now, bytes
	f.passed, f.rate = sent+wait, rate
	if f.over != 0 && sent > f.over {
		if f.over = 0; wait > max(2*holdBegin, f.most*7/10) {
			f.others = now + holdRest
		}
	}
	switch left := f.backlog(now); {
	case now < f.others:
		f.full = false
	case rate <= 0 || left < holdEnd:
		f.full = false
	case wait > holdWait && left > holdBegin:
		if !f.full {
			f.full, f.most = true, 0
		}
		f.most = max(f.most, left)
	}
}

// backlog is for how long what is under way will keep the bottleneck busy from now
// on, if that is near us; it is less if it is far.
func (f *flight) backlog(now int64) int64 {
	if f.rate <= 0 {
		return 0
	}
	return int64(float64(f.bytes)*8e9/f.rate) - (now - f.passed)
}

// window is how many bytes may be under way at a rate.
func (f *flight) window(rate, rtt int64) int64 {
	if rtt == 0 {
		rtt = flightRTT
	}
	every := f.every
	if every == 0 {
		every = flightRTT // libwebrtc's receivers begin with so much
	}
	return max(rate/8*((rtt+every+flightSlack)/1e6)/1e3, flightLeast)
}

// hold says that nothing more is to be sent for now that need not be.
func (f *flight) hold(target, rtt, now int64) bool {
	if f.bytes == 0 && f.full {
		f.full, f.over = false, now
	}
	if f.bytes == 0 || now < f.others || f.heardAt != 0 && now-f.heardAt > holdMax+rtt {
		return false
	}
	if f.full && f.backlog(now) < holdEnd {
		f.full, f.over = false, now
	}
	return f.full || f.heardAt != 0 && f.bytes > f.window(target, rtt)
}
