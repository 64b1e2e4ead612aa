// Package mailbox is the event queue in front of every actor of the server: a
// meeting, a conference, a bridge conference.
//
// Rules of this package:
//   - A Box has any number of producers and exactly one consumer.
//   - Put never waits; actors, timers and results use it.
//   - PutWait waits at three quarters of the limit; only connection readers use
//     it, so clients can never fill a mailbox and no cycle of waiting exists.
package mailbox

import (
	"context"
	"errors"
	"sync"
)

var (
	// ErrFull is returned by Put when the box holds limit events.
	ErrFull = errors.New("mailbox full")
	// ErrClosed is returned once the consumer has closed the box.
	ErrClosed = errors.New("mailbox closed")
)

// Box is a bounded event queue with one consumer.
type Box[E any] struct {
	mu     sync.Mutex
	events []E
	spare  []E // the slice Take handed out last, reused to avoid allocation
	limit  int
	closed bool
	space  chan struct{} // non-nil while PutWait callers wait; closed when there is room

	ready chan struct{} // one slot: "events is not empty"
	done  chan struct{} // closed by Close
}

// New returns a box that holds at most limit events.
func New[E any](limit int) *Box[E] {
	return &Box[E]{limit: limit, ready: make(chan struct{}, 1), done: make(chan struct{})}
}

// Put appends e without waiting.
func (b *Box[E]) Put(e E) error {
	b.mu.Lock()
	switch {
	case b.closed:
		b.mu.Unlock()
		return ErrClosed
	case len(b.events) >= b.limit:
		b.mu.Unlock()
		return ErrFull
	}
	b.push(e)
	b.mu.Unlock()
	b.notify()
	return nil
}

// PutWait appends e, waiting while the box is three quarters full.
func (b *Box[E]) PutWait(ctx context.Context, e E) error {
	for {
		b.mu.Lock()
		if b.closed {
			b.mu.Unlock()
			return ErrClosed
		}
		if len(b.events) < b.limit*3/4 {
			b.push(e)
			b.mu.Unlock()
			b.notify()
			return nil
		}
		if b.space == nil {
			b.space = make(chan struct{})
		}
		space := b.space
		b.mu.Unlock()

		select {
		case <-space:
		case <-b.done:
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *Box[E]) push(e E) { b.events = append(b.events, e) }

func (b *Box[E]) notify() {
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// Take waits for events and returns all pending ones in order. The slice is
// valid until the next call. It returns ErrClosed when the box is closed.
func (b *Box[E]) Take(ctx context.Context) ([]E, error) {
	for {
		events, err := b.TakeNow()
		if len(events) > 0 || err != nil {
			return events, err
		}
		select {
		case <-b.ready:
		case <-b.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// TakeNow is Take without waiting: no events and no error means that none wait.
func (b *Box[E]) TakeNow() ([]E, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.events) == 0 {
		if b.closed {
			return nil, ErrClosed
		}
		return nil, nil
	}
	out := b.events
	clear(b.spare) // what is behind its length is clear already
	b.events, b.spare = b.spare[:0], out
	if b.space != nil {
		close(b.space)
		b.space = nil
	}
	return out, nil
}

// Ready is signalled when events wait; for consumers that select over several
// channels. A receive must be followed by TakeNow, not by Take: what was put
// between an earlier receive and its TakeNow has been taken by that one already
// and still signals.
func (b *Box[E]) Ready() <-chan struct{} { return b.ready }

// Len is the number of events that wait.
func (b *Box[E]) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.events)
}

// CloseIfEmpty closes the box unless events wait, and reports whether it did: an
// actor that ends this way loses nothing and reorders nothing.
func (b *Box[E]) CloseIfEmpty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.events) > 0 {
		return false
	}
	if !b.closed {
		b.closed = true
		close(b.done)
	}
	return true
}

// Close refuses further events. Those already queued can still be taken.
func (b *Box[E]) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		close(b.done)
	}
}
