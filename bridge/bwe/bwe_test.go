package bwe

import (
	"fmt"
	"os"
	"testing"
)

// trace prints a line per 250 ms when BWE_TRACE is set.
func (b *bed) trace(d int64) {
	if os.Getenv("BWE_TRACE") == "" {
		b.run(d)
		return
	}
	for end := b.now + d; b.now < end; {
		b.run(250 * ms)
		s := b.e.State()
		fmt.Printf("%6.2f link %5d est %5d delay %5d loss %5d acked %5d %-8s q %4d/%4d ms loss %.3f inh %.3f rtt %3d lim %v probes %d thr %.1f\n", float64(b.now)/1e9, b.l.rate(b.now)/1000, s.Estimate/1000,
			s.Delay/1000, s.Loss/1000, s.Acked/1000, s.Usage, s.Queue.Milliseconds(), max(b.l.busy-b.now, 0)/ms, s.LossRatio, s.InherentLoss, s.RTT.Milliseconds(), s.Limited, s.Counts.Probes, b.e.trend.threshold)
	}
}

func TestSteady(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		l    link
	}{
		{"500 kbit/s", link{rate: steady(500_000), delay: 20 * ms}},
		{"2 Mbit/s, 200 ms", link{rate: steady(2_000_000), delay: 100 * ms}},
		{"5 % loss", link{rate: steady(3_000_000), delay: 20 * ms, loss: 0.05}},
		{"jitter", link{rate: steady(3_000_000), delay: 20 * ms, noise: 20 * ms}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := c.l
			b := newBed(t, &l)
			b.trace(10 * sec)
			b.mark()
			b.trace(30 * sec)
			if b.use() < 0.85 {
				t.Errorf("%.0f %% of the link used", 100*b.use())
			}
			t.Logf("use %.3f, wait p50 %d p95 %d max %d ms, lost %d of %d", b.use(), b.wait(0.5)/ms, b.wait(0.95)/ms, b.wait(1)/ms, b.lost, b.count)
		})
	}
}
