// Package web is the HTTPS front of the server: TLS and its certificates, the
// stock web app with the includes its HTML needs, generated config.js, rooms and
// tenants as paths, a small meeting page of our own, health and metrics
// (deployment.md §3, §4, §10; architecture.md §9.1, §11).
//
// Rules of this package:
//   - It imports no other package of ours: protocols arrive as http.Handlers.
//   - Open binds every socket and fails for all that can be wrong in the
//     configuration; Run only serves.
//   - Nothing from a request reaches a script or a page unescaped, and no name
//     from a request leaves the directory it is looked up in (os.Root).
//   - Everything a handler reads of the configuration comes from one immutable
//     state, replaced as a whole by Reload.
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/acme"
	"golang.org/x/sync/errgroup"

	"confab/internal/guard"
)

// Server is the front. Its listeners are bound by Open and served by Run.
type Server struct {
	log      *slog.Logger
	certs    *Certificates
	handlers Handlers
	state    atomic.Pointer[state]
	gzips    gzipCache
	requests requestRate
	metrics  *metrics
	guard    *guard.Guard // of handshakes
	page     *ownPage
	conns    *connCount

	fronts []*front
	plain  net.Listener // port 80; nil when closed
	admin  net.Listener // nil when closed
	turn   *connQueue
	xmpp   *connQueue
	mux    http.Handler // of the admin listener
}

// front is one address of the public listener.
type front struct {
	ln    net.Listener
	share *share // nil with TLS off
}

// state is one configuration, with what is derived from it.
type state struct {
	cfg *Config
	dir *buildDir
}

func (st *state) build() *build { return st.dir.current() }

func (st *state) configJS(o origin) ([]byte, error) {
	return script("config", st.cfg.site(o.tenant).values(st.cfg.Domain, o))
}

func (st *state) interfaceJS(o origin) ([]byte, error) {
	return script("interfaceConfig", st.cfg.site(o.tenant).interfaceValues())
}

func (st *state) exempt(a netip.Addr) bool {
	return a.IsLoopback() || contains(st.cfg.Limits.Exempt, a) || contains(st.cfg.TrustedProxies, a)
}

// Open checks cfg and binds every address. The certificates are run by the
// caller, since STARTTLS and TURN use them as well.
func Open(cfg Config, certs *Certificates, h Handlers) (_ *Server, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	s := &Server{log: cfg.Log, certs: certs, handlers: h, guard: guard.New("handshakes", cfg.Log)}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if err := s.install(cfg); err != nil {
		return nil, err
	}
	if s.page, err = openOwnPage(); err != nil {
		return nil, err
	}
	s.conns = newConnCount(func(a netip.Addr) int {
		st := s.state.Load()
		if st.exempt(a) {
			return 0
		}
		return st.cfg.Limits.ConnectionsPerIP
	})
	registry := cfg.Metrics
	if registry == nil {
		registry = prometheus.NewRegistry()
	}
	if s.metrics, err = newMetrics(registry, s); err != nil {
		return nil, err
	}
	for _, b := range cfg.Listen {
		ln, err := bind(b, cfg.Log)
		if err != nil {
			return nil, fmt.Errorf("web.listen: %w", err)
		}
		if ln != nil {
			s.fronts = append(s.fronts, &front{ln: &limitListener{ln, s.conns}})
		}
	}
	if len(s.fronts) == 0 && !cfg.AdminOnly {
		return nil, errors.New("web.listen: no address could be opened")
	}
	if s.plain, err = bind(cfg.HTTP, cfg.Log); err != nil {
		return nil, fmt.Errorf("web.http_listen: %w", err)
	}
	if s.plain != nil {
		s.plain = &limitListener{s.plain, s.conns}
	}
	if s.admin, err = bind(cfg.Admin, cfg.Log); err != nil {
		return nil, fmt.Errorf("admin.listen: %w", err)
	}
	if s.mux, err = s.adminMux(registry); err != nil {
		return nil, err
	}
	s.shareFronts(cfg)
	return s, nil
}

// bind listens on b; nil without an error means that a default gave way.
func bind(b Bind, log *slog.Logger) (net.Listener, error) {
	if b.Addr == "" {
		return nil, nil
	}
	ln, err := net.Listen("tcp", b.Addr)
	if err == nil {
		return ln, nil
	}
	if !b.Default {
		return nil, err
	}
	if b.Fallback == "" {
		log.Info("default address left closed", "addr", b.Addr, "err", err)
		return nil, nil
	}
	ln, ferr := net.Listen("tcp", b.Fallback)
	if ferr != nil {
		return nil, errors.Join(err, ferr)
	}
	log.Info("default address taken, using another", "addr", b.Addr, "instead", ln.Addr().String(), "err", err)
	return ln, nil
}

// shareFronts prepares the TLS side of each front and the seats beside HTTP.
func (s *Server) shareFronts(cfg Config) {
	if cfg.TLSOff || len(s.fronts) == 0 {
		return
	}
	// Our order counts. Who names one of the special protocols speaks it, whatever
	// else it names: coturn's clients offer http/1.1 before stun.turn.
	var alpn []string
	addr := s.fronts[0].ln.Addr()
	if cfg.ShareTURN {
		s.turn = newConnQueue(addr)
		alpn = append(alpn, alpnTURN, alpnDiscovery)
	}
	if cfg.ShareXMPP {
		s.xmpp = newConnQueue(addr)
		alpn = append(alpn, alpnXMPP)
	}
	alpn = append(alpn, "h2", "http/1.1", acme.ALPNProto)
	slots := make(chan struct{}, max(cfg.Limits.Handshakes, 1))
	perAddr := newConnCount(func(a netip.Addr) int {
		st := s.state.Load()
		if st.exempt(a) {
			return 0
		}
		return st.cfg.Limits.HandshakesPerIP
	})
	for _, f := range s.fronts {
		f.share = &share{
			ln: f.ln, tls: s.certs.TLSConfig(alpn...), timeout: cfg.Limits.HeaderTimeout, log: s.log,
			handshake: slots, perAddr: perAddr, http: newConnQueue(f.ln.Addr()), turn: s.turn, xmpp: s.xmpp, guard: s.guard, wrap: cfg.TURNConn,
			name: func(name string) bool { return slices.Contains(s.state.Load().cfg.TURNNames, name) },
		}
		f.share.byName(s.certs)
	}
}

// install makes cfg the current state.
func (s *Server) install(cfg Config) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	dir := cfg.Dir
	if dir == "" && cfg.DataDir != "" {
		dir = filepath.Join(cfg.DataDir, "web")
	}
	if old := s.state.Load(); old != nil && old.dir.path == dir {
		s.state.Store(&state{cfg: &cfg, dir: old.dir})
		return nil
	}
	d := &buildDir{path: dir}
	if cfg.Dir != "" && d.current() == nil {
		return fmt.Errorf("web.dir: %s holds no index.html", cfg.Dir)
	}
	s.state.Store(&state{cfg: &cfg, dir: d})
	return nil
}

// Reload takes over the fields of cfg marked R; open connections stay. An error
// leaves everything as it was.
func (s *Server) Reload(cfg Config) error { return s.install(cfg) }

// Addrs are the addresses of the public listener, in the order of Config.Listen.
func (s *Server) Addrs() []net.Addr {
	addrs := make([]net.Addr, len(s.fronts))
	for i, f := range s.fronts {
		addrs[i] = f.ln.Addr()
	}
	return addrs
}

// AdminAddr is the address of the admin listener; nil when it is closed.
func (s *Server) AdminAddr() net.Addr {
	if s.admin == nil {
		return nil
	}
	return s.admin.Addr()
}

// TURN is the listener on which TURN over TLS of the HTTPS port arrives, TLS
// already done; nil unless Config.ShareTURN is set and TLS is on.
func (s *Server) TURN() net.Listener {
	if s.turn == nil {
		return nil
	}
	return s.turn
}

// XMPP is the same for direct-TLS XMPP clients that name the ALPN xmpp-client.
func (s *Server) XMPP() net.Listener {
	if s.xmpp == nil {
		return nil
	}
	return s.xmpp
}

// shutdownTime is what requests under way get to finish; BOSH waits and
// WebSockets are ended by their owners.
const shutdownTime = 3 * time.Second

// Guard counts what was caught while connections were sorted; requests are counted by
// the metrics.
func (s *Server) Guard() *guard.Guard { return s.guard }

// Run serves until ctx ends and returns when every goroutine of it is gone.
func (s *Server) Run(ctx context.Context) error {
	defer s.Close()
	g, ctx := errgroup.WithContext(ctx)
	public := http.Handler(s)
	for _, f := range s.fronts {
		ln := f.ln
		if f.share != nil {
			ln = f.share.http
			g.Go(func() error { return f.share.run(ctx) })
		}
		srv := s.httpServer(public)
		srv.ConnContext = tlsConnContext
		if f.share != nil {
			srv.TLSConfig = f.share.tls // names h2, which makes Serve offer it
		}
		g.Go(func() error { return serve(ctx, srv, ln) })
	}
	if s.plain != nil {
		srv := s.httpServer(s.certs.HTTPChallenge(http.HandlerFunc(s.redirect)))
		g.Go(func() error { return serve(ctx, srv, s.plain) })
	}
	if s.admin != nil {
		srv := s.httpServer(http.HandlerFunc(s.serveAdmin))
		srv.WriteTimeout = 0 // profiles and traces run as long as they are asked to
		g.Go(func() error { return serve(ctx, srv, s.admin) })
	}
	return g.Wait()
}

func (s *Server) httpServer(h http.Handler) *http.Server {
	lim := s.state.Load().cfg.Limits
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: lim.HeaderTimeout,
		WriteTimeout:      lim.WriteTimeout,
		IdleTimeout:       lim.IdleTimeout,
		MaxHeaderBytes:    lim.Header,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// serve runs srv on ln until ctx ends.
func serve(ctx context.Context, srv *http.Server, ln net.Listener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	done := make(chan struct{})
	defer close(done)
	wg.Go(func() {
		select {
		case <-ctx.Done():
		case <-done:
			return
		}
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			srv.Close()
		}
	})
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	}
	return nil
}

// Close releases the sockets of a server that isn't run; Run does it by itself.
func (s *Server) Close() error {
	var errs []error
	closeOne := func(ln net.Listener) {
		if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	for _, f := range s.fronts {
		closeOne(f.ln)
		if f.share != nil {
			f.share.http.Close()
		}
	}
	for _, ln := range []net.Listener{s.plain, s.admin} {
		if ln != nil {
			closeOne(ln)
		}
	}
	for _, q := range []*connQueue{s.turn, s.xmpp} {
		if q != nil {
			q.Close()
		}
	}
	return errors.Join(errs...)
}
