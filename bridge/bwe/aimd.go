package bwe

import "math"

const (
	decreaseFactor = 0.85 // β of bridge.md §13.1
	decreaseLittle = 0.92 // while hardly anything waits
	increaseFactor = 0.08 // per second, far from the known capacity
	ackedHeadroom  = 1.25 // the estimate may rise to so much of what arrives
	ackedExtra     = 10_000
	defaultRTT     = 200 * ms
	overuseLong    = 600 * ms // then less is sent whatever the link was seen to carry
	leastAdditive  = 4_000    // bits/s per second
	packetBits     = 1200 * 8
)

// aimd is the delay-based estimate: it rises by a part, near the known capacity
// by a packet per round trip, and falls to a part of what arrives.
type aimd struct {
	rate      float64
	hold      bool  // after overuse and underuse, until it is normal again
	changed   int64 // last increase or decision not to
	decreased int64
	overused  int64 // since then, 0: not

	capacity, deviation float64 // of the link, from what arrived under overuse; kbit/s
}

func (a *aimd) reset(rate float64) { *a = aimd{rate: rate} }

// update takes what the trend says. acked is what arrives, carried what the link is
// known to carry, queued says that packets wait.
func (a *aimd) update(now int64, usage Usage, acked, carried float64, known bool, rtt int64, queued bool) {
	if rtt == 0 {
		rtt = defaultRTT
	}
	dt := min(now-a.changed, sec)
	if a.changed == 0 {
		dt = 0
	}
	a.changed = now
	switch usage {
	case Overuse:
		a.hold = true
		if a.overused == 0 {
			a.overused = now
		}
		if known && (now-a.decreased >= min(max(rtt, 10*ms), 200*ms) || carried < 0.5*a.rate) {
			if now-a.overused > overuseLong {
				carried = min(carried, a.rate)
				a.overused = now
			}
			a.decrease(now, carried, queued)
		}
	case Underuse:
		a.hold = true
		a.overused = 0
	case Normal:
		a.overused = 0
		if a.hold {
			a.hold = false
		} else if !queued {
			a.increase(dt, acked, known, rtt)
		}
	}
}

// decrease goes below what arrives, further with a long queue.
func (a *aimd) decrease(now int64, acked float64, queued bool) {
	to := decreaseFactor * acked
	if !queued {
		to = decreaseLittle * acked
	}
	if acked < a.lower() {
		a.capacity = 0
	}
	a.learn(acked)
	a.rate = min(a.rate, to)
	a.hold = true
	a.changed, a.decreased = now, now
}

func (a *aimd) increase(dt int64, acked float64, known bool, rtt int64) {
	if known && acked > a.upper() {
		a.capacity = 0
	}
	var by float64
	if a.capacity > 0 && a.rate > a.lower() {
		by = max(packetBits/(float64(rtt+100*ms)/1e9), leastAdditive) * float64(dt) / 1e9
	} else {
		by = a.rate * (math.Exp(math.Log1p(increaseFactor)*float64(dt)/1e9) - 1)
	}
	limit := a.rate
	if known {
		limit = ackedHeadroom*acked + ackedExtra
	}
	a.rate = max(a.rate, min(a.rate+by, limit))
}

// probed takes what a probe measured.
func (a *aimd) probed(bps float64, now int64) {
	if bps <= a.rate {
		return
	}
	if bps > a.upper() {
		a.capacity = 0
	}
	a.rate, a.changed = bps, now
}

// learn averages the capacity in kbit/s, with a deviation normed by its root.
func (a *aimd) learn(bps float64) {
	k := bps / 1000
	if a.capacity == 0 {
		a.capacity, a.deviation = k, 0.4
		return
	}
	const alpha = 0.05
	a.capacity = (1-alpha)*a.capacity + alpha*k
	d := a.capacity - k
	a.deviation = min(max((1-alpha)*a.deviation+alpha*d*d/max(a.capacity, 1), 0.4), 2.5)
}

// upper and lower bound what the link is taken to carry.
func (a *aimd) upper() float64 {
	if a.capacity == 0 {
		return math.Inf(1)
	}
	return 1000 * (a.capacity + 3*math.Sqrt(a.capacity*a.deviation))
}

func (a *aimd) lower() float64 {
	if a.capacity == 0 {
		return 0
	}
	return 1000 * max(a.capacity-3*math.Sqrt(a.capacity*a.deviation), 0)
}
