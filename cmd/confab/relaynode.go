package main

// node.roles = ["turn"]: the relay on a host of its own (turn.md §11). It shares nothing
// with the server that hands it out but the secret.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"confab/bridge/transport"
	"confab/cmd/confab/config"
	"confab/web"
	"confab/web/api"
)

// planned are the addresses that a bridge would have.
type planned struct {
	locals  []netip.AddrPort
	offered []transport.Candidate
}

func (p planned) Locals() []netip.AddrPort          { return append([]netip.AddrPort(nil), p.locals...) }
func (p planned) Candidates() []transport.Candidate { return p.offered }

// serveRelay runs the relay until ctx ends.
func serveRelay(ctx context.Context, cfg config.Config, re reloads, secrets Secrets, st Storage, logs logs, out io.Writer) (err error) {
	s := &server{cfg: cfg, logs: logs, guards: guards{logs: logs}, secrets: secrets, storage: st}
	defer func() { err = errors.Join(err, s.close()) }()
	var p planned
	if p.locals, p.offered, err = transport.Plan(s.addressConfig()); err != nil {
		return err
	}
	s.local = p
	s.turnKeys = newTURNKeys(cfg, st, logs.of("turn"))
	for _, step := range []func() error{
		func() error {
			_, err := s.turnKeys.refresh(ctx)
			return err
		},
		s.openRelayCertificates, s.openTURN, s.openRelayAdmin,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	s.relaySummary().write(out)
	return s.runRelay(ctx, re)
}

// openRelayCertificates opens the files that the configuration names, or has ACME get some.
// Without either there is no TURN over TLS: nobody would trust a certificate made here.
func (s *server) openRelayCertificates() error {
	if !s.cfg.TURN.TLS && !s.cfg.TURN.DTLS {
		return nil
	}
	return s.openCertificates()
}

// openRelayAdmin opens health and metrics, and what is allocated for those with a key; and
// for ACME the port on which the certificate authority asks.
func (s *server) openRelayAdmin() (err error) {
	c := s.cfg
	wc := web.DefaultConfig(c.Domain)
	wc.AdminOnly, wc.Listen, wc.HTTP = true, nil, web.Bind{}
	if s.certs != nil && c.ACME != "" {
		wc.HTTP = web.Bind{Addr: c.Web.HTTPListen, Default: !c.IsSet("web.http_listen")}
	}
	if c.Admin.Listen == "" && wc.HTTP.Addr == "" {
		return nil
	}
	wc.Admin = web.Bind{Addr: c.Admin.Listen, Default: !c.IsSet("admin.listen"), Fallback: "127.0.0.1:0"}
	if wc.AdminAllow, err = prefixes(c.Admin.Allow); err != nil {
		return fmt.Errorf("admin.allow: %w", err)
	}
	for _, k := range c.Admin.APIKeys {
		wc.AdminKeys = append(wc.AdminKeys, string(k))
	}
	wc.Log = s.logs.of("web")
	if wc.Metrics, err = newRegistry(relayCollector{s}); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	s.setAPIKeys(c)
	pages := map[string]http.Handler{api.Prefix + "/": api.New(api.Config{Relay: apiRelay{s}, Keys: s.apiKeys,
		Rate: float64(c.Limits.RequestsPerIP), Burst: 10 * c.Limits.RequestsPerIP, Log: s.logs.of("api")})}
	if s.web, err = web.Open(wc, s.certs, web.Handlers{Ready: s.relayReady, Admin: pages}); err != nil {
		return err
	}
	s.opened(s.web)
	return nil
}

// relayReady says why nobody should be sent here.
func (s *server) relayReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err := s.storage.Ping(ctx)
	if s.leaving.Load() {
		err = errors.Join(err, errors.New("relay: is about to stop"))
	}
	return err
}

// relayCollector has the metrics of the relay alone.
type relayCollector struct{ s *server }

// Describe implements prometheus.Collector; see collector.Describe.
func (c relayCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c relayCollector) Collect(out chan<- prometheus.Metric) {
	collect(out, append(relayFigures(c.s.relay.Stats()), append(c.s.logs.figures(), c.s.guards.figures()...)...))
}

// relaySummary is what the operator sees at start.
func (s *server) relaySummary() summary {
	c := s.cfg
	var addrs []string
	for _, a := range s.relayAddresses() {
		addrs = append(addrs, a.Public.String())
	}
	out := summary{
		{"Confab relays", turnPorts(c, 0, c.TURN.TLSPort) + " on " + strings.Join(addrs, ", ")},
		{"Realm", c.TURN.Realm},
	}
	if len(c.TURN.Secrets) == 0 {
		out = append(out, [2]string{"Secret", "turn_secret in " + secretsFile + " of " + c.DataDir})
	}
	if s.web != nil {
		if a := s.web.AdminAddr(); a != nil {
			out = append(out, [2]string{"Metrics and health", "http://" + a.String() + "/metrics"})
		}
	}
	return out
}

func (s *server) runRelay(ctx context.Context, re reloads) error {
	core, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	g, gctx := errgroup.WithContext(core)
	if s.certs != nil {
		run := s.guards.keep("certificates", s.certs.Run)
		g.Go(func() error { return run(gctx) })
	}
	if s.web != nil {
		g.Go(func() error { return quiet(s.web.Run(gctx)) })
	}
	keys := s.guards.keep("turn keys", func(ctx context.Context) error {
		s.turnKeys.watch(ctx, func() {}) // nothing is signed here
		return nil
	})
	g.Go(func() error { return keys(gctx) })
	reload := s.guards.keep("reload", func(ctx context.Context) error {
		s.watchRelayReloads(ctx, re)
		return nil
	})
	g.Go(func() error { return reload(gctx) })
	if s.relay != nil {
		watch := s.guards.keep("addresses", s.watchAddresses)
		g.Go(func() error { return watch(gctx) })
	}
	g.Go(func() error {
		defer end()
		s.awaitRelayEnd(gctx, ctx.Done())
		return nil
	})
	return g.Wait()
}

// watchRelayReloads serves SIGHUP: relayReloadable, and a new log file.
func (s *server) watchRelayReloads(ctx context.Context, re reloads) {
	log, current := s.logs.of("main"), s.cfg
	for {
		select {
		case <-ctx.Done():
			return
		case <-re.signal:
		}
		s.logs.reopen()
		wanted, err := re.load()
		if err != nil {
			log.Error("configuration not reloaded", "err", err)
			continue
		}
		next, taken, ignored := merge(current, wanted, relayReloadable)
		if err := s.logs.move(next); err != nil {
			log.Error("configuration not reloaded", "err", err)
			continue
		}
		s.reloaded.Store(&next)
		s.logs.setLevels(next)
		s.reloadRelay(next)
		s.turnKeys.configure(next)
		if _, err := s.turnKeys.refresh(ctx); err != nil {
			log.Error("TURN credentials not read, those before still count", "err", err)
			continue
		}
		current = next
		log.Info("configuration reloaded", "changed", strings.Join(taken, ", "))
		if len(ignored) > 0 {
			log.Warn("changed keys need a restart", "keys", strings.Join(ignored, ", "))
		}
	}
}

// awaitRelayEnd returns when the relay is to stop: after a signal, when nothing is
// allocated any more or node.drain_timeout is over.
func (s *server) awaitRelayEnd(ctx context.Context, signalled <-chan struct{}) {
	select {
	case <-ctx.Done():
		return
	case <-signalled:
	}
	timeout := s.now().Node.DrainTimeout.Duration
	if timeout <= 0 {
		return
	}
	log := s.logs.of("main")
	s.leaving.Store(true)
	s.relay.Drain()
	log.Info("waiting for allocations to end", "at_most", timeout, "allocations", s.relay.Stats().Allocations)
	timer, tick := time.NewTimer(timeout), time.NewTicker(time.Second)
	defer timer.Stop()
	defer tick.Stop()
	for s.relay.Stats().Allocations > 0 {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-timer.C:
			log.Warn("allocations are cut off", "allocations", s.relay.Stats().Allocations)
			return
		}
	}
}
