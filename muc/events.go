package muc

import (
	"context"
	"errors"
	"time"

	"confab/internal/mailbox"
	"confab/xmpp"
)

// eventKind tells the events of a meeting apart.
type eventKind uint8

const (
	evStanza  eventKind = iota + 1 // addressed to the room or an occupant
	evCommand                      // a client's message to the component named in name
	evTimer                        // a timer of the room ran out
	evResult                       // an answer to a request of the room
	evDebug                        // somebody wants to look
	evStop                         // the service ends
)

// event is what a meeting's mailbox holds.
type event struct {
	kind eventKind
	room *Room
	s    *xmpp.Stanza
	name string // of evCommand: which service
	fn   func() // of evTimer, evResult, evDebug
}

// meeting owns one goroutine and everything in its rooms. A main room is a
// meeting of one; rooms that change together with it share its mailbox.
type meeting struct {
	box   *mailbox.Box[event]
	over  bool // set by the goroutine when its last room has ended
	rooms int
}

// post hands an event to the room's goroutine. wait is for connection readers.
func (r *Room) post(ctx context.Context, e event, wait bool) error {
	e.room = r
	if wait {
		return r.m.box.PutWait(ctx, e)
	}
	err := r.m.box.Put(e)
	if errors.Is(err, mailbox.ErrFull) {
		r.sv.stats.overflows.Add(1)
		return xmpp.ErrFull
	}
	return err
}

// After calls fn on the room's goroutine after d, unless the timer is stopped or
// the room has ended.
func (r *Room) After(d time.Duration, fn func()) *time.Timer {
	return time.AfterFunc(d, func() {
		// A room that is gone or overrun has no use for its timers.
		_ = r.post(context.Background(), event{kind: evTimer, fn: fn}, false)
	})
}

// run is the goroutine of a meeting.
func (m *meeting) run(ctx context.Context) {
	for {
		events, err := m.box.Take(ctx)
		if err != nil {
			return
		}
		for i := range events {
			events[i].room.handle(&events[i])
			if m.over {
				m.handOver(events[i+1:])
				return
			}
		}
	}
}

// handOver gives what arrived too late back to the service: a room ends while
// somebody joins, and the join must not be lost.
func (m *meeting) handOver(rest []event) {
	for {
		for i := range rest {
			if e := &rest[i]; e.kind == evStanza {
				e.room.sv.again(e.s)
			} else if e.kind == evDebug {
				e.fn()
			}
		}
		if m.box.Len() == 0 {
			return
		}
		var err error
		if rest, err = m.box.Take(context.Background()); err != nil {
			return
		}
	}
}
