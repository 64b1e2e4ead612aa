package bridge

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"confab/bridge/forward"
	"confab/bridge/rtpx"
	"confab/bridge/transport"
	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
)

// inBrewery lets the bridge into its brewery and returns its presences.
func (w *world) inBrewery() <-chan colibri2.Stats {
	w.t.Helper()
	out := make(chan colibri2.Stats, 64)
	var made atomic.Pointer[xmpp.LocalPort]
	room, err := w.router.NewLocalPort(w.s.cfg.Brewery.WithResource(w.s.cfg.ID), func(st *xmpp.Stanza) error {
		if st.Kind == xmpp.Presence && st.Type == "" {
			out <- colibri2.ParseStats(st.Child(colibri2.NSStats, "stats"))
			for made.Load() == nil {
				runtime.Gosched()
			}
			made.Load().Send(xmpp.NewStanza(xmpp.Presence, "", "", xmpp.JID{}, w.s.cfg.JID, st.Inner))
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	made.Store(room)
	return out
}

// until reads presences up to one that says so.
func (w *world) until(presences <-chan colibri2.Stats, key, value string) {
	w.t.Helper()
	for deadline := time.After(patience); ; {
		select {
		case s := <-presences:
			if s[key] == value {
				return
			}
		case <-deadline:
			w.t.Fatalf("no presence with %s=%s", key, value)
		}
	}
}

func TestSelfTest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	before := w.s.engine.Stats()
	if err := w.s.selfTest(ctx); err != nil {
		t.Fatal(err)
	}
	after := w.s.engine.Stats()
	if after.Received == before.Received || after.Sent == before.Sent {
		t.Errorf("no packet passed through the engine: %+v", after)
	}
	if st := w.s.sockets.Stats(); st.Transports != 0 || st.Addresses != 0 {
		t.Errorf("left behind: %+v", st)
	}
}

// A bridge through which nothing passes says so, to the focus as well.
func TestIllBridge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.HealthInterval, c.HealthTimeout = time.Minute, 300*time.Millisecond })
	presences := w.inBrewery()
	w.until(presences, colibri2.StatHealthy, "true")
	health := func() error {
		iq := xmpp.NewStanza(xmpp.IQ, xmpp.TypeGet, "", xmpp.JID{}, w.s.cfg.JID, `<healthcheck xmlns="`+colibri2.NSHealth+`"/>`)
		_, err := w.focus.Request(t.Context(), iq, patience)
		return err
	}
	for w.s.Ready() != nil { // until the brewery's echo has come
		runtime.Gosched()
	}
	if err := health(); err != nil {
		t.Fatal(err)
	}
	// One failure is none.
	h := &w.s.health
	set := func(failures int, done time.Time) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.failures, h.err, h.done = failures, errors.New("deaf"), done
	}
	set(healthTries-1, now())
	if err := w.s.Ready(); err != nil {
		t.Error(err)
	}
	set(healthTries, now())
	w.s.tell()
	w.until(presences, colibri2.StatHealthy, "false")
	se, _ := health().(*xmpp.StanzaError)
	if se == nil || se.Cond != xmpp.CondInternalServerError || !strings.Contains(se.Text, "deaf") || w.s.Ready() == nil {
		t.Errorf("%v, %v", se, w.s.Ready())
	}
	// A test that never ends says as much as one that fails.
	set(0, now().Add(-2*time.Minute))
	if err := w.s.Ready(); err == nil || !strings.Contains(err.Error(), "come to an end") {
		t.Error(err)
	}
}

// Nothing leaves the socket: the test finds out.
func TestSelfTestFails(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	var two [2]*transport.Sockets
	for i := range two {
		tc := transport.DefaultConfig()
		tc.Port, tc.Bind, tc.PublicAddresses = 0, []string{"127.0.0.1"}, []string{"127.0.0.1"}
		var err error
		if two[i], err = transport.Listen(tc, log); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = two[i].Close() })
	}
	sockets := two[0]
	engine := forward.NewEngine(forward.Config{Workers: 1, NewBatch: NewBatches(two[1])}) // writes elsewhere
	cfg := DefaultConfig()
	cfg.HealthTimeout = patience
	s := &Service{cfg: cfg, log: log, sockets: sockets, engine: engine}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watched := make(chan struct{})
	go func() { // it waits long enough when the engine has sent a few packets
		defer close(watched)
		for ctx.Err() == nil && engine.Stats().Sent < 3 {
			runtime.Gosched()
		}
		cancel()
	}()
	if err := s.selfTest(ctx); err == nil || !strings.Contains(err.Error(), "not heard") {
		t.Errorf("test through a bridge that is dumb: %v", err)
	}
	cancel()
	<-watched
	_ = engine.Close()
	if err := s.selfTest(t.Context()); err == nil {
		t.Error("test through an engine that is closed")
	}
	_ = sockets.Close()
	if err := s.selfTest(t.Context()); err == nil {
		t.Error("test through a socket that is closed")
	}
}

func TestGracefulShutdown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.ShutdownDelay = time.Hour })
	presences := w.inBrewery()
	w.until(presences, colibri2.StatGracefulShutdown, "false")
	w.must(createFirst)
	w.s.Drain(true)
	w.until(presences, colibri2.StatDrain, "true")
	if err := w.s.Ready(); err != nil {
		t.Errorf("draining takes everything: %v", err)
	}
	w.s.Drain(false)
	w.until(presences, colibri2.StatDrain, "false")

	w.s.Shutdown(true)
	w.until(presences, colibri2.StatGracefulShutdown, "true")
	if w.s.Ready() == nil {
		t.Error("ready in a shutdown")
	}
	if _, e := w.ask(strings.Replace(createFirst, `"m1"`, `"m2"`, 1)); e == nil || e.Reason != colibri2.ReasonGracefulShutdown || e.Stanza.Cond != xmpp.CondServiceUnavailable {
		t.Errorf("another conference: %v", e)
	}
	w.must(modify(endpointB()))
	select {
	case <-w.s.Over():
		t.Fatal("over while two are there")
	default:
	}
	w.must(modify(`<endpoint id="aaaaaaaa" expire="true"/><endpoint id="bbbbbbbb" expire="true"/>`))
	w.until(presences, colibri2.StatShuttingDown, "true")
	select {
	case <-w.s.Over():
	case <-time.After(patience):
		t.Fatal("not over though nobody is there")
	}
}

func TestForcedShutdown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.ShutdownDelay = 50 * time.Millisecond })
	presences := w.inBrewery()
	w.until(presences, colibri2.StatShuttingDown, "false")
	w.must(createFirst)
	w.s.Shutdown(true)
	w.s.Shutdown(false)
	w.s.Shutdown(true) // changes nothing any more
	w.until(presences, colibri2.StatShuttingDown, "true")
	<-w.s.Over()
	if n := w.s.endpoints(); n != 1 {
		t.Errorf("%d endpoints: it only tells, the focus moves them", n)
	}
}

// A graceful shutdown has an end, too.
func TestGracefulShutdownIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.ShutdownMax, c.ShutdownDelay = 50*time.Millisecond, time.Millisecond })
	w.must(createFirst)
	w.s.Shutdown(true)
	<-w.s.Over()
}

func TestReducer(t *testing.T) {
	t.Parallel()
	at := time.Unix(1000, 0)
	r := reducer{lastN: -1}
	for _, step := range []struct {
		what  string
		after time.Duration
		level float64
		most  int
		want  int
	}{
		{"idle", 0, 0.2, 30, -1},
		{"a moment of load", 5 * time.Second, 1.2, 30, -1},
		{"is none", 5 * time.Second, 0.9, 30, -1},
		{"load", 5 * time.Second, 1.2, 30, -1},
		{"that lasts", 10 * time.Second, 1.1, 30, 22},
		{"once a minute", 10 * time.Second, 1.3, 22, 22},
		{"again", 50 * time.Second, 1.3, 22, 16},
		{"some load is left", 2 * time.Minute, 0.9, 16, 16},
		{"less", time.Second, 0.7, 16, 20},
		{"once a minute", 10 * time.Second, 0.1, 20, 20},
		{"up", 50 * time.Second, 0.1, 20, 25},
		{"up", time.Minute, 0.1, 20, 31},
		{"up", time.Minute, 0.1, 20, 38},
		{"and away", time.Minute, 0.1, 20, -1},
		{"load", time.Hour, 1, 5, -1},
		{"in small meetings", time.Minute, 1, 5, 4},
		{"has an end", time.Minute, 1, 4, 4},
	} {
		at = at.Add(step.after)
		was := r.lastN
		if changed := r.step(at, step.level, step.most); r.lastN != step.want || changed != (was != step.want) {
			t.Errorf("%s: %d, want %d; changed %v", step.what, r.lastN, step.want, changed)
		}
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	at := time.Unix(1000, 0)
	l := load{maxCPU: 0.5, maxPackets: 1000, maxEgress: 1_000_000}
	cpu := func(busy, idle string) string { return "cpu  " + busy + " 0 0 " + idle + " 0 0 0 0 0 0\n" }
	for _, step := range []struct {
		what string
		stat string
		t    traffic
		want float64
	}{
		{"the first has nothing before it", cpu("1000", "1000"), traffic{packetsIn: 1e6, overflows: 7}, 0},
		{"a quarter of the processors", cpu("1250", "1750"), traffic{packetsIn: 1e6, overflows: 7}, 0.5},
		{"packets", cpu("1250", "2750"), traffic{packetsIn: 1e6 + 5000, packetsOut: 2000, overflows: 7}, 0.7},
		{"bits", cpu("1250", "3750"), traffic{packetsIn: 1e6 + 5000, packetsOut: 2000, bytesOut: 1e6, overflows: 7}, 0.8},
		{"losses", "", traffic{packetsIn: 1e6 + 5000, packetsOut: 2000, bytesOut: 1e6, overflows: 8}, lossLoad},
	} {
		l.sample(at, step.stat, step.t)
		if got := l.level(); got < step.want-1e-9 || got > step.want+1e-9 {
			t.Errorf("%s: %v, want %v", step.what, got, step.want)
		}
		at = at.Add(10 * time.Second)
	}
	was := l.level()
	l.sample(at.Add(-9500*time.Millisecond), cpu("9", "9"), traffic{})
	if l.level() != was {
		t.Error("two samples at once")
	}
}

func TestLastNBySize(t *testing.T) {
	t.Parallel()
	limits := map[int]int{20: 10, 50: 5, 0: -1}
	for size, want := range map[int]int{1: -1, 19: -1, 20: 10, 49: 10, 50: 5, 500: 5} {
		if got := lastNLimit(limits, size); got != want {
			t.Errorf("%d: %d, want %d", size, got, want)
		}
	}
	if lastNLimit(nil, 7) != -1 {
		t.Error("a limit out of nothing")
	}
	// Whichever bound is lower holds.
	s := &Service{cfg: Config{LastNLimits: limits}}
	c := &Conference{s: s}
	for _, x := range []struct{ load, wants, sources, got int }{
		{-1, -1, 5, -1}, {-1, 3, 5, 3}, {-1, -1, 19, 10}, {-1, 0, 60, 0}, {7, -1, 19, 7}, {7, 2, 19, 2}, {7, -1, 60, 5},
	} {
		s.lastN.Store(int32(x.load + 1))
		if got := c.boundLastN(x.wants, x.sources); got != x.got {
			t.Errorf("%+v: %d", x, got)
		}
	}
}

// The others are told when somebody never comes, and at last the endpoint goes.
func TestWhoNeverComes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) {
		c.InactiveNever, c.IdleTimeout = 100*time.Millisecond, 5*time.Second
	})
	a := w.dial(w.must(createFirst), "aaaaaaaa")
	w.must(modify(endpointB()))
	seen := map[any]bool{}
	for len(seen) < 2 {
		m := w.expect(a, "EndpointConnectivityStatusChangeEvent")
		if m["active"] != "false" { // a string, or LJM does not read it
			t.Fatalf("%v", m)
		}
		seen[m["endpoint"]] = true
	}
	expired := func() uint64 { return w.s.Stats().EndpointsExpired } // counted when it is gone
	for w.conference() != nil && (w.conference().size.Load() > 0 || expired() < 2) {
		runtime.Gosched()
	}
	if n := expired(); n != 2 {
		t.Errorf("%d expired", n)
	}
}

// Channels may come and go; what was said is said again to the new one, once.
func TestChannelComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.must(createFirst)
	b := w.dial(w.must(modify(endpointB())), "bbbbbbbb")
	w.must(modify(`<endpoint id="aaaaaaaa">` + sourcesOfA + `</endpoint>`))
	w.say(b, `{"colibriClass":"ReceiverVideoConstraints","lastN":-1,"defaultConstraints":{"maxHeight":360}}`)
	for len(w.expect(b, "ForwardedSources")["forwardedSources"].([]any)) == 0 {
	}
	for range 3 {
		a := w.dial(m, "aaaaaaaa")
		w.expect(a, "ServerHello")
		if got := w.expect(a, "SenderSourceConstraints"); got["maxHeight"] != 360.0 || got["sourceName"] != "aaaaaaaa-v0" {
			t.Errorf("%v", got)
		}
		if got := w.expect(a, "ForwardedSources"); len(got["forwardedSources"].([]any)) != 0 {
			t.Errorf("%v", got)
		}
		_ = a.CloseNow() // cut, as a network does it
	}
}

func TestCensus(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.StatsInterval = 10 * time.Millisecond })
	w.must(createFirst)
	w.must(modify(strings.Replace(endpointB(), `create="true"`, `create="true" muc-role="visitor"`, 1)))
	for w.s.Stats().Census.Visitors != 1 {
		runtime.Gosched()
	}
	st := w.s.Stats()
	if n := st.Census; st.Conferences != 1 || st.Endpoints != 2 || n.Largest != 2 || n.Sizes.Of[2] != 1 || n.Sizes.Sum != 2 || n.Talkers.Of[0] != 1 || n.ConferencesSilent != 1 || n.ConferencesP2P != 1 || n.Idle != 2 || n.ReceiveOnly != 0 {
		t.Errorf("%+v", st)
	}
	if st.EndpointsCreated != 2 || st.VisitorsCreated != 1 || st.ConferencesCreated != 1 || st.ConferencesCompleted != 0 || st.LastN != -1 {
		t.Errorf("%+v", st)
	}
	w.must(modify(`<endpoint id="aaaaaaaa" expire="true"/><endpoint id="bbbbbbbb" expire="true"/>`))
	for w.s.Stats().ConferencesCompleted != 1 {
		runtime.Gosched()
	}
	if n := w.s.Stats().Census; n.Largest != 0 || n.Visitors != 0 {
		t.Errorf("%+v", n)
	}
}

// evHold keeps the conference's goroutine, so that a test may touch what is its own.
type evHold struct{ held, release chan struct{} }

func (e evHold) apply(*Conference) {
	close(e.held)
	<-e.release
}

// A panic about a packet ends the endpoint that sent it, and nothing else: ICE that
// went on would have its client wait for media that never comes.
func TestPanicEndsTheEndpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(createFirst)
	w.must(modify(endpointB()))
	c := w.conference()
	hold := evHold{make(chan struct{}), make(chan struct{})}
	if err := c.put(hold); err != nil {
		t.Fatal(err)
	}
	<-hold.held
	ep := c.endpoints["aaaaaaaa"]
	good := ep.fwd
	ep.fwd = &forward.Endpoint{} // knows no conference, and panics

	far := &probe{connected: make(chan struct{}, 2)}
	tc := transport.DefaultConfig()
	tc.Port, tc.Bind, tc.PublicAddresses = 0, []string{"127.0.0.1"}, []string{"127.0.0.1"}
	var err error
	if far.sockets, err = transport.Listen(tc, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	defer far.close()
	if far.far, err = far.sockets.New(transport.TransportConfig{Controlled: true, Log: slog.New(slog.DiscardHandler)}, farEnd{far}); err != nil {
		t.Fatal(err)
	}
	ours, theirs := ep.transport.Local(), far.far.Local()
	ours.Fingerprints[0].Setup, theirs.Fingerprints[0].Setup = "passive", "active"
	if err := errors.Join(ep.transport.SetRemote(theirs), far.far.SetRemote(ours)); err != nil {
		t.Fatal(err)
	}
	<-far.connected
	batch := far.sockets.NewBatch(0)
	for seq := uint16(0); w.s.sockets.Stats().Panics == 0; seq++ {
		b := make([]byte, rtpx.HeaderSize, rtpx.HeaderSize+8)
		rtpx.PutHeader(b, 111, false, seq, 960*uint32(seq), 7)
		if err := batch.Add(far.far, append(b, 1, 2, 3, 4, 5, 6, 7, 8)); err != nil {
			t.Fatal(err)
		}
		batch.Flush()
		runtime.Gosched()
	}
	ep.fwd = good
	close(hold.release)
	for c.size.Load() != 1 {
		runtime.Gosched()
	}
	if _, e := w.ask(modify(`<endpoint id="aaaaaaaa"><sources/></endpoint>`)); e == nil || e.Reason != colibri2.ReasonUnknownEndpoint {
		t.Errorf("the focus is told %v", e)
	}
	w.must(modify(`<endpoint id="bbbbbbbb"><sources/></endpoint>`))
}
