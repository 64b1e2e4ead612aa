// Package roomworld runs the transcripts of rooms: the MUC services on a real
// router, without focus or bridge, which the transcripts play themselves. Clients
// are ports on that router, or log in to a real server over WebSocket.
package roomworld

import (
	"context"
	"log/slog"
	"os"
	"regexp"
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

// World is a main MUC and a brewery on a real router. The clients of a script
// are ports on it, or, but for the focus, bridges and streams, sessions:
//
//	F       the focus; FC answers at focus.meet.example
//	1, 2 …  stock clients u1@meet.example/r1 …
//	P1 …    plain XMPP clients over WebSocket, p1@meet.example/r1
//	T1 …    plain XMPP clients over TCP
//	H1 …    hosts, logged in with an account
//	V1 …    visitors u1@v0.meet.jitsi/v1, through the second login host
//	J1 …    bridges jvb@auth.meet.example/j1
//	R1 …    recorders, recorder@recorder.meet.example/r1
//	1b      a second session of the account of 1
type World struct {
	Router *xmpp.Router
	Main   *muc.Service
	Brew   *muc.Service

	clientOf func(xmpp.Port) muc.Client
	services []*muc.Service
	hosts    []*xmpp.Host
	front    *front // nil: clients are ports
}

// Client is a client of a script: a port on the world's router.
type Client struct {
	world   *World
	jid     xmpp.JID
	release func()

	mu       sync.Mutex
	queue    []string
	directed []xmpp.JID
	closed   bool
}

func (c *Client) JID() xmpp.JID { return c.jid }

func (c *Client) Deliver(s *xmpp.Stanza) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return xmpp.ErrGone
	}
	c.queue = append(c.queue, string(s.Append(nil, c.jid, true)))
	return nil
}

func (c *Client) HandleStanza(_ context.Context, s *xmpp.Stanza, _ bool) error { return c.Deliver(s) }

func (c *Client) Send(x string) error {
	s, err := xmpp.ParseStanza(x, xmpp.Limits{}, xmpp.Scope{Default: xmpp.NSClient})
	if err != nil {
		return err
	}
	s.From = c.jid
	if s.Kind == xmpp.Presence && s.Type != xmpp.TypeError {
		c.mu.Lock()
		c.directed = slices.DeleteFunc(c.directed, func(j xmpp.JID) bool { return j == s.To })
		if s.Type == "" {
			c.directed = append(c.directed, s.To)
		}
		c.mu.Unlock()
	}
	c.world.Router.Route(context.Background(), s)
	return nil
}

func (c *Client) Receive() (string, error) {
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

// Die makes the port one whose owner went without leaving.
func (c *Client) Die() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.release()
}

// Close ends the session as RFC 6121 §4.6 has it: whoever got a directed
// presence gets an unavailable one.
func (c *Client) Close() error {
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
		c.world.Router.RouteNow(xmpp.NewStanza(xmpp.Presence, xmpp.TypeUnavailable, "", c.jid, to, ""))
	}
	return nil
}

// Dial connects a client; it fits script.Env.
func (w *World) Dial(name string) (script.Conn, error) {
	c := &Client{world: w}
	lower := strings.ToLower(name)
	switch {
	case name == "F":
		c.jid = xmpp.MustJID("focus@auth.meet.example/focus")
	case name == "FC":
		c.jid = xmpp.MustJID("focus.meet.example")
		w.Router.Serve("focus.meet.example", c)
		return c, nil
	case name[0] == 'V':
		c.jid = xmpp.MustJID("u" + lower[1:] + "@v0.meet.jitsi/" + lower)
	case lower[0] == 'j':
		c.jid = xmpp.MustJID("jvb@auth.meet.example/" + lower)
	case lower[0] == 'r':
		c.jid = xmpp.MustJID("recorder@recorder.meet.example/" + lower)
	case lower[0] >= '0' && lower[0] <= '9':
		c.jid = xmpp.MustJID("u" + strings.TrimRight(lower, "b") + "@meet.example/r" + lower)
	default:
		c.jid = xmpp.MustJID(lower + "@meet.example/r")
	}
	if w.front != nil && slices.Contains(loginHosts, c.jid.Domain) && lower[0] != 't' {
		return w.front.dial(c.jid, w.Client(c))
	}
	var err error
	c.release, err = w.Router.Bind(c)
	return c, err
}

// Client tells a room of the world about a client, muc.Config.Client: a session says
// all by itself.
func (w *World) Client(p xmpp.Port) muc.Client {
	if _, ok := p.(*xmpp.Session); !ok && w.clientOf != nil {
		return w.clientOf(p)
	}
	return DefaultClient(p)
}

// DefaultClient is what the session of a client says, or what the name of a port
// says its session would.
func DefaultClient(p xmpp.Port) muc.Client {
	if se, ok := p.(*xmpp.Session); ok {
		c := muc.ClientOf(se)
		c.Addr = se.Remote().String()
		return c
	}
	j := p.JID()
	switch j.Local[0] {
	case 'p':
		return muc.Client{In: in(p)}
	case 't':
		return muc.Client{Stream: true, In: in(p)}
	case 'h':
		return muc.Client{Room: "r", Host: true}
	}
	return muc.Client{Room: "r", Token: "unverified"}
}

func in(p xmpp.Port) (out []xmpp.JID) {
	c, ok := p.(*Client)
	if !ok {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, j := range c.directed {
		out = append(out, j.Bare())
	}
	return out
}

type ice struct{}

func (ice) Metadata(user xmpp.JID) []map[string]string {
	return []map[string]string{{"type": "turn", "host": "turn.meet.example", "port": "3478", "transport": "udp", "username": user.Local, "restricted": "1"}}
}

// Options change a world.
type Options struct {
	Config   func(*muc.Config)                 // of the main MUC
	Policy   func(*policy.Config)              // of its pipeline
	ICE      bool                              // metadata tells STUN and TURN servers
	Services []func(*muc.Room) muc.RoomService // beside metadata
	Client   func(xmpp.Port) muc.Client        // in place of DefaultClient; sessions get URL and account from it
	// WebSocket makes clients log in over it; of the clients' own messages those to the
	// domains in Commands are counted apart (xmpp.Config.Commands).
	WebSocket bool
	Commands  []string
	// Build adds components and further services; what it hands to Serve runs with
	// the world.
	Build func(w *World)
}

// New must be called inside a synctest bubble.
func New(t testing.TB, opt Options) *World {
	log := slog.New(slog.DiscardHandler)
	w := &World{Router: xmpp.NewRouter(log), clientOf: opt.Client}
	focus := xmpp.MustJID("focus@auth.meet.example")
	jvb := xmpp.MustJID("jvb@auth.meet.example")
	pol := policy.DefaultConfig()
	if opt.Policy != nil {
		opt.Policy(&pol)
	}
	meta := services.MetadataConfig{Domain: "metadata.meet.example"}
	if opt.ICE {
		meta.ICE = ice{}
	}
	cfg := muc.DefaultConfig()
	cfg.Domain = "conference.meet.example"
	cfg.Admins = []xmpp.JID{focus}
	cfg.Focus = focus
	cfg.FocusService = xmpp.MustJID("focus.meet.example")
	cfg.ServiceDomains = []string{"auth.meet.example", "recorder.meet.example"}
	cfg.Stages = policy.Main(pol)
	cfg.Services = append([]func(*muc.Room) muc.RoomService{services.NewMetadata(meta)}, opt.Services...)
	cfg.Client = w.Client
	if opt.Config != nil {
		opt.Config(&cfg)
	}
	w.Main = muc.NewService(cfg, w.Router, log)
	w.Brew = muc.NewService(muc.Config{
		Domain: "internal.auth.meet.example", Admins: []xmpp.JID{focus, jvb}, Focus: focus, Access: []string{"auth.meet.example"}, Stages: policy.Breweries(map[string]string{"jvbbrewery": jvb.Local}),
	}, w.Router, log)
	w.Serve(w.Main)
	w.Router.ServeTenants(cfg.Domain, w.Main)
	w.Serve(w.Brew)
	w.Router.Serve(meta.Domain, services.NewMetadataComponent(meta, w.Main, w.Router))
	for _, domain := range loginHosts {
		w.hosts = append(w.hosts, xmpp.NewHost(w.Router, domain))
	}
	if opt.Build != nil {
		opt.Build(w)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, sv := range w.services {
		wg.Go(func() { _ = sv.Run(ctx) })
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	if opt.WebSocket {
		w.openFront(t, opt.Commands)
	}
	return w
}

// Serve adds a MUC service to the world.
func (w *World) Serve(sv *muc.Service) {
	w.services = append(w.services, sv)
	w.Router.Serve(sv.Domain().Domain, sv)
}

// Run plays a transcript; it must be called inside the bubble of the world.
func (w *World) Run(t *testing.T, file string) {
	script.RunFile(t, file, script.Env{Dial: w.Dial, Wait: func(d time.Duration) { time.Sleep(d); synctest.Wait() }})
}

// only is a line of a transcript that can't be played in both ways, and says why.
var only = regexp.MustCompile(`(?m)^# (Ports|Sessions) only: .+$`)

// Twice plays a transcript with clients that are ports, and with clients over
// WebSocket, each in a world of its own.
func Twice(t *testing.T, file string, world func(t *testing.T, webSocket bool) *World) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m := only.FindSubmatch(text)
	play := func(t *testing.T, webSocket bool) { world(t, webSocket).Run(t, file) }
	if m == nil {
		Both(t, play)
		return
	}
	synctest.Test(t, func(t *testing.T) { play(t, string(m[1]) == "Sessions") })
}

// Both runs a test in two bubbles, for clients that are ports and for others.
func Both(t *testing.T, test func(t *testing.T, webSocket bool)) {
	for name, webSocket := range map[string]bool{"port": false, "websocket": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { test(t, webSocket) })
		})
	}
}
