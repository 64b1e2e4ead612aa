package rtpx

import "encoding/binary"

// VP9 is the payload descriptor of a VP9 packet (RFC 9628 §4.2).
type VP9 struct {
	PictureID uint16
	TL0       uint8
	TID       uint8
	SID       uint8
	Len       uint8 // length of the descriptor

	Start        bool // B: first packet of the layer frame
	End          bool // E: last packet of the layer frame
	InterPicture bool // P: predicted from earlier pictures
	InterLayer   bool // D: predicted from the spatial layer below
	NotUpperRef  bool // Z: no reference for the layer above
	SwitchUp     bool // U: the temporal layer may be joined here
	Flexible     bool // F
	HasPictureID bool
	LongID       bool
	HasLayers    bool
	HasTL0       bool
	HasSS        bool // scalability structure present

	Layers  uint8     // spatial layers in the structure
	Heights [8]uint16 // smaller dimension of each, 0 when not told

	picOff, tl0Off uint8
}

// Key says that the packet belongs to a layer frame that starts anew: nothing
// earlier is needed to decode the base layer of this picture.
func (v *VP9) Key() bool { return !v.InterPicture && v.SID == 0 }

// Parse reads the descriptor at the start of a payload. It returns false when
// it does not fit.
func (v *VP9) Parse(p []byte) bool {
	*v = VP9{}
	if len(p) < 1 {
		return false
	}
	b0 := p[0]
	v.InterPicture = b0&0x40 != 0
	v.Flexible = b0&0x10 != 0
	v.Start = b0&0x08 != 0
	v.End = b0&0x04 != 0
	v.NotUpperRef = b0&0x01 != 0
	at := 1
	if b0&0x80 != 0 { // I
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
	if b0&0x20 != 0 { // L
		if len(p) <= at {
			return false
		}
		v.HasLayers = true
		v.TID = p[at] >> 5
		v.SwitchUp = p[at]&0x10 != 0
		v.SID = p[at] >> 1 & 7
		v.InterLayer = p[at]&0x01 != 0
		at++
		if !v.Flexible {
			if len(p) <= at {
				return false
			}
			v.HasTL0 = true
			v.tl0Off = uint8(at)
			v.TL0 = p[at]
			at++
		}
	}
	if v.Flexible && v.InterPicture {
		// At most three reference indices, the N bit says that one more follows.
		for i := 0; ; i++ {
			if i == 3 || len(p) <= at {
				return false
			}
			more := p[at]&0x01 != 0
			at++
			if !more {
				break
			}
		}
	}
	if b0&0x02 != 0 { // V
		if len(p) <= at {
			return false
		}
		s := p[at]
		at++
		v.HasSS = true
		v.Layers = s>>5 + 1
		if s&0x10 != 0 {
			if len(p) < at+4*int(v.Layers) {
				return false
			}
			for i := range int(v.Layers) {
				w, h := binary.BigEndian.Uint16(p[at:]), binary.BigEndian.Uint16(p[at+2:])
				v.Heights[i] = min(w, h)
				at += 4
			}
		}
		if s&0x08 != 0 {
			if len(p) <= at {
				return false
			}
			n := int(p[at])
			at++
			for range n {
				if len(p) <= at {
					return false
				}
				at += 1 + int(p[at]>>2&3)
			}
		}
	}
	if len(p) <= at || at > 255 {
		return false
	}
	v.Len = uint8(at)
	return true
}

// Rewrite puts another picture id and TL0PICIDX into a copy of the payload
// that v was parsed from.
func (v *VP9) Rewrite(p []byte, pictureID uint16, tl0 uint8) {
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
