package bwe

import (
	"testing"

	"confab/bridge/rtpx"
)

// camera is what Chromium makes of 720 lines, as test/net saw it.
func camera(b *bed) {
	b.layers = []int64{100_000, 157_000, 252_000, 370_000, 573_000, 750_000, 1_048_000, 1_567_000}
	b.keyBytes = []int{16_000, 16_000, 16_000, 30_000, 30_000, 61_000, 61_000, 61_000}
	b.want, b.current, b.pace, b.audio = steady(1_567_000), -1, 1.1, true
}

// TestDropHeld: when the link falls to a seventeenth, video stops before the queue is
// full, and goes on when the queue is gone.
func TestDropHeld(t *testing.T) {
	t.Parallel()
	for _, interval := range []int64{50 * ms, 100 * ms} {
		var longest, over, gap [2]int64 // with and without holding, of all phases
		for phase := range int64(10) {
			for i, noHold := range []bool{false, true} {
				from := 21*sec + phase*interval/10
				l := link{rate: dip(5_000_000, 300_000, from, from+20*sec), delay: 20 * ms, queue: 75_000, interval: interval}
				b := newBed(t, &l)
				camera(b)
				b.noHold = noHold
				b.trace(from - b.now)
				b.voice = b.voice[:0]
				for b.now < from+5*sec {
					b.run(10 * ms)
					wait := max(l.busy-b.now, 0)
					longest[i] = max(longest[i], wait)
					if wait > 150*ms {
						over[i] += ms // a tenth for each phase
					}
				}
				gap[i] += b.interruption(60*ms) / 10
				b.trace(5 * sec)
				b.mark()
				b.trace(10 * sec)
				if b.use() < 0.5 || b.wait(0.95) > 150*ms {
					t.Errorf("then %.2f of the link used, waiting for %d ms", b.use(), b.wait(0.95)/ms)
				}
			}
		}
		t.Logf("feedback every %d ms: queue of at most %d ms (without holding %d), above 150 ms for %d ms (%d), audio interrupted for %d ms (%d)",
			interval/ms, longest[0]/ms, longest[1]/ms, over[0]/ms, over[1]/ms, gap[0]/ms, gap[1]/ms)
		if longest[0] > 950*ms || over[0] > 1700*ms || gap[0] > 800*ms {
			t.Error("too much")
		}
	}
}

// TestStart: nothing is known of a link, and it is slow. Audio goes on; and a fast one
// is known at once all the same.
func TestStart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rate, delay int64
		most        int64 // queue
		known       int64 // when the best layer would be sent, 0: never
	}{
		{300_000, 20 * ms, 300 * ms, 0},
		{500_000, 20 * ms, 200 * ms, 0},
		{1_000_000, 20 * ms, 200 * ms, 0},
		{2_000_000, 100 * ms, 150 * ms, 1500 * ms},
		{5_000_000, 20 * ms, 100 * ms, 700 * ms},
		{50_000_000, 20 * ms, 100 * ms, 700 * ms},
	} {
		l := link{rate: steady(c.rate), delay: c.delay, queue: int(c.rate / 16)}
		b := newBed(t, &l)
		camera(b)
		begun, known, longest := b.now, int64(0), int64(0)
		for b.now < begun+4*sec {
			b.run(10 * ms)
			longest = max(longest, l.busy-b.now)
			if known == 0 && b.media() == 1_567_000 {
				known = b.now - begun
			}
		}
		gap := b.interruption(60 * ms)
		t.Logf("%d kbit/s: queue of %d ms, audio interrupted for %d ms, the best layer after %d ms, estimate of %d", c.rate/1000, longest/ms, gap/ms, known/ms, b.e.Estimate())
		if longest > c.most || gap >= 200*ms || c.known > 0 && (known == 0 || known > c.known) {
			t.Error("not so good")
		}
	}
}

// TestWrongBeginning: the first probe says five times what the link carries, as when
// a stalled receiver takes many packets at once. The first queue says better.
func TestWrongBeginning(t *testing.T) {
	t.Parallel()
	l := link{rate: steady(500_000), delay: 20 * ms, queue: 125_000, interval: 60 * ms}
	b := newBed(t, &l)
	camera(b)
	b.run(150 * ms)
	b.e.aimd.rate, b.e.target = 2_500_000, 2_500_000
	begun, longest, down := b.now, int64(0), int64(0)
	for b.now < begun+2*sec {
		b.run(10 * ms)
		longest = max(longest, l.busy-b.now)
		if down == 0 && b.e.aimd.rate < 600_000 {
			down = b.now - begun
		}
	}
	t.Logf("queue of %d ms, less believed after %d ms", longest/ms, down/ms)
	if longest > 900*ms || down == 0 || down > 250*ms {
		t.Error("too late")
	}
}

// TestRateAfterHolding: when the queue of a drop is gone, what goes on does so at what
// the link was seen to carry, not at what would empty a queue.
func TestRateAfterHolding(t *testing.T) {
	t.Parallel()
	from := 21*sec + 20*ms
	l := link{rate: dip(5_000_000, 300_000, from, from+20*sec), delay: 20 * ms, queue: 75_000, interval: 250 * ms}
	b := newBed(t, &l)
	camera(b)
	b.run(from - b.now)
	for !b.holds() && b.now < from+sec {
		b.run(ms)
	}
	held := b.now
	for b.holds() && b.now < from+5*sec {
		b.run(ms)
	}
	t.Logf("held after %d ms, for %d ms, then %d bit/s with a queue of %d ms", (held-from)/ms, (b.now-held)/ms, b.e.Estimate(), max(l.busy-b.now, 0)/ms)
	if e := b.e.Estimate(); b.now-held < 200*ms || e < 200_000 || e > 300_000 {
		t.Error("another rate")
	}
}

// TestProbeAfterDrop: a probe that was under way when less was believed does not put
// the next one off.
func TestProbeAfterDrop(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig()
	var p prober
	p.demand(5_000_000)
	now := sec
	ask := func() bool {
		_, ok := p.tick(now, cfg, 1_000_000, true, true)
		return ok
	}
	if !ask() {
		t.Fatal("no first probe")
	}
	now += 20 * sec // no result: failed
	ask()
	if now += 10 * sec; !ask() {
		t.Fatal("no later probe")
	}
	now += 500 * ms
	p.dropped(now)
	asked := false
	for range 12 {
		now += 100 * ms
		asked = asked || ask()
	}
	if !asked {
		t.Error("none within 1.2 s")
	}
}

// TestFirstFeedback: it tells of one packet, behind which others are under way on a long
// path, by a clock that is not ours. That says nothing of the link.
func TestFirstFeedback(t *testing.T) {
	t.Parallel()
	e := New(DefaultConfig())
	now := sec
	for seq := range uint16(8) {
		e.Sent(seq, 1200, now, 0)
		now += ms
	}
	var r rtpx.TWCCRecorder
	r.Record(0, now+3600*sec)
	p, _, ok := rtpx.NextRTCP(r.Append(nil, 1, 2))
	if !ok {
		t.Fatal("feedback of our own is not read")
	}
	now += 200 * ms
	e.Feedback(&p, now)
	if e.Estimate() < unproven || e.flight.full {
		t.Errorf("estimate of %d, full %v", e.Estimate(), e.flight.full)
	}
}
