package rtpx

// Codec says how a payload is to be read.
type Codec uint8

// Codecs that the packet path knows; all others are forwarded unread.
const (
	CodecOther Codec = iota
	CodecOpus
	CodecVP8
	CodecVP9
	CodecH264
	CodecAV1
)

// CodecNamed maps the encoding name of signalling, in upper or lower case.
func CodecNamed(name string) Codec {
	switch lower(name) {
	case "opus":
		return CodecOpus
	case "vp8":
		return CodecVP8
	case "vp9":
		return CodecVP9
	case "h264":
		return CodecH264
	case "av1", "av1x":
		return CodecAV1
	}
	return CodecOther
}

func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// Info is what ingress learnt about a packet. It is filled before the packet is
// handed on and immutable afterwards.
type Info struct {
	Header

	// Number is the sequence number with the gaps of discarded packets closed.
	Number uint16

	Codec    Codec
	Encoding uint8 // simulcast encoding, 0 the lowest
	Spatial  uint8
	Temporal uint8

	Start bool // known to be the first packet of a (layer) frame
	End   bool // last packet of a (layer) frame
	Key   bool // lies at the start of a frame that needs no earlier one
	// Empty says that the packet brought nothing, but its number is awaited.
	Empty bool
	// Overtaken says that packets behind this key frame came before its first one.
	Overtaken bool
	// Stale says that those are forgotten.
	Stale bool

	// For says who gets a packet of redundant audio (RFC 2198).
	For Audience

	HasLevel       bool
	Level          uint8 // the byte of RFC 6464
	HasOrientation bool
	Orientation    uint8

	// Of the codec's descriptor only the one that Codec names is filled.
	VP8 VP8
	VP9 VP9
	// DD is filled when HasDD; DDRaw are its bytes inside the packet.
	HasDD bool
	DD    DD
	DDRaw []byte
}

// Audience tells the receivers that read redundant audio from those for which it
// is taken apart.
type Audience uint8

// Audiences.
const (
	ForAll   Audience = iota
	ForPlain          // taken out of redundancy in place of a lost packet
	ForRED            // came late: the others got it out of redundancy
)
