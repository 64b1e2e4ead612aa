package swarm

import (
	"encoding/binary"
)

// tag ends the payload of every packet sent.
type tag struct {
	sent     int64 // Unix ns
	sender   uint32
	encoding uint8
}

const (
	tagMagic = 0x5377546D
	tagSize  = 17
	// descriptorSize is that of the VP8 descriptors sent: 15-bit picture id,
	// TL0PICIDX, temporal layer (RFC 7741 §4.2).
	descriptorSize = 6
	// keyHeader is the frame header of a key frame (RFC 6386 §9.1).
	keyHeader = 10
)

func (t tag) put(b []byte) {
	binary.BigEndian.PutUint32(b, tagMagic)
	binary.BigEndian.PutUint64(b[4:], uint64(t.sent))
	binary.BigEndian.PutUint32(b[12:], t.sender)
	b[16] = t.encoding
}

func readTag(payload []byte) (t tag, ok bool) {
	if len(payload) < tagSize {
		return t, false
	}
	b := payload[len(payload)-tagSize:]
	if binary.BigEndian.Uint32(b) != tagMagic {
		return t, false
	}
	return tag{int64(binary.BigEndian.Uint64(b[4:])), binary.BigEndian.Uint32(b[12:]), b[16]}, true
}

// keyFrame reads descriptor and frame header of a packet; key says that a key
// frame begins with it.
func keyFrame(b []byte) (width, height int, key bool) {
	if len(b) < 2 || b[0]&0x17 != 0x10 { // S, partition 0
		return 0, 0, false
	}
	i := 1
	if b[0]&0x80 != 0 {
		x := b[1]
		i = 2
		if x&0x80 != 0 {
			if len(b) > i && b[i]&0x80 != 0 {
				i++
			}
			i++
		}
		if x&0x40 != 0 {
			i++
		}
		if x&0x30 != 0 {
			i++
		}
	}
	if len(b) < i+keyHeader {
		return 0, 0, false
	}
	f := b[i:]
	if f[0]&1 != 0 || f[3] != 0x9d || f[4] != 0x01 || f[5] != 0x2a {
		return 0, 0, false
	}
	return int(binary.LittleEndian.Uint16(f[6:]) & 0x3fff), int(binary.LittleEndian.Uint16(f[8:]) & 0x3fff), true
}

// temporalLayers of four frames, as libwebrtc's pattern of three layers has them.
var temporalLayers = [4]uint8{0, 2, 1, 2}

// encoder numbers the frames of one encoding.
type encoder struct {
	width, height int
	layers        int // temporal ones
	cycle         int
	pictureID     uint16
	tl0           uint8
	tid           uint8
}

// next begins a frame.
func (e *encoder) next(key bool) {
	if key {
		e.cycle = 0
	}
	e.tid = 0
	if e.layers > 1 {
		e.tid = temporalLayers[e.cycle%4]
	}
	e.cycle++
	e.pictureID = (e.pictureID + 1) & 0x7fff
	if e.tid == 0 {
		e.tl0++
	}
}

// head writes what a packet of the frame begins with and returns its length.
func (e *encoder) head(b []byte, start, key bool) int {
	b[0] = 0x80 // X
	if start {
		b[0] |= 0x10 // S
	}
	if e.tid == 2 {
		b[0] |= 0x20 // N: nothing refers to it
	}
	b[1] = 0x80 | 0x40 | 0x20 // I, L, T
	binary.BigEndian.PutUint16(b[2:], e.pictureID|0x8000)
	b[4] = e.tl0
	b[5] = e.tid << 6
	if e.tid == 0 {
		b[5] |= 0x20 // Y: refers to layer 0 only
	}
	if !start {
		return descriptorSize
	}
	f := b[descriptorSize:]
	f[0], f[1], f[2] = 1<<4|1, 0x20, 0 // shown, not a key frame
	if !key {
		return descriptorSize + 3
	}
	f[0] &^= 1
	f[3], f[4], f[5] = 0x9d, 0x01, 0x2a
	binary.LittleEndian.PutUint16(f[6:], uint16(e.width))
	binary.LittleEndian.PutUint16(f[8:], uint16(e.height))
	return descriptorSize + keyHeader
}
