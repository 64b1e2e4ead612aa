package bwe

import (
	"os"
	"testing"
)

// trace runs and logs a line per 250 ms when BWE_TRACE is set.
func (b *bed) trace(d int64) {
	if os.Getenv("BWE_TRACE") == "" {
		b.run(d)
		return
	}
	for end := b.now + d; b.now < end; {
		b.run(250 * ms)
		s := b.e.State()
		b.Logf("%6.2f link %5d est %5d delay %5d loss %5d acked %5d %-8s queue %4d, really %4d ms, lost %.3f, inherent %.3f, rtt %3d, limited %v, probes %d",
			float64(b.now)/1e9, b.l.rate(b.now)/1000, s.Estimate/1000, s.Delay/1000, s.Loss/1000, s.Acked/1000, s.Usage,
			s.Queue.Milliseconds(), max(b.l.busy-b.now, 0)/ms, s.LossRatio, s.InherentLoss, s.RTT.Milliseconds(), s.Limited, s.Counts.Probes)
	}
}

// holds is a link that holds everything for d, again and again after every.
func holds(d, every int64) func(int64) int64 {
	return func(at int64) int64 {
		if at%every < d {
			return at - at%every + d
		}
		return 0
	}
}

// bursts of jitter up to most come every so often for length.
func bursts(every, length, most int64) func(int64) int64 {
	return func(now int64) int64 {
		if now%every < length {
			return most
		}
		return 0
	}
}

// dip drops to low between two times.
func dip(high, low, from, to int64) func(int64) int64 {
	return func(now int64) int64 {
		if now >= from && now < to {
			return low
		}
		return high
	}
}

func TestSteady(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		l    link
		use  float64 // of the link, at least
		wait int64   // in its queue, 95th percentile, at most
	}{
		{"500 kbit/s", link{rate: steady(500_000), delay: 20 * ms}, 0.85, 100 * ms},
		{"150 kbit/s", link{rate: steady(150_000), delay: 20 * ms, queue: 20_000}, 0.85, 200 * ms},
		{"2 Mbit/s, 200 ms", link{rate: steady(2_000_000), delay: 100 * ms}, 0.85, 100 * ms},
		{"2 Mbit/s, 20 ms", link{rate: steady(2_000_000), delay: 10 * ms}, 0.85, 100 * ms},
		{"8 Mbit/s", link{rate: steady(8_000_000), delay: 10 * ms}, 0.85, 100 * ms},
		{"5 % loss, 500 kbit/s", link{rate: steady(500_000), delay: 20 * ms, loss: 0.05}, 0.85, 100 * ms},
		{"5 % loss, 3 Mbit/s", link{rate: steady(3_000_000), delay: 20 * ms, loss: 0.05}, 0.85, 100 * ms},
		{"5 % loss, 8 Mbit/s", link{rate: steady(8_000_000), delay: 20 * ms, loss: 0.05}, 0.85, 100 * ms},
		{"10 % loss, 1 Mbit/s", link{rate: steady(1_000_000), delay: 20 * ms, loss: 0.1}, 0.8, 100 * ms},
		{"jitter of each packet", link{rate: steady(3_000_000), delay: 20 * ms, noise: 20 * ms}, 0.85, 150 * ms},
		{"bursts of 300 ms jitter", link{rate: steady(5_000_000), delay: 20 * ms, jitter: bursts(5*sec, 500*ms, 300*ms)}, 0.85, 150 * ms},
		{"held for 300 ms every 3 s", link{rate: steady(3_000_000), delay: 20 * ms, stall: holds(300*ms, 3*sec)}, 0.85, 150 * ms},
		{"held for 20 ms every 100 ms", link{rate: steady(3_000_000), delay: 20 * ms, stall: holds(20*ms, 100*ms)}, 0.85, 150 * ms},
		{"a queue of 50 ms", link{rate: steady(2_000_000), delay: 20 * ms, queue: 12_500}, 0.9, 100 * ms},
		{"a queue of 10 ms", link{rate: steady(2_000_000), delay: 20 * ms, queue: 15_000}, 0.8, 100 * ms},
		{"feedback lost", link{rate: steady(2_000_000), delay: 20 * ms, ackLoss: 0.2}, 0.85, 150 * ms},
		{"feedback seldom", link{rate: steady(2_000_000), delay: 20 * ms, interval: 250 * ms}, 0.85, 150 * ms},
		{"feedback often", link{rate: steady(2_000_000), delay: 20 * ms, interval: 30 * ms}, 0.85, 150 * ms},
		{"reordered", link{rate: steady(2_000_000), delay: 20 * ms, swap: 0.05}, 0.85, 150 * ms},
		{"others in the queue", link{rate: steady(3_000_000), delay: 20 * ms, cross: steady(1_000_000)}, 0.6, 150 * ms},
		{"others come and go", link{rate: steady(3_000_000), delay: 20 * ms, cross: dip(0, 2_000_000, 15*sec, 30*sec)}, 0.6, 500 * ms},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := c.l
			b := newBed(t, &l)
			b.trace(10 * sec)
			b.mark()
			b.trace(30 * sec)
			if b.use() < c.use {
				t.Errorf("%.0f %% of the link used", 100*b.use())
			}
			if b.wait(0.95) > c.wait {
				t.Errorf("packets wait for %d ms", b.wait(0.95)/ms)
			}
			t.Logf("use %.3f, wait p50 %d p95 %d max %d ms, lost %d of %d, held %d ms", b.use(), b.wait(0.5)/ms, b.wait(0.95)/ms, b.wait(1)/ms, b.lost, b.count, b.held/ms)
		})
	}
}

// until runs until the estimate is in a range and tells how long that took.
func (b *bed) until(low, high, most int64) int64 {
	start := b.now
	for b.now-start < most {
		b.trace(25 * ms)
		if e := b.e.Estimate(); e >= low && e <= high {
			break
		}
	}
	return b.now - start
}

// TestDrop lets 5 Mbit/s become 300 kbit/s for 20 s.
func TestDrop(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		queue  int
		delay  int64
		before int64 // the estimate, at least
	}{
		{"queue of 1 MB", 1 << 20, 20 * ms, 4_200_000},
		{"queue of 64 kB", 64 << 10, 20 * ms, 4_200_000},
		{"queue of 15 kB", 15_000, 20 * ms, 2_000_000},
		{"200 ms", 256 << 10, 100 * ms, 4_200_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := link{rate: dip(5_000_000, 300_000, 21*sec, 41*sec), delay: c.delay, queue: c.queue}
			b := newBed(t, &l)
			b.trace(20 * sec)
			if e := b.e.Estimate(); e < c.before {
				t.Errorf("estimate of %d before", e)
			}
			down := b.until(0, 300_000, 5*sec)
			b.trace(10*sec - down)
			b.mark()
			b.trace(10 * sec)
			t.Logf("down in %d ms; then use %.2f, wait p50 %d p95 %d", down/ms, b.use(), b.wait(0.5)/ms, b.wait(0.95)/ms)
			up := b.until(c.before*9/10, 20_000_000, 20*sec)
			t.Logf("up in %d ms", up/ms)
			if down > sec {
				t.Error("down too late")
			}
			if up > 10*sec {
				t.Error("up too late")
			}
		})
	}
}
