package forward

import "math/bits"

// gapWindow is how far back a late number can still be placed.
const gapWindow = 1024

// gapMap renumbers a line of numbers so that those which were dropped leave no
// gap, while those that have not arrived yet keep their place. It remembers
// which of the last gapWindow positions were dropped.
type gapMap struct {
	last    int64 // newest position
	off     int64 // what to subtract behind last
	set     bool
	dropped [gapWindow / 64]uint64
}

// anchor starts anew: position pos will be numbered out.
func (g *gapMap) anchor(pos, out int64) {
	*g = gapMap{last: pos - 1, off: pos - out, set: true}
}

// place numbers a position. With drop it is taken out of the line, if nothing
// behind it was placed before; ok is false for dropped and too old positions.
func (g *gapMap) place(pos int64, drop bool) (out int64, ok bool) {
	if !g.set {
		g.anchor(pos, pos)
	}
	if pos > g.last {
		g.advance(pos)
		out = pos - g.off
		if drop {
			g.dropped[pos>>6&(gapWindow/64-1)] |= 1 << (pos & 63)
			g.off++
		}
		return out, !drop
	}
	if drop || g.last-pos >= gapWindow {
		return 0, false
	}
	if g.dropped[pos>>6&(gapWindow/64-1)]&(1<<(pos&63)) != 0 {
		return 0, false // its place is gone
	}
	return pos - g.off + int64(g.droppedSince(pos)), true
}

// skip takes all positions between the newest and pos out of the line.
func (g *gapMap) skip(pos int64) {
	for i := g.last + 1; i < pos && i-g.last < gapWindow; i++ {
		g.place(i, true)
	}
}

// advance makes pos the newest position; those between keep their place.
func (g *gapMap) advance(pos int64) {
	if pos-g.last >= gapWindow {
		clear(g.dropped[:])
	} else {
		for i := g.last + 1; i <= pos; i++ {
			g.dropped[i>>6&(gapWindow/64-1)] &^= 1 << (i & 63)
		}
	}
	g.last = pos
}

// droppedSince counts the dropped positions in (pos, last].
func (g *gapMap) droppedSince(pos int64) int {
	n := 0
	for i := pos + 1; i <= g.last; {
		word := g.dropped[i>>6&(gapWindow/64-1)] >> (i & 63)
		left := 64 - i&63
		if m := g.last - i + 1; m < left {
			word &= 1<<m - 1
			left = m
		}
		n += bits.OnesCount64(word)
		i += left
	}
	return n
}

// numberWindow remembers which of the newest numbers of a stream were used. Under
// SRTP a number must not be sent twice with different bytes (RFC 3711 §9.1).
type numberWindow struct {
	high uint16
	set  bool
	used [gapWindow / 64]uint64
}

// take notes a number as used; false when it was, or when it is too old to tell.
func (w *numberWindow) take(n uint16) bool {
	if d := n - w.high; !w.set || d < 0x8000 && d >= gapWindow {
		*w = numberWindow{high: n, set: true}
	} else if d < 0x8000 {
		for i := w.high + 1; i != n+1; i++ {
			w.used[i>>6&(gapWindow/64-1)] &^= 1 << (i & 63)
		}
		w.high = n
	} else if w.high-n >= gapWindow {
		return false
	}
	word, bit := &w.used[n>>6&(gapWindow/64-1)], uint64(1)<<(n&63)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// free takes back that a number was used.
func (w *numberWindow) free(n uint16) {
	if w.high-n < gapWindow {
		w.used[n>>6&(gapWindow/64-1)] &^= 1 << (n & 63)
	}
}

// back makes n the newest number again; those behind it are free.
func (w *numberWindow) back(n uint16) {
	if d := w.high - n; d < gapWindow {
		w.high = n
	}
}
