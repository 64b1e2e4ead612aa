package main

// Whether rooms may be opened, and what is settled about them.

import (
	"context"
	"time"

	"confab/cmd/confab/config"
	"confab/focus"
	"confab/muc"
	"confab/muc/reservations"
	"confab/xmpp"
)

// reservationsOf are the keys that a running server takes over.
func reservationsOf(c config.Config) (url string, headers map[string]string, timeout time.Duration) {
	headers = map[string]string{}
	for name, value := range c.Reservations.Headers {
		headers[name] = string(value)
	}
	return c.Reservations.URL, headers, c.Reservations.Timeout.Duration
}

// buildReservations makes the part that asks the booking service. It is there also
// when nobody is asked: a reload may name one.
func (s *server) buildReservations() error {
	r := s.cfg.Reservations
	rc := reservations.DefaultConfig()
	rc.Retries, rc.RetryDelay = r.Retries, r.RetryDelay.Duration
	rc.Name = func(room xmpp.JID) (string, bool) {
		tenant := s.rooms.TenantOf(room)
		if room.Domain != s.names.conference && tenant == "" || health(room) {
			return "", false // a breakout room is part of a meeting that is booked
		}
		if tenant != "" {
			return "[" + tenant + "]" + room.Local, true
		}
		return room.Local, true
	}
	rc.Refusal = focus.NotReserved
	rc.Destroy = func(ctx context.Context, room xmpp.JID, reason string) error {
		return s.rooms.Do(ctx, room, func(r *muc.Room) { r.Destroy(xmpp.JID{}, reason, nil) })
	}
	s.bookings = reservations.NewService(rc, s.logs.of("reservations"))
	s.guards.add(s.bookings.Guard())
	s.bookings.Reload(reservationsOf(s.cfg))
	return nil
}

// roomPolicy is what is settled about a room that is being made: by its booking, else
// by a host, else by its tenant.
func (s *server) roomPolicy(room xmpp.JID) muc.RoomPolicy {
	return s.bookings.Policy(room).Over(s.presets.Policy(room)).Over(tenantPolicy(s.now().Tenants, s.rooms.TenantOf, room))
}
