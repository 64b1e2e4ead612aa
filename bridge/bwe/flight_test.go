package bwe

import "testing"

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
	for phase := range int64(5) {
		for _, noHold := range []bool{true, false} {
			from := 21*sec + phase*20*ms
			l := link{rate: dip(5_000_000, 300_000, from, from+25*sec), delay: 20 * ms, queue: 37_500}
			b := newBed(t, &l)
			camera(b)
			b.noHold = noHold
			b.trace(from - b.now)
			b.mark()
			b.voice = b.voice[:0]
			longest, over := int64(0), int64(0)
			for b.now < from+10*sec {
				b.run(10 * ms)
				wait := max(l.busy-b.now, 0)
				longest = max(longest, wait)
				if wait > 150*ms {
					over += 10 * ms
				}
			}
			gap := b.interruption(60 * ms)
			t.Logf("%d ms, without holding %v: queue of %d ms, longer than 150 ms for %d ms, audio interrupted for %d ms, lost %d",
				phase*20, noHold, longest/ms, over/ms, gap/ms, b.lost)
			b.mark()
			b.trace(15 * sec)
			t.Logf("  then use %.2f, wait p95 %d ms", b.use(), b.wait(0.95)/ms)
			up := b.until(1_800_000, 20_000_000, 20*sec)
			t.Logf("  up in %d ms", up/ms)
		}
	}
}
