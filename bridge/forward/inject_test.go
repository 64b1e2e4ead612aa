package forward

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

// interpreted is somebody whose words a service translates.
func (b *bed) interpreted(id string, ssrc, made uint32) *client {
	words := mic(id+"-a0.hi", made)
	words.Synthetic = true
	return b.join(id, mic(id+"-a0", ssrc), words)
}

type eavesdropper struct{ n int }

func (e *eavesdropper) Heard(Heard) { e.n++ }

// What a service makes of somebody's words reaches who asked for it by name, and nobody
// else; it is not what anybody says.
func TestSyntheticAudio(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	speaker := b.interpreted("s", 10, 20)
	wants, all, both := b.join("wants"), b.join("all"), b.join("both")
	rewriting := b.joinRewriting("rewriting", Slots{Audio: 2, Video: 1})
	ear := &eavesdropper{}
	b.p.Listen(ear)
	named := map[string]bool{"s-a0.hi": true}
	wants.Subscribe(Subscription{All: true, Include: named, Exclude: map[string]bool{"s-a0": true}})
	all.Subscribe(Subscription{All: true})
	both.Subscribe(Subscription{All: true, Include: named, Exclude: named})
	speaker.Subscribe(Subscription{Include: named}) // to hear what others hear
	say := func(seq uint16) {
		t.Helper()
		if err := b.p.Inject("s-a0.hi", seq, 960*uint32(seq), []byte{0xfc, 1, byte(seq)}); err != nil {
			t.Fatal(err)
		}
		b.pass(20 * time.Millisecond)
	}
	for seq := range uint16(3) {
		say(seq + 65534) // the numbers begin anew on the way
	}
	for name, c := range map[string]*client{"all": all, "both": both, "rewriting": rewriting.client} {
		if got := c.got(); len(got) != 0 {
			t.Errorf("%s gets %d packets unasked", name, len(got))
		}
	}
	for name, c := range map[string]*client{"wants": wants, "speaker": speaker} {
		got := c.got()
		if len(got) != 3 {
			t.Fatalf("%s gets %d packets", name, len(got))
		}
		for i, p := range got {
			if p.ssrc != 20 || p.pt != ptOpus || p.seq != uint16(65534+i) || p.ts != 960*uint32(uint16(65534+i)) || !bytes.Equal(p.payload, []byte{0xfc, 1, byte(254 + i)}) {
				t.Errorf("%s: %+v", name, p)
			}
		}
	}
	// With SSRC rewriting only who asks is given a slot for it.
	if told := rewriting.give(Audio, 1, "s-a0.hi"); len(told) != 0 {
		t.Errorf("told %v", told)
	}
	rewriting.Subscribe(Subscription{All: true, Include: named})
	say(1)
	b.settle()
	if heard, _ := b.p.TakeVoices(); len(heard) != 1 || heard[0] != "s-a0.hi" {
		t.Errorf("looking for a slot: %v", heard)
	}
	told := rewriting.give(Audio, 1, "s-a0.hi")
	if len(told) != 1 || told[0].Source != "s-a0.hi" || told[0].Owner != "s" {
		t.Fatalf("told %v", told)
	}
	b.pass(time.Second)
	say(2)
	if got := rewriting.got(); len(got) != 1 || got[0].ssrc != told[0].SSRC {
		t.Errorf("under its slot: %+v", got)
	}
	// Who speaks, and what is recorded, is what people say.
	n := 0
	b.p.DrainLevels(func(string, uint8, int64) { n++ })
	if audio, _ := speaker.Sending(); n != 0 || ear.n != 0 || audio {
		t.Errorf("%d levels, %d packets for the listener, sending %v", n, ear.n, audio)
	}
	// Nobody but the service makes it, not even its owner.
	wants.got()
	speaker.send(opus(20, 9, 30))
	if got := wants.got(); len(got) != 0 || speaker.Stats().Foreign != 1 {
		t.Errorf("%d packets of the owner go on under the service's SSRC, %d foreign", len(got), speaker.Stats().Foreign)
	}
	// It ends with being signalled.
	if err := speaker.SetSources([]Source{mic("s-a0", 10)}); err != nil {
		t.Fatal(err)
	}
	if err := b.p.Inject("s-a0.hi", 9, 9, []byte{1}); !errors.Is(err, ErrNotSynthetic) || b.p.HasSynthetic("s-a0.hi") {
		t.Errorf("when it is gone: %v", err)
	}
	if got := wants.got(); len(got) != 0 {
		t.Errorf("%d packets when it is gone", len(got))
	}
}

// A service is bounded as people are.
func TestInjectIsBounded(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	b.interpreted("s", 10, 20)
	for _, c := range []struct {
		what, source string
		payload      int
		want         error
	}{
		{"what somebody says", "s-a0", 3, ErrNotSynthetic},
		{"nobody", "x-a0", 3, ErrNotSynthetic},
		{"nothing", "s-a0.hi", 0, ErrTooLong},
		{"the longest", "s-a0.hi", MaxInjected, nil},
		{"too long", "s-a0.hi", MaxInjected + 1, ErrTooLong},
	} {
		if err := b.p.Inject(c.source, 1, 1, make([]byte, c.payload)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	b.pass(time.Second)
	passed := 0
	for b.p.Inject("s-a0.hi", uint16(passed), 1, []byte{1}) == nil {
		passed++
	}
	if passed < 50 || passed > b.e.cfg.AudioPackets {
		t.Errorf("%d packets at once", passed)
	}
	old := stock()
	old.Payloads = old.Payloads[:2]
	b.p.Endpoint("s").SetMedia(old)
	if err := b.p.Inject("s-a0.hi", 1, 1, []byte{1}); !errors.Is(err, ErrNoFormat) {
		t.Errorf("to a client without Opus: %v", err)
	}
}

func BenchmarkInject(b *testing.B) {
	bed := newBed(b, func(c *Config) { c.AudioPackets, c.AudioBitrate = 1<<30, 1<<50 })
	bed.interpreted("s", 10, 20)
	b.ReportAllocs()
	for b.Loop() {
		if err := bed.p.Inject("s-a0.hi", 1, 1, make([]byte, 80)); err != nil {
			b.Fatal(err)
		}
	}
}
