package forward

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"confab/bridge/bwe"
	"confab/bridge/rtpx"
)

// rewriter is a client that takes part in SSRC rewriting: it knows of sources what
// it is told, and holds the bridge to it packet by packet.
type rewriter struct {
	*client
	mapped  map[uint32]Mapping
	streams map[uint32]*receivedStream
}

// receivedStream is an SSRC as a decoder meets it.
type receivedStream struct {
	ssrc    uint32
	sent    map[int64]string // packet index → packet
	numbers rtpx.Unwrapper
	high    int64
	last    seen // with the highest number
	name    string
	fresh   bool // was mapped anew since
}

func (b *bed) joinRewriting(id string, s Slots, sources ...Source) *rewriter {
	b.t.Helper()
	ep, err := b.p.Attach(EndpointConfig{ID: id, Media: stock(), FeedbackSSRC: 0xFEED, Slots: &s})
	if err != nil {
		b.t.Fatal(err)
	}
	c := &client{Endpoint: ep, b: b}
	if err := ep.SetSources(sources); err != nil {
		b.t.Fatal(err)
	}
	ep.SetSender(c)
	return &rewriter{client: c, mapped: map[uint32]Mapping{}, streams: map[uint32]*receivedStream{}}
}

// give assigns slots and takes note of what it is told.
func (r *rewriter) give(kind Kind, need int, names ...string) (told []Mapping) {
	r.b.settle()
	var before []seen
	r.w.call(func() { // meanwhile nothing goes out
		before = r.gotNow()
		r.Assign(kind, names, need, func(ms []Mapping) { told = ms })
	})
	r.look(before) // what was under way belongs to the map before
	for _, m := range told {
		r.mapped[m.SSRC] = m
		if st := r.streams[m.SSRC]; st != nil && st.name != m.Source {
			st.name, st.fresh = m.Source, true
		}
	}
	return told
}

// tagged ends a payload with the name of its source, so that a receiver sees whose
// it is.
func tagged(payload []byte, source string) []byte {
	return append(append(payload, source...), byte(len(source)))
}

func tagOf(payload []byte) string {
	n := int(payload[len(payload)-1])
	return string(payload[len(payload)-1-n : len(payload)-1])
}

// check looks at everything that has come.
func (r *rewriter) check() (packets int) {
	r.b.t.Helper()
	return r.look(r.got())
}

func (r *rewriter) look(all []seen) (packets int) {
	t := r.b.t
	t.Helper()
	for _, s := range all {
		packets++
		m, ok := r.mapped[s.ssrc]
		if !ok {
			r.retransmission(s)
			continue
		}
		if len(s.payload) == 0 {
			continue // fills the place of what turned out to be of no use
		}
		if got := tagOf(s.payload); got != m.Source {
			t.Fatalf("SSRC %d carries %s, told was %s", s.ssrc, got, m.Source)
		}
		if mid := s.ext(extMid); string(mid) != m.Mid {
			t.Fatalf("mid %q on the slot %q", mid, m.Mid)
		}
		st := r.streams[s.ssrc]
		if st == nil {
			st = &receivedStream{ssrc: s.ssrc, sent: map[int64]string{}, name: m.Source, fresh: true}
			r.streams[s.ssrc] = st
			if s.seq > 1<<15 {
				t.Fatalf("SSRC %d begins with number %d", s.ssrc, s.seq)
			}
		}
		st.packet(t, s, m.RTX != 0)
	}
	return packets
}

func (st *receivedStream) packet(t testing.TB, s seen, video bool) {
	t.Helper()
	began := len(st.sent) > 0
	pos := st.numbers.Unwrap(s.seq)
	if before, dup := st.sent[pos]; dup && before != string(s.b) {
		t.Fatalf("SSRC %d: two packets under number %d", st.ssrc, s.seq)
	} else if dup {
		return
	}
	st.sent[pos] = string(s.b)
	fresh := st.fresh
	st.fresh = false
	if video && fresh {
		if v := s.vp8(); !v.Start || !v.Key {
			t.Fatalf("SSRC %d: %s does not begin with a key frame: %+v", st.ssrc, st.name, v)
		}
	}
	if !began {
		st.high, st.last = pos, s
		return
	}
	if fresh {
		if d := pos - st.high; d < 1 || d > 2 {
			t.Fatalf("SSRC %d: %s goes on %d numbers behind", st.ssrc, st.name, d)
		}
		if int32(s.ts-st.last.ts) <= 0 {
			t.Fatalf("SSRC %d: %s goes on with timestamp %d after %d", st.ssrc, st.name, s.ts, st.last.ts)
		}
		if video {
			a, b := st.last.vp8(), s.vp8()
			if d := (b.PictureID - a.PictureID) & 0x7FFF; d != 1 {
				t.Fatalf("SSRC %d: %s goes on with picture id %d after %d", st.ssrc, st.name, b.PictureID, a.PictureID)
			}
			if b.TL0 != a.TL0+1 {
				t.Fatalf("SSRC %d: %s goes on with TL0PICIDX %d after %d (%+v after %+v)", st.ssrc, st.name, b.TL0, a.TL0, b, a)
			}
		}
	}
	if pos > st.high {
		if pos-st.high > 40 {
			t.Fatalf("SSRC %d: number %d after %d", st.ssrc, pos, st.high)
		}
		if int32(s.ts-st.last.ts) < 0 {
			t.Fatalf("SSRC %d: timestamp %d after %d", st.ssrc, s.ts, st.last.ts)
		}
		st.high, st.last = pos, s
	}
}

// retransmission looks at a packet that is on no mapped SSRC: it must be on the
// RTX SSRC of one, and be what was sent there.
func (r *rewriter) retransmission(s seen) {
	t := r.b.t
	t.Helper()
	for ssrc, m := range r.mapped {
		if m.RTX != s.ssrc {
			continue
		}
		if s.pt != ptVP8RTX || len(s.payload) < 2 {
			t.Fatalf("payload type %d on RTX", s.pt)
		}
		if string(s.ext(extMid)) != m.Mid {
			t.Fatalf("RTX without the mid %q", m.Mid)
		}
		osn := binary.BigEndian.Uint16(s.payload)
		for pos, b := range r.streams[ssrc].sent {
			if uint16(pos) == osn {
				var h rtpx.Header
				h.Parse([]byte(b))
				if string(h.Payload([]byte(b))) == string(s.payload[2:]) {
					return
				}
			}
		}
		t.Fatalf("RTX of number %d is none that was sent", osn)
	}
	t.Fatalf("packet on SSRC %d, of which nobody was told", s.ssrc)
}

// speaker is somebody with a microphone and a camera whose packets say so.
type speaker struct {
	*client
	id    string
	cam   []*vp8
	audio sent
	late  []sent
	fat   int // bytes that its pictures have more
}

func (b *bed) speaker(id string, base uint32) *speaker {
	cam, vs := camera(id+"-v0", base, 2)
	s := &speaker{client: b.join(id, cam, mic(id+"-a0", base+50)), id: id, cam: vs}
	s.audio = sent{pt: ptOpus, ssrc: base + 50, seq: uint16(rand.Uint32()), ts: rand.Uint32(), exts: map[uint8][]byte{extLevel: {40}}}
	for _, v := range vs {
		v.seq, v.ts, v.pid, v.tl0 = uint16(rand.Uint32()), rand.Uint32(), uint16(rand.Uint32())&0x7FFF, uint8(rand.Uint32())
	}
	return s
}

// talk makes the audio of some 20 ms.
func (s *speaker) talk(n int) (out []sent) {
	for range n {
		s.audio.seq++
		s.audio.ts += 960
		p := s.audio
		p.payload = tagged([]byte{1, 2, 3}, s.id+"-a0")
		out = append(out, p)
	}
	return out
}

// film makes a frame on each encoding.
func (s *speaker) film(key bool, tid uint8) (out []sent) {
	if key {
		tid = 0
	}
	for _, v := range s.cam {
		for _, p := range v.frame(key, tid, 2) {
			p.payload = tagged(append(p.payload, make([]byte, s.fat)...), s.id+"-v0")
			out = append(out, p)
		}
	}
	return out
}

// However sources are mapped, leave, come back, change layers, lose packets and
// send them late: every SSRC that goes out is one stream for its receiver, and
// carries what it was said to carry.
func TestSlotsAreStreams(t *testing.T) {
	t.Parallel()
	for seed := range uint64(9) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 7))
			b := newBed(t, func(c *Config) {
				if seed >= 6 { // packets wait for a slow network
					c.Bandwidth = bwe.Config{Start: 30_000, Min: 30_000, Max: 30_000}
				}
			})
			limit := Slots{Audio: 2, Video: 2, Mids: seed%2 == 0}
			r := b.joinRewriting("receiver", limit)
			r.call(func() { r.eg.link.answered = seed >= 6 })
			plain := b.join("plain") // takes part in nothing of it
			var people []*speaker
			arrive := func(i int) *speaker {
				s := b.speaker(fmt.Sprintf("p%d", i), uint32(1000*(i+1)))
				if seed >= 6 {
					s.fat = 300
				}
				return s
			}
			for i := range 5 {
				people = append(people, arrive(i))
			}
			packets, remaps := 0, 0
			owner := map[uint32]string{}
			for step := range 1500 {
				b.pass(time.Duration(rnd.IntN(60)) * time.Millisecond)
				switch i := rnd.IntN(len(people)); rnd.IntN(12) {
				case 0: // allocation wants others now
					var want []string
					for range 1 + rnd.IntN(3) {
						if n := people[rnd.IntN(len(people))].id + "-v0"; !slices.Contains(want, n) {
							want = append(want, n)
						}
					}
					told := r.give(Video, min(len(want), 2), want...)
					targets := map[string]rtpx.Layer{}
					for _, n := range want {
						targets[n] = rtpx.MakeLayer(rnd.IntN(2), 0, rnd.IntN(3))
					}
					r.SetTargets(targets)
					plain.SetTargets(targets)
					for _, m := range told {
						if o := owner[m.SSRC]; o != "" && o != m.Source {
							remaps++
						}
						owner[m.SSRC] = m.Source
					}
				case 1: // somebody goes; now and then another comes, or the same again
					r.give(Audio, 0)
					people[i].Close()
					b.settle()
					people[i] = arrive(i + 5*rnd.IntN(2))
					for slices.ContainsFunc(people, func(s *speaker) bool { return s != people[i] && s.id == people[i].id }) {
						t.Fatal("two of one name")
					}
				case 2, 3: // voices
					heard, silent := b.p.TakeVoices()
					r.give(Audio, len(heard), append(heard, silent...)...)
				case 4: // some is lost on the way
					if got := r.streams[anyKey(rnd, r.streams)]; got != nil {
						b.settle()
						r.check()
						r.sendRTCP(rtpx.AppendNACK(nil, 1, got.ssrc, []uint16{uint16(got.high), uint16(got.high - int64(rnd.IntN(9)))}))
					}
				default:
					s := people[i]
					ps := append(s.talk(1+rnd.IntN(3)), s.film(rnd.IntN(6) == 0, uint8(rnd.IntN(3)))...)
					if rnd.IntN(8) == 0 { // the last ones overtake the rest
						k := rnd.IntN(len(ps))
						s.late = append(s.late, ps[:k]...)
						ps = ps[k:]
					}
					s.send(ps...)
					if rnd.IntN(4) == 0 {
						s.send(s.late...)
						s.late = nil
					}
				}
				if step%20 == 0 {
					plain.got()
				}
				packets += r.check()
				if n := len(r.mapped); n > 4 {
					t.Fatalf("%d SSRCs", n)
				}
			}
			if packets < 300 || remaps < 20 {
				t.Errorf("%d packets and %d remaps are no test", packets, remaps)
			}
			b.settle()
			outs := 0
			r.w.call(func() { outs = len(r.eg.outs) })
			if outs > 6 {
				t.Errorf("%d streams to somebody with %d slots", outs, 4)
			}
		})
	}
}

func anyKey(rnd *rand.Rand, m map[uint32]*receivedStream) uint32 {
	var keys []uint32
	for k := range m {
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return 0
	}
	slices.Sort(keys)
	return keys[rnd.IntN(len(keys))]
}

// What is wanted keeps its slots, the rest goes in the order in which it was wanted
// last; what leaves frees its own.
func TestSlotsAreTakenFromTheLeastWanted(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	r := b.joinRewriting("r", Slots{Video: 3, Audio: 1})
	var names []string
	var people []*speaker
	for i := range 5 {
		people = append(people, b.speaker(fmt.Sprint("p", i), uint32(1000*(i+1))))
		names = append(names, fmt.Sprintf("p%d-v0", i))
	}
	has := func(want ...string) {
		t.Helper()
		var got []string
		for _, m := range r.Mappings(Video) {
			got = append(got, m.Source)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%v have slots, want %v", got, want)
		}
	}
	if told := r.give(Video, 1, names[0], names[1], names[2], names[3]); len(told) != 3 {
		t.Fatalf("told %v", told)
	}
	has(names[0], names[1], names[2])
	if r.Assign(Video, []string{names[3]}, 1, func([]Mapping) { t.Error("a slot is taken while the client makes its track") }) {
		t.Error("no need to try again")
	}
	b.pass(2 * slotSettle)
	if told := r.give(Video, 0, names[3]); len(told) != 0 {
		t.Errorf("without need told %v", told)
	}
	r.give(Video, 2, names[2], names[0])
	r.give(Video, 2, names[3], names[0]) // 1 was never needed
	has(names[0], names[2], names[3])
	r.give(Video, 1, names[4]) // 2 was needed before the others
	has(names[0], names[3], names[4])
	people[3].Close()
	has(names[0], names[4])
	old := r.Mappings(Video)
	if told := r.give(Video, 1, names[1]); len(told) != 1 || told[0].SSRC == old[0].SSRC || told[0].SSRC == old[1].SSRC {
		t.Errorf("told %v while there were %v", told, old)
	}
	has(names[0], names[1], names[4])

	// One voice at a time has the one slot for audio, as long as it speaks.
	say := func(i int) (heard bool) {
		people[i].send(people[i].talk(1)...)
		b.settle()
		heard2, _ := b.p.TakeVoices()
		r.give(Audio, len(heard2), heard2...)
		b.pass(2 * b.e.cfg.SlotDelay)
		people[i].send(people[i].talk(1)...)
		return r.check() > 0
	}
	if !say(0) || !say(0) {
		t.Error("the first is not heard")
	}
	b.pass(slotBusy / 2)
	if say(1) {
		t.Error("a second takes the slot of somebody who speaks")
	}
	b.pass(2 * slotSettle)
	if !say(1) {
		t.Error("the second is not heard when the first was long silent")
	}
}

// Nothing is heard under an SSRC before the client had time to negotiate it, and a
// receiver's feedback reaches whoever has the slot.
func TestSlotsBeginLateAndFeedbackFindsItsSource(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	r := b.joinRewriting("r", Slots{Video: 1, Audio: 1})
	x, y := b.speaker("x", 1000), b.speaker("y", 2000)
	r.SetTargets(map[string]rtpx.Layer{"x-v0": 0, "y-v0": 0})
	x.send(x.film(true, 0)...)
	if len(r.got()) > 0 || x.plis() > 0 {
		t.Error("video without a slot")
	}
	m := r.give(Video, 1, "x-v0")[0]
	x.send(x.film(true, 0)...)
	if len(r.got()) > 0 {
		t.Error("video at once under an SSRC that the client has just heard of")
	}
	b.pass(max(b.e.cfg.SlotDelay, time.Second)) // the key frame is forgotten
	x.send(x.film(false, 0)...)
	if r.check() > 0 || x.plis() != 1 {
		t.Error("no key frame is asked for")
	}
	x.send(x.film(true, 0)...)
	if r.check() != 2 {
		t.Error("no key frame")
	}
	b.pass(time.Second)
	r.sendRTCP(rtpx.AppendPLI(nil, 1, m.SSRC))
	b.settle()
	if x.plis() != 1 || y.plis() != 0 {
		t.Error("the request of the receiver does not reach the owner")
	}
	// A report of the sender has the receiver's SSRC and clock.
	r.control()
	last := r.streams[m.SSRC].last
	x.sendRTCP(rtpx.AppendSR(nil, 1000, rtpx.SenderInfo{NTP: 7 << 32, TS: x.cam[0].ts, Packets: 9, Octets: 9}))
	reports := r.control()
	if len(reports) != 1 {
		t.Fatalf("%d reports", len(reports))
	}
	if info, ok := reports[0].SenderInfo(); !ok || reports[0].Sender() != m.SSRC || info.TS != last.ts || info.NTP != 7<<32 || info.Packets != 2 {
		t.Errorf("report %+v of SSRC %d", info, reports[0].Sender())
	}

	// y takes the slot: x is asked nothing any more and reports nothing there.
	b.pass(2 * time.Second)
	if told := r.give(Video, 1, "y-v0"); told[0].SSRC != m.SSRC || told[0].RTX != m.RTX {
		t.Fatalf("told %v", told)
	}
	r.sendRTCP(rtpx.AppendPLI(nil, 1, m.SSRC))
	x.sendRTCP(rtpx.AppendSR(nil, 1000, rtpx.SenderInfo{NTP: 8 << 32, TS: x.cam[0].ts, Packets: 9, Octets: 9}))
	b.settle()
	if x.plis() != 0 || len(r.control()) != 0 {
		t.Error("who lost the slot still has it")
	}
	b.pass(time.Second)
	x.send(x.film(true, 0)...)
	y.send(y.film(false, 0)...)
	if r.check() != 0 || y.plis() != 1 {
		t.Error("y is not asked for a key frame")
	}
	y.send(y.film(true, 0)...)
	if r.check() != 2 {
		t.Error("y is not seen")
	}
}

// Sources come and go, each with SSRCs of its own: a receiver that takes no part in
// SSRC rewriting keeps no more of those that went than where their numbers stand, and
// one that comes back goes on from there.
func TestStreamsOfSourcesThatWentAreForgotten(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *Config) { c.MaxStreams = 8 })
	r := b.join("r")
	sent := map[uint32]map[int64]string{}
	numbers := map[uint32]*rtpx.Unwrapper{}
	last := map[uint32]int64{}
	visit := func(base uint32, again bool) {
		t.Helper()
		s := b.speaker(fmt.Sprint("p", base), base)
		r.SetTarget(s.id+"-v0", 0)
		if again { // it begins with numbers that it has used
			s.audio.seq, s.audio.ts = 100, 1000
		}
		s.send(s.talk(5)...)
		s.send(s.film(true, 0)...)
		s.send(s.film(false, 0)...)
		got := r.got()
		if len(got) != 9 {
			t.Fatalf("%d packets of %s", len(got), s.id)
		}
		// What was lost is sent again on the retransmission stream.
		b.pass(50 * time.Millisecond)
		v := got[len(got)-1]
		r.sendRTCP(rtpx.AppendNACK(nil, 1, v.ssrc, []uint16{v.seq}))
		for _, p := range append(got, r.got()...) {
			if sent[p.ssrc] == nil {
				sent[p.ssrc], numbers[p.ssrc] = map[int64]string{}, &rtpx.Unwrapper{}
			}
			pos := numbers[p.ssrc].Unwrap(p.seq)
			if before, dup := sent[p.ssrc][pos]; dup && before != string(p.b) {
				t.Fatalf("two packets under number %d of SSRC %d", p.seq, p.ssrc)
			}
			if l, ok := last[p.ssrc]; ok && (pos < l || pos-l > nearAhead) {
				t.Fatalf("SSRC %d goes on with %d after %d", p.ssrc, pos, l)
			}
			sent[p.ssrc][pos], last[p.ssrc] = string(p.b), pos
		}
		s.Close()
		for range 3 { // time for the worker to tidy up
			b.pass(time.Duration(idleHistory))
			r.sendRTCP(rtpx.AppendRR(nil, 1, nil))
			b.settle()
		}
		outs := 0
		r.w.call(func() { outs = len(r.eg.outs) })
		if outs != 0 {
			t.Fatalf("%d streams of nobody", outs)
		}
	}
	for i := range uint32(9) { // more than there is room for at a time
		visit(10_000*(i+1), false)
	}
	for range 3 {
		visit(10_000, true)
	}
	if len(sent[10_150]) == 0 && len(sent[10_100]) == 0 {
		t.Error("nothing was sent again")
	}
	past := 0
	r.w.call(func() { past = len(r.eg.past) })
	if past != 9*3 {
		t.Errorf("%d streams are remembered", past)
	}
}
