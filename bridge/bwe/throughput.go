package bwe

const (
	ackedSize    = 512      // packets, more than a window at 10 Mbit/s
	ackedWindow  = 500 * ms // bridge.md §13.1
	recentWindow = 200 * ms
	ackedLeast   = 4 // packets
	busyLeast    = 20 * ms
)

// ackedPacket is a packet that arrived.
type ackedPacket struct {
	sent, arrival int64
	size          int32
	wait          int32 // in a queue, µs
}

// throughput tells at which rate packets arrive. It is the lesser of the rates at
// which they were sent and at which they arrived: a queue that empties delivers
// faster than the link carries for long.
type throughput struct {
	ring [ackedSize]ackedPacket
	n    int // so far
}

func (t *throughput) reset() { t.n = 0 }

// add puts a packet in its place by arrival.
func (t *throughput) add(sent, arrival int64, size int, wait int64) {
	i := t.n
	for ; i > 0 && i > t.n-8; i-- {
		p := &t.ring[(i-1)%ackedSize]
		if p.arrival <= arrival {
			break
		}
		t.ring[i%ackedSize] = *p
	}
	t.ring[i%ackedSize] = ackedPacket{sent, arrival, int32(size), int32(min(max(wait, 0)/1000, 1<<31-1))}
	t.n++
}

// rates is at what rates packets were sent and arrived. Zero is unknown.
type rates struct {
	in, out float64
	// busy is the rate of arrivals that waited behind another: what the link carries,
	// however little was sent in all.
	busy float64
}

// acked is the lesser of what was sent and what arrived.
func (r rates) acked() float64 {
	if r.out > 0 {
		return min(r.in, r.out)
	}
	return r.in
}

// carried is what the link is known to carry: the more of what arrived in all, and
// while it was busy.
func (r rates) carried(in float64) float64 { return max(in, r.busy) }

// of is the rates over a time of arrivals.
func (t *throughput) of(window int64) (r rates) {
	if t.n < ackedLeast {
		return r
	}
	newest := &t.ring[(t.n-1)%ackedSize]
	first, last := newest.sent, newest.sent
	lastSize, firstSize := newest.size, newest.size
	begin, total := newest.arrival, int64(newest.size)
	var gap, gap2 int64 // the longest and second longest between arrivals
	var busy, busyFor int64
	after := newest
	for k := 1; k < min(t.n, ackedSize) && (newest.arrival-begin < window || k < ackedLeast); k++ {
		p := &t.ring[(t.n-1-k)%ackedSize]
		if newest.arrival-p.arrival > 4*window && k >= ackedLeast {
			break // silence before
		}
		total += int64(p.size)
		d := begin - p.arrival
		if d > gap {
			gap, gap2 = d, gap
		} else if d > gap2 {
			gap2 = d
		}
		if int64(after.wait)*1000 >= d { // it was there before the one before it had passed
			busy += int64(after.size)
			busyFor += d
		}
		after = p
		begin = p.arrival
		firstSize = p.size
		first = min(first, p.sent)
		if p.sent > last {
			last, lastSize = p.sent, p.size
		}
	}
	if busyFor >= busyLeast {
		r.busy = float64(busy) * 8e9 / float64(busyFor)
	}
	if newest.arrival-begin < window/4 {
		return r
	}
	// The first packet began to arrive before the time counts, the last was sent after it.
	// One long pause is something else than a slow link (libwebrtc: RobustThroughputEstimator).
	r.in = float64(total-int64(firstSize)) * 8e9 / float64(newest.arrival-begin-gap+max(gap2, ms))
	if last > first {
		r.out = float64(total-int64(lastSize)) * 8e9 / float64(last-first)
	}
	return r
}

// run is the rate of the newest arrivals that waited for each other, 0 if there are
// none: what the link carries now, when what it carried before says nothing any more.
func (t *throughput) run() float64 {
	if t.n < 2 {
		return 0
	}
	newest := &t.ring[(t.n-1)%ackedSize]
	after, bytes := newest, int64(0)
	for k := 1; k < min(t.n, ackedSize); k++ {
		p := &t.ring[(t.n-1-k)%ackedSize]
		if int64(after.wait)*1000 < after.arrival-p.arrival || newest.arrival-p.arrival > runWindow {
			break
		}
		bytes += int64(after.size)
		after = p
	}
	span := newest.arrival - after.arrival
	if span < runLeast {
		return 0
	}
	return float64(bytes) * 8e9 / float64(span)
}

// lone is the rate of a link that took as long for the newest packet as it waited.
func (t *throughput) lone() float64 {
	if t.n == 0 {
		return 0
	}
	newest := &t.ring[(t.n-1)%ackedSize]
	if int64(newest.wait)*1000 < holdWait {
		return 0
	}
	return float64(newest.size) * 8e6 / float64(newest.wait)
}
