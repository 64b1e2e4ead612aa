package forward

import (
	"confab/bridge/bwe"
	"confab/bridge/rtpx"
)

const (
	// Video goes to a receiver at no more than paceFactor times the estimate.
	// libwebrtc takes 2.5 for what it encoded for that estimate itself; a key frame of
	// a camera that others watch in a better network may be far more than that.
	paceFactor = 1.1
	// paceFree is that factor where the network has not shown a bound: as libwebrtc's
	// senders pace, so that it delays nothing that did not wait before.
	paceFree = 2.5
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

	at    int64      // when it came
	codec codecState // of then
}

func (p *pacer) waiting() bool { return p.head < len(p.queue) }

// earn reckons the credit at a time.
func (p *pacer) earn(est *bwe.Estimator, now int64) {
	factor := paceFactor
	if est.Free(now) {
		factor = paceFree
	}
	rate := max(int64(float64(est.Estimate())*factor), p.most*8e9/paceDelay)
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
	e.o.pace = p
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

// drop lets all go that waits on a stream, and says whether something did.
func (p *pacer) drop(o *outStream) bool {
	keep := p.queue[:p.head]
	for _, e := range p.queue[p.head:] {
		if e.o != o {
			keep = append(keep, e)
			continue
		}
		o.numbers.free(e.rw.seq)
		p.bytes -= int64(len(e.pkt.Bytes()))
		e.pkt.Release()
	}
	dropped := len(keep) < len(p.queue)
	clear(p.queue[len(keep):])
	if p.queue = keep; p.head == len(keep) {
		p.queue, p.head = p.queue[:0], 0
	}
	if dropped {
		p.most = p.bytes
	}
	return dropped
}

// clear lets all go that waits.
func (p *pacer) clear() {
	for p.waiting() {
		p.pop().pkt.Release()
	}
}

// stale says that the packet is of a picture which the receiver has left: its source
// was taken off, or another has its place.
func (e *paced) stale() bool {
	b := e.o.sub
	return b == nil || b.out != e.o || b.gone.Load() || b.target.Load() < 0 || b.addr.Load() != b.at
}

// rewind lets what waits on the stream go, as if it had never come: what comes next
// takes its numbers. Another picture takes over; the rest of the old one, which may
// have been too large for the network, would only delay it.
func (o *outStream) rewind() {
	if o.pace == nil || !o.pace.drop(o) {
		return
	}
	if o.went.set {
		o.last, o.lastAt, o.ended, o.codec = o.went.rewrite, o.went.at, o.went.ended, o.went.codec
		o.numbers.back(o.last.seq)
	} else {
		o.started, o.numbers, o.codec = false, numberWindow{}, codecState{}
	}
}

// went is where a stream stands on the wire; outStream.last is behind that while
// packets wait.
type went struct {
	rewrite
	at    int64
	codec codecState
	ended bool
	set   bool
}

// goes notes a packet that goes out for the first time, having come at a time.
func (o *outStream) goes(rw *rewrite, at int64, codec *codecState, ended bool) {
	if !o.went.set || rtpx.SeqNewer(rw.seq, o.went.seq) {
		o.went = went{*rw, at, *codec, ended, true}
	}
}

// waits says whether a packet of video has to wait, and keeps it if so. Packets of
// one receiver stay in order.
func (w *worker) waits(eg *egress, o *outStream, st *stream, pkt *rtpx.Packet, rw *rewrite) bool {
	l := &eg.link
	p := &l.pace
	if !l.listed || !l.answered && w.now-l.firstAt > paceUnknown {
		return false // it does not tell how its network is
	}
	held := l.est.Hold(w.now)
	if !p.waiting() {
		p.earn(l.est, w.now)
		if p.credit > 0 && !held {
			return false
		}
	}
	if !p.push(paced{o: o, st: st, pkt: pkt, rw: *rw, at: w.now, codec: o.codec}) {
		if held {
			w.dropped.Add(1)
			return true
		}
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
	p.earn(eg.link.est, w.now)
	for before := eg.link.bytes; p.waiting() && (p.credit > 0 || eg.link.bytes-before < n); {
		if e := &p.queue[p.head]; e.stale() {
			e.o.rewind()
			continue
		}
		if eg.link.est.Hold(w.now) {
			break
		}
		w.sendFirst(eg)
		sent++
	}
	return sent
}

// sendFirst sends the first packet that waits.
func (w *worker) sendFirst(eg *egress) {
	e := eg.link.pace.pop()
	defer e.pkt.Release()
	if w.send(eg, e.o, e.st, e.pkt, &e.rw, 0) {
		e.o.goes(&e.rw, e.at, &e.codec, e.pkt.Info.End)
		e.o.hist.add(e.pkt, e.st, e.rw, w.now, w.e.cfg.HistorySize)
	}
}
