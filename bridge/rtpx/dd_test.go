package rtpx

import "testing"

// bitWriter writes big-endian bit fields for tests.
type bitWriter struct {
	b []byte
	n int
}

func (w *bitWriter) u(v, n int) *bitWriter {
	for i := n - 1; i >= 0; i-- {
		if w.n%8 == 0 {
			w.b = append(w.b, 0)
		}
		w.b[w.n/8] |= byte(v>>i&1) << (7 - w.n%8)
		w.n++
	}
	return w
}

// l2t1key is a descriptor that opens a stream of two spatial layers where the
// upper refers to the lower in key pictures only (L2T1_KEY). Templates, from id
// offset on: S0 delta, S0 key, S1 delta, S1 key.
func l2t1key(frame, offset int) []byte {
	w := &bitWriter{}
	w.u(1, 1).u(1, 1).u(offset+1, 6).u(frame, 16) // start, end, template of S0 key
	w.u(0b10000, 5)                               // structure follows
	w.u(offset, 6).u(2-1, 5)                      // two decode targets
	w.u(0, 2).u(2, 2).u(0, 2).u(3, 2)             // template layers: same, next spatial, same, end
	w.u(2, 2).u(0, 2)                             // S0 delta: switch, -
	w.u(2, 2).u(2, 2)                             // S0 key: switch, switch
	w.u(0, 2).u(2, 2)                             // S1 delta: -, switch
	w.u(0, 2).u(2, 2)                             // S1 key: -, switch
	w.u(1, 1).u(2-1, 4).u(0, 1)                   // S0 delta refers 2 back
	w.u(0, 1)                                     // S0 key refers to nothing
	w.u(1, 1).u(2-1, 4).u(0, 1)                   // S1 delta refers 2 back
	w.u(1, 1).u(1-1, 4).u(0, 1)                   // S1 key refers to the S0 before it
	w.u(0, 1)                                     // no chains: ns(3)=0
	w.u(1, 1).u(319, 16).u(179, 16).u(639, 16).u(359, 16)
	return w.b
}

// ddOf is a descriptor of three bytes.
func ddOf(frame, template int) []byte {
	return []byte{0xC0 | byte(template), byte(frame >> 8), byte(frame)}
}

func TestDependencyDescriptor(t *testing.T) {
	t.Parallel()
	var p DDParser
	var d DD
	if p.Parse(ddOf(4, 7), &d) || d.Frame != 4 {
		t.Error("a descriptor without a structure has no meaning, but a number")
	}
	if !p.Parse(l2t1key(5, 6), &d) {
		t.Fatal("not parsed")
	}
	s := d.Structure
	if !d.HasStructure || d.NDiffs != 0 || d.Frame != 5 || !d.Start || !d.End || d.Active != 3 ||
		s.Targets != 2 || s.MaxSpatial != 1 || s.Heights != [8]uint16{180, 360} || s.TargetSpatial[1] != 1 {
		t.Fatalf("%+v\n%+v", d, s)
	}
	if s.Target(0, 0, 3) != 0 || s.Target(7, 7, 3) != 1 || s.Target(7, 7, 1) != 0 || s.Target(0, 0, 2) != -1 {
		t.Error("choice of decode target")
	}
	for _, c := range []struct {
		template   int
		spatial    uint8
		diff       uint16
		dti0, dti1 DTI
	}{{6, 0, 2, Switch, NotPresent}, {8, 1, 2, NotPresent, Switch}, {9, 1, 1, NotPresent, Switch}} {
		if !p.Parse(ddOf(6, c.template), &d) || d.Spatial != c.spatial || d.NDiffs != 1 || d.Diffs[0] != c.diff ||
			d.DTIs[0] != c.dti0 || d.DTIs[1] != c.dti1 || d.Structure != s {
			t.Errorf("template %d: %+v", c.template, d)
		}
	}
	if p.Parse(ddOf(6, 12), &d) {
		t.Error("unknown template accepted")
	}
	// Active decode targets, own indications and references, in a packet without structure.
	w := (&bitWriter{b: ddOf(9, 6), n: 24}).u(0b01110, 5).u(0b01, 2).u(1, 2).u(3, 2).u(2, 2).u(0x12-1, 8).u(0, 2)
	if !p.Parse(w.b, &d) || !d.HasActive || d.Active != 1 || d.DTIs[0] != Discardable || d.DTIs[1] != Required || d.NDiffs != 1 || d.Diffs[0] != 0x12 {
		t.Errorf("%+v", d)
	}
	// The same structure again is the same object, another one is not.
	if !p.Parse(l2t1key(50, 6), &d) || d.Structure != s || d.Frame != 50 {
		t.Error("repeated structure")
	}
	if !p.Parse(l2t1key(51, 20), &d) || d.Structure == s || d.Structure.Offset != 20 {
		t.Error("new structure")
	}
	b := l2t1key(51, 20)
	ShiftDD(b, 0xABCD, 0)
	if !p.Parse(b, &d) || d.Frame != 0xABCD {
		t.Error("frame number")
	}
}

// TestPutDD rewrites descriptors of all kinds and reads them again.
func TestPutDD(t *testing.T) {
	t.Parallel()
	var in, out DDParser
	var d, got DD
	own := (&bitWriter{b: ddOf(9, 6), n: 24}).u(0b00110, 5).u(1, 2).u(3, 2).u(2, 2).u(0x12-1, 8).u(0, 2)
	masked := (&bitWriter{b: ddOf(10, 6), n: 24}).u(0b01110, 5).u(0b01, 2).u(1, 2).u(3, 2).u(2, 2).u(0x12-1, 8).u(0, 2)
	for _, e := range [][]byte{l2t1key(5, 6), ddOf(6, 8), own.b, masked.b, l2t1key(11, 62), ddOf(12, 1), l2t1key(13, 62)} {
		for _, c := range []struct {
			shift  uint8
			active uint32
		}{{0, 0}, {0, 1}, {9, 0}, {9, 2}, {60, 3}} {
			if !in.Parse(e, &d) {
				t.Fatalf("%x not parsed", e)
			}
			var dst [300]byte
			n := d.PutDD(dst[:len(e)+DDGrowth], e, 0xABCD, c.shift, c.active)
			if d.HasStructure {
				out = DDParser{}
			} else {
				out.cur.Offset = d.Structure.Offset + c.shift
			}
			if !out.Parse(dst[:n], &got) {
				t.Fatalf("%x became %x", e, dst[:n])
			}
			want := d.Active
			if c.active != 0 {
				want = c.active
			}
			if got.Frame != 0xABCD || got.Spatial != d.Spatial || got.DTIs != d.DTIs || got.Diffs != d.Diffs || got.NDiffs != d.NDiffs ||
				got.HasStructure != d.HasStructure || got.Active != want || got.Start != d.Start || got.End != d.End {
				t.Errorf("%x %+v became %x:\n%+v\n%+v", e, c, dst[:n], d, got)
			}
			if d.HasStructure && (got.Structure.Offset != (d.Structure.Offset+c.shift)&63 || got.Structure.Heights != d.Structure.Heights) {
				t.Errorf("structure: %+v", got.Structure)
			}
		}
	}
}

func TestLateStructure(t *testing.T) {
	t.Parallel()
	var p DDParser
	var d DD
	p.Parse(l2t1key(50, 6), &d)
	if !p.Parse(l2t1key(48, 20), &d) || d.Structure.Offset != 20 || p.Structure().Offset != 6 {
		t.Error("a late key frame took the structure of newer frames away")
	}
	middle := l2t1key(60, 30)
	middle[0] &^= 0x80
	if p.Parse(middle, &d) || p.Structure().Offset != 6 {
		t.Error("a structure in the middle of a frame")
	}
}

func TestDependencyDescriptorAllocs(t *testing.T) {
	var p DDParser
	var d DD
	key, delta := l2t1key(1, 0), ddOf(2, 0)
	p.Parse(key, &d)
	if n := testing.AllocsPerRun(100, func() { p.Parse(key, &d); p.Parse(delta, &d) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDependencyDescriptor(f *testing.F) {
	f.Add(l2t1key(1, 0), ddOf(2, 0))
	f.Add(l2t1key(1, 60), []byte{0x80, 0, 1, 0x78, 0xFF, 0xFF, 0xFF, 0xFF})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var p DDParser
		var d DD
		for _, e := range [][]byte{a, b, a} {
			ok := p.Parse(e, &d)
			if ok && (d.Structure == nil || d.Structure.Targets > MaxDecodeTargets || int(d.NDiffs) > len(d.Diffs)) {
				t.Fatalf("%+v", d)
			}
			if ok {
				d.Structure.Target(7, 7, ^uint32(0))
				dst := make([]byte, len(e)+DDGrowth)
				for _, active := range []uint32{0, 5} {
					n := d.PutDD(dst, e, 0x1234, 7, active)
					var again DD
					q := DDParser{cur: d.Structure}
					if d.HasStructure {
						q.cur = nil
					} else {
						s := *d.Structure
						s.Offset += 7
						q.cur = &s
					}
					if !q.Parse(dst[:n], &again) || again.Frame != 0x1234 || again.DTIs != d.DTIs || again.Diffs != d.Diffs || again.Spatial != d.Spatial {
						t.Fatalf("%x became %x (active %d)\n%+v\n%+v", e, dst[:n], active, d, again)
					}
				}
			}
		}
	})
}
