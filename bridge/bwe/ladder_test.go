package bwe

import "testing"

// TestLadder lets a bridge with little patience of its own send what Chromium makes
// (layers of 180, 360 and 720 lines, as test/net saw them), each begun with a key
// frame: the picture must not jump to and fro, which costs a key frame each time.
func TestLadder(t *testing.T) {
	t.Parallel()
	kinds := []int64{100_000, 157_000, 252_000, 370_000, 573_000, 750_000, 1_048_000, 1_567_000}
	sizes := []int{16_000, 16_000, 16_000, 30_000, 30_000, 61_000, 61_000, 61_000}
	for _, c := range []struct {
		name     string
		l        link
		low      int64   // a layer that is reached
		part     float64 // of the time, at least
		switches int     // at most
		patience int64   // after a step down
	}{
		{"500 kbit/s", link{rate: steady(500_000), queue: 31_000}, 252_000, 0.8, 20, 10 * sec},
		{"2 Mbit/s, 200 ms", link{rate: steady(2_000_000), delay: 90 * ms, queue: 125_000}, 1_567_000, 0.9, 4, 0},
		{"5 Mbit/s", link{rate: steady(5_000_000), queue: 312_000}, 1_567_000, 0.9, 4, 0},
		{"5 % loss", link{rate: steady(5_000_000), queue: 312_000, loss: 0.05}, 1_567_000, 0.9, 4, 0},
		{"bursts of 300 ms jitter", link{rate: steady(5_000_000), jitter: bursts(5*sec, 500*ms, 300*ms)}, 1_567_000, 0.9, 16, 0},
		{"a drop, queue of 1 s", link{rate: dip(5_000_000, 300_000, 20*sec, 45*sec), queue: 37_500}, 1_567_000, 0.4, 25, 0},
		{"a drop, queue of 500 ms at 5 Mbit/s", link{rate: dip(5_000_000, 300_000, 20*sec, 45*sec), queue: 312_000}, 1_567_000, 0.4, 25, 0},
	} {
		for _, pace := range []struct{ bound, free float64 }{{0, 0}, {2, 0}, {1.1, 2.5}} {
			l := c.l
			l.delay += 10 * ms
			b := newBed(t, &l)
			b.pace, b.free = pace.bound, pace.free
			b.layers, b.keyBytes, b.current, b.patience = kinds, sizes, -1, c.patience
			b.downAt = -c.patience
			b.want = steady(1_567_000)
			b.audio = true
			high, switches, last := 0, 0, int64(0)
			const steps = 600
			for range steps {
				b.trace(100 * ms)
				m := b.media()
				if m >= c.low {
					high++
				}
				if m != last {
					switches, last = switches+1, m
				}
			}
			t.Logf("%s, paced %v: %.0f %% of the time at %d or more, %d switches, wait %d ms, estimate %d to %d",
				c.name, pace, 100*float64(high)/steps, c.low, switches, b.wait(0.95)/ms, b.estimate(0.1)/1000, b.estimate(0.9)/1000)
			if float64(high) < c.part*steps || switches > c.switches {
				t.Errorf("%s, paced %v", c.name, pace)
			}
		}
	}
}
