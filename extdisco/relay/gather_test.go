package relay

import (
	"testing"
	"time"
)

// A loop rests between rounds only while much comes, and only if it keeps up.
func TestGathering(t *testing.T) {
	t.Parallel()
	var g gathering
	now := int64(time.Second)
	rounds := func(n, each int, every time.Duration) (rested int) {
		for range n {
			g.round = each
			if now += int64(every); g.due(now) {
				rested++
			}
		}
		return rested
	}
	if n := rounds(1000, 1, 50*time.Microsecond); n != 0 {
		t.Errorf("%d rests at 20,000/s", n)
	}
	if n := rounds(1000, 3, 50*time.Microsecond); n < 950 {
		t.Errorf("%d rests of 1,000 rounds at 60,000/s", n)
	}
	if n := rounds(1000, fullRound, 50*time.Microsecond); n != 0 {
		t.Errorf("%d rests of a loop that is behind", n)
	}
	if n := rounds(1000, 0, 50*time.Microsecond); n != 0 {
		t.Errorf("%d rests of a loop that had nothing to do", n)
	}
	if n := rounds(100, 1, 10*time.Millisecond); n != 0 {
		t.Errorf("%d rests at 100/s", n)
	}
}
