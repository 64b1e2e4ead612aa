package bridges

import (
	"testing"
	"time"

	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func bridge(name string) xmpp.JID {
	return xmpp.MustJID("jvbbrewery@internal.auth.meet.example/" + name)
}

func stats(kv ...string) colibri2.Stats {
	s := colibri2.Stats{"stress_level": "0.1", "drain": "false", "version": "1", "healthy": "true"}
	for i := 0; i < len(kv); i += 2 {
		s[kv[i]] = kv[i+1]
	}
	return s
}

func (f *Fleet) pick(now time.Time, conf ConfLoad, want Want) string {
	b, ok := f.Pick(now, Single{}, conf, want)
	if !ok {
		return "-"
	}
	return b.JID.Resource
}

func TestAppearAndFail(t *testing.T) {
	t.Parallel()
	f := NewFleet(DefaultConfig())
	if got := f.pick(t0, ConfLoad{}, Want{}); got != "-" {
		t.Errorf("picked %s of none", got)
	}
	if c := f.Report(t0, bridge("a"), stats()); c != Appeared {
		t.Errorf("first report: %v", c)
	}
	if c := f.Report(t0, bridge("a"), stats()); c != NoChange {
		t.Errorf("second report: %v", c)
	}
	f.Failed(t0, bridge("a"))
	if got := f.pick(t0, ConfLoad{}, Want{}); got != "-" {
		t.Errorf("picked %s, which has failed", got)
	}
	f.Report(t0, bridge("b"), stats("stress_level", "0.9"))
	if c := f.Report(t0.Add(59*time.Second), bridge("a"), stats()); c != Appeared {
		t.Errorf("report during the cool-down: %v", c)
	}
	if got := f.pick(t0.Add(59*time.Second), ConfLoad{}, Want{}); got != "b" {
		t.Errorf("picked %s during the cool-down", got)
	}
	f.Remove(bridge("b"))
	if got := f.pick(t0.Add(59*time.Second), ConfLoad{}, Want{}); got != "a" {
		t.Errorf("picked %s when there is no other", got)
	}
	if f.Report(t0.Add(time.Minute), bridge("a"), stats()); !f.List(t0.Add(time.Minute))[0].Operational {
		t.Error("not operational after the cool-down")
	}
	if f.Silent(t0.Add(2*time.Minute), 45*time.Second); f.List(t0.Add(2 * time.Minute))[0].Operational {
		t.Error("operational though silent")
	}
	f.Report(t0.Add(4*time.Minute), bridge("a"), stats())
	t0 := t0.Add(5 * time.Minute)
	if c := f.Report(t0, bridge("a"), stats("healthy", "false")); c != MoveAway {
		t.Errorf("unhealthy: %v", c)
	}
	if c := f.Report(t0, bridge("a"), stats()); c != Appeared {
		t.Errorf("healthy again: %v", c)
	}
	if c := f.Report(t0, bridge("a"), stats("shutting_down", "true")); c != MoveAway {
		t.Errorf("shutting down: %v", c)
	}
	if c := f.Report(t0, bridge("a"), stats()); c != NoChange {
		t.Errorf("shutting down latches: %v", c)
	}
	if c := f.Remove(bridge("a")); c != MoveAway || f.Remove(bridge("a")) != NoChange {
		t.Errorf("removed: %v", c)
	}
}

func TestSelection(t *testing.T) {
	t.Parallel()
	f := NewFleet(DefaultConfig())
	f.Report(t0, bridge("a"), stats("stress_level", "0.3", "region", "eu"))
	f.Report(t0, bridge("b"), stats("stress_level", "0.2", "region", "us"))
	f.Report(t0, bridge("c"), colibri2.Stats{"stress_level": "0"}) // draining until it says otherwise
	on := func(name string) ConfLoad { return ConfLoad{Version: "1", On: map[xmpp.JID]int{bridge(name): 2}} }
	for _, tc := range []struct {
		what string
		conf ConfLoad
		want Want
		pick string
	}{
		{"least loaded", ConfLoad{}, Want{}, "b"},
		{"region", ConfLoad{}, Want{Region: "eu"}, "a"},
		{"unknown region", ConfLoad{}, Want{Region: "ap"}, "b"},
		{"the conference's own", on("a"), Want{Region: "us"}, "a"},
		{"the conference's own is gone", on("x"), Want{}, "-"},
		{"other version", ConfLoad{Version: "2", On: map[xmpp.JID]int{bridge("a"): 1}}, Want{}, "-"},
	} {
		if got := f.pick(t0, tc.conf, tc.want); got != tc.pick {
			t.Errorf("%s: picked %s, want %s", tc.what, got, tc.pick)
		}
	}
	// Endpoints placed lately count until the bridge reports them.
	for range 11 {
		f.Placed(t0, bridge("b"))
	}
	if got := f.pick(t0, ConfLoad{}, Want{}); got != "a" {
		t.Errorf("picked %s, whose stress is 0.31", got)
	}
	if got := f.pick(t0.Add(20*time.Second), ConfLoad{}, Want{}); got != "b" {
		t.Errorf("picked %s 20 s later", got)
	}
	f.Closing(bridge("b"))
	if got := f.pick(t0.Add(time.Minute), ConfLoad{}, Want{}); got != "a" {
		t.Errorf("picked %s, which is closing", got)
	}
	if got := f.pick(t0, on("b"), Want{}); got != "b" {
		t.Errorf("picked %s for a conference on b", got)
	}
}
