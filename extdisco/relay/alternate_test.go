package relay

import (
	"net"
	"net/netip"
	"testing"

	"confab/extdisco/stun"
)

// alternateOf is what a 300 says.
func alternateOf(t *testing.T, m stun.Message) string {
	t.Helper()
	v, _ := m.Get(stun.AttrAlternateServer)
	if len(v) != 8 || v[1] != stun.FamilyIPv4 {
		t.Fatalf("ALTERNATE-SERVER % x", v)
	}
	ap := netip.AddrPortFrom(netip.AddrFrom4([4]byte(v[4:])), uint16(v[2])<<8|uint16(v[3]))
	name, _ := m.Get(stun.AttrAlternateDomain)
	return ap.String() + " " + string(name)
}

// RFC 8489 §10, turn.md §7.13: an Allocate that has no room here, or that comes while the
// relay drains, is sent on to a relay that its client can reach the way it has come.
func TestTryAlternate(t *testing.T) {
	t.Parallel()
	alternates := []Alternate{
		{Addr: netip.MustParseAddrPort("192.0.2.1:3478")},
		{Addr: netip.MustParseAddrPort("[2001:db8::1]:3478")},
		{Addr: netip.MustParseAddrPort("192.0.2.2:3478")},
		{Addr: netip.MustParseAddrPort("192.0.2.3:5349"), Secure: true, Name: "relay.example"},
	}
	w := serve(t, func(c *Config) { c.QuotaTotal, c.Alternates = 1, alternates })
	held := w.login("udp")
	held.allocate()
	full := w.login("udp")
	for _, want := range []string{"192.0.2.1:3478 ", "192.0.2.2:3478 ", "192.0.2.1:3478 "} {
		m := full.ask(stun.Allocate, 300, overUDP)
		if got := alternateOf(t, m); got != want || !m.Has(stun.AttrMessageIntegrity) {
			t.Errorf("sent on to %q, want %q", got, want)
		}
	}
	full.ask(stun.Refresh, 437) // nothing else is sent on
	w.call("udp").greet()       // nor is somebody without a credential
	w.with(func(p *Policy) { p.QuotaTotal, p.QuotaUser = 100, 1 })
	full.ask(stun.Allocate, 486, overUDP) // a quota of the user's own counts everywhere

	w.with(func(p *Policy) { p.QuotaUser, p.AlternateAlways = 100, true })
	full.ask(stun.Allocate, 300, overUDP)
	held.ask(stun.Refresh, 0)
	w.with(func(p *Policy) { p.AlternateAlways = false })
	full.allocate()

	w.Drain()
	last := w.login("tcp")
	last.ask(stun.Allocate, 300, overUDP)
	held.ask(stun.Refresh, 0)
	w.with(func(p *Policy) { p.Alternates = alternates[1:2] }) // of the other family
	last.ask(stun.Allocate, 486, overUDP)
	if got := w.Stats().Refused[300]; got != 5 {
		t.Errorf("%d sent on", got)
	}
}

// Over TLS the name comes with the address.
func TestTryAlternateOverTLS(t *testing.T) {
	t.Parallel()
	w := serve(t, func(c *Config) {
		c.PlainTLS, c.AlternateAlways = serverTLS(t), true
		c.Alternates = []Alternate{{Addr: netip.MustParseAddrPort("192.0.2.1:3478")}, {Addr: netip.MustParseAddrPort("192.0.2.3:5349"), Secure: true, Name: "relay.example"}}
	})
	conn, err := net.Dial("tcp", w.listeners[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := w.over(handshaken(t, conn), true)
	c.greet()
	if got := alternateOf(t, c.ask(stun.Allocate, 300, overUDP)); got != "192.0.2.3:5349 relay.example" {
		t.Errorf("sent on to %q", got)
	}
}
