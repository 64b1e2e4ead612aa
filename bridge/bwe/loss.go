package bwe

import "math"

// Figures of bridge.md §13.1, and of libwebrtc where that is silent.
const (
	lossObservations = 15
	lossSpan         = 250 * ms // send time of an observation
	lossLeast        = 8        // packets of one, unless it takes a second
	lossFade         = 0.9      // weight of an observation against the one after it
	inherentStart    = 0.01
	inherentLeast    = 1e-3
	inherentOffset   = 0.05    // a link may lose so much at any rate,
	inherentBalance  = 100_000 // and at b bits/s another inherentBalance/b
	highPreference   = 0.2     // up to this loss the higher of two explanations wins
	preference       = 2e-4    // per kbit/s
	preferenceLog    = 2e-2
	rampUp           = 1.2      // of what arrives, while loss limits
	holdLeast        = 500 * ms // without a rise after a fall,
	holdMost         = 8 * sec  // and twice as long each time that the rise was in vain
	newtonSteps      = 3
	newtonSize       = 0.75
)

// observation is what became of the packets of a while.
type observation struct {
	packets, lost int
	rate          float64 // at which they were sent
}

// channel is a guess: above its bandwidth a link loses the excess, and below it a
// part that is inherent to it.
type channel struct {
	bandwidth, inherent float64
}

// lossModel finds the channel that explains best what was lost at which rate.
// Random loss that does not depend on the rate leaves the bandwidth alone; loss
// that comes and goes with the rate gives it (libwebrtc: LossBasedBweV2).
type lossModel struct {
	ring [lossObservations]observation
	n    int

	packets, missing, bytes int // of the observation that is being made
	first, last             int64

	best    channel
	limits  bool    // less than the delay allows
	held    int64   // until when it must not rise
	hold    int64   // for how long the last time
	free    int64   // observations since loss limited
	average float64 // loss, weighted
}

func (l *lossModel) reset(rate float64) {
	*l = lossModel{best: channel{rate, inherentStart}}
}

func (l *lossModel) lost(sent int64, size int) {
	l.note(sent, size)
	l.missing++
}

func (l *lossModel) received(sent int64, size int) { l.note(sent, size) }

func (l *lossModel) note(sent int64, size int) {
	if l.packets == 0 {
		l.first, l.last = sent, sent
	}
	l.first, l.last = min(l.first, sent), max(l.last, sent)
	l.packets++
	l.bytes += size
}

// found takes back that a packet was lost, as it was late only. received follows.
func (l *lossModel) found(size int) {
	switch o := &l.ring[(l.n+lossObservations-1)%lossObservations]; {
	case l.missing > 0:
		l.missing--
		l.packets--
		l.bytes -= size
	case l.n > 0 && o.lost > 0:
		o.lost--
		o.packets--
	}
}

// limit is what loss allows, bits/s.
func (l *lossModel) limit() float64 {
	if !l.limits {
		return math.Inf(1)
	}
	return l.best.bandwidth
}

func (l *lossModel) ratio() float64    { return l.average }
func (l *lossModel) inherent() float64 { return l.best.inherent }

// probed takes what a probe measured: that much is known to pass.
func (l *lossModel) probed(bps float64) {
	if l.limits && bps > l.best.bandwidth {
		l.best.bandwidth = bps
	}
}

// update makes an observation if it is time, and says whether the limit changed.
// delay is what the delay allows, acked what arrives where the network limits it.
func (l *lossModel) update(delay, acked float64, known bool, least float64, now int64) bool {
	span := l.last - l.first
	if span < lossSpan || l.packets < lossLeast && span < 4*lossSpan {
		return false
	}
	l.ring[l.n%lossObservations] = observation{l.packets, l.missing, float64(l.bytes) * 8e9 / float64(span)}
	l.n++
	l.packets, l.missing, l.bytes = 0, 0, 0
	l.weigh()

	cur := l.best
	if !l.limits {
		cur.bandwidth = delay
	}
	// More than so much cannot be with the loss there is.
	bound := math.Inf(1)
	if over := l.average - inherentOffset; over > 0 {
		bound = inherentBalance / over
	}
	best, top := cur, math.Inf(-1)
	try := func(bandwidth float64) {
		bandwidth = max(min(bandwidth, max(bound, cur.bandwidth*0.5)), least)
		c := channel{bandwidth, cur.inherent}
		for range newtonSteps {
			l.newton(&c)
		}
		if v := l.objective(c); v > top {
			best, top = c, v
		}
	}
	try(cur.bandwidth * 1.02)
	try(cur.bandwidth)
	try(cur.bandwidth * 0.95)
	if known {
		try(min(acked, cur.bandwidth))
	}
	try(delay)

	switch {
	case best.bandwidth < cur.bandwidth:
		if now >= l.held {
			l.hold = min(max(2*l.hold, holdLeast), holdMost)
		}
		l.held = now + l.hold
		if known {
			// Below what arrives there is no reason to go.
			best.bandwidth = max(best.bandwidth, min(acked*decreaseFactor, cur.bandwidth))
		}
	case best.bandwidth > cur.bandwidth && l.limits:
		up := cur.bandwidth
		if now >= l.held && known {
			up = max(up, rampUp*acked)
		} else if now >= l.held {
			up *= 1.02
		}
		best.bandwidth = min(best.bandwidth, up)
	}
	l.best = best
	if l.limits = best.bandwidth < delay*0.999; l.limits {
		l.free = 0
	} else if l.free++; l.free > lossObservations {
		l.hold = 0
	}
	return true
}

// weigh averages the loss of the observations.
func (l *lossModel) weigh() {
	var lost, packets float64
	l.each(func(w float64, o *observation) {
		lost += w * float64(o.lost)
		packets += w * float64(o.packets)
	})
	l.average = lost / max(packets, 1)
}

func (l *lossModel) each(f func(w float64, o *observation)) {
	w := 1.0
	for i := l.n - 1; i >= max(0, l.n-lossObservations); i-- {
		f(w, &l.ring[i%lossObservations])
		w *= lossFade
	}
}

// excess is the part of what is sent that is more than the bandwidth.
func (c channel) excess(rate float64) float64 {
	if rate <= c.bandwidth {
		return 0
	}
	return (rate - c.bandwidth) / rate
}

// most bounds the inherent loss: of a fast link we believe less.
func (c channel) most() float64 {
	return min(inherentOffset+inherentBalance/max(c.bandwidth, 1), 1)
}

// newton moves the inherent loss towards the most likely one.
func (l *lossModel) newton(c *channel) {
	c.inherent = min(max(c.inherent, inherentLeast), min(c.most(), 0.99))
	var d1, d2 float64
	l.each(func(w float64, o *observation) {
		e := c.excess(o.rate)
		p := c.inherent + (1-c.inherent)*e
		lost, got := float64(o.lost), float64(o.packets-o.lost)
		d1 += w * (lost*(1-e)/p - got/(1-c.inherent))
		d2 -= w * (lost*(1-e)*(1-e)/(p*p) + got/((1-c.inherent)*(1-c.inherent)))
	})
	if d2 < 0 {
		c.inherent = min(max(c.inherent-newtonSize*d1/d2, inherentLeast), min(c.most(), 0.99))
	}
}

// objective is how likely what was seen is, and a preference for the higher
// bandwidth while the loss is moderate.
func (l *lossModel) objective(c channel) float64 {
	bias := min(max((highPreference-l.average)/highPreference, -1), 1)
	k := c.bandwidth / 1000
	pull := bias * (preference*k + preferenceLog*math.Log(1+k))
	var v float64
	l.each(func(w float64, o *observation) {
		p := c.inherent + (1-c.inherent)*c.excess(o.rate)
		p = min(max(p, 1e-6), 1-1e-6)
		v += w * (float64(o.lost)*math.Log(p) + float64(o.packets-o.lost)*math.Log(1-p) + pull*float64(o.packets))
	})
	return v
}
