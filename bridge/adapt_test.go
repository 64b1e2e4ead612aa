package bridge

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"confab/bridge/alloc"
	"confab/bridge/forward"
	"confab/bridge/rtpx"
	"confab/xmpp/xep/colibri2"
)

// The tests of this file run the packet path and the allocation of a conference with
// receivers behind virtual links, on the clock of a synctest bubble.

const (
	vp8PT, rtxPT = 100, 96
	extTWCC      = 5
)

func videoMedia() forward.Media {
	return forward.Media{
		Payloads: []forward.Payload{
			{PT: vp8PT, Name: "VP8", Kind: forward.Video, NACK: true, PLI: true, TransportCC: true},
			{PT: rtxPT, Name: "rtx", Kind: forward.Video, RTX: true, Apt: vp8PT},
		},
		Extensions: forward.Extensions{TransportCC: extTWCC},
	}
}

// studio is a conference without sockets.
type studio struct {
	t      *testing.T
	c      *Conference
	engine *forward.Engine
	pool   *rtpx.Pool
	start  time.Time
	cams   []*cam
	screen []*viewer
}

func (s *studio) now() int64 { return int64(1000*time.Second) + int64(time.Since(s.start)) }

func inStudio(t *testing.T, f func(s *studio)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &studio{t: t, pool: rtpx.NewPool(), start: time.Now()}
		s.engine = forward.NewEngine(forward.Config{Workers: 1, Pool: s.pool, Now: s.now})
		pipe, err := s.engine.NewPipeline("studio")
		if err != nil {
			t.Fatal(err)
		}
		cfg := DefaultConfig()
		s.c = newConference(&Service{cfg: cfg, log: slog.New(slog.DiscardHandler), engine: s.engine}, &colibri2.Modify{MeetingID: "studio"}, pipe)
		f(s)
		for _, v := range s.screen {
			t.Log(v.story())
		}
		if err := s.engine.Close(); err != nil {
			t.Error(err)
		}
		if n := s.engine.Stats().Panics; n != 0 {
			t.Errorf("%d panics", n)
		}
	})
}

func (s *studio) attach(id string) *endpoint {
	ep := &endpoint{c: s.c, id: id, videoTypes: map[string]alloc.VideoType{}, told: map[string]told{}, unwanted: map[string]time.Time{}, want: s.c.s.cfg.Alloc.Initial(-1)}
	fwd, err := s.c.pipe.Attach(forward.EndpointConfig{ID: id, Media: videoMedia(), FeedbackSSRC: 0xFEED})
	if err != nil {
		s.t.Fatal(err)
	}
	ep.fwd = fwd
	s.c.endpoints[id] = ep
	s.c.order = append(s.c.order, ep)
	return ep
}

// cam is a sender of three encodings, 30 frames a second in three temporal layers.
type cam struct {
	s     *studio
	ep    *endpoint
	mu    sync.Mutex
	encs  []*enc
	frame int
}

type enc struct {
	ssrc    uint32
	bps     int // 0: it is not encoded
	seq     uint16
	ts      uint32
	pid     uint16
	tl0     uint8
	height  int
	wantKey bool
}

func (s *studio) camera(id string, base uint32, typ alloc.VideoType, bps ...int) *cam {
	k := &cam{s: s, ep: s.attach(id)}
	src := forward.Source{Name: id + "-v0", Kind: forward.Video}
	for i, b := range bps {
		ssrc := base + uint32(i)
		k.encs = append(k.encs, &enc{ssrc: ssrc, bps: b, height: 180 << i, wantKey: true})
		src.Encodings = append(src.Encodings, forward.Encoding{SSRC: ssrc, RTX: ssrc + 1000})
	}
	s.c.setSources(k.ep, []source{{Source: src, videoType: typ}})
	k.ep.fwd.SetSender(k)
	s.cams = append(s.cams, k)
	return k
}

func (k *cam) WriteRTP(forward.Batch, []byte) error { return nil }

func (k *cam) WriteRTCP(_ forward.Batch, b []byte) error {
	for {
		p, rest, ok := rtpx.NextRTCP(b)
		if !ok {
			return nil
		}
		b = rest
		if p.Is(rtpx.TypePSFB, rtpx.FormatPLI) {
			k.mu.Lock()
			for _, e := range k.encs {
				e.wantKey = true
			}
			k.mu.Unlock()
		}
	}
}

// set changes the bitrate of an encoding.
func (k *cam) set(enc, bps int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.encs[enc].bps, k.encs[enc].wantKey = bps, true
}

// shoot sends one frame of each encoding.
func (k *cam) shoot() {
	k.mu.Lock()
	defer k.mu.Unlock()
	tid := []uint8{0, 2, 1, 2}[k.frame%4]
	k.frame++
	for _, e := range k.encs {
		e.ts += 3000
		if e.bps == 0 {
			continue
		}
		key := e.wantKey
		t := tid
		// Shares of 40, 20 and 40 percent in 1, 1 and 2 of 4 frames.
		size := e.bps / 30 / 8 * []int{16, 8, 8}[t] / 10
		if key {
			e.wantKey, t, size = false, 0, e.bps/8/10
		}
		e.pid = (e.pid + 1) & 0x7FFF
		if t == 0 {
			e.tl0++
		}
		n := size/1150 + 1
		for i := range n {
			e.seq++
			d := make([]byte, size/n+1)
			copy(d, []byte{0x80, 0xE0, 0x80 | byte(e.pid>>8), byte(e.pid), e.tl0, t << 6, 0x01})
			if i == 0 {
				d[0] |= 0x10
				if key {
					copy(d[6:], []byte{0x00, 0, 0, 0x9D, 0x01, 0x2A, byte(e.height * 16 / 9), byte(e.height * 16 / 9 >> 8), byte(e.height), byte(e.height >> 8)})
				}
			}
			pkt := k.s.pool.Get()
			b := pkt.Space()
			rtpx.PutHeader(b, vp8PT, i == n-1, e.seq, e.ts, e.ssrc)
			pkt.SetLen(12 + copy(b[12:], d))
			pkt.Arrived = k.s.now()
			k.ep.fwd.RTP(pkt)
			pkt.Release()
		}
	}
}

// viewer is a receiver behind a link that carries rate bits a second and holds what
// goes over that for at most half a second. It reports as Chromium does.
type viewer struct {
	s  *studio
	ep *endpoint

	mu      sync.Mutex
	rate    int64
	delay   time.Duration
	hold    time.Duration
	busy    int64
	flight  []parcel
	dropped int
	bytes   int64 // arrived
	queued  int64 // longest wait in the link since mark
	padded  int   // packets without payload, and copies
	loss    int   // every n-th packet is lost, 0: none
	count   int
	mute    bool // reports nothing

	recorder rtpx.TWCCRecorder
	reportAt int64
	missing  map[uint32][]uint16
	high     map[uint32]uint16
	askAt    int64
	back     []parcel
	log      []sample
}

type parcel struct {
	at int64
	b  []byte
}

// sample is the state at a time.
type sample struct {
	at                       time.Duration
	estimate, sent, padding  int64
	layer                    rtpx.Layer
	queue                    time.Duration
	next, sending, available int64
}

func (s *studio) viewer(id string, rate int64, delay time.Duration) *viewer {
	v := &viewer{s: s, ep: s.attach(id), rate: rate, delay: delay, hold: 500 * time.Millisecond, missing: map[uint32][]uint16{}, high: map[uint32]uint16{}}
	v.ep.fwd.SetSender(v)
	s.screen = append(s.screen, v)
	return v
}

func (v *viewer) wants(height int, onStage ...string) {
	v.ep.want = v.s.c.s.cfg.Alloc.Initial(-1)
	v.ep.want.Default = alloc.Height(height)
	v.ep.want.OnStage = onStage
	v.s.c.dirty[v.ep] = true
}

func (v *viewer) setRate(rate int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.rate = rate
}

func (v *viewer) WriteRTCP(forward.Batch, []byte) error { return nil }

func (v *viewer) WriteRTP(_ forward.Batch, b []byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	at := v.s.now()
	v.busy = max(v.busy, at)
	wait := v.busy - at
	v.count++
	if wait > int64(v.hold) || v.loss > 0 && v.count%v.loss == 0 {
		v.dropped++
		return nil
	}
	v.busy += int64(len(b)+40) * 8e9 / v.rate
	v.queued = max(v.queued, wait)
	v.flight = append(v.flight, parcel{v.busy + int64(v.delay), slices.Clone(b)})
	return nil
}

// receive takes what has arrived by now and reports.
func (v *viewer) receive() {
	v.mu.Lock()
	now := v.s.now()
	for len(v.flight) > 0 && v.flight[0].at <= now {
		v.arrived(v.flight[0])
		v.flight = v.flight[1:]
	}
	if v.recorder.Pending() && now-v.reportAt >= 100e6 {
		v.reportAt = now
		for v.recorder.Pending() {
			v.back = append(v.back, parcel{now + int64(v.delay), v.recorder.Append(nil, 1, 2)})
		}
	}
	if now-v.askAt >= int64(50e6+2*v.delay) {
		v.askAt = now
		for ssrc, seqs := range v.missing {
			if len(seqs) > 0 {
				slices.Sort(seqs)
				v.back = append(v.back, parcel{now + int64(v.delay), rtpx.AppendNACK(nil, 1, ssrc, seqs[max(0, len(seqs)-50):])})
			}
			if len(seqs) > 200 {
				v.missing[ssrc] = nil
			}
		}
	}
	var due []parcel
	for len(v.back) > 0 && v.back[0].at <= now {
		due = append(due, v.back[0])
		v.back = v.back[1:]
	}
	mute := v.mute
	v.mu.Unlock()
	for _, p := range due {
		if mute {
			continue
		}
		pkt := v.s.pool.Get()
		pkt.SetLen(copy(pkt.Space(), p.b))
		pkt.Arrived = now
		v.ep.fwd.RTCP(pkt)
		pkt.Release()
	}
}

func (v *viewer) arrived(p parcel) {
	var h rtpx.Header
	if !h.Parse(p.b) {
		v.s.t.Errorf("no RTP: %x", p.b)
		return
	}
	v.bytes += int64(len(p.b))
	if e, ok := h.Ext(p.b, extTWCC); ok {
		seq, _ := rtpx.TransportSeq(e)
		v.recorder.Record(seq, p.at)
	}
	if h.PT == rtxPT {
		if h.PayloadLen() == 0 {
			v.padded++
			return
		}
		pl := h.Payload(p.b)
		seq, ssrc := uint16(pl[0])<<8|uint16(pl[1]), h.SSRC-1000
		before := len(v.missing[ssrc])
		v.missing[ssrc] = slices.DeleteFunc(v.missing[ssrc], func(s uint16) bool { return s == seq })
		if len(v.missing[ssrc]) == before {
			v.padded++
		}
		return
	}
	if h.PayloadLen() == 0 && h.SSRC != 0xFEED && !slices.Contains(v.missing[h.SSRC], h.Seq) { // it has not asked for that
		v.s.t.Errorf("a hole in media: padding on SSRC %d", h.SSRC)
	}
	if high, ok := v.high[h.SSRC]; ok {
		for s := high + 1; s != h.Seq && h.Seq-high < 1000; s++ {
			v.missing[h.SSRC] = append(v.missing[h.SSRC], s)
		}
	}
	v.high[h.SSRC] = h.Seq
}

// run lets time pass.
func (s *studio) run(d time.Duration) {
	const step = 2 * time.Millisecond
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(step)
		at := time.Since(s.start)
		if at%(34*time.Millisecond) < step {
			for _, k := range s.cams {
				k.shoot()
			}
		}
		synctest.Wait()
		for _, v := range s.screen {
			v.receive()
		}
		if at%(20*time.Millisecond) < step {
			select {
			case <-s.c.pipe.Changed():
				s.c.takeLayers()
			default:
			}
			s.c.allocate()
		}
		if at%(100*time.Millisecond) < step {
			for _, v := range s.screen {
				if time.Since(v.ep.alloc.at) >= allocatePeriod {
					s.c.dirty[v.ep] = true
				}
				v.sample(at)
			}
		}
	}
}

func (v *viewer) sample(at time.Duration) {
	b := v.ep.fwd.Bandwidth()
	v.mu.Lock()
	defer v.mu.Unlock()
	layer := rtpx.NoLayer
	for _, k := range v.s.cams {
		layer = max(layer, v.ep.alloc.targets[k.ep.id+"-v0"])
	}
	v.log = append(v.log, sample{at: at, estimate: b.Estimate, sent: b.Sent(), padding: b.Padding, layer: layer, queue: time.Duration(v.queued),
		next: int64(v.ep.alloc.next), sending: int64(v.ep.alloc.sending), available: int64(v.ep.alloc.available)})
	v.queued = 0
}

// story prints what happened, for failures.
func (v *viewer) story() (out string) {
	for i, s := range v.log {
		if i%5 == 0 || i > 0 && s.layer != v.log[i-1].layer {
			out += fmt.Sprintf("\n%6.1fs est %7d sent %7d pad %6d layer %v queue %v next %d sending %d", s.at.Seconds(), s.estimate, s.sent, s.padding, s.layer, s.queue.Round(time.Millisecond), s.next, s.sending)
		}
	}
	return out
}

// since are the samples from a time on.
func (v *viewer) since(at time.Duration) (out []sample) {
	for _, s := range v.log {
		if s.at >= at {
			out = append(out, s)
		}
	}
	return out
}

// changes counts how often the encoding changed.
func changes(ls []sample) (n int) {
	for i := range ls {
		if i > 0 && ls[i].layer.Encoding() != ls[i-1].layer.Encoding() {
			n++
		}
	}
	return n
}

func (v *viewer) last() sample { return v.log[len(v.log)-1] }

func top() rtpx.Layer { return rtpx.MakeLayer(2, 0, 2) }

// watching has bob look at the camera of alice, large, over a network of that rate.
func (s *studio) watching(rate int64, delay time.Duration) *viewer {
	s.camera("alice", 10, alloc.Camera, 150_000, 500_000, 1_500_000)
	v := s.viewer("bob", rate, delay)
	v.wants(720, "alice-v0")
	return v
}

// A good network: the best layer at once, and hardly anything that carries nothing.
func TestPlentyNeedsNoPadding(t *testing.T) {
	t.Parallel()
	inStudio(t, func(s *studio) {
		v := s.watching(50_000_000, 10*time.Millisecond)
		s.run(10 * time.Second)
		if v.last().layer != top() {
			t.Errorf("not the best layer")
		}
		v.padded = 0
		s.run(10 * time.Second)
		if v.padded != 0 {
			t.Errorf("%d packets of padding that nobody needs", v.padded)
		}
	})
}

// People can see what their network carries: the client is told when it is known, and
// every ten seconds.
func TestClientIsToldItsEstimate(t *testing.T) {
	t.Parallel()
	inStudio(t, func(s *studio) {
		s.camera("alice", 10, alloc.Camera, 150_000, 500_000, 1_500_000)
		v := s.viewer("bob", 2_000_000, 10*time.Millisecond)
		if b := v.ep.estimateNews(time.Now()); b != nil {
			t.Errorf("before anything was sent: %s", b)
		}
		v.wants(720, "alice-v0")
		for range 2 {
			s.run(10 * time.Second)
			var m struct {
				Class string `json:"colibriClass"`
				BPS   int64  `json:"estimatedDownlinkBandwidth"`
			}
			if err := json.Unmarshal(v.ep.estimateNews(time.Now()), &m); err != nil {
				t.Fatal(err)
			}
			if want := v.ep.fwd.Bandwidth().Estimate; m.Class != "ConnectionStats" || m.BPS != want || m.BPS < 1_000_000 || m.BPS > 2_500_000 {
				t.Errorf("%+v, the estimate is %d", m, want)
			}
			s.run(9 * time.Second)
			if b := v.ep.estimateNews(time.Now()); b != nil {
				t.Errorf("too early: %s", b)
			}
		}
	})
}

// A network that gets better: probing finds it.
func TestClimbsByProbing(t *testing.T) {
	t.Parallel()
	inStudio(t, func(s *studio) {
		v := s.watching(280_000, 20*time.Millisecond)
		s.run(20 * time.Second)
		if l := v.last().layer; l.Encoding() != 0 || l < 0 {
			t.Errorf("%v over 280 kbit/s", l)
		}
		v.setRate(4_000_000)
		s.run(10 * time.Second)
		if v.last().layer != top() {
			t.Errorf("not up after 10 s")
		}
	})
}

// A network that gets worse: down within a second.
func TestGoesDownAtOnce(t *testing.T) {
	t.Parallel()
	inStudio(t, func(s *studio) {
		v := s.watching(5_000_000, 20*time.Millisecond)
		s.run(20 * time.Second)
		if v.last().layer != top() {
			t.Fatalf("never up")
		}
		v.setRate(300_000)
		at := time.Since(s.start)
		s.run(10 * time.Second)
		for _, x := range v.since(at + time.Second) {
			if x.layer.Encoding() > 0 {
				t.Fatalf("at %v still %v", x.at, x.layer)
			}
		}
		back := time.Since(s.start)
		v.setRate(5_000_000)
		s.run(10 * time.Second)
		if v.last().layer != top() {
			t.Errorf("not back after 10 s (%v)", back)
		}
	})
}

// A network of which hardly anything is left, with a long queue: video stops until the
// queue is gone, and what waited of the large picture is not sent at all.
func TestQueueOfADropGoesAway(t *testing.T) {
	t.Parallel()
	inStudio(t, func(s *studio) {
		v := s.watching(5_000_000, 20*time.Millisecond)
		v.hold = 5 * time.Second
		s.run(20 * time.Second)
		if v.last().layer != top() {
			t.Fatalf("never up")
		}
		v.setRate(300_000)
		at := time.Since(s.start)
		s.run(10 * time.Second)
		longest, over := time.Duration(0), 0
		for _, x := range v.since(at) {
			longest = max(longest, x.queue)
			if x.queue > 150*time.Millisecond {
				over++
			}
		}
		t.Logf("queue of %v, above 150 ms for %d00 ms", longest, over)
		if longest > 1100*time.Millisecond || over > 20 {
			t.Error("too long")
		}
		if n := v.last().sent; n < 100_000 {
			t.Errorf("only %d bit/s since", n)
		}
	})
}

// Somebody walks out of the house: what the network there carried says nothing of
// the next one.
func TestMovedToAnotherNetwork(t *testing.T) {
	t.Parallel()
	inStudio(t, func(s *studio) {
		v := s.watching(5_000_000, 20*time.Millisecond)
		s.run(20 * time.Second)
		if v.last().layer != top() || v.last().estimate < 1_500_000 {
			t.Fatalf("never up")
		}
		v.setRate(400_000)
		v.ep.fwd.Moved()
		at := time.Since(s.start)
		s.run(100 * time.Millisecond)
		if l := v.last(); l.estimate > 400_000 || l.layer == top() {
			t.Errorf("estimate of %d, layer %v", l.estimate, l.layer)
		}
		s.run(5 * time.Second)
		for _, x := range v.since(at) {
			if x.queue > 250*time.Millisecond {
				t.Errorf("after %v a queue of %v", x.at-at, x.queue)
			}
		}
	})
}

// A network that carries a little less than a layer takes: no flapping, and what
// is sent stays below it.
func TestDoesNotFlap(t *testing.T) {
	t.Parallel()
	for _, rate := range []int64{470_000, 520_000, 560_000} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			t.Parallel()
			inStudio(t, func(s *studio) {
				v := s.watching(rate, 20*time.Millisecond)
				s.run(90 * time.Second)
				ls := v.since(10 * time.Second)
				if n := changes(ls); n > 6 {
					t.Errorf("%d changes", n)
				}
				over := 0
				for _, x := range ls {
					if x.queue > 200*time.Millisecond {
						over++
					}
				}
				if over > len(ls)/20 {
					t.Errorf("queue above 200 ms in %d of %d", over, len(ls))
				}
			})
		})
	}
}
