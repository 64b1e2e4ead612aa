package bwe

import (
	"testing"

	"confab/bridge/rtpx"
)

// TestFastStart: a fast link is known within seconds.
func TestFastStart(t *testing.T) {
	t.Parallel()
	b := newBed(t, &link{rate: steady(50_000_000), delay: 20 * ms})
	b.want = steady(8_000_000)
	if took := b.until(7_500_000, 20_000_000, 20*sec); took > 4*sec {
		t.Errorf("7.5 Mbit/s after %d ms", took/ms)
	} else {
		t.Logf("%d ms", took/ms)
	}
	b.trace(5 * sec)
	asked := b.e.State().Counts.Probes
	b.trace(20 * sec)
	if n := b.e.State().Counts.Probes - asked; n > 0 {
		t.Errorf("%d probes though there is enough", n)
	}
}

// TestNoDemand: where little is wanted nothing is probed for.
func TestNoDemand(t *testing.T) {
	t.Parallel()
	b := newBed(t, &link{rate: steady(50_000_000), delay: 20 * ms})
	b.want = steady(200_000)
	b.trace(20 * sec)
	if s := b.e.State(); s.Counts.Probes > 0 || s.Estimate < DefaultConfig().First() || !s.Limited {
		t.Errorf("%+v", s)
	}
	// More is wanted all at once.
	b.want = steady(6_000_000)
	if took := b.until(6_000_000, 20_000_000, 20*sec); took > 4*sec {
		t.Errorf("6 Mbit/s after %d ms", took/ms)
	} else {
		t.Logf("%d ms", took/ms)
	}
}

// TestDead: a link that dies lowers the estimate, one that comes back raises it.
func TestDead(t *testing.T) {
	t.Parallel()
	l := link{rate: dip(5_000_000, 0, 21*sec, 31*sec), delay: 20 * ms}
	b := newBed(t, &l)
	b.trace(20 * sec)
	if took := b.until(0, 500_000, 10*sec); took > 3*sec {
		t.Errorf("500 kbit/s after %d ms", took/ms)
	}
	b.trace(31*sec - b.now)
	if e := b.e.Estimate(); e != DefaultConfig().Min || !b.e.State().Silent {
		t.Errorf("%d on a dead link", e)
	}
	if took := b.until(4_000_000, 20_000_000, 20*sec); took > 10*sec {
		t.Errorf("4 Mbit/s after %d ms", took/ms)
	} else {
		t.Logf("up after %d ms", took/ms)
	}
}

// TestStall: a second without a packet, as when a phone changes its access point,
// costs little.
func TestStall(t *testing.T) {
	t.Parallel()
	l := link{rate: steady(5_000_000), delay: 20 * ms, stall: func(at int64) int64 {
		if at > 21*sec && at < 22*sec {
			return 22 * sec
		}
		return 0
	}}
	b := newBed(t, &l)
	b.trace(20*sec + 200*ms)
	b.trace(800 * ms)
	if took := b.until(4_000_000, 20_000_000, 20*sec); took > 5*sec {
		t.Errorf("4 Mbit/s after %d ms", took/ms)
	} else {
		t.Logf("up after %d ms", took/ms)
	}
}

// TestReset: on a new path everything is learnt anew, late feedback of the old one
// says nothing.
func TestReset(t *testing.T) {
	t.Parallel()
	l := link{rate: steady(8_000_000), delay: 20 * ms}
	b := newBed(t, &l)
	b.trace(15 * sec)
	if e := b.e.Estimate(); e < 6_000_000 {
		t.Fatalf("%d", e)
	}
	l.rate, l.delay = steady(1_000_000), 60*ms
	b.e.Reset(b.now)
	if e := b.e.Estimate(); e != DefaultConfig().First() {
		t.Errorf("%d after the reset", e)
	}
	if took := b.until(0, 1_000_000, 5*sec); took > 1500*ms {
		t.Errorf("1 Mbit/s after %d ms", took/ms)
	}
	b.trace(10 * sec)
	b.mark()
	b.trace(20 * sec)
	if b.use() < 0.85 || b.wait(0.95) > 150*ms {
		t.Errorf("use %.2f, wait %d ms", b.use(), b.wait(0.95)/ms)
	}
}

// TestLayers: a bridge sends layers, not what the estimate says. The top layer that
// fits is reached, kept, and reached again after a drop.
func TestLayers(t *testing.T) {
	t.Parallel()
	for _, keys := range []int64{0, 5 * sec} {
		l := link{rate: dip(5_000_000, 300_000, 31*sec, 51*sec), delay: 20 * ms, queue: 128 << 10}
		b := newBed(t, &l)
		b.keys = keys
		b.layers = []int64{150_000, 500_000, 1_200_000, 2_500_000, 4_000_000}
		b.want = steady(4_000_000)
		b.trace(10 * sec)
		low := 0
		for b.now < 31*sec {
			if b.trace(100 * ms); b.media() < 4_000_000 {
				low++
			}
		}
		if low > 2 {
			t.Errorf("keys %d: not on the top layer for %d00 ms", keys/sec, low)
		}
		down := b.until(0, 400_000, 20*sec)
		b.trace(10 * sec)
		b.mark()
		high := 0
		for b.now < 51*sec {
			if b.trace(100 * ms); b.media() != 150_000 {
				high++
			}
		}
		wait := b.wait(0.95)
		up := b.until(4_000_000, 20_000_000, 20*sec)
		t.Logf("keys %d: low %d, down %d ms, wait %d ms, high %d, up %d ms", keys/sec, low, down/ms, wait/ms, high, up/ms)
		if down > sec || wait > 150*ms || up > 10*sec || high > 2 {
			t.Error("not so good")
		}
	}
}

// TestTCP: a download in the same queue takes its share, and leaves us ours.
func TestTCP(t *testing.T) {
	t.Parallel()
	for queue, least := range map[int]float64{32 << 10: 0.4, 128 << 10: 0.3, 512 << 10: 0.1} {
		l := link{rate: steady(4_000_000), delay: 20 * ms, queue: queue}
		b := newBed(t, &l)
		b.trace(10 * sec)
		l.tcp = &tcp{window: 15_000, threshold: 1 << 30}
		b.trace(5 * sec)
		b.mark()
		b.trace(40 * sec)
		share := b.use()
		l.tcp = nil
		up := b.until(3_200_000, 20_000_000, 20*sec)
		t.Logf("queue %d: use %.2f, wait p50 %d; up %d ms", queue, share, b.wait(0.5)/ms, up/ms)
		if share < least || up > 10*sec {
			t.Errorf("queue %d: %.2f of the link, up in %d ms", queue, share, up/ms)
		}
	}
}

// TestREMB: where only that was negotiated it is the estimate, less loss.
func TestREMB(t *testing.T) {
	t.Parallel()
	e := New(DefaultConfig())
	now := sec
	e.REMB(1_500_000, now)
	if e.Estimate() != 1_500_000 {
		t.Error(e.Estimate())
	}
	e.REMB(1<<62, now)
	if e.Estimate() != DefaultConfig().Max {
		t.Error(e.Estimate())
	}
	e.REMB(0, now)
	if e.Estimate() != DefaultConfig().Min {
		t.Error(e.Estimate())
	}
	e.REMB(2_000_000, now)
	for range 20 { // 5 % random loss is lived with
		now += 500 * ms
		e.Loss(5, 100, now)
	}
	if e.Estimate() != 2_000_000 {
		t.Error(e.Estimate())
	}
	for range 20 {
		now += 500 * ms
		e.Loss(30, 100, now)
	}
	if v := e.Estimate(); v > 1_000_000 || v < DefaultConfig().Min {
		t.Error(v)
	}
	for range 100 {
		now += sec
		e.Loss(0, 100, now)
	}
	if e.Estimate() != 2_000_000 {
		t.Error(e.Estimate())
	}
	e.Loss(-5, 100, now)
	e.Loss(500, 100, now)
	if _, ok := e.Tick(now); ok {
		t.Error("a probe whose result nobody tells")
	}
	var p rtpx.RTCP
	e.Feedback(&p, now) // empty
	if e.State().Counts.Malformed != 1 {
		t.Errorf("%+v", e.State())
	}
}

// A network is free when it carried all that was asked of it; a bound that it has shown
// counts for two minutes.
func TestFree(t *testing.T) {
	t.Parallel()
	rate := int64(5_000_000)
	b := newBed(t, &link{rate: func(int64) int64 { return rate }, delay: 10 * ms, queue: 100_000})
	b.want = steady(1_000_000)
	for _, c := range []struct {
		rate  int64
		after int64
		free  bool
	}{
		{5_000_000, 10 * ms, false}, // nothing is known
		{5_000_000, 5 * sec, true},
		{300_000, 3 * sec, false},
		{5_000_000, 60 * sec, false},
		{5_000_000, 80 * sec, true},
	} {
		rate = c.rate
		b.run(c.after)
		if free := b.e.Free(b.now); free != c.free {
			t.Errorf("%d bit/s for %d ms: free %v, estimate %d", c.rate, c.after/ms, free, b.e.Estimate())
		}
	}
	b.e.Reset(b.now)
	if b.e.Free(b.now) {
		t.Error("free on a path of which nothing is known")
	}
}
