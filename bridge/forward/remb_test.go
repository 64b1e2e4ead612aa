package forward

import (
	"testing"
	"time"

	"confab/bridge/bwe"
	"confab/bridge/rtpx"
)

// old is what a sender negotiated that knows no transport-wide feedback.
func old(m Media) Media {
	m.Extensions.TransportCC = 0
	for i := range m.Payloads {
		m.Payloads[i].TransportCC, m.Payloads[i].REMB = false, m.Payloads[i].Kind == Video
	}
	return m
}

// rembs are the bitrates that a client was told since the last call.
func (c *client) rembs(t *testing.T) (out []uint64) {
	t.Helper()
	for _, p := range c.control() {
		if bps, ok := p.REMB(); ok {
			out = append(out, bps)
		}
	}
	return out
}

// A sender without transport-wide feedback is told by REMB what its network carries,
// and can keep to it.
func TestSenderIsToldByREMB(t *testing.T) {
	t.Parallel()
	const link, most = 1_000_000, 3_000_000 // what the network carries, what the camera has
	b := newBed(t, nil)
	cam, enc := camera("alice-v0", 10, 1)
	alice := b.join("alice", cam)
	alice.SetMedia(old(stock()))
	ear := b.join("ear")

	type flying struct {
		at int64
		p  sent
	}
	var wire []flying
	rate, credit, free := int64(most), int64(0), b.now.Load()
	began, clock := b.now.Load(), int64(7777e9) // the sender's, which has nothing to do with ours
	var arrived int64
	var told []uint64
	for step := range 30_000 / 5 {
		b.pass(5 * time.Millisecond)
		now := b.now.Load()
		for credit += rate * 5 / 1000; credit >= 8*1200; credit -= 8 * 1200 {
			p := enc[0].frame(step == 0, 0, 1)[0]
			p.payload = append(p.payload, make([]byte, 1150)...)
			var abs [3]byte
			rtpx.PutAbsSendTime(abs[:], clock+now-began)
			p.exts = map[uint8][]byte{extSendTime: abs[:]}
			free = max(free, now) + 8*1200*int64(time.Second)/link
			if free-now < int64(2*time.Second) { // else the router's queue is full
				wire = append(wire, flying{free + int64(20*time.Millisecond), p})
			}
		}
		for len(wire) > 0 && wire[0].at <= now {
			alice.send(wire[0].p)
			if step > 20_000/5 {
				arrived += 8 * 1200
			}
			wire = wire[1:]
		}
		b.e.Tick()
		if step%20 == 0 {
			for _, bps := range alice.rembs(t) {
				told = append(told, bps)
				rate = min(int64(bps), most)
			}
		}
	}
	if len(told) < 50 {
		t.Fatalf("told %d times in 30 s", len(told))
	}
	if got := arrived / 10; got < link*7/10 {
		t.Errorf("%d bit/s through a link of %d", got, link)
	}
	if rate > link*3/2 {
		t.Errorf("told %d at last, the link carries %d", rate, link)
	}
	if len(ear.rembs(t)) != 0 {
		t.Error("REMB for somebody who sends nothing")
	}
}

// Who has transport-wide feedback, or never asked for REMB, gets none.
func TestNoREMBUnasked(t *testing.T) {
	t.Parallel()
	for name, media := range map[string]Media{"transport-wide": stock(), "neither": func() Media {
		m := old(stock())
		for i := range m.Payloads {
			m.Payloads[i].REMB = false
		}
		return m
	}()} {
		b := newBed(t, nil)
		cam, enc := camera("alice-v0", 10, 1)
		alice := b.join("alice", cam)
		alice.SetMedia(media)
		for i := range 100 {
			p := enc[0].frame(i == 0, 0, 1)[0]
			p.exts = map[uint8][]byte{extSendTime: {1, byte(i), 0}, extTCC: u16(uint16(i))}
			alice.send(p)
			b.pass(20 * time.Millisecond)
			b.e.Tick()
		}
		if got := alice.rembs(t); len(got) != 0 {
			t.Errorf("%s: %v", name, got)
		}
		// Two seconds of video, but for what came since the last report.
		if d := b.e.Stats().VideoTime; d < 980*time.Millisecond || d > 2*time.Second {
			t.Errorf("%s: video for %v", name, d)
		}
		// Who says so unasked all the same is counted, once.
		for range 3 {
			alice.sendRTCP(rtpx.AppendREMB(nil, 10, 1_000_000, nil))
			b.pass(time.Millisecond)
		}
		b.settle()
		if n := b.e.Stats().UnaskedREMB; n != 1 {
			t.Errorf("%s: %d endpoints with a REMB that nobody asked for", name, n)
		}
	}
}

// The sender's clock begins anew every 64 s, so a pause of half a minute or more could
// be any; what comes after it is measured all the same.
func TestREMBAfterPause(t *testing.T) {
	t.Parallel()
	r := incoming{est: bwe.New(bwe.DefaultConfig())}
	now, clock := int64(1000e9), int64(7777e9)
	send := func(n int, apart, delayed time.Duration) {
		for range n {
			clock += int64(apart)
			now += int64(apart + delayed)
			var abs [3]byte
			rtpx.PutAbsSendTime(abs[:], clock)
			r.arrived(uint32(abs[0])<<16|uint32(abs[1])<<8|uint32(abs[2]), 1200, now)
		}
	}
	send(500, 10*time.Millisecond, 0)
	before := r.est.Estimate()
	now += int64(40 * time.Second)
	clock += int64(40 * time.Second)
	send(500, 10*time.Millisecond, 0)
	if after := r.est.Estimate(); after < before {
		t.Errorf("estimate %d after a pause, %d before", after, before)
	}
	send(300, 10*time.Millisecond, 10*time.Millisecond) // half of it goes through
	if after := r.est.Estimate(); after > before*3/4 {
		t.Errorf("estimate %d over a network of half the rate, %d before", after, before)
	}
}
