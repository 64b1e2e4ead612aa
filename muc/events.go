package muc

import (
	"context"
	"errors"
	"sync/atomic"
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
	evDo                           // somebody outside wants to look or to act
)

// event is what a meeting's mailbox holds.
type event struct {
	kind eventKind
	room *Room
	s    *xmpp.Stanza
	name string // of evCommand: which service
	fn   func() // of evTimer, evResult, evDo
}

// meeting owns one goroutine and everything in its rooms: those that change
// together, such as a main room with its lobby and its breakout rooms.
type meeting struct {
	box   *mailbox.Box[event]
	room  *Room   // the present main one: a room that ends with events waiting has a successor
	sides []*Room // of other services, in the order in which they were opened

	overrun atomic.Bool // the mailbox was full
}

// post hands an event to the room's goroutine. wait is for connection readers.
func (r *Room) post(ctx context.Context, e event, wait bool) error {
	e.room = r
	if wait {
		return r.m.box.PutWait(ctx, e)
	}
	err := r.m.box.Put(e)
	if errors.Is(err, mailbox.ErrFull) {
		// Clients wait at three quarters: an actor that is this far behind is broken
		// or attacked.
		r.sv.stats.overflows.Add(1)
		r.m.overrun.Store(true)
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

// run is the goroutine of a meeting. It ends when its room has ended and nothing
// waits any more: then nobody's stanzas can overtake each other.
func (m *meeting) run(ctx context.Context) {
	for {
		events, err := m.box.Take(ctx)
		if err != nil {
			return
		}
		for i := range events {
			events[i].room.handle(&events[i])
		}
		if m.overrun.Swap(false) && !m.room.over {
			m.room.sv.log.Error("room overrun", "room", m.room.jid.String(), "occupants", len(m.room.order))
			m.room.abort()
		}
		if m.room.over && m.room.sv.retire(m) {
			return
		}
	}
}

// late handles what arrives for a room that has ended: it finds the successor,
// or the emptiness in which one may be created.
func (r *Room) late(e *event) {
	switch {
	case e.kind == evDo:
		e.fn()
	case e.kind != evStanza && e.kind != evCommand:
	case r.main == nil && r.m.room != r:
		r.m.room.handle(e)
	case e.kind == evCommand:
		r.sv.bounce(e.s, xmpp.ItemNotFound(""))
	default:
		create, live, err := r.sv.missing(e.s)
		if err != nil {
			r.sv.bounce(e.s, err)
		}
		if create && r.main == nil {
			next := newRoom(r.sv, r.jid, r.m, nil, live)
			r.m.room = next
			r.sv.replace(next)
			next.handle(e)
		}
	}
}
