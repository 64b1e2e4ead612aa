package relay

import (
	"net/netip"
	"testing"

	"confab/extdisco/stun"
)

// forms are spellings of addresses that no client may reach (turn.md §8.1 steps 1 to 3,
// §13 row 4).
var forms = []string{
	"0.0.0.0", "0.0.0.1", "0.255.255.255", "127.0.0.1", "127.0.0.2", "127.255.255.254", "169.254.169.254", "169.254.170.2",
	"100.100.100.200", "192.0.0.192", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
	"::ffff:127.0.0.1", "::ffff:0.0.0.0", "::ffff:169.254.169.254", "::ffff:224.0.0.1", "::ffff:255.255.255.255",
	"::", "::1", "::2", "::7f00:1", "::a9fe:a9fe", "::ffff:0:127.0.0.1", // compatible, translated
	"64:ff9b::127.0.0.1", "64:ff9b::0.0.0.0", "64:ff9b::169.254.169.254", // NAT64
	"64:ff9b:1::127.0.0.1", "64:ff9b:1:7f00:0:100::", "64:ff9b:1:1:7f:0:100:0", "64:ff9b:1:7f:0:1::",
	"2002:7f00:1::", "2002:a9fe:a9fe::1", "2002::1", // 6to4
	"2001:0:4136:e378:8000:63bf:80ff:fffe", "2001::5601:5601", // Teredo
	"fe80::1", "fe80::5efe:127.0.0.1", "2606:4700::5efe:127.0.0.1", "2606:4700::200:5efe:169.254.169.254", // ISATAP
	"ff02::1", "ff05::2", "fd00:ec2::254",
}

// CVE-2020-26262 (0.0.0.0, :: and ::1) and CVE-2026-27624 (::ffff:127.0.0.1): whatever
// the operator allows, and however an address is spelled, it is refused in
// CreatePermission and ChannelBind and dropped in Send.
func TestCVE_2020_26262_and_CVE_2026_27624(t *testing.T) {
	t.Parallel()
	both := dual(t)
	for name, change := range map[string]func(*Peers){
		"by default":      func(*Peers) {},
		"all that can be": func(p *Peers) { p.Private = true; p.MinPort = 0 },
		"all is allowed":  func(p *Peers) { p.Allowed = prefixes("0.0.0.0/0", "::/0"); p.Private = true },
		"only our own":    func(p *Peers) { p.OnlyOwn = true; p.Allowed = prefixes("0.0.0.0/0", "::/0") },
		"a bridge is near": func(p *Peers) {
			p.Announced = func(ap netip.AddrPort) bool { return ap.Addr() == netip.MustParseAddr("10.9.9.9") }
		},
	} {
		w := serve(t, func(c *Config) {
			both(c)
			c.Permissions = 10
			// Relayed addresses that are not those which are tried.
			c.Relays = []Address{{Bind: netip.MustParseAddr("127.0.0.9"), Public: netip.MustParseAddr("203.0.113.9")}, {Bind: local6, Public: netip.MustParseAddr("2001:db8::9")}}
			c.Peers.Announced = nil
			c.Peers.Own = func(a netip.Addr) bool { return a == netip.MustParseAddr("203.0.113.9") }
			change(&c.Peers)
		})
		c := w.login("udp")
		c.ask(stun.Allocate, 0, overUDP, alsoFamily(2))
		c.ask(stun.CreatePermission, 403, peerIP("203.0.113.7"), peerIP("127.0.0.2"))
		for _, form := range forms {
			ip := netip.MustParseAddr(form)
			if ip == local6 {
				continue // the relayed socket of this test is there; TestPeerPolicy has it
			}
			before := w.Stats()
			c.ask(stun.CreatePermission, 403, spelled(ip, 0))
			c.ask(stun.ChannelBind, 403, channel(0x4000), spelled(ip, 3478))
			c.write(c.unsigned(stun.Send|stun.Indication, spelled(ip, 3478), data("x")))
			c.settle()
			after := w.Stats()
			if after.Unpermitted+after.RefusedPeer != before.Unpermitted+before.RefusedPeer+1 || after.PacketsToPeers != 0 {
				t.Errorf("%s, %s: %+v", name, form, after)
			}
		}
		if b := w.allocations()[0].bindings.Load(); len(b.permissions) != 0 || len(b.channels) != 0 {
			t.Errorf("%s: %d permissions, %d channels", name, len(b.permissions), len(b.channels))
		}
	}
}

// spelled is an address exactly as written: the builder would make IPv4 of ::ffff:0:0/96.
func spelled(ip netip.Addr, port uint16) attribute {
	if !ip.Is4In6() {
		return peerAt(netip.AddrPortFrom(ip, port))
	}
	return attribute{kind: stun.AttrXORPeerAddress, mapped: netip.AddrPortFrom(ip, port)}
}

// A bridge on loopback, as on a machine of its own: its port is reached under every
// spelling that means it, and no other port of the machine under any. turn.md §13 row 5:
// what those ports send back is dropped too.
func TestOwnPorts(t *testing.T) {
	t.Parallel()
	bridge, secret := newFar(t, local4), newFar(t, local4)
	w := serve(t, func(c *Config) {
		dual(t)(c)
		c.Peers.MinPort = 0
		c.Peers.Allowed = prefixes("0.0.0.0/0", "::/0")
		c.Peers.Announced = func(ap netip.AddrPort) bool {
			return ap.Addr() == local4 && (ap.Port() == 0 || ap.Port() == bridge.addr.Port())
		}
	})
	for _, network := range []string{"udp", "tcp"} {
		c := w.login(network)
		relayed, _ := relayedOf(c.ask(stun.Allocate, 0, overUDP, alsoFamily(2)))
		c.ask(stun.CreatePermission, 0, spelled(netip.MustParseAddr("::ffff:127.0.0.1"), 0))
		before := w.Stats().RefusedPeer
		for _, ip := range []string{"127.0.0.1", "::ffff:127.0.0.1"} {
			for _, port := range []uint16{53, 3478, 9090, w.UDPAddrs()[0].Port(), secret.addr.Port()} {
				to := spelled(netip.MustParseAddr(ip), port)
				c.ask(stun.ChannelBind, 403, channel(0x4000), to)
				c.write(c.unsigned(stun.Send|stun.Indication, to, data("GET / HTTP/1.1")))
			}
			c.write(c.unsigned(stun.Send|stun.Indication, spelled(netip.MustParseAddr(ip), bridge.addr.Port()), data("to the bridge")))
			bridge.hear(relayed, "to the bridge")
		}
		secret.say(relayed, "what nobody may hear")
		bridge.say(relayed, "hello")
		c.hear(bridge.addr, "hello")
		c.ask(stun.ChannelBind, 0, channel(0x4000), spelled(netip.MustParseAddr("::ffff:127.0.0.1"), bridge.addr.Port()))
		secret.say(relayed, "what nobody may hear")
		bridge.say(relayed, "hello again")
		c.hearOn(0x4000, "hello again")
		if got := w.Stats().RefusedPeer - before; got != 12 {
			t.Errorf("%s: %d packets refused, of 12", network, got)
		}
	}
	bridge.say(secret.addr, "the first that comes")
	secret.hear(bridge.addr, "the first that comes")
}
