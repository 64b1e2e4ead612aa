package forward

import (
	"bytes"
	"testing"
	"time"

	"confab/bridge/rtpx"
)

func TestNACKAndRetransmissionToSenderSide(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	cam, enc := camera("alice-v0", 10, 1)
	alice := b.join("alice", cam)
	bob := b.join("bob")
	bob.SetTarget("alice-v0", rtpx.MakeLayer(0, 0, 2))
	alice.send(enc[0].frame(true, 0, 1)...)
	f := enc[0].frame(false, 0, 6)
	alice.send(f[0], f[3]) // 1 and 2 are missing
	alice.control()
	b.pass(5 * time.Millisecond)
	alice.send(f[4])
	if n := len(alice.control()); n != 0 {
		t.Error("asked before it could have been reordering")
	}
	b.pass(6 * time.Millisecond)
	alice.send(f[5])
	asked := alice.control()
	if len(asked) != 1 || asked[0].Media() != 10 {
		t.Fatalf("%+v", asked)
	}
	if pid, mask, ok := asked[0].NACK(0); !ok || pid != f[1].seq || mask != 1 {
		t.Errorf("asked for %d %b", pid, mask)
	}
	// One comes by RTX, one late by itself; nobody asks again.
	r := f[1]
	alice.send(sent{pt: ptVP8RTX, ssrc: enc[0].rtx, seq: 9000, ts: r.ts, payload: append(u16(r.seq), r.payload...)})
	alice.send(f[2], f[2])
	b.pass(time.Second)
	b.e.Tick()
	for _, p := range alice.control() {
		if p.Is(rtpx.TypeRTPFB, rtpx.FormatNACK) {
			t.Error("asked again")
		}
	}
	got := bob.got()
	seqs := map[uint16]bool{}
	for _, s := range got {
		seqs[s.seq] = true
		if s.ssrc != 10 || s.pt != ptVP8 {
			t.Errorf("%+v", s)
		}
	}
	if len(got) != 7 || len(seqs) != 7 || !seqs[1] || !seqs[7] {
		t.Errorf("%d packets, %d numbers", len(got), len(seqs))
	}
	if s := alice.Stats(); s.Duplicates != 1 || s.Lost != 2 {
		t.Errorf("%+v", s)
	}
	// Probes on the RTX stream carry nothing and harm nothing.
	alice.send(sent{pt: ptVP8RTX, ssrc: enc[0].rtx, seq: 9001, pad: 200, exts: map[uint8][]byte{extTCC: u16(1)}})
	if len(bob.got()) != 0 {
		t.Error("probe forwarded")
	}
}

func TestLostPacketsAreAskedForTenTimes(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	cam, enc := camera("alice-v0", 10, 1)
	alice := b.join("alice", cam)
	f := enc[0].frame(true, 0, 5)
	alice.send(f[0], f[2])
	n := 0
	for range 300 {
		b.pass(10 * time.Millisecond)
		b.e.Tick()
		for _, p := range alice.control() {
			if p.Is(rtpx.TypeRTPFB, rtpx.FormatNACK) {
				n++
			}
		}
	}
	if n != 10 {
		t.Errorf("asked %d times", n)
	}
	// A jump is no loss.
	enc[0].seq += 2000
	alice.send(enc[0].frame(false, 0, 1)...)
	b.pass(50 * time.Millisecond)
	b.e.Tick()
	for _, p := range alice.control() {
		if p.Is(rtpx.TypeRTPFB, rtpx.FormatNACK) {
			t.Error("asked for a jump")
		}
	}
}

func TestReceiverGetsRetransmission(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	cam, enc := camera("alice-v0", 10, 1)
	alice := b.join("alice", cam)
	bob, old := b.join("bob"), b.join("old")
	m := stock()
	for i := range m.Payloads { // a receiver without RTX
		if m.Payloads[i].RTX {
			m.Payloads[i].Kind = Audio
			m.Payloads[i].RTX = false
		}
	}
	old.SetMedia(m)
	for _, c := range []*client{bob, old} {
		c.SetTarget("alice-v0", rtpx.MakeLayer(0, 0, 2))
	}
	alice.send(enc[0].frame(true, 0, 3)...)
	alice.send(enc[0].frame(false, 0, 3)...)
	plain := bob.got()
	old.got()

	b.pass(50 * time.Millisecond)
	for _, c := range []*client{bob, old} {
		c.sendRTCP(rtpx.AppendNACK(nil, 1, 10, []uint16{2, 5, 6, 400}))
	}
	got := bob.got()
	if len(got) != 3 {
		t.Fatalf("%d retransmissions", len(got))
	}
	for i, want := range []uint16{2, 5, 6} {
		s, o := got[i], plain[want-1]
		if s.ssrc != enc[0].rtx || s.pt != ptVP8RTX || s.seq != uint16(i+1) || s.ts != o.ts || s.marker != o.marker ||
			!bytes.Equal(s.payload, append(u16(want), o.payload...)) || len(s.ext(extTCC)) != 2 {
			t.Errorf("%+v", s)
		}
	}
	for i, s := range old.got() {
		if want := []uint16{2, 5, 6}[i]; s.ssrc != 10 || s.pt != ptVP8 || s.seq != want || !bytes.Equal(s.payload, plain[want-1].payload) {
			t.Errorf("%+v", s)
		}
	}
	// What is too old is forgotten, and the packets go back to the pool.
	b.pass(3 * time.Second)
	bob.settleHouse()
	bob.sendRTCP(rtpx.AppendNACK(nil, 1, 10, []uint16{2}))
	if n := len(bob.got()); n != 0 {
		t.Errorf("%d late retransmissions", n)
	}
}

// settleHouse lets the client's worker do its housekeeping.
func (c *client) settleHouse() {
	c.w.call(func() { c.eg.expire(c.b.now.Load() - int64(c.b.e.cfg.HistoryAge)) })
}

func TestRetransmissionRespectsRTTAndAllowance(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *Config) { c.RetransmitBitrate = 16 * 8000 })
	cam, enc := camera("alice-v0", 10, 1)
	alice := b.join("alice", cam)
	bob := b.join("bob")
	bob.SetTarget("alice-v0", rtpx.MakeLayer(0, 0, 2))
	alice.send(enc[0].frame(true, 0, 3)...)
	bob.got()
	// RTT from the report about a forwarded sender report: 100 ms.
	alice.sendRTCP(rtpx.AppendSR(nil, 10, rtpx.SenderInfo{NTP: 0x0102030405060708, TS: 1}))
	b.settle()
	b.pass(150 * time.Millisecond)
	bob.sendRTCP(rtpx.AppendRR(nil, 1, []rtpx.ReportBlock{{SSRC: 10, LSR: 0x03040506, DLSR: 65536 / 20}}))
	b.settle()
	if rtt := time.Duration(bob.RTT()); rtt < 99*time.Millisecond || rtt > 101*time.Millisecond {
		t.Fatalf("rtt %v", rtt)
	}
	nack := func() int { bob.sendRTCP(rtpx.AppendNACK(nil, 1, 10, []uint16{2})); return len(bob.got()) }
	if n := nack() + nack() + nack(); n != 1 {
		t.Errorf("%d retransmissions within a round trip", n)
	}
	b.pass(95 * time.Millisecond)
	if n := nack(); n != 1 {
		t.Error("not sent again after a round trip")
	}
	// The allowance: a flood of requests yields no flood of packets.
	total := 0
	for range 200 {
		b.pass(96 * time.Millisecond / 2)
		total += nack()
	}
	if total > 150 {
		t.Errorf("%d retransmissions", total)
	}
}

// A packet index of SRTP must not be used for two different packets, and a plain
// retransmission has the index of the first one.
func TestPlainRetransmissionIsTheSamePacket(t *testing.T) {
	t.Parallel()
	for _, transportCC := range []bool{true, false} {
		b := newBed(t, nil)
		cam, enc := camera("alice-v0", 10, 1)
		cam.Encodings[0].RTX = 0
		alice, bob := b.join("alice", cam), b.join("bob")
		m := stock()
		if !transportCC {
			m.Extensions.TransportCC = 0
		}
		bob.SetMedia(m)
		bob.SetTarget("alice-v0", rtpx.MakeLayer(0, 0, 2))
		alice.send(enc[0].frame(true, 0, 3)...)
		first := bob.got()
		b.pass(50 * time.Millisecond)
		bob.sendRTCP(rtpx.AppendNACK(nil, 1, 10, []uint16{2, 3}))
		again := bob.got()
		if len(first) != 3 || len(again) != 2 || !bytes.Equal(again[0].b, first[1].b) || !bytes.Equal(again[1].b, first[2].b) {
			t.Errorf("transport-cc %v: %d packets, then %d\n%x\n%x", transportCC, len(first), len(again), first[1].b, again[0].b)
		}
	}
}

// A sender cannot have its reports multiplied by the number of receivers without
// end: a compound holds dozens of them.
func TestFloodOfSenderReports(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	alice, bob := b.join("alice", mic("alice-a0", 1)), b.join("bob")
	alice.send(opus(1, 10, 20))
	bob.got()
	var compound []byte
	for i := range 50 {
		compound = rtpx.AppendSR(compound, 1, rtpx.SenderInfo{NTP: uint64(5+i) << 32, TS: 9600})
	}
	for range 20 {
		alice.sendRTCP(compound)
		b.pass(10 * time.Millisecond)
	}
	if n := len(bob.control()); n == 0 || n > 3 {
		t.Errorf("%d reports in 200 ms", n)
	}
}

func TestSenderReportsAreRewritten(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	cam, enc := camera("alice-v0", 10, 2)
	alice := b.join("alice", mic("alice-a0", 1), cam)
	bob := b.join("bob")
	alice.sendRTCP(rtpx.AppendSR(nil, 1, rtpx.SenderInfo{NTP: 5 << 32, TS: 9600, Packets: 77, Octets: 88}))
	if len(bob.control()) != 0 {
		t.Error("report about a stream of which nothing was sent")
	}
	alice.send(opus(1, 10, 20))
	got := bob.control()
	if len(got) != 1 {
		t.Fatal("no report behind the first packet")
	}
	if s, _ := got[0].SenderInfo(); got[0].Sender() != 1 || s != (rtpx.SenderInfo{NTP: 5 << 32, TS: 9600, Packets: 1, Octets: 2}) {
		t.Errorf("%+v", s)
	}
	// Video: the timestamp follows the projection, of the encoding that is sent.
	bob.SetTarget("alice-v0", rtpx.MakeLayer(1, 0, 2))
	alice.send(enc[0].frame(true, 0, 1)...)
	b.pass(33 * time.Millisecond)
	alice.send(enc[1].frame(true, 0, 1)...)
	out := bob.got()
	last := out[len(out)-1]
	bob.control()
	alice.sendRTCP(rtpx.AppendSR(nil, 10, rtpx.SenderInfo{NTP: 6 << 32, TS: enc[0].ts}))
	if len(bob.control()) != 0 {
		t.Error("report of an encoding that is not sent")
	}
	alice.sendRTCP(rtpx.AppendSR(nil, 11, rtpx.SenderInfo{NTP: 7 << 32, TS: enc[1].ts + 450}))
	got = bob.control()
	if len(got) != 1 {
		t.Fatal("no report")
	}
	if s, _ := got[0].SenderInfo(); got[0].Sender() != 10 || s.TS != last.ts+450 || s.NTP != 7<<32 || s.Packets != 2 {
		t.Errorf("%+v, last %d", s, last.ts)
	}
}

func TestReportsAndTransportFeedbackToSender(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	cam, enc := camera("alice-v0", 10, 1)
	alice := b.join("alice", mic("alice-a0", 1), cam)
	alice.sendRTCP(rtpx.AppendSR(nil, 1, rtpx.SenderInfo{NTP: 0x1111222233334444, TS: 1}))
	n := uint16(100)
	f := enc[0].frame(true, 0, 6)
	for i, p := range f {
		p.exts = map[uint8][]byte{extTCC: u16(n)}
		n++
		if i != 2 { // lost
			alice.send(p)
		}
		a := opus(1, uint16(i), 50)
		a.exts[extTCC] = u16(n)
		n++
		alice.send(a)
		b.pass(5 * time.Millisecond)
	}
	b.pass(470 * time.Millisecond)
	b.e.Tick()
	var reports, feedback, arrivals int
	for _, p := range alice.control() {
		switch {
		case p.Type == rtpx.TypeRR:
			for i := 0; ; i++ {
				r, ok := p.Report(i)
				if !ok {
					break
				}
				reports++
				if r.SSRC == 10 && (r.Lost != 1 || r.Fraction != 256/6 || r.Highest&0xFFFF != uint32(f[5].seq)) {
					t.Errorf("%+v", r)
				}
				if r.SSRC == 1 && (r.Lost != 0 || r.LSR != 0x22223333 || r.DLSR != 65536/2) {
					t.Errorf("%+v", r)
				}
			}
		case p.Is(rtpx.TypeRTPFB, rtpx.FormatTWCC):
			feedback++
			w, ok := p.TWCC()
			if !ok {
				t.Error("feedback")
			}
			for {
				seq, in, _, ok := w.Next()
				if !ok {
					break
				}
				if in {
					arrivals++
				} else if seq != 104 {
					t.Errorf("%d reported lost", seq)
				}
			}
		}
	}
	if reports != 2 || feedback == 0 || arrivals != 11 {
		t.Errorf("%d reports, %d feedbacks with %d arrivals", reports, feedback, arrivals)
	}
	// Nothing new, nothing to say.
	b.pass(time.Second)
	b.e.Tick()
	for _, p := range alice.control() {
		if !p.Is(rtpx.TypeRTPFB, rtpx.FormatNACK) {
			t.Errorf("unasked %d/%d", p.Type, p.Count)
		}
	}
}
