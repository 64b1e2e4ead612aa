package forward

import (
	"encoding/binary"
	"testing"
	"time"

	"confab/bridge/bwe"
	"confab/bridge/rtpx"
)

// A key frame on a link of 200 kbit/s goes out bit by bit and in order; audio does
// not wait behind it, and the whole is gone in time.
func TestKeyFramePaced(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *Config) {
		c.Bandwidth = bwe.DefaultConfig()
		c.Bandwidth.Start = 200_000
	})
	cam, enc := camera("alice-v0", 10, 1)
	alice := b.join("alice", mic("alice-a0", 1), cam)
	bob := b.join("bob")
	bob.SetTarget("alice-v0", rtpx.MakeLayer(0, 0, 2))
	big := func(key bool, n int) []sent {
		ps := enc[0].frame(key, 0, n)
		for i := range ps {
			ps[i].payload = append(ps[i].payload, make([]byte, 1000)...)
		}
		return ps
	}
	alice.send(big(true, 1)...)
	first := bob.got()
	if len(first) != 1 {
		t.Fatalf("%d packets of the first frame", len(first))
	}

	// If it never reports what arrives, nothing waits.
	b.pass(2 * time.Second)
	alice.send(big(false, 10)...)
	if n := len(bob.got()); n != 10 {
		t.Errorf("%d of 10 without feedback", n)
	}
	bob.call(func() { bob.eg.link.answered = true })
	b.pass(time.Second)

	alice.send(big(true, 16)...)
	now := bob.got()
	// A burst of 40 ms at 220 kbit/s is one packet and a bit.
	if len(now) == 0 || len(now) > 3 {
		t.Errorf("%d packets at once", len(now))
	}
	alice.send(opus(1, 1, 20))
	if g := bob.got(); len(g) != 1 || g[0].pt != ptOpus {
		t.Errorf("audio waits: %d packets", len(g))
	}
	seq := first[0].seq + 10
	took := time.Duration(0)
	video := now
	for ; len(video) < 16 && took < 2*time.Second; took += 5 * time.Millisecond {
		b.pass(5 * time.Millisecond)
		bob.call(func() {})
		for _, p := range bob.got() {
			if p.ssrc == 10 {
				video = append(video, p)
			}
		}
	}
	for _, p := range video {
		if seq++; p.seq != seq {
			t.Fatalf("number %d, want %d", p.seq, seq)
		}
	}
	// 16 kB at 220 kbit/s, or in what time they have.
	if took < 400*time.Millisecond || took > 1050*time.Millisecond {
		t.Errorf("%d packets in %v", len(video), took)
	}

	// What waits when a receiver goes is let go: the bed counts packets.
	alice.send(big(true, 16)...)
	b.settle()
	bob.Close()
}

// A network that has shown no bound carries a key frame as fast as a browser would
// send it; one that has, no faster than it can.
func TestKeyFrameWhereNothingBounds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		link        int64 // bits/s
		least, last time.Duration
	}{
		"free":    {1e9, 0, 60 * time.Millisecond},
		"bounded": {1_000_000, 300 * time.Millisecond, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, func(c *Config) { c.Bandwidth = bwe.DefaultConfig() })
			cam, enc := camera("alice-v0", 10, 1)
			alice, bob := b.join("alice", cam), b.join("bob")
			bob.SetTarget("alice-v0", rtpx.MakeLayer(0, 0, 2))
			bob.SetDemand(Demand{Sending: 500_000, Ideal: 2_500_000})
			far := &far{client: bob, rate: c.link}
			alice.send(large(enc[0].frame(true, 0, 1), 500)...)
			for range 100 {
				far.pass(33 * time.Millisecond)
				alice.send(large(enc[0].frame(false, 0, 2), 500)...)
			}
			far.media = 0
			const key = 48
			alice.send(large(enc[0].frame(true, 0, key), 1000)...)
			took := time.Duration(0)
			for ; far.media < key && took < 2*time.Second; took += 5 * time.Millisecond {
				far.pass(5 * time.Millisecond)
			}
			if took < c.least || took > c.last {
				t.Errorf("%d packets in %v, estimate %d", far.media, took, bob.Bandwidth().Estimate)
			}
		})
	}
}

// far is a receiver behind a link of a rate, who reports what arrives.
type far struct {
	*client
	rate     int64
	busy     int64 // until when the link sends
	recorder rtpx.TWCCRecorder
	reported int64
	media    int // packets of the camera that left
}

// pass lets time pass and has the receiver report every 50 ms.
func (f *far) pass(d time.Duration) {
	for ; d > 0; d -= 3 * time.Millisecond {
		f.b.pass(min(d, 3*time.Millisecond))
		f.call(func() {})
		now := f.b.now.Load()
		for _, p := range f.got() {
			if p.ssrc == 10 {
				f.media++
			}
			f.busy = max(f.busy, now) + int64(len(p.b))*8e9/f.rate
			f.recorder.Record(binary.BigEndian.Uint16(p.ext(extTCC)), f.busy+10e6)
		}
		if now-f.reported >= 50e6 && f.recorder.Pending() {
			f.reported = now
			f.sendRTCP(f.recorder.Append(nil, 1, 10))
		}
	}
}

// slow is a receiver on a link of 200 kbit/s, who gets a key frame of twenty kilobytes,
// and the first packets of it.
func slow(t *testing.T) (b *bed, alice, bob *client, enc []*vp8, video []seen) {
	b = newBed(t, func(c *Config) {
		c.Bandwidth = bwe.DefaultConfig()
		c.Bandwidth.Start = 200_000
	})
	cam, enc := camera("alice-v0", 10, 2)
	alice, bob = b.join("alice", cam), b.join("bob")
	bob.SetTarget("alice-v0", rtpx.MakeLayer(1, 0, 2))
	alice.send(large(enc[1].frame(true, 0, 1), 100)...)
	bob.call(func() { bob.eg.link.answered = true })
	b.pass(time.Second)
	alice.send(large(enc[1].frame(true, 0, 20), 1000)...)
	b.pass(20 * time.Millisecond)
	bob.call(func() {})
	if video = bob.got(); len(video) > 10 {
		t.Fatalf("%d packets left at once", len(video))
	}
	return b, alice, bob, enc, video
}

func large(ps []sent, size int) []sent {
	for i := range ps {
		ps[i].payload = append(ps[i].payload, make([]byte, size)...)
	}
	return ps
}

// take lets time pass until n packets have come, or a second.
func (c *client) take(n int) (out []seen, took time.Duration) {
	for ; len(out) < n && took < time.Second; took += 5 * time.Millisecond {
		c.b.pass(5 * time.Millisecond)
		c.call(func() {})
		out = append(out, c.got()...)
	}
	return out, took
}

// What waits of a picture that was too large does not delay the one that takes its
// place: it is as if it had never been forwarded.
func TestOldPictureGivesWay(t *testing.T) {
	t.Parallel()
	_, alice, bob, enc, video := slow(t)
	bob.SetTarget("alice-v0", rtpx.MakeLayer(0, 0, 2))
	alice.send(large(enc[0].frame(true, 0, 2), 500)...)
	old := video[len(video)-1]
	video, took := bob.take(2)
	// At 220 kbit/s the rest of the old one would take half a second and more.
	if len(video) != 2 || took > 200*time.Millisecond {
		t.Fatalf("%d packets of the new picture after %v", len(video), took)
	}
	for i, p := range video {
		// The number between them keeps the receiver from joining two halves of frames.
		if len(p.payload) < 500 || len(p.payload) > 600 || p.seq != old.seq+2+uint16(i) {
			t.Errorf("%d bytes under number %d after %d", len(p.payload), p.seq, old.seq)
		}
	}
	if !rtpx.TSNewer(video[0].ts, old.ts) || video[0].ts-old.ts > 90_000 {
		t.Errorf("time %d after %d", video[0].ts, old.ts)
	}
	// Somebody who asks for that number is given an empty packet, once.
	for i, want := range []int{1, 0} {
		bob.sendRTCP(rtpx.AppendNACK(nil, 1, 10, []uint16{old.seq + 1}))
		got := bob.got()
		if len(got) != want || want == 1 && (got[0].seq != old.seq+1 || len(got[0].payload) != 0) {
			t.Errorf("%d: %d packets", i, len(got))
		}
	}
	// And nothing of the old picture is sent again.
	bob.b.pass(time.Second)
	bob.sendRTCP(rtpx.AppendNACK(nil, 1, 10, []uint16{old.seq}))
	if got := bob.got(); len(got) != 0 {
		t.Errorf("%d packets of a picture that nobody needs", len(got))
	}
}

// The number between two pictures is given up at once, also while all of the second
// still waits; and if a third takes over then, nothing is missing in its line.
func TestGapFilledWhileAllWaits(t *testing.T) {
	t.Parallel()
	_, alice, bob, enc, video := slow(t)
	old := video[len(video)-1]
	bob.call(func() { bob.eg.link.pace.credit = -1 << 30 })
	for i := range 2 {
		bob.SetTarget("alice-v0", rtpx.MakeLayer(i, 0, 2))
		alice.send(large(enc[i].frame(true, 0, 2), 500)...)
		if got := bob.got(); len(got) != 0 {
			t.Fatalf("%d packets do not wait", len(got))
		}
		bob.sendRTCP(rtpx.AppendNACK(nil, 1, 10, []uint16{old.seq + 1}))
		if got := bob.got(); len(got) != 1-i || i == 0 && (got[0].seq != old.seq+1 || len(got[0].payload) != 0) {
			t.Fatalf("picture %d: %d packets", i, len(got))
		}
	}
	bob.call(func() { bob.eg.link.pace.credit = 1 << 20 })
	got, _ := bob.take(2)
	if len(got) != 2 {
		t.Fatalf("%d packets", len(got))
	}
	if g := got[0]; g.seq != old.seq+2 || g.vp8().PictureID != old.vp8().PictureID+1 {
		t.Errorf("number %d, picture %d after %d, %d", g.seq, g.vp8().PictureID, old.seq, old.vp8().PictureID)
	}
}

// A source that was taken off is not shown any more, and when it is back the numbers
// go on.
func TestDeselectedGivesWay(t *testing.T) {
	t.Parallel()
	b, alice, bob, enc, video := slow(t)
	bob.SetTarget("alice-v0", rtpx.NoLayer)
	if got, _ := bob.take(1); len(got) != 0 {
		t.Errorf("%d packets of what was taken off", len(got))
	}
	old := video[len(video)-1]
	bob.SetTarget("alice-v0", rtpx.MakeLayer(1, 0, 2))
	b.pass(time.Second)
	alice.send(large(enc[1].frame(true, 0, 2), 100)...)
	if got, _ := bob.take(2); len(got) != 2 || got[0].seq != old.seq+2 || got[1].seq != old.seq+3 {
		t.Errorf("%+v", got)
	}
}

// Nothing at all had gone out.
func TestGivesWayAtOnce(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	cam, enc := camera("alice-v0", 10, 2)
	alice, bob := b.join("alice", cam), b.join("bob")
	bob.SetTarget("alice-v0", rtpx.MakeLayer(1, 0, 2))
	bob.call(func() {
		bob.eg.link.open(bob.w, &bob.eg)
		bob.eg.link.pace.credit, bob.eg.link.pace.at = -1<<30, b.now.Load()
	})
	alice.send(large(enc[1].frame(true, 0, 5), 100)...)
	if got := bob.got(); len(got) != 0 {
		t.Fatalf("%d packets", len(got))
	}
	bob.SetTarget("alice-v0", rtpx.MakeLayer(0, 0, 2))
	alice.send(large(enc[0].frame(true, 0, 2), 100)...)
	bob.call(func() { bob.eg.link.pace.credit = 1 << 20 })
	if got, _ := bob.take(2); len(got) != 2 || got[1].seq != got[0].seq+1 || got[0].vp8().PictureID != 1 {
		t.Errorf("%+v", got)
	}
}

// call runs f on the worker of an endpoint, and has it look at the time.
func (c *client) call(f func()) {
	c.w.call(f)
	c.w.call(func() {}) // the round of f has ended
}
