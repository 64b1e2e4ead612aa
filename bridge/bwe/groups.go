package bwe

const (
	groupSpan    = 5 * ms   // send time of packets that are one group (bridge.md §13.1)
	groupBurst   = 5 * ms   // distance in arrival of those that piled up
	groupBurstMx = 100 * ms // and for how long they may
)

// sample is what a group of packets says: how long the way took, on an unknown
// but constant offset, and how that differs from the group before.
type sample struct {
	delay   int64 // ns, offset by the difference of the clocks
	change  int64 // of delay since the group before
	sent    int64 // ns since the group before was sent
	arrival int64
}

// group is packets that were sent together.
type group struct {
	first, last  int64 // send times
	begin, end   int64 // arrivals
	delay        int64 // the shortest of its packets
	arrivalOfMin int64
}

// grouper makes groups of packets that were sent within a few ms, or arrived as
// one burst because something on the way held them. A group's delay is that of
// its fastest packet, usually the first: we do not pace the packets of a frame, so
// that the later ones wait for the first ones of the same frame, which is no queue
// that stays. GoogCC takes the last packet, behind a pacer.
type grouper struct {
	cur, prev group
	n         int // groups so far, at most 2
}

// add takes an arrival, in send order but for reordering. ok is true when it
// begins a new group and the one before is complete and has a predecessor.
func (g *grouper) add(sent, arrival int64) (s sample, ok bool) {
	c := &g.cur
	delay := arrival - sent
	switch {
	case g.n == 0:
		g.n = 1
		g.begin(sent, arrival)
		return s, false
	case sent < c.first:
		return s, false // too late for its group
	case sent-c.first <= groupSpan || g.burst(sent, arrival):
		c.last = max(c.last, sent)
		c.end = max(c.end, arrival)
		if delay < c.delay {
			c.delay, c.arrivalOfMin = delay, arrival
		}
		return s, false
	}
	if g.n > 1 {
		s = sample{delay: c.delay, change: c.delay - g.prev.delay, sent: c.first - g.prev.first, arrival: c.arrivalOfMin}
		ok = true
	}
	g.n = 2
	g.prev = *c
	g.begin(sent, arrival)
	return s, ok
}

// burst says that a packet arrived right after the group though it was sent later.
func (g *grouper) burst(sent, arrival int64) bool {
	c := &g.cur
	return arrival-c.end <= groupBurst && arrival-c.end < sent-c.last && arrival-c.begin < groupBurstMx
}

func (g *grouper) begin(sent, arrival int64) {
	g.cur = group{first: sent, last: sent, begin: arrival, end: arrival, delay: arrival - sent, arrivalOfMin: arrival}
}
