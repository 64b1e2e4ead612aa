package forward

import (
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
		c.Bandwidth.Start, c.Bandwidth.Max = 200_000, 200_000
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

// call runs f on the worker of an endpoint, and has it look at the time.
func (c *client) call(f func()) {
	c.w.call(f)
	c.w.call(func() {}) // the round of f has ended
}
