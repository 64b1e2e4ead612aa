package bwe

import (
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"confab/bridge/rtpx"
)

// told makes the feedback that a receiver sends about arrivals.
func told(arrivals map[uint16]int64) *rtpx.RTCP {
	var r rtpx.TWCCRecorder
	low, high := uint16(0), uint16(0)
	first := true
	for s := range arrivals {
		if first || rtpx.SeqNewer(low, s) {
			low = s
		}
		if first || rtpx.SeqNewer(s, high) {
			high = s
		}
		first = false
	}
	for s := low; ; s++ {
		if at, ok := arrivals[s]; ok {
			r.Record(s, at)
		}
		if s == high {
			break
		}
	}
	p, _, _ := rtpx.NextRTCP(r.Append(nil, 1, 2))
	return &p
}

// warm is an estimator in the middle of a call at 2 Mbit/s.
func warm(t *testing.T) *bed {
	b := newBed(t, &link{rate: steady(2_000_000), delay: 20 * ms})
	b.run(10 * sec)
	return b
}

// TestUnsent: feedback about packets that were never sent says nothing.
func TestUnsent(t *testing.T) {
	t.Parallel()
	b := warm(t)
	before := b.e.Estimate()
	for i := range 1000 {
		b.now += 10 * ms
		b.e.Feedback(told(map[uint16]int64{b.seq + 1 + uint16(i): b.now, b.seq + 2 + uint16(i): b.now + 1}), b.now)
	}
	if e := b.e.Estimate(); e != before {
		t.Errorf("%d became %d", before, e)
	}
	if s := b.e.State(); s.Counts.Unsent == 0 || !s.Counts.heard() {
		t.Errorf("%+v", s.Counts)
	}
	// And one that was never sent anything.
	e := New(DefaultConfig())
	e.Feedback(told(map[uint16]int64{1: sec, 2: sec + ms}), sec)
	if s := e.State(); s.Counts.Unsent != 1 || s.Estimate != DefaultConfig().First() {
		t.Errorf("%+v", s)
	}
}

func (c Counts) heard() bool { return c.Feedbacks > 0 }

// TestReplay: the same feedback again and again is heard once.
func TestReplay(t *testing.T) {
	t.Parallel()
	b := warm(t)
	arrivals := map[uint16]int64{}
	for range 20 {
		b.now += ms
		b.seq++
		b.e.Sent(b.seq, 1200, b.now, 0)
		arrivals[b.seq] = b.now + 20*ms + 77*sec
	}
	p := told(arrivals)
	b.now += 50 * ms
	b.e.Feedback(p, b.now)
	before := b.e.State()
	for range 50 {
		b.now += 5 * ms
		b.e.Feedback(p, b.now)
	}
	after := b.e.State()
	if after.Counts.Replayed < 50*20 {
		t.Errorf("%+v", after.Counts)
	}
	before.Counts = after.Counts
	if before != after {
		t.Errorf("%+v became %+v", before, after)
	}
}

// TestLiar: a receiver that claims that everything arrives at once gets no more
// than Max, on a link that carries a tenth of it.
func TestLiar(t *testing.T) {
	t.Parallel()
	e := New(Config{Start: 300_000, Min: 30_000, Max: 3_000_000})
	now, seq := sec, uint16(65000)
	top := int64(0)
	for range 3000 {
		arrivals := map[uint16]int64{}
		for range 40 {
			seq++
			e.Sent(seq, 1200, now, 0)
			arrivals[seq] = now
			now += 250_000
		}
		e.Demand(20_000_000, 20_000_000, now)
		if p, ok := e.Tick(now); ok {
			if p.Rate > 3_000_000 || p.Bytes() > 100_000 {
				t.Fatalf("%+v", p)
			}
			for range p.Packets {
				seq++
				e.Sent(seq, p.Bytes()/p.Packets+1, now, p.ID)
				arrivals[seq] = now
			}
		}
		e.Feedback(told(arrivals), now)
		top = max(top, e.Estimate())
	}
	if top < 2_900_000 || top > 3_000_000 {
		t.Errorf("%d", top)
	}
}

// TestImpossible feeds arrivals that cannot be: before they were sent, days later,
// all over the place. The estimate stays in its bounds and comes back with the truth.
func TestImpossible(t *testing.T) {
	t.Parallel()
	b := warm(t)
	rng := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		arrivals := map[uint16]int64{}
		base := rng.Int64N(1 << 49)
		for range 10 {
			b.now += ms
			b.seq++
			b.e.Sent(b.seq, 1200, b.now, 0)
			if rng.IntN(3) > 0 {
				arrivals[b.seq] = base + rng.Int64N(4*sec)
			}
		}
		if len(arrivals) > 0 {
			b.e.Feedback(told(arrivals), b.now)
		}
		b.e.Tick(b.now)
		if e := b.e.Estimate(); e < DefaultConfig().Min || e > DefaultConfig().Max {
			t.Fatalf("%d", e)
		}
	}
	b.flight = nil
	b.nextFrame, b.nextTick, b.nextFeedback = b.now, b.now, b.now
	b.recorder = rtpx.TWCCRecorder{}
	b.run(15 * sec)
	if e := b.e.Estimate(); e < 1_500_000 || e > 2_500_000 {
		t.Errorf("%d after honest 15 s; %+v", e, b.e.State())
	}
}

// TestFlood: of a million feedbacks in a second only a few are read.
func TestFlood(t *testing.T) {
	t.Parallel()
	b := warm(t)
	// 32 bytes that claim 65535 statuses.
	raw := []byte{0x8F, 205, 0, 8, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0xFF, 0xFF, 0, 0, 1, 0,
		0x1F, 0xFF, 0x1F, 0xFF, 0x1F, 0xFF, 0x1F, 0xFF, 0x1F, 0xFF, 0x1F, 0xFF, 0x1F, 0xFF, 0x1F, 0xFF}
	raw[12], raw[13] = byte((b.seq-30000)>>8), byte(b.seq-30000)
	p, _, ok := rtpx.NextRTCP(raw)
	if !ok {
		t.Fatal("not read")
	}
	before := b.e.State().Counts
	begin := time.Now()
	for i := range 1_000_000 {
		b.e.Feedback(&p, b.now+int64(i)*1000)
	}
	took := time.Since(begin)
	c := b.e.State().Counts
	if n := c.Feedbacks - before.Feedbacks; n > 2*budgetRate+1 {
		t.Errorf("%d were read", n)
	}
	if c.Throttled < 900_000 {
		t.Errorf("%+v", c)
	}
	t.Logf("%v for a million", took)
	// It made its own packets count as lost, and is itself again when it stops lying.
	b.now += sec
	b.nextFrame, b.nextTick, b.nextFeedback = b.now, b.now, b.now
	b.run(20 * sec)
	if e := b.e.Estimate(); e < 1_500_000 {
		t.Errorf("%+v", b.e.State())
	}
}

// TestAllocs: nothing is allocated per packet, feedback or tick, and the size is small.
func TestAllocs(t *testing.T) {
	if n := unsafe.Sizeof(Estimator{}); n > 64<<10 {
		t.Errorf("%d bytes", n)
	} else {
		t.Logf("%d bytes", n)
	}
	e := New(DefaultConfig())
	var r rtpx.TWCCRecorder
	buf := make([]byte, 0, 1500)
	now, seq := sec, uint16(0)
	if n := testing.AllocsPerRun(200, func() {
		id := 0
		e.Demand(1_000_000, 10_000_000, now)
		if p, ok := e.Tick(now); ok {
			id = p.ID
		}
		for range 25 {
			seq++
			now += ms
			e.Sent(seq, 1200, now, id)
			if seq%20 != 0 {
				r.Record(seq, now+30*ms)
			}
		}
		for r.Pending() {
			p, _, _ := rtpx.NextRTCP(r.Append(buf, 1, 2))
			e.Feedback(&p, now+60*ms)
		}
		e.State()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzFeedback(f *testing.F) {
	f.Add([]byte{1, 50, 100, 3, 7, 200, 9, 9, 9}, int64(5))
	f.Fuzz(func(t *testing.T, in []byte, seed int64) {
		e := New(Config{Start: 1_000_000, Min: 50_000, Max: 4_000_000})
		rng := rand.New(rand.NewPCG(uint64(seed), 1))
		now, seq := sec, uint16(seed)
		head := []byte{0x8F, 205, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2}
		for len(in) > 8 {
			for range in[0] % 64 {
				seq++
				now += int64(in[1]) * 10_000
				e.Sent(seq, int(in[2])*8, now, int(in[3]%4))
			}
			if in[3]&8 != 0 {
				now += int64(in[4]) * sec
			}
			if in[3]&16 != 0 {
				e.Reset(now)
			}
			n := min(int(in[5]), len(in)-8) &^ 3
			b := append(head[:12:12], in[8:8+n]...)
			for len(b) < 20 {
				b = append(b, 0)
			}
			if in[3]&32 != 0 { // near what was sent
				base := seq - uint16(rng.IntN(80))
				b[12], b[13] = byte(base>>8), byte(base)
			}
			b[3] = byte(len(b)/4 - 1)
			p, _, ok := rtpx.NextRTCP(b)
			if !ok {
				t.Fatal("not RTCP")
			}
			e.Feedback(&p, now)
			e.Demand(int64(in[6])<<16, int64(in[7])<<16, now)
			if p, ok := e.Tick(now); ok && (p.Rate > 4_000_000 || p.Rate <= 0 || p.Duration <= 0 || p.Packets <= 0) {
				t.Fatalf("%+v", p)
			}
			e.Loss(int(in[6]), int(in[7]), now)
			s := e.State()
			if s.Estimate < 50_000 || s.Estimate > 4_000_000 || s.LossRatio < 0 || s.LossRatio > 1 {
				t.Fatalf("%+v", s)
			}
			in = in[8+n:]
		}
	})
}

func BenchmarkPacket(b *testing.B) {
	e := New(DefaultConfig())
	now := sec
	b.ReportAllocs()
	var rec rtpx.TWCCRecorder
	buf := make([]byte, 0, 1500)
	seq := uint16(0)
	var spent time.Duration
	b.ResetTimer()
	for n := 0; n < b.N; n += 100 {
		begin := time.Now()
		for range 100 {
			seq++
			now += ms
			e.Sent(seq, 1200, now, 0)
		}
		spent += time.Since(begin)
		for i := range uint16(100) {
			rec.Record(seq-99+i, now+int64(i)*ms)
		}
		p, _, _ := rtpx.NextRTCP(rec.Append(buf, 1, 2))
		begin = time.Now()
		e.Feedback(&p, now+60*ms)
		e.Tick(now)
		spent += time.Since(begin)
	}
	b.ReportMetric(float64(spent)/float64(b.N), "ns/packet")
}
