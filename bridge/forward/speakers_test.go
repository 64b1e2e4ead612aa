package forward

import (
	"math"
	"testing"
)

// talk feeds 20 ms of levels per round and decides every 300 ms.
func talk(s *Speakers, now *int64, rounds int, levels map[string]uint8) (changes int) {
	for i := range rounds {
		*now += 20e6
		for _, id := range []string{"a", "b", "c"} {
			if l, ok := levels[id]; ok {
				s.Level(id, l, *now)
			}
		}
		if i%2 == 1 {
			s.Idle(*now)
		}
		if i%15 == 14 && s.Decide(*now) {
			changes++
		}
	}
	return changes
}

func TestSpeakers(t *testing.T) {
	t.Parallel()
	s := NewSpeakers(10)
	now := int64(1e9)
	if s.Decide(now) || s.Dominant() != "" {
		t.Error("nobody is there, somebody speaks")
	}
	if n := talk(s, &now, 100, map[string]uint8{"a": 30, "b": 30}); n != 1 || s.Dominant() != "a" {
		t.Fatalf("%d changes, dominant %q", n, s.Dominant())
	}
	if n := talk(s, &now, 100, map[string]uint8{"a": 30, "b": 110}); n != 1 || s.Dominant() != "b" {
		t.Fatalf("b talks: %d changes, dominant %q", n, s.Dominant())
	}
	// A cough takes nothing away.
	talk(s, &now, 5, map[string]uint8{"a": 120, "b": 110})
	if n := talk(s, &now, 60, map[string]uint8{"a": 30, "b": 110}); n != 0 {
		t.Errorf("a cough: %d changes", n)
	}
	// b stops sending altogether; c speaks.
	talk(s, &now, 100, map[string]uint8{"a": 30, "c": 30})
	if talk(s, &now, 100, map[string]uint8{"a": 30, "c": 115}); s.Dominant() != "c" {
		t.Errorf("dominant %q", s.Dominant())
	}
	if o := s.Order(); len(o) != 3 || o[0] != "c" || o[1] != "b" || o[2] != "a" {
		t.Error(o)
	}
	if !s.Remove("c") || s.Dominant() != "b" || s.Remove("nobody") {
		t.Errorf("dominant %q", s.Dominant())
	}
	// Long silence: no decisions.
	now += 20e9
	if s.Decide(now) {
		t.Error("decided in silence")
	}
}

func TestRecentSpeakersAreBounded(t *testing.T) {
	t.Parallel()
	s := NewSpeakers(2)
	for _, id := range []string{"a", "b", "c", "d"} {
		s.promote(&voice{id: id})
	}
	if o := s.Order(); len(o) != 3 || o[0] != "d" || o[2] != "b" {
		t.Error(o)
	}
}

func TestActivity(t *testing.T) {
	t.Parallel()
	// ln C(13,5) + 13 ln 0.5 - ln 0.78 + 5·0.78
	want := math.Log(1287) + 13*math.Log(0.5) - math.Log(0.78) + 5*0.78
	if got := activity(5, 13, 0.78); math.Abs(got-want) > 1e-9 {
		t.Error(got, want)
	}
	if activity(0, 13, 0.78) != minScore {
		t.Error("no floor")
	}
}

// Who begins to speak when another has ended is the speaker within a second, however
// loud he is and whenever within a decision he begins.
func TestSpeakerWithinASecond(t *testing.T) {
	t.Parallel()
	for _, level := range []uint8{80, 95, 110, 127} {
		for offset := range 15 {
			s := NewSpeakers(10)
			now := int64(1e9)
			talk(s, &now, 300, map[string]uint8{"a": 30, "b": 30})
			talk(s, &now, 500+offset, map[string]uint8{"a": 105, "b": 30})
			if s.Dominant() != "a" {
				t.Fatalf("dominant %q", s.Dominant())
			}
			began := now
			for i := 0; s.Dominant() != "b" && now-began < 5e9; i++ {
				now += 20e6
				s.Level("a", 30, now)
				s.Level("b", level, now)
				if (i+offset)%2 == 1 {
					s.Idle(now)
				}
				if (i+offset)%15 == 14 {
					s.Decide(now)
				}
			}
			if now-began > 1e9 {
				t.Errorf("level %d, offset %d: after %d ms", level, offset, (now-began)/1e6)
			}
		}
	}
}
