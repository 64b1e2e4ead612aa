package forward

import (
	"testing"
	"time"
)

// Whom a receiver hears: what it named, before and after it came; excluded counts
// before included, included before all.
func TestSubscriptions(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	r, other := b.join("r"), b.join("other")
	x := b.speaker("x", 1000)
	var seqX, seqY uint16
	hears := func(s *speaker, last *uint16) bool {
		t.Helper()
		s.send(s.talk(3)...)
		got := r.got()
		if n := len(other.got()); n != 3 {
			t.Errorf("the other got %d packets", n)
		}
		for _, p := range got {
			if tagOf(p.payload) != s.id+"-a0" {
				t.Errorf("got %s", tagOf(p.payload))
			}
			if d := p.seq - *last; *last != 0 && (d == 0 || d >= nearAhead) {
				t.Errorf("number %d after %d", p.seq, *last)
			}
			*last = p.seq
		}
		if len(got) != 0 && len(got) != 3 {
			t.Errorf("%d packets", len(got))
		}
		return len(got) == 3
	}
	names := func(list ...string) map[string]bool {
		m := map[string]bool{}
		for _, n := range list {
			m[n] = true
		}
		return m
	}
	if !hears(x, &seqX) {
		t.Error("all is not heard before anything was said")
	}
	r.Subscribe(Subscription{All: true, Exclude: names("x-a0", "y-a0"), Include: names("x-a0")})
	y := b.speaker("y", 2000)
	if hears(x, &seqX) || hears(y, &seqY) {
		t.Error("who is excluded is heard")
	}
	r.Subscribe(Subscription{Include: names("y-a0", "z-a0")})
	z := b.speaker("z", 3000)
	var seqZ uint16
	if hears(x, &seqX) || !hears(y, &seqY) || !hears(z, &seqZ) {
		t.Error("not just those included are heard")
	}
	y.Close()
	y = b.speaker("y", 2000)
	if !hears(y, &seqY) {
		t.Error("who comes back is not heard")
	}
	// A long silence of ours is none of the stream: half a turn of numbers later it
	// goes on where it was, for SRTP counts turns.
	for range 40000 / 50 {
		b.pass(time.Second)
		x.send(x.talk(50)...)
		b.settle()
		other.got()
	}
	b.pass(10 * time.Second) // so that there is room for more under the bound on audio
	r.Subscribe(Subscription{All: true})
	if !hears(x, &seqX) {
		t.Error("all is not heard")
	}
	r.Subscribe(Subscription{})
	if hears(x, &seqX) || hears(y, &seqY) {
		t.Error("nothing is too much")
	}
}

// Whom somebody asked for by name is heard among louder ones.
func TestAskedForIsHeardAmongTheLoud(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *Config) { c.LoudestN, c.LoudestAbove = 1, 1 })
	r := b.join("r")
	quiet, loud := b.speaker("quiet", 1000), b.speaker("loud", 2000)
	quiet.audio.exts = map[uint8][]byte{extLevel: {90}}
	loud.audio.exts = map[uint8][]byte{extLevel: {5}}
	count := func() (n int) {
		for i := range 50 {
			b.pass(20 * time.Millisecond)
			loud.audio.exts[extLevel][0] = 5 + byte(i%2)*60 // speech, not a tone
			loud.send(loud.talk(1)...)
			quiet.send(quiet.talk(1)...)
			b.e.Tick()
			for _, p := range r.got() {
				if tagOf(p.payload) == "quiet-a0" {
					n++
				}
			}
		}
		return n
	}
	count()
	if n := count(); n != 0 {
		t.Errorf("%d packets of the quiet one", n)
	}
	r.Subscribe(Subscription{All: true, Include: map[string]bool{"quiet-a0": true}})
	if n := count(); n != 50 {
		t.Errorf("%d packets of whom somebody asked for", n)
	}
	r.Subscribe(Subscription{All: true})
	if n := count(); n != 0 {
		t.Errorf("%d packets of the quiet one again", n)
	}
}
