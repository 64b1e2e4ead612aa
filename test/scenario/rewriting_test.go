package scenario

import (
	"encoding/json"
	"fmt"
	"testing"

	"confab/internal/meettest"
)

// rewriting has the client take part in SSRC rewriting.
func rewriting(o *meettest.Options) { o.Features = meettest.Rewriting(meettest.Features2026) }

// mix says for each of three which of them take part in SSRC rewriting: meetings
// look the same to all of them.
var mixes = map[string][3]bool{"on": {true, true, true}, "off": {}, "mixed": {true, false, true}}

func (w *world) three(mix [3]bool, change func(*meettest.Options)) (out [3]*meettest.Client) {
	w.t.Helper()
	for i, name := range []string{"Ann", "Bea", "Cem"} {
		out[i] = w.join(name, func(o *meettest.Options) {
			if mix[i] {
				rewriting(o)
			}
			if change != nil {
				change(o)
			}
		})
	}
	return out
}

func eachMix(t *testing.T, story func(t *testing.T, mix [3]bool)) {
	for name, mix := range mixes {
		t.Run(name, func(t *testing.T) { story(t, mix) })
	}
}

func TestThreeTalkHoweverSourcesAreTold(t *testing.T) {
	eachMix(t, func(t *testing.T, mix [3]bool) {
		w := newWorld(t, "")
		cs := w.three(mix, nil)
		a, b, c := cs[0], cs[1], cs[2]
		w.talk(a, b, c)
		for i, m := range cs {
			w.smooth(m, except(cs, i)...)
			if want := 4; mix[i] && m.SSRCs() != want || !mix[i] && m.SSRCs() != 0 {
				t.Errorf("%s has been told of %d SSRCs", m.Nick(), m.SSRCs())
			}
		}

		// The screen is a second source, and comes back when it was off.
		screen := a.Nick() + "-v1"
		for range 2 {
			w.must(a.ShareScreen(w.ctx, true))
			for _, m := range []*meettest.Client{b, c} {
				w.must(m.Want(1080))
				w.more(m, screen, 10)()
			}
			w.must(a.ShareScreen(w.ctx, false))
			for _, m := range []*meettest.Client{b, c} {
				w.must(m.Until(w.ctx, "the screen to be gone", func() bool { return !contains(m.Forwarded(), screen) }))
				w.sees(m, a, 10)
			}
		}

		w.must(b.Leave(w.ctx))
		w.must(c.Until(w.ctx, "Bea to be gone", func() bool { return c.Others() == 1 && !contains(c.Sources(), b.Nick()+"-a0") }))
		d := w.join("Dan", func(o *meettest.Options) {
			if mix[1] {
				rewriting(o)
			}
		})
		w.talk(a, c, d)
		w.smooth(d, a, c)
		w.smooth(a, c, d)
	})
}

// except is who is not at i.
func except(cs [3]*meettest.Client, i int) (out []*meettest.Client) {
	for k, c := range cs {
		if k != i {
			out = append(out, c)
		}
	}
	return out
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

func TestRewritingOutlivesCuts(t *testing.T) {
	w := newWorld(t, "[bridge]\nchannel = \"both\"\n")
	cs := w.three([3]bool{true, true, true}, func(o *meettest.Options) { o.WebSocket = true })
	a, b, c := cs[0], cs[1], cs[2]
	w.talk(a, b, c)

	// A channel that is opened again is told everything again.
	told := map[string]int{}
	count := func() {
		for _, class := range []string{"VideoSourcesMap", "AudioSourcesMap"} {
			m, err := a.ExpectMessage(w.ctx, class, func(m json.RawMessage) bool {
				var sm struct{ MappedSources []struct{ SSRC uint32 } }
				return json.Unmarshal(m, &sm) == nil && len(sm.MappedSources) == 2
			})
			w.must(err)
			told[string(m)]++
		}
	}
	w.must(a.RedialChannel(w.ctx))
	count()
	w.must(a.RedialChannel(w.ctx))
	count()
	if len(told) != 2 {
		t.Errorf("maps differ: %v", told)
	}
	w.must(a.Want(720))
	w.talk(a, b, c)

	w.must(a.RestartICE(w.ctx))
	w.talk(a, b, c)
	b.Cut()
	w.talk(a, b, c)
	w.must(b.Resume(w.ctx))
	w.talk(a, b, c)
	for i, m := range cs {
		w.smooth(m, except(cs, i)...)
		if m.SSRCs() != 4 {
			t.Errorf("%s has been told of %d SSRCs", m.Nick(), m.SSRCs())
		}
	}
}

// More people than slots: who is wanted gets one, and everybody who is asked for
// is seen and heard in turn, without a seam.
func TestMoreSourcesThanSlots(t *testing.T) {
	w := newWorld(t, "[bridge]\nssrc_limit_video = 2\nssrc_limit_audio = 2\n")
	a := w.join("Ann", rewriting)
	var others []*meettest.Client
	for i := range 4 {
		others = append(others, w.join(fmt.Sprint("Guest ", i), func(o *meettest.Options) {
			if i%2 == 0 {
				rewriting(o)
			}
			o.Media.Level = 127
		}))
	}
	for _, c := range append(others, a) {
		w.must(c.Media(w.ctx))
	}
	for round := range 3 {
		for i, o := range others {
			v := o.Nick() + "-v0"
			w.must(a.Constrain(meettest.Constraints{
				OnStage: []string{v}, Default: &meettest.Constraint{}, Constraints: map[string]meettest.Constraint{v: {MaxHeight: 720}},
			}))
			o.SetAudioLevel(20)
			w.more(a, v, 5)()
			w.more(a, o.Nick()+"-a0", 20)()
			o.SetAudioLevel(127)
			if n := a.SSRCs(); n > 4 {
				t.Fatalf("%d SSRCs", n)
			}
			st := a.Stats(v)
			if st.Jumps > 0 || st.Broken > 0 || st.Lost > 0 || st.Foreign > 5 {
				t.Errorf("round %d, %d: %+v", round, i, st)
			}
			if st := a.Stats(o.Nick() + "-a0"); st.Jumps > 0 || st.Lost > 0 || st.Foreign > 5 {
				t.Errorf("round %d, %d: %+v", round, i, st)
			}
		}
	}
	if s := a.Strange(); len(s) > 0 {
		t.Errorf("packets that nobody signalled: %v", s)
	}
	// Last-N is bounded by the slots: with no other wish only two are sent.
	w.must(a.Want(180))
	w.must(a.Until(w.ctx, "two to be forwarded", func() bool { return len(a.Forwarded()) == 2 }))
}

// One after the other comes and goes: the client negotiates no more than the slots
// that it has, and sees each of them.
func TestSlotsOfLeaversAreTakenAgain(t *testing.T) {
	w := newWorld(t, "[bridge]\nssrc_limit_video = 2\nssrc_limit_audio = 2\n")
	a := w.join("Ann", rewriting)
	for range 5 {
		b := w.join("Bea", nil)
		w.talk(a, b)
		w.smooth(a, b)
		w.must(b.Leave(w.ctx))
		b.Kill()
	}
	if n := a.SSRCs(); n != 4 {
		t.Errorf("%d SSRCs", n)
	}
}

// The focus is told to have no more of it, and later again: who is there keeps what
// it has, who comes gets what holds.
func TestRewritingIsSwitchedWhileOthersTalk(t *testing.T) {
	w := newWorld(t, "")
	a, b := w.join("Ann", rewriting), w.join("Bea", rewriting)
	w.talk(a, b)
	w.must(w.Reload(w.ctx, "[focus]\nssrc_rewriting = false\n"))
	c := w.join("Cem", rewriting)
	w.talk(a, b, c)
	if a.SSRCs() == 0 || c.SSRCs() != 0 {
		t.Errorf("%d and %d SSRCs", a.SSRCs(), c.SSRCs())
	}
	w.must(w.Reload(w.ctx, "[focus]\nssrc_rewriting = true\n"))
	d := w.join("Dan", rewriting)
	w.talk(a, b, c, d)
	if d.SSRCs() != 6 {
		t.Errorf("%d SSRCs", d.SSRCs())
	}
	w.smooth(d, a, b, c)
	w.smooth(c, a, b, d)
}

// Mids are stamped on what goes out to who can tell streams apart by them.
func TestMids(t *testing.T) {
	w := newWorld(t, "[focus]\nmid_extension = true\n")
	mids := func(o *meettest.Options) {
		rewriting(o)
		o.Features = append(o.Features, "http://jitsi.org/rtp-mid-demux")
	}
	a, b, c := w.join("Ann", mids), w.join("Bea", rewriting), w.join("Cem", mids)
	w.talk(a, b, c)
	w.smooth(a, b, c)
	w.smooth(b, a, c)
}
