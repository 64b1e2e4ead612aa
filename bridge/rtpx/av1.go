package rtpx

// AV1 is the aggregation header of an AV1 packet (AV1 RTP §4.4).
type AV1 struct {
	Continues bool // Z: the first element continues one of the packet before
	Continued bool // Y: the last element goes on in the next packet
	Key       bool // N: first packet of a coded video sequence
	Elements  uint8
}

// OBU types (AV1 §6.2.2).
const obuSequenceHeader = 1

// Parse reads the aggregation header. It returns false for an empty payload.
func (a *AV1) Parse(p []byte) bool {
	*a = AV1{}
	if len(p) < 2 {
		return false
	}
	a.Continues = p[0]&0x80 != 0
	a.Continued = p[0]&0x40 != 0
	a.Elements = p[0] >> 4 & 3
	a.Key = p[0]&0x08 != 0 && !a.Continues
	return true
}

// AV1SequenceHeader says whether a payload holds a sequence header, with which
// every coded video sequence begins.
func AV1SequenceHeader(p []byte) bool {
	var a AV1
	if !a.Parse(p) {
		return false
	}
	rest := p[1:]
	for i := 0; len(rest) > 0; i++ {
		n := len(rest)
		// With W elements the last one has no length (AV1 RTP §4.3).
		if a.Elements == 0 || i+1 < int(a.Elements) {
			v, k := leb128(rest)
			if k == 0 || v == 0 || v > len(rest)-k {
				return false
			}
			rest, n = rest[k:], v
		}
		if !(i == 0 && a.Continues) && rest[0]>>3&0x0F == obuSequenceHeader {
			return true
		}
		rest = rest[n:]
	}
	return false
}

// leb128 reads a little-endian base 128 number of at most 5 bytes; n is 0 when
// it does not fit.
func leb128(b []byte) (v, n int) {
	for n < len(b) && n < 5 {
		v |= int(b[n]&0x7F) << (7 * n)
		n++
		if b[n-1]&0x80 == 0 {
			return v, n
		}
	}
	return 0, 0
}
