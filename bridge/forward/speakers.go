package forward

import (
	"math"
	"slices"
)

// Numbers of the dominant speaker algorithm (Volfin & Cohen, as JVB tuned it;
// bridge.md §16.2).
const (
	speakerBlocks  = 13 // n1: immediate sub-units in a level
	speakerMedium  = 5  // n2: immediates in a medium block
	speakerLong    = 10 // n3: mediums in a long block
	speakerHistory = speakerMedium * speakerLong
	speakerUnit    = (127 + speakerBlocks - 1) / speakerBlocks

	mediumThreshold = 7
	longThreshold   = 4
	minScore        = 1e-10

	c1, c2, c3 = 3.0, 2.0, 0.0

	speakerIdle   = int64(40e6)   // after which silence is assumed
	speakerForget = int64(3600e9) // after which a speaker is forgotten
	speakerQuiet  = int64(15e9)   // without any level no decision is made

	// DecisionInterval is how often Decide should run, in nanoseconds.
	DecisionInterval = int64(300e6)
)

// Speakers finds the dominant speaker of a conference from audio levels. It is
// pure: time comes in from outside, and one goroutine uses it.
type Speakers struct {
	recent   int
	voices   []*voice // in order of appearance
	byID     map[string]*voice
	dominant *voice
	order    []string // recent speakers, the dominant first
	lastAt   int64
}

// voice is one possible speaker.
type voice struct {
	id string
	at int64 // last level

	levels     [speakerHistory]uint8 // newest first
	immediates [speakerHistory]uint8
	mediums    [speakerLong]uint8
	long       uint8

	floor, nextFloor uint8 // minimum level, and that of the running window
	count            int

	immediate, medium, longScore float64
}

// NewSpeakers returns an empty contest that lists so many recent speakers
// besides the dominant one (JVB recent-speakers-count: 10).
func NewSpeakers(recent int) *Speakers {
	return &Speakers{recent: recent, byID: map[string]*voice{}}
}

// Level takes a level of an endpoint, 0 silence to 127 loudest.
func (s *Speakers) Level(id string, level uint8, now int64) {
	v := s.byID[id]
	if v == nil {
		v = &voice{id: id, floor: 127, nextFloor: 127, immediate: minScore, medium: minScore, longScore: minScore}
		s.voices = append(s.voices, v)
		s.byID[id] = v
	}
	v.push(min(level, 127))
	v.at = now
	s.lastAt = max(s.lastAt, now)
}

// Idle pushes silence for endpoints of which no level came for 40 ms. Call it
// about every 40 ms.
func (s *Speakers) Idle(now int64) {
	keep := s.voices[:0]
	for _, v := range s.voices {
		if now-v.at > speakerForget && v != s.dominant {
			delete(s.byID, v.id)
			continue
		}
		if now-v.at > speakerIdle {
			v.push(0)
		}
		keep = append(keep, v)
	}
	clear(s.voices[len(keep):])
	s.voices = keep
}

// Quiet says that no level has come for so long that nothing is to be decided.
func (s *Speakers) Quiet(now int64) bool { return now-s.lastAt > speakerQuiet }

// Decide looks for a new dominant speaker and says whether there is one. Call
// it every DecisionInterval.
func (s *Speakers) Decide(now int64) (changed bool) {
	if len(s.voices) == 0 || s.Quiet(now) {
		return false
	}
	if s.dominant == nil {
		s.promote(s.voices[0])
		changed = true
	}
	if len(s.voices) == 1 {
		return changed
	}
	s.dominant.score()
	var best *voice
	bestC2 := c2
	for _, v := range s.voices {
		if v == s.dominant {
			continue
		}
		v.score()
		r1 := math.Log(v.immediate / s.dominant.immediate)
		r2 := math.Log(v.medium / s.dominant.medium)
		r3 := math.Log(v.longScore / s.dominant.longScore)
		if r1 > c1 && r2 > c2 && r3 > c3 && r2 > bestC2 {
			best, bestC2 = v, r2
		}
	}
	if best != nil {
		s.promote(best)
		return true
	}
	return changed
}

// Remove takes away an endpoint that left; true when the order changed. If it
// was dominant, the next in the order is.
func (s *Speakers) Remove(id string) (changed bool) {
	s.voices = slices.DeleteFunc(s.voices, func(v *voice) bool { return v.id == id })
	delete(s.byID, id)
	for i, o := range s.order {
		if o == id {
			s.order = append(s.order[:i], s.order[i+1:]...)
			changed = true
			break
		}
	}
	if s.dominant != nil && s.dominant.id == id {
		s.dominant = nil
		if len(s.order) > 0 {
			s.dominant = s.byID[s.order[0]]
		}
	}
	return changed
}

// Dominant is the id of the dominant speaker, empty when there is none.
func (s *Speakers) Dominant() string {
	if s.dominant == nil {
		return ""
	}
	return s.dominant.id
}

// Order lists recent speakers, the dominant one first. The caller owns it.
func (s *Speakers) Order() []string { return append([]string(nil), s.order...) }

func (s *Speakers) promote(v *voice) {
	s.dominant = v
	order := []string{v.id}
	for _, id := range s.order {
		if id != v.id && len(order) <= s.recent {
			order = append(order, id)
		}
	}
	s.order = order
}

// push shifts a level in and follows the noise floor, which may rise after a
// window of 15 s.
func (v *voice) push(level uint8) {
	copy(v.levels[1:], v.levels[:])
	v.levels[0] = level
	if level > 0 { // silence that was only assumed is no noise floor
		v.nextFloor = min(v.nextFloor, level)
		v.floor = min(v.floor, level)
		if v.count++; v.count >= floorWindow {
			v.floor, v.nextFloor, v.count = v.nextFloor, 127, 0
		}
	}
}

// score computes the three speech activities of a voice.
func (v *voice) score() {
	for i, l := range v.levels {
		v.immediates[i] = 0
		if int(l) >= int(v.floor)+speakerUnit {
			v.immediates[i] = l / speakerUnit
		}
	}
	for j := range v.mediums {
		n := uint8(0)
		for _, im := range v.immediates[j*speakerMedium : (j+1)*speakerMedium] {
			if im > mediumThreshold {
				n++
			}
		}
		v.mediums[j] = n
	}
	v.long = 0
	for _, m := range v.mediums {
		if m > longThreshold {
			v.long++
		}
	}
	v.immediate = activity(int(v.immediates[0]), speakerBlocks, 0.78)
	v.medium = activity(int(v.mediums[0]), speakerMedium, 24)
	v.longScore = activity(int(v.long), speakerLong, 47)
}

// activity is the likelihood that v of n blocks are speech against silence.
func activity(v, n int, lambda float64) float64 {
	lnChoose := lnFactorial(n) - lnFactorial(v) - lnFactorial(n-v)
	s := lnChoose + float64(n)*math.Log(0.5) - math.Log(lambda) + lambda*float64(v)
	return max(s, minScore)
}

func lnFactorial(n int) float64 {
	l, _ := math.Lgamma(float64(n) + 1)
	return l
}
