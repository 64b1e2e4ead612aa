package forward

import (
	"encoding/binary"
	"math/rand/v2"

	"confab/bridge/rtpx"
)

// scheme is how an encoder of the tests works.
type scheme struct {
	codec  rtpx.Codec
	layers int  // spatial layers in one stream
	full   bool // layers refer to those below in every picture, not in key pictures only
	dd     bool // H264 with a dependency descriptor
}

var (
	vp8Simulcast  = scheme{codec: rtpx.CodecVP8, layers: 1}
	h264Simulcast = scheme{codec: rtpx.CodecH264, layers: 1}
	h264DD        = scheme{codec: rtpx.CodecH264, layers: 1, dd: true}
	vp9Simulcast  = scheme{codec: rtpx.CodecVP9, layers: 1}
	vp9KSVC       = scheme{codec: rtpx.CodecVP9, layers: 3}
	vp9SVC        = scheme{codec: rtpx.CodecVP9, layers: 3, full: true}
	av1Simulcast  = scheme{codec: rtpx.CodecAV1, layers: 1, dd: true}
	av1KSVC       = scheme{codec: rtpx.CodecAV1, layers: 3, dd: true} // L3T3_KEY
	av1SVC        = scheme{codec: rtpx.CodecAV1, layers: 3, dd: true, full: true}
)

// truth is what really refers to what. A packet of the tests ends with the number
// of its frame here.
type truth struct{ frames []trueFrame }

type trueFrame struct {
	deps                 []int
	picture              int
	codec                rtpx.Codec
	enc                  int
	spatial, temporal    int
	key                  bool
	packets, layersAbove int
}

// temporalPattern is that of three temporal layers.
var temporalPattern = []int{0, 2, 1, 2}

// encoder makes the packets of one SSRC. Numbers go on when the scheme changes,
// as they do in browsers.
type encoder struct {
	truth     *truth
	r         *rand.Rand
	enc       int
	ssrc, rtx uint32
	seq       uint16
	ts        uint32
	pid       uint16
	tl0       uint8
	frame     uint16
	scheme    scheme
	begun     bool
	at        int // place in the temporal pattern
	pictures  int
	last      [3][3]int // newest frame by spatial and temporal layer, an index of truth
	lastFrame [3][3]uint16
	offset    uint8 // of template ids
}

// picture makes the next picture. A change of scheme makes it a key picture.
func (e *encoder) picture(s scheme, key bool) (out []sent) {
	if s != e.scheme || !e.begun {
		key = true
		e.offset = (e.offset + 13) & 63
	}
	e.scheme, e.begun = s, true
	if key {
		e.at = 0
	}
	tid := temporalPattern[e.at%4]
	// What frames of this place refer to: T0 to the T0 before, others to the newest
	// of a lower layer.
	from := 0
	if e.at%4 == 3 {
		from = 1
	}
	e.ts += 3000
	e.pid = (e.pid + 1) & 0x7FFF
	if tid == 0 {
		e.tl0++
	}
	e.pictures++
	for sid := range s.layers {
		e.frame++
		f := trueFrame{picture: e.pictures, codec: s.codec, enc: e.enc, spatial: sid, temporal: tid, key: key && sid == 0}
		var diffs []uint16
		if !key {
			f.deps = append(f.deps, e.last[sid][from])
			diffs = append(diffs, e.frame-e.lastFrame[sid][from])
		}
		if sid > 0 && (key || s.full) {
			f.deps = append(f.deps, len(e.truth.frames)-1)
			diffs = append(diffs, 1)
		}
		n := 1 + e.r.IntN(3)
		f.packets, f.layersAbove = n, s.layers-1-sid
		id := len(e.truth.frames)
		e.truth.frames = append(e.truth.frames, f)
		if key {
			e.last[sid] = [3]int{id, id, id}
			e.lastFrame[sid] = [3]uint16{e.frame, e.frame, e.frame}
		} else {
			e.last[sid][tid], e.lastFrame[sid][tid] = id, e.frame
			if tid == 0 {
				e.last[sid][1], e.lastFrame[sid][1] = id, e.frame
			}
		}
		for i := range n {
			e.seq++
			p := sent{seq: e.seq, ts: e.ts, ssrc: e.ssrc, marker: sid == s.layers-1 && i == n-1, exts: map[uint8][]byte{extTCC: u16(e.seq)}}
			first, last := i == 0, i == n-1
			switch s.codec {
			case rtpx.CodecVP8:
				p.pt, p.payload = ptVP8, e.vp8(key, tid, first)
			case rtpx.CodecVP9:
				p.pt, p.payload = ptVP9, e.vp9(key, tid, sid, first, last)
			case rtpx.CodecH264:
				p.pt, p.payload = ptH264, h264(key, i, n)
			case rtpx.CodecAV1:
				p.pt, p.payload = ptAV1, []byte{0x10, 0x32, 1, 2}
				if key && sid == 0 && first {
					p.payload[0] |= 0x08
				}
			}
			if s.dd {
				p.exts[extDD] = e.dd(key, tid, sid, first, last, diffs)
			}
			p.payload = binary.BigEndian.AppendUint32(p.payload, uint32(id))
			out = append(out, p)
		}
	}
	e.at++
	return out
}

func (e *encoder) vp8(key bool, tid int, first bool) []byte {
	d := []byte{0x80, 0xE0, 0x80 | byte(e.pid>>8), byte(e.pid), e.tl0, byte(tid) << 6}
	if !first {
		return append(d, 0xAA)
	}
	d[0] |= 0x10
	if key {
		w, h := uint16(320)<<e.enc, uint16(180)<<e.enc
		return append(d, 0, 0, 0, 0x9D, 0x01, 0x2A, byte(w), byte(w>>8), byte(h), byte(h>>8))
	}
	return append(d, 1, 0, 0)
}

func (e *encoder) vp9(key bool, tid, sid int, first, last bool) []byte {
	s := e.scheme
	b0 := byte(0xA0)
	if !key {
		b0 |= 0x40
	}
	if first {
		b0 |= 0x08
	}
	if last {
		b0 |= 0x04
	}
	if sid == s.layers-1 || !s.full && !key {
		b0 |= 0x01
	}
	layer := byte(tid)<<5 | byte(sid)<<1
	if e.at%4 != 3 {
		layer |= 0x10 // U
	}
	if sid > 0 && (key || s.full) {
		layer |= 1
	}
	d := []byte{b0, 0x80 | byte(e.pid>>8), byte(e.pid), layer, e.tl0}
	if key && sid == 0 && first {
		d[0] |= 0x02
		d = append(d, byte(s.layers-1)<<5|0x10)
		for l := range s.layers {
			d = append(d, append(u16(uint16(320)<<(l+e.enc)), u16(uint16(180)<<(l+e.enc))...)...)
		}
	}
	return append(d, 0xAA)
}

func h264(key bool, i, n int) []byte {
	switch {
	case !key:
		return []byte{0x41, 0x9A}
	case i == 0 && n == 1:
		return []byte{0x78, 0, 2, 0x67, 1, 0, 2, 0x68, 1, 0, 2, 0x65, 1}
	case i == 0:
		return []byte{0x78, 0, 2, 0x67, 1, 0, 2, 0x68, 1}
	case i == n-1:
		return []byte{0x7C, 0x45, 1}
	}
	return []byte{0x7C, 0x05, 1}
}

// dd writes a descriptor. There is a template per spatial and temporal layer, of
// delta and of key pictures; what a frame refers to is told in each descriptor.
func (e *encoder) dd(key bool, tid, sid int, first, last bool, diffs []uint16) []byte {
	s := e.scheme
	bit := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	// Templates in the order of the wire: by spatial layer, then temporal; the key
	// template of a layer beside that of T0.
	type template struct {
		sid, tid int
		key      bool
	}
	var ts []template
	mine := 0
	for l := range s.layers {
		for _, t := range []template{{l, 0, true}, {l, 0, false}, {l, 1, false}, {l, 2, false}} {
			if t == (template{sid, tid, key}) {
				mine = len(ts)
			}
			ts = append(ts, t)
		}
	}
	w := (&ddBits{}).u(bit(first), 1).u(bit(last), 1).u((mine+int(e.offset))&63, 6).u(int(e.frame), 16)
	structure := key && sid == 0 && first
	w.u(bit(structure), 1).u(0, 1).u(0, 1).u(1, 1).u(0, 1)
	if structure {
		w.u(int(e.offset), 6).u(s.layers*3-1, 5)
		for i, t := range ts {
			next := 3
			if i+1 < len(ts) {
				switch n := ts[i+1]; {
				case n.sid > t.sid:
					next = 2
				case n.tid > t.tid:
					next = 1
				default:
					next = 0
				}
			}
			w.u(next, 2)
		}
		for _, t := range ts {
			for ds := range s.layers {
				for dt := range 3 {
					v := rtpx.NotPresent
					switch {
					case t.sid > ds || t.tid > dt:
					case t.key:
						v = rtpx.Switch
					case t.sid < ds && s.full:
						v = rtpx.Required
					case t.sid < ds:
					case t.tid == 0 || t.tid < dt:
						v = rtpx.Switch
					default:
						v = rtpx.Discardable
					}
					w.u(int(v), 2)
				}
			}
		}
		for range ts {
			w.u(0, 1)
		}
		w.ns(0, s.layers*3+1)
		w.u(1, 1)
		for l := range s.layers {
			w.u(320<<(l+e.enc)-1, 16).u(180<<(l+e.enc)-1, 16)
		}
	}
	for _, d := range diffs {
		w.u(2, 2).u(int(d)-1, 8)
	}
	return w.u(0, 2).b
}

// ns writes 0 as a non-symmetric number below n.
func (w *ddBits) ns(v, n int) *ddBits {
	bits, x := 0, n
	for x != 0 {
		x >>= 1
		bits++
	}
	return w.u(v, bits-1)
}

// retransmission wraps a packet that was sent before (RFC 4588).
func (e *encoder) retransmission(p sent, seq uint16) sent {
	r := p
	r.pt = map[uint8]uint8{ptVP8: ptVP8RTX, ptVP9: ptVP9RTX, ptH264: ptH264RTX, ptAV1: ptAV1RTX}[p.pt]
	r.ssrc, r.seq = e.rtx, seq
	r.payload = append(u16(p.seq), p.payload...)
	return r
}
