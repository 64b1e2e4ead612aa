package relay

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"confab/extdisco/credential"
	"confab/extdisco/stun"
)

// lines hands over each line of a log.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

// textLog writes lines without their time.
func textLog(to lines) *slog.Logger {
	return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

// However much is refused, the log gets a line a minute of it.
func TestFloodsAreOneLineAMinute(t *testing.T) {
	t.Parallel()
	log := make(lines, 16)
	began := time.Unix(1795293600, 0)
	s := &Server{log: textLog(log), began: began, cfg: Config{Now: func() time.Time { return began }}}
	from := netip.MustParseAddrPort("192.0.2.7:4000")
	for _, step := range []struct {
		at   time.Duration
		what func()
		want string // "": nothing
	}{
		{time.Second, func() {}, ""},
		{5 * time.Second, func() {
			s.counters.garbage.Add(1000)
			s.counters.badCredential.Add(2)
			s.summary.unknown(from, "1795293000:k3v9")
			s.summary.unknown(netip.MustParseAddrPort("192.0.2.8:4000"), "another")
		}, `level=INFO msg="turn requests and packets refused" garbage=1000 bad_credentials=2 within=5s first.remote=192.0.2.7:4000 first.username=1795293000:k3v9 first.expired=true`},
		{64 * time.Second, func() { s.counters.garbage.Add(1) }, ""},
		{65 * time.Second, func() { s.counters.overQuota.Add(3) }, `level=WARN msg="turn requests and packets refused" garbage=1 over_quota=3 within=1m0s`},
		{time.Hour, func() {}, ""},
		{2 * time.Hour, func() {
			s.counters.refused(stun.CodeInsufficientCapacity)
			s.summary.unable(errors.New("too many open files"))
			s.summary.unknown(from, "a\n\xff"+strings.Repeat("x", 400))
		}, `level=WARN msg="turn requests and packets refused" no_capacity=1 within=1h58m55s first.remote=192.0.2.7:4000 first.username="a\n?` +
			strings.Repeat("x", 77) + `" first.expired=false err="too many open files"`},
	} {
		step.what()
		s.summarize(began.Add(step.at))
		got := ""
		select {
		case got = <-log:
		default:
		}
		if strings.TrimSpace(got) != step.want {
			t.Errorf("after %v: %s, not %s", step.at, got, step.want)
		}
	}
}

// A running relay tells of garbage and of a credential that is not good, and of many
// ends no more than its bound a second.
func TestRelayTellsWhatItRefused(t *testing.T) {
	t.Parallel()
	log := make(lines, 1024)
	peer := echo(t)
	cfg := DefaultConfig()
	cfg.Realm, cfg.Credentials, cfg.Loops = "meet.example", secrets{"north"}, 1
	cfg.UDP, cfg.Relays = []netip.AddrPort{netip.AddrPortFrom(loopback, 0)}, []Address{{Bind: loopback, Public: loopback}}
	cfg.Peers.Announced = func(ap netip.AddrPort) bool { return ap == peer }
	s, err := Listen(cfg, textLog(log))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := net.Dial("udp", s.UDPAddrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(bytes.Repeat([]byte{0xff}, 100)); err != nil {
		t.Fatal(err)
	}
	select {
	case line := <-log:
		if !strings.Contains(line, "turn requests and packets refused") || !strings.Contains(line, "garbage=1") {
			t.Error(line)
		}
	case <-time.After(time.Minute):
		t.Fatal("the log says nothing of garbage")
	}
	if _, err := dialOf(t, s, "udp", credential.Secrets{"south"}, time.Hour); err == nil {
		t.Fatal("allocated with another secret")
	}
	if who := s.summary.stranger.Load(); who == nil || !strings.HasSuffix(who.username, ":k3v9") {
		t.Errorf("%+v", who)
	}

	now := time.Unix(1795293600, 0)
	one := &Server{log: textLog(log), registry: newRegistry(), cfg: Config{Now: func() time.Time { return now }}}
	for i := range endLines + 50 {
		a := &allocation{server: one, number: uint64(i), user: "k3v9", loop: s.loops[0], began: now}
		a.client.Store(&client{leg: s.locals[0], addr: peer})
		if !one.finish(a, "deleted") || one.finish(a, "deleted") {
			t.Fatal("an allocation ends once")
		}
	}
	if n := one.counters.untold.Load(); n != 50 || len(log) != endLines {
		t.Errorf("%d lines, %d untold", len(log), n)
	}
	for len(log) > 0 {
		if line := <-log; !strings.Contains(line, `msg="allocation ended"`) || !strings.Contains(line, "reason=deleted") {
			t.Fatal(line)
		}
	}
}
