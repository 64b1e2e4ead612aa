package bwe

const (
	ackedSize    = 512      // packets, more than a window at 10 Mbit/s
	ackedWindow  = 500 * ms // bridge.md §13.1
	recentWindow = 200 * ms
	ackedLeast   = 4 // packets
)

// ackedPacket is a packet that arrived.
type ackedPacket struct {
	sent, arrival int64
	size          int
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
func (t *throughput) add(sent, arrival int64, size int) {
	i := t.n
	for ; i > 0 && i > t.n-8; i-- {
		p := &t.ring[(i-1)%ackedSize]
		if p.arrival <= arrival {
			break
		}
		t.ring[i%ackedSize] = *p
	}
	t.ring[i%ackedSize] = ackedPacket{sent, arrival, size}
	t.n++
}

// rate is the rate over the last half second, in bits/s.
func (t *throughput) rate() (bps float64, ok bool) {
	in, out := t.of(ackedWindow)
	if out > 0 {
		in = min(in, out)
	}
	return in, in > 0
}

// of is the rates of arrival and of sending over a time of arrivals; 0 is unknown.
func (t *throughput) of(window int64) (in, out float64) {
	if t.n < ackedLeast {
		return 0, 0
	}
	newest := &t.ring[(t.n-1)%ackedSize]
	first, last := newest.sent, newest.sent
	lastSize, firstSize := newest.size, newest.size
	begin, total := newest.arrival, newest.size
	var gap, gap2 int64 // the longest and second longest between arrivals
	k := 1
	for ; k < min(t.n, ackedSize) && (newest.arrival-begin < window || k < ackedLeast); k++ {
		p := &t.ring[(t.n-1-k)%ackedSize]
		if newest.arrival-p.arrival > 4*window && k >= ackedLeast {
			break // silence before
		}
		total += p.size
		if d := begin - p.arrival; d > gap {
			gap, gap2 = d, gap
		} else if d > gap2 {
			gap2 = d
		}
		begin = p.arrival
		firstSize = p.size
		first = min(first, p.sent)
		if p.sent > last {
			last, lastSize = p.sent, p.size
		}
	}
	if newest.arrival-begin < window/4 {
		return 0, 0
	}
	// The first packet began to arrive before the time counts, the last was sent after it.
	// One long pause is something else than a slow link (libwebrtc: RobustThroughputEstimator).
	in = float64(total-firstSize) * 8e9 / float64(newest.arrival-begin-gap+max(gap2, ms))
	if last > first {
		out = float64(total-lastSize) * 8e9 / float64(last-first)
	}
	return in, out
}
