package forward

import "testing"

// red is a packet of redundant audio: the primary block, and those of the packets
// before, latest first, each 960 ticks older.
func redPacket(ssrc uint32, seq uint16, ts uint32, primary string, before ...string) sent {
	var p []byte
	for i := len(before) - 1; i >= 0; i-- {
		off, n := 960*(i+1), len(before[i])
		p = append(p, 0x80|ptOpus, byte(off>>6), byte(off<<2)|byte(n>>8), byte(n))
	}
	p = append(p, ptOpus)
	for i := len(before) - 1; i >= 0; i-- {
		p = append(p, before[i]...)
	}
	return sent{pt: ptRED, ssrc: ssrc, seq: seq, ts: ts, payload: append(p, primary...)}
}

const ptRED = 112

func withRED(m Media) Media {
	m.Payloads = append(m.Payloads, Payload{PT: ptRED, Name: "red", Kind: Audio})
	return m
}

// heard is what a receiver got: sequence numbers, timestamps and payloads.
type heardPacket struct {
	seq     uint16
	ts      uint32
	payload string
}

func heard(c *client) (out []heardPacket) {
	for _, s := range c.got() {
		out = append(out, heardPacket{s.seq, s.ts, string(s.payload)})
	}
	return out
}

// What a receiver without RED would miss comes out of the redundancy; the packet
// that was only late is not sent to it under a number that was used.
func TestLostAudioComesOutOfRedundancy(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	alice := b.join("alice", mic("alice-a0", 1))
	alice.SetMedia(withRED(stock()))
	bob, plain := b.join("bob"), b.join("plain")
	bob.SetMedia(withRED(stock()))
	for _, step := range []struct {
		what  string
		send  sent
		bob   int
		plain []heardPacket
	}{
		{"the first has nothing before it", redPacket(1, 10, 9600, "p10", "p9", "p8"), 1, []heardPacket{{10, 9600, "p10"}}},
		{"nothing is missing", redPacket(1, 11, 10560, "p11", "p10", "p9"), 1, []heardPacket{{11, 10560, "p11"}}},
		{"two are", redPacket(1, 14, 13440, "p14", "p13", "p12"), 1,
			[]heardPacket{{12, 11520, "p12"}, {13, 12480, "p13"}, {14, 13440, "p14"}}},
		{"not twice", redPacket(1, 15, 14400, "p15", "p14", "p13"), 1, []heardPacket{{15, 14400, "p15"}}},
		{"one was only late", redPacket(1, 13, 12480, "P13", "p12"), 1, nil},
		{"more than the redundancy has", redPacket(1, 19, 18240, "p19", "p18"), 1, []heardPacket{{18, 17280, "p18"}, {19, 18240, "p19"}}},
		{"late, and not made good", redPacket(1, 16, 15360, "p16"), 1, []heardPacket{{16, 15360, "p16"}}},
		{"a lying block", sent{pt: ptRED, ssrc: 1, seq: 21, ts: 20160, payload: []byte{0x80 | 77, 15, 0, 1, ptOpus, 9, 'x'}}, 1,
			[]heardPacket{{21, 20160, "x"}}},
	} {
		alice.send(step.send)
		if got := heard(plain); !equal(got, step.plain) {
			t.Errorf("%s: without RED %v, want %v", step.what, got, step.plain)
		}
		if got := bob.got(); len(got) != step.bob || got[0].pt != ptRED || got[0].seq != step.send.seq {
			t.Errorf("%s: with RED %v", step.what, got)
		}
	}
	if n := alice.Stats().Recovered; n != 3 {
		t.Errorf("%d recovered", n)
	}
}

// Silence that was held back is no loss.
func TestSilenceIsNotRecovered(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *Config) { c.SilencePackets = -1; c.LoudestN = 0 })
	alice := b.join("alice", mic("alice-a0", 1))
	alice.SetMedia(withRED(stock()))
	plain := b.join("plain")
	alice.send(redPacket(1, 10, 9600, "p10"))
	alice.SetMuted(true, false)
	alice.send(redPacket(1, 11, 10560, "p11"))
	alice.SetMuted(false, false)
	alice.send(redPacket(1, 13, 12480, "p13", "p12", "p11"))
	if got := heard(plain); !equal(got, []heardPacket{{10, 9600, "p10"}, {11, 11520, "p12"}, {12, 12480, "p13"}}) {
		t.Errorf("%v", got)
	}
}

// The operator can have it taken apart for everybody.
func TestStripRED(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *Config) { c.StripRED = true })
	alice := b.join("alice", mic("alice-a0", 1))
	alice.SetMedia(withRED(stock()))
	bob := b.join("bob")
	bob.SetMedia(withRED(stock()))
	alice.send(redPacket(1, 10, 9600, "p10"), redPacket(1, 12, 11520, "p12", "p11"))
	got := bob.got()
	if len(got) != 3 || got[0].pt != ptOpus || string(got[1].payload) != "p11" || got[1].seq != 11 {
		t.Errorf("%+v", got)
	}
}

func TestAudioKeepsItsFormat(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	media := stock()
	media.Payloads = append(media.Payloads, Payload{PT: 126, Name: "telephone-event", Kind: Audio, ClockRate: 8000})
	alice := b.join("alice", mic("alice-a0", 1))
	alice.SetMedia(media)
	bob, old := b.join("bob"), b.join("old")
	bob.SetMedia(media)
	// A key, stereo, the end of discontinuous transmission: nothing is changed.
	for i, s := range []sent{
		{pt: 126, ssrc: 1, seq: 1, ts: 960, marker: true, payload: []byte{5, 0x80, 0x03, 0x20}},
		{pt: ptOpus, ssrc: 1, seq: 2, ts: 960, payload: []byte{0xFC, 1, 2, 3}},
		{pt: ptOpus, ssrc: 1, seq: 3, ts: 960 + 48000, marker: true, payload: []byte{0x78, 1}},
	} {
		alice.send(s)
		got := bob.got()
		if len(got) != 1 || got[0].pt != s.pt || got[0].seq != s.seq || got[0].ts != s.ts || got[0].marker != s.marker || string(got[0].payload) != string(s.payload) {
			t.Errorf("packet %d: %+v", i, got)
		}
	}
	if got := old.got(); len(got) != 2 {
		t.Errorf("who did not negotiate keys got %d packets", len(got))
	}
	// A video payload type on a microphone is nothing.
	alice.send(sent{pt: ptVP8, ssrc: 1, seq: 4, ts: 1, payload: []byte{0x10, 0, 0, 0}})
	if got := bob.got(); len(got) != 0 || alice.Stats().Unknown != 1 {
		t.Errorf("%+v", got)
	}
}

func TestArrivals(t *testing.T) {
	t.Parallel()
	var a arrivals
	for _, step := range []struct {
		pos   int64
		again bool
	}{{100, false}, {100, true}, {99, true}, {103, false}, {101, false}, {101, true}, {102, false}, {300, false}, {299, false}, {103, true}, {237, false}, {236, true}} {
		if got := a.note(step.pos); got != step.again {
			t.Errorf("%d again: %v", step.pos, got)
		}
	}
	if a.has(298) || !a.has(299) || !a.has(301) || !a.has(0) {
		t.Error("has")
	}
}
