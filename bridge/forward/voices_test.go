package forward

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Levels as microphones give them, one every 20 ms: what was measured of speech, rooms
// and keyboards, as probabilities. 127 is full scale.
type microphone struct {
	r     *rand.Rand
	floor int // of the room

	talking bool
	speech  int // its loudness
	left    int // packets left of a syllable, gap or pause
	level   int

	click int // loudness of keys, 0 for none
}

func (m *microphone) next() uint8 {
	l := m.floor + m.r.IntN(5) - 2
	if m.talking {
		if m.left == 0 {
			switch m.r.IntN(10) {
			case 0: // between sentences
				m.left, m.level = 15+m.r.IntN(15), 0
			case 1, 2, 3: // between words
				m.left, m.level = 2+m.r.IntN(4), m.floor+8
			default: // a syllable
				m.left, m.level = 6+m.r.IntN(8), m.speech+m.r.IntN(9)-4
			}
		}
		m.left--
		l = max(l, m.level)
	}
	if m.click > 0 && m.r.IntN(7) == 0 {
		l = max(l, m.click+m.r.IntN(6))
	}
	return uint8(min(max(l, 0), 127))
}

// room is a conference of microphones.
type room struct {
	t    *testing.T
	s    *Speakers
	now  int64
	n    int
	ids  []string
	mics map[string]*microphone
}

func newRoom(t *testing.T, mics map[string]*microphone) *room {
	r := &room{t: t, s: NewSpeakers(10), now: 1e12, mics: mics}
	for _, id := range []string{"a", "b", "c", "d"} {
		if m := mics[id]; m != nil {
			m.r = rand.New(rand.NewPCG(uint64(id[0]), 7))
			r.ids = append(r.ids, id)
		}
	}
	return r
}

// run lets the meeting go on, or until somebody is dominant; it returns for how long
// and how often the dominant speaker changed.
func (r *room) run(d time.Duration, until string) (took time.Duration, changes int) {
	for took < d {
		r.now += 20e6
		took += 20 * time.Millisecond
		r.n++
		for _, id := range r.ids {
			r.s.Level(id, r.mics[id].next(), r.now)
		}
		if r.n%2 == 0 {
			r.s.Idle(r.now)
		}
		if r.n%15 == 0 && r.s.Decide(r.now) {
			changes++
			if until != "" && r.s.Dominant() == until {
				return took, changes
			}
		}
	}
	return took, changes
}

// turn checks that a speaker is found within a second.
func (r *room) turn(what, id string) {
	r.t.Helper()
	if r.s.Dominant() == id {
		r.t.Fatalf("%s: %s is dominant before", what, id)
	}
	took, _ := r.run(10*time.Second, id)
	if r.s.Dominant() != id || took > time.Second {
		r.t.Errorf("%s: %q is dominant after %v, want %s within a second", what, r.s.Dominant(), took, id)
	}
}

func TestSpeakersTakeTurns(t *testing.T) {
	t.Parallel()
	a, b, c := &microphone{floor: 60, speech: 100}, &microphone{floor: 45, speech: 95}, &microphone{floor: 0, speech: 105}
	r := newRoom(t, map[string]*microphone{"a": a, "b": b, "c": c})
	r.run(5*time.Second, "")
	mics := map[string]*microphone{"a": a, "b": b, "c": c}
	last := r.s.Dominant()
	for _, id := range []string{"b", "a", "c", "b", "c", "a"} {
		if id == last {
			continue
		}
		for _, m := range mics {
			m.talking = false
		}
		mics[id].talking = true
		r.turn("a turn", id)
		if _, n := r.run(10*time.Second, ""); n != 0 {
			t.Errorf("%s talks: %d changes", id, n)
		}
		last = id
	}
}

func TestKeyboardIsNoSpeaker(t *testing.T) {
	t.Parallel()
	a, b := &microphone{floor: 55, speech: 100}, &microphone{floor: 50, click: 105}
	r := newRoom(t, map[string]*microphone{"a": a, "b": b})
	a.talking = true
	r.run(3*time.Second, "a")
	if r.s.Dominant() != "a" {
		t.Fatal("nobody heard a")
	}
	if _, n := r.run(time.Minute, ""); n != 0 {
		t.Errorf("%d changes while a talks and b types", n)
	}
	a.talking = false
	if _, n := r.run(time.Minute, ""); n != 0 {
		t.Errorf("%d changes while b types and nobody talks", n)
	}
}

func TestFanIsNoSpeaker(t *testing.T) {
	t.Parallel()
	a, fan := &microphone{floor: 50, speech: 95}, &microphone{floor: 85, speech: 112}
	r := newRoom(t, map[string]*microphone{"a": a, "b": fan})
	r.run(5*time.Second, "")
	a.talking = true
	if r.s.Dominant() != "a" {
		r.turn("against a fan", "a")
	}
	if _, n := r.run(time.Minute, ""); n != 0 {
		t.Errorf("%d changes while a talks and a fan blows", n)
	}
	a.talking, fan.talking = false, true
	r.turn("who sits at the fan talks", "b")
}

// Two who talk over one another don't take the stage from each other all the time.
func TestTwoTalkOverEachOther(t *testing.T) {
	t.Parallel()
	a, b := &microphone{floor: 50, speech: 100}, &microphone{floor: 50, speech: 100}
	r := newRoom(t, map[string]*microphone{"a": a, "b": b})
	a.talking = true
	r.run(5*time.Second, "")
	b.talking = true
	_, n := r.run(time.Minute, "")
	t.Logf("%d changes in a minute", n)
	if n > 20 {
		t.Errorf("%d changes in a minute", n)
	}
	if o := r.s.Order(); len(o) != 2 {
		t.Errorf("order %v", o)
	}
}

// A cough or a word of assent is not a turn.
func TestAssentIsNoTurn(t *testing.T) {
	t.Parallel()
	a, b := &microphone{floor: 50, speech: 100}, &microphone{floor: 50, speech: 100}
	r := newRoom(t, map[string]*microphone{"a": a, "b": b})
	a.talking = true
	r.run(5*time.Second, "")
	changes := 0
	for range 20 {
		b.talking, b.left, b.level = true, 8, 98 // 160 ms
		_, n := r.run(160*time.Millisecond, "")
		b.talking = false
		_, m := r.run(2*time.Second, "")
		changes += n + m
	}
	t.Logf("%d changes in 20 words", changes)
	if changes > 4 {
		t.Errorf("%d changes in 20 words of assent", changes)
	}
}
