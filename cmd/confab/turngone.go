package main

// Credentials of the relay are for sessions: what those that are gone have allocated
// ends after a while.

import (
	"context"
	"maps"
	"time"

	"confab/xmpp"
)

const (
	// goneTime is how long an allocation outlives its session (turn.md §8.5): long
	// enough for one that was lost to be resumed or to be opened again by the same name.
	goneTime = 5 * time.Minute
	// goneInterval is how often is looked.
	goneInterval = 30 * time.Second
)

// departures finds the allocations whose sessions are gone. It looks at those there are,
// so that it remembers no more than these; what was made with other credentials than
// those of sessions is left alone: of the HTTP interface, of others who know the secret,
// of long-term users.
type departures struct {
	relay interface {
		Users() map[string]int
		EndUsers(match func(user string) bool, reason string) int
	}
	ids interface {
		ID(session xmpp.JID) string
		Made(id string) bool
	}
	sessions func() []xmpp.JID
	now      func() time.Time

	since map[string]time.Time // when ids with allocations were first seen without a session
}

func (s *server) departures() *departures {
	return &departures{relay: s.relay, ids: s.ice, sessions: s.sessions.Sessions, now: time.Now, since: map[string]time.Time{}}
}

// Run looks until ctx ends.
func (d *departures) Run(ctx context.Context) error {
	tick := time.NewTicker(goneInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			d.look()
		}
	}
}

func (d *departures) look() {
	gone := d.relay.Users()
	maps.DeleteFunc(gone, func(id string, _ int) bool { return !d.ids.Made(id) })
	if len(gone) > 0 {
		for _, j := range d.sessions() {
			delete(gone, d.ids.ID(j))
		}
	}
	maps.DeleteFunc(d.since, func(id string, _ time.Time) bool { return gone[id] == 0 })
	over, now := map[string]bool{}, d.now()
	for id := range gone {
		if since, known := d.since[id]; !known {
			d.since[id] = now
		} else if now.Sub(since) >= goneTime {
			over[id] = true
			delete(d.since, id)
		}
	}
	if len(over) > 0 {
		d.relay.EndUsers(func(user string) bool { return over[user] }, "session gone")
	}
}
