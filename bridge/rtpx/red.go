package rtpx

// REDPrimary finds the primary block of redundant audio (RFC 2198 §3): its
// payload type and its bytes, which point into p.
func REDPrimary(p []byte) (pt uint8, data []byte, ok bool) {
	skip := 0
	for at := 0; at < len(p); at += 4 {
		if p[at]&0x80 == 0 {
			head := at + 1
			if head+skip >= len(p) {
				return 0, nil, false
			}
			return p[at] & 0x7F, p[head+skip:], true
		}
		if at+4 > len(p) {
			return 0, nil, false
		}
		skip += int(p[at+2]&0x03)<<8 | int(p[at+3])
	}
	return 0, nil, false
}
