package rtpx

// AV1 is the aggregation header of an AV1 packet (AV1 RTP §4.4).
type AV1 struct {
	Continues bool // Z: the first element continues one of the packet before
	Key       bool // N: first packet of a coded video sequence
}

// Parse reads the aggregation header. It returns false for an empty payload.
func (a *AV1) Parse(p []byte) bool {
	*a = AV1{}
	if len(p) < 2 {
		return false
	}
	a.Continues = p[0]&0x80 != 0
	a.Key = p[0]&0x08 != 0 && !a.Continues
	return true
}
