package rtpx

import "encoding/binary"

// twccWindow is how many sequence numbers a recorder remembers.
const twccWindow = 1024

// TWCCRecorder notes when packets with a transport-wide sequence number arrived
// and writes the feedback for their sender
// (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1). It allocates nothing.
type TWCCRecorder struct {
	u       Unwrapper
	at      [twccWindow]int64 // arrival, 0: not arrived
	start   int64             // first number of the next feedback
	pending bool
	count   uint8

	syms   [twccWindow]uint8
	deltas [twccWindow]int16
}

// Record notes the arrival of seq at a time in nanoseconds. A packet that comes
// after its feedback went out moves the start of the next one back to it.
func (r *TWCCRecorder) Record(seq uint16, now int64) {
	high, any := r.u.Last()
	pos := r.u.Unwrap(seq)
	if !any {
		r.start = pos
	} else if pos <= high-twccWindow {
		return
	} else if pos > high {
		if pos-high >= twccWindow {
			clear(r.at[:])
		} else {
			for i := high + 1; i < pos; i++ {
				r.at[i%twccWindow] = 0
			}
		}
		r.start = max(r.start, pos-twccWindow+1)
	} else if r.at[pos%twccWindow] != 0 {
		return
	}
	r.at[pos%twccWindow] = max(now, 1)
	r.start = min(r.start, pos)
	r.pending = true
}

// Pending says that something arrived since the last feedback.
func (r *TWCCRecorder) Pending() bool { return r.pending }

// Append appends one feedback packet of at most about 1,100 bytes to b, and
// nothing when nothing is pending. Call it until Pending is false: a packet
// ends early where it is full or a delta does not fit 16 bits.
func (r *TWCCRecorder) Append(b []byte, sender, media uint32) []byte {
	if !r.pending {
		return b
	}
	high, _ := r.u.Last()
	first := r.start
	for first <= high && r.at[first%twccWindow] == 0 {
		first++
	}
	if first > high {
		r.pending = false
		return b
	}
	const unit, refUnit = 250_000, 64_000_000 // ns
	ref := r.at[first%twccWindow] / refUnit
	last := ref * (refUnit / unit) // in 250 µs
	n, nd, size := 0, 0, 20
	end := r.start
	for pos := r.start; pos <= high && size < 1100; pos++ {
		at := r.at[pos%twccWindow]
		sym := uint8(0)
		if at != 0 {
			d := at/unit - last
			if d < -32768 || d > 32767 {
				break
			}
			sym = 1
			size++
			if d < 0 || d > 255 {
				sym = 2
				size++
			}
			r.deltas[nd] = int16(d)
			nd++
			last += d
			end = pos + 1
		}
		r.syms[n] = sym
		n++
	}
	n = int(end - r.start) // what follows the last arrival belongs to the next feedback
	base := r.start
	r.start = end
	r.pending = end <= high
	if n == 0 {
		// Cannot be: the first arrival is always within reach of its own reference.
		r.pending = false
		return b
	}

	begin := len(b)
	b = appendRTCP(b, TypeRTPFB, FormatTWCC, 20)
	b = binary.BigEndian.AppendUint32(b, sender)
	b = binary.BigEndian.AppendUint32(b, media)
	b = binary.BigEndian.AppendUint16(b, uint16(base))
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	b = binary.BigEndian.AppendUint32(b, uint32(ref)<<8|uint32(r.count))
	r.count++
	b = appendChunks(b, r.syms[:n])
	i := 0
	for _, s := range r.syms[:n] {
		switch s {
		case 1:
			b = append(b, byte(r.deltas[i]))
			i++
		case 2:
			b = binary.BigEndian.AppendUint16(b, uint16(r.deltas[i]))
			i++
		}
	}
	if pad := -(len(b) - begin) & 3; pad > 0 {
		b[begin] |= 0x20
		for range pad - 1 {
			b = append(b, 0)
		}
		b = append(b, byte(pad))
	}
	binary.BigEndian.PutUint16(b[begin+2:], uint16((len(b)-begin)/4-1))
	return b
}

// appendChunks writes packet status chunks: runs where they are long, else
// vectors of one or two bits.
func appendChunks(b []byte, syms []uint8) []byte {
	for len(syms) > 0 {
		run := 1
		for run < len(syms) && syms[run] == syms[0] {
			run++
		}
		small := true
		for _, s := range syms[:min(14, len(syms))] {
			small = small && s < 2
		}
		var c uint16
		n := 0
		switch {
		case run >= 14 || run == len(syms) || run >= 7 && !small:
			n = min(run, 0x1FFF)
			c = uint16(syms[0])<<13 | uint16(n)
		case small:
			n = min(14, len(syms))
			c = 0x8000
			for i, s := range syms[:n] {
				c |= uint16(s) << (13 - i)
			}
		default:
			n = min(7, len(syms))
			c = 0xC000
			for i, s := range syms[:n] {
				c |= uint16(s) << (12 - 2*i)
			}
		}
		b = binary.BigEndian.AppendUint16(b, c)
		syms = syms[n:]
	}
	return b
}
