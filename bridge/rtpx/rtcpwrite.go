package rtpx

import "encoding/binary"

// AppendSR appends a sender report without reception reports (RFC 3550 §6.4.1).
func AppendSR(b []byte, ssrc uint32, s SenderInfo) []byte {
	b = appendRTCP(b, TypeSR, 0, 28)
	b = binary.BigEndian.AppendUint32(b, ssrc)
	b = binary.BigEndian.AppendUint64(b, s.NTP)
	b = binary.BigEndian.AppendUint32(b, s.TS)
	b = binary.BigEndian.AppendUint32(b, s.Packets)
	return binary.BigEndian.AppendUint32(b, s.Octets)
}

// AppendRR appends a receiver report with up to 31 blocks; more are left out.
func AppendRR(b []byte, sender uint32, blocks []ReportBlock) []byte {
	blocks = blocks[:min(len(blocks), 31)]
	b = appendRTCP(b, TypeRR, uint8(len(blocks)), 8+24*len(blocks))
	b = binary.BigEndian.AppendUint32(b, sender)
	for _, r := range blocks {
		b = binary.BigEndian.AppendUint32(b, r.SSRC)
		lost := min(max(r.Lost, -1<<23), 1<<23-1)
		b = binary.BigEndian.AppendUint32(b, uint32(r.Fraction)<<24|uint32(lost)&0xFFFFFF)
		b = binary.BigEndian.AppendUint32(b, r.Highest)
		b = binary.BigEndian.AppendUint32(b, r.Jitter)
		b = binary.BigEndian.AppendUint32(b, r.LSR)
		b = binary.BigEndian.AppendUint32(b, r.DLSR)
	}
	return b
}

// AppendNACK appends a generic NACK for the sequence numbers, which must be in
// ascending order (RFC 4585 §6.2.1).
func AppendNACK(b []byte, sender, media uint32, seqs []uint16) []byte {
	start := len(b)
	b = appendRTCP(b, TypeRTPFB, FormatNACK, 12)
	b = binary.BigEndian.AppendUint32(b, sender)
	b = binary.BigEndian.AppendUint32(b, media)
	for i := 0; i < len(seqs); {
		pid, mask := seqs[i], uint16(0)
		for i++; i < len(seqs) && seqs[i]-pid-1 < 16; i++ {
			mask |= 1 << (seqs[i] - pid - 1)
		}
		b = binary.BigEndian.AppendUint16(b, pid)
		b = binary.BigEndian.AppendUint16(b, mask)
	}
	binary.BigEndian.PutUint16(b[start+2:], uint16((len(b)-start)/4-1))
	return b
}

// AppendPLI appends a picture loss indication (RFC 4585 §6.3.1).
func AppendPLI(b []byte, sender, media uint32) []byte {
	b = appendRTCP(b, TypePSFB, FormatPLI, 12)
	b = binary.BigEndian.AppendUint32(b, sender)
	return binary.BigEndian.AppendUint32(b, media)
}

// AppendFIR appends a full intra request with one entry (RFC 5104 §4.3.1). seq
// must change with every new request.
func AppendFIR(b []byte, sender, media uint32, seq uint8) []byte {
	b = appendRTCP(b, TypePSFB, FormatFIR, 20)
	b = binary.BigEndian.AppendUint32(b, sender)
	b = binary.BigEndian.AppendUint32(b, 0) // §4.3.1.2: media source is 0
	b = binary.BigEndian.AppendUint32(b, media)
	return binary.BigEndian.AppendUint32(b, uint32(seq)<<24)
}

// appendRTCP appends a header for a packet of size bytes.
func appendRTCP(b []byte, typ, count uint8, size int) []byte {
	b = append(b, 0x80|count, typ)
	return binary.BigEndian.AppendUint16(b, uint16(size/4-1))
}

// AppendREMB appends a receiver estimated maximum bitrate for some SSRCs, at most 255
// (draft-alvestrand-rmcat-remb-03 §2.2). bps is rounded down.
func AppendREMB(b []byte, sender uint32, bps uint64, ssrcs []uint32) []byte {
	ssrcs = ssrcs[:min(len(ssrcs), 255)]
	b = appendRTCP(b, TypePSFB, FormatREMB, 20+4*len(ssrcs))
	b = binary.BigEndian.AppendUint32(b, sender)
	b = binary.BigEndian.AppendUint32(b, 0) // §2.2: media source is 0
	b = append(b, "REMB"...)
	exp := 0
	for ; bps>>18 != 0; exp++ {
		bps >>= 1
	}
	b = append(b, byte(len(ssrcs)), byte(exp)<<2|byte(bps>>16), byte(bps>>8), byte(bps))
	for _, ssrc := range ssrcs {
		b = binary.BigEndian.AppendUint32(b, ssrc)
	}
	return b
}
