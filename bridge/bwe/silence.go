package bwe

const (
	silenceLeast = 600 * ms // browsers send feedback every 50 to 250 ms
	silenceStep  = 300 * ms
	silenceCut   = 0.5
	silenceLong  = 2 * sec // after this the old estimate is not believed any more
)

// silence lowers the estimate when nothing is heard of packets that were sent:
// the link, or the way back, is dead (libwebrtc: RTT-based backoff).
type silence struct {
	since int64 // first packet sent since feedback came, 0: none
	cut   float64
	next  int64
}

func (s *silence) sent(now int64) {
	if s.since == 0 {
		s.since = max(now, 1)
	}
}

func (s *silence) heard(now int64) { *s = silence{} }

func (s *silence) silent() bool { return s.cut != 0 }

// long says that the silence was no mere stall.
func (s *silence) long(now int64) bool { return s.cut != 0 && now-s.since > silenceLong }

// factor is the part of the estimate that is left.
func (s *silence) factor() float64 {
	if s.cut == 0 {
		return 1
	}
	return s.cut
}

// tick says whether the factor changed.
func (s *silence) tick(now, rtt int64) bool {
	if s.since == 0 {
		return false
	}
	if s.cut == 0 {
		s.next = s.since + max(silenceLeast, 2*min(rtt, 2*sec)+silenceStep)
	}
	if now < s.next {
		return false
	}
	s.next = now + silenceStep
	s.cut = max(s.factor()*silenceCut, 1e-6)
	return true
}
