package forward

import "confab/bridge/rtpx"

const (
	// Video goes to a receiver at no more than paceFactor times the estimate.
	// libwebrtc takes 2.5 for what it encoded for that estimate itself; a key frame of
	// a camera that others watch in a better network may be far more than that.
	paceFactor = 1.1
	// paceBurst is how much goes out at once: what the rate allows in this time. An
	// ordinary frame is less, so that it never waits.
	paceBurst = int64(40e6)
	// paceDelay is in what time all that waits is to be gone, whatever the estimate.
	paceDelay = int64(1e9)
	// paceUnknown is for how long a receiver is taken for one that reports what
	// arrives. The first key frame is what hurts most.
	paceUnknown = int64(1e9)
	// maxPaced bounds the packets that wait for one receiver.
	maxPaced = 1024
)

// pacer spreads what would fill the queue in front of a receiver's bottleneck at
// once, above all key frames: the queue would delay audio, which does not wait here,
// and look like a network that is too slow. It belongs to a worker.
type pacer struct {
	queue  []paced // from head on
	head   int
	bytes  int64 // of what waits
	most   int64 // the most that waited since nothing did
	credit int64 // bytes that may go out at once
	at     int64 // when credit was reckoned
}

// paced is a packet that waits; it is retained.
type paced struct {
	o   *outStream
	st  *stream
	pkt *rtpx.Packet
	rw  rewrite
}

func (p *pacer) waiting() bool { return p.head < len(p.queue) }

// earn reckons the credit at a time.
func (p *pacer) earn(estimate, now int64) {
	rate := max(int64(float64(estimate)*paceFactor), p.most*8e9/paceDelay)
	burst := max(rate/8*(paceBurst/1e6)/1e3, rtpx.BufferSize)
	p.credit = min(burst, p.credit+rate/8*(min(now-p.at, int64(1e9))/1e3)/1e6)
	p.at = now
}

// push keeps a packet for later, and returns false when it is to go out now.
func (p *pacer) push(e paced) bool {
	if len(p.queue)-p.head >= maxPaced {
		return false
	}
	if len(p.queue) == cap(p.queue) && p.head > 0 {
		n := copy(p.queue, p.queue[p.head:])
		clear(p.queue[n:])
		p.queue, p.head = p.queue[:n], 0
	}
	e.pkt.Retain()
	p.queue = append(p.queue, e)
	p.bytes += int64(len(e.pkt.Bytes()))
	p.most = max(p.most, p.bytes)
	return true
}

// pop takes the first packet that waits. The caller releases it.
func (p *pacer) pop() paced {
	e := p.queue[p.head]
	p.queue[p.head] = paced{}
	p.head++
	p.bytes -= int64(len(e.pkt.Bytes()))
	if p.head == len(p.queue) {
		p.queue, p.head, p.most = p.queue[:0], 0, 0
	}
	return e
}

// clear lets all go that waits.
func (p *pacer) clear() {
	for p.waiting() {
		p.pop().pkt.Release()
	}
}

// waits says whether a packet of video has to wait, and keeps it if so. Packets of
// one receiver stay in order.
func (w *worker) waits(eg *egress, e paced) bool {
	l := &eg.link
	p := &l.pace
	if !l.listed || !l.answered && w.now-l.firstAt > paceUnknown {
		return false // it does not tell how its network is
	}
	if !p.waiting() {
		p.earn(l.est.Estimate(), w.now)
		if p.credit > 0 {
			return false
		}
	}
	if !p.push(e) {
		for p.waiting() { // far too much: it can only be lost now
			w.sendFirst(eg)
		}
		return false
	}
	w.hurry = true
	w.linksAt = min(w.linksAt, w.now+probePeriod)
	return true
}

// sendPaced sends what waits and may go out now, and at least n bytes of it.
func (w *worker) sendPaced(eg *egress, n int64) (sent int) {
	p := &eg.link.pace
	if !p.waiting() {
		return 0
	}
	if eg.sender == nil {
		p.clear()
		return 0
	}
	p.earn(eg.link.est.Estimate(), w.now)
	for before := eg.link.bytes; p.waiting() && (p.credit > 0 || eg.link.bytes-before < n); sent++ {
		w.sendFirst(eg)
	}
	return sent
}

// sendFirst sends the first packet that waits.
func (w *worker) sendFirst(eg *egress) {
	e := eg.link.pace.pop()
	defer e.pkt.Release()
	if w.send(eg, e.o, e.st, e.pkt, &e.rw, 0) {
		e.o.hist.add(e.pkt, e.st, e.rw, w.now, w.e.cfg.HistorySize)
	}
}
