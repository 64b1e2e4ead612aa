package transport

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pion/logging"
)

// pionLog passes pion's log lines on as debug lines: peers can cause most of
// them at will. It is both the factory and the logger.
type pionLog struct{ log *slog.Logger }

func (p pionLog) NewLogger(scope string) logging.LeveledLogger {
	return pionLog{p.log.With("lib", scope)}
}

// levelTrace is the wire level of architecture §15.
const levelTrace = slog.Level(-8)

func (p pionLog) line(level slog.Level, format string, args []any) {
	if p.log.Enabled(context.Background(), level) {
		p.log.Log(context.Background(), level, "pion", "text", fmt.Sprintf(format, args...))
	}
}

func (p pionLog) Trace(msg string)             { p.line(levelTrace, "%s", []any{msg}) }
func (p pionLog) Tracef(f string, args ...any) { p.line(levelTrace, f, args) }
func (p pionLog) Debug(msg string)             { p.line(levelTrace, "%s", []any{msg}) }
func (p pionLog) Debugf(f string, args ...any) { p.line(levelTrace, f, args) }
func (p pionLog) Info(msg string)              { p.line(slog.LevelDebug, "%s", []any{msg}) }
func (p pionLog) Infof(f string, args ...any)  { p.line(slog.LevelDebug, f, args) }
func (p pionLog) Warn(msg string)              { p.line(slog.LevelDebug, "%s", []any{msg}) }
func (p pionLog) Warnf(f string, args ...any)  { p.line(slog.LevelDebug, f, args) }
func (p pionLog) Error(msg string)             { p.line(slog.LevelDebug, "%s", []any{msg}) }
func (p pionLog) Errorf(f string, args ...any) { p.line(slog.LevelDebug, f, args) }
