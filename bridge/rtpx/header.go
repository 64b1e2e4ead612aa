package rtpx

import "encoding/binary"

// HeaderSize is the fixed part of an RTP header (RFC 3550 §5.1).
const HeaderSize = 12

// Profiles of header extensions (RFC 8285 §4.2, §4.3).
const (
	ProfileOneByte = 0xBEDE
	ProfileTwoByte = 0x1000
)

// Header is a view of an RTP header: values and offsets into the packet it was
// parsed from. It holds no slice, so it may be kept beside the packet.
type Header struct {
	SSRC    uint32
	TS      uint32
	Seq     uint16
	PT      uint8
	Marker  bool
	CSRCs   uint8
	Padding uint8 // bytes of padding at the end, the count byte included

	profile uint16 // of the extension block, 0 when there is none
	extOff  uint16 // first byte behind the extension header
	extLen  uint16
	payload uint16 // first byte of the payload
	end     uint16 // first byte behind the payload, padding excluded
}

// IsRTCP tells RTCP from RTP in a datagram that is one of the two
// (RFC 5761 §4: packet types 64 to 95 with the marker bit are RTCP).
func IsRTCP(b []byte) bool { return len(b) >= 2 && b[1] >= 192 && b[1] <= 223 }

// Parse reads the header of b. It returns false when b is no whole RTP packet:
// wrong version, header or extension longer than the packet, more padding than
// payload.
func (h *Header) Parse(b []byte) bool {
	if len(b) < HeaderSize || len(b) > 0xFFFF || b[0]>>6 != 2 {
		return false
	}
	*h = Header{
		SSRC:   binary.BigEndian.Uint32(b[8:]),
		TS:     binary.BigEndian.Uint32(b[4:]),
		Seq:    binary.BigEndian.Uint16(b[2:]),
		PT:     b[1] & 0x7F,
		Marker: b[1]&0x80 != 0,
		CSRCs:  b[0] & 0x0F,
	}
	at := HeaderSize + 4*int(h.CSRCs)
	if b[0]&0x10 != 0 {
		if len(b) < at+4 {
			return false
		}
		h.profile = binary.BigEndian.Uint16(b[at:])
		n := 4 * int(binary.BigEndian.Uint16(b[at+2:]))
		at += 4
		h.extOff, h.extLen = uint16(at), uint16(n)
		at += n
	}
	if at > len(b) {
		return false
	}
	end := len(b)
	if b[0]&0x20 != 0 {
		// RFC 3550 §5.1: the last byte counts the padding, itself included.
		pad := int(b[len(b)-1])
		if pad == 0 || pad > end-at {
			return false
		}
		h.Padding = uint8(pad)
		end -= pad
	}
	h.payload, h.end = uint16(at), uint16(end)
	return true
}

// Payload is the payload of b without padding.
func (h *Header) Payload(b []byte) []byte { return b[h.payload:h.end:h.end] }

// PayloadLen is the length of the payload without padding.
func (h *Header) PayloadLen() int { return int(h.end - h.payload) }

// Ext finds the header extension element with this id, in either form: the
// form may change from packet to packet of one stream (RFC 8285 §4.1.2).
// The slice points into b.
func (h *Header) Ext(b []byte, id uint8) ([]byte, bool) {
	if id == 0 {
		return nil, false
	}
	it := h.Exts(b)
	for it.Next() {
		if it.ID == id {
			return it.Data, true
		}
	}
	return nil, false
}

// Exts iterates over the elements of the extension block of b.
func (h *Header) Exts(b []byte) ExtIter {
	if h.profile == 0 {
		return ExtIter{}
	}
	return ExtIter{rest: b[h.extOff : h.extOff+h.extLen], profile: h.profile}
}

// ExtIter walks over header extension elements. ID and Data are valid after
// Next returned true. A malformed element ends the walk.
type ExtIter struct {
	ID   uint8
	Data []byte

	rest    []byte
	profile uint16
}

// Next advances to the next element.
func (it *ExtIter) Next() bool {
	for len(it.rest) > 0 {
		if it.rest[0] == 0 { // padding, RFC 8285 §4.1.1
			it.rest = it.rest[1:]
			continue
		}
		var id uint8
		var n, head int
		switch {
		case it.profile == ProfileOneByte:
			id, n, head = it.rest[0]>>4, int(it.rest[0]&0x0F)+1, 1
			if id == 15 { // RFC 8285 §4.2: stop at the reserved id
				it.rest = nil
				return false
			}
		case it.profile&0xFFF0 == ProfileTwoByte: // the low bits are application bits
			if len(it.rest) < 2 {
				it.rest = nil
				return false
			}
			id, n, head = it.rest[0], int(it.rest[1]), 2
		default:
			it.rest = nil
			return false
		}
		if len(it.rest) < head+n {
			it.rest = nil
			return false
		}
		it.ID, it.Data = id, it.rest[head:head+n]
		it.rest = it.rest[head+n:]
		if id == 0 { // one-byte id 0 with a length is padding that must be skipped
			continue
		}
		return true
	}
	return false
}

// SetSSRC writes the SSRC of an RTP packet in place.
func SetSSRC(b []byte, ssrc uint32) { binary.BigEndian.PutUint32(b[8:], ssrc) }

// SetSeq writes the sequence number in place.
func SetSeq(b []byte, seq uint16) { binary.BigEndian.PutUint16(b[2:], seq) }

// SetTS writes the timestamp in place.
func SetTS(b []byte, ts uint32) { binary.BigEndian.PutUint32(b[4:], ts) }

// SetPT writes the payload type in place and keeps the marker.
func SetPT(b []byte, pt uint8) { b[1] = b[1]&0x80 | pt&0x7F }

// SetMarker writes the marker bit in place.
func SetMarker(b []byte, on bool) {
	if on {
		b[1] |= 0x80
	} else {
		b[1] &^= 0x80
	}
}

// PutHeader writes the fixed part of an RTP header without padding, CSRCs and
// extension, and returns its length. dst must have HeaderSize bytes.
func PutHeader(dst []byte, pt uint8, marker bool, seq uint16, ts, ssrc uint32) int {
	_ = dst[HeaderSize-1]
	dst[0] = 0x80
	dst[1] = pt & 0x7F
	SetMarker(dst, marker)
	SetSeq(dst, seq)
	SetTS(dst, ts)
	SetSSRC(dst, ssrc)
	return HeaderSize
}

// Unwrap turns a retransmission into the packet that it carries: original
// sequence number back in place (RFC 4588 §4), SSRC and payload type as given,
// padding cut off. It changes p and parses h again. It returns false when the
// packet carries nothing, as the padding that senders use for probing.
func (p *Packet) Unwrap(h *Header, ssrc uint32, pt uint8) bool {
	if h.PayloadLen() < 2 {
		return false
	}
	b := p.Bytes()
	seq := binary.BigEndian.Uint16(b[h.payload:])
	copy(b[h.payload:h.end-2], b[h.payload+2:h.end])
	b = b[:h.end-2]
	b[0] &^= 0x20
	SetSeq(b, seq)
	SetSSRC(b, ssrc)
	SetPT(b, pt)
	p.SetLen(len(b))
	return h.Parse(b)
}
