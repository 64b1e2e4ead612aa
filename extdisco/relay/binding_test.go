package relay

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"confab/extdisco/stun"
)

// discovering runs a relay with the four sockets of RFC 5780.
func discovering(t *testing.T) (w *world, p1, p2 uint16) {
	t.Helper()
	for range 50 {
		w = &world{t: t, clock: newClock(), ends: make(chan string, 100)}
		p1 = uint16(20_000 + 2*rand.IntN(5000))
		p2 = p1 + 1
		cfg := testConfig(w.clock.Now)
		cfg.UDP = []netip.AddrPort{netip.AddrPortFrom(local4, p1), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), p1)}
		cfg.AltPort = p2
		cfg.Public = func(a netip.Addr) netip.Addr { // as behind a one-to-one NAT
			b := a.As4()
			return netip.AddrFrom4([4]byte{192, 0, 2, b[3]})
		}
		s, err := Listen(cfg, slog.New(tap{w.ends}))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		w.Server = s
		t.Cleanup(w.close)
		return w, p1, p2
	}
	t.Fatal("no two free ports")
	return nil, 0, 0
}

// prober is a client that hears answers from anywhere.
type prober struct {
	*far
	caller *caller
}

func (w *world) prober(t *testing.T) *prober {
	p := newFar(t, local4)
	return &prober{p, w.over(p.conn, false)}
}

// ask sends a Binding request and returns the answer and where it came from.
func (p *prober) ask(to netip.AddrPort, list ...attribute) (stun.Message, netip.AddrPort) {
	p.t.Helper()
	b := p.caller.unsigned(stun.Binding, list...)
	p.say(to, string(b))
	return p.answer()
}

func (p *prober) answer() (stun.Message, netip.AddrPort) {
	p.t.Helper()
	buf := make([]byte, 3000)
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	n, src, err := p.conn.ReadFromUDPAddrPort(buf)
	if err != nil {
		p.t.Fatal(err)
	}
	m, ok := stun.Parse(buf[:n])
	if !ok || m.ID() != p.caller.lastID() {
		p.t.Fatalf("% x", buf[:n])
	}
	return m, netip.AddrPortFrom(src.Addr().Unmap(), src.Port())
}

func clear4(t *testing.T, m stun.Message, kind uint16) netip.AddrPort {
	t.Helper()
	v, ok := m.Get(kind)
	if !ok || len(v) != 8 {
		t.Fatalf("attribute %#x: % x", kind, v)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(v[4:])), uint16(v[2])<<8|uint16(v[3]))
}

// RFC 5780 §6.1, turn.md §7.1: the four sources.
func TestDiscovery(t *testing.T) {
	t.Parallel()
	w, p1, p2 := discovering(t)
	c := w.prober(t)
	addrs := [2]netip.Addr{local4, netip.MustParseAddr("127.0.0.2")}
	public := [2]netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}
	ports := [2]uint16{p1, p2}
	for i := range 2 {
		for j := range 2 {
			to := netip.AddrPortFrom(addrs[i], ports[j])
			m, src := c.ask(to)
			if got := clear4(t, m, stun.AttrOtherAddress); src != to || got != netip.AddrPortFrom(public[1-i], ports[1-j]) {
				t.Errorf("asked %s: answer from %s, OTHER-ADDRESS %s", to, src, got)
			}
			for change := range uint32(8) {
				ci, cj := int(change>>2&1), int(change>>1&1)
				m, src := c.ask(to, number(stun.AttrChangeRequest, change))
				want := netip.AddrPortFrom(addrs[i^ci], ports[j^cj])
				origin := netip.AddrPortFrom(public[i^ci], ports[j^cj])
				if got := clear4(t, m, stun.AttrResponseOrigin); src != want || got != origin {
					t.Errorf("asked %s for change %d: answer from %s, want %s; RESPONSE-ORIGIN %s", to, change, src, want, got)
				}
				if got := address(t, m, stun.AttrXORMappedAddress); got != c.addr {
					t.Errorf("mapped %s, want %s", got, c.addr)
				}
			}
		}
	}
}

// RFC 5780 §7.5 and §7.6.
func TestResponsePortAndPadding(t *testing.T) {
	t.Parallel()
	w, p1, _ := discovering(t)
	c, other := w.prober(t), w.prober(t)
	to := netip.AddrPortFrom(local4, p1)
	port := raw(stun.AttrResponsePort, byte(other.addr.Port()>>8), byte(other.addr.Port()), 0, 0)
	c.ask(to)
	c.say(to, string(c.caller.unsigned(stun.Binding, port)))
	other.caller.ids = c.caller.ids
	m, src := other.answer()
	if got := address(t, m, stun.AttrXORMappedAddress); src != to || got != c.addr {
		t.Errorf("from %s, mapped %s", src, got)
	}
	m, _ = c.ask(to, raw(stun.AttrPadding, make([]byte, 100)...))
	if v, ok := m.Get(stun.AttrPadding); !ok || len(v) != 1500 {
		t.Errorf("PADDING of %d bytes", len(v))
	}
	if m, _ := c.ask(to, port, raw(stun.AttrPadding, 0, 0, 0, 0)); m.ErrorCode() != 400 {
		t.Errorf("both: code %d", m.ErrorCode())
	}
	if m, _ := c.ask(to, raw(stun.AttrResponsePort)); m.ErrorCode() != 400 {
		t.Errorf("no port: code %d", m.ErrorCode())
	}
}

// turn.md §7.1: who has not shown itself has no answers sent elsewhere, nor long ones.
func TestDiscoveryIsForThoseWhoHaveShownThemselves(t *testing.T) {
	t.Parallel()
	w, p1, _ := discovering(t)
	for _, list := range [][]attribute{{number(stun.AttrChangeRequest, 4)}, {raw(stun.AttrResponsePort, 0x50, 0, 0, 0)}, {raw(stun.AttrPadding, 0, 0, 0, 0)}} {
		c := w.prober(t)
		to := netip.AddrPortFrom(local4, p1)
		w.pass(31 * time.Second)
		before := w.Stats().OverBudget
		c.say(to, string(c.caller.unsigned(stun.Binding, list...))) // nothing
		if m, src := c.ask(to); src != to || m.ErrorCode() != 0 || w.Stats().OverBudget != before+1 {
			t.Errorf("%v was answered", list)
		}
		w.pass(30 * time.Second)
		if list[0].kind != stun.AttrResponsePort {
			c.ask(to, list...)
		}
	}
}

// Five a second for one source, however many ports it has.
func TestDiscoveryRate(t *testing.T) {
	d := newDiscovery()
	at := time.Unix(1000, 0)
	ip, other := netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("8.8.4.4")
	if d.admit(ip, at) {
		t.Error("it has not shown itself")
	}
	d.shown(ip, at)
	for i := range 10 {
		if got := d.admit(ip, at); got != (i < discoveryRate) {
			t.Errorf("request %d: %v", i, got)
		}
	}
	if d.admit(other, at) || !d.admit(ip, at.Add(30*time.Second)) || d.admit(ip, at.Add(31*time.Second)) {
		t.Error("for 30 s, and for the same address")
	}
	if n := testing.AllocsPerRun(100, func() { d.shown(ip, at); d.admit(ip, at) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Without a second address: 420 (turn.md §1.3). A stream has one way back only: 400.
func TestNoDiscovery(t *testing.T) {
	t.Parallel()
	w := serve(t, func(c *Config) { c.AltPort = 1 }) // of one address: not opened
	c := w.call("udp")
	for _, a := range []attribute{number(stun.AttrChangeRequest, 2), number(stun.AttrChangeRequest, 4), raw(stun.AttrResponsePort, 1, 1, 0, 0), raw(stun.AttrPadding, 0, 0, 0, 0)} {
		c.write(c.unsigned(stun.Binding, a))
		if v := c.expect(stun.Binding, 420, stun.AttrUnknownAttributes); len(v) != 2 || uint16(v[0])<<8|uint16(v[1]) != a.kind {
			t.Errorf("%#x: unknown % x", a.kind, v)
		}
	}
	c.write(c.unsigned(stun.Binding, number(stun.AttrChangeRequest, 0)))
	m := c.answer()
	if m.ErrorCode() != 0 || m.Has(stun.AttrResponseOrigin) || m.Has(stun.AttrOtherAddress) {
		t.Errorf("without a flag it is a plain request: % x", m)
	}
	s := w.call("tcp")
	for _, a := range []attribute{number(stun.AttrChangeRequest, 2), raw(stun.AttrResponsePort, 1, 1, 0, 0), raw(stun.AttrPadding, 0, 0, 0, 0)} {
		s.write(s.unsigned(stun.Binding, a))
		s.expect(stun.Binding, 400)
	}
}
