//go:build !portable

package relay

import (
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"confab/extdisco/stun"
	"confab/internal/datagram"
)

// marked is a UDP socket that marks what it sends, and sees how what comes is marked.
type marked struct {
	*datagram.Socket
	t      *testing.T
	reader *datagram.Reader
}

func newMarked(t *testing.T, ip netip.Addr) *marked {
	t.Helper()
	s, err := datagram.Open(netip.AddrPortFrom(ip, 0), datagram.Options{Waits: true, TOS: true})
	if err != nil {
		t.Fatal(err)
	}
	m := &marked{s, t, datagram.NewReader(1, 4096)}
	t.Cleanup(func() {
		_ = s.Close()
		_ = m.reader.Close()
	})
	return m
}

func (m *marked) send(to netip.AddrPort, b []byte, tos byte) {
	m.t.Helper()
	w := datagram.NewWriter(1)
	w.AddMarked(nil, b, datagram.NewDestination(to), tos)
	if w.Flush(m.Socket) != 1 {
		m.t.Fatal("not sent")
	}
}

// hear expects a datagram that is marked so.
func (m *marked) hear(tos byte) []byte {
	m.t.Helper()
	m.reader.Reset()
	late := time.AfterFunc(patience, func() { _ = m.Close() })
	defer late.Stop()
	if _, _, err := m.reader.Wait(m.Socket, 1); err != nil {
		m.t.Fatal(err)
	}
	b, _, _ := m.reader.Datagram(0)
	if got := m.reader.TOS(0); got != tos {
		m.t.Errorf("%q is marked %#x, want %#x", clip(b), got, tos)
	}
	return b
}

// RFC 8656 §14: DSCP and ECN of a packet go with it, both ways and in whatever form it
// travels; answers are not marked, whatever the requests are.
func TestTOS(t *testing.T) {
	t.Parallel()
	const ef, af41, ect0, ce = 46 << 2, 34 << 2, 2, 3
	for _, ip := range []netip.Addr{local4, local6} {
		change := func(*Config) {}
		if ip.Is6() {
			with := dual(t)
			change = func(c *Config) {
				with(c)
				c.UDP = []netip.AddrPort{netip.AddrPortFrom(local6, 0)}
			}
		}
		w := serve(t, change)
		p := newMarked(t, ip)
		c := w.login("udp")
		mark(t, c.conn.(*net.UDPConn), ip, ef|ect0)
		relayed := c.allocate(ofFamily(byte(familyOf(ip) + 1)))
		c.ask(stun.CreatePermission, 0, peerAt(p.Local()))
		c.say(p.Local(), "by Send")
		if b := p.hear(ef | ect0); string(b) != "by Send" {
			t.Errorf("%q", b)
		}
		c.ask(stun.ChannelBind, 0, channel(0x4000), peerAt(p.Local()))
		c.sayOn(0x4000, "by channel")
		if b := p.hear(ef | ect0); string(b) != "by channel" {
			t.Errorf("%q", b)
		}
		mark(t, c.conn.(*net.UDPConn), ip, 0)
		c.sayOn(0x4000, "not marked")
		p.hear(0)

		// The way back, to a client that looks.
		d := newMarked(t, ip)
		at := w.UDPAddrs()[0]
		ask := func(kind uint16, list ...attribute) {
			t.Helper()
			d.send(at, c.signed(kind, list...), ef)
			if m, ok := stun.Parse(d.hear(0)); !ok || m.Class() != stun.Success {
				t.Fatalf("%#x: code %d", kind, m.ErrorCode())
			}
		}
		d.send(at, c.unsigned(stun.Allocate), ef)
		m, _ := stun.Parse(d.hear(0))
		nonce, _ := m.Get(stun.AttrNonce)
		c.nonce = append([]byte(nil), nonce...)
		c.as("another", w.clock.Now().Add(time.Hour), "north")
		ask(stun.Allocate, overUDP, ofFamily(byte(familyOf(ip)+1)))
		for _, a := range w.allocations() {
			if a.client.Load().addr == d.Local() {
				relayed = a.relayed()
			}
		}
		ask(stun.CreatePermission, peerAt(p.Local()))
		p.send(relayed, []byte("in a Data indication"), af41|ce)
		d.hear(af41 | ce)
		ask(stun.ChannelBind, channel(0x4000), peerAt(p.Local()))
		p.send(relayed, []byte("by channel"), af41|ce)
		d.hear(af41 | ce)
		p.send(relayed, []byte("not marked"), 0)
		d.hear(0)
	}
}

// mark has a socket of package net mark what it sends.
func mark(t *testing.T, c *net.UDPConn, ip netip.Addr, tos int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		if ip.Is4() {
			err = syscall.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS, tos)
		} else {
			err = syscall.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_TCLASS, tos)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Without it all leave unmarked.
func TestWithoutTOS(t *testing.T) {
	t.Parallel()
	w := serve(t, func(c *Config) { c.TOS = false })
	p := newMarked(t, local4)
	c := w.login("udp")
	mark(t, c.conn.(*net.UDPConn), local4, 46<<2)
	c.allocate()
	c.ask(stun.ChannelBind, 0, channel(0x4000), peerAt(p.Local()))
	c.sayOn(0x4000, "marked")
	p.hear(0)
}
