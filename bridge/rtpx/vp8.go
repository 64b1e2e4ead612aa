package rtpx

import "encoding/binary"

// VP8 is the payload descriptor of a VP8 packet (RFC 7741 §4.2) and, at the
// start of a frame, what the bridge needs of the frame header.
type VP8 struct {
	PictureID uint16
	Width     uint16 // of a key frame, else 0
	Height    uint16
	TL0       uint8
	TID       uint8
	KeyIdx    uint8
	Len       uint8 // length of the descriptor

	Start        bool // first packet of the frame: S bit, partition 0
	Key          bool // first packet of a key frame
	NonRef       bool
	Sync         bool // Y bit: depends on the base layer only
	HasPictureID bool
	LongID       bool // PictureID has 15 bits
	HasTL0       bool
	HasTID       bool

	picOff, tl0Off uint8
}

// Parse reads the descriptor at the start of a payload. It returns false when
// it does not fit.
func (v *VP8) Parse(p []byte) bool {
	*v = VP8{}
	if len(p) < 1 {
		return false
	}
	b0 := p[0]
	v.NonRef = b0&0x20 != 0
	v.Start = b0&0x10 != 0 && b0&0x0F == 0
	at := 1
	if b0&0x80 != 0 {
		if len(p) < 2 {
			return false
		}
		x := p[1]
		at = 2
		if x&0x80 != 0 { // I
			if len(p) <= at {
				return false
			}
			v.HasPictureID = true
			v.picOff = uint8(at)
			if p[at]&0x80 != 0 {
				if len(p) < at+2 {
					return false
				}
				v.LongID = true
				v.PictureID = binary.BigEndian.Uint16(p[at:]) & 0x7FFF
				at += 2
			} else {
				v.PictureID = uint16(p[at])
				at++
			}
		}
		if x&0x40 != 0 { // L
			if len(p) <= at {
				return false
			}
			v.HasTL0 = true
			v.tl0Off = uint8(at)
			v.TL0 = p[at]
			at++
		}
		if x&0x30 != 0 { // T or K share a byte
			if len(p) <= at {
				return false
			}
			if x&0x20 != 0 {
				v.HasTID = true
				v.TID = p[at] >> 6
				v.Sync = p[at]&0x20 != 0
			}
			if x&0x10 != 0 {
				v.KeyIdx = p[at] & 0x1F
			}
			at++
		}
	}
	if len(p) <= at { // RFC 7741 §4.2: a payload follows
		return false
	}
	v.Len = uint8(at)
	// RFC 6386 §9.1: the inverse key frame bit is the lowest of the frame tag.
	if v.Start && p[at]&0x01 == 0 {
		v.Key = true
		if f := p[at:]; len(f) >= 10 && f[3] == 0x9D && f[4] == 0x01 && f[5] == 0x2A {
			v.Width = binary.LittleEndian.Uint16(f[6:]) & 0x3FFF
			v.Height = binary.LittleEndian.Uint16(f[8:]) & 0x3FFF
		}
	}
	return true
}

// IDs is how many picture ids there are: the descriptor has 7 or 15 bits for them.
func (v *VP8) IDs() int64 {
	if v.LongID {
		return 1 << 15
	}
	return 1 << 7
}

// Rewrite puts another picture id and TL0PICIDX into a copy of the payload
// that v was parsed from; fields that the descriptor lacks stay away.
func (v *VP8) Rewrite(p []byte, pictureID uint16, tl0 uint8) {
	if v.HasPictureID {
		if v.LongID {
			binary.BigEndian.PutUint16(p[v.picOff:], pictureID|0x8000)
		} else {
			p[v.picOff] = byte(pictureID & 0x7F)
		}
	}
	if v.HasTL0 {
		p[v.tl0Off] = tl0
	}
}
