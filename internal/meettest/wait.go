package meettest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// notifier wakes those who wait for a condition when something changed.
type notifier struct {
	waiting atomic.Int32
	mu      sync.Mutex
	ch      chan struct{}
}

func newNotifier() *notifier { return &notifier{ch: make(chan struct{})} }

func (n *notifier) changed() {
	if n.waiting.Load() == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.ch)
	n.ch = make(chan struct{})
}

// wait returns when ok does, when end is closed or when ctx ends.
func (n *notifier) wait(ctx context.Context, end <-chan struct{}, ok func() bool) error {
	n.waiting.Add(1)
	defer n.waiting.Add(-1)
	for {
		n.mu.Lock()
		ch := n.ch
		n.mu.Unlock()
		if ok() {
			return nil
		}
		select {
		case <-ch:
		case <-end:
			if ok() {
				return nil
			}
			return errEnded
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Until waits for ok, which must be safe to call from another goroutine: it asks
// the client (Occupant, Stats, Speaker …). what completes "waited for …".
func (c *Client) Until(ctx context.Context, what string, ok func() bool) error {
	err := c.changes.wait(ctx, c.ended, ok)
	if err == nil {
		return nil
	}
	if cause := c.Err(); cause != nil {
		err = cause
	}
	return fmt.Errorf("%s waited for %s: %w", c.label(), what, err)
}

// historyLimit bounds what a client remembers of what it got.
const historyLimit = 4096

// history is what was received and not yet taken by an Expect.
type history[T any] struct {
	mu    sync.Mutex
	items []T
}

func (h *history[T]) add(v T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.items) >= historyLimit {
		h.items = append(h.items[:0], h.items[historyLimit/2:]...)
	}
	h.items = append(h.items, v)
}

// take removes and returns the first that matches.
func (h *history[T]) take(match func(T) bool) (v T, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.items {
		if match(h.items[i]) {
			v = h.items[i]
			h.items = append(h.items[:i], h.items[i+1:]...)
			return v, true
		}
	}
	return v, false
}
