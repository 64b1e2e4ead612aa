package main

import (
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"confab/internal/meettest"
)

const (
	maxClients = 2000 // of one run
	dialAtOnce = 16   // clients that connect at a time
)

// crowd is many clients.
type crowd []*meettest.Client

// crowd connects n clients and brings them into their rooms.
func (t *target) crowd(ctx context.Context, n int, options func(i int) meettest.Options) (crowd, error) {
	all := make(crowd, n)
	var done atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(dialAtOnce)
	for i := range n {
		g.Go(func() error {
			opt := options(i)
			c, err := meettest.Dial(gctx, opt)
			if err != nil {
				return err
			}
			all[i] = c
			if err := c.Join(gctx, opt.Room); err != nil {
				return fmt.Errorf("join %s: %w", opt.Room, err)
			}
			if k := done.Add(1); k%50 == 0 {
				t.say("%d of %d clients joined", k, n)
			}
			return nil
		})
	}
	return all, g.Wait()
}

func (all crowd) kill() {
	var g errgroup.Group
	g.SetLimit(dialAtOnce)
	for _, c := range all {
		if c != nil {
			g.Go(func() error { c.Kill(); return nil })
		}
	}
	_ = g.Wait()
}
