package relay

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"confab/extdisco/stun"
)

var sizes = []int{0, 1, 2, 3, 4, 5, 7, 8, 100, 1199, 1200, 1201, 4000}

// turn.md §7.8: data of every length, both ways, in both forms, over both kinds of legs.
func TestDataOfAllLengths(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	for _, network := range []string{"udp", "tcp"} {
		c, p := w.login(network), newFar(t, local4)
		relayed := c.allocate()
		c.ask(stun.CreatePermission, 0, peerIP("127.0.0.1"))
		for _, n := range sizes {
			s := strings.Repeat("x", n)
			c.say(p.addr, s)
			p.hear(relayed, s)
			p.say(relayed, s)
			c.hear(p.addr, s)
		}
		c.ask(stun.ChannelBind, 0, channel(0x4123), peerAt(p.addr))
		for _, n := range sizes {
			s := strings.Repeat("y", n)
			c.sayOn(0x4123, s)
			p.hear(relayed, s)
			p.say(relayed, s)
			c.hearOn(0x4123, s)
		}
		// Another port of the same peer has no channel.
		other := newFar(t, local4)
		other.say(relayed, "elsewhere")
		c.hear(other.addr, "elsewhere")
		c.say(p.addr, "a Send indication works as before")
		p.hear(relayed, "a Send indication works as before")
	}
	st := w.Stats()
	if want := uint64(2 * (2*len(sizes) + 1)); st.PacketsToPeers != want || st.PacketsFromPeers != want {
		t.Errorf("%d to and %d from peers, want %d", st.PacketsToPeers, st.PacketsFromPeers, want)
	}
}

// The padding of ChannelData over UDP may be there and need not.
func TestPaddedChannelDataOverUDP(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	c, p := w.login("udp"), newFar(t, local4)
	relayed := c.allocate()
	c.ask(stun.ChannelBind, 0, channel(0x4000), peerAt(p.addr))
	c.write([]byte("\x40\x00\x00\x05hello\x00\x00\x00"))
	p.hear(relayed, "hello")
	c.write([]byte("\x40\x00\x00\x06hello")) // cut off
	c.write([]byte("\x40\x00"))
	c.write([]byte("\x4f\xff\x00\x05hello")) // nobody's channel
	c.sayOn(0x4000, "after")
	p.hear(relayed, "after")
	if st := w.Stats(); st.Garbage != 2 || st.Unbound != 1 {
		t.Errorf("%+v", st)
	}
}

// RFC 8656 §11.2: whatever is wrong with a Send indication, there is no answer.
func TestSendIndicationsThatAreNothing(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	for _, network := range []string{"udp", "tcp"} {
		c, p := w.login(network), newFar(t, local4)
		c.say(p.addr, "without an allocation")
		c.sayOn(0x4000, "without an allocation")
		relayed := c.allocate()
		c.say(p.addr, "without a permission")
		c.ask(stun.CreatePermission, 0, peerIP("127.0.0.1"))
		const send = stun.Send | stun.Indication
		for _, b := range [][]byte{
			c.unsigned(send),
			c.unsigned(send, data("no peer")),
			c.unsigned(send, peerAt(p.addr)), // no data
			c.unsigned(send, raw(stun.AttrXORPeerAddress, 1, 2, 3), data("no address")),
			c.unsigned(send, raw(stun.AttrXORPeerAddress, 0, 3, 0, 0, 0, 0, 0, 0), data("no family")),
			c.unsigned(send, peerAt(p.addr), data("unknown"), raw(0x7777, 1)),
			c.unsigned(send, peerAt(netip.MustParseAddrPort("[::1]:5000")), data("another family")),
			c.unsigned(send, peerAt(netip.AddrPortFrom(local4, 0)), data("no port")),
			c.unsigned(send, peerAt(netip.MustParseAddrPort("192.0.2.1:5000")), data("no permission")),
		} {
			c.write(b)
		}
		c.settle()
		c.say(p.addr, "good")
		p.hear(relayed, "good")
	}
	if st := w.Stats(); st.PacketsToPeers != 2 || st.Unallocated != 4 {
		t.Errorf("%+v", st)
	}
}

// RFC 8656 §10.2: all or none; §9: for 300 s, for all ports of an address.
func TestPermissions(t *testing.T) {
	t.Parallel()
	w := serve(t, func(c *Config) { c.Permissions = 3; c.StaleNonce = 0 })
	c, p := w.login("udp"), newFar(t, local4)
	relayed := c.allocate(lifetime(3600))
	none := func(what string) {
		t.Helper()
		p.say(relayed, what)
		c.say(p.addr, what)
		c.settle()
		if n := len(w.allocations()[0].bindings.Load().permissions); n != 0 {
			t.Errorf("%s: %d permissions", what, n)
		}
	}
	none("before")
	c.ask(stun.CreatePermission, 400)
	c.ask(stun.CreatePermission, 400, raw(stun.AttrXORPeerAddress, 1, 2))
	c.ask(stun.CreatePermission, 400, peerIP("127.0.0.1"), raw(stun.AttrXORPeerAddress, 1, 2))
	c.ask(stun.CreatePermission, 403, peerIP("127.0.0.1"), peerIP("169.254.169.254"))
	c.ask(stun.CreatePermission, 443, peerIP("127.0.0.1"), peerIP("::1"))
	c.ask(stun.CreatePermission, 508, peerIP("127.0.0.1"), peerIP("127.0.0.2"), peerIP("127.0.0.3"), peerIP("127.0.0.4"))
	c.ask(stun.CreatePermission, 508, peerIP("127.0.0.1"), peerIP("127.0.0.1"), peerIP("127.0.0.1"), peerIP("127.0.0.1"), peerIP("169.254.169.254"))
	none("all or none")
	c.ask(stun.CreatePermission, 0, peerIP("127.0.0.1"), peerIP("127.0.0.2"))
	p.say(relayed, "now")
	c.hear(p.addr, "now")
	q := newFar(t, local4)
	q.say(relayed, "from another port")
	c.hear(q.addr, "from another port")

	w.pass(200 * time.Second)
	c.ask(stun.CreatePermission, 0, peerIP("127.0.0.1"))
	w.pass(200 * time.Second) // 127.0.0.2 has expired
	p.say(relayed, "renewed")
	c.hear(p.addr, "renewed")
	c.ask(stun.CreatePermission, 0, peerIP("127.0.0.3"), peerIP("127.0.0.4"))
	c.ask(stun.CreatePermission, 508, peerIP("127.0.0.5"))
	w.pass(301 * time.Second)
	p.say(relayed, "expired")
	c.say(p.addr, "expired")
	c.settle()
	// One that has expired and one that is new: once this was the end of the process.
	c.ask(stun.CreatePermission, 0, peerIP("127.0.0.1"), peerIP("127.0.0.6"))
	p.say(relayed, "again")
	c.hear(p.addr, "again")
	c.say(p.addr, "again")
	p.hear(relayed, "again")
	if st := w.Stats(); st.Panics != 0 || st.Unpermitted == 0 {
		t.Errorf("%+v", st)
	}
}

// RFC 8656 §12.2.
func TestChannelBinding(t *testing.T) {
	t.Parallel()
	w := serve(t, func(c *Config) { c.Channels = 3; c.StaleNonce = 0 })
	c := w.login("udp")
	p, q := newFar(t, local4), newFar(t, local4)
	relayed := c.allocate(lifetime(3600))
	to := peerAt(p.addr)
	for _, n := range []uint16{0, 1, 0x3fff, 0x8000, 0xffff} {
		c.ask(stun.ChannelBind, 400, channel(n), to)
	}
	c.ask(stun.ChannelBind, 400, channel(0x4000))
	c.ask(stun.ChannelBind, 400, to)
	c.ask(stun.ChannelBind, 400, raw(stun.AttrChannelNumber, 0x40, 0), to)
	c.ask(stun.ChannelBind, 400, channel(0x4000), raw(stun.AttrXORPeerAddress, 1))
	c.ask(stun.ChannelBind, 400, channel(0x4000), peerIP("127.0.0.1")) // port 0
	c.ask(stun.ChannelBind, 403, channel(0x4000), peerAt(netip.MustParseAddrPort("10.0.0.1:5000")))
	c.ask(stun.ChannelBind, 443, channel(0x4000), peerAt(netip.MustParseAddrPort("[::1]:5000")))
	c.ask(stun.ChannelBind, 0, channel(0x4000), to)
	c.ask(stun.ChannelBind, 0, channel(0x4000), to)                      // renewed
	c.ask(stun.ChannelBind, 400, channel(0x4000), peerAt(q.addr))        // bound to another peer
	c.ask(stun.ChannelBind, 400, channel(0x4001), to)                    // the peer has another number
	c.ask(stun.ChannelBind, 0, channel(stun.MaxChannel), peerAt(q.addr)) // the last
	c.ask(stun.ChannelBind, 0, channel(0x4002), peerAt(netip.MustParseAddrPort("127.0.0.9:5000")))
	c.ask(stun.ChannelBind, 508, channel(0x4003), peerAt(netip.MustParseAddrPort("127.0.0.9:5001")))
	c.sayOn(0x4000, "one")
	p.hear(relayed, "one")
	c.sayOn(stun.MaxChannel, "two")
	q.hear(relayed, "two")
	q.say(relayed, "three") // a ChannelBind is a permission
	c.hearOn(stun.MaxChannel, "three")

	w.pass(299 * time.Second)
	c.ask(stun.ChannelBind, 0, channel(0x4000), to) // which it renews
	w.pass(299 * time.Second)
	p.say(relayed, "four")
	c.hearOn(0x4000, "four")
	w.pass(3 * time.Second)
	c.sayOn(stun.MaxChannel, "ten minutes are over")
	c.sayOn(0x4000, "five")
	p.hear(relayed, "five")
	q.say(relayed, "six") // the permission has been renewed with the other's: same address
	c.settle()
	c.ask(stun.CreatePermission, 0, peerIP("127.0.0.1"))
	q.say(relayed, "seven")
	c.hear(q.addr, "seven")
	// Number and peer are free for others.
	c.ask(stun.ChannelBind, 0, channel(stun.MaxChannel), peerAt(netip.MustParseAddrPort("127.0.0.9:5001")))
	c.ask(stun.ChannelBind, 0, channel(0x4004), peerAt(q.addr))
	q.say(relayed, "eight")
	c.hearOn(0x4004, "eight")
	if st := w.Stats(); st.Unbound != 1 || st.Panics != 0 {
		t.Errorf("%+v", st)
	}
}

// Bandwidth of an allocation and of all (turn.md §8.4): over it packets are dropped.
func TestBandwidth(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"one": func(c *Config) { c.MaxBps = 10_000 },
		"all": func(c *Config) { c.MaxBps, c.TotalBps = 0, 10_000 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := serve(t, change)
			c, p := w.login("udp"), newFar(t, local4)
			relayed := c.allocate()
			c.ask(stun.ChannelBind, 0, channel(0x4000), peerAt(p.addr))
			for range 2 {
				for i := range 15 {
					c.sayOn(0x4000, fmt.Sprintf("%01000d", i))
				}
				c.settle()
				for i := range 10 {
					p.hear(relayed, fmt.Sprintf("%01000d", i))
				}
				p.say(relayed, "the other direction has its own")
				c.hearOn(0x4000, "the other direction has its own")
				w.pass(time.Second)
			}
			if got := w.Stats().OverRate; got != 10 {
				t.Errorf("%d dropped", got)
			}
		})
	}
}

// Two allocations of the same relay: in memory, and only with permissions on both sides.
func TestAllocationsOfOneRelay(t *testing.T) {
	t.Parallel()
	w := serve(t, func(c *Config) { c.Peers.Announced = nil })
	a, b := w.login("udp"), w.login("tcp")
	at, bt := a.allocate(), b.allocate()
	a.ask(stun.CreatePermission, 0, peerAt(bt))
	b.ask(stun.CreatePermission, 0, peerAt(at))
	a.say(bt, "hello")
	b.hear(at, "hello")
	b.ask(stun.ChannelBind, 0, channel(0x4000), peerAt(at))
	b.sayOn(0x4000, "as well")
	a.hear(bt, "as well")
	// A port of the range that nobody has.
	free := netip.AddrPortFrom(local4, map[bool]uint16{true: 49152, false: 49153}[at.Port() != 49152 && bt.Port() != 49152])
	a.ask(stun.ChannelBind, 403, channel(0x4000), peerAt(free))
	a.say(free, "nobody")
	b.ask(stun.Refresh, 0, lifetime(0))
	w.ended("deleted")
	a.say(bt, "gone")
	a.settle()
	if st := w.Stats(); st.RefusedPeer != 2 {
		t.Errorf("%d refused", st.RefusedPeer)
	}
}

// The largest that a client can send to another: too long for a Data indication, it is
// dropped. Once it was the end of the process.
func TestLongestData(t *testing.T) {
	t.Parallel()
	w := serve(t, func(c *Config) { c.Peers.Announced = nil; c.MaxBps = 0 })
	a, b := w.login("tcp"), w.login("tcp")
	at, bt := a.allocate(), b.allocate()
	a.ask(stun.ChannelBind, 0, channel(0x4000), peerAt(bt))
	b.ask(stun.CreatePermission, 0, peerAt(at))
	a.sayOn(0x4000, strings.Repeat("x", 65_535))
	a.sayOn(0x4000, strings.Repeat("y", 65_517))
	a.sayOn(0x4000, strings.Repeat("z", 65_516)) // just fits
	b.hear(at, strings.Repeat("z", 65_516))
	b.ask(stun.ChannelBind, 0, channel(0x4000), peerAt(at))
	a.sayOn(0x4000, strings.Repeat("x", 65_535)) // ChannelData has more room
	b.hearOn(0x4000, strings.Repeat("x", 65_535))
	a.say(bt, strings.Repeat("w", 65_516))
	b.hearOn(0x4000, strings.Repeat("w", 65_516))
	if st := w.Stats(); st.Panics != 0 || st.Garbage != 2 {
		t.Errorf("%+v", st)
	}
}
