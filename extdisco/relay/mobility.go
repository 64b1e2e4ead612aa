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

// ticketTime is how long the ticket before is good: the answer with the new one may
// have been lost.
const ticketTime = 30 * time.Second

// moveTime is how long a client that has announced itself elsewhere may take to send
// from there.
const moveTime = 30 * time.Second

// badTickets is how many tickets that are none may come from an address in badTicketTime;
// then there is no answer to any until that is over (turn.md §7.2).
const (
	badTickets    = 10
	badTicketTime = time.Minute
)

func newTicketGate() *gate {
	g := newGate(badTickets, 0)
	g.window, g.all = badTicketTime, true
	return g
}

// issueTicket gives an allocation a new ticket in place of the one that was shown. If
// that was the one before, the client has not got the present one, and gets it again:
// an allocation never has more than two. a.mu is held, or a is not yet known.
func (s *Server) issueTicket(a *allocation, shown []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(shown) == len(a.former) && ticket(shown) == a.former {
		return
	}
	delete(s.tickets, a.former)
	a.former, a.formerUntil = a.ticket, s.cfg.Now().Add(ticketTime)
	a.ticket = newTicket()
	s.tickets[a.ticket] = a
}

// byTicket finds an allocation by its ticket.
func (s *Server) byTicket(b []byte, now time.Time) *allocation {
	if len(b) != len(ticket{}) {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	a := s.tickets[ticket(b)]
	if a == nil || a.former == ticket(b) && !a.formerUntil.After(now) {
		return nil
	}
	return a
}

// forgetTickets wants s.mu held.
func (s *Server) forgetTickets(a *allocation) {
	delete(s.tickets, a.ticket)
	delete(s.tickets, a.former)
}

// move answers a Refresh request that comes from another 5-tuple than the
// allocation's (RFC 8016 §3.2.1).
func (q *request) move() {
	s := q.server
	if !s.cfg.Mobility {
		q.fail(stun.CodeMobilityForbidden)
		return
	}
	if s.badTickets.full(q.from.Addr(), q.now) {
		s.counters.overBudget.Add(1)
		return
	}
	t, _ := q.m.Get(stun.AttrMobilityTicket)
	a := s.byTicket(t, q.now)
	if a == nil {
		if s.admit(s.badTickets, q.from.Addr(), q.now) {
			q.fail(stun.CodeAllocationMismatch)
		}
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
		q.flight.flush() // what came before goes out by the socket that is closed now
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
	s.issueTicket(a, t)
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
