//go:build !portable

package relay

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"confab/extdisco/stun"
	"confab/internal/datagram"
)

// RFC 8656 §11.5: a peer whose port nobody has is told of; others are reached as before.
func TestICMP(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"udp", "tcp"} {
		w := serve(t, func(c *Config) { c.ICMP = true })
		c, p := w.login(network), newFar(t, local4)
		relayed := c.allocate()
		gone := newFar(t, local4)
		_ = gone.conn.Close()
		c.ask(stun.CreatePermission, 0, peerAt(p.addr))
		for i := range 20 {
			c.say(gone.addr, "nobody there")
			b := c.read()
			m, ok := stun.Parse(b)
			v, has := m.Get(stun.AttrICMP)
			if !ok || !has || m.Type() != stun.Data|stun.Indication || m.Has(stun.AttrData) || address(t, m, stun.AttrXORPeerAddress) != gone.addr {
				t.Fatalf("%s: % x", network, clip(b))
			}
			if len(v) != 8 || binary.BigEndian.Uint16(v[2:]) != 3<<9|3 || binary.BigEndian.Uint32(v[4:]) != 0 {
				t.Fatalf("%s: ICMP % x, want port unreachable", network, v)
			}
			if i%2 == 0 {
				p.say(relayed, "still there")
				c.hear(p.addr, "still there")
			}
			c.say(p.addr, "still there") // it is not lost for the fault
			p.hear(relayed, "still there")
		}
	}
}

func TestICMPAttribute(t *testing.T) {
	t.Parallel()
	four, six := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("[2001:db8::1]:1")
	for _, c := range []struct {
		fault datagram.Fault
		want  string
	}{
		{datagram.Fault{To: four, Type: 3, Code: 1, MTU: 9}, "\x00\x00\x06\x01\x00\x00\x00\x00"},
		{datagram.Fault{To: four, Type: 3, Code: 4, MTU: 1280}, "\x00\x00\x06\x04\x00\x00\x05\x00"},
		{datagram.Fault{To: four, Type: 11}, "\x00\x00\x16\x00\x00\x00\x00\x00"},
		{datagram.Fault{To: four, Type: 12}, ""},
		{datagram.Fault{To: six, Type: 1, Code: 4}, "\x00\x00\x02\x04\x00\x00\x00\x00"},
		{datagram.Fault{To: six, Type: 2, MTU: 1300}, "\x00\x00\x04\x00\x00\x00\x05\x14"},
		{datagram.Fault{To: six, Type: 3, Code: 1}, "\x00\x00\x06\x01\x00\x00\x00\x00"},
		{datagram.Fault{To: six, Type: 11}, ""},
	} {
		if got, ok := icmpAttribute(c.fault); ok != (c.want != "") || ok && string(got[:]) != c.want {
			t.Errorf("%+v: % x, %v", c.fault, got, ok)
		}
	}
}
