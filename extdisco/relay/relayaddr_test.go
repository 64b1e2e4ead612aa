package relay

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"confab/extdisco/stun"
)

// Relays with several addresses of a family (turn.md §5.2, relay-ip).
func several(t *testing.T, change func(*Config)) (w *world, at [3]netip.Addr) {
	t.Helper()
	for i := range at {
		at[i] = netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + i)})
	}
	return serve(t, func(c *Config) {
		c.UDP, c.TCP, c.Relays = nil, nil, nil
		for _, a := range at {
			c.UDP = append(c.UDP, netip.AddrPortFrom(a, 0))
			c.TCP = append(c.TCP, netip.AddrPortFrom(a, 0))
		}
		for _, a := range at[:2] { // clients come to a third as well
			c.Relays = append(c.Relays, Address{Bind: a, Public: a})
		}
		if change != nil {
			change(c)
		}
	}), at
}

// loginAt is login at one of the addresses listened on.
func (w *world) loginAt(network string, i int) *caller {
	w.t.Helper()
	addr := w.UDPAddrs()[i].String()
	if network == "tcp" {
		addr = w.listeners[i].Addr().String()
	}
	c := w.callAt(network, addr)
	c.greet()
	return c
}

// A client is relayed from the address that it has come to; one that has come to an address
// which is none of the relay's, from each in turn.
func TestRelayedWhereTheClientIs(t *testing.T) {
	t.Parallel()
	w, at := several(t, nil)
	p := newFar(t, local4)
	for _, network := range []string{"udp", "tcp"} {
		for i, a := range at[:2] {
			c := w.loginAt(network, i)
			relayed := c.allocate()
			if relayed.Addr() != a {
				t.Errorf("%s to %s: relayed from %s", network, a, relayed)
			}
			c.ask(stun.CreatePermission, 0, peerAt(p.addr))
			c.say(p.addr, "hello")
			p.hear(relayed, "hello")
			p.say(relayed, "back")
			c.hear(p.addr, "back")
		}
	}
	seen := map[netip.Addr]int{}
	for range 4 {
		seen[w.loginAt("udp", 2).allocate().Addr()]++
	}
	if seen[at[0]] != 2 || seen[at[1]] != 2 {
		t.Errorf("to %s: relayed from %v", at[2], seen)
	}
}

// Relayed addresses of both reach each other in memory, and nothing else of the range.
func TestRelayedAddressesOfTwoReachEachOther(t *testing.T) {
	t.Parallel()
	w, _ := several(t, func(c *Config) { c.Peers.Announced = nil })
	a, b := w.loginAt("udp", 0), w.loginAt("tcp", 1)
	from, to := a.allocate(), b.allocate()
	a.ask(stun.ChannelBind, 0, channel(0x4000), peerAt(to))
	b.ask(stun.CreatePermission, 0, peerAt(from))
	a.sayOn(0x4000, "across")
	b.hear(from, "across")
	b.say(from, "back")
	a.hearOn(0x4000, "back")

	free := netip.AddrPortFrom(to.Addr(), to.Port()^1)
	a.ask(stun.ChannelBind, 403, channel(0x4001), peerAt(free))
}

// When one address has no port left, the other has.
func TestRelayAddressIsFull(t *testing.T) { // alone: others open ports too
	taken := newFar(t, local4)
	w, at := several(t, func(c *Config) { c.MinPort, c.MaxPort = taken.addr.Port(), taken.addr.Port() })
	first, second := w.loginAt("udp", 0), w.loginAt("udp", 0)
	if got := first.allocate(); got.Addr() != at[1] {
		t.Errorf("relayed from %s", got)
	}
	second.ask(stun.Allocate, 486, overUDP) // quota: nine tenths of two ports
	w.with(func(p *Policy) { p.QuotaTotal = 10 })
	second.ask(stun.Allocate, 508, overUDP)
}

// TCP allocations have the address that their client has come to, too.
func TestTCPRelayedWhereTheClientIs(t *testing.T) {
	t.Parallel()
	w, at := several(t, func(c *Config) { c.TCPRelay = true })
	a, b := w.loginAt("tcp", 0), w.loginAt("tcp", 1)
	var relayed [2]netip.AddrPort
	for i, c := range []*caller{a, b} {
		m := c.ask(stun.Allocate, 0, overTCP)
		if relayed[i] = address(t, m, stun.AttrXORRelayedAddress); relayed[i].Addr() != at[i] {
			t.Errorf("to %s: relayed from %s", at[i], relayed[i])
		}
	}
	b.ask(stun.CreatePermission, 0, peerAt(relayed[0]))
	a.write(a.signed(stun.Connect, peerAt(relayed[1])))
	attempt := b.answer()
	if attempt.Type() != stun.ConnectionAttempt|stun.Indication || address(t, attempt, stun.AttrXORPeerAddress) != relayed[0] {
		t.Errorf("%#x from %v", attempt.Type(), address(t, attempt, stun.AttrXORPeerAddress))
	}
	a.expect(stun.Connect, 0, stun.AttrConnectionID)
}

// An address that the machine gets while the relay runs is listened on as if it had been
// there.
func TestListensOnAddressThatComes(t *testing.T) {
	t.Parallel()
	w, p := serve(t, nil), newFar(t, local4)
	ap := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.9"), w.UDPAddrs()[0].Port())
	for range 2 {
		if err := w.ListenUDP(ap); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(w.locals); n != 2 {
		t.Errorf("%d addresses listened on", n)
	}
	c := w.callAt("udp", ap.String())
	c.greet()
	relayed := c.allocate()
	c.ask(stun.ChannelBind, 0, channel(0x4000), peerAt(p.addr))
	c.sayOn(0x4000, "there")
	p.hear(relayed, "there")
	p.say(relayed, "back")
	c.hearOn(0x4000, "back")
	c.ask(stun.Refresh, 0, lifetime(0))
	w.ended("deleted")
	w.pass(2 * time.Second) // a sweep forgets the client
	c.ask(stun.Refresh, 437)
	w.close()
	if err := w.ListenUDP(ap); !errors.Is(err, net.ErrClosed) {
		t.Errorf("of a relay that is closed: %v", err)
	}
}
