package main

import (
	"context"
	"sync"

	"confab/internal/guard"
)

// guards are those of the parts that run in the background. Meetings, conferences,
// sessions, the bridge, the relay and requests of the web have their own: there a panic
// ends what it happened in.
type guards struct {
	logs logs

	mu   sync.Mutex
	list []*guard.Guard
}

// of is the guard of another part.
func (g *guards) of(part string) *guard.Guard {
	n := guard.New(part, g.logs.of("main"))
	g.add(n)
	return n
}

// add has a guard counted that a part has made; there may be none.
func (g *guards) add(n *guard.Guard) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n != nil {
		g.list = append(g.list, n)
	}
}

// keep makes a part out of what runs until a context ends: it is started again when it
// panics.
func (g *guards) keep(part string, run func(context.Context) error) func(context.Context) error {
	n := g.of(part)
	return func(ctx context.Context) error { return quiet(n.Keep(ctx, run)) }
}

func (g *guards) figures() (out []figure) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, n := range g.list {
		out = append(out, panicFigure(n.Part(), n.Panics()))
	}
	return out
}
