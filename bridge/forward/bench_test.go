package forward

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"confab/bridge/rtpx"
)

// sink is a Sender that takes packets for nothing.
type sink struct{ n int }

func (s *sink) WriteRTP(Batch, []byte) error  { s.n++; return nil }
func (s *sink) WriteRTCP(Batch, []byte) error { return nil }

// loop is a sender with n receivers, and packets to send over and over.
type loop struct {
	b     *bed
	alice *client
	seq   uint16
	raw   [][]byte
	buf   *rtpx.Packet
}

func newLoop(t testing.TB, receivers int) *loop {
	b := newBed(t, func(c *Config) { c.Workers = 1 })
	cam, enc := camera("alice-v0", 10, 1)
	l := &loop{b: b, alice: b.join("alice", mic("alice-a0", 1), cam)}
	l.alice.SetSender(&sink{})
	for i := range receivers {
		id := fmt.Sprint("r", i)
		var r *client
		if i%2 == 0 {
			r = b.join(id)
		} else { // SSRC rewriting
			w := b.joinRewriting(id, Slots{Audio: 2, Video: 2, Mids: true})
			w.give(Video, 1, "alice-v0")
			w.give(Audio, 1, "alice-a0")
			r = w.client
		}
		r.SetSender(&sink{})
		r.SetTarget("alice-v0", rtpx.MakeLayer(0, 0, 2))
	}
	b.pass(b.e.cfg.SlotDelay)
	first := enc[0].frame(true, 0, 1)[0]
	first.seq = 0
	for i := range 4 {
		p := enc[0].frame(false, []uint8{0, 2, 1, 2}[i], 1)[0]
		p.payload = append(p.payload, make([]byte, 1100-len(p.payload))...)
		p.exts = map[uint8][]byte{extTCC: {0, 0}, extSendTime: {1, 2, 3}}
		l.raw = append(l.raw, p.bytes())
	}
	l.alice.send(first)
	b.settle()
	b.pass(2 * time.Duration(paceUnknown)) // nothing is paced
	return l
}

// idle waits until a worker sleeps, without allocating.
func idle(w *worker) {
	for w.ring.len() > 0 || !w.asleep.Load() {
		runtime.Gosched()
	}
}

// step sends one packet: a new frame with new numbers.
func (l *loop) step() {
	l.seq++
	l.b.now.Add(int64(3 * time.Millisecond))
	pkt := l.b.pool.Get()
	pkt.SetLen(copy(pkt.Space(), l.raw[l.seq%4]))
	pkt.Arrived = l.b.now.Load()
	p := pkt.Bytes()
	rtpx.SetSeq(p, l.seq)
	rtpx.SetTS(p, uint32(l.seq)*3000+100000)
	var h rtpx.Header
	h.Parse(p)
	e, _ := h.Ext(p, extTCC)
	e[0], e[1] = byte(l.seq>>8), byte(l.seq)
	d := h.Payload(p)
	d[2], d[3] = 0x80|byte(l.seq>>8), byte(l.seq)
	l.alice.RTP(pkt)
	pkt.Release()
}

// TestIngressAllocs and TestEgressAllocs: the path of a packet allocates
// nothing in steady state (architecture §13.3). Ingress runs here, egress on
// the worker; AllocsPerRun counts both.
func TestIngressAllocs(t *testing.T) {
	l := newLoop(t, 0)
	for range 2000 {
		l.step()
	}
	l.b.settle()
	if n := testing.AllocsPerRun(2000, l.step); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}

func TestEgressAllocs(t *testing.T) {
	l := newLoop(t, 5)
	w := l.b.e.workers[0]
	drained := func() {
		l.step()
		idle(w)
	}
	for range 2000 {
		drained()
	}
	sent := l.b.e.Stats().Sent
	if n := testing.AllocsPerRun(2000, drained); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
	if n := l.b.e.Stats().Sent - sent; n < 5*2000 {
		t.Errorf("only %d sent", n)
	}
}

func TestAudioAllocs(t *testing.T) {
	l := newLoop(t, 3)
	raw := opus(1, 1, 20).bytes()
	seq := uint16(0)
	step := func() {
		seq++
		l.b.now.Add(int64(20 * time.Millisecond))
		pkt := l.b.pool.Get()
		pkt.SetLen(copy(pkt.Space(), raw))
		pkt.Arrived = l.b.now.Load()
		rtpx.SetSeq(pkt.Bytes(), seq)
		l.alice.RTP(pkt)
		pkt.Release()
		w := l.b.e.workers[0]
		idle(w)
	}
	for range 200 {
		step()
	}
	if n := testing.AllocsPerRun(500, step); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}

// TestFeedbackAllocs: NACK in and retransmission out allocate nothing.
func TestFeedbackAllocs(t *testing.T) {
	l := newLoop(t, 1)
	for range 100 {
		l.step()
	}
	l.b.settle()
	bob := l.b.p.Endpoint("r0")
	bob.rtt.Store(int64(time.Millisecond)) // so that the same is sent again and again
	nack := rtpx.AppendNACK(nil, 1, 10, []uint16{90, 91, 95})
	step := func() {
		l.b.now.Add(int64(time.Millisecond))
		pkt := l.b.pool.Get()
		pkt.SetLen(copy(pkt.Space(), nack))
		bob.RTCP(pkt)
		pkt.Release()
		w := bob.w
		idle(w)
	}
	step()
	if n := testing.AllocsPerRun(200, step); n != 0 {
		t.Errorf("%v allocations per NACK", n)
	}
	if l.b.e.Stats().Retransmitted < 300 {
		t.Error("retransmitted", l.b.e.Stats().Retransmitted)
	}
}

// BenchmarkForward is one sender to n receivers without encryption; the unit
// that counts is ns per packet sent.
func BenchmarkForward(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("receivers=%d", n), func(b *testing.B) {
			l := newLoop(b, n)
			w := l.b.e.workers[0]
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				for w.ring.len() > w.ring.size()/2 {
					runtime.Gosched()
				}
				l.step()
			}
			l.b.settle()
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/sent")
		})
	}
}
