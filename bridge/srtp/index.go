package srtp

const (
	median   = 1 << 15
	maxIndex = 1<<48 - 1
)

// guess is the index of a packet (RFC 3711 §3.3.1), from the highest one so far
// and the sequence number. Below half a turn the roll-over counter can only be
// 0, so a number from beyond counts as later: what libsrtp, and so every
// browser, makes of it.
func guess(highest uint64, seq uint16) uint64 {
	s, roc := uint16(highest), highest>>16
	switch {
	case highest <= median:
		return uint64(seq)
	case s < median && int(seq)-int(s) > median && roc > 0:
		roc--
	case s >= median && int(s)-median > int(seq):
		roc++
	}
	return roc<<16 | uint64(seq)
}

// window remembers which indices have come (RFC 3711 §3.3.2).
type window struct {
	highest uint64
	bits    []uint64 // a ring by index
}

// size is how far back the window reaches.
func (w *window) size() uint64 { return uint64(len(w.bits)) * 64 }

// fresh says that an index has not come yet and is not too old to tell.
func (w *window) fresh(i uint64) bool {
	if i > w.highest {
		return true
	}
	// One word less than there is: that of the highest is shared with the oldest.
	return w.highest-i < w.size()-64 && w.bits[i>>6%uint64(len(w.bits))]>>(i&63)&1 == 0
}

// accept notes an index that is fresh.
func (w *window) accept(i uint64) {
	if i > w.highest {
		from, to := w.highest>>6+1, i>>6
		if to-from >= uint64(len(w.bits)) && to >= from {
			clear(w.bits)
		} else {
			for k := from; k <= to; k++ {
				w.bits[k%uint64(len(w.bits))] = 0
			}
		}
		w.highest = i
	}
	w.bits[i>>6%uint64(len(w.bits))] |= 1 << (i & 63)
}
