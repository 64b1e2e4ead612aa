// Package guard stands at the root of goroutines that serve many: a panic there ends
// what was being done, not the process. It is counted and logged, and the part goes on
// or is started again.
package guard

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// pause is how long a part rests that has panicked: one that does so at once must not
// take a processor.
const pause = time.Second

// Guard counts the panics of one part of the program.
type Guard struct {
	part   string
	log    *slog.Logger
	panics atomic.Uint64
}

// New makes the guard of a part.
func New(part string, log *slog.Logger) *Guard { return &Guard{part: part, log: log} }

// Part is the name of what is guarded.
func (g *Guard) Part() string { return g.part }

// Panics is how many there have been.
func (g *Guard) Panics() uint64 { return g.panics.Load() }

// Do runs f; ok says that it returned and did not panic.
func (g *Guard) Do(f func()) (ok bool) {
	defer func() {
		if ok {
			return
		}
		if p := recover(); p != nil {
			g.panics.Add(1)
			g.log.Error("panic", "part", g.part, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	f()
	return true
}

// Keep runs a part that lasts until ctx ends, and starts it again when it panics. The
// error is the part's own.
func (g *Guard) Keep(ctx context.Context, run func(context.Context) error) (err error) {
	for {
		if g.Do(func() { err = run(ctx) }) {
			return err
		}
		rest := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			rest.Stop()
			return ctx.Err()
		case <-rest.C:
		}
	}
}
