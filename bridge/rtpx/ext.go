package rtpx

import "encoding/binary"

// URIs of the header extensions that the bridge reads or writes.
const (
	URIAudioLevel  = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"                                             // RFC 6464
	URIOrientation = "urn:3gpp:video-orientation"                                                              // 3GPP TS 26.114
	URIAbsSendTime = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"                              //
	URITransportCC = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"               //
	URIMid         = "urn:ietf:params:rtp-hdrext:sdes:mid"                                                     // RFC 8843
	URIDependency  = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension" // AV1 RTP, appendix A
	URIVideoLayers = "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00"                  //
)

// AudioLevel reads an RFC 6464 element: level is 0 (loudest) to 127 (silence),
// voice the sender's opinion.
func AudioLevel(e []byte) (level uint8, voice, ok bool) {
	if len(e) < 1 {
		return 0, false, false
	}
	return e[0] & 0x7F, e[0]&0x80 != 0, true
}

// TransportSeq reads a transport-wide sequence number.
func TransportSeq(e []byte) (uint16, bool) {
	if len(e) < 2 {
		return 0, false
	}
	return binary.BigEndian.Uint16(e), true
}

// PutAbsSendTime writes the 24-bit 6.18 fixed-point send time of a clock in
// nanoseconds. dst must have 3 bytes.
func PutAbsSendTime(dst []byte, ns int64) {
	t := uint64(ns) / 1000 << 18 / 1_000_000
	dst[0], dst[1], dst[2] = byte(t>>16), byte(t>>8), byte(t)
}

// ExtWriter collects header extension elements and writes the block. It holds
// at most 8 elements and borrows their bytes until Put.
type ExtWriter struct {
	ids  [8]uint8
	data [8][]byte
	n    int
	two  bool
	size int
}

// Reset empties the writer.
func (w *ExtWriter) Reset() { w.n, w.two, w.size = 0, false, 0 }

// Add adds an element; id 0 means "not negotiated" and is ignored, as is an
// element that does not fit.
func (w *ExtWriter) Add(id uint8, data []byte) {
	if id == 0 || w.n == len(w.ids) || len(data) > 255 {
		return
	}
	// RFC 8285 §4.2: the one-byte form takes ids 1 to 14 and 1 to 16 bytes.
	if id > 14 || len(data) > 16 || len(data) == 0 {
		w.two = true
	}
	w.ids[w.n], w.data[w.n] = id, data
	w.n++
	w.size += len(data)
}

// Count is how many elements were added.
func (w *ExtWriter) Count() int { return w.n }

// Len is the length that Put will write, header and padding included.
func (w *ExtWriter) Len() int {
	if w.n == 0 {
		return 0
	}
	per := 1
	if w.two {
		per = 2
	}
	return 4 + (w.size+per*w.n+3)&^3
}

// Put writes the block behind the fixed header that begins at b[0], sets the X
// bit there and returns the length of header and block. b must have room for
// HeaderSize + Len bytes; at returns the offset in b of each element's data in
// the order of Add.
func (w *ExtWriter) Put(b []byte) (n int, at [8]uint16) {
	if w.n == 0 {
		return HeaderSize, at
	}
	b[0] |= 0x10
	profile := uint16(ProfileOneByte)
	if w.two {
		profile = ProfileTwoByte
	}
	size := w.Len()
	binary.BigEndian.PutUint16(b[HeaderSize:], profile)
	binary.BigEndian.PutUint16(b[HeaderSize+2:], uint16((size-4)/4))
	o := HeaderSize + 4
	for i := range w.n {
		if w.two {
			b[o], b[o+1] = w.ids[i], byte(len(w.data[i]))
			o += 2
		} else {
			b[o] = w.ids[i]<<4 | byte(len(w.data[i])-1)
			o++
		}
		at[i] = uint16(o)
		o += copy(b[o:], w.data[i])
	}
	end := HeaderSize + size
	clear(b[o:end])
	return end, at
}
