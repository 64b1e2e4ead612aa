// Package bwe estimates what the network to one receiver carries, from what that
// receiver reports about the packets it was sent: transport-wide feedback
// (draft-holmer-rmcat-transport-wide-cc-extensions-01), or REMB where only that
// was negotiated. The ideas are those of libwebrtc's GoogCC (bridge.md §13.1): a
// trend of the one-way delay, the loss, and probes that look for more.
//
// Rules of this package:
//   - An Estimator is pure: no goroutine, no clock, no lock. Whoever sends to the
//     receiver owns it. Times are nanoseconds of the packet clock, rates bits/s.
//   - Sent, Feedback and Tick allocate nothing, and an Estimator has a fixed size.
//   - What a receiver says is not believed, only used: it can make its own estimate
//     worse, or better up to Config.Max. Work per feedback and per second is bounded.
package bwe

import "confab/bridge/rtpx"

const (
	ms  = int64(1e6)
	sec = int64(1e9)
)

const (
	restAfter = 500 * ms // without packets a queue is taken to be gone
	undo      = 0.9      // of the rate at which a queue went away is believed
	stretched = 0.95     // of the rate sent: arriving slower makes a queue,

	// which is believed at once when it grows so fast and so little arrives, when it
	// goes on growing, or when it stays.
	severe       = 0.5
	severeGrowth = 0.5
	growFor      = 100 * ms
	growLong     = 300 * ms // when less was sent than was estimated anyway
	leastGrowth  = 0.1
	stayFor      = 500 * ms

	boundFor = 120 * sec // a bound that was met holds
)

// Config bounds an Estimator (deployment.md §15: bridge.start_bitrate and so on).
type Config struct {
	Start int64 // probed for before anything is known, bits/s
	Min   int64 // never below
	Max   int64 // never above
}

// unproven is what is assumed until a probe showed that Start is carried: on a slow
// link more is a queue of seconds at once. The first probe tells within a round trip.
const unproven = 300_000

// First is the estimate before anything is known.
func (c Config) First() int64 { return min(c.Start, max(unproven, c.Min)) }

// DefaultConfig has the values of a stock bridge (bridge.md §13.1).
func DefaultConfig() Config {
	return Config{Start: 2_500_000, Min: 30_000, Max: 20_000_000}
}

// Estimator is the estimate for one receiver.
type Estimator struct {
	cfg Config

	hist   history
	groups grouper
	trend  trendline
	queue  queue
	acked  throughput
	aimd   aimd
	loss   lossModel
	app    limited
	prober prober
	quiet  silence
	remb   remb
	flight flight

	clock   clock // of the receiver
	budget  budget
	rtt     int64
	least   int64   // the shortest round trip
	heard   int64   // newest number that feedback told of
	arrives float64 // bits/s, 0: unknown

	usage Usage // what the trend and the queue say together

	queued   bool    // packets wait
	unqueued float64 // the estimate before they did

	lastSent, lastNews, rested int64
	counts                     Counts
	started                    bool  // something was sent
	proven                     bool  // a probe had a result
	boundAt                    int64 // when the network showed last what it carries at most, 0: never
	target                     int64
}

// New makes an Estimator.
func New(cfg Config) *Estimator {
	def := DefaultConfig()
	if cfg.Start <= 0 {
		cfg.Start = def.Start
	}
	if cfg.Min <= 0 {
		cfg.Min = def.Min
	}
	if cfg.Max <= 0 {
		cfg.Max = def.Max
	}
	cfg.Max = max(cfg.Max, cfg.Min)
	cfg.Start = min(max(cfg.Start, cfg.Min), cfg.Max)
	e := &Estimator{cfg: cfg}
	e.restart(cfg.First())
	return e
}

// Reset forgets the path: packets take another one from now on (a new address of
// the receiver). The estimate goes on with the old one or the first, whichever is less.
func (e *Estimator) Reset(now int64) {
	e.restart(min(e.cfg.First(), max(e.target, e.cfg.Min)))
	e.quiet.heard(now)
}

// restart begins anew at a rate. What was sent stays known, so that late feedback
// is told from feedback about packets never sent, but is not measured again.
func (e *Estimator) restart(rate int64) {
	e.hist.forget()
	e.groups = grouper{}
	e.trend.reset()
	e.queue = queue{}
	e.acked.reset()
	e.aimd.reset(float64(rate))
	e.loss.reset(float64(rate))
	e.app = limited{}
	e.prober.reset()
	e.quiet = silence{}
	e.remb = remb{}
	e.flight = flight{}
	e.clock = clock{}
	e.rtt, e.least, e.arrives, e.usage = 0, 0, 0, Normal
	e.queued, e.unqueued, e.proven, e.boundAt = false, 0, false, 0
	e.target = rate
}

// Sent notes a packet with a transport-wide number. size is that of the RTP
// packet, probe the ID of the Probe that it belongs to, or 0. Call it with the
// time of the socket write.
func (e *Estimator) Sent(seq uint16, size int, now int64, probe int) {
	pos := e.hist.add(seq, size, now)
	if probe != 0 {
		e.prober.sent(probe, pos, now)
	}
	e.app.sent(size, now, e.target)
	e.quiet.sent(now)
	e.flight.sent(size)
	e.started, e.lastSent = true, now
}

// Feedback takes one transport-wide feedback packet.
func (e *Estimator) Feedback(p *rtpx.RTCP, now int64) {
	if !e.budget.take(now) {
		e.counts.Throttled++
		return
	}
	t, ok := p.TWCC()
	if !ok {
		e.counts.Malformed++
		return
	}
	first, known := e.hist.place(t.Base)
	if !known || first > e.hist.high {
		e.counts.Unsent++
		return
	}
	e.counts.Feedbacks++
	// Numbers that left the history say nothing any more.
	if low := e.hist.low(); first < low {
		t.Skip(int(min(low-first, 1<<16)))
		first = low
	}
	offset, jumped := e.clock.place(t.Reference, now)
	if jumped {
		// The receiver's clock is another one: delays from before mean nothing.
		e.groups, e.queue = grouper{}, queue{}
		e.trend.reset()
		e.acked.reset()
	}

	var news, latest int64 // packets heard of for the first time, the newest send time
	var wait int64         // of the newest of them
	for pos := first; ; pos++ {
		_, received, at, ok := t.Next()
		if !ok {
			break
		}
		if pos > e.hist.high {
			e.counts.Unsent++
			break
		}
		e.heard = max(e.heard, pos)
		h := e.hist.at(pos)
		if h.state == gone || h.state == arrived {
			if received && h.state == arrived {
				e.counts.Replayed++
			}
			continue
		}
		sent, size := e.hist.sent(h, now), int(h.size)
		if now-sent > maxAge {
			h.state = gone
			continue
		}
		if !received {
			if h.state != missing {
				h.state = missing
				e.loss.lost(sent, size)
			}
			continue
		}
		if h.state == missing {
			e.loss.found(size)
		}
		h.state = arrived
		arrival := offset + at*unit
		news++
		if sent >= latest {
			latest, wait = sent, e.queue.wait(arrival-sent)
		}
		e.loss.received(sent, size)
		e.acked.add(sent, arrival, size, e.queue.wait(arrival-sent))
		e.prober.received(pos, sent, arrival, size)
		e.queue.add(arrival-sent, arrival, size)
		if d, ok := e.groups.add(sent, arrival); ok {
			e.trend.add(d)
		}
	}
	if news == 0 {
		return
	}
	if e.quiet.long(now) {
		e.aimd.rate *= e.quiet.factor()
		e.prober.dropped(now)
	}
	e.quiet.heard(now)
	e.lastNews = now
	bytes, late := e.unheard(now)
	rate := e.acked.run()
	if rate == 0 && late > overdue {
		rate = e.acked.lone()
	}
	e.flight.heard(bytes, latest, wait, rate, now)
	if e.flight.full && rate < severe*e.aimd.rate && e.prober.young(now) {
		// What the first probe measured was wrong, or luck.
		e.aimd.decrease(now, rate, true)
		e.prober.dropped(now)
	}
	e.sampleRTT(now - latest)
	e.update(now, latest)
}

// update draws the conclusions of a feedback that told of packets up to one sent
// at latest.
func (e *Estimator) update(now, latest int64) {
	long, short := e.acked.of(ackedWindow), e.acked.of(recentWindow)
	acked := long.acked()
	known := acked > 0
	e.arrives = acked
	if e.queue.look(now, latest) {
		e.least = e.rtt
	}
	before := e.aimd.rate
	full := e.queue.congested()
	e.usage = e.trend.usage
	switch {
	case full:
		e.usage = Overuse
	case e.queue.none(before):
		// What the trend sees was jitter, or is over.
		e.usage = Normal
	case e.usage == Overuse && e.queue.falling():
		e.usage = Underuse
	}
	if !e.queued && e.queue.standing() >= calmQueue {
		e.queued, e.unqueued = true, before
	} else if e.queue.none(before) {
		if e.queued && e.queue.fell > 0 {
			// The queue went away faster than a slow link could have sent it.
			if r := min(e.unqueued, undo*e.queue.fell); r > before {
				e.aimd.rate, e.aimd.changed = r, now
				e.trend.reset()
			}
		}
		e.queued, e.queue.fell = false, 0
	}
	before = e.aimd.rate
	if full {
		// The link is full, so that what arrived of late is what it carries. Only if
		// that is what was sent the queue is that of others.
		in, out := short.in, short.out
		since, growth, grow := now-e.queue.since, e.queue.growth, growFor
		if e.app.limited {
			grow = growLong
		}
		if in > 0 && (in < severe*min(e.aimd.rate, e.app.rate()) && growth > severeGrowth ||
			in < stretched*out && (since >= grow && growth > leastGrowth && e.queue.peaked() || since >= stayFor)) {
			e.aimd.decrease(now, short.carried(in), true)
		}
		e.aimd.hold = true
	} else {
		// Where little was sent before, the short time tells better.
		carried := max(long.carried(acked), short.carried(short.acked()))
		e.aimd.update(now, e.usage, acked, carried, known, e.rtt, e.queue.standing() > calmQueue)
	}
	if e.aimd.rate < before {
		e.prober.dropped(now)
	}
	if e.usage == Overuse || e.flight.full || e.loss.limit() < e.aimd.rate {
		e.boundAt = now
	}
	if measured, ok := e.prober.result(now); ok {
		if e.prober.full {
			e.boundAt = now
		}
		if !e.proven && measured < e.aimd.rate {
			e.aimd.rate, e.aimd.changed = measured, now // better than nothing known
		} else if e.usage != Overuse {
			e.aimd.probed(measured, now)
			e.loss.probed(measured)
		}
		e.proven = true
	}
	e.loss.update(e.aimd.rate, acked, known && !e.app.limited, float64(e.cfg.Min), now)
	e.settle()
}

// settle makes the estimate of what its parts say.
func (e *Estimator) settle() {
	e.aimd.rate = min(max(e.aimd.rate, float64(e.cfg.Min)), float64(e.cfg.Max))
	r := min(e.aimd.rate, e.loss.limit())
	r *= e.quiet.factor()
	// Holding empties a queue better, and when it has, less need not be sent for that.
	if held := e.flight.full || e.flight.over != 0; !held || e.lastNews-e.queue.since > drainWait {
		r *= e.queue.drain(e.lastNews)
	}
	if e.remb.set {
		r = e.remb.rate()
	}
	e.target = min(max(int64(r), e.cfg.Min), e.cfg.Max)
}

// REMB takes a receiver's own estimate. It is for receivers that send no
// transport-wide feedback: then it is the estimate (bridge.md §13.1), less what
// reports of loss take off.
func (e *Estimator) REMB(bps int64, now int64) {
	e.remb.take(min(max(bps, e.cfg.Min), e.cfg.Max))
	e.quiet.heard(now)
	e.settle()
}

// Loss takes what reception reports say. Transport-wide feedback says it better;
// without that it lowers what REMB says.
func (e *Estimator) Loss(lost, expected int, now int64) {
	if !e.remb.set || expected <= 0 || lost < 0 {
		return
	}
	e.remb.loss(min(lost, expected), expected, now, float64(e.cfg.Min))
	e.settle()
}

// RTT takes a round-trip time that reception reports gave.
func (e *Estimator) RTT(rtt, now int64) { e.sampleRTT(rtt) }

func (e *Estimator) sampleRTT(rtt int64) {
	if rtt <= 0 || rtt > 60*sec {
		return
	}
	if e.rtt == 0 {
		e.rtt, e.least = rtt, rtt
	} else {
		e.rtt += (rtt - e.rtt) / 4
		e.least = min(e.least, rtt)
	}
}

// Demand says what the receiver is sent now and what it would be sent if the
// network allowed it. Nothing is probed for beyond that.
func (e *Estimator) Demand(sending, ideal int64, now int64) {
	e.prober.demand(ideal)
}

// Tick is to be called every 25 ms or so. It notices that feedback stopped, and
// says when to probe.
func (e *Estimator) Tick(now int64) (p Probe, ok bool) {
	if e.quiet.tick(now, e.rtt) {
		e.settle()
	}
	if now-e.lastNews > restAfter && now-e.lastSent > restAfter && !e.quiet.silent() && e.rested < e.lastNews {
		// Nothing was sent, so that nothing waits.
		e.rested = now
		e.groups = grouper{}
		e.trend.reset()
		e.queue.rest()
		e.usage = Normal
		e.settle()
	}
	e.app.idle(now, e.target)
	if e.remb.set || !e.started {
		return Probe{}, false
	}
	if e.quiet.silent() {
		return e.prober.knock(now, e.target, now-e.lastSent > restAfter)
	}
	calm := e.usage == Normal && e.queue.standing() < calmQueue && e.age(now) < e.least+probeAge
	return e.prober.tick(now, e.cfg, e.target, calm, e.arrives > 0 && e.queue.looks > 1)
}

// age is for how long the oldest packet waits that nothing is known of, though it
// may have arrived before others that are known of.
func (e *Estimator) age(now int64) int64 {
	if e.heard >= e.hist.high {
		return 0
	}
	p := e.hist.at(max(e.heard+1, e.hist.low()))
	if p.state != inflight {
		return 0
	}
	return now - e.hist.sent(p, now)
}

// unheard is the bytes of what was sent behind the newest packet that was told of, and
// those which a feedback that came without delay would have told of.
func (e *Estimator) unheard(now int64) (bytes, late int64) {
	for pos := max(e.heard+1, e.hist.low()); pos <= e.hist.high; pos++ {
		if p := e.hist.at(pos); p.state == inflight {
			bytes += int64(p.size)
			if now-e.hist.sent(p, now) > e.least+5*ms {
				late += int64(p.size)
			}
		}
	}
	return bytes, late
}

// Hold says that nothing more is to be sent for now but what cannot wait, as audio:
// so much is under way that it would only lie in a queue. It is over by itself.
func (e *Estimator) Hold(now int64) bool {
	if e.remb.set || e.queue.shared {
		return false // nothing is known, or others fill the queue whatever we do
	}
	return e.flight.hold(e.target, e.least, now)
}

// Estimate is what the network carries, bits/s.
func (e *Estimator) Estimate() int64 { return e.target }

// Free says that the network carries what it was asked to, and has not shown for long
// how much that is at most. What goes out faster than the estimate for a moment then
// does no harm.
func (e *Estimator) Free(now int64) bool {
	return e.proven && (e.boundAt == 0 || now-e.boundAt > boundFor)
}
