package swarm

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// pair is two endpoints of a swarm that talk to each other.
func pair(t *testing.T, opt Options, f Formats, tracks ...*Track) (s *Swarm, sender, receiver *Leg) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux")
	}
	s, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	var legs [2]*Leg
	for i := range legs {
		if legs[i], err = s.New(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(legs[i].Close)
	}
	for _, track := range tracks {
		legs[0].Send(track)
	}
	for i, l := range legs {
		other := legs[1-i].Local()
		l.Start(Remote{Ufrag: other.Ufrag, Pwd: other.Pwd, Fingerprint: other.Fingerprint, Address: other.Address, Controlling: i == 0, Active: i == 1}, f)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, l := range legs {
		if err := l.Ready(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return s, legs[0], legs[1]
}

// A gap is a freeze, unless the server had said that it sends no more of it.
func TestWithheldIsNotFrozen(t *testing.T) {
	t.Parallel()
	const step = int64(33 * time.Millisecond)
	for _, withheld := range []bool{false, true} {
		in := &Incoming{}
		in.stats.Kind = Video
		var at int64 = 1
		var ts uint32
		frames := func(n int) {
			for range n {
				b := make([]byte, 12)
				b[1] = 0x80 | 96
				binary.BigEndian.PutUint32(b[4:], ts)
				in.frame(b, at)
				at, ts = at+step, ts+2970
			}
		}
		frames(30)
		in.withheld = withheld
		frames(3) // are under way
		at += int64(5 * time.Second)
		frames(1) // before it is said that it comes again
		in.withheld = false
		frames(30)
		want := uint64(1)
		if withheld {
			want = 0
		}
		if in.stats.Freezes != want || in.stats.Frames != 64 || (in.stats.Longest >= 5*time.Second) == withheld {
			t.Errorf("withheld %v: %d freezes in %d frames, %v at most between two", withheld, in.stats.Freezes, in.stats.Frames, in.stats.Longest)
		}
	}
}

func formats() (f Formats) {
	f.AudioLevel, f.TWCC, f.AbsSendTime = 1, 3, 2
	f.Use(111, 96, 97)
	return f
}

// until polls what the swarm's goroutine counts; nothing tells of it.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(time.Minute); !ok(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("waited for %s", what)
		}
	}
}

func TestMediaArrives(t *testing.T) {
	t.Parallel()
	video := NewVideo(30, Encoding{Width: 640, Height: 360, Bitrate: 1_000_000, PacketSize: 1000})
	s, _, receiver := pair(t, Options{}, formats(), NewAudio(120, 20*time.Millisecond, 30), video)
	until(t, "30 frames and 50 packets of audio", func() bool {
		v, nv := s.Sum(Video)
		a, na := s.Sum(Audio)
		return nv == 1 && na == 1 && v.Frames >= 30 && a.Packets >= 50
	})
	for _, st := range receiver.Received() {
		if st.Lost != 0 || st.Duplicate != 0 || st.Broken != 0 {
			t.Errorf("of %v, %d lost, %d twice, %d unreadable", st.Kind, st.Lost, st.Duplicate, st.Broken)
		}
		if st.Kind == Video && (st.KeyFrames < 1 || st.Width != 640 || st.Height != 360 || st.SSRC != video.SSRCs[0] || st.Sender != video.Number) {
			t.Errorf("video: %d key frames, %dx%d, SSRC %d of sender %d", st.KeyFrames, st.Width, st.Height, st.SSRC, st.Sender)
		}
	}
	if late := s.Latency(); late.N() == 0 || late.Quantile(0.5) <= 0 || late.Quantile(0.5) > time.Second {
		t.Errorf("latency %v of %d samples", late.Quantile(0.5), late.N())
	}
	if p := receiver.Profile(); p != "SRTP_AEAD_AES_128_GCM" {
		t.Errorf("profile %q", p)
	}
}

// A receiver that misses packets asks for them and gets them.
func TestLossIsRepaired(t *testing.T) {
	t.Parallel()
	s, _, _ := pair(t, Options{Loss: 0.05}, formats(), NewVideo(60, Encoding{Width: 320, Height: 180, Bitrate: 4_000_000, PacketSize: 1000}))
	until(t, "20 retransmissions", func() bool {
		v, _ := s.Sum(Video)
		return v.Recovered >= 20
	})
	v, _ := s.Sum(Video)
	if v.Lost > v.Packets/20 {
		t.Errorf("%d of %d are still missing", v.Lost, v.Packets)
	}
}

// What the server asks not to be sent isn't, and what starts again begins with a
// key frame.
func TestLimit(t *testing.T) {
	t.Parallel()
	video := NewVideo(30, Encoding{Width: 320, Height: 180, Bitrate: 100_000}, Encoding{Width: 640, Height: 360, Bitrate: 300_000})
	s, sender, receiver := pair(t, Options{}, formats(), video)
	frames := func(i int) (n, keys uint64) {
		for _, st := range receiver.Received() {
			if st.SSRC == video.SSRCs[i] {
				return st.Frames, st.KeyFrames
			}
		}
		return 0, 0
	}
	until(t, "both encodings", func() bool {
		low, _ := frames(0)
		high, _ := frames(1)
		return low > 5 && high > 5
	})
	sender.Limit(video, 180)
	s.Do(func() {}) // it has taken effect
	_, keys := frames(1)
	before, _ := frames(0)
	until(t, "ten more frames of the lower encoding", func() bool {
		low, _ := frames(0)
		return low >= before+10
	})
	high, _ := frames(1)
	s.Do(func() {
		for _, in := range receiver.order {
			in.key = false // or only samples are read
		}
	})
	sender.Limit(video, -1)
	until(t, "a key frame of the upper encoding", func() bool {
		n, k := frames(1)
		return n > high && k > keys
	})
	if low, _ := frames(0); low < before+10 || high > before+5 {
		t.Errorf("%d frames of the limited encoding, %d of the other before and %d after", high, before, low)
	}
}

// Numbers that come late, twice and around the end of 16 bits are counted right.
func TestSequence(t *testing.T) {
	t.Parallel()
	l := &Leg{}
	in := &Incoming{l: l}
	r := rand.New(rand.NewPCG(3, 4))
	const n = 200_000
	lost, twice := uint64(0), uint64(0)
	for i := range n {
		if i > 0 && i < n-1 && r.IntN(100) == 0 {
			lost++
			continue
		}
		in.number(uint16(65_000+i), int64(i+1))
		if r.IntN(50) == 0 {
			in.number(uint16(65_000+i-r.IntN(2)), int64(i+1))
		}
		if r.IntN(50) == 0 {
			twice++
			if in.number(uint16(65_000+i), int64(i+1)) {
				t.Fatalf("%d counted twice", i)
			}
		}
	}
	// A second number that was lost before counts as having come late.
	missing := uint64(in.highest - in.first + 1 - int64(in.counted))
	if in.stats.Packets+missing != n || missing > lost || missing < lost/2 || in.stats.Duplicate < twice {
		t.Errorf("%d counted and %d missing of %d, %d were left out; %d twice", in.stats.Packets, missing, n, lost, in.stats.Duplicate)
	}
}

func TestHistogram(t *testing.T) {
	t.Parallel()
	var h, other Histogram
	for i := range 1000 {
		h.Add(time.Duration(i) * time.Microsecond)
		other.Add(time.Duration(i+1000) * time.Microsecond)
	}
	h.Merge(&other)
	for q, want := range map[float64]time.Duration{0: 0, 0.5: time.Millisecond, 0.99: 1980 * time.Microsecond, 1: 1999 * time.Microsecond} {
		if got := h.Quantile(q); got < want-want/25 || got > want+want/25 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
}

func TestExtension(t *testing.T) {
	t.Parallel()
	head := []byte{0x90, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3}
	for _, c := range []struct {
		name string
		ext  []byte
		want int
	}{
		{"one byte form", []byte{0xBE, 0xDE, 0, 2, 0x10, 0x85, 0x31, 0x12, 0x34, 0, 0, 0}, 0x1234},
		{"two byte form", []byte{0x10, 0, 0, 2, 1, 1, 0x85, 3, 2, 0x12, 0x34, 0}, 0x1234},
		{"another id", []byte{0xBE, 0xDE, 0, 1, 0x41, 0x12, 0x34, 0}, -1},
		{"too long", []byte{0xBE, 0xDE, 0, 9, 0x31, 0x12, 0x34, 0}, -1},
		{"cut off", []byte{0xBE, 0xDE, 0, 1, 0, 0, 0, 0x31}, -1},
		{"no length", []byte{0x10, 0, 0, 1, 0, 0, 0, 3}, -1},
		{"nothing", nil, -1},
	} {
		got, ok := extension(append(append([]byte(nil), head...), c.ext...), 3)
		if ok != (c.want >= 0) || ok && int(got) != c.want {
			t.Errorf("%s: %#x, %v", c.name, got, ok)
		}
	}
}

func TestNetwork(t *testing.T) {
	t.Parallel()
	if _, err := New(Options{Network: netip.MustParsePrefix("::/64")}); err == nil {
		t.Error("IPv6 was accepted")
	}
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux")
	}
	s, err := New(Options{Network: netip.MustParsePrefix("127.99.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l, err := s.New()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a := l.Local().Address.Addr().String(); a != "127.99.0.1" {
		t.Errorf("the first endpoint is %s", a)
	}
}
