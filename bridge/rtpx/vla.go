package rtpx

import "encoding/binary"

// Limits of the video layers allocation.
const (
	maxVLAStreams = 4
	maxVLASpatial = 4
	maxVLALayers  = maxVLAStreams * maxVLASpatial
)

// VLALayer is one spatial layer that a sender produces.
type VLALayer struct {
	Stream   uint8 // simulcast encoding
	Spatial  uint8
	Temporal uint8 // number of temporal layers, 1 to 4
	// Bitrate is the target in bits per second of each temporal layer with those
	// below it in the same spatial layer.
	Bitrate [4]int64
	// Width, Height and FPS are at most these, 0 when not told.
	Width, Height uint16
	FPS           uint8
}

// VLA is a video layers allocation: all layers that a source has at the moment,
// whatever stream of it carries the extension
// (libwebrtc docs/native-code/rtp-hdrext/video-layers-allocation00).
type VLA struct {
	Stream  uint8 // encoding on which it came
	Streams uint8
	N       uint8 // how many of Layers are valid; 0: the source is off
	Layers  [maxVLALayers]VLALayer
}

// Parse reads an extension element. It returns false when it is malformed.
func (v *VLA) Parse(e []byte) bool {
	*v = VLA{}
	if len(e) < 1 {
		return false
	}
	v.Stream = e[0] >> 6
	v.Streams = e[0]>>4&3 + 1
	if len(e) == 1 && e[0] == 0 {
		return true // nothing is sent
	}
	at := 1
	var masks [maxVLAStreams]uint8
	if shared := e[0] & 0x0F; shared != 0 {
		for i := range masks {
			masks[i] = shared
		}
	} else {
		n := (int(v.Streams) + 1) / 2
		if len(e) < at+n {
			return false
		}
		for i := range int(v.Streams) {
			masks[i] = e[at+i/2] >> (4 * (1 - i&1)) & 0x0F
		}
		at += n
	}
	for s := range int(v.Streams) {
		for sp := range maxVLASpatial {
			if masks[s]&(1<<sp) != 0 {
				v.Layers[v.N] = VLALayer{Stream: uint8(s), Spatial: uint8(sp)}
				v.N++
			}
		}
	}
	layers := v.Layers[:v.N]
	n := (len(layers) + 3) / 4
	if len(e) < at+n {
		return false
	}
	for i := range layers {
		layers[i].Temporal = e[at+i/4]>>(6-2*(i%4))&3 + 1
	}
	at += n
	for i := range layers {
		for t := range int(layers[i].Temporal) {
			kbps, n := leb128(e[at:])
			if n == 0 {
				return false
			}
			at += n
			layers[i].Bitrate[t] = int64(kbps) * 1000
		}
	}
	if len(e) < at+5*len(layers) {
		return true // sizes are sent now and then only
	}
	for i := range layers {
		l := &layers[i]
		l.Width = uint16(min(uint32(binary.BigEndian.Uint16(e[at:]))+1, 0xFFFF))
		l.Height = uint16(min(uint32(binary.BigEndian.Uint16(e[at+2:]))+1, 0xFFFF))
		l.FPS = e[at+4]
		at += 5
	}
	return true
}

// leb128 reads a number of at most 32 bits (AV1 §4.10.5); n is 0 when it is
// malformed.
func leb128(b []byte) (v uint32, n int) {
	for i := 0; i < 5 && i < len(b); i++ {
		v |= uint32(b[i]&0x7F) << (7 * i)
		if b[i]&0x80 == 0 {
			return v, i + 1
		}
	}
	return 0, 0
}
