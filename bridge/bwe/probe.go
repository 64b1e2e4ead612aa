package bwe

import "time"

// Probe asks for a burst of packets at a rate, to learn whether the network
// carries that: retransmissions or padding, tagged with ID in Sent, spread evenly
// over Duration. Media that goes out between them is measured with them.
type Probe struct {
	ID       int
	Rate     int64 // bits/s
	Packets  int   // at least
	Duration time.Duration
}

// Bytes is how much the probe is in all.
func (p Probe) Bytes() int { return int(p.Rate * int64(p.Duration) / 8e9) }

const (
	probePackets  = 5        // bridge.md §13.1
	probeSpan     = 15 * ms  // of a fast link
	probeMostSpan = 60 * ms  // of a slow one
	probeBytes    = 2500     // wanted at least, by a longer span
	probeTimeout  = sec      // until a result must have come
	probeScale    = 2.0      // of the estimate, later
	probeFurther  = 0.7      // of the rate measured: go on at once
	probeHeadroom = 1.25     // over what is wanted, as media is not even
	probeSoon     = sec      // after a drop
	probeEarly    = 500 * ms // between probes at first,
	probeFirst    = 5 * sec  // for so long
	probeYoung    = 2 * sec  // for so long the first results are no certainty
	probeLeast    = 2 * sec  // between probes that failed
	probeMost     = 4 * sec
	probeAge      = 300 * ms // over the round trip: older packets without news are no time to probe
	probeReceived = 0.8      // of packets and bytes, for a result
	probeTrust    = 0.9      // of a result that the network limited
	probeFull     = 0.9      // of the rate sent: below, the network limited it
	probeSkew     = 2.0      // arriving so much faster than sent is not believed
)

// cluster is a probe that is under way, with all that is sent meanwhile.
type cluster struct {
	id          int // 0: none
	rate        float64
	span        int64
	first, last int64 // numbers of the first and last packet that is of it
	asked       int64
	sent        int // packets of the probe
	got         int // packets that arrived, media included
	bytes       int

	sentFirst, sentLast     int64
	sizeFirst, sizeLast     int
	lastSize                int // of the packet that was sent last
	arriveFirst, arriveLast int64
}

// prober decides when to look for more, how much, and what came of it.
type prober struct {
	asked   int // probes so far; the ID of the newest
	want    float64
	cur     cluster
	started int64 // when the first probe was asked for, 0: not yet
	further float64
	next    int64 // not before
	wait    int64
	full    bool // the last one arrived slower than it was sent
}

func (p *prober) reset() {
	*p = prober{asked: p.asked, want: p.want}
}

// demand says what would be sent if it could.
func (p *prober) demand(ideal int64) { p.want = float64(ideal) * probeHeadroom }

// dropped makes the next probe come soon: the network may recover. One that is under
// way says nothing any more, and must not put that off.
func (p *prober) dropped(now int64) {
	p.cur = cluster{}
	p.further = 0
	p.wait = probeLeast
	p.next = now + probeSoon
}

// tick says whether to probe now. calm says that nothing is overused, known that
// something arrived.
func (p *prober) tick(now int64, cfg Config, target int64, calm, known bool) (Probe, bool) {
	if p.cur.id != 0 {
		if now-p.cur.asked < probeTimeout {
			return Probe{}, false
		}
		p.failed(now)
	}
	want := min(p.want, float64(cfg.Max))
	estimate := float64(target)
	if !calm || estimate >= want {
		if !calm {
			p.further = 0
		}
		return Probe{}, false
	}
	var rate float64
	switch {
	case p.started == 0:
		// Nothing is known yet: a few packets at the rate to start with do no harm.
		p.started = max(now, 1)
		rate = float64(cfg.Start)
	case p.further > 0:
		rate = p.further
	case known && now >= p.next:
		rate = probeScale * estimate
	default:
		return Probe{}, false
	}
	p.further = 0
	rate = min(rate, want)
	if rate <= estimate {
		return Probe{}, false
	}
	return p.ask(now, rate), true
}

// knock asks for a few packets while nothing is heard: idle says that nothing else
// is sent that could tell when the network is back.
func (p *prober) knock(now, target int64, idle bool) (Probe, bool) {
	if p.cur.id != 0 && now-p.cur.asked >= probeTimeout {
		p.failed(now)
	}
	if p.cur.id != 0 || !idle || now < p.next || p.want == 0 {
		return Probe{}, false
	}
	return p.ask(now, probeScale*float64(target)), true
}

// ask makes a probe.
func (p *prober) ask(now int64, rate float64) Probe {
	span := min(max(probeSpan, int64(probeBytes*8*1e9/rate)), probeMostSpan)
	p.asked++
	p.cur = cluster{id: p.asked, rate: rate, span: span, asked: now}
	return Probe{ID: p.asked, Rate: int64(rate), Packets: probePackets, Duration: time.Duration(span)}
}

// sent notes a packet of a probe.
func (p *prober) sent(id int, pos, now int64) {
	c := &p.cur
	if id != c.id || c.id == 0 {
		return
	}
	if c.sent == 0 {
		c.first = pos
	}
	c.last = pos
	c.sent++
}

// received takes the arrival of any packet.
func (p *prober) received(pos, sent, arrival int64, size int) {
	c := &p.cur
	if c.id == 0 || c.sent == 0 || pos < c.first || pos > c.last {
		return
	}
	if c.got == 0 {
		c.sentFirst, c.sentLast, c.arriveFirst, c.arriveLast = sent, sent, arrival, arrival
		c.sizeFirst, c.sizeLast = size, size
	}
	c.got++
	c.bytes += size
	if sent > c.sentLast {
		c.sentLast, c.sizeLast = sent, size
	}
	c.sentFirst = min(c.sentFirst, sent)
	if arrival < c.arriveFirst {
		c.arriveFirst, c.sizeFirst = arrival, size
	}
	c.arriveLast = max(c.arriveLast, arrival)
	c.lastSize = size
}

// result is what the probe measured, once enough of it arrived.
func (p *prober) result(now int64) (bps float64, ok bool) {
	c := &p.cur
	if c.id == 0 || c.sent < probePackets && now-c.asked < c.span || c.sent == 0 {
		return 0, false
	}
	all := int(c.last - c.first + 1)
	if float64(c.got) < probeReceived*float64(all) || float64(c.bytes) < probeReceived*c.rate*float64(c.span)/8e9 {
		return 0, false
	}
	in := c.arriveLast - c.arriveFirst
	out := c.sentLast - c.sentFirst
	rate := c.rate // of a burst that was not spread out
	if out >= c.span/2 {
		rate = float64(c.bytes-c.sizeLast) * 8e9 / float64(out)
	}
	measured := rate
	if in > 0 {
		measured = float64(c.bytes-c.sizeFirst) * 8e9 / float64(in)
	}
	if in <= 0 || measured > probeSkew*max(rate, c.rate) {
		p.failed(now)
		return 0, false
	}
	bps = min(measured, rate)
	if p.full = measured < probeFull*rate; p.full {
		bps = probeTrust * measured
	}
	goal := c.rate
	p.cur = cluster{}
	if bps < probeFurther*goal {
		p.delay(now)
		return bps, true
	}
	p.wait = 0
	p.next = now + probeLeast
	p.further = probeScale * bps
	return bps, true
}

// failed gives a probe up that had no result.
func (p *prober) failed(now int64) {
	p.cur = cluster{}
	p.further = 0
	p.delay(now)
}

// young says that little is known yet.
func (p *prober) young(now int64) bool { return now-p.started < probeYoung }

// delay makes the next probe come later and later.
func (p *prober) delay(now int64) {
	if p.wait = min(max(p.wait*3/2, probeLeast), probeMost); now-p.started < probeFirst {
		p.wait = probeEarly
	}
	p.next = now + p.wait
}
