package meettest

import (
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
)

// frameMagic marks frames of this package. After the VP8 frame header stand
// magic, the source, the encoding, the number of the frame and that of the frame it refers
// to: a receiver sees not only that packets are whole but that a decoder would
// have had what it needs.
const frameMagic = "CfVp"

const frameTagSize = len(frameMagic) + 4 + 1 + 4 + 4

// sourceTag is what stands for the name of a source in its frames and packets of
// audio. 0 is nobody's.
func sourceTag(name string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // never fails
	return h.Sum32() | 1
}

// frameTag is what follows the header of a synthetic frame.
type frameTag struct {
	source     uint32
	encoding   uint8
	number     uint32
	references uint32
}

// temporalLayers of the four frames of a cycle, as libwebrtc's three-layer
// pattern has them.
var temporalLayers = [4]uint8{0, 2, 1, 2}

// encoder makes the frames of one encoding.
type encoder struct {
	source     uint32
	index      uint8
	layer      Layer
	number     uint32
	lastT      [3]uint32 // last frame of each temporal layer
	cycle      int
	pictureID  uint16
	tl0        uint8
	keyWanted  bool
	hasStarted bool
	recorded   []Frame
	playing    int // the next of recorded
}

// newEncoder encodes for a source; "" is one of which receivers know nothing.
func newEncoder(source string, index int, l Layer) *encoder {
	return &encoder{
		source: sourceTag(source), index: uint8(index), layer: l, keyWanted: true,
		pictureID: uint16(rand.Uint32()) & 0x7fff, tl0: uint8(rand.Uint32()),
	}
}

// next makes a frame: descriptor (RFC 7741 §4.2) and its payload, cut into
// packets of at most max bytes. buf is reused.
func (e *encoder) next(fps, maxPayload int) (packets [][]byte, key bool) {
	key = e.keyWanted
	if key {
		e.keyWanted, e.cycle = false, 0
	}
	tid := temporalLayers[e.cycle%4]
	e.cycle++
	var recorded []byte
	if n := len(e.recorded); n > 0 {
		if key {
			e.playing = 0
		}
		key = e.playing == 0
		tid, recorded = e.recorded[e.playing].Temporal, e.recorded[e.playing].Data
		e.playing = (e.playing + 1) % n
	}
	e.number++
	tag := frameTag{source: e.source, encoding: e.index, number: e.number}
	switch {
	case key:
		e.lastT = [3]uint32{e.number, e.number, e.number}
		tag.references = e.number
	case tid == 0:
		tag.references = e.lastT[0]
		e.lastT = [3]uint32{e.number, e.number, e.number}
	case tid == 1:
		tag.references = e.lastT[0]
		e.lastT[1], e.lastT[2] = e.number, e.number
	default:
		tag.references = e.lastT[1] // nothing refers to it in turn
	}
	if e.hasStarted {
		e.pictureID = (e.pictureID + 1) & 0x7fff
		if tid == 0 {
			e.tl0++
		}
	}
	e.hasStarted = true
	size := max(e.layer.Bitrate/8/fps, 64)
	if key {
		size *= 3
	}
	sync := tid > 0 && tag.references == e.lastT[0]
	frame := recorded
	if frame == nil {
		frame = e.frame(key, tag, size)
	}
	for first := true; len(frame) > 0; first = false {
		n := min(len(frame), maxPayload-6)
		packets = append(packets, append(e.descriptor(first, tid, sync), frame[:n]...))
		frame = frame[n:]
	}
	return packets, key
}

// descriptor has a 15-bit picture id, TL0PICIDX and the temporal layer.
func (e *encoder) descriptor(start bool, tid uint8, sync bool) []byte {
	d := make([]byte, 6, 1200)
	d[0] = 0x80 // X
	if tid == 2 {
		d[0] |= 0x20 // N: nothing refers to it
	}
	if start {
		d[0] |= 0x10 // S
	}
	d[1] = 0x80 | 0x40 | 0x20 // I, L, T
	binary.BigEndian.PutUint16(d[2:], e.pictureID|0x8000)
	d[4] = e.tl0
	d[5] = tid << 6
	if sync {
		d[5] |= 0x20 // Y: refers to layer 0 only; a browser doesn't go up to a layer before it
	}
	return d
}

// frame has a true VP8 frame header (RFC 6386 §9.1) and noise.
func (e *encoder) frame(key bool, tag frameTag, size int) []byte {
	b := make([]byte, 0, size+32)
	head := uint32(1)<<4 | uint32(size)<<5 // shown
	if !key {
		head |= 1
	}
	b = append(b, byte(head), byte(head>>8), byte(head>>16))
	if key {
		b = append(b, 0x9d, 0x01, 0x2a)
		b = binary.LittleEndian.AppendUint16(b, uint16(e.layer.Width))
		b = binary.LittleEndian.AppendUint16(b, uint16(e.layer.Height))
	}
	b = append(b, frameMagic...)
	b = binary.BigEndian.AppendUint32(b, tag.source)
	b = append(b, tag.encoding)
	b = binary.BigEndian.AppendUint32(b, tag.number)
	b = binary.BigEndian.AppendUint32(b, tag.references)
	for len(b) < size {
		b = append(b, byte(len(b)))
	}
	return b
}

// vp8Packet is what the descriptor and the frame header of a packet say.
type vp8Packet struct {
	start         bool
	pictureID     int // -1 without
	tl0           int // -1 without
	tid           int // -1 without
	key           bool
	width, height int
	tag           frameTag
	tagged        bool
}

// parseVP8 reads a payload; ok is false when it is no VP8 packet.
func parseVP8(b []byte) (p vp8Packet, ok bool) {
	p.pictureID, p.tl0, p.tid = -1, -1, -1
	if len(b) < 2 {
		return p, false
	}
	p.start = b[0]&0x10 != 0 && b[0]&0x07 == 0
	i := 1
	if b[0]&0x80 != 0 {
		x := b[1]
		i = 2
		if x&0x80 != 0 {
			if len(b) < i+2 {
				return p, false
			}
			if b[i]&0x80 != 0 {
				p.pictureID = int(binary.BigEndian.Uint16(b[i:]) & 0x7fff)
				i += 2
			} else {
				p.pictureID = int(b[i])
				i++
			}
		}
		if x&0x40 != 0 && len(b) > i {
			p.tl0 = int(b[i])
			i++
		}
		if x&0x30 != 0 && len(b) > i {
			if x&0x20 != 0 {
				p.tid = int(b[i] >> 6)
			}
			i++
		}
	}
	if len(b) <= i {
		return p, false
	}
	if !p.start {
		return p, true
	}
	f := b[i:]
	if len(f) < 3 {
		return p, false
	}
	p.key = f[0]&1 == 0
	f = f[3:]
	if p.key {
		if len(f) < 7 || f[0] != 0x9d || f[1] != 0x01 || f[2] != 0x2a {
			return p, false
		}
		p.width = int(binary.LittleEndian.Uint16(f[3:]) & 0x3fff)
		p.height = int(binary.LittleEndian.Uint16(f[5:]) & 0x3fff)
		f = f[7:]
	}
	if len(f) >= frameTagSize && string(f[:len(frameMagic)]) == frameMagic {
		f = f[len(frameMagic):]
		p.tagged = true
		p.tag = frameTag{
			source: binary.BigEndian.Uint32(f), encoding: f[4], number: binary.BigEndian.Uint32(f[5:]), references: binary.BigEndian.Uint32(f[9:]),
		}
	}
	return p, true
}
