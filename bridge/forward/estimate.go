package forward

import (
	"sync"
	"sync/atomic"
	"time"

	"confab/bridge/bwe"
	"confab/bridge/rtpx"
)

const (
	// linkPeriod is how often a worker looks after the network of a receiver
	// (bridge.md §13.1: 25 ms, §13.3: 15 ms); the ticker of the Engine wakes it.
	linkPeriod = int64(15e6)
	// linkRest is how long a worker that is awake anyway leaves all of them alone.
	linkRest = int64(4e6)
	// linkIdle is after how long without numbered packets nothing is estimated.
	linkIdle = int64(30e9)
	// unanswered is for how long a receiver that negotiated transport-wide feedback
	// may send none before it counts as one without.
	unanswered = int64(10e9)
	// ratePeriod is how often the rates that are sent are averaged.
	ratePeriod = int64(100e6)
)

// link is what a worker knows about the network to one receiver. Only packets
// with transport-wide numbers count: video, retransmissions, padding. Audio has
// none, as with JVB (bridge.md §9): the bridge does not learn whether a client
// reports it, and one that doesn't would look as if it lost it all. So the estimate
// is what there is beside the audio, which thereby comes first.
type link struct {
	est    *bwe.Estimator // nil until it is needed
	listed bool           // among worker.links

	tickedAt int64
	firstAt  int64 // of the first numbered packet
	lastAt   int64 // of the last one
	bytes    int64 // sent since tickedAt
	answered bool  // feedback has come
	told     bool  // control knows that there is news

	video, repair, padding, audio meter
	meteredAt                     int64

	newest *outStream // where video went last that can be sent again
	probe  probe
	pad    padder
	pace   pacer
	dummy  uint16 // number of the last padding on the feedback SSRC
}

// meter averages a bitrate over about half a second.
type meter struct{ bytes, bps int64 }

func (m *meter) fold(elapsed int64) int64 {
	now := m.bytes * 8 * int64(1e9) / elapsed
	m.bytes = 0
	if elapsed > 5*ratePeriod {
		m.bps = now
	} else {
		m.bps += (now - m.bps) * elapsed / (5 * ratePeriod)
	}
	return m.bps
}

// Bandwidth is what is known about the network to a receiver. Rates are in bits
// per second of RTP.
type Bandwidth struct {
	// Estimate is what the network carries beside audio; 0 while nothing is known.
	Estimate int64
	// Trusted says that the estimate bounds what the receiver is to be sent.
	Trusted bool
	// State is the estimator's: see bwe.State.
	State bwe.State
	// What is sent, averaged over about half a second.
	Video, Retransmission, Padding, Audio int64
	RTT                                   time.Duration
}

// Sent is all that is sent.
func (b Bandwidth) Sent() int64 { return b.Video + b.Retransmission + b.Padding + b.Audio }

// bandwidth is how a worker and control tell each other.
type bandwidth struct {
	// Of the worker.
	estimate                      atomic.Int64
	deaf                          atomic.Bool // feedback was to be expected, and none comes
	video, repair, padding, audio atomic.Int64
	mu                            sync.Mutex
	state                         bwe.State // guarded by mu

	// Of control, see Demand.
	acted, sending, next, ideal atomic.Int64
	decided                     atomic.Bool // since the worker looked
}

// Bandwidth returns what is known about the network to the endpoint. Any goroutine.
func (ep *Endpoint) Bandwidth() Bandwidth {
	b := &ep.bw
	out := Bandwidth{
		Video: b.video.Load(), Retransmission: b.repair.Load(), Padding: b.padding.Load(), Audio: b.audio.Load(),
		RTT: time.Duration(ep.rtt.Load()),
	}
	b.mu.Lock()
	out.State = b.state
	b.mu.Unlock()
	out.Estimate, out.Trusted = ep.Estimate()
	return out
}

// Estimate is what the network to the endpoint carries, and whether that bounds
// what it is to be sent (bridge.md §13.2): only one that reports what arrives and
// has retransmission, which stands for "can live with less". Any goroutine.
func (ep *Endpoint) Estimate() (bps int64, trusted bool) {
	m := ep.media.Load()
	bps = ep.bw.estimate.Load()
	switch {
	case !m.anyRTX:
		return bps, false
	case m.transportCC:
		if bps == 0 {
			bps = ep.p.e.cfg.Bandwidth.First() // nothing was sent yet
		}
		return bps, !ep.bw.deaf.Load()
	}
	return bps, m.remb && bps > 0
}

// Demand is what was decided for a receiver: out of which estimate, what all
// targets take, with which estimate the next better picture is to be had (0: there
// is none), and what everything that it wants would take. It bounds probing, and
// says when the estimate is news again.
type Demand struct{ Acted, Sending, Next, Ideal int64 }

// SetDemand replaces the demand.
func (ep *Endpoint) SetDemand(d Demand) {
	b := &ep.bw
	b.acted.Store(d.Acted)
	b.sending.Store(d.Sending)
	b.next.Store(d.Next)
	b.ideal.Store(d.Ideal)
	b.decided.Store(true)
	if d.Ideal > d.Sending && b.estimate.Load() == 0 {
		ep.w.post(func() { ep.eg.ask(ep.w) })
	}
}

// ask has the network looked into of somebody to whom nothing was sent: what is wanted
// may be more than is assumed of it, and as long as nothing is sent nothing is learnt.
func (eg *egress) ask(w *worker) {
	if m := eg.ep.media.Load(); m.transportCC && eg.sender != nil && !eg.link.listed {
		eg.link.open(w, eg)
		w.linksAt = w.now
	}
}

// open makes the estimator and has the worker look after the link.
func (l *link) open(w *worker, eg *egress) {
	if l.est == nil {
		l.est = bwe.New(w.e.cfg.Bandwidth)
		l.firstAt, l.tickedAt, l.meteredAt = w.now, w.now, w.now
	}
	if !l.listed {
		l.listed = true
		w.links = append(w.links, eg)
		w.linked.Store(int32(len(w.links)))
	}
	l.lastAt = w.now
}

// Moved says that packets to the endpoint take another way from now on, of whose
// network nothing is known. Any goroutine; it does not wait.
func (ep *Endpoint) Moved() { ep.w.post(func() { ep.eg.moved(ep.w) }) }

// moved forgets the network that was.
func (eg *egress) moved(w *worker) {
	eg.ep.rtt.Store(0)
	l := &eg.link
	if l.est == nil {
		return
	}
	l.est.Reset(w.now)
	l.probe, l.pad = probe{}, padder{}
	l.told = false
}

// numbered notes that a packet of n bytes went out with a transport-wide number.
func (w *worker) numbered(eg *egress, number uint16, n int) {
	l := &eg.link
	if l.est == nil || !l.listed {
		l.open(w, eg)
	}
	l.lastAt = w.now
	l.bytes += int64(n)
	id := 0
	if l.probe.on {
		id = l.probe.ID
		l.probe.sent(n)
	}
	l.est.Sent(number, n, w.now, id)
}

// transportFeedback takes what a receiver reports about numbered packets.
func (eg *egress) transportFeedback(w *worker, p *rtpx.RTCP) {
	l := &eg.link
	if l.est == nil || !eg.ep.media.Load().transportCC {
		return
	}
	l.answered = true
	l.est.Feedback(p, w.now)
}

// remb takes an estimate of the receiver's own, where nothing better was
// negotiated: Chromium sends it unasked (bridge.md §10).
func (eg *egress) remb(w *worker, p *rtpx.RTCP) {
	m := eg.ep.media.Load()
	if !m.remb {
		eg.ep.stats.unasked.Store(1)
	}
	if !m.remb || m.transportCC || eg.sender == nil {
		return
	}
	if bps, ok := p.REMB(); ok {
		eg.link.open(w, eg)
		eg.link.est.REMB(int64(min(bps, 1<<40)), w.now)
	}
}

// lost takes the loss of a reception report, new since the one before.
func (eg *egress) lost(w *worker, o *outStream, r *rtpx.ReportBlock) {
	expected, lost := int64(r.Highest)-int64(o.reported), int64(r.Lost)-int64(o.reportedLost)
	first := !o.reportSeen
	o.reported, o.reportedLost, o.reportSeen = r.Highest, r.Lost, true
	if first || expected <= 0 || expected >= 1<<16 {
		return
	}
	lost = min(max(lost, 0), expected)
	eg.ep.stats.outExpected.Add(uint64(expected))
	eg.ep.stats.outLost.Add(uint64(lost))
	if l := &eg.link; l.est != nil {
		l.est.Loss(int(lost), int(expected), w.now)
	}
}

// lookAfterLinks does what is due for the links of this worker's receivers and
// returns how many packets it queued.
func (w *worker) lookAfterLinks() (sent int) {
	if len(w.links) == 0 || w.now < w.linksAt {
		return 0
	}
	w.linksAt = w.now + linkRest
	w.hurry = false
	keep := w.links[:0]
	for _, eg := range w.links {
		l := &eg.link
		if eg.sender == nil || w.now-l.lastAt > linkIdle && eg.ep.bw.ideal.Load() <= eg.ep.bw.sending.Load() {
			l.listed = false
			l.probe = probe{}
			l.pace.clear()
			continue
		}
		keep = append(keep, eg)
		sent += w.lookAfter(eg)
		w.hurry = w.hurry || l.probe.on || l.pace.waiting()
	}
	clear(w.links[len(keep):])
	w.links = keep
	w.linked.Store(int32(len(keep)))
	if w.hurry {
		w.linksAt = w.now + probePeriod
	}
	return sent
}

func (w *worker) lookAfter(eg *egress) (sent int) {
	defer w.guard()
	l, b := &eg.link, &eg.ep.bw
	sent += w.sendPaced(eg, 0)
	if l.probe.on && l.est.Hold(w.now) {
		l.probe = probe{}
	} else if l.probe.on {
		sent += w.sendProbe(eg)
	}
	elapsed := w.now - l.tickedAt
	if elapsed < linkPeriod {
		return sent
	}
	l.tickedAt = w.now

	m := eg.ep.media.Load()
	if m.transportCC {
		l.est.Demand(b.sending.Load(), b.ideal.Load(), w.now)
	}
	if p, ok := l.est.Tick(w.now); ok && m.transportCC && m.anyRTX {
		l.probe = probe{Probe: p, on: true, since: w.now}
		sent += w.sendProbe(eg)
	}
	estimate := l.est.Estimate()
	if m.transportCC && m.anyRTX {
		sent += w.sendPadding(eg, estimate, elapsed)
	}
	l.bytes = 0

	b.estimate.Store(estimate)
	deaf := m.transportCC && !l.answered && w.now-l.firstAt > unanswered
	news := b.deaf.Swap(deaf) != deaf
	if b.decided.Load() && b.decided.Swap(false) {
		l.told = false
	}
	if !l.told && (news || b.isNews(estimate, w.e.cfg.EstimateChange)) {
		l.told = true
		eg.ep.p.estimateChanged(eg.ep.id)
	}
	if since := w.now - l.meteredAt; since >= ratePeriod {
		l.meteredAt = w.now
		b.mu.Lock()
		b.state = l.est.State()
		b.mu.Unlock()
		b.video.Store(l.video.fold(since))
		b.repair.Store(l.repair.fold(since))
		b.padding.Store(l.padding.fold(since))
		b.audio.Store(l.audio.fold(since))
	}
	return sent
}

// isNews says whether control should decide anew: the estimate is far from the one
// that it acted on (bridge.md §14.1), or has crossed what it makes a difference for.
func (b *bandwidth) isNews(estimate int64, change float64) bool {
	acted := b.acted.Load()
	if d := estimate - acted; max(d, -d) > int64(float64(acted)*change) {
		return true
	}
	next, sending := b.next.Load(), b.sending.Load()
	return next > 0 && acted < next && estimate >= next || acted >= sending && estimate < sending
}
