package forward

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"confab/bridge/rtpx"
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

// A layer that begins is not taken for what a whole second of it would be less, nor
// its first key frame for what it always takes; a moment of more is not what lasts.
func TestRateOfABeginning(t *testing.T) {
	t.Parallel()
	var r rate
	now, ts := int64(5e9), uint32(7)
	frame := func(n int) {
		r.frame(n, ts, now)
		now, ts = now+int64(40*time.Millisecond), ts+3600
	}
	near := func(what string, got, want int64) {
		t.Helper()
		if got < want*9/10 || got > want*11/10 {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	frame(60_000)
	if !r.fresh(now) {
		t.Error("known after one frame")
	}
	for range 9 {
		frame(5000) // 1 Mbit/s
	}
	if r.fresh(now) {
		t.Error("not known after 400 ms")
	}
	near("after 400 ms", r.bps(now), 900_000) // nine of ten frames
	for range 60 {
		frame(5000)
	}
	near("after 3 s", r.bps(now), 1_000_000)
	near("lasting", r.lastingBPS(), 1_000_000)
	for range 12 {
		frame(10_000)
	}
	if v := r.bps(now); v < 1_400_000 {
		t.Errorf("%d in a second with half of it twice as much", v)
	}
	if v := r.lastingBPS(); v > 1_200_000 {
		t.Errorf("%d lasting", v)
	}
	now += int64(10 * time.Second)
	frame(100)
	if !r.fresh(now) {
		t.Error("what began again is known")
	}
}

// TestHistory compares with a map, over wraps, jumps, late packets and expiry,
// and lets no packet leak.
func TestHistory(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	pool := rtpx.NewPool()
	var h history
	held := map[uint16]int64{}
	const size = 64
	seq, now := uint16(65000), int64(0)
	for n := range 20000 {
		now += 10
		d := uint16(1)
		if r.IntN(200) == 0 {
			d = uint16(r.IntN(300))
		}
		s := seq + d
		if r.IntN(10) == 0 {
			s = seq - uint16(r.IntN(100))
		}
		pkt := pool.Get()
		h.add(pkt, nil, rewrite{seq: s}, now, size)
		pkt.Release()
		if rtpx.SeqNewer(s, seq) || n == 0 {
			seq = s
		}
		if int16(seq-s) < size {
			held[s] = now
		}
		before := int64(-1)
		if r.IntN(20) == 0 {
			before = now - 300
			h.expire(before)
		}
		for k, at := range held {
			if int16(seq-k) >= size || int16(seq-k) < 0 {
				delete(held, k)
			} else if e := h.get(k); e == nil && (at > now-300) {
				t.Fatalf("%d: lost %d", n, k)
			}
		}
		for i := range h.ring {
			if e := &h.ring[i]; e.pkt != nil && held[e.rw.seq] != e.first {
				t.Fatalf("%d: holds %d, head %d", n, e.rw.seq, seq)
			}
		}
		if int64(len(held)) < pool.Outstanding() {
			t.Fatalf("%d: %d packets out, %d known", n, pool.Outstanding(), len(held))
		}
	}
	now += 1000
	h.expire(now)
	if pool.Outstanding() != 0 || h.get(seq) != nil {
		t.Error("not all let go")
	}
}
