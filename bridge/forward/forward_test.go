package forward

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"confab/bridge/rtpx"
)

// opus makes audio packets of a sender with a level, 0 loudest to 127.
func opus(ssrc uint32, seq uint16, level byte) sent {
	return sent{pt: ptOpus, seq: seq, ts: uint32(seq) * 960, ssrc: ssrc, payload: []byte{0x78, byte(seq)},
		exts: map[uint8][]byte{extLevel: {level}, extTCC: u16(seq), extMid: []byte("0")}}
}

func TestAudioReachesOthersUnchanged(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	alice := b.join("alice", mic("alice-a0", 1))
	bob := b.join("bob")
	carol := b.join("carol", mic("carol-a0", 3))

	alice.send(opus(1, 65535, 20), opus(1, 0, 20))
	for _, c := range []*client{bob, carol} {
		got := c.got()
		if len(got) != 2 || got[0].seq != 65535 || got[1].seq != 0 || got[1].ts != 0 || got[0].ssrc != 1 || got[0].pt != ptOpus {
			t.Fatalf("%s got %+v", c.id, got)
		}
		// The sender's mid and transport-wide number must not leak; audio is not
		// numbered transport-wide by us.
		if e := got[0].ext(extLevel); len(e) != 1 || e[0] != 20 || got[0].ext(extMid) != nil || got[0].ext(extTCC) != nil {
			t.Error("extensions")
		}
	}
	if len(alice.got()) != 0 {
		t.Error("alice heard herself")
	}
}

func TestSilenceAndMuteCloseTheGap(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	alice := b.join("alice", mic("alice-a0", 1))
	bob := b.join("bob")

	alice.send(opus(1, 100, 30))
	for i := range 10 {
		alice.send(opus(1, uint16(101+i), 127)) // JVB: three of them pass
	}
	alice.send(opus(1, 111, 30))
	var seqs []uint16
	for _, s := range bob.got() {
		seqs = append(seqs, s.seq)
	}
	if want := []uint16{100, 101, 102, 103, 104}; !equal(seqs, want) {
		t.Errorf("got %v, want %v", seqs, want)
	}
	// Forced mute drops audio whatever its level, even without the extension.
	alice.SetMuted(true, false)
	p := opus(1, 112, 30)
	p.exts = nil
	alice.send(p, opus(1, 113, 10))
	if n := len(bob.got()); n != 0 {
		t.Errorf("%d packets of a muted microphone", n)
	}
	alice.SetMuted(false, false)
	alice.send(opus(1, 114, 10))
	if got := bob.got(); len(got) != 1 || got[0].seq != 105 {
		t.Errorf("after the mute: %+v", got)
	}
	if s := alice.Stats(); s.Discarded != 9 {
		t.Errorf("%+v", s)
	}
}

func TestForeignAndUnknownSSRC(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	cam, enc := camera("alice-v0", 10, 1)
	alice := b.join("alice", mic("alice-a0", 1), cam)
	mallory := b.join("mallory", mic("mallory-a0", 2))
	bob := b.join("bob")
	bob.SetTarget("alice-v0", rtpx.MakeLayer(0, 0, 2))

	mallory.send(opus(1, 5, 10), opus(77, 5, 10), opus(0, 5, 10))
	mallory.send(enc[0].frame(true, 0, 1)...)
	mallory.sendRTCP(rtpx.AppendSR(nil, 1, rtpx.SenderInfo{NTP: 1, TS: 1}))
	if n := len(bob.got()); n != 0 {
		t.Errorf("%d forged packets forwarded", n)
	}
	if s := mallory.Stats(); s.Foreign != 3 || s.Unknown != 2 {
		t.Errorf("%+v", s)
	}
	// Nor can she claim the SSRC or the name by signalling; the rest of the set holds.
	err := mallory.SetSources([]Source{mic("mallory-a1", 1), mic("alice-a0", 9), mic("mallory-a0", 2),
		{Name: "mallory-v0", Kind: Video, Encodings: []Encoding{{SSRC: 4, RTX: 10}}}})
	if err == nil || strings.Count(err.Error(), "belongs to") != 3 {
		t.Errorf("claim: %v", err)
	}
	alice.send(opus(1, 6, 10))
	mallory.send(opus(2, 6, 10))
	if got := bob.got(); len(got) != 2 || got[0].ssrc+got[1].ssrc != 3 {
		t.Errorf("%+v", got)
	}
	// Garbage is counted.
	mallory.sendRTCP([]byte{1, 2, 3})
	pkt := b.pool.Get()
	pkt.SetLen(5)
	mallory.RTP(pkt)
	pkt.Release()
	if s := mallory.Stats(); s.Malformed != 2 {
		t.Errorf("%+v", s)
	}
}

func TestVideoIsPausedUntilTargetAndKeyFrame(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	cam, enc := camera("alice-v0", 10, 3)
	alice := b.join("alice", cam)
	bob := b.join("bob")

	alice.send(enc[0].frame(true, 0, 2)...)
	if len(bob.got()) != 0 || alice.plis() != 0 {
		t.Fatal("video without a target")
	}
	b.pass(time.Second)
	bob.SetTarget("alice-v0", rtpx.MakeLayer(0, 0, 2))
	alice.send(enc[0].frame(false, 0, 2)...)
	if len(bob.got()) != 0 {
		t.Fatal("video without a key frame")
	}
	pli := alice.control()
	if len(pli) != 1 || !pli[0].Is(rtpx.TypePSFB, rtpx.FormatPLI) || pli[0].Media() != 10 || pli[0].Sender() != 0xFEED {
		t.Fatalf("%+v", pli)
	}
	alice.send(enc[0].frame(true, 0, 3)...)
	got := bob.got()
	if len(got) != 3 || got[0].seq != 1 || got[2].seq != 3 || got[0].ssrc != 10 || !got[2].marker || got[0].marker {
		t.Fatalf("%+v", got)
	}
	for i, s := range got {
		// Transport-wide numbers are the receiver's own, from 1 on.
		if e := s.ext(extTCC); !bytes.Equal(e, u16(uint16(i+1))) {
			t.Errorf("transport-wide number %x", e)
		}
	}
	// Pausing takes effect at once; resuming goes on behind what was sent.
	bob.SetTarget("alice-v0", rtpx.NoLayer)
	alice.send(enc[0].frame(false, 0, 1)...)
	b.pass(time.Second)
	bob.SetTarget("alice-v0", rtpx.MakeLayer(0, 0, 2))
	alice.send(enc[0].frame(false, 0, 1)...)
	if len(bob.got()) != 0 || alice.plis() != 1 {
		t.Error("resumed without a key frame, or did not ask for it")
	}
	alice.send(enc[0].frame(true, 0, 1)...)
	next := bob.got()
	if len(next) != 1 || next[0].seq != 4 || next[0].ts-got[0].ts != 90000 {
		t.Fatalf("%+v", next)
	}
	if a, z := got[0].vp8(), next[0].vp8(); z.PictureID != a.PictureID+1 || z.TL0 != a.TL0+1 {
		t.Errorf("picture id %d after %d, tl0 %d after %d", z.PictureID, a.PictureID, z.TL0, a.TL0)
	}
}

func TestKeyframeRequestsAreThrottled(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	cam, enc := camera("alice-v0", 10, 1)
	alice := b.join("alice", cam)
	var rs []*client
	for _, id := range []string{"b", "c", "d"} {
		r := b.join(id)
		r.SetTarget("alice-v0", rtpx.MakeLayer(0, 0, 2))
		rs = append(rs, r)
	}
	alice.send(enc[0].frame(true, 0, 1)...)
	b.settle()
	n := 0
	for range 100 { // 10 s: 30 wishes per 100 ms
		for _, r := range rs {
			for range 10 {
				r.sendRTCP(rtpx.AppendPLI(nil, 1, 10))
			}
		}
		n += alice.plis()
		b.pass(100 * time.Millisecond)
	}
	if n < 20 || n > 50 { // at most one per 200 ms, and ten per receiver in 10 s
		t.Errorf("%d requests", n)
	}
	// A PLI for something the receiver does not get asks nobody.
	b.pass(20 * time.Second)
	rs[0].SetTarget("alice-v0", rtpx.NoLayer)
	rs[0].sendRTCP(rtpx.AppendPLI(nil, 1, 10))
	rs[1].sendRTCP(rtpx.AppendPLI(nil, 1, 999))
	if n := alice.plis(); n != 0 {
		t.Errorf("%d requests", n)
	}
	rs[1].sendRTCP(rtpx.AppendFIR(nil, 1, 10, 0))
	if n := alice.plis(); n != 1 {
		t.Errorf("%d requests for a FIR", n)
	}
}

func TestSourcesComeAndGo(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	bob := b.join("bob")
	cam, enc := camera("alice-v0", 10, 1)
	alice := b.join("alice")
	alice.send(opus(1, 1, 20)) // before it is signalled
	if len(bob.got()) != 0 {
		t.Error("unsignalled audio")
	}
	alice.SetSources([]Source{mic("alice-a0", 1), cam})
	alice.send(opus(1, 2, 20))
	if len(bob.got()) != 1 {
		t.Error("no audio after signalling")
	}
	bob.SetTargets(map[string]rtpx.Layer{"alice-v0": rtpx.MakeLayer(0, 0, 2), "nobody-v0": 0})
	alice.send(enc[0].frame(true, 0, 2)...)
	if got := bob.got(); len(got) != 2 || got[1].seq != 2 {
		t.Errorf("%+v", got)
	}
	// Gone and back: numbers go on, because SRTP must not see an index twice.
	alice.SetSources([]Source{mic("alice-a0", 1)})
	alice.send(enc[0].frame(true, 0, 1)...)
	if len(bob.got()) != 0 || bob.SetTarget("alice-v0", 0) == nil {
		t.Error("source is still there")
	}
	alice.SetSources([]Source{mic("alice-a0", 1), cam})
	bob.SetTarget("alice-v0", rtpx.MakeLayer(0, 0, 2))
	alice.send(enc[0].frame(true, 0, 1)...)
	if got := bob.got(); len(got) != 1 || got[0].seq != 3 {
		t.Errorf("%+v", got)
	}
	// New SSRCs under the same name: the receiver keeps its target.
	cam2, enc2 := camera("alice-v0", 50, 1)
	alice.SetSources([]Source{cam2})
	alice.send(enc2[0].frame(true, 0, 1)...)
	alice.send(opus(1, 3, 20))
	if got := bob.got(); len(got) != 1 || got[0].ssrc != 50 {
		t.Errorf("%+v", got)
	}
	alice.Close()
	alice.send(enc2[0].frame(false, 0, 1)...)
	alice.sendRTCP(rtpx.AppendPLI(nil, 1, 2))
	if len(bob.got()) != 0 || alice.SetSources(nil) == nil || b.p.Endpoint("alice") != nil {
		t.Error("alice is still there")
	}
	if _, err := b.p.Attach(EndpointConfig{ID: "bob"}); err == nil {
		t.Error("attached twice")
	}
}

func TestLayersAndEvents(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	cam, enc := camera("alice-v0", 10, 3)
	alice := b.join("alice", cam)
	ls, ok := b.p.Layers("alice-v0")
	if !ok || len(ls) != 9 || ls[8] != (rtpx.LayerInfo{ID: rtpx.MakeLayer(2, 0, 2), Height: 720, FPS: 30}) || ls[0].FPS != 7.5 || ls[3].Height != 360 {
		t.Fatalf("%+v", ls)
	}
	for range 10 {
		alice.send(enc[1].frame(true, 0, 1)...)
		alice.send(enc[1].frame(false, 2, 1)...)
		b.pass(66 * time.Millisecond)
	}
	select {
	case <-b.p.Changed():
	default:
		t.Fatal("no event")
	}
	if ev := b.p.TakeEvents(); len(ev.Layers) != 1 || ev.Layers[0] != "alice-v0" {
		t.Errorf("%+v", ev)
	}
	ls, _ = b.p.Layers("alice-v0")
	if ls[0].Bitrate != 0 || ls[3].Bitrate == 0 || ls[4].Bitrate != 0 || ls[5].Bitrate <= ls[3].Bitrate || ls[8].Bitrate != 0 {
		t.Errorf("%+v", ls)
	}
	if len(b.p.TakeEvents().Layers) != 0 {
		t.Error("event twice")
	}
	b.pass(2 * time.Second)
	b.e.Tick()
	if ev := b.p.TakeEvents(); len(ev.Layers) != 1 {
		t.Error("silence of a layer is no event")
	}
	if _, ok := b.p.Layers("bob-v0"); ok {
		t.Error("layers of nothing")
	}
}

func TestLoudestVoices(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *Config) { c.LoudestN = 1 })
	var cs []*client
	for i, id := range []string{"a", "b", "c"} {
		cs = append(cs, b.join(id, mic(id+"-a0", uint32(i+1))))
	}
	ear := b.join("ear")
	speak := func(levels ...byte) map[uint32]int {
		for n := range 20 {
			for i, c := range cs {
				c.send(opus(uint32(i+1), c.seqFor(n), levels[i]))
			}
			b.pass(20 * time.Millisecond)
			b.e.Tick()
		}
		m := map[uint32]int{}
		for _, s := range ear.got() {
			m[s.ssrc]++
		}
		return m
	}
	speak(100, 100, 100) // noise floor
	if m := speak(20, 90, 90); m[1] < 15 || m[2] > 2 || m[3] > 2 {
		t.Errorf("%v", m)
	}
	b.p.SetDominant("c")
	if m := speak(90, 20, 90); m[1] > 5 || m[2] < 10 || m[3] < 15 {
		t.Errorf("%v", m)
	}
	var n int
	b.p.DrainLevels(func(id string, level uint8, at int64) {
		n++
		if level != 27 && level != 107 && level != 37 {
			t.Errorf("%s %d", id, level)
		}
	})
	if n < 150 {
		t.Errorf("%d levels", n)
	}
	// All that was left out is counted by its energy.
	st := b.e.Stats()
	var quiet uint64
	for _, n := range st.TooQuiet {
		quiet += n
	}
	if quiet == 0 || quiet != st.Discarded || st.TooQuiet[0] == quiet || st.TooQuietEnergy < quiet {
		t.Errorf("%d of %d dropped packets were too quiet: %v, %d", quiet, st.Discarded, st.TooQuiet, st.TooQuietEnergy)
	}
}

// In a small conference everybody is forwarded, and an endpoint has one place however
// many microphones it sends.
func TestLoudestOnlyInLargeConferences(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *Config) { c.LoudestN, c.LoudestAbove = 2, 4 })
	many := b.join("many", mic("many-a0", 1), mic("many-a1", 2), mic("many-a2", 3))
	quiet, loud := b.join("quiet", mic("quiet-a0", 4)), b.join("loud", mic("loud-a0", 5))
	ear := b.join("ear")
	seq := uint16(0)
	speak := func(n int, floor bool) map[uint32]int {
		for range n {
			seq++
			level := func(l byte) byte {
				if floor {
					return 100
				}
				return l
			}
			many.send(opus(1, seq, level(20)), opus(2, seq, level(20)), opus(3, seq, level(20)))
			quiet.send(opus(4, seq, level(60)))
			loud.send(opus(5, seq, level(25)))
			b.pass(20 * time.Millisecond)
			b.e.Tick()
		}
		m := map[uint32]int{}
		for _, s := range ear.got() {
			m[s.ssrc]++
		}
		return m
	}
	if speak(10, true); len(b.p.ranks) != 0 {
		t.Error("ranked")
	}
	if m := speak(20, false); m[1] != 20 || m[4] != 20 {
		t.Errorf("small: %v", m)
	}
	b.join("one more")
	if m := speak(50, false); m[1] < 48 || m[2] < 48 || m[3] < 48 || m[5] < 48 || m[4] > 5 {
		t.Errorf("large: %v", m)
	}
	// Who begins to talk is heard from the first loud packets on: the ticker has
	// nothing to do with it.
	for range 60 {
		seq++
		many.send(opus(1, seq, 100))
		loud.send(opus(5, seq, 25))
		b.pass(20 * time.Millisecond)
		b.e.Tick()
	}
	ear.got()
	for range 3 {
		seq++
		quiet.send(opus(4, seq, 20))
	}
	if got := ear.got(); len(got) != 3 {
		t.Errorf("%d of the first 3 packets of a word", len(got))
	}
}

func (c *client) seqFor(n int) uint16 { return uint16(c.Stats().Received) }

func TestClosedPipelineAndEngine(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	alice := b.join("alice", mic("alice-a0", 1))
	b.join("bob")
	alice.send(opus(1, 1, 10))
	b.p.Close()
	b.p.Close()
	if _, err := b.p.Attach(EndpointConfig{ID: "x"}); err != ErrClosed {
		t.Error(err)
	}
	alice.Close()
	alice.send(opus(1, 2, 10))
	if err := b.e.Close(); err != nil {
		t.Error(err)
	}
	if _, err := b.e.NewPipeline("y"); err != ErrClosed {
		t.Error(err)
	}
	alice.SetSender(nil)
}

func equal[T comparable](a, b []T) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// TestRedundantAudio: who negotiated RED gets it as it is, others the primary block.
func TestRedundantAudio(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	alice := b.join("alice", mic("alice-a0", 1))
	bob, old := b.join("bob"), b.join("old")
	red := stock()
	red.Payloads = append(red.Payloads, Payload{PT: 112, Name: "red", Kind: Audio})
	alice.SetMedia(red)
	bob.SetMedia(red)
	payload := []byte{0x80 | ptOpus, 0x0F, 0x00, 0x02, ptOpus, 0xAA, 0xAA, 1, 2, 3}
	alice.send(sent{pt: 112, ssrc: 1, seq: 9, ts: 960, payload: payload})
	if got := bob.got(); len(got) != 1 || got[0].pt != 112 || !bytes.Equal(got[0].payload, payload) {
		t.Errorf("%+v", got)
	}
	if got := old.got(); len(got) != 1 || got[0].pt != ptOpus || !bytes.Equal(got[0].payload, []byte{1, 2, 3}) || got[0].seq != 9 {
		t.Errorf("%+v", got)
	}
	alice.send(sent{pt: 112, ssrc: 1, seq: 10, ts: 1920, payload: []byte{0x80 | ptOpus}})
	if got := old.got(); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

// TestFullRing: a worker that is behind drops whole frames, and all packets
// find their way back to the pool.
func TestFullRing(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *Config) { c.Workers, c.RingSize = 1, 16 })
	cam, enc := camera("alice-v0", 10, 1)
	alice := b.join("alice", mic("alice-a0", 1), cam)
	bob := b.join("bob")
	bob.SetTarget("alice-v0", rtpx.MakeLayer(0, 0, 2))
	alice.send(enc[0].frame(true, 0, 1)...)
	bob.got()
	// Hold the worker while more comes than its ring takes.
	held, hold := make(chan struct{}), make(chan struct{})
	bob.w.post(func() { close(held); <-hold })
	<-held
	for i := range 12 {
		alice.send(enc[0].frame(false, 0, 3)...)
		alice.send(opus(1, uint16(i), 20))
	}
	close(hold)
	frames, audio := map[uint32]int{}, 0
	for _, s := range bob.got() {
		if s.ssrc == 1 {
			audio++
		} else {
			frames[s.ts]++
		}
	}
	// Three quarters of the ring take video; a frame that was begun may be cut
	// once, where the limit lies.
	cut := 0
	for _, n := range frames {
		if n != 3 {
			cut++
		}
	}
	if cut > 1 || len(frames) == 0 || audio < 4 {
		t.Errorf("%d frames, %d of them cut, %d audio", len(frames), cut, audio)
	}
	if b.e.Stats().Overflow == 0 {
		t.Error("overflow not counted")
	}
}

// TestSenderComesBack: the same SSRC from a new session that counts anew goes
// on behind what receivers got, so that SRTP sees no number twice.
func TestSenderComesBack(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	bob := b.join("bob")
	cam, enc := camera("alice-v0", 10, 1)
	for _, first := range []uint16{500, 65000, 200, 205} {
		alice := b.join("alice", mic("alice-a0", 1), cam)
		bob.SetTarget("alice-v0", rtpx.MakeLayer(0, 0, 2))
		enc[0].seq = first
		for i := range uint16(3) {
			alice.send(opus(1, first+i, 20))
		}
		alice.send(enc[0].frame(true, 0, 2)...)
		b.settle()
		alice.Close()
	}
	var audio, video []uint16
	for _, s := range bob.got() {
		if s.ssrc == 1 {
			audio = append(audio, s.seq)
		} else {
			video = append(video, s.seq)
		}
	}
	if want := []uint16{500, 501, 502, 503, 504, 505, 506, 507, 508, 509, 510, 511}; !equal(audio, want) {
		t.Error(audio)
	}
	if want := []uint16{1, 2, 3, 4, 5, 6, 7, 8}; !equal(video, want) {
		t.Error(video)
	}
}

// TestRetransmissionSSRCBecomesPrimary: numbers used on an SSRC for
// retransmissions are not used again when it carries media.
func TestRetransmissionSSRCBecomesPrimary(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	bob := b.join("bob")
	cam, enc := camera("alice-v0", 10, 1)
	alice := b.join("alice", cam)
	bob.SetTarget("alice-v0", rtpx.MakeLayer(0, 0, 2))
	alice.send(enc[0].frame(true, 0, 3)...)
	b.settle()
	b.pass(time.Second)
	bob.sendRTCP(rtpx.AppendNACK(nil, 1, 10, []uint16{1, 2, 3}))
	bob.got()
	alice.SetSources([]Source{{Name: "alice-v0", Kind: Video, Encodings: []Encoding{{SSRC: 110, RTX: 10}}}})
	enc[0].ssrc = 110
	alice.send(enc[0].frame(true, 0, 1)...)
	if got := bob.got(); len(got) != 1 || got[0].ssrc != 110 || got[0].seq != 4 {
		t.Fatalf("%+v", got)
	}
	b.pass(time.Second)
	bob.sendRTCP(rtpx.AppendNACK(nil, 1, 110, []uint16{4}))
	if got := bob.got(); len(got) != 1 || got[0].ssrc != 10 || got[0].seq != 4 {
		t.Fatalf("%+v", got)
	}
	// What is missed of the old one does not take numbers of the new one.
	bob.sendRTCP(rtpx.AppendNACK(nil, 1, 10, []uint16{1}))
	bob.got()
	alice.send(enc[0].frame(false, 0, 1)...)
	if got := bob.got(); len(got) != 1 || got[0].ssrc != 110 || got[0].seq != 5 {
		t.Fatalf("%+v", got)
	}
	for _, o := range bob.eg.outs {
		if o.rtx == bob.eg.outs[110] {
			t.Errorf("retransmissions of %d would go out among media", o.ssrc)
		}
	}
}

// A sender that signals other SSRCs for retransmissions again and again leaves nothing
// behind with who receives it.
func TestRetransmissionSSRCsChange(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	bob := b.join("bob")
	cam, enc := camera("alice-v0", 10, 1)
	alice := b.join("alice", cam)
	bob.SetTarget("alice-v0", rtpx.MakeLayer(0, 0, 2))
	for i := range uint32(20) {
		alice.SetSources([]Source{{Name: "alice-v0", Kind: Video, Encodings: []Encoding{{SSRC: 10, RTX: 100 + i}}}})
		alice.send(enc[0].frame(true, 0, 2)...)
		got := bob.got()
		if len(got) != 2 {
			t.Fatalf("round %d: %+v", i, got)
		}
		b.pass(time.Second)
		bob.sendRTCP(rtpx.AppendNACK(nil, 1, 10, []uint16{got[0].seq}))
		if got = bob.got(); len(got) != 1 || got[0].ssrc != 100+i {
			t.Fatalf("round %d: %+v", i, got)
		}
	}
	if n := len(bob.eg.outs); n != 2 {
		t.Errorf("%d streams", n)
	}
}
