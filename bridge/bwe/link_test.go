package bwe

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"

	"confab/bridge/rtpx"
)

// link is a virtual network to one receiver, on a fake clock. It holds packets in
// one queue before a bottleneck, loses some, and brings feedback back.
type link struct {
	rate     func(now int64) int64 // bits/s
	queue    int                   // bytes that wait at most; more is dropped
	delay    int64                 // one way
	loss     float64               // random, of packets
	noise    int64                 // jitter of each packet, uniform, reordering none
	jitter   func(now int64) int64 // the same, while it lasts
	stall    func(now int64) int64 // until when packets that arrive now are held, 0: not
	cross    func(now int64) int64 // bits/s of somebody else in the same queue
	ackLoss  float64               // random, of feedback
	interval int64                 // of feedback
	tcp      *tcp                  // a download in the same queue
	swap     float64               // part of packets that are delivered 5 ms late

	busy  int64 // until when the bottleneck sends
	last  int64 // newest arrival
	crost int64
}

// packet is one under way.
type packet struct {
	seq     uint16
	size    int
	sent    int64
	arrival int64
	marked  bool
}

// bed drives an Estimator as a bridge does: frames of video at its estimate, the
// probes that it asks for.
type bed struct {
	*testing.T
	e    *Estimator
	l    *link
	rng  *rand.Rand
	now  int64
	seq  uint16
	fps  int
	want func(now int64) int64 // what media would take, bits/s
	// layers of the media; nil: the encoder follows the estimate, with padding up to it.
	layers []int64
	// keyBytes is the size of the key frame with which each of the layers is begun.
	keyBytes                 []int
	audio                    bool // besides, and without numbers, and headers below RTP count
	nextAudio                int64
	voice                    []int64 // arrivals of audio
	noHold                   bool    // what the estimator says of holding is not heeded
	held                     int64   // for how long, since mark
	chosen, downAt, patience int64
	current                  int     // layer
	pace                     float64 // of the estimate, 0: frames go out at once
	free                     float64 // the same where the network has shown no bound, 0: pace
	paced                    []int   // sizes of packets that wait for the pacer
	credit                   float64
	keys                     int64 // every so often a frame is six times as large, 0: never

	flight   []packet // sent, by arrival
	back     []feedback
	recorder rtpx.TWCCRecorder
	probes   []burst

	nextKey, nextFrame, nextTick, nextFeedback int64
	carry                                      float64

	// Measured since mark.
	since     int64
	delivered int64
	waits     []int64 // queueing delay of each packet that arrived
	estimates []int64
	lost      int
	count     int
}

type burst struct {
	p    Probe
	left int
	next int64
	step int64
	size int
}

type feedback struct {
	at int64
	b  []byte
}

const step = ms

func newBed(t *testing.T, l *link) *bed {
	if l.queue == 0 {
		l.queue = 1 << 20
	}
	if l.interval == 0 {
		l.interval = 100 * ms
	}
	b := &bed{T: t, e: New(DefaultConfig()), l: l, rng: rand.New(rand.NewPCG(1, 2)), now: sec, fps: 30,
		want: func(int64) int64 { return 10_000_000 }}
	return b
}

func steady(bps int64) func(int64) int64 { return func(int64) int64 { return bps } }

// run lets time pass.
func (b *bed) run(d int64) {
	for end := b.now + d; b.now < end; b.now += step {
		b.cross()
		if b.now >= b.nextTick {
			b.nextTick = b.now + 25*ms
			b.tick()
		}
		if b.now >= b.nextFrame {
			b.nextFrame = b.now + sec/int64(b.fps)
			b.frame()
		}
		if b.audio && b.now >= b.nextAudio {
			b.nextAudio = b.now + 20*ms
			if b.waiting()+170 <= b.l.queue {
				b.l.busy = max(b.l.busy, b.now) + 170*8e9/b.l.rate(b.now)
				b.voice = append(b.voice, b.l.busy+b.l.delay)
			}
		}
		b.pacer()
		b.burst()
		b.receive()
	}
}

func (b *bed) mark() {
	b.since, b.delivered, b.lost, b.count, b.held = b.now, 0, 0, 0, 0
	b.waits, b.estimates = b.waits[:0], b.estimates[:0]
}

func (b *bed) tick() {
	now := b.now
	b.e.Demand(min(b.e.Estimate(), b.want(now)), b.want(now), now)
	b.estimates = append(b.estimates, b.e.Estimate())
	if p, ok := b.e.Tick(now); ok {
		size := min(p.Bytes()/p.Packets+1, 1200)
		n := (p.Bytes() + size - 1) / size
		b.probes = append(b.probes, burst{p: p, left: n, next: now, step: int64(p.Duration) / int64(n), size: size})
	}
}

// media is what is sent, bits/s.
func (b *bed) media() int64 {
	est := b.e.Estimate()
	if b.layers == nil {
		return min(est, b.want(b.now))
	}
	best := int64(0)
	for _, r := range b.layers {
		if r <= est && r <= b.want(b.now) {
			best = r
		}
	}
	if b.patience > 0 { // after a step down none up for a while
		if best < b.chosen {
			b.downAt = b.now
		} else if best > b.chosen && b.now-b.downAt < b.patience {
			best = b.chosen
		}
		b.chosen = best
	}
	return best
}

func (b *bed) frame() {
	bytes := float64(b.media())/8/float64(b.fps)*(0.8+0.4*b.rng.Float64()) + b.carry
	if b.keys > 0 && b.now >= b.nextKey {
		b.nextKey = b.now + b.keys
		bytes *= 6
	}
	if b.keyBytes != nil {
		at := slices.Index(b.layers, b.media())
		if at >= 0 && (b.current < 0 || b.keyBytes[at] != b.keyBytes[b.current]) {
			bytes = float64(b.keyBytes[at])
			b.paced = b.paced[:0] // the rest of the other picture
		}
		b.current = at
	}
	n := int(bytes+1199) / 1200
	for i := range n {
		size := int(bytes) / (n - i)
		bytes -= float64(size)
		b.paced = append(b.paced, size)
	}
}

// holds says that only audio may go.
func (b *bed) holds() bool { return !b.noHold && b.e.Hold(b.now) }

// pacer lets packets go at a multiple of the estimate, or all.
func (b *bed) pacer() {
	pace := b.pace
	if b.free > 0 && b.e.Free(b.now) {
		pace = b.free
	}
	b.credit = min(b.credit+pace*float64(b.e.Estimate())*float64(step)/8e9, 2400)
	if b.holds() {
		b.held += step
		b.probes = nil
		if b.layers == nil && len(b.paced) > 20 {
			b.paced = b.paced[:20] // an encoder leaves frames out
		}
	}
	for len(b.paced) > 0 && (b.credit > 0 || b.pace == 0) && !b.holds() {
		b.credit -= float64(b.paced[0])
		b.send(b.paced[0], 0)
		b.paced = b.paced[1:]
	}
}

func (b *bed) burst() {
	for i := range b.probes {
		p := &b.probes[i]
		for p.left > 0 && b.now >= p.next {
			p.left--
			p.next += p.step
			b.send(p.size, p.p.ID)
		}
	}
	b.probes = slices.DeleteFunc(b.probes, func(p burst) bool { return p.left == 0 })
}

// tcp is a download: a window that grows with every round trip, and halves when
// the queue overflows.
type tcp struct {
	window, flight float64 // bytes
	acks           []feedback
	threshold      float64
	cut            int64
}

func (b *bed) tcp() {
	l, c := b.l, b.l.tcp
	if c == nil {
		return
	}
	for len(c.acks) > 0 && c.acks[0].at <= b.now {
		c.acks = c.acks[1:]
		c.flight -= 1500
		if c.window < c.threshold {
			c.window += 1500
		} else {
			c.window += 1500 * 1500 / c.window
		}
	}
	for c.flight+1500 <= c.window {
		if b.waiting()+1500 > l.queue {
			if b.now > c.cut {
				c.window = max(c.window*0.7, 3000)
				c.threshold = c.window
				c.cut = b.now + l.busy - b.now + 2*l.delay
			}
			return
		}
		l.busy = max(l.busy, b.now) + 1500*8e9/l.rate(b.now)
		c.flight += 1500
		c.acks = append(c.acks, feedback{at: l.busy + 2*l.delay})
	}
}

// cross puts others' bytes into the queue.
func (b *bed) cross() {
	b.tcp()
	l := b.l
	if l.cross == nil {
		return
	}
	if r := l.rate(b.now); r > 0 && b.waiting() < l.queue {
		l.busy = max(l.busy, b.now) + l.cross(b.now)*step/r
	}
}

// waiting is the bytes in the queue.
func (b *bed) waiting() int {
	return int(max(b.l.busy-b.now, 0) * b.l.rate(b.now) / 8e9)
}

func (b *bed) send(size, probe int) {
	l := b.l
	b.seq++
	b.e.Sent(b.seq, size, b.now, probe)
	b.count++
	if b.waiting()+size > l.queue || b.rng.Float64() < l.loss {
		b.lost++
		return
	}
	rate := l.rate(b.now)
	if rate <= 0 {
		b.lost++
		return
	}
	wire := int64(size)
	if b.audio {
		wire += 54
	}
	l.busy = max(l.busy, b.now) + wire*8e9/rate
	at := l.busy + l.delay
	b.waits = append(b.waits, l.busy-b.now-wire*8e9/rate)
	if l.noise > 0 {
		at += b.rng.Int64N(l.noise)
	}
	if l.jitter != nil {
		at += int64(b.rng.Float64() * float64(l.jitter(l.busy)))
	}
	if l.stall != nil {
		at = max(at, l.stall(at))
	}
	if b.rng.Float64() < l.swap {
		at += 5 * ms
	} else {
		at = max(at, l.last)
		l.last = at
	}
	b.flight = append(b.flight, packet{seq: b.seq, size: size, sent: b.now, arrival: at})
}

// receive is the receiver: it notes arrivals and sends feedback.
func (b *bed) receive() {
	slices.SortStableFunc(b.flight, func(x, y packet) int { return cmp.Compare(x.arrival, y.arrival) })
	n := 0
	for _, p := range b.flight {
		if p.arrival > b.now {
			break
		}
		n++
		b.delivered += int64(p.size)
		b.recorder.Record(p.seq, p.arrival+77*sec) // a clock of its own
	}
	b.flight = b.flight[n:]
	if b.now >= b.nextFeedback {
		b.nextFeedback = b.now + b.l.interval
		for b.recorder.Pending() {
			buf := b.recorder.Append(nil, 1, 2)
			if len(buf) == 0 {
				break
			}
			if b.rng.Float64() >= b.l.ackLoss {
				b.back = append(b.back, feedback{b.now + b.l.delay, buf})
			}
		}
	}
	for len(b.back) > 0 && b.back[0].at <= b.now {
		p, _, ok := rtpx.NextRTCP(b.back[0].b)
		if !ok {
			b.Fatal("feedback of our own is not read")
		}
		b.e.Feedback(&p, b.now)
		b.back = b.back[1:]
	}
}

// use is the part of the link that was used since mark.
func (b *bed) use() float64 {
	var can int64
	for t := b.since; t < b.now; t += step {
		can += b.l.rate(t) * step / 1e9
	}
	return float64(b.delivered*8) / float64(can)
}

// wait is a percentile of the queueing delay.
func (b *bed) wait(part float64) int64 {
	if len(b.waits) == 0 {
		return 0
	}
	w := slices.Sorted(slices.Values(b.waits))
	return w[min(int(part*float64(len(w))), len(w)-1)]
}

// estimate is a percentile of the estimate.
func (b *bed) estimate(part float64) int64 {
	e := slices.Sorted(slices.Values(b.estimates))
	return e[min(int(part*float64(len(e))), len(e)-1)]
}

// interruption is the longest time in which more than half of the audio was made up,
// in pieces of 100 ms, with a receiver that plays what arrived, and begins with a
// buffer (test/net: figures.mjs).
func (b *bed) interruption(buffer int64) (longest int64) {
	return interruption(b.voice, buffer)
}

func interruption(arrivals []int64, buffer int64) (longest int64) {
	arrivals = slices.Sorted(slices.Values(arrivals))
	run, made, n, next := int64(0), 0, 0, 0
	for at := arrivals[0] + buffer; next < len(arrivals); at += 20 * ms {
		waiting := 0
		for _, a := range arrivals[next:] {
			if a > at {
				break
			}
			waiting++
		}
		switch {
		case waiting == 0:
			made++
		case waiting > 10: // played faster
			next += 2
		default:
			next++
		}
		if n++; n == 5 {
			if run += 100 * ms; 2*made <= n {
				run = 0
			}
			longest = max(longest, run)
			made, n = 0, 0
		}
	}
	return longest
}
