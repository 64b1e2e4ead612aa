package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"confab/cmd/confab/config"
)

// serve runs the server until ctx ends. out gets the summary for people, errOut
// the log.
func serve(ctx context.Context, cfg config.Config, re reloads, out, errOut io.Writer) (err error) {
	logs, err := openLogs(cfg, errOut)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, logs.close()) }()
	log := logs.of("main")
	if err := makeDataDir(cfg.DataDir); err != nil {
		return err
	}
	lock, err := lockDataDir(cfg.DataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	secrets, err := loadSecrets(cfg.DataDir)
	if err != nil {
		return err
	}
	st, err := openStorage(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if cfg.RelayOnly() {
		return serveRelay(ctx, cfg, re, secrets, st, logs, out)
	}
	if err := noteDomain(ctx, st, cfg.Domain, log); err != nil {
		return err
	}
	s, err := build(ctx, cfg, secrets, st, logs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	// The account comes last: a start that fails must not use up the only showing
	// of its password.
	password, err := firstHost(ctx, st, cfg.Domain)
	if err != nil {
		return fmt.Errorf("first host account: %w", err)
	}
	sum := s.summary()
	if err := sum.addHost(cfg, password, log); err != nil {
		return err
	}
	return s.run(ctx, re, func() { sum.write(out) })
}

// run serves until ctx ends or a part fails, and returns when all goroutines are
// gone. The parts end in the order in which they depend on each other: sessions
// say goodbye while rooms still listen.
func (s *server) run(ctx context.Context, re reloads, started func()) error {
	core, endCore := context.WithCancel(context.WithoutCancel(ctx))
	defer endCore()
	front, endFront := context.WithCancel(context.WithoutCancel(ctx))
	defer endFront()
	outer, octx := errgroup.WithContext(front)
	inner, ictx := errgroup.WithContext(core)
	runs := []func(context.Context) error{s.rooms.Run, s.brewery.Run, s.bridge.Run, s.focus.Run,
		s.guards.keep("bookings", s.bookings.Run)}
	if s.tokens != nil {
		runs = append(runs, s.tokens.Run) // guarded one by one
	}
	if s.files != nil {
		runs = append(runs, s.guards.keep("files", s.files.Run))
	}
	for _, side := range s.sides {
		runs = append(runs, side.Run)
	}
	for _, run := range runs {
		inner.Go(func() error { return quiet(run(ictx)) })
	}
	certs := s.guards.keep("certificates", s.certs.Run)
	outer.Go(func() error { return certs(octx) })
	outer.Go(func() error { return quiet(s.web.Run(octx)) })
	outer.Go(func() error { return quiet(s.sessions.Run(octx)) })
	if s.queue != nil {
		outer.Go(func() error { return quiet(s.queue.Run(octx)) })
	}
	if s.boards != nil {
		outer.Go(func() error { return quiet(s.boards.Run(octx)) })
	}
	if s.relays != nil {
		run := s.guards.keep("turn health", s.relays.Run)
		outer.Go(func() error { return run(octx) })
	}
	if s.relay != nil {
		run := s.guards.keep("departures", s.departures().Run)
		outer.Go(func() error { return run(octx) })
		watch := s.guards.keep("addresses", s.watchAddresses)
		outer.Go(func() error { return watch(octx) })
	}
	keys := s.guards.keep("turn keys", func(ctx context.Context) error {
		s.turnKeys.watch(ctx, s.extdisco.Changed)
		return nil
	})
	outer.Go(func() error { return keys(octx) })
	if s.c2s != nil {
		outer.Go(func() error { return quiet(s.sessions.ServeTCP(s.c2s)) })
	}
	if s.c2sTLS != nil {
		outer.Go(func() error { return quiet(s.sessions.ServeDirectTLS(s.c2sTLS)) })
	}
	reload := s.guards.keep("reload", func(ctx context.Context) error {
		s.watchReloads(ctx, re)
		return nil
	})
	outer.Go(func() error { return reload(octx) })
	outer.Go(func() error {
		defer endFront()
		s.awaitEnd(octx, ctx.Done())
		return nil
	})
	// A part of the core that fails takes the front with it.
	outer.Go(func() error {
		select {
		case <-octx.Done():
			return nil
		case <-ictx.Done():
			return errors.New("a part of the server has ended")
		}
	})
	started()
	err := outer.Wait()
	endCore()
	return errors.Join(err, inner.Wait())
}

// quiet takes what only says that the end was asked for as no error.
func quiet(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// summary is what the operator sees at start.
func (s *server) summary() summary {
	c := s.cfg
	opened := "anyone (hosts only: require_host = true)"
	if c.RequireHost {
		opened = "hosts"
	}
	addrs := make([]string, 0, 4)
	for _, cand := range s.sockets.Candidates() {
		addrs = append(addrs, cand.Addr.Addr().String())
	}
	turn := "off"
	if s.relay != nil {
		turn = turnPorts(c, s.sockets.Port(), s.turnTLSPort())
	}
	out := summary{
		{"Confab is running", s.reachedAt()},
		{"Certificate", s.certs.Describe()},
		{"Media", fmt.Sprintf("UDP %d on %s", s.sockets.Port(), strings.Join(addrs, ", "))},
		{"TURN", turn},
		{"XMPP clients", s.xmppPorts()},
		{"Rooms may be opened by", opened},
		{"Participants per meeting", strconv.Itoa(c.Rooms.MaxOccupants)},
	}
	if a := s.web.AdminAddr(); a != nil {
		out = append(out, [2]string{"Metrics and health", "http://" + a.String() + "/metrics"})
	}
	return out
}

// xmppPorts names the TCP ports for XMPP clients.
func (s *server) xmppPorts() string {
	var ports []string
	if s.c2s != nil {
		ports = append(ports, fmt.Sprintf("TCP %d", s.cfg.XMPP.Port))
	}
	if s.c2sTLS != nil {
		ports = append(ports, fmt.Sprintf("TLS %d", s.cfg.XMPP.TLSPort))
	}
	if len(ports) == 0 {
		return "WebSocket only"
	}
	return strings.Join(ports, ", ")
}

// reachedAt is the public URL with the port that was really opened: a default
// may have given way.
func (s *server) reachedAt() string {
	listen := s.listen[0]
	if addrs := s.web.Addrs(); len(addrs) > 0 {
		listen = addrs[0].String()
	}
	return publicURL(s.cfg.Domain, listen, s.cfg.TLS.Mode == "off")
}

// summary is what the operator sees at start: a label and a value a line.
type summary [][2]string

// addHost tells the first host's password, once: to the terminal, the container's
// or the redirected output; into a file where the output is kept for good.
func (s *summary) addHost(cfg config.Config, password string, log *slog.Logger) error {
	if password == "" {
		return nil
	}
	if toJournal(os.Stdout, os.Getenv) {
		if err := saveInitialCredentials(cfg.DataDir, firstHostName, cfg.Domain, password); err != nil {
			return fmt.Errorf("save the first host's password: %w", err)
		}
		log.Info("host account made; its password is in a file until the first sign-in",
			"jid", firstHostName+"@"+cfg.Domain, "file", filepath.Join(cfg.DataDir, initialCredentials))
		return nil
	}
	*s = append(*s,
		[2]string{"Host (administrator) login", firstHostName + "@" + cfg.Domain},
		[2]string{"Password (shown once)", password})
	return nil
}

func (s summary) write(w io.Writer) {
	var text strings.Builder
	text.WriteString("\n")
	for _, line := range s {
		fmt.Fprintf(&text, "  %-44s  %s\n", line[0], line[1])
	}
	text.WriteString("\n")
	io.WriteString(w, text.String()) // at once: other output does not get in between
}

// publicURL is the address people open.
func publicURL(domain, listen string, plain bool) string {
	scheme, usual := "https", "443"
	if plain {
		scheme, usual = "http", "80"
	}
	if _, port, err := net.SplitHostPort(listen); err == nil && port != usual {
		domain = net.JoinHostPort(domain, port)
	}
	return scheme + "://" + domain
}
