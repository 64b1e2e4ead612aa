package rtpx

import "encoding/binary"

// NAL unit types (H.264 table 7-1, RFC 6184 §5.4).
const (
	nalIDR   = 5
	nalSPS   = 7
	nalSTAPA = 24
	nalSTAPB = 25
	nalFUA   = 28
	nalFUB   = 29
)

// H264 is what the bridge needs of the NAL units in a payload.
type H264 struct {
	IDR bool // begins a slice of a picture that refers to no other
	SPS bool // holds a sequence parameter set, with which such a picture begins
}

// Parse looks at the NAL units of a payload: alone, aggregated, or the first
// fragment of one (RFC 6184 §5.6 to §5.8). It returns false for an empty payload.
func (h *H264) Parse(p []byte) bool {
	*h = H264{}
	if len(p) < 1 {
		return false
	}
	switch t := p[0] & 0x1F; t {
	case nalSTAPA, nalSTAPB:
		at := 1
		if t == nalSTAPB {
			at = 3 // decoding order number
		}
		for at+3 <= len(p) {
			n := int(binary.BigEndian.Uint16(p[at:]))
			at += 2
			if n == 0 || at+n > len(p) {
				break
			}
			h.unit(p[at])
			at += n
		}
	case nalFUA, nalFUB:
		if len(p) >= 2 && p[1]&0x80 != 0 { // S bit
			h.unit(p[1])
		}
	default:
		h.unit(t)
	}
	return true
}

func (h *H264) unit(header byte) {
	switch header & 0x1F {
	case nalIDR:
		h.IDR = true
	case nalSPS:
		h.SPS = true
	}
}
