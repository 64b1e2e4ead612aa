package muc_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"confab/internal/meettest/script"
	"confab/muc"
	"confab/muc/policy"
	"confab/muc/services"
	"confab/xmpp"
)

// world is a main MUC and a brewery on a real router. The clients of a script
// are ports on it:
//
//	F       the focus; FC answers at focus.meet.example
//	1, 2 …  stock clients u1@meet.example/r1 …
//	P1 …    plain XMPP clients over WebSocket, p1@meet.example/r1
//	T1 …    plain XMPP clients over TCP
//	H1 …    hosts, logged in with an account
//	J1 …    bridges jvb@auth.meet.example/j1
//	1b      a second session of the account of 1
type world struct {
	router *xmpp.Router
	main   *muc.Service
	brew   *muc.Service

	mu      sync.Mutex
	clients map[string]*client
}

type client struct {
	w       *world
	jid     xmpp.JID
	release func()

	mu       sync.Mutex
	queue    []string
	directed []xmpp.JID
	closed   bool
}

func (c *client) JID() xmpp.JID { return c.jid }

func (c *client) Deliver(s *xmpp.Stanza) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return xmpp.ErrGone
	}
	c.queue = append(c.queue, string(s.Append(nil, c.jid, true)))
	return nil
}

func (c *client) HandleStanza(_ context.Context, s *xmpp.Stanza, _ bool) error { return c.Deliver(s) }

func (c *client) Send(x string) error {
	s, err := xmpp.ParseStanza(x, xmpp.Limits{}, xmpp.Scope{Default: xmpp.NSClient})
	if err != nil {
		return err
	}
	s.From = c.jid
	if s.Kind == xmpp.Presence && s.Type != xmpp.TypeError {
		c.directed = slices.DeleteFunc(c.directed, func(j xmpp.JID) bool { return j == s.To })
		if s.Type == "" {
			c.directed = append(c.directed, s.To)
		}
	}
	c.w.router.Route(context.Background(), s)
	return nil
}

func (c *client) Receive() (string, error) {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		return "", nil
	}
	x := c.queue[0]
	c.queue = c.queue[1:]
	return x, nil
}

// Close ends the session as RFC 6121 §4.6 has it: whoever got a directed
// presence gets an unavailable one.
func (c *client) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	directed := c.directed
	c.mu.Unlock()
	if c.release != nil {
		c.release()
	}
	for _, to := range directed {
		c.w.router.RouteNow(xmpp.NewStanza(xmpp.Presence, xmpp.TypeUnavailable, "", c.jid, to, ""))
	}
	return nil
}

func (w *world) dial(name string) (script.Conn, error) {
	c := &client{w: w}
	lower := strings.ToLower(name)
	switch {
	case name == "F":
		c.jid = xmpp.MustJID("focus@auth.meet.example/focus")
	case name == "FC":
		c.jid = xmpp.MustJID("focus.meet.example")
		w.router.Serve("focus.meet.example", c)
		return c, nil
	case lower[0] == 'j':
		c.jid = xmpp.MustJID("jvb@auth.meet.example/" + lower)
	case lower[0] >= '0' && lower[0] <= '9':
		c.jid = xmpp.MustJID("u" + strings.TrimRight(lower, "b") + "@meet.example/r" + lower)
	default:
		c.jid = xmpp.MustJID(lower + "@meet.example/r")
	}
	var err error
	c.release, err = w.router.Bind(c)
	return c, err
}

func (w *world) client(p xmpp.Port) muc.Client {
	j := p.JID()
	switch j.Local[0] {
	case 'p':
		return muc.Client{}
	case 't':
		return muc.Client{Stream: true}
	case 'h':
		return muc.Client{Room: "r", Host: true}
	}
	return muc.Client{Room: "r", Token: "unverified"}
}

type ice struct{}

func (ice) Metadata(user xmpp.JID) []map[string]string {
	return []map[string]string{{"type": "turn", "host": "turn.meet.example", "port": "3478", "transport": "udp", "username": user.Local, "restricted": "1"}}
}

type options struct {
	cfg    func(*muc.Config)
	policy func(*policy.Config)
	ice    bool
}

// newWorld must be called inside a synctest bubble.
func newWorld(t testing.TB, opt options) *world {
	log := slog.New(slog.DiscardHandler)
	w := &world{router: xmpp.NewRouter(log), clients: map[string]*client{}}
	focus := xmpp.MustJID("focus@auth.meet.example")
	jvb := xmpp.MustJID("jvb@auth.meet.example")
	pol := policy.DefaultConfig()
	if opt.policy != nil {
		opt.policy(&pol)
	}
	meta := services.MetadataConfig{Domain: "metadata.meet.example"}
	if opt.ice {
		meta.ICE = ice{}
	}
	cfg := muc.DefaultConfig()
	cfg.Domain = "conference.meet.example"
	cfg.Admins = []xmpp.JID{focus}
	cfg.Focus = focus
	cfg.FocusService = xmpp.MustJID("focus.meet.example")
	cfg.ServiceDomains = []string{"auth.meet.example", "recorder.meet.example"}
	cfg.Stages = policy.Main(pol)
	cfg.Services = []func(*muc.Room) muc.RoomService{services.NewMetadata(meta)}
	cfg.Client = w.client
	if opt.cfg != nil {
		opt.cfg(&cfg)
	}
	w.main = muc.NewService(cfg, w.router, log)
	w.brew = muc.NewService(muc.Config{
		Domain: "internal.auth.meet.example", Admins: []xmpp.JID{focus, jvb}, Focus: focus, Access: []string{"auth.meet.example"}, Stages: policy.Internal,
	}, w.router, log)
	w.router.Serve(cfg.Domain, w.main)
	w.router.Serve("internal.auth.meet.example", w.brew)
	w.router.Serve(meta.Domain, services.NewMetadataComponent(meta, w.main, w.router))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.main.Run(ctx) })
	wg.Go(func() { _ = w.brew.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return w
}

// scripts are the transcripts and the worlds that they run in.
var scripts = map[string]options{
	"join":     {ice: true},
	"metadata": {ice: true},
	"capacity": {policy: func(c *policy.Config) { c.MaxOccupants = 2 }},
	"linger":   {cfg: func(c *muc.Config) { c.Linger = 20 * time.Second }},
	"everyone": {policy: func(c *policy.Config) { c.EverybodyModerates = true }},
	"presence": {cfg: func(c *muc.Config) { c.PresenceBytes = 700 }},
}

func TestTranscripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.xmpp")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".xmpp")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, scripts[name])
				script.RunFile(t, f, script.Env{Dial: w.dial, Wait: func(d time.Duration) { time.Sleep(d); synctest.Wait() }})
			})
		})
	}
}
