package forward

import (
	"cmp"
	"slices"
	"sync/atomic"
)

// In a large conference only the loudest few are forwarded (bridge.md §16.3): ears
// tell no more voices apart, and everybody's microphone to everybody is the square
// of the room.

// energy follows the loudness of one stream.
type energy struct {
	value int
	floor uint8 // quietest level lately, the noise floor
	count int
}

// floorWindow is after how many levels the noise floor may rise.
const floorWindow = 750

func (e *energy) add(level uint8) {
	if e.count == 0 || level < e.floor {
		e.floor = level
	}
	if e.count++; e.count > floorWindow {
		e.floor, e.count = level, 1
	}
	cooked := 0
	if int(level) >= int(e.floor)+10 {
		cooked = int(level)
	}
	e.value = (50*cooked + 50*e.value + 50) / 100
}

// energyLife is how long a level counts for the ranking.
const energyLife = int64(150e6)

// loudness is how loud an endpoint is, for the ranking. Ingress writes, the ticker reads.
type loudness struct {
	value atomic.Int32
	at    atomic.Int64 // of the last level above silence
	among atomic.Bool  // it is among the loudest
	of    *stream      // whose value it is; of ingress
}

// loudEnough publishes how loud a stream is and says whether the endpoint is among
// the loudest. An endpoint has one place in the ranking, however many streams it
// sends. ep.mu is held.
func (ep *Endpoint) loudEnough(st *stream, level uint8, now int64) bool {
	p, l := ep.p, &ep.loud
	if !p.ranked.Load() {
		return true
	}
	value := int32(st.in.energy.value)
	if level > 0 && (l.of == st || value >= l.value.Load() || now-l.at.Load() > energyLife) {
		l.of = st
		l.value.Store(value)
		l.at.Store(now)
	}
	// Who has become louder than the quietest of them need not wait for the ticker.
	return l.among.Load() || value > p.threshold.Load() || p.dominant.Load() == ep || st.src.asked.Load() > 0
}

// rank is one line of the ranking.
type rank struct {
	ep    *Endpoint
	value int32
	among bool
}

// rankVoices finds the loudest endpoints. It runs on the ticker.
func (p *Pipeline) rankVoices(now int64) {
	n := p.e.cfg.LoudestN
	ranks := p.ranks[:0]
	for _, ep := range *p.list.Load() {
		l := &ep.loud
		if now-l.at.Load() <= energyLife {
			ranks = append(ranks, rank{ep, l.value.Load(), l.among.Load()})
		} else if l.among.Load() {
			l.among.Store(false)
		}
	}
	// Of equals those stay that were in.
	slices.SortStableFunc(ranks, func(a, b rank) int {
		if c := cmp.Compare(b.value, a.value); c != 0 || a.among == b.among {
			return c
		}
		if a.among {
			return -1
		}
		return 1
	})
	for i, r := range ranks {
		if among := i < n; among != r.among {
			r.ep.loud.among.Store(among)
		}
	}
	threshold := int32(-1) // places are free
	if len(ranks) >= n {
		threshold = ranks[n-1].value
	}
	p.threshold.Store(threshold)
	clear(ranks)
	p.ranks = ranks[:0]
}
