package bwe

const (
	baseSlots  = 6       // the base delay is the least of
	baseSpan   = 5 * sec // so many spans
	queueCount = 5       // groups, of which the fastest tells the queue
)

const (
	calmQueue  = 50 * ms  // more than this is a queue, not jitter
	drainBegin = 100 * ms // a queue of this length is drained by sending less
	drainFull  = 500 * ms
	drainMost  = 0.5 // of the estimate is left then
)

// queue tells how long packets wait on the way: their delay less the least delay
// of the last half minute. A queue that stays longer than that is the path's.
type queue struct {
	base   [baseSlots]int64
	slot   int
	until  int64 // arrival time at which the next slot begins
	any    bool
	recent [queueCount]int64
	n      int
}

func (q *queue) add(delay, arrival int64) {
	switch {
	case !q.any:
		q.any = true
		for i := range q.base {
			q.base[i] = delay
		}
		q.until = arrival + baseSpan
	case arrival >= q.until:
		q.slot = (q.slot + 1) % baseSlots
		q.base[q.slot] = delay
		q.until = arrival + baseSpan
	default:
		q.base[q.slot] = min(q.base[q.slot], delay)
	}
	q.recent[q.n%queueCount] = delay
	q.n++
}

// standing is the wait that no packet of late escaped.
func (q *queue) standing() int64 {
	if q.n < queueCount {
		return 0
	}
	least := q.recent[0]
	for _, d := range q.recent[1:] {
		least = min(least, d)
	}
	base := q.base[0]
	for _, d := range q.base[1:] {
		base = min(base, d)
	}
	return least - base
}

// drain is the part of the estimate to send while a queue is to be emptied.
func (q *queue) drain() float64 {
	over := q.standing() - drainBegin
	if over <= 0 {
		return 1
	}
	return 1 - (1-drainMost)*min(float64(over)/float64(drainFull-drainBegin), 1)
}
