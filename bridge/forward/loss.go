package forward

import "confab/bridge/rtpx"

// maxMissing is how many lost packets of a stream are pursued at a time.
const maxMissing = 256

// maxLate is how old a packet may be to still count as new.
const maxLate = 1024

// losses watches the sequence numbers of one incoming video stream: finds
// duplicates and gaps, and says which numbers to ask for.
type losses struct {
	u       rtpx.Unwrapper
	got     [maxLate / 64]uint64
	missing []missing
	due     int64 // when the next request is due; meaningless without missing
}

type missing struct {
	pos   int64
	at    int64 // when to ask next
	tries int
}

// received notes a number. fresh is false for duplicates and for packets too
// old to matter; lost is how many numbers are newly missing.
func (l *losses) received(seq uint16, now int64, cfg *Config) (fresh bool, lost int) {
	high, any := l.u.Last()
	pos := l.u.Unwrap(seq)
	if !any {
		l.mark(pos)
		return true, 0
	}
	if pos <= high {
		if high-pos >= maxLate || l.has(pos) {
			return false, 0
		}
		l.mark(pos)
		l.found(pos)
		return true, 0
	}
	gap := int(pos - high - 1)
	if pos-high >= maxLate {
		clear(l.got[:])
	} else {
		for i := high + 1; i < pos; i++ {
			l.got[i>>6&(maxLate/64-1)] &^= 1 << (i & 63)
		}
	}
	l.mark(pos)
	if gap == 0 {
		return true, 0
	}
	if gap > cfg.NackMaxGap {
		// A jump, not a loss: asking for all of it would not bring it back.
		l.missing = l.missing[:0]
		return true, gap
	}
	if l.missing == nil {
		l.missing = make([]missing, 0, maxMissing)
	}
	at := now + int64(cfg.NackDelay)
	if len(l.missing) == 0 || at < l.due {
		l.due = at
	}
	for i := high + 1; i < pos; i++ {
		if len(l.missing) == maxMissing {
			copy(l.missing, l.missing[1:])
			l.missing = l.missing[:maxMissing-1]
		}
		l.missing = append(l.missing, missing{pos: i, at: at})
	}
	return true, gap
}

// ask collects the numbers to ask for now, ascending, into seqs. interval is
// the time to the next repeat. If one is due, all that are missing for longer
// than the delay go into the same request.
func (l *losses) ask(seqs []uint16, now, interval int64, cfg *Config) []uint16 {
	if len(l.missing) == 0 || now < l.due {
		return seqs
	}
	keep := l.missing[:0]
	l.due = 1<<63 - 1
	for _, m := range l.missing {
		if m.at <= now {
			if m.tries == cfg.NackTries {
				continue
			}
			m.tries++
			m.at = now + interval
			seqs = append(seqs, uint16(m.pos))
		}
		l.due = min(l.due, m.at)
		keep = append(keep, m)
	}
	l.missing = keep
	return seqs
}

func (l *losses) mark(pos int64) { l.got[pos>>6&(maxLate/64-1)] |= 1 << (pos & 63) }

func (l *losses) has(pos int64) bool { return l.got[pos>>6&(maxLate/64-1)]&(1<<(pos&63)) != 0 }

func (l *losses) found(pos int64) {
	for i := range l.missing {
		if l.missing[i].pos == pos {
			l.missing = append(l.missing[:i], l.missing[i+1:]...)
			return
		}
	}
}
