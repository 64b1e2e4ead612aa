package rtpx

import "encoding/binary"

// RTCP packet types and feedback formats.
const (
	TypeSR    = 200 // RFC 3550 §6.4.1
	TypeRR    = 201
	TypeSDES  = 202
	TypeBYE   = 203
	TypeAPP   = 204
	TypeRTPFB = 205 // RFC 4585 §6.2
	TypePSFB  = 206 // RFC 4585 §6.3
	TypeXR    = 207 // RFC 3611

	FormatNACK = 1  // of RTPFB, RFC 4585 §6.2.1
	FormatTWCC = 15 // of RTPFB, transport-wide-cc-extensions-01 §3.1
	FormatPLI  = 1  // of PSFB, RFC 4585 §6.3.1
	FormatFIR  = 4  // of PSFB, RFC 5104 §4.3.1
	FormatREMB = 15 // of PSFB, application layer feedback
)

// RTCP is one packet of a compound, header included, padding cut off.
type RTCP struct {
	Type  uint8
	Count uint8 // report count or feedback format
	b     []byte
}

// NextRTCP takes the first packet off a compound. ok is false at the end and
// at the first malformed byte; reduced-size compounds (RFC 5506) are welcome.
func NextRTCP(b []byte) (p RTCP, rest []byte, ok bool) {
	if len(b) < 4 || b[0]>>6 != 2 {
		return RTCP{}, nil, false
	}
	n := 4 * (int(binary.BigEndian.Uint16(b[2:])) + 1)
	if n > len(b) {
		return RTCP{}, nil, false
	}
	p = RTCP{Type: b[1], Count: b[0] & 0x1F, b: b[:n]}
	if b[0]&0x20 != 0 {
		pad := int(b[n-1])
		if pad == 0 || pad > n-4 {
			return RTCP{}, nil, false
		}
		p.b = b[:n-pad]
	}
	return p, b[n:], true
}

// Sender is the SSRC of whoever sent the packet, 0 if it is too short.
func (p *RTCP) Sender() uint32 { return p.u32(4) }

// Media is the SSRC that a feedback packet is about, 0 if it is too short.
func (p *RTCP) Media() uint32 { return p.u32(8) }

func (p *RTCP) u32(at int) uint32 {
	if len(p.b) < at+4 {
		return 0
	}
	return binary.BigEndian.Uint32(p.b[at:])
}

// SenderInfo is the middle of a sender report (RFC 3550 §6.4.1).
type SenderInfo struct {
	NTP     uint64
	TS      uint32
	Packets uint32
	Octets  uint32
}

// SenderInfo reads a sender report.
func (p *RTCP) SenderInfo() (s SenderInfo, ok bool) {
	if p.Type != TypeSR || len(p.b) < 28 {
		return s, false
	}
	s.NTP = binary.BigEndian.Uint64(p.b[8:])
	s.TS = binary.BigEndian.Uint32(p.b[16:])
	s.Packets = binary.BigEndian.Uint32(p.b[20:])
	s.Octets = binary.BigEndian.Uint32(p.b[24:])
	return s, true
}

// ReportBlock is one reception report (RFC 3550 §6.4.1).
type ReportBlock struct {
	SSRC     uint32
	Fraction uint8 // of packets lost since the last report, in 1/256
	Lost     int32 // since the beginning, 24 bits on the wire
	Highest  uint32
	Jitter   uint32
	LSR      uint32
	DLSR     uint32
}

// Report reads reception report i of a sender or receiver report.
func (p *RTCP) Report(i int) (r ReportBlock, ok bool) {
	at := 8 + 24*i
	switch p.Type {
	case TypeSR:
		at += 20
	case TypeRR:
	default:
		return r, false
	}
	if i >= int(p.Count) || len(p.b) < at+24 {
		return r, false
	}
	b := p.b[at:]
	r.SSRC = binary.BigEndian.Uint32(b)
	r.Fraction = b[4]
	r.Lost = int32(binary.BigEndian.Uint32(b[4:])<<8) >> 8
	r.Highest = binary.BigEndian.Uint32(b[8:])
	r.Jitter = binary.BigEndian.Uint32(b[12:])
	r.LSR = binary.BigEndian.Uint32(b[16:])
	r.DLSR = binary.BigEndian.Uint32(b[20:])
	return r, true
}

// Is says whether the packet is feedback of this type and format.
func (p *RTCP) Is(typ, format uint8) bool { return p.Type == typ && p.Count == format }

// NACK reads pair i of a generic NACK: a lost sequence number and a mask of the
// 16 that follow it.
func (p *RTCP) NACK(i int) (pid, mask uint16, ok bool) {
	at := 12 + 4*i
	if !p.Is(TypeRTPFB, FormatNACK) || len(p.b) < at+4 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint16(p.b[at:]), binary.BigEndian.Uint16(p.b[at+2:]), true
}

// FIR reads entry i of a full intra request.
func (p *RTCP) FIR(i int) (ssrc uint32, seq uint8, ok bool) {
	at := 12 + 8*i
	if !p.Is(TypePSFB, FormatFIR) || len(p.b) < at+8 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint32(p.b[at:]), p.b[at+4], true
}

// REMB reads a receiver estimated maximum bitrate in bits per second.
func (p *RTCP) REMB() (bps uint64, ok bool) {
	if !p.Is(TypePSFB, FormatREMB) || len(p.b) < 20 || string(p.b[12:16]) != "REMB" {
		return 0, false
	}
	exp := p.b[17] >> 2
	mant := uint64(p.b[17]&3)<<16 | uint64(binary.BigEndian.Uint16(p.b[18:]))
	if exp > 46 {
		return 1<<64 - 1, true
	}
	return mant << exp, true
}

// TWCC is a transport-wide feedback packet, to be walked with Next.
type TWCC struct {
	Base      uint16 // first sequence number
	Statuses  uint16 // how many follow
	Reference int32  // 64 ms units
	Feedback  uint8

	chunks, deltas []byte
	i              uint16
	chunk          uint16 // the chunk being read
	left           int    // statuses left in it
	at             int64  // arrival of the last received packet, 250 µs units
}

// TWCC reads the head of a transport-wide feedback packet.
func (p *RTCP) TWCC() (t TWCC, ok bool) {
	if !p.Is(TypeRTPFB, FormatTWCC) || len(p.b) < 20 {
		return t, false
	}
	b := p.b
	t.Base = binary.BigEndian.Uint16(b[12:])
	t.Statuses = binary.BigEndian.Uint16(b[14:])
	t.Reference = int32(binary.BigEndian.Uint32(b[16:])) >> 8
	t.Feedback = b[19]
	t.at = int64(t.Reference) * 256
	// The chunks must be walked once to learn where the deltas begin.
	at, n := 20, 0
	for n < int(t.Statuses) {
		if at+2 > len(b) {
			return TWCC{}, false
		}
		n += chunkLen(binary.BigEndian.Uint16(b[at:]))
		at += 2
	}
	t.chunks, t.deltas = b[20:at], b[at:]
	return t, true
}

// chunkLen is the number of statuses in a chunk.
func chunkLen(c uint16) int {
	switch {
	case c&0x8000 == 0:
		return int(c & 0x1FFF)
	case c&0x4000 == 0:
		return 14
	}
	return 7
}

// Skip passes over statuses. Its cost depends on the size of the packet, not on
// how many statuses that claims to have.
func (t *TWCC) Skip(n int) {
	for n > 0 {
		if t.left == 0 || t.chunk&0x8000 != 0 || t.chunk>>13 != 0 {
			if _, _, _, ok := t.Next(); !ok {
				return
			}
			n--
			continue
		}
		run := min(n, t.left, int(t.Statuses-t.i)) // of packets that did not arrive
		if run == 0 {
			return
		}
		t.left -= run
		t.i += uint16(run)
		n -= run
	}
}

// Next gives the next status: whether seq arrived and when, in units of 250 µs
// of the receiver's clock. ok is false at the end and when deltas are missing.
func (t *TWCC) Next() (seq uint16, received bool, at int64, ok bool) {
	for t.left == 0 {
		if t.i == t.Statuses || len(t.chunks) < 2 {
			return 0, false, 0, false
		}
		t.chunk = binary.BigEndian.Uint16(t.chunks)
		t.chunks = t.chunks[2:]
		t.left = chunkLen(t.chunk)
	}
	if t.i == t.Statuses {
		return 0, false, 0, false
	}
	var sym uint16
	switch {
	case t.chunk&0x8000 == 0:
		sym = t.chunk >> 13 & 3
	case t.chunk&0x4000 == 0:
		sym = t.chunk >> (t.left - 1) & 1
	default:
		sym = t.chunk >> (2 * (t.left - 1)) & 3
	}
	t.left--
	seq = t.Base + t.i
	t.i++
	switch sym {
	case 1:
		if len(t.deltas) < 1 {
			t.i = t.Statuses // and no further: what follows would have the deltas of others
			return 0, false, 0, false
		}
		t.at += int64(t.deltas[0])
		t.deltas = t.deltas[1:]
	case 2:
		if len(t.deltas) < 2 {
			t.i = t.Statuses
			return 0, false, 0, false
		}
		t.at += int64(int16(binary.BigEndian.Uint16(t.deltas)))
		t.deltas = t.deltas[2:]
	default:
		return seq, false, 0, true
	}
	return seq, true, t.at, true
}
