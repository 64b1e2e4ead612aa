package forward

import (
	"testing"
	"time"

	"confab/bridge/rtpx"
)

// svc makes layer frames of a VP9 sender in K-SVC (kind "key") or full SVC.
type svc struct {
	ssrc   uint32
	seq    uint16
	ts     uint32
	pid    uint16
	layers int
	full   bool
}

// picture makes the packets of the next picture, two per layer frame.
func (v *svc) picture(key bool) (byLayer [][]sent) {
	v.ts += 3000
	v.pid = (v.pid + 1) & 0x7FFF
	for sid := range v.layers {
		var ps []sent
		for i := range 2 {
			v.seq++
			b0 := byte(0xA0) // I, L
			if !key {
				b0 |= 0x40
			}
			if i == 0 {
				b0 |= 0x08
			} else {
				b0 |= 0x04
			}
			top := sid == v.layers-1
			if top || !v.full && !key {
				b0 |= 0x01 // no reference for the layer above
			}
			layer := byte(sid << 1)
			if sid > 0 && (key || v.full) {
				layer |= 1
			}
			d := []byte{b0, 0x80 | byte(v.pid>>8), byte(v.pid), layer, byte(v.pid)}
			if key && sid == 0 && i == 0 {
				d[0] |= 0x02
				d = append(d, byte(v.layers-1)<<5|0x10)
				for l := range v.layers {
					d = append(d, append(u16(uint16(320)<<l), u16(uint16(180)<<l)...)...)
				}
			}
			ps = append(ps, sent{pt: ptVP9, seq: v.seq, ts: v.ts, ssrc: v.ssrc, marker: top && i == 1, payload: append(d, 1, 2, 3)})
		}
		byLayer = append(byLayer, ps)
	}
	return byLayer
}

// take sends a picture through and says which layers came out, as bits.
func (f *flow) take(pic [][]sent, target rtpx.Layer) (layers uint) {
	f.t.Helper()
	f.pass(33 * time.Millisecond)
	for sid, ps := range pic {
		switch f.put(0, target, ps...) {
		case 0:
		case len(ps):
			layers |= 1 << sid
		default:
			f.t.Fatal("half a layer frame")
		}
	}
	return layers
}

// marked checks that exactly the last packet of each picture has the marker.
func (f *flow) marked() {
	f.t.Helper()
	for i, o := range f.out {
		last := i == len(f.out)-1 || f.out[i+1].ts != o.ts
		if o.marker != last {
			f.t.Errorf("packet %d of %d (S%d): marker %v", i, len(f.out), o.in.Spatial, o.marker)
		}
	}
}

func TestVP9KSVC(t *testing.T) {
	t.Parallel()
	f := newFlow(t)
	v := &svc{ssrc: 10, seq: 65530, layers: 3}
	s := func(n int) rtpx.Layer { return rtpx.MakeLayer(0, n, 2) }
	for i, step := range []struct {
		key    bool
		target rtpx.Layer
		want   uint
		wish   bool
	}{
		{false, s(1), 0, true},
		{true, s(1), 0b011, false},
		{false, s(1), 0b010, false}, // delta pictures: only the layer itself
		{false, s(2), 0b010, true},  // up needs a key picture
		{true, s(2), 0b111, false},
		{false, s(2), 0b100, false},
		{false, s(0), 0b100, true}, // down as well: the base was left out
		{true, s(0), 0b001, false},
		{false, s(0), 0b001, false},
		{true, s(7), 0b111, false}, // more than there is
		{false, s(7), 0b100, false},
	} {
		f.keys = 0
		if got := f.take(v.picture(step.key), step.target); got != step.want || (f.keys > 0) != step.wish {
			t.Fatalf("step %d: layers %03b, want %03b; wishes %d", i, got, step.want, f.keys)
		}
	}
	f.continuous(1)
	f.marked()
	for _, o := range f.out { // distances between pictures mean references
		if o.pictureID-o.in.VP9.PictureID != f.out[0].pictureID-f.out[0].in.VP9.PictureID {
			t.Error("picture ids were renumbered within the encoding")
		}
	}
	// The best layer dries up without a word: ask, then go on with what there is.
	f.keys, v.layers = 0, 2
	for range 40 {
		f.take(v.picture(false), s(2))
	}
	if f.keys == 0 {
		t.Fatal("no key frame asked for")
	}
	if got := f.take(v.picture(true), s(2)); got != 0b011 {
		t.Errorf("layers %03b", got)
	}
}

func TestVP9FullSVC(t *testing.T) {
	t.Parallel()
	f := newFlow(t)
	v := &svc{ssrc: 10, layers: 3, full: true}
	s := func(n int) rtpx.Layer { return rtpx.MakeLayer(0, n, 2) }
	f.take(v.picture(true), s(2))
	if got := f.take(v.picture(false), s(2)); got != 0b111 {
		t.Errorf("layers %03b", got)
	}
	if got := f.take(v.picture(false), s(1)); got != 0b011 || f.keys != 0 {
		t.Errorf("down: layers %03b, wishes %d", got, f.keys)
	}
	if got := f.take(v.picture(false), s(2)); got != 0b011 || f.keys == 0 {
		t.Errorf("up: layers %03b, wishes %d", got, f.keys)
	}
	if got := f.take(v.picture(true), s(2)); got != 0b111 {
		t.Errorf("layers %03b", got)
	}
	f.continuous(1)
	f.marked()
}

// ddBits writes a descriptor bit by bit.
type ddBits struct {
	b []byte
	n int
}

func (w *ddBits) u(v, n int) *ddBits {
	for i := n - 1; i >= 0; i-- {
		if w.n%8 == 0 {
			w.b = append(w.b, 0)
		}
		w.b[w.n/8] |= byte(v>>i&1) << (7 - w.n%8)
		w.n++
	}
	return w
}

// av1 makes layer frames of an AV1 sender with two spatial layers where the
// upper one refers to the lower one in key pictures only (L2T1_KEY).
type av1 struct {
	ssrc  uint32
	seq   uint16
	ts    uint32
	frame int
}

// Templates: S0 delta, S0 key, S1 delta, S1 key.
const tS0, tS0Key, tS1, tS1Key = 0, 1, 2, 3

func (v *av1) picture(key bool) (byLayer [][]sent) {
	v.ts += 3000
	for sid := range 2 {
		v.frame++
		var ps []sent
		for i := range 2 {
			v.seq++
			template := []int{tS0, tS1}[sid]
			if key {
				template++
			}
			w := (&ddBits{}).u(1-i, 1).u(i, 1).u(template, 6).u(v.frame&0xFFFF, 16)
			payload := []byte{0x10, 0x32, 1, 2, 3}
			if key && sid == 0 && i == 0 {
				payload[0] |= 0x08
				w.u(0b10000, 5).u(0, 6).u(1, 5)
				w.u(0, 2).u(2, 2).u(0, 2).u(3, 2)
				w.u(2, 2).u(0, 2).u(2, 2).u(2, 2).u(0, 2).u(2, 2).u(0, 2).u(2, 2)
				w.u(1, 1).u(1, 4).u(0, 1).u(0, 1).u(1, 1).u(1, 4).u(0, 1).u(1, 1).u(0, 4).u(0, 1)
				w.u(0, 1)
				w.u(1, 1).u(319, 16).u(179, 16).u(639, 16).u(359, 16)
			}
			ps = append(ps, sent{pt: ptAV1, seq: v.seq, ts: v.ts, ssrc: v.ssrc, marker: sid == 1 && i == 1,
				payload: payload, exts: map[uint8][]byte{extDD: w.b, extSendTime: {1, 2, 3}, extTCC: u16(v.seq)}})
		}
		byLayer = append(byLayer, ps)
	}
	return byLayer
}

func TestAV1DecodeTargets(t *testing.T) {
	t.Parallel()
	f := newFlow(t)
	v := &av1{ssrc: 10, seq: 65530, frame: 65530}
	s := func(n int) rtpx.Layer { return rtpx.MakeLayer(0, n, 2) }
	for i, step := range []struct {
		key    bool
		target rtpx.Layer
		want   uint
		wish   bool
	}{
		{false, s(1), 0, true},
		{true, s(1), 0b11, false},
		{false, s(1), 0b10, false},
		{false, s(0), 0b10, true}, // the base was left out: it cannot be joined
		{true, s(0), 0b01, false},
		{false, s(0), 0b01, false},
		{true, s(1), 0b11, false},
		{false, s(1), 0b10, false},
	} {
		f.keys = 0
		if got := f.take(v.picture(step.key), step.target); got != step.want || (f.keys > 0) != step.wish {
			t.Fatalf("step %d: layers %02b, want %02b; wishes %d", i, got, step.want, f.keys)
		}
	}
	f.continuous(1)
	f.marked()
	f.keys = 0
	for range 12 { // no switch point comes: ask
		f.take(v.picture(false), s(0))
	}
	if f.keys == 0 {
		t.Error("no key frame asked for")
	}
}

// TestAV1OnTheWire checks what a receiver gets of AV1 through the whole
// pipeline: the descriptor stays, in whatever form it needs.
func TestAV1OnTheWire(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	v := &av1{ssrc: 10, seq: 1}
	alice := b.join("alice", Source{Name: "alice-v0", Kind: Video, Encodings: []Encoding{{SSRC: 10, RTX: 11}}})
	bob := b.join("bob")
	bob.SetTarget("alice-v0", rtpx.MakeLayer(0, 1, 2))
	for i := range 4 {
		for _, ps := range v.picture(i == 0 || i == 2) {
			alice.send(ps...)
		}
	}
	got := bob.got()
	if len(got) != 12 {
		t.Fatalf("%d packets", len(got))
	}
	var p rtpx.DDParser
	var d rtpx.DD
	for i, s := range got {
		if !p.Parse(s.ext(extDD), &d) {
			t.Fatalf("packet %d: descriptor %x", i, s.ext(extDD))
		}
		if s.ext(extSendTime) != nil || len(s.ext(extTCC)) != 2 {
			t.Error("extensions")
		}
	}
	ls, _ := b.p.Layers("alice-v0")
	if len(ls) != 2 || ls[0].Height != 180 || ls[1].Height != 360 || ls[0].Bitrate == 0 || ls[1].Bitrate == 0 || ls[1].ID != rtpx.MakeLayer(0, 1, 0) {
		t.Errorf("%+v", ls)
	}
}

func TestH264SimulcastSwitchesAtIDR(t *testing.T) {
	t.Parallel()
	f := newFlow(t)
	var seq [2]uint16
	var ts [2]uint32
	frame := func(enc int, key bool) []sent {
		ts[enc] += 3000
		var ps []sent
		nals := [][]byte{{0x41, 1}, {0x41, 2}}
		if key {
			nals = [][]byte{{0x78, 0, 2, 0x67, 1, 0, 2, 0x68, 1}, {0x7C, 0x85, 1}, {0x7C, 0x45, 1}}
		}
		for i, n := range nals {
			seq[enc]++
			ps = append(ps, sent{pt: ptH264, seq: seq[enc], ts: ts[enc], ssrc: uint32(10 + enc), marker: i == len(nals)-1, payload: n})
		}
		return ps
	}
	if f.put(0, e1, frame(0, false)...) != 0 || f.put(0, e1, frame(0, true)...) != 3 || f.put(0, e1, frame(0, false)...) != 2 {
		t.Error("did not begin at the IDR")
	}
	f.pass(time.Second)
	if f.put(1, e1, frame(1, false)...) != 0 || f.keys == 0 || f.put(1, e1, frame(1, true)...) != 3 || f.put(0, e1, frame(0, false)...) != 0 {
		t.Error("did not switch at the IDR")
	}
	f.continuous(1)
}
