package forward

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

func TestRing(t *testing.T) {
	t.Parallel()
	r := newRing(5)
	if r.size() != 8 {
		t.Error("size", r.size())
	}
	for i := range 8 {
		if !r.push(job{sr: senderReport{ts: uint32(i)}}) {
			t.Fatal("full too early")
		}
	}
	if r.push(job{}) || r.len() != 8 {
		t.Error("more than fits")
	}
	var j job
	for i := range 8 {
		if !r.pop(&j) || j.sr.ts != uint32(i) {
			t.Fatal("order")
		}
	}
	if r.pop(&j) {
		t.Error("something out of nothing")
	}
}

// TestRingManyProducers: nothing is lost or doubled, and each producer's order stays.
func TestRingManyProducers(t *testing.T) {
	t.Parallel()
	const producers, each = 4, 5000
	r := newRing(64)
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			for i := range each {
				for !r.push(job{sr: senderReport{ntp: uint64(p), ts: uint32(i)}}) {
				}
			}
		})
	}
	var next [producers]uint32
	var j job
	for n := 0; n < producers*each; {
		if r.pop(&j) {
			if next[j.sr.ntp] != j.sr.ts {
				t.Fatalf("producer %d: %d, want %d", j.sr.ntp, j.sr.ts, next[j.sr.ntp])
			}
			next[j.sr.ntp]++
			n++
		}
	}
	wg.Wait()
}

// TestGapMap compares with a plain model: count what was dropped in order.
func TestGapMap(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	var g gapMap
	g.anchor(100, 1)
	dropped := map[int64]bool{}
	last := int64(99)
	for range 20000 {
		pos := last + 1 + int64(r.IntN(3))
		if r.IntN(4) == 0 {
			pos = max(100, last-int64(r.IntN(1200)))
		}
		drop := r.IntN(3) == 0
		out, ok := g.place(pos, drop)
		late := pos <= last
		want := pos - 99
		for d := range dropped {
			if d < pos {
				want--
			}
		}
		wantOK := !drop && !(late && (dropped[pos] || last-pos >= gapWindow))
		if ok != wantOK || ok && out != want {
			t.Fatalf("place %d (last %d, drop %v): %d %v, want %d %v", pos, last, drop, out, ok, want, wantOK)
		}
		if !late {
			if drop {
				dropped[pos] = true
			}
			last = pos
		}
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	var r rate
	now := int64(5e9)
	if !r.add(1000, now) || r.add(1000, now+1e6) {
		t.Error("first")
	}
	for range 98 {
		now += int64(10 * time.Millisecond)
		r.add(1000, now)
	}
	if got := r.bps(now); got != 100*1000*8 {
		t.Error(got)
	}
	if got := r.bps(now + 500e6); got < 350_000 || got > 450_000 {
		t.Error("half a second later:", got)
	}
	if got := r.bps(now + 2e9); got != 0 {
		t.Error("later:", got)
	}
	if !r.add(1, now+2e9) {
		t.Error("first after silence")
	}
}
