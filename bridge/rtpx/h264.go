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

// H264Key says that a payload begins, or lies at the beginning of, a picture
// that starts decoding anew: it holds an IDR slice or a sequence parameter set,
// alone, aggregated, or as the first fragment (RFC 6184 §5.6 to §5.8).
func H264Key(p []byte) bool {
	if len(p) < 1 {
		return false
	}
	switch t := p[0] & 0x1F; t {
	case nalIDR, nalSPS:
		return true
	case nalSTAPA, nalSTAPB:
		at := 1
		if t == nalSTAPB {
			at = 3 // decoding order number
		}
		for at+3 <= len(p) {
			n := int(binary.BigEndian.Uint16(p[at:]))
			at += 2
			if n == 0 || at+n > len(p) {
				return false
			}
			if u := p[at] & 0x1F; u == nalIDR || u == nalSPS {
				return true
			}
			at += n
		}
	case nalFUA, nalFUB:
		if len(p) < 2 || p[1]&0x80 == 0 { // S bit
			return false
		}
		u := p[1] & 0x1F
		return u == nalIDR || u == nalSPS
	}
	return false
}
