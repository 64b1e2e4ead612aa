package relay

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"confab/extdisco/stun"
	"confab/internal/datagram"
)

// relayedOf are the relayed addresses of an answer.
func relayedOf(m stun.Message) (v4, v6 netip.AddrPort) {
	m.Each(func(kind uint16, value []byte) bool {
		if ap, ok := m.Address(value); ok && kind == stun.AttrXORRelayedAddress {
			if ap.Addr().Is4() {
				v4 = ap
			} else {
				v6 = ap
			}
		}
		return true
	})
	return v4, v6
}

// RFC 8656 §7.2, turn.md §7.4 and §13 row 12.
func TestFamilies(t *testing.T) {
	t.Parallel()
	w := serve(t, dual(t))
	six := serve(t, func(c *Config) { dual(t)(c); c.UDP = []netip.AddrPort{netip.AddrPortFrom(local6, 0)} })
	for _, r := range []struct {
		name   string
		world  *world
		list   []attribute
		v4, v6 bool
	}{
		{"of the client, IPv4", w, nil, true, false},
		{"of the client, IPv6", six, nil, false, true},
		{"IPv4 asked for", six, []attribute{ofFamily(1)}, true, false},
		{"IPv6 asked for", w, []attribute{ofFamily(2)}, false, true},
		{"both", w, []attribute{alsoFamily(2)}, true, true},
	} {
		c := r.world.login("udp")
		m := c.ask(stun.Allocate, 0, append(r.list, overUDP)...)
		if v4, v6 := relayedOf(m); v4.IsValid() != r.v4 || v6.IsValid() != r.v6 || m.Has(stun.AttrAddressErrorCode) {
			t.Errorf("%s: %s and %s", r.name, v4, v6)
		}
		if got := address(t, m, stun.AttrXORMappedAddress).String(); got != c.conn.LocalAddr().String() {
			t.Errorf("%s: mapped %s", r.name, got)
		}
		// RFC 8656 §8.2, §10.2, §12.2: 443 for a family that it has not.
		for family, has := range map[byte]bool{1: r.v4, 2: r.v6, 3: false} {
			code := 443
			if has {
				code = 0
			}
			c.ask(stun.Refresh, code, ofFamily(family))
			if family == 3 {
				continue
			}
			ip := map[byte]netip.Addr{1: local4, 2: local6}[family]
			c.ask(stun.CreatePermission, code, peerAt(netip.AddrPortFrom(ip, 0)))
			c.ask(stun.ChannelBind, code, channel(0x4000+uint16(family)), peerAt(netip.AddrPortFrom(ip, 5000)))
		}
		c.ask(stun.Refresh, 443, raw(stun.AttrRequestedAddressFamily, 1))
	}
}

// RFC 8656 §7.2: one of two is a success that tells of the other.
func TestAdditionalFamilyThatIsNotThere(t *testing.T) {
	t.Parallel()
	four := serve(t, nil)
	six := serve(t, func(c *Config) { dual(t)(c); c.Relays = c.Relays[1:] })
	taken := newFar(t, local6)
	full := serve(t, func(c *Config) {
		dual(t)(c)
		c.MinPort, c.MaxPort = taken.addr.Port(), taken.addr.Port()
	})
	for name, r := range map[string]struct {
		world *world
		v4    bool
		want  string
	}{
		"no IPv6":      {four, true, "\x02\x00\x04\x28"},
		"no IPv4":      {six, false, "\x01\x00\x04\x28"},
		"no IPv6 port": {full, true, "\x02\x00\x05\x08"},
	} {
		c := r.world.login("udp")
		m := c.ask(stun.Allocate, 0, overUDP, alsoFamily(2))
		v4, v6 := relayedOf(m)
		if v, _ := m.Get(stun.AttrAddressErrorCode); string(v) != r.want || v4.IsValid() != r.v4 || v6.IsValid() == r.v4 {
			t.Errorf("%s: %s, %s, ADDRESS-ERROR-CODE % x", name, v4, v6, v)
		}
	}
	only := six.login("udp")
	only.ask(stun.Allocate, 440, overUDP, ofFamily(1))
	only.allocate() // the family of the client is not there, the other is
}

// RFC 8656 §8.2: a family of a dual allocation ends on its own.
func TestRefreshOfOneFamily(t *testing.T) {
	t.Parallel()
	w := serve(t, dual(t))
	c := w.login("udp")
	v4, v6 := relayedOf(c.ask(stun.Allocate, 0, overUDP, alsoFamily(2)))
	p4, p6 := newFar(t, local4), newFar(t, local6)
	c.ask(stun.CreatePermission, 0, peerIP("127.0.0.1"), peerIP("::1"))
	c.say(p4.addr, "four")
	p4.hear(v4, "four")
	c.say(p6.addr, "six")
	p6.hear(v6, "six")
	p6.say(v6, "answer")
	c.hear(p6.addr, "answer")
	c.ask(stun.Refresh, 0, ofFamily(2), lifetime(0))
	c.say(p6.addr, "gone")
	c.say(p4.addr, "still there")
	p4.hear(v4, "still there")
	if conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(v6)); err != nil {
		t.Errorf("the port is not given back: %v", err)
	} else {
		_ = conn.Close()
	}
	c.ask(stun.Refresh, 0, ofFamily(1), lifetime(0))
	w.ended("deleted")
	c.ask(stun.Refresh, 437)
}

// RFC 8656 §7.2, turn.md §7.5.
func TestEvenPortAndReservation(t *testing.T) {
	t.Parallel()
	w := serve(t, func(c *Config) { c.QuotaUser = 3 })
	for range 5 {
		c := w.login("udp")
		c.as("even", w.clock.Now().Add(time.Hour), "north")
		if port := c.allocate(raw(stun.AttrEvenPort, 0)).Port(); port%2 != 0 {
			t.Errorf("port %d", port)
		}
		c.ask(stun.Refresh, 0, lifetime(0))
	}
	c, d, e := w.login("udp"), w.login("udp"), w.login("udp")
	m := c.ask(stun.Allocate, 0, overUDP, raw(stun.AttrEvenPort, 0x80))
	token, ok := m.Get(stun.AttrReservationToken)
	if !ok || len(token) != 8 {
		t.Fatalf("token % x", token)
	}
	redeem := raw(stun.AttrReservationToken, token...)
	first := address(t, m, stun.AttrXORRelayedAddress)
	if conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local4, first.Port()+1))); err == nil {
		_ = conn.Close()
		t.Error("the next port is not held")
	}
	// The reservation counts: a user may have three.
	d.ask(stun.Allocate, 486, overUDP, raw(stun.AttrEvenPort, 0x80))
	if second := d.allocate(redeem); first.Port()%2 != 0 || second.Port() != first.Port()+1 {
		t.Errorf("%s and %s", first, second)
	}
	e.ask(stun.Allocate, 508, overUDP, redeem) // only once
	p := newFar(t, local4)
	d.ask(stun.CreatePermission, 0, peerIP("127.0.0.1"))
	d.say(p.addr, "from the second")
	p.hear(netip.AddrPortFrom(local4, first.Port()+1), "from the second")

	d.ask(stun.Refresh, 0, lifetime(0))
	token, _ = d.ask(stun.Allocate, 0, overUDP, raw(stun.AttrEvenPort, 0x80)).Get(stun.AttrReservationToken)
	redeem = raw(stun.AttrReservationToken, token...)
	e.ask(stun.Allocate, 486, overUDP)
	w.pass(31 * time.Second)
	e.as("late", w.clock.Now().Add(time.Hour), "north")
	e.ask(stun.Allocate, 508, overUDP, redeem)
	for { // a loop looks every second
		w.mu.RLock()
		reserved, total := len(w.reserved), w.total
		w.mu.RUnlock()
		if reserved == 0 && total == 2 {
			return
		}
		d.settle()
	}
}

// Ports of reservations are bounded: a client that makes one after the other and lets
// them lie has no more of them than of allocations.
func TestReservationsCannotBeHoarded(t *testing.T) {
	t.Parallel()
	w := serve(t, func(c *Config) { c.QuotaUser = 5 })
	c := w.login("udp")
	for range 4 {
		c.allocate(raw(stun.AttrEvenPort, 0x80))
		c.ask(stun.Refresh, 0, lifetime(0))
	}
	c.ask(stun.Allocate, 486, overUDP, raw(stun.AttrEvenPort, 0x80))
	c.allocate()
}

// RFC 8656 §7.2: DONT-FRAGMENT is understood.
func TestDontFragment(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	c, p := w.login("udp"), newFar(t, local4)
	if !datagram.CanForbidFragments {
		c.ask(stun.Allocate, 420, overUDP, raw(stun.AttrDontFragment))
		return
	}
	relayed := c.allocate(raw(stun.AttrDontFragment))
	c.ask(stun.CreatePermission, 0, peerIP("127.0.0.1"))
	c.write(c.unsigned(stun.Send|stun.Indication, peerAt(p.addr), raw(stun.AttrDontFragment), data("whole")))
	p.hear(relayed, "whole")
}

// Ports are given out at random and rest for a while.
func TestPortsRest(t *testing.T) {
	t.Parallel()
	w := serve(t, func(c *Config) { c.MinPort, c.MaxPort = 40_000, 40_400 })
	c := w.login("udp")
	seen := map[uint16]bool{}
	for range 100 {
		port := c.allocate().Port()
		if seen[port] || port < 40_000 || port > 40_400 {
			t.Fatalf("port %d", port)
		}
		seen[port] = true
		c.ask(stun.Refresh, 0, lifetime(0))
	}
}
