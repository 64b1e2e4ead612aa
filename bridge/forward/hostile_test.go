package forward

import (
	"encoding/binary"
	"testing"
	"time"

	"confab/bridge/rtpx"
)

// An attacker has joined and is authenticated. Whatever it sends, the meeting of the
// others must not notice (bridge.md §22).
type attack struct {
	*bed
	t               *testing.T
	alice, bob, mal *client
	enc             []*vp8
	voice           uint16
}

func newAttack(t *testing.T, change func(*Config)) *attack {
	a := &attack{bed: newBed(t, change), t: t}
	cam, enc := camera("alice-v0", 10, 1)
	a.enc = enc
	a.alice, a.bob = a.join("alice", mic("alice-a0", 1), cam), a.join("bob")
	malCam, _ := camera("mal-v0", 50, 2)
	a.mal = a.join("mal", mic("mal-a0", 5), malCam)
	for _, c := range []*client{a.bob, a.mal} {
		if err := c.SetTarget("alice-v0", rtpx.MakeLayer(0, 0, 2)); err != nil {
			t.Fatal(err)
		}
	}
	a.alice.send(a.enc[0].frame(true, 0, 1)...)
	a.goesOn("before")
	return a
}

// goesOn lets alice talk and be seen for a second and checks that bob gets it all.
func (a *attack) goesOn(what string) {
	a.t.Helper()
	a.bob.got()
	var voice, picture int
	for range 50 {
		a.voice++
		a.alice.send(opus(1, a.voice, 20))
		a.alice.send(a.enc[0].frame(false, 0, 2)...)
		a.pass(20 * time.Millisecond)
		a.e.Tick()
	}
	last := map[uint32]uint16{}
	for _, s := range a.bob.got() {
		if n, ok := last[s.ssrc]; ok && s.seq != n+1 {
			a.t.Errorf("%s: bob misses something of %d before %d", what, s.ssrc, s.seq)
		}
		last[s.ssrc] = s.seq
		switch s.ssrc {
		case 1:
			voice++
		case 10:
			picture++
		}
	}
	if voice != 50 || picture != 100 {
		a.t.Errorf("%s: bob gets %d packets of alice's voice and %d of her picture", what, voice, picture)
	}
}

// raw delivers a packet as it is.
func (a *attack) raw(b []byte) {
	pkt := a.pool.Get()
	pkt.SetLen(copy(pkt.Space(), b))
	pkt.Arrived = a.now.Load()
	a.mal.RTP(pkt)
	pkt.Release()
}

func TestForgedSSRCs(t *testing.T) {
	t.Parallel()
	a := newAttack(t, nil)
	for i := range uint16(200) {
		a.mal.send(opus(1, 1000+i, 5)) // alice's voice, loud
		a.mal.send(sent{pt: ptVP8, ssrc: 10, seq: i, ts: uint32(i), payload: []byte{0x10, 0, 0, 0}})
		a.mal.send(sent{pt: ptVP8RTX, ssrc: 110, seq: i, ts: uint32(i), payload: []byte{0, 1, 0x10, 0, 0, 0}})
		a.mal.send(sent{pt: ptOpus, ssrc: 0xBAD, seq: i, payload: []byte{1}})
		a.mal.sendRTCP(rtpx.AppendSR(nil, 1, rtpx.SenderInfo{NTP: uint64(i) << 32, TS: uint32(i), Packets: 1, Octets: 1}))
	}
	if st := a.mal.Stats(); st.Foreign != 800 || st.Unknown != 200 {
		t.Errorf("foreign %d, unknown %d", st.Foreign, st.Unknown)
	}
	heard := false
	a.p.DrainLevels(func(id string, level uint8, _ int64) { heard = heard || id != "alice" || level == 122 })
	if heard {
		t.Error("the forger is taken for a speaker")
	}
	for _, p := range a.bob.control() {
		if s, ok := p.SenderInfo(); ok && p.Sender() == 1 && s.TS < 200 {
			t.Error("bob is told a forged clock")
		}
	}
	a.goesOn("forged SSRCs")
}

// Audio goes to all unasked: one sender must not fill their networks.
func TestFloodOfAudio(t *testing.T) {
	t.Parallel()
	a := newAttack(t, nil)
	a.bob.got()
	for i := range uint16(6000) {
		a.mal.send(opus(5, i, 1))
		if i%6 == 5 {
			a.pass(time.Millisecond)
		}
	}
	n := 0
	for _, s := range a.bob.got() {
		if s.ssrc == 5 {
			n++
		}
	}
	if n > 1001 { // a second's worth at once, and that of the second
		t.Errorf("bob gets %d packets of a flood", n)
	}
	n = 0
	a.p.DrainLevels(func(id string, _ uint8, _ int64) {
		if id == "mal" {
			n++
		}
	})
	if n > levelSlots {
		t.Errorf("%d levels", n)
	}
	a.pass(2 * time.Second)
	big := make([]byte, 1100)
	for i := range uint16(499) {
		a.mal.send(sent{pt: ptOpus, ssrc: 5, seq: 10000 + i, ts: uint32(i), payload: big})
	}
	bytes := 0
	for _, s := range a.bob.got() {
		if s.ssrc == 5 {
			bytes += len(s.b)
		}
	}
	if bytes > 250_000 {
		t.Errorf("bob gets %d bytes at once", bytes)
	}
	a.goesOn("a flood of audio")
}

// Levels count at the pace of packets: who sends more of them is not louder for it.
func TestFloodOfLevels(t *testing.T) {
	t.Parallel()
	a := newAttack(t, nil)
	a.p.DrainLevels(func(string, uint8, int64) {})
	for i := range uint16(60) {
		a.mal.send(opus(5, i, 0))
	}
	n := 0
	a.p.DrainLevels(func(id string, level uint8, _ int64) {
		n++
		if id != "mal" || level != 127 {
			t.Errorf("%s %d", id, level)
		}
	})
	if n != 1 {
		t.Errorf("%d levels at once", n)
	}
}

// Whatever the byte says, a level is from 0 to 127: its first bit is another matter
// (RFC 6464 §3), and an empty one says nothing.
func TestLevelsAreInRange(t *testing.T) {
	t.Parallel()
	a := newAttack(t, nil)
	a.p.DrainLevels(func(string, uint8, int64) {})
	for i, said := range []uint8{0, 1, 127, 128, 129, 200, 255} {
		a.pass(20 * time.Millisecond)
		a.mal.send(opus(5, uint16(i), said))
		n := 0
		a.p.DrainLevels(func(_ string, level uint8, _ int64) {
			n++
			if want := 127 - said%128; level != want {
				t.Errorf("%d is taken for %d, want %d", said, level, want)
			}
		})
		if n != 1 {
			t.Errorf("%d: %d levels", said, n)
		}
	}
	empty := opus(5, 20, 0)
	empty.exts[extLevel] = nil
	a.pass(20 * time.Millisecond)
	a.mal.send(empty)
	a.p.DrainLevels(func(_ string, level uint8, _ int64) { t.Errorf("an empty level is taken for %d", level) })
}

func TestFloodOfControl(t *testing.T) {
	t.Parallel()
	a := newAttack(t, nil)
	before := a.mal.Stats().Excess
	for range 10_000 {
		a.mal.sendRTCP(rtpx.AppendPLI(nil, 5, 10))
	}
	if n := a.mal.Stats().Excess - before; n < 10_000-2*maxControl {
		t.Errorf("%d of 10,000 were too many", n)
	}
	if n := a.alice.plis(); n > 2 {
		t.Errorf("alice is asked for %d key frames at once", n)
	}
	a.pass(5 * time.Second)
	// Requests for everybody's SSRCs in one packet.
	fir := []byte{0x84, rtpx.TypePSFB, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0}
	for i := range uint32(150) {
		fir = binary.BigEndian.AppendUint32(fir, i)
		fir = append(fir, byte(i), 0, 0, 0)
	}
	binary.BigEndian.PutUint16(fir[2:], uint16(len(fir)/4-1))
	for range 500 {
		a.mal.sendRTCP(fir)
	}
	if n := a.alice.plis(); n > 2 {
		t.Errorf("alice is asked for %d key frames at once", n)
	}
	a.goesOn("a flood of key frame requests")
}

// A NACK of 1,400 bytes names 5,900 packets.
func TestFloodOfNACKs(t *testing.T) {
	t.Parallel()
	a := newAttack(t, nil)
	a.mal.got()
	nack := []byte{0x81, rtpx.TypeRTPFB, 0, 0, 0, 0, 0, 5, 0, 0, 0, 10}
	for i := range uint16(340) {
		nack = binary.BigEndian.AppendUint16(nack, 65000+i*17)
		nack = append(nack, 0xFF, 0xFF)
	}
	binary.BigEndian.PutUint16(nack[2:], uint16(len(nack)/4-1))
	for range 1000 {
		a.mal.sendRTCP(nack)
	}
	bytes := 0
	for _, s := range a.mal.got() {
		bytes += len(s.b)
	}
	if limit := int(a.e.cfg.RetransmitBitrate / 8); bytes > limit {
		t.Errorf("%d bytes are sent again in no time, at most %d in a second", bytes, limit)
	}
	if a.mal.Stats().Excess < 900 {
		t.Errorf("%d requests were too many", a.mal.Stats().Excess)
	}
	a.goesOn("a flood of NACKs")
	// After a second it is served again, as others are.
	a.alice.send(a.enc[0].frame(false, 0, 1)...)
	got := a.mal.got()
	last := got[len(got)-1]
	a.mal.sendRTCP(rtpx.AppendNACK(nil, 5, last.ssrc, []uint16{last.seq}))
	if got := a.mal.got(); len(got) != 1 {
		t.Errorf("%d packets again", len(got))
	}
}

// Feedback about packets that were never sent, with as many statuses as there can be.
func TestBogusTransportFeedback(t *testing.T) {
	t.Parallel()
	a := newAttack(t, nil)
	for i := range 200 {
		b := []byte{0x8F, rtpx.TypeRTPFB, 0, 0, 0, 0, 0, 5, 0, 0, 0, 10}
		b = binary.BigEndian.AppendUint16(b, uint16(i*331))
		b = binary.BigEndian.AppendUint16(b, 65535)
		b = append(b, byte(i), byte(i*7), byte(i*13), byte(i))
		for range 8 {
			b = append(b, 0x3F, 0xFF) // 8,191 packets arrived at once
		}
		b = append(b, make([]byte, 1200)...)
		b = b[:len(b)&^3]
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)/4-1))
		a.mal.sendRTCP(b)
		a.pass(time.Millisecond)
	}
	a.goesOn("bogus transport feedback")
}

// Packets that are wrong inside.
func TestMalformedMedia(t *testing.T) {
	t.Parallel()
	a := newAttack(t, nil)
	a.bob.SetTarget("mal-v0", rtpx.MakeLayer(1, 0, 2))
	header := func(pt uint8, ssrc uint32, more ...byte) []byte {
		b := make([]byte, rtpx.HeaderSize)
		rtpx.PutHeader(b, pt, true, uint16(len(more)), 1, ssrc)
		return append(b, more...)
	}
	bad := map[string][]byte{
		"half a header":                header(ptVP8, 50)[:7],
		"version 1":                    append([]byte{0x40}, header(ptVP8, 50)[1:]...),
		"a retransmission of nothing":  header(ptVP8RTX, 150),
		"one byte of a retransmission": header(ptVP8RTX, 150, 9),
		"a VP8 descriptor cut off":     header(ptVP8, 50, 0x90, 0x80, 0x80),
		"VP9 with many layers":         header(ptVP9, 50, 0x0A, 0xFF, 0xFF, 0xFF, 0xFF),
		"VP9 with 255 groups":          header(ptVP9, 50, 0x0A, 0xE8, 255, 0xFF, 0xFF, 0xFF),
		"AV1 of nothing":               header(ptAV1, 50),
		"H264 of one byte":             header(ptH264, 50, 0x7C),
	}
	padded := header(ptVP8, 50, 1, 2, 3, 255)
	padded[0] |= 0x20
	bad["more padding than packet"] = padded
	none := header(ptVP8, 50, 1, 2, 3, 0)
	none[0] |= 0x20
	bad["padding of no bytes"] = none
	ext := append(header(ptVP8, 50), 0xBE, 0xDE, 0xFF, 0xFF, 1, 2)
	ext[0] |= 0x10
	bad["an extension longer than the packet"] = ext
	long := append(header(ptAV1, 50), 0x10, 0x00, 0, 17, extDD, 64)
	long[0] |= 0x10
	dd := make([]byte, 66)
	for i := range dd {
		dd[i] = 0xFF // a structure of 64 templates and 32 targets, were it one
	}
	bad["a bomb of templates"] = append(append(long, dd...), 0x18, 1, 2, 3)
	for range 50 {
		for _, b := range bad {
			a.raw(b)
		}
	}
	st := a.mal.Stats()
	if st.Received != uint64(50*len(bad)) || st.Malformed == 0 {
		t.Errorf("%+v", st)
	}
	a.goesOn("malformed packets")
}

// What a client reports of itself, of others, and in languages that nobody speaks here.
func TestControlOfAllKinds(t *testing.T) {
	t.Parallel()
	a := newAttack(t, nil)
	xr := []byte{0x80, rtpx.TypeXR, 0, 1, 0, 0, 0, 5}
	app := []byte{0x80, rtpx.TypeAPP, 0, 2, 0, 0, 0, 5, 'e', 'v', 'i', 'l'}
	bye := []byte{0x81, rtpx.TypeBYE, 0, 1, 0, 0, 0, 1} // of alice
	sdes := []byte{0x81, rtpx.TypeSDES, 0, 2, 0, 0, 0, 5, 1, 1, 'x', 0}
	odd := []byte{0x80, 195, 0, 0} // no kind that anybody knows
	var compound []byte
	for _, p := range [][]byte{rtpx.AppendRR(nil, 5, nil), xr, app, bye, sdes, odd, rtpx.AppendPLI(nil, 5, 10)} {
		compound = append(compound, p...)
	}
	a.pass(time.Second)
	a.mal.sendRTCP(compound)
	if n := a.alice.plis(); n != 1 {
		t.Errorf("the last of a compound was heard %d times", n)
	}
	if n := a.mal.Stats().Ignored; n != 3 {
		t.Errorf("%d ignored", n)
	}
	// Alone, without a report in front (RFC 5506).
	a.pass(time.Second)
	a.mal.sendRTCP(rtpx.AppendPLI(nil, 5, 10))
	if n := a.alice.plis(); n != 1 {
		t.Errorf("reduced size: %d requests", n)
	}
	// About streams that it does not get.
	a.pass(time.Second)
	a.mal.sendRTCP(rtpx.AppendPLI(nil, 5, 50))
	a.mal.sendRTCP(rtpx.AppendPLI(nil, 5, 0xDEAD))
	a.mal.sendRTCP(rtpx.AppendNACK(nil, 5, 1, []uint16{1, 2, 3})) // audio is not sent again
	a.mal.got()
	if n := a.alice.plis(); n != 0 {
		t.Errorf("%d requests for what it does not get", n)
	}
	if a.mal.Stats().Retransmitted != 0 {
		t.Error("audio was sent again")
	}
	for _, b := range [][]byte{{}, {0x80}, {0x80, 200, 0, 1}, {0x80, 200, 0xFF, 0xFF, 0, 0, 0, 0}, {0xA0, 201, 0, 1, 0, 0, 0, 255}, {0x00, 200, 0, 1, 0, 0, 0, 0}} {
		a.mal.sendRTCP(b)
	}
	a.goesOn("reports of all kinds")
}
