package main

import (
	"context"
	"errors"
	"sync"

	"confab/internal/swarm"
)

// peer is a server that media is sent through, by its own signalling.
type peer interface {
	// enter brings members into a room and returns when they are connected, so far
	// as they have to be at once. leave takes them out again.
	enter(ctx context.Context, s *swarm.Swarm, room string, members []*member) (leave func(), err error)
}

// member is one participant of a room.
type member struct {
	tracks []*swarm.Track // what it sends
	watch  bool           // whether it receives

	// Of Confab: the height wanted of every video and how many of them; 0 and -1: no
	// limit.
	height, lastN int
	// entered is told how long it took until media could flow.
	entered func(seconds float64)

	mu   sync.Mutex
	legs []*swarm.Leg
}

// leg makes another leg of the member.
func (m *member) leg(s *swarm.Swarm) (*swarm.Leg, error) {
	l, err := s.New()
	if err == nil {
		m.mu.Lock()
		m.legs = append(m.legs, l)
		m.mu.Unlock()
	}
	return l, err
}

// closeAll closes the legs of members.
func closeAll(members []*member) {
	for _, m := range members {
		m.mu.Lock()
		legs := m.legs
		m.legs = nil
		m.mu.Unlock()
		for _, l := range legs {
			l.Close()
		}
	}
}

// inParallel runs f for every member, at most n at a time, and returns the first
// error.
func inParallel(ctx context.Context, n int, members []*member, f func(context.Context, *member) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	slots := make(chan struct{}, n)
	for _, m := range members {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := f(ctx, m); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return ctx.Err()
}

// connection is a member's to a server.
type connection interface {
	publish(ctx context.Context) error
	end()
}

// enterAll has all members join, and then send.
func enterAll(ctx context.Context, members []*member, join func(context.Context, *member) (connection, error)) (leave func(), err error) {
	var mu sync.Mutex
	all := map[*member]connection{}
	leave = func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range all {
			c.end()
		}
		closeAll(members)
	}
	err = inParallel(ctx, joining, members, func(ctx context.Context, m *member) error {
		c, err := join(ctx, m)
		if err != nil {
			return err
		}
		mu.Lock()
		all[m] = c
		mu.Unlock()
		return nil
	})
	if err == nil {
		err = inParallel(ctx, joining, members, func(ctx context.Context, m *member) error {
			mu.Lock()
			c := all[m]
			mu.Unlock()
			return c.publish(ctx)
		})
	}
	if err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}
