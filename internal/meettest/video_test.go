package meettest

import (
	"errors"
	"testing"
	"time"

	"confab/xmpp"
)

func asStanzaError(err error) (*xmpp.StanzaError, bool) {
	var se *xmpp.StanzaError
	ok := errors.As(err, &se)
	return se, ok
}

// The hash of the July 2026 library's features, from a capture.
func TestCapsVer(t *testing.T) {
	t.Parallel()
	if got, want := capsVer(Features2026), "dtzK/3xhISaXUMVg59IpXxdvKyQ="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPrefixed(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		`<iq xmlns='jabber:client'><m:x xmlns:m='a'/></iq>`:                           "m:x",
		`<stream:features xmlns:stream='s'><mechanisms xmlns='m'/></stream:features>`: "",
		`<message><body>a:b &lt;c:d></body></message>`:                                "",
		`<presence xml:lang='en'/>`:                                                   "",
	} {
		if got, _ := prefixed(raw); got != want {
			t.Errorf("%s: got %q, want %q", raw, got, want)
		}
	}
}

// film sends frames of an encoding through an inStream, as a bridge would.
type film struct {
	s   inStream
	seq uint16
	ts  uint32
	at  time.Time
}

func (f *film) frame(e *encoder, drop func(i int) bool) {
	packets, _ := e.next(15, maxPayload)
	f.ts += 6000
	f.at = f.at.Add(time.Second / 15)
	for i, p := range packets {
		f.seq++
		if drop == nil || !drop(i) {
			f.s.packet(f.seq, f.ts, i == len(packets)-1, p, false, f.at)
		}
	}
}

func newFilm() *film { return &film{seq: 65500, at: time.Unix(1e9, 0)} }

func TestWholeFilm(t *testing.T) {
	t.Parallel()
	f, e := newFilm(), newEncoder("", 2, Layer{1280, 720, 400_000})
	for i := range 200 { // over the wrap of the sequence numbers
		e.keyWanted = e.keyWanted || i == 100
		f.frame(e, nil)
	}
	st := f.s.stats
	if st.Frames != 200 || st.KeyFrames != 2 || st.Jumps != 0 || st.Broken != 0 || st.Lost != 0 || st.Height != 720 || st.Width != 1280 {
		t.Errorf("%+v", st)
	}
}

func TestLossIsSeenAndKeyFrameWanted(t *testing.T) {
	t.Parallel()
	f, e := newFilm(), newEncoder("", 0, Layer{320, 180, 400_000})
	for i := range 8 {
		f.frame(e, func(packet int) bool { return i == 4 && packet == 1 })
	}
	if len(f.s.tick(f.at)) != 1 {
		t.Error("the missing packet is not asked for")
	}
	f.s.tick(f.at.Add(time.Second))
	if st := f.s.stats; st.Lost != 1 || st.Frames != 4 || st.Broken != 3 || !f.s.needKey {
		t.Errorf("%+v, key frame wanted %v", st, f.s.needKey)
	}
	e.keyWanted = true
	f.frame(e, nil)
	if st := f.s.stats; st.Frames != 5 || f.s.needKey {
		t.Errorf("%+v, key frame wanted %v", st, f.s.needKey)
	}
}

// A bridge that thins out temporal layers and rewrites numbers is fine; one that
// does not rewrite, or that switches encodings between key frames, is caught.
func TestRewritingIsJudged(t *testing.T) {
	t.Parallel()
	f, low, high := newFilm(), newEncoder("", 0, Layer{320, 180, 60_000}), newEncoder("", 2, Layer{1280, 720, 60_000})
	high.pictureID, high.tl0 = low.pictureID+1000, low.tl0+100
	for range 4 {
		f.frame(low, nil)
	}
	f.frame(high, nil) // begins with a key frame, but its numbers do not continue
	if st := f.s.stats; st.Jumps != 2 || st.Switches != 1 || st.Height != 720 || st.Frames != 5 {
		t.Errorf("%+v", st)
	}
	f.frame(low, nil)
	if st := f.s.stats; st.Broken != 1 {
		t.Errorf("%+v", st)
	}
}

// A recording is played from its first frame on, round and round, and from there
// again when a key frame is asked for.
func TestRecordedFrames(t *testing.T) {
	t.Parallel()
	e := newEncoder("", 0, Layer{Width: 320, Height: 180})
	e.recorded = []Frame{
		{0, append([]byte{0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00}, make([]byte, 2000)...)},
		{2, []byte{0x11, 0, 0, 2}}, {1, []byte{0x11, 0, 0, 3}},
	}
	var seen string
	for i := range 8 {
		if i == 5 {
			e.keyWanted = true
		}
		packets, key := e.next(30, maxPayload)
		p, ok := parseVP8(packets[0])
		if !ok || p.key != key || key && (len(packets) != 2 || p.height != 180) {
			t.Errorf("frame %d: %d packets, %+v", i, len(packets), p)
		}
		seen += string(rune('0' + p.tid))
	}
	if seen != "02102021" {
		t.Errorf("temporal layers %s", seen)
	}
}
