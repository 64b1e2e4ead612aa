package forward

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"confab/bridge/rtpx"
)

// flow runs packets through one projection and keeps what comes out.
type flow struct {
	t    testing.TB
	p    *projection
	o    *outStream
	now  int64
	out  []projected
	pool *rtpx.Pool
	dd   map[uint32]*ingressStream
	m    *mediaTable
	keys int // key frame wishes
}

// projected is a packet that came out, beside what went in.
type projected struct {
	rewrite
	in rtpx.Info
}

func newFlow(t testing.TB) *flow {
	return &flow{t: t, p: newProjection(), o: &outStream{video: true}, now: int64(100 * time.Second),
		pool: rtpx.NewPool(), dd: map[uint32]*ingressStream{}, m: newMediaTable(stock())}
}

// put sends packets of an encoding through.
func (f *flow) put(enc int, target rtpx.Layer, ps ...sent) (accepted int) {
	f.t.Helper()
	for _, s := range ps {
		pkt := f.pool.Get()
		pkt.SetLen(copy(pkt.Space(), s.bytes()))
		in := &pkt.Info
		*in = rtpx.Info{}
		if !in.Parse(pkt.Bytes()) {
			f.t.Fatal("bad test packet")
		}
		in.Codec, in.Number, in.Encoding = f.m.pt[in.PT].Codec, in.Seq, uint8(enc)
		st := f.dd[s.ssrc]
		if st == nil {
			st = &ingressStream{}
			f.dd[s.ssrc] = st
		}
		if !parseVideo(pkt, st, f.m) {
			f.t.Fatal("bad test payload")
		}
		rw, ok := f.p.project(in, f.o, target, f.now)
		if f.p.needKey {
			f.keys++
		}
		if ok {
			accepted++
			f.out = append(f.out, projected{rw, *in})
			if !f.o.started || rtpx.SeqNewer(rw.seq, f.o.last.seq) {
				f.o.last, f.o.lastAt, f.o.ended, f.o.started = rw, f.now, in.End, true
			}
		}
		pkt.Release()
	}
	return accepted
}

func (f *flow) pass(d time.Duration) { f.now += int64(d) }

// continuous fails unless the numbers of what came out are from first on, each once.
func (f *flow) continuous(first uint16) {
	f.t.Helper()
	seqs := make([]int, 0, len(f.out))
	for _, o := range f.out {
		seqs = append(seqs, int(o.seq-first))
	}
	slices.Sort(seqs)
	for i, s := range seqs {
		if s != i {
			f.t.Fatalf("number %d at place %d of %d", s, i, len(seqs))
		}
	}
}

const e0, e1, e2 = rtpx.Layer(2), rtpx.Layer(64 + 2), rtpx.Layer(128 + 2)

func TestVP8SwitchesAtKeyFrames(t *testing.T) {
	t.Parallel()
	f := newFlow(t)
	_, v := camera("x", 10, 3)
	frame := func(key bool, target rtpx.Layer) (got []int) {
		f.pass(33 * time.Millisecond)
		for i := range v {
			got = append(got, f.put(i, target, v[i].frame(key, 0, 2)...))
		}
		return got
	}
	steps := []struct {
		key    bool
		target rtpx.Layer
		want   string
		wish   bool
	}{
		{false, e0, "[0 0 0]", true},  // nothing to begin with
		{true, e0, "[2 0 0]", false},  // begins
		{false, e2, "[2 0 0]", false}, // within the group of that key frame: wait for it
		{false, e2, "[2 0 0]", false},
	}
	for range 7 {
		steps = append(steps, steps[3])
	}
	steps = append(steps, []struct {
		key    bool
		target rtpx.Layer
		want   string
		wish   bool
	}{
		{false, e2, "[2 0 0]", true},  // better encodings flow: ask
		{true, e2, "[2 0 2]", false},  // up, without the step between
		{false, e2, "[0 0 2]", false}, //
		{true, e2, "[0 0 2]", false},  // key frames of others don't matter at the target
		{false, e1, "[0 0 2]", false}, // down waits for its key frame
	}...)
	for i, s := range steps {
		f.keys = 0
		if got := fmt.Sprint(frame(s.key, s.target)); got != s.want || (f.keys > 0) != s.wish {
			t.Fatalf("step %d: got %s, want %s; wishes %d", i, got, s.want, f.keys)
		}
	}
	f.pass(400 * time.Millisecond)
	frame(false, e1)
	if f.keys == 0 {
		t.Error("going down did not ask for a key frame")
	}
	// While going down a key frame of the lowest will do until the right one comes.
	if got := fmt.Sprint(frame(true, e1)); got != "[2 2 0]" {
		t.Error(got)
	}
	if got := fmt.Sprint(frame(false, e1)); got != "[0 2 0]" {
		t.Error(got)
	}
	f.continuous(1)
	for i := 1; i < len(f.out); i++ {
		a, b := f.out[i-1], f.out[i]
		if b.ts != a.ts && (!rtpx.TSNewer(b.ts, a.ts) || b.ts-a.ts > 90*500) {
			t.Errorf("timestamp %d after %d", b.ts, a.ts)
		}
		if same := b.ts == a.ts; same != (b.pictureID == a.pictureID) || !same && (b.pictureID-a.pictureID)&0x7FFF != 1 {
			t.Errorf("picture id %d after %d, timestamp %d after %d", b.pictureID, a.pictureID, b.ts, a.ts)
		}
		if d := b.tl0 - a.tl0; d > 1 {
			t.Errorf("tl0 %d after %d", b.tl0, a.tl0)
		}
	}
}

func TestVP8FallsBackWhenTheEncodingDriesUp(t *testing.T) {
	t.Parallel()
	f := newFlow(t)
	_, v := camera("x", 10, 2)
	f.put(0, e1, v[0].frame(true, 0, 1)...)
	f.put(1, e1, v[1].frame(true, 0, 1)...)
	if f.p.cur != 1 {
		t.Fatal("not at the target")
	}
	// A still screen: both are silent for a while, the lower one is first again.
	f.pass(5 * time.Second)
	f.put(0, e1, v[0].frame(false, 0, 1)...)
	if f.put(1, e1, v[1].frame(false, 0, 1)...) != 1 || f.keys != 0 {
		t.Error("a pause was taken for the end of the encoding")
	}
	for range 12 { // now only the lower one goes on
		f.pass(33 * time.Millisecond)
		f.put(0, e1, v[0].frame(false, 0, 1)...)
	}
	if f.keys == 0 {
		t.Fatal("no key frame asked for")
	}
	if f.put(0, e1, v[0].frame(true, 0, 1)...) != 1 || f.put(0, e1, v[0].frame(false, 1, 1)...) != 1 {
		t.Error("did not fall back")
	}
	f.continuous(1)
}

func TestVP8TemporalLayers(t *testing.T) {
	t.Parallel()
	f := newFlow(t)
	_, v := camera("x", 10, 1)
	tids := []uint8{0, 2, 1, 2}
	run := func(target rtpx.Layer, frames int) string {
		var s []byte
		for i := range frames {
			f.pass(33 * time.Millisecond)
			if f.put(0, target, v[0].frame(false, tids[i%4], 2)...) == 2 {
				s = append(s, '0'+tids[i%4])
			}
		}
		return string(s)
	}
	f.put(0, e0, v[0].frame(true, 0, 2)...)
	if got := run(rtpx.MakeLayer(0, 0, 0), 8); got != "00" {
		t.Error("base only:", got)
	}
	if got := run(rtpx.MakeLayer(0, 0, 1), 8); got != "0101" {
		t.Error("base and one:", got)
	}
	if got := run(e0, 8); got != "02120212" {
		t.Error("all:", got)
	}
	// Joining in the middle: the first T2 behind a T1 that was left out is of no use.
	f.put(0, rtpx.MakeLayer(0, 0, 0), v[0].frame(false, 0, 1)...)
	f.put(0, rtpx.MakeLayer(0, 0, 0), v[0].frame(false, 2, 1)...)
	f.put(0, rtpx.MakeLayer(0, 0, 0), v[0].frame(false, 1, 1)...)
	if f.put(0, e0, v[0].frame(false, 2, 1)...) != 0 {
		t.Error("a frame was forwarded whose reference was not")
	}
	f.continuous(1)
	for i := 1; i < len(f.out); i++ {
		if d := (f.out[i].pictureID - f.out[i-1].pictureID) & 0x7FFF; d > 1 {
			t.Errorf("gap of %d in picture ids", d)
		}
	}
}

func TestVP8LatePacketsFindTheirPlace(t *testing.T) {
	t.Parallel()
	f := newFlow(t)
	_, v := camera("x", 10, 1)
	base := rtpx.MakeLayer(0, 0, 0)
	f.put(0, base, v[0].frame(true, 0, 2)...)  // 1 2
	f.put(0, base, v[0].frame(false, 2, 3)...) // dropped
	late := v[0].frame(false, 0, 3)            // 3 4 5
	f.put(0, base, late[0], late[2])           // 4 is missing
	f.put(0, base, v[0].frame(false, 2, 3)...) // dropped
	whole := v[0].frame(false, 0, 2)           // 6 7, missing as a whole
	f.put(0, base, v[0].frame(false, 2, 1)...) // dropped
	f.put(0, base, v[0].frame(false, 0, 1)...) // 8
	if f.put(0, base, late[1]) != 1 || f.put(0, base, whole...) != 2 {
		t.Error("late packets dropped")
	}
	f.continuous(1)
	byID := map[uint16]uint32{}
	for _, o := range f.out {
		if ts, ok := byID[o.pictureID]; ok && ts != o.ts {
			t.Errorf("picture id %d for two frames", o.pictureID)
		}
		byID[o.pictureID] = o.ts
	}
	if len(byID) != 4 {
		t.Errorf("%d frames", len(byID))
	}
}

// TestVP8RandomWalk drives a projection with three encodings, loss, reordering,
// and changing targets, through several wraps, and checks what no decoder could
// stand: numbers used twice, frames torn apart, references missing.
func TestVP8RandomWalk(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		f := newFlow(t)
		_, v := camera("x", 10, 3)
		lossy := seed%2 == 1
		target := e0
		type late struct {
			enc int
			p   sent
			at  int
		}
		var waiting []late
		wish := false
		pattern := []uint8{0, 2, 1, 2}
		for n := range 6000 {
			f.pass(33 * time.Millisecond)
			if r.IntN(100) == 0 {
				target = []rtpx.Layer{rtpx.NoLayer, 0, 1, e0, 64, e1, 129, e2}[r.IntN(8)]
			}
			key := wish && r.IntN(5) == 0
			f.keys = 0
			for enc := range v {
				if enc == 2 && n/500%2 == 1 {
					continue // the sender drops its best now and then
				}
				tid := pattern[n%4]
				if key {
					tid = 0
				}
				for _, p := range v[enc].frame(key, tid, 1+r.IntN(4)) {
					switch {
					case lossy && r.IntN(50) == 0: // lost
					case lossy && r.IntN(20) == 0:
						waiting = append(waiting, late{enc, p, n + 1 + r.IntN(5)})
					default:
						f.put(enc, target, p)
					}
				}
			}
			for i := 0; i < len(waiting); i++ {
				if w := waiting[i]; w.at <= n {
					f.put(w.enc, target, w.p)
					waiting = append(waiting[:i], waiting[i+1:]...)
					i--
				}
			}
			wish = f.keys > 0 || wish && !key
		}
		if len(f.out) < 3000 {
			t.Fatalf("seed %d: only %d packets", seed, len(f.out))
		}
		check(t, seed, f.out, lossy)
	}
}

// check verifies a projected VP8 stream.
func check(t *testing.T, seed uint64, out []projected, lossy bool) {
	t.Helper()
	var u rtpx.Unwrapper
	var line []at
	for _, o := range out {
		if n := u.Unwrap(o.seq); !o.empty {
			line = append(line, at{n, o})
		}
	}
	slices.SortStableFunc(line, func(a, b at) int { return int(a.seq - b.seq) })
	// What a decoder has of the current encoding: picture id of the last frame
	// per temporal layer.
	enc, lastT := -1, [3]bool{}
	for i := range line {
		b := line[i]
		if i == 0 {
			enc = int(b.in.Encoding)
			if !b.in.Key {
				t.Fatalf("seed %d: begins without a key frame", seed)
			}
			lastT[0] = true
			continue
		}
		a := line[i-1]
		if a.seq == b.seq {
			t.Fatalf("seed %d: number %d twice", seed, b.seq)
		}
		if !lossy && b.seq != a.seq+1 {
			t.Fatalf("seed %d: gap %d..%d without loss", seed, a.seq, b.seq)
		}
		if a.ts == b.ts {
			if a.in.TS != b.in.TS || a.in.Encoding != b.in.Encoding || a.pictureID != b.pictureID {
				t.Fatalf("seed %d: two frames in one", seed)
			}
			continue
		}
		if !rtpx.TSNewer(b.ts, a.ts) {
			t.Fatalf("seed %d: time runs backwards at %d", seed, b.seq)
		}
		if d := (b.pictureID - a.pictureID) & 0x7FFF; d == 0 || !lossy && d != 1 || d > 200 {
			t.Fatalf("seed %d: picture id %d after %d", seed, b.pictureID, a.pictureID)
		}
		if int(b.in.Encoding) != enc {
			if !b.in.Key {
				t.Fatalf("seed %d: encoding changed without a key frame", seed)
			}
			enc = int(b.in.Encoding)
		}
		if lossy {
			continue
		}
		// T0 needs the T0 before, T1 the T0, T2 the newest T1 or T0: all of them
		// must have been forwarded. Frames of one encoding follow each other by 3000.
		tid := b.in.Temporal
		if b.in.Key {
			lastT = [3]bool{true}
		} else {
			if !lastT[0] {
				t.Fatalf("seed %d: frame without a base", seed)
			}
			prev := [3]uint32{4 * 3000, 2 * 3000, 3000}[tid]
			if !b.has(line[:i], prev) {
				t.Fatalf("seed %d: T%d frame %d without its reference", seed, tid, b.in.VP8.PictureID)
			}
		}
	}
}

// has says whether the frame d ticks earlier of the same encoding is among
// those sent, or a key frame lies between.
func (p at) has(line []at, d uint32) bool {
	for i := len(line) - 1; i >= 0 && i > len(line)-200; i-- {
		o := line[i]
		if o.in.Encoding != p.in.Encoding {
			return false
		}
		if o.in.TS == p.in.TS-d || o.in.Key {
			return true
		}
	}
	return false
}

type at struct {
	seq int64
	projected
}

// Frames out of the memory of key frames go in less time than they took. One of them
// that comes late has its time between those of its neighbours.
func TestLateAmongRemembered(t *testing.T) {
	t.Parallel()
	f := newFlow(t)
	_, v := camera("x", 10, 1)
	f.put(0, e0, v[0].frame(true, 0, 1)...)
	f.put(0, e0, v[0].frame(false, 0, 1)...)
	f.p.suspend()
	var ps [][]sent
	for i := range 6 {
		ps = append(ps, v[0].frame(i == 0, 0, 1))
	}
	f.p.replay = true // at once, and they came before what has just been sent
	f.pass(-200 * time.Millisecond)
	for _, i := range []int{0, 1, 3} {
		f.put(0, e0, ps[i]...)
	}
	f.p.replay = false
	f.pass(200 * time.Millisecond)
	for _, i := range []int{5, 2, 4} {
		if f.put(0, e0, ps[i]...) != 1 {
			t.Errorf("frame %d dropped", i)
		}
	}
	slices.SortFunc(f.out, func(a, b projected) int { return int(int16(a.seq - b.seq)) })
	if len(f.out) != 8 {
		t.Fatalf("%d packets", len(f.out))
	}
	for i := 1; i < len(f.out); i++ {
		if a, b := f.out[i-1], f.out[i]; !rtpx.TSNewer(b.ts, a.ts) {
			t.Errorf("packet %d: time %d after %d", i, b.ts, a.ts)
		}
	}
}
