package extdisco

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"confab/extdisco/probe"
	"confab/internal/guard"
)

// Health probes the STUN and TURN servers that are not ours: one that fails
// maxFailures times in a row leaves the answers, and is back with the first success
// (turn.md §11). Before the first probe all are up.
type Health struct {
	interval time.Duration
	probe    func(context.Context, Server) error
	changed  func()
	log      *slog.Logger
	guard    *guard.Guard // of the probes

	mu      sync.Mutex
	servers map[string]*condition // by key
	wake    chan struct{}         // there are other servers
}

// condition is what is known of one server.
type condition struct {
	Server
	failures int // in a row, at most maxFailures
}

const (
	// maxFailures are the probes that a server may fail before it leaves.
	maxFailures = 3

	// probeTimeout is what a probe may take. Over UDP its request is sent again
	// meanwhile, so that a lost packet is no failure.
	probeTimeout = 5 * time.Second

	// maxProbes bounds the probes under way at a time.
	maxProbes = 16
)

// NewHealth returns one that knows no server. Run probes every interval and calls
// changed, on its own goroutine, when a server has come or gone.
func NewHealth(interval time.Duration, changed func(), log *slog.Logger) *Health {
	return &Health{interval: interval, probe: Probe, changed: changed, log: log, guard: guard.New("turn probes", log),
		servers: map[string]*condition{}, wake: make(chan struct{}, 1)}
}

// Watch replaces the servers that are probed. Own ones are left out, and
// those that can't be probed: TURN over DTLS. What is known of one that stays is kept.
func (h *Health) Watch(servers []Server) {
	h.mu.Lock()
	old := h.servers
	h.servers = map[string]*condition{}
	for _, s := range servers {
		if s.Own || s.Type == "turns" && s.Transport == "udp" {
			continue
		}
		if c := old[s.key()]; c != nil {
			h.servers[s.key()] = c
			continue
		}
		h.servers[s.key()] = &condition{Server: s}
	}
	h.mu.Unlock()
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Up implements Reachable.
func (h *Health) Up(s Server) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.servers[s.key()]
	return c == nil || c.failures < maxFailures
}

// State is a probed server and whether it is handed out.
type State struct {
	Name string // such as turn:relay.example:3478?transport=udp
	Up   bool
}

// States are those of the probed servers, by name.
func (h *Health) States() []State {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []State
	for _, c := range h.servers {
		out = append(out, State{c.uri(), c.failures < maxFailures})
	}
	slices.SortFunc(out, func(a, b State) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// uri names a server as clients do (RFC 7065).
func (s Server) uri() string {
	return s.Type + ":" + net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) + "?transport=" + s.Transport
}

// Run probes until ctx ends.
func (h *Health) Run(ctx context.Context) error {
	tick := time.NewTicker(h.interval)
	defer tick.Stop()
	for {
		h.round(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-h.wake:
		}
	}
}

// errProbe is the result of a probe that did not come to its end.
var errProbe = errors.New("the probe failed")

// Guard counts the probes that panicked.
func (h *Health) Guard() *guard.Guard { return h.guard }

// round probes each server once.
func (h *Health) round(ctx context.Context) {
	h.mu.Lock()
	list := make([]*condition, 0, len(h.servers))
	for _, c := range h.servers {
		list = append(list, c)
	}
	h.mu.Unlock()
	results := make([]error, len(list))
	slots := make(chan struct{}, maxProbes)
	var wg sync.WaitGroup
	for i, c := range list {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			results[i] = errProbe
			h.guard.Do(func() { results[i] = h.probe(ctx, c.Server) })
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return // the failures are ours
	}
	changed := false
	for i, c := range list {
		changed = h.note(c, results[i]) || changed
	}
	if changed {
		h.changed()
	}
}

// note takes a result in and reports whether the server has come or gone by it.
func (h *Health) note(c *condition, err error) bool {
	h.mu.Lock()
	before := c.failures
	if err == nil {
		c.failures = 0
	} else {
		c.failures = min(c.failures+1, maxFailures)
	}
	after := c.failures
	h.mu.Unlock()
	switch {
	case before == maxFailures && after == 0:
		h.log.Info("relay answers again, clients are told of it", "server", c.uri())
	case before < maxFailures && after == maxFailures:
		h.log.Warn("relay does not answer, clients are not told of it", "server", c.uri(), "err", err)
	case before == 0 && after == 1:
		h.log.Debug("relay did not answer", "server", c.uri(), "err", err)
		return false
	default:
		return false
	}
	return true
}

// Probe sends a STUN Binding request to s as its clients would and returns nil when it
// is answered, be it by an error. The certificate of a TLS server is not looked at:
// whether browsers trust it can't be told from here, and nothing secret is sent.
func Probe(ctx context.Context, s Server) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	network := s.Transport
	if s.Type == "turns" {
		network = "tls"
	}
	c, err := probe.Dial(ctx, network, net.JoinHostPort(s.Host, strconv.Itoa(s.Port)), s.Host)
	if err != nil {
		return err
	}
	defer c.Close() // an answer is an answer, however the connection ends
	_, _, err = c.Binding(ctx)
	if _, refused := errors.AsType[probe.Refused](err); refused {
		return nil
	}
	return err
}
