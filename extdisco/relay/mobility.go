package relay

import (
	"crypto/rand"
	"encoding/base64"
	"time"

	"confab/extdisco/stun"
	"confab/internal/datagram"
)

// ticket is a MOBILITY-TICKET (RFC 8016 §3.1). It is text, since coturn's client takes
// it for a C string.
type ticket [16]byte

func newTicket() (t ticket) {
	var b [12]byte
	_, _ = rand.Read(b[:])
	base64.RawURLEncoding.Encode(t[:], b[:])
	return t
}

// mobile is what a ticket stands for.
type mobile struct {
	allocation *allocation
	until      time.Time // zero: as long as it lives
}

// ticketTime is how long the ticket before is good: the answer with the new one may
// have been lost.
const ticketTime = 30 * time.Second

// issueTicket gives an allocation a new ticket. a.mu is held, or a is not yet known.
func (s *Server) issueTicket(a *allocation) {
	t := newTicket()
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.tickets[a.ticket]; old != nil {
		old.until = s.cfg.Now().Add(ticketTime)
	}
	a.ticket = t
	s.tickets[t] = &mobile{allocation: a}
}

// moveTime is how long a client that has announced itself elsewhere may take to send
// from there.
const moveTime = 30 * time.Second

// byTicket finds an allocation by its ticket.
func (s *Server) byTicket(b []byte, now time.Time) *allocation {
	if len(b) != len(ticket{}) {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	m := s.tickets[ticket(b)]
	if m == nil || !m.until.IsZero() && m.until.Before(now) {
		return nil
	}
	return m.allocation
}

// forgetTickets and expireTickets want s.mu held.
func (s *Server) forgetTickets(a *allocation) {
	if a.ticket == (ticket{}) {
		return
	}
	for t, m := range s.tickets {
		if m.allocation == a {
			delete(s.tickets, t)
		}
	}
}

func (s *Server) expireTickets(now time.Time) {
	for t, m := range s.tickets {
		if !m.until.IsZero() && m.until.Before(now) {
			delete(s.tickets, t)
		}
	}
}

// move answers a Refresh request that comes from another 5-tuple than the
// allocation's (RFC 8016 §3.2.1).
func (q *request) move() {
	s := q.server
	if !s.cfg.Mobility {
		q.fail(stun.CodeMobilityForbidden)
		return
	}
	t, _ := q.m.Get(stun.AttrMobilityTicket)
	a := s.byTicket(t, q.now)
	if a == nil {
		q.fail(stun.CodeAllocationMismatch)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.ended:
		q.fail(stun.CodeAllocationMismatch)
		return
	case a.username != q.username:
		q.fail(stun.CodeWrongCredentials)
		return
	}
	lifetime := q.lifetime()
	if v, ok := q.m.Uint32(stun.AttrLifetime); ok && v == 0 {
		q.start(stun.Success).AddUint32(stun.AttrLifetime, 0)
		s.end(a, "deleted")
		q.finish()
		return
	}
	if q.client == nil {
		q.client = &client{leg: q.leg, addr: q.from, dest: datagram.NewDestination(q.from)}
	}
	if before := a.next.Swap(q.client); before != nil && before != q.client {
		before.release(a)
	}
	a.nextUntil = q.now.Add(moveTime)
	q.client.hold(a)
	a.grant(lifetime, q.flight.now)
	s.issueTicket(a)
	b := q.start(stun.Success)
	b.AddUint32(stun.AttrLifetime, uint32(lifetime/time.Second))
	b.AddXORAddress(stun.AttrXORMappedAddress, q.from)
	b.Add(stun.AttrMobilityTicket, a.ticket[:])
	q.finish()
	s.log.Debug("allocation moves", "allocation", a.number, "remote", q.from, "transport", q.leg.network())
}

// arrived makes the 5-tuple that an allocation moves to the only one, with the first
// packet that comes from there (RFC 8016 §3.2.2).
func (a *allocation) arrived(c *client) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.next.CompareAndSwap(c, nil) {
		return
	}
	if old := a.client.Swap(c); old != c {
		old.release(a)
	}
}
