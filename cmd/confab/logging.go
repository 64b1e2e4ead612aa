package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"

	"confab/cmd/confab/config"
)

// logs makes the logger of each component, with the level that log.components
// gives it.
type logs struct {
	handler slog.Handler
	levels  map[string]*slog.LevelVar // by component
	lowest  *slog.LevelVar
	output  *logOutput // nil: a writer is written to at once
	form    *atomic.Pointer[slog.Handler]
	stderr  io.Writer
	sockets []string // of syslog
	at      *logPlace
}

// logPlace is where the log goes, and how.
type logPlace struct{ output, file, facility, format string }

func placeOf(cfg config.Config) logPlace {
	return logPlace{cfg.Log.Output, cfg.Log.File, cfg.Log.Facility, cfg.Log.Format}
}

// openLogs opens log.output. Close it when nobody logs any more.
func openLogs(cfg config.Config, stderr io.Writer) (logs, error) {
	return openLogsAt(cfg, stderr, syslogSockets)
}

func openLogsAt(cfg config.Config, stderr io.Writer, sockets []string) (logs, error) {
	out, err := openLogOutput(cfg, stderr, sockets)
	if err != nil {
		return logs{}, err
	}
	place := placeOf(cfg)
	l := newLogs(cfg, nil)
	l.output, l.stderr, l.sockets, l.at, l.form = out, stderr, sockets, &place, new(atomic.Pointer[slog.Handler])
	l.setForm(cfg)
	l.handler = movable{l.form, nil, new(atomic.Pointer[made])}
	out.run(func(n uint64) { l.of("main").Warn("log lines were lost, as it took them too slowly", "lines", n) })
	return l, nil
}

// setForm has lines look as the configuration wants them.
func (l logs) setForm(cfg config.Config) {
	text := cfg.Log.Format == "text" || cfg.Log.Format == "auto" && (cfg.Log.Output == "syslog" || cfg.Log.Output == "stderr" && isTerminal(l.stderr))
	opts := slog.HandlerOptions{Level: l.lowest}
	h := newHandler(l.output.at(severityInfo), text, &opts)
	if cfg.Log.Output == "syslog" {
		opts.ReplaceAttr = withoutTime
		h = bySeverity{
			newHandler(l.output.at(severityDebug), text, &opts), newHandler(l.output.at(severityInfo), text, &opts),
			newHandler(l.output.at(severityWarning), text, &opts), newHandler(l.output.at(severityError), text, &opts),
		}
	}
	l.form.Store(&h)
}

// move has the log go where another configuration says. Where that can't be, it stays.
// One goroutine calls it.
func (l logs) move(cfg config.Config) error {
	place := placeOf(cfg)
	if l.output == nil || *l.at == place {
		return nil
	}
	sink, err := openSink(cfg, l.stderr, l.sockets)
	if err != nil {
		return err
	}
	if err := l.output.Move(sink); err != nil {
		return errors.Join(err, sink.close())
	}
	l.setForm(cfg)
	*l.at = place
	return nil
}

// movable is a handler in front of that of a logs, which may be replaced while loggers
// made of this one are in use.
type movable struct {
	root *atomic.Pointer[slog.Handler]
	with []func(slog.Handler) slog.Handler
	last *atomic.Pointer[made]
}

// made is what with makes of a root.
type made struct {
	root    *slog.Handler
	handler slog.Handler
}

func (h movable) handler() slog.Handler {
	root := h.root.Load()
	if m := h.last.Load(); m != nil && m.root == root {
		return m.handler
	}
	m := &made{root, *root}
	for _, f := range h.with {
		m.handler = f(m.handler)
	}
	h.last.Store(m)
	return m.handler
}

func (h movable) and(f func(slog.Handler) slog.Handler) slog.Handler {
	return movable{h.root, append(slices.Clip(h.with), f), new(atomic.Pointer[made])}
}

func (h movable) Enabled(ctx context.Context, l slog.Level) bool { return h.handler().Enabled(ctx, l) }

func (h movable) Handle(ctx context.Context, r slog.Record) error { return h.handler().Handle(ctx, r) }

func (h movable) WithAttrs(as []slog.Attr) slog.Handler {
	return h.and(func(to slog.Handler) slog.Handler { return to.WithAttrs(as) })
}

func (h movable) WithGroup(name string) slog.Handler {
	return h.and(func(to slog.Handler) slog.Handler { return to.WithGroup(name) })
}

// reopen opens a log file anew.
func (l logs) reopen() {
	if l.output == nil {
		return
	}
	if err := l.output.Reopen(); err != nil {
		l.of("main").Error("log not opened anew", "err", err)
	}
}

func (l logs) figures() []figure {
	if l.output == nil {
		return nil
	}
	return []figure{counter("confab_log_lines_lost_total", "Lines of the log that it took too slowly to write.", l.output.Lost())}
}

func (l logs) close() error {
	if l.output == nil {
		return nil
	}
	return l.output.Close()
}

func newHandler(w io.Writer, text bool, opts *slog.HandlerOptions) slog.Handler {
	if text {
		return slog.NewTextHandler(w, opts)
	}
	return slog.NewJSONHandler(w, opts)
}

// withoutTime leaves out what syslog adds itself.
func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// bySeverity has a handler for each of debug, info, warn and error.
type bySeverity [4]slog.Handler

func (h bySeverity) Enabled(ctx context.Context, l slog.Level) bool { return h[0].Enabled(ctx, l) }

func (h bySeverity) Handle(ctx context.Context, r slog.Record) error {
	at := 0
	for at < 3 && r.Level >= []slog.Level{slog.LevelInfo, slog.LevelWarn, slog.LevelError}[at] {
		at++
	}
	return h[at].Handle(ctx, r)
}

func (h bySeverity) WithAttrs(as []slog.Attr) slog.Handler {
	for i := range h {
		h[i] = h[i].WithAttrs(as)
	}
	return h
}

func (h bySeverity) WithGroup(name string) slog.Handler {
	for i := range h {
		h[i] = h[i].WithGroup(name)
	}
	return h
}

// newLogs writes to w at once.
func newLogs(cfg config.Config, w io.Writer) logs {
	l := logs{levels: map[string]*slog.LevelVar{}, lowest: new(slog.LevelVar)}
	for _, name := range config.Components {
		l.levels[name] = new(slog.LevelVar)
	}
	l.setLevels(cfg)
	text := cfg.Log.Format != "json" && (cfg.Log.Format != "auto" || isTerminal(w))
	l.handler = newHandler(w, text, &slog.HandlerOptions{Level: l.lowest})
	return l
}

// setLevels takes over log.level and log.components, also while others log.
func (l logs) setLevels(cfg config.Config) {
	lowest := slog.LevelError
	for name, v := range l.levels {
		level, ok := cfg.Log.Components[name]
		if !ok {
			level = cfg.Log.Level
		}
		v.Set(config.Levels[level])
		lowest = min(lowest, config.Levels[level])
	}
	l.lowest.Set(lowest)
}

// of is the logger of one of the components.
func (l logs) of(component string) *slog.Logger {
	return slog.New(atLevel{l.handler, l.levels[component]}).With("component", component)
}

// atLevel narrows a handler.
type atLevel struct {
	slog.Handler
	level *slog.LevelVar
}

func (h atLevel) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

func (h atLevel) WithAttrs(as []slog.Attr) slog.Handler {
	return atLevel{h.Handler.WithAttrs(as), h.level}
}

func (h atLevel) WithGroup(name string) slog.Handler {
	return atLevel{h.Handler.WithGroup(name), h.level}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
