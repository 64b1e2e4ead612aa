package relay

import (
	"bytes"
	"testing"
	"time"

	"confab/extdisco/stun"
)

// mobile is a client with a mobile allocation and a permission for a peer.
func (w *world) mobile(network string, p *far) (c *caller, ticket []byte) {
	w.t.Helper()
	c = w.login(network)
	m := c.ask(stun.Allocate, 0, overUDP, withTicket(nil), lifetime(3600))
	t, _ := m.Get(stun.AttrMobilityTicket)
	ticket = bytes.Clone(t)
	c.ask(stun.CreatePermission, 0, peerAt(p.addr))
	return c, ticket
}

func ticketOf(t testing.TB, m stun.Message) []byte {
	t.Helper()
	v, ok := m.Get(stun.AttrMobilityTicket)
	if !ok || len(v) != len(ticket{}) {
		t.Fatalf("ticket % x", v)
	}
	return bytes.Clone(v)
}

// RFC 8016 §3, turn.md §7.2.
func TestMobility(t *testing.T) {
	t.Parallel()
	for _, way := range [][2]string{{"udp", "udp"}, {"udp", "tcp"}, {"tcp", "udp"}, {"tcp", "tcp"}} {
		t.Run(way[0]+" to "+way[1], func(t *testing.T) {
			t.Parallel()
			w := serve(t, func(c *Config) { c.QuotaUser = 1 }) // a move counts as one
			p := newFar(t, local4)
			c, first := w.mobile(way[0], p)
			relayed := w.allocations()[0].relayed()
			c.ask(stun.Refresh, 400, withTicket(first)) // RFC 8016 §3.2.1: not from where it is

			d := w.login(way[1])
			m := d.ask(stun.Refresh, 0, withTicket(first), lifetime(1800))
			second := ticketOf(t, m)
			if bytes.Equal(first, second) || granted(t, m) != 1800 {
				t.Errorf("ticket %q after %q, %d s", second, first, granted(t, m))
			}
			// Nothing has come from there yet: the old one goes on.
			p.say(relayed, "old")
			c.hear(p.addr, "old")
			c.say(p.addr, "old")
			p.hear(relayed, "old")
			// The answer is lost: the same ticket is good once more.
			again := ticketOf(t, d.ask(stun.Refresh, 0, withTicket(first), lifetime(1800)))
			p.say(relayed, "still old")
			c.hear(p.addr, "still old")
			if bytes.Equal(again, first) {
				t.Error("the ticket has not changed")
			}
			d.say(p.addr, "new")
			p.hear(relayed, "new")
			p.say(relayed, "new")
			d.hear(p.addr, "new")
			c.ask(stun.Refresh, 437)
			c.ask(stun.CreatePermission, 437, peerAt(p.addr))
			d.ask(stun.CreatePermission, 0, peerAt(p.addr))
			d.ask(stun.Refresh, 400, withTicket(again))
			// And back.
			third := ticketOf(t, c.ask(stun.Refresh, 0, withTicket(again)))
			c.ask(stun.CreatePermission, 0, peerAt(p.addr)) // a request is a packet too
			p.say(relayed, "back")
			c.hear(p.addr, "back")
			d.ask(stun.Refresh, 437)
			d.ask(stun.Refresh, 437, withTicket(first))
			// Deleted from elsewhere.
			d.ask(stun.Refresh, 0, withTicket(third), lifetime(0))
			w.ended("deleted")
			d.ask(stun.Refresh, 437, withTicket(third))
			c.ask(stun.Refresh, 437)
			w.mu.RLock()
			defer w.mu.RUnlock()
			if len(w.tickets) != 0 || w.total != 0 {
				t.Errorf("%d tickets, %d counted", len(w.tickets), w.total)
			}
		})
	}
}

// turn.md §13 row 14.
func TestStrangerWithTicket(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	c, shown := w.mobile("udp", newFar(t, local4))
	d := w.login("udp")
	d.as("somebody", w.clock.Now().Add(time.Hour), "north")
	d.ask(stun.Refresh, 441, withTicket(shown))
	d.username = c.username
	d.write(d.signed(stun.Refresh, withTicket(shown)))
	d.expect(stun.Refresh, 401, stun.AttrNonce)
	d.key = c.key
	for _, bad := range [][]byte{nil, shown[1:], bytes.Repeat([]byte{0}, len(shown)), append(bytes.Clone(shown), 0)} {
		d.ask(stun.Refresh, 437, withTicket(bad))
	}
	c.ask(stun.Refresh, 0)
}

// Whoever has announced itself elsewhere and never comes is forgotten; so is the ticket
// before the present one.
func TestMoveThatIsNotMade(t *testing.T) {
	t.Parallel()
	w := serve(t, func(c *Config) { c.StaleNonce = 0 })
	p := newFar(t, local4)
	c, first := w.mobile("udp", p)
	relayed := w.allocations()[0].relayed()
	d := w.login("udp")
	second := ticketOf(t, d.ask(stun.Refresh, 0, withTicket(first), lifetime(3600)))
	w.pass(31 * time.Second)
	w.expire(w.allocations()[0], w.Server.clock()) // what a loop does every second
	d.ask(stun.Refresh, 437)
	d.ask(stun.Refresh, 437, withTicket(first))
	p.say(relayed, "here")
	c.hear(p.addr, "here")
	d.ask(stun.Refresh, 0, withTicket(second))
	d.say(p.addr, "there")
	p.hear(relayed, "there")
}

// A client that asks for tickets all the time does not make the server keep them.
func TestTicketsAreFew(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	_, shown := w.mobile("udp", newFar(t, local4))
	d, e := w.login("udp"), w.login("udp")
	for range 20 {
		shown = ticketOf(t, d.ask(stun.Refresh, 0, withTicket(shown)))
		d, e = e, d
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	if len(w.tickets) != 2 {
		t.Errorf("%d tickets of one allocation", len(w.tickets))
	}
}

// A connection that ends does not end a mobile allocation; one that is not, it does.
func TestConnectionOfAMobileAllocationEnds(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	p := newFar(t, local4)
	c, shown := w.mobile("tcp", p)
	relayed := w.allocations()[0].relayed()
	other := w.login("tcp")
	other.allocate()
	_, _ = c.conn.Close(), other.conn.Close()
	w.ended("connection closed")
	d := w.login("tcp")
	d.ask(stun.Refresh, 0, withTicket(shown), lifetime(3600))
	d.say(p.addr, "here I am")
	p.hear(relayed, "here I am")
	p.say(relayed, "welcome")
	d.hear(p.addr, "welcome")
	if n := w.Stats().Allocations; n != 1 {
		t.Errorf("%d allocations", n)
	}
}

// turn.md §7.2: ten tickets that are none from one address, then silence for the rest of
// the minute, for good ones as well.
func TestGuessedTickets(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	_, good := w.mobile("tcp", newFar(t, local4))
	d := w.login("udp")
	for i := range badTickets {
		d.ask(stun.Refresh, 437, withTicket([]byte{byte(i), 15: 1}))
	}
	for _, b := range [][]byte{[]byte("0123456789abcdef"), good} {
		d.write(d.signed(stun.Refresh, withTicket(b)))
		d.settle() // nothing has come before
	}
	if got := w.Stats().OverBudget; got != 2 {
		t.Errorf("%d without an answer", got)
	}
	w.pass(badTicketTime)
	d.ask(stun.Refresh, 0, withTicket(good))
}
