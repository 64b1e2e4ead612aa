package bridge

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"confab/bridge/alloc"
	"confab/bridge/forward"
	"confab/bridge/rtpx"
	"confab/xmpp/xep/colibri2"
)

// BenchmarkAllocation is one receiver of a conference of 100 whose estimate changed,
// with everybody's camera on: in tiles of all, and with one on stage.
func BenchmarkAllocation(b *testing.B) {
	const n = 100
	engine := forward.NewEngine(forward.Config{Workers: 1, Tick: -1})
	defer func() { _ = engine.Close() }()
	pipe, err := engine.NewPipeline("bench")
	if err != nil {
		b.Fatal(err)
	}
	c := newConference(&Service{cfg: DefaultConfig(), log: slog.New(slog.DiscardHandler), engine: engine}, &colibri2.Modify{MeetingID: "bench"}, pipe)
	for i := range n {
		id := fmt.Sprintf("%08x", i)
		ep := &endpoint{c: c, id: id, videoTypes: map[string]alloc.VideoType{}, told: map[string]told{}, unwanted: map[string]time.Time{}, want: c.s.cfg.Alloc.Initial(-1)}
		if ep.fwd, err = pipe.Attach(forward.EndpointConfig{ID: id, Media: videoMedia()}); err != nil {
			b.Fatal(err)
		}
		c.endpoints[id] = ep
		c.order = append(c.order, ep)
		src := forward.Source{Name: id + "-v0", Kind: forward.Video}
		for e := range 3 {
			src.Encodings = append(src.Encodings, forward.Encoding{SSRC: uint32(100*i + 2*e + 1), RTX: uint32(100*i + 2*e + 2)})
		}
		c.setSources(ep, []source{{Source: src}})
		ep.want.Default = alloc.Height(180)
	}
	c.allocate()
	ep := c.order[50]
	b.Run("estimate", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.dirty[ep] = true
			c.allocate()
		}
	})
	b.Run("everybody", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.allDirty = true
			c.allocate()
		}
	})
	b.Run("stage", func(b *testing.B) {
		names := []string{c.order[1].id + "-v0", c.order[2].id + "-v0"}
		i := 0
		b.ReportAllocs()
		for b.Loop() {
			i++
			ep.want.OnStage = names[i%2 : i%2+1]
			ep.want.PerSource = map[string]alloc.Constraint{names[i%2]: alloc.Height(720)}
			c.dirty[ep] = true
			c.allocate()
		}
	})
}

func TestHeightsOfManyReceivers(t *testing.T) {
	t.Parallel()
	var h heights
	for _, k := range []struct{ from, to, want int }{
		{0, 180, 180}, {0, 180, 180}, {0, 720, 720}, {720, 360, 360}, {0, -1, -1}, {360, 0, -1}, {-1, 0, 180}, {180, 0, 180}, {180, 0, 0}, {0, 0, 0},
	} {
		h.change(k.from, k.to)
		if got := h.max(); got != k.want {
			t.Errorf("from %d to %d: %d, want %d", k.from, k.to, got, k.want)
		}
	}
	if len(h.counts) != 0 {
		t.Error(h.counts)
	}
}

// What did not last is not tried again at once, and less and less often.
func TestClimbRests(t *testing.T) {
	t.Parallel()
	var k climb
	at := time.Unix(1000, 0)
	up, down := func() { k.decided(true, false, true, 500_000, at) }, func() { k.decided(false, true, false, 150_000, at) }
	up()
	if k.limit(600_000, at) != 0 {
		t.Error("limited before anything failed")
	}
	at = at.Add(3 * time.Second)
	down()
	if l := k.limit(600_000, at); l == 0 || l >= 500_000 {
		t.Error("tried again at once", l)
	}
	if k.limit(900_000, at) != 0 {
		t.Error("much more is there, and not tried")
	}
	for _, rest := range []time.Duration{climbRest, 2 * climbRest, 4 * climbRest, 8 * climbRest, climbMaxRest, climbMaxRest} {
		if at = at.Add(rest - time.Second); k.limit(600_000, at) == 0 {
			t.Errorf("tried after less than %v", rest)
		}
		if at = at.Add(2 * time.Second); k.limit(600_000, at) != 0 {
			t.Errorf("not tried after %v", rest)
		}
		up()
		at = at.Add(time.Second)
		down()
	}
	// One that lasted is forgiven.
	at = at.Add(climbMaxRest)
	up()
	at = at.Add(climbTrial + time.Second)
	k.limit(600_000, at)
	down()
	if k.limit(600_000, at) != 0 || k.failures != 0 {
		t.Errorf("%+v", k)
	}
}

// A sender that goes on with what it was told to stop is told again, some times; one
// that obeys is left alone.
func TestSenderIsTold(t *testing.T) {
	t.Parallel()
	inStudio(t, func(s *studio) {
		k := s.camera("alice", 10, alloc.Camera, 150_000, 500_000, 1_500_000)
		k.ep.sctp = false
		v := s.viewer("bob", 50_000_000, 10*time.Millisecond)
		v.wants(180)
		s.run(2 * time.Second)
		if k.ep.told["alice-v0"].times != 0 {
			t.Error("told without a channel")
		}
		s.c.tell(k.ep, "alice-v0", told{height: 180})
		for range 20 {
			s.run(time.Second)
			s.c.remind(k.ep, time.Now())
		}
		if n := k.ep.told["alice-v0"].times; n != maxTold {
			t.Errorf("told %d times", n)
		}
		k.set(1, 0)
		k.set(2, 0)
		s.run(2 * time.Second)
		s.c.tell(k.ep, "alice-v0", told{height: 360})
		for range 10 {
			s.run(time.Second)
			s.c.remind(k.ep, time.Now())
		}
		if at := k.ep.told["alice-v0"].at; time.Since(at) < 8*time.Second {
			t.Errorf("told again though it sends less: %v", time.Since(at))
		}
	})
}

// What receivers want is counted as they come, change and go.
func TestWishesAreTakenBack(t *testing.T) {
	t.Parallel()
	inStudio(t, func(s *studio) {
		s.camera("alice", 10, alloc.Camera, 150_000)
		s.camera("carol", 20, alloc.Camera, 150_000)
		v, x := s.viewer("bob", 50_000_000, 10*time.Millisecond), s.viewer("dave", 50_000_000, 10*time.Millisecond)
		v.wants(720)
		x.wants(180)
		s.run(100 * time.Millisecond)
		if h := s.c.heights["alice-v0"].max(); h != 720 {
			t.Error(h)
		}
		s.c.forgetWishes(v.ep)
		delete(s.c.endpoints, "bob")
		if h := s.c.heights["alice-v0"].max(); h != 180 {
			t.Error(h)
		}
		// A source that goes away is wanted by nobody.
		s.c.setSources(s.c.endpoints["alice"], nil)
		s.c.order = s.c.order[:2]
		s.c.order = append(s.c.order, x.ep)
		s.screen = s.screen[1:]
		s.run(100 * time.Millisecond)
		if s.c.heights["alice-v0"] != nil || x.ep.alloc.effective["carol-v0"] != 180 {
			t.Errorf("%+v %+v", s.c.heights, x.ep.alloc)
		}
		if _, ok := x.ep.alloc.targets["alice-v0"]; ok {
			t.Error("a target of a source that is gone")
		}
	})
}

func TestSilentLayersComeWhenThereIsRoom(t *testing.T) {
	t.Parallel()
	inStudio(t, func(s *studio) {
		k := s.camera("alice", 10, alloc.Camera, 150_000, 500_000, 0)
		v := s.viewer("bob", 50_000_000, 10*time.Millisecond)
		v.wants(720, "alice-v0")
		s.run(5 * time.Second)
		if l := v.last().layer; l.Encoding() < 1 {
			t.Errorf("%v while the best layer is silent", l)
		}
		k.set(2, 1_500_000)
		s.run(8 * time.Second)
		if st := v.ep.fwd.Bandwidth(); st.Video < 1_000_000 || v.last().layer != rtpx.MakeLayer(2, 0, 2) {
			t.Errorf("%+v", st)
		}
	})
}
