package bwe

const (
	rembLossSpan = sec // reports are summed up so long
	rembLossLow  = 0.02
	rembLossHigh = 0.10
)

// remb is the estimate of a receiver that makes its own, less what loss takes off:
// below 2 % it may grow by 8 % a second, above 10 % it falls by half the loss
// (bridge.md §13.1, classic loss).
type remb struct {
	set            bool
	bps            float64
	cap            float64 // by loss, 0: none
	lost, expected int
	since          int64
}

func (r *remb) take(bps int64) { r.set, r.bps = true, float64(bps) }

func (r *remb) rate() float64 {
	if r.cap > 0 {
		return min(r.bps, r.cap)
	}
	return r.bps
}

func (r *remb) loss(lost, expected int, now int64, least float64) {
	if r.expected == 0 {
		r.since = now
	}
	r.lost += lost
	r.expected += expected
	if now-r.since < rembLossSpan || r.expected < 20 {
		return
	}
	part := float64(r.lost) / float64(r.expected)
	switch {
	case part > rembLossHigh:
		r.cap = max(r.rate()*(1-part/2), least)
	case part < rembLossLow && r.cap > 0:
		if r.cap *= 1 + increaseFactor; r.cap > r.bps {
			r.cap = 0
		}
	}
	r.lost, r.expected = 0, 0
}
