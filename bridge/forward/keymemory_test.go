package forward

import (
	"fmt"
	"testing"
	"time"

	"confab/bridge/rtpx"
)

// Sixty join within two seconds: the sender is asked for a key frame at most five
// times a second, and everybody gets a picture that begins with one.
func TestSixtyJoinersAskLittle(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	cam, enc := camera("alice-v0", 10, 1)
	alice := b.join("alice", cam)
	var bobs []*client
	asked, wish := 0, false
	for n := range 90 {
		b.pass(33 * time.Millisecond)
		if n < 60 {
			bob := b.join(fmt.Sprint("bob", n))
			bob.SetTarget("alice-v0", rtpx.MakeLayer(0, 0, 2))
			bobs = append(bobs, bob)
		}
		alice.send(enc[0].frame(wish, 0, 2)...)
		k := alice.plis()
		asked += k
		wish = k > 0
	}
	if asked == 0 || asked > 5*3 {
		t.Errorf("%d requests in 3 s", asked)
	}
	for i, bob := range bobs {
		got := bob.got()
		if len(got) == 0 {
			t.Fatalf("%d sees nothing", i)
		}
		if v := got[0].vp8(); !v.Key || got[0].seq != 1 {
			t.Errorf("%d begins with %+v", i, v)
		}
		for k := 1; k < len(got); k++ {
			if got[k].seq != got[k-1].seq+1 || rtpx.TSNewer(got[k-1].ts, got[k].ts) {
				t.Fatalf("%d: number %d, time %d after %d, %d", i, got[k].seq, got[k].ts, got[k-1].seq, got[k-1].ts)
			}
		}
	}
}

// Who is given a better encoding because it began does not miss its key frame, and
// time does not run ahead for what is sent late.
func TestKeyFrameIsNotMissed(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	cam, enc := camera("alice-v0", 10, 2)
	alice, bob := b.join("alice", cam), b.join("bob")
	bob.SetTarget("alice-v0", e0)
	alice.send(enc[0].frame(true, 0, 2)...)
	for range 30 {
		b.pass(33 * time.Millisecond)
		alice.send(enc[0].frame(false, 0, 2)...)
	}
	before := bob.got()
	alice.control()
	for i := range 4 {
		b.pass(33 * time.Millisecond)
		alice.send(enc[0].frame(false, 0, 1)...)
		alice.send(enc[1].frame(i == 0, 0, 2)...)
		b.settle()
	}
	bob.SetTarget("alice-v0", e1)
	b.pass(33 * time.Millisecond)
	alice.send(enc[1].frame(false, 0, 2)...)
	got := bob.got()
	if alice.plis() != 0 {
		t.Error("a key frame is asked for")
	}
	// Four frames of the old encoding, then five of the new: all from the key frame on.
	if len(got) != 4+10 {
		for _, g := range got {
			t.Logf("number %d time %d key %v", g.seq, g.ts, g.vp8().Key)
		}
		t.Fatalf("%d packets", len(got))
	}
	if v := got[4].vp8(); !v.Key || v.Height != 360 {
		t.Errorf("%+v", v)
	}
	last := got[len(got)-1]
	if d := last.ts - before[len(before)-1].ts; d < 5*2900 || d > 5*3000+1000 {
		t.Errorf("%d ticks in 165 ms", d)
	}
	for i := 1; i < len(got); i++ {
		if got[i].seq != got[i-1].seq+1 || rtpx.TSNewer(got[i-1].ts, got[i].ts) {
			t.Errorf("number %d, time %d after %d, %d", got[i].seq, got[i].ts, got[i-1].seq, got[i-1].ts)
		}
	}
}

// Senders change codecs at run time. Receivers get each from its first key frame on,
// and the frame numbers of AV1 go on behind VP8.
func TestSendersChangeCodecs(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		m := newMeeting(t, seed)
		m.want(rtpx.MakeLayer(2, 0, 2))
		for _, s := range []scheme{vp8Simulcast, av1KSVC, vp8Simulcast, av1Simulcast, vp9KSVC, h264Simulcast, av1KSVC, vp9Simulcast} {
			from := len(m.truth.frames)
			for range 60 {
				m.picture(s, 0, 0)
			}
			first := -1
			for _, a := range m.line {
				if a.id >= from {
					first = a.id - from
					break
				}
			}
			if first < 0 || first > 6 {
				t.Fatalf("seed %d: codec %d begins with its frame %d", seed, s.codec, first)
			}
		}
		fs := m.frames()
		m.decodable(fs, true)
		m.lively(fs, vp9Simulcast, 30)
		if m.plis > 60 {
			t.Errorf("%d requests", m.plis)
		}
	}
}

// A frame above the limit of temporal layers of which packets are lost leaves
// nothing that a receiver would ask for again and again.
func TestNoHoleOfWhatIsDropped(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	cam, v := camera("alice-v0", 10, 1)
	alice, bob := b.join("alice", cam), b.join("bob")
	bob.SetTarget("alice-v0", rtpx.MakeLayer(0, 0, 0))
	alice.send(v[0].frame(true, 0, 1)...)
	for _, lost := range []int{0, 1, 2} {
		ps := v[0].frame(false, 2, 3)
		alice.send(append(ps[:lost:lost], ps[lost+1:]...)...)
		alice.send(v[0].frame(false, 0, 2)...)
	}
	whole := v[0].frame(false, 2, 2) // nobody knows what it was until it comes
	alice.send(v[0].frame(false, 0, 1)...)
	got := bob.got()
	for i := 1; i < len(got)-1; i++ {
		if got[i].seq != got[i-1].seq+1 {
			t.Errorf("number %d after %d", got[i].seq, got[i-1].seq)
		}
	}
	alice.send(whole...)
	if late := bob.got(); len(late) != 2 {
		t.Errorf("%d packets in the place of the lost frame", len(late))
	}
}

// The first packet of a key frame comes late. What came behind it is remembered for a
// while, and a receiver begins there; nobody begins where some of it is forgotten.
func TestKeyFrameThatIsOvertaken(t *testing.T) {
	t.Parallel()
	for behind, begins := range map[int]bool{10: true, maxOvertakers + 5: false} {
		b := newBed(t, nil)
		cam, enc := camera("alice-v0", 10, 1)
		alice, bob := b.join("alice", cam), b.join("bob")
		alice.send(enc[0].frame(false, 0, 1)...)
		bob.SetTarget("alice-v0", rtpx.MakeLayer(0, 0, 2))
		key := enc[0].frame(true, 0, 2)
		alice.send(key[1])
		for range behind {
			alice.send(enc[0].frame(false, 0, 1)...)
		}
		alice.plis()
		b.pass(time.Second)
		alice.send(key[0])
		got := bob.got()
		if begins != (len(got) == 2+behind) || !begins && len(got) > 0 {
			t.Errorf("%d packets behind it: %d came", behind, len(got))
		}
		alice.send(enc[0].frame(false, 0, 1)...)
		if wishes := alice.plis(); (wishes == 0) != begins {
			t.Errorf("%d packets behind it: %d wishes", behind, wishes)
		}
		alice.send(enc[0].frame(true, 0, 2)...)
		got = append(got, bob.got()...)
		for i := 1; i < len(got); i++ {
			if got[i].seq != got[i-1].seq+1 {
				t.Fatalf("%d packets behind it: number %d after %d", behind, got[i].seq, got[i-1].seq)
			}
		}
	}
}
