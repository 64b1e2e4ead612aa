package main

import (
	"context"
	"io"
	"log/slog"
	"os"
)

var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// components are the parts that log.components names.
var components = []string{"main", "tls", "web", "xmpp", "muc", "brewery", "focus", "bridge", "transport", "forward", "turn", "api", "reservations"}

// logs makes the logger of each component, with the level that log.components
// gives it.
type logs struct {
	handler    slog.Handler
	level      slog.Level
	components map[string]slog.Level
}

func newLogs(cfg Config, w io.Writer) logs {
	l := logs{level: levels[cfg.Log.Level], components: map[string]slog.Level{}}
	lowest := l.level
	for name, level := range cfg.Log.Components {
		l.components[name] = levels[level]
		lowest = min(lowest, levels[level])
	}
	opts := &slog.HandlerOptions{Level: lowest}
	if cfg.Log.Format == "json" || cfg.Log.Format == "auto" && !isTerminal(w) {
		l.handler = slog.NewJSONHandler(w, opts)
	} else {
		l.handler = slog.NewTextHandler(w, opts)
	}
	return l
}

// of is the logger of a component.
func (l logs) of(component string) *slog.Logger {
	level, ok := l.components[component]
	if !ok {
		level = l.level
	}
	return slog.New(atLevel{l.handler, level}).With("component", component)
}

// atLevel narrows a handler.
type atLevel struct {
	slog.Handler
	level slog.Level
}

func (h atLevel) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

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
