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
		if pos-g.last >= gapWindow {
			clear(g.dropped[:])
		} else {
			for i := g.last + 1; i <= pos; i++ {
				g.dropped[i>>6&(gapWindow/64-1)] &^= 1 << (i & 63)
			}
		}
		g.last = pos
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
