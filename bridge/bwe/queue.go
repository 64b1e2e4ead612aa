package bwe

const (
	baseSlots  = 6       // the base delay is the least of
	baseSpan   = 5 * sec // so many spans,
	sharedSpan = sec     // in a queue that others keep full
)

const (
	queueLeast = 3        // packets that tell the queue
	queueLong  = 250 * ms // unless they take this long to arrive

	noQueue     = 10 * ms  // less than this is none
	calmQueue   = 50 * ms  // more than this is a queue, not jitter
	fullQueue   = 100 * ms // more than this, staying, is congestion
	drainBegin  = 100 * ms // a queue longer than this is drained by sending less,
	drainKey    = 400 * ms // than this more at first,
	drainWait   = 2 * sec  // and for so long
	drainHalf   = 400 * ms // by half at this much more than that,
	drainMost   = 0.45     // and never by more than to this part
	patience    = 3 * sec  // and if that does not help, it is not our queue
	progress    = 0.9
	fallingFast = 0.9
)

// queue tells how long packets wait on the way: the delay that no packet of late
// escaped, less the least delay of the last half minute. The trend tells of a
// queue that grows slowly sooner than this, and this of one that grows fast, of
// which few packets have arrived yet.
type queue struct {
	base  [baseSlots]int64
	slot  int
	until int64 // arrival time at which the next slot begins
	any   bool

	shared bool  // others keep the queue full
	clean  int64 // the base before they did

	least int64 // delay, of the packets since the last look
	n     int
	first int64 // arrival

	looks     int
	floor     int64   // the base at the last look
	newest    int64   // arrival
	lookedAt  int64   // the newest arrival at the last look
	growth    float64 // of the queue between the last two looks, per time
	fallBytes int     // of packets that arrived while the queue went away
	fallFrom  int64
	fell      float64 // how fast they came, bits/s; 0: it did not go away

	now, before int64 // the queue at the last two looks
	since       int64 // congested since, 0: not
	peak        int64 // the longest since then
	told        int64 // when that was known of packets sent since then, 0: not yet
	worst       int64 // the queue that did not get shorter since then
}

// add takes a packet.
func (q *queue) add(delay, arrival int64, size int) {
	switch {
	case !q.any:
		q.any = true
		q.rebase(delay)
		q.until = arrival + baseSpan
	case arrival >= q.until+baseSlots*baseSpan:
		q.rebase(delay) // nothing is known of what lies between
		q.until = arrival + q.span()
	case arrival >= q.until:
		q.slot = (q.slot + 1) % baseSlots
		q.base[q.slot] = delay
		q.until = arrival + q.span()
	default:
		q.base[q.slot] = min(q.base[q.slot], delay)
	}
	if q.shared && delay < q.clean+calmQueue {
		q.shared = false
	}
	q.newest = max(q.newest, arrival)
	q.fall(q.wait(delay), arrival, size)
	if q.n == 0 {
		q.least, q.first = delay, arrival
	}
	q.least = min(q.least, delay)
	if q.n++; arrival-q.first > queueLong {
		q.n = max(q.n, queueLeast)
	}
}

// fall measures how fast packets come while the queue goes away. If that is as fast
// as was estimated before, then they were held by something else than a slow link.
func (q *queue) fall(wait, arrival int64, size int) {
	switch {
	case wait >= fullQueue:
		q.fallBytes, q.fallFrom, q.fell = 0, arrival, 0
	case q.fallFrom == 0:
	case wait >= noQueue:
		q.fallBytes += size
	default:
		if q.fallBytes > 0 {
			q.fell = float64(q.fallBytes+size) * 8e9 / float64(max(arrival-q.fallFrom, ms))
		}
		q.fallFrom = 0
	}
}

func (q *queue) span() int64 {
	if q.shared {
		return sharedSpan
	}
	return baseSpan
}

// wait is for how long a packet with a delay waited. The first one has nothing to be
// compared with: the receiver's clock is another one.
func (q *queue) wait(delay int64) int64 {
	if !q.any {
		return 0
	}
	return delay - q.floor
}

// rebase takes a delay for the one without a queue.
func (q *queue) rebase(delay int64) {
	for i := range q.base {
		q.base[i] = delay
	}
	q.floor = delay
}

func (q *queue) lowest() int64 {
	base := q.base[0]
	for _, d := range q.base[1:] {
		base = min(base, d)
	}
	return base
}

// look draws a conclusion from the packets since the last one, if they are enough.
// sent is when the newest was sent. given says that the queue was given up as that
// of others, because sending less did not help.
func (q *queue) look(now, sent int64) (given bool) {
	if q.n < queueLeast {
		return false
	}
	base := q.lowest()
	q.floor = base
	q.looks++
	q.before, q.now = q.now, q.least-base
	q.growth = float64(q.now-q.before) / float64(max(q.newest-q.lookedAt, ms))
	q.lookedAt = q.newest
	q.n = 0
	if !q.congested() {
		if q.now < fullQueue {
			q.since = 0
		}
		return false
	}
	if q.since == 0 {
		q.since, q.told, q.peak = now, 0, 0
	}
	q.peak = max(q.peak, q.now)
	switch {
	case sent < q.since: // before we sent less
	case q.told == 0 || float64(q.now) < progress*float64(q.worst):
		q.told, q.worst = now, q.now
	case now-q.told > patience:
		if !q.shared {
			q.shared, q.clean = true, base
		}
		q.rebase(q.least)
		q.until = q.newest // the next packet begins a slot
		q.now, q.before, q.since = 0, 0, 0
		return true
	}
	return false
}

// rest takes the queue for gone.
func (q *queue) rest() { q.now, q.before, q.since, q.n = 0, 0, 0, 0 }

// standing is the queue.
func (q *queue) standing() int64 { return q.now }

// congested says that a queue stays.
func (q *queue) congested() bool {
	return q.now >= fullQueue && q.before >= calmQueue && float64(q.now) >= fallingFast*float64(q.before)
}

// none says that packets of late did not wait, though some before them may have. One
// may wait for another, which takes a while at a low rate.
func (q *queue) none(rate float64) bool {
	return min(q.now, q.before) < noQueue+int64(packetBits*1e9/rate)
}

// peaked says that the queue is as long as never since it is one.
func (q *queue) peaked() bool { return q.now >= q.peak }

// falling says that a queue gets shorter.
func (q *queue) falling() bool {
	return q.before >= calmQueue && float64(q.now) < fallingFast*float64(q.before)
}

// drain is the part of the estimate to send while a queue is to be emptied. A key
// frame makes a queue that goes away by itself: it is given some time.
func (q *queue) drain(now int64) float64 {
	if q.since == 0 {
		return 1
	}
	over := min(q.now, q.before) - drainBegin - max(0, drainKey-drainKey*(now-q.since)/drainWait)
	if over <= 0 {
		return 1
	}
	return max(1-0.5*float64(over)/float64(drainHalf), drainMost)
}
