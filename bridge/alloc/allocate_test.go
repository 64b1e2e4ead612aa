package alloc

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"confab/bridge/rtpx"
)

// camera is a simulcast camera with three temporal layers each; kbps are of the
// full frame rate per encoding, 0 for a silent one.
func camera(name string, kbps ...int64) Source {
	s := Source{Name: name, Endpoint: name[:strings.LastIndexByte(name, '-')]}
	for e, k := range kbps {
		for t := range 3 {
			s.Layers = append(s.Layers, rtpx.LayerInfo{ID: rtpx.MakeLayer(e, 0, t), Height: 180 << e, FPS: 7.5 * float64(int(1)<<t), Bitrate: k * 1000 * int64(t+1) / 3})
		}
	}
	return s
}

func desktop(s Source) Source { s.Type = Desktop; return s }

// run allocates and prints what comes out: name:target in order of priority.
func run(c Config, r Request) string {
	var out []string
	for _, d := range c.Allocate(r).Decisions {
		out = append(out, fmt.Sprintf("%s:%v", d.Source, d.Target))
	}
	return strings.Join(out, " ")
}

func want(lastN int, def int, onStage ...string) Constraints {
	c := DefaultConfig().Initial(lastN)
	c.Default = Height(def)
	c.OnStage = onStage
	return c
}

func TestUnlimited(t *testing.T) {
	t.Parallel()
	c := DefaultConfig()
	src := []Source{camera("a-v0", 200, 500, 0), camera("b-v0", 200, 500, 1500), camera("me-v0", 1, 1, 1)}
	for _, k := range []struct {
		name string
		r    Constraints
		want string
	}{
		{"before the first message nothing is sent", c.Initial(-1), "a-v0:none b-v0:none"},
		{"thumbnails", want(-1, 180), "a-v0:E0S0T2 b-v0:E0S0T2"},
		{"no limit, also for a silent layer", want(-1, -1), "a-v0:E2S0T2 b-v0:E2S0T2"},
		{"between two heights", want(-1, 500), "a-v0:E1S0T2 b-v0:E1S0T2"},
		{"less than the least is the least", want(-1, 90), "a-v0:E0S0T2 b-v0:E0S0T2"},
		{"last-N", want(1, 180), "a-v0:E0S0T2 b-v0:none"},
		{"audio only", want(0, 180), "a-v0:none b-v0:none"},
		{"one off", Constraints{LastN: -1, Default: Height(180), PerSource: map[string]Constraint{"a-v0": Height(0), "b-v0": Height(720)}, AssumedBandwidth: -1}, "a-v0:none b-v0:E2S0T2"},
		{"frame rate 0 is off", Constraints{LastN: -1, Default: Constraint{MaxHeight: 180}, AssumedBandwidth: -1}, "a-v0:none b-v0:none"},
	} {
		if got := run(c, Request{Receiver: "me", Constraints: k.r, Available: Unlimited, Table: NewTable(src, nil)}); got != k.want {
			t.Errorf("%s: got %s, want %s", k.name, got, k.want)
		}
	}
}

func TestPriority(t *testing.T) {
	t.Parallel()
	c := DefaultConfig()
	none := camera("c-v0", 100)
	none.Type = None
	share := desktop(camera("d-v1", 800))
	src := []Source{camera("a-v0", 100), camera("b-v0", 100), none, camera("d-v0", 100), share}
	order := func(r Constraints, speakers ...string) string {
		var out []string
		for _, d := range c.Allocate(Request{Receiver: "me", Constraints: r, Available: Unlimited, Table: NewTable(src, speakers)}).Decisions {
			out = append(out, d.Source)
		}
		return strings.Join(out, " ")
	}
	for _, k := range []struct {
		name, got, want string
	}{
		{"as they joined, without a picture last", order(want(-1, 180)), "a-v0 b-v0 d-v0 d-v1 c-v0"},
		{"speakers first", order(want(-1, 180), "d", "c", "b"), "d-v0 d-v1 b-v0 a-v0 c-v0"},
		{"stage, then selected", order(Constraints{LastN: -1, OnStage: []string{"d-v1", "x", "c-v0"}, Selected: []string{"b-v0", "d-v1"}}, "a"), "d-v1 b-v0 a-v0 d-v0 c-v0"},
	} {
		if k.got != k.want {
			t.Errorf("%s: got %s, want %s", k.name, k.got, k.want)
		}
	}
	// Last-N counts in that order, and sources without a picture don't count.
	r := c.Allocate(Request{Receiver: "me", Constraints: want(2, 180, "d-v1"), Available: Unlimited, Table: NewTable(src, []string{"c", "b"})})
	if !slices.Equal(r.Forwarded, []string{"d-v1", "b-v0"}) {
		t.Error(r.Forwarded)
	}
	for _, d := range r.Decisions {
		if wanted := slices.Contains(r.Forwarded, d.Source); (d.Effective.MaxHeight == 180) != wanted {
			t.Errorf("%+v", d)
		}
	}
}

func TestLimitedBandwidth(t *testing.T) {
	t.Parallel()
	c := DefaultConfig()
	a, b := camera("a-v0", 150, 450, 1500), camera("b-v0", 150, 450, 1500)
	alloc := func(bps Bitrate, r Constraints, src ...Source) string {
		return run(c, Request{Receiver: "me", Constraints: r, Available: bps, Table: NewTable(src, nil)})
	}
	for _, k := range []struct {
		name, got, want string
	}{
		{"plenty", alloc(10_000_000, want(-1, 720), a, b), "a-v0:E2S0T2 b-v0:E2S0T2"},
		{"little for two: both, at lower rates", alloc(220_000, want(-1, 720), a, b), "a-v0:E0S0T1 b-v0:E0S0T1"},
		{"the stage gets its preferred layer first", alloc(500_000, want(-1, 720, "b-v0"), a, b), "b-v0:E1S0T2 a-v0:none"},
		{"and the rest what remains", alloc(560_000, want(-1, 720, "b-v0"), a, b), "b-v0:E1S0T2 a-v0:E0S0T1"},
		{"nothing fits", alloc(10_000, want(-1, 720), a), "a-v0:none"},
		{"a silent layer for which there is room is taken when it comes", alloc(10_000_000, want(-1, 720), camera("a-v0", 150, 450, 0)), "a-v0:E2S0T2"},
		{"without room it is no candidate", alloc(1_000_000, want(-1, 720), camera("a-v0", 150, 450, 0)), "a-v0:E1S0T2"},
		{"nor is one that is not wanted", alloc(10_000_000, want(-1, 360), camera("a-v0", 150, 450, 0)), "a-v0:E1S0T2"},
		{"unless all are", alloc(10_000_000, want(-1, 720), camera("a-v0", 0, 0, 0)), "a-v0:E2S0T2"},
	} {
		if k.got != k.want {
			t.Errorf("%s: got %s, want %s", k.name, k.got, k.want)
		}
	}
	// What is shown first stays in its least layer where it does not fit, if asked.
	for _, k := range []struct {
		floor bool
		shown rtpx.Layer
		want  string
	}{{true, rtpx.MakeLayer(1, 0, 2), "a-v0:E0S0T0 b-v0:none"}, {false, rtpx.MakeLayer(1, 0, 2), "a-v0:none b-v0:none"}, {true, rtpx.NoLayer, "a-v0:none b-v0:none"}} {
		last := map[string]rtpx.Layer{"a-v0": k.shown, "b-v0": 0}
		if got := run(c, Request{Receiver: "me", Constraints: want(-1, 720), Available: 20_000, Table: NewTable([]Source{a, b}, nil), Last: last, Floor: k.floor}); got != k.want {
			t.Errorf("floor %v, shown %v: got %s", k.floor, k.shown, got)
		}
	}
	// A screen on stage may exceed the limit, within measure.
	share := desktop(camera("s-v0", 600))
	r := c.Allocate(Request{Receiver: "me", Constraints: want(-1, -1, "s-v0"), Available: 150_000, Table: NewTable([]Source{share}, nil)})
	if r.Decisions[0].Target == rtpx.NoLayer || !r.Oversending {
		t.Errorf("%+v", r)
	}
	// Assumed bandwidth counts only where it is allowed.
	w := want(-1, 720)
	w.AssumedBandwidth = 60_000
	if got := alloc(Unlimited, w, a); got != "a-v0:E2S0T2" {
		t.Error(got)
	}
	c.AssumedBandwidthLimit = 1_000_000
	if got := alloc(Unlimited, w, a); got != "a-v0:E0S0T0" {
		t.Error(got)
	}
}

// TestNeverBeyondConstraints is the property that every receiver relies on.
func TestNeverBeyondConstraints(t *testing.T) {
	t.Parallel()
	c := DefaultConfig()
	for _, height := range []int{-1, 0, 100, 180, 240, 360, 719, 720, 2160} {
		for _, bps := range []Bitrate{0, 50_000, 300_000, 2_000_000, Unlimited} {
			for _, typ := range []VideoType{Camera, Desktop, DesktopHighFPS, None, Disabled} {
				s := camera("a-v0", 150, 450, 1500)
				s.Type = typ
				d := c.Allocate(Request{Receiver: "me", Constraints: want(-1, height, "a-v0"), Available: bps, Table: NewTable([]Source{s}, nil)}).Decisions[0]
				h := 180 << max(d.Target.Encoding(), 0)
				switch {
				case (height == 0 || !typ.Enabled()) && d.Target != rtpx.NoLayer:
					t.Errorf("%v %d: target %v of what is off", typ, height, d.Target)
				case height > 0 && d.Target != rtpx.NoLayer && h > max(height, 180):
					t.Errorf("%v %d: target %v", typ, height, d.Target)
				case d.Target > d.Ideal:
					t.Errorf("%v %d: target %v beyond ideal %v", typ, height, d.Target, d.Ideal)
				}
			}
		}
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	c := DefaultConfig()
	zero, five := 0, 5
	r := c.Merge(c.Initial(20), Message{LastN: &five}, true)
	if r.LastN != 5 || r.Default.MaxHeight != 180 {
		t.Errorf("first message: %+v", r)
	}
	h := Height(720)
	r = c.Merge(r, Message{Default: &h, PerSource: map[string]Constraint{"a": Height(1), "b": Height(2)}, OnStage: []string{"a"}}, false)
	r = c.Merge(r, Message{LastN: &zero, PerSource: map[string]Constraint{"b": Height(3)}}, false)
	if r.LastN != 0 || r.Default.MaxHeight != 720 || r.of("a").MaxHeight != 720 || r.of("b").MaxHeight != 3 || len(r.OnStage) != 1 {
		t.Errorf("%+v", r)
	}
	if r = c.Merge(r, Message{OnStage: []string{}}, false); len(r.OnStage) != 0 {
		t.Error("an empty list clears")
	}
	for _, s := range []string{"camera", "DESKTOP", "desktop_high_fps", "none", "disabled"} {
		if v := ParseVideoType(s); v.String() != strings.ToUpper(s) {
			t.Error(s, v)
		}
	}
	if ParseVideoType("hologram") != Camera {
		t.Error("unknown video type")
	}
}

// BenchmarkAllocate is one receiver among many senders, all of which it may see.
func BenchmarkAllocate(b *testing.B) {
	for _, n := range []int{25, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var src []Source
			for i := range n {
				src = append(src, camera(fmt.Sprintf("e%d-v0", i), 150, 450, 1500))
			}
			al := Allocator{Config: DefaultConfig()}
			r := Request{Receiver: "e7", Constraints: want(-1, 180, "e3-v0"), Available: 5_000_000, Table: NewTable(src, []string{"e9", "e4"}), Last: map[string]rtpx.Layer{}}
			for _, d := range al.Allocate(&r).Decisions {
				r.Last[d.Source] = d.Target
			}
			b.ReportAllocs()
			for b.Loop() {
				al.Allocate(&r)
			}
		})
	}
}

// What is shown may take more for a moment than there is, what would be better may not;
// and what has just begun counts for what it usually takes.
func TestMomentsAndBeginnings(t *testing.T) {
	t.Parallel()
	s := camera("a-v0", 200, 500, 1500)
	target := func(available Bitrate, last rtpx.Layer) string {
		r := Request{Constraints: want(-1, -1, "a-v0"), Available: available, Table: NewTable([]Source{s}, nil)}
		if last != rtpx.NoLayer {
			r.Last = map[string]rtpx.Layer{"a-v0": last}
		}
		return run(DefaultConfig(), r)
	}
	top := &s.Layers[len(s.Layers)-1]
	top.Bitrate, top.Lasting = 1_900_000, 1_500_000
	if got := target(1_600_000, top.ID); got != "a-v0:E2S0T2" {
		t.Error("a moment of more: " + got)
	}
	if got := target(1_600_000, rtpx.MakeLayer(2, 0, 1)); got != "a-v0:E2S0T1" {
		t.Error("to begin with: " + got)
	}
	// More frames cost no key frame: there need be less to spare for them.
	if got := target(2_000_000, rtpx.MakeLayer(2, 0, 1)); got != "a-v0:E2S0T2" {
		t.Error("more frames: " + got)
	}
	top.Bitrate, s.Layers[7].Bitrate = 1_500_000, 1_400_000
	if got := target(1_500_000, rtpx.MakeLayer(1, 0, 2)); got != "a-v0:E1S0T2" {
		t.Error("another size: " + got)
	}
	for i := range s.Layers {
		s.Layers[i].Bitrate, s.Layers[i].Lasting, s.Layers[i].Fresh = 20_000, 20_000, true
	}
	if got := target(450_000, rtpx.NoLayer); got != "a-v0:E1S0T1" { // of half a megabit
		t.Error("just begun: " + got)
	}
}
