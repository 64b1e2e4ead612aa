package rtpx

// REDPrimary finds the primary block of redundant audio (RFC 2198 §3): its
// payload type and its bytes, which point into p.
func REDPrimary(p []byte) (pt uint8, data []byte, ok bool) {
	var red RED
	if !red.Parse(p) {
		return 0, nil, false
	}
	return red.Primary.PT, red.Primary.Data, true
}

// REDBlock is one block of redundant audio. Data points into the packet.
type REDBlock struct {
	PT     uint8
	Offset uint16 // of its timestamp, to be taken off the packet's
	Data   []byte
}

// maxRED is how many redundant blocks are read; libwebrtc sends at most 9, of
// which all but the newest are older than anybody waits for.
const maxRED = 10

// RED is the payload of redundant audio (RFC 2198).
type RED struct {
	Primary REDBlock
	blocks  [maxRED]REDBlock // oldest first
	n       int
}

// Parse reads a payload. It returns false if the payload is malformed or has no
// primary block.
func (r *RED) Parse(p []byte) bool {
	r.n = 0
	at := 0
	for ; ; at += 4 {
		if at >= len(p) {
			return false
		}
		if p[at]&0x80 == 0 {
			break
		}
		if at+4 > len(p) || r.n == maxRED {
			return false
		}
		n := int(p[at+2]&0x03)<<8 | int(p[at+3])
		if n > len(p) {
			return false
		}
		// Where its bytes lie is known behind the last header.
		r.blocks[r.n] = REDBlock{PT: p[at] & 0x7F, Offset: uint16(p[at+1])<<6 | uint16(p[at+2])>>2, Data: p[:n]}
		r.n++
	}
	pt := p[at] & 0x7F
	at++
	for i := range r.blocks[:r.n] {
		n := len(r.blocks[i].Data)
		if at+n > len(p) {
			return false
		}
		r.blocks[i].Data = p[at : at+n : at+n]
		at += n
	}
	r.Primary = REDBlock{PT: pt, Data: p[at:]}
	return at < len(p)
}

// Redundant returns what was the primary block so many packets ago; 1 is the
// packet before.
func (r *RED) Redundant(back int) (b REDBlock, ok bool) {
	if back < 1 || back > r.n {
		return b, false
	}
	b = r.blocks[r.n-back]
	return b, len(b.Data) > 0
}
