package relay

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"confab/extdisco/stun"
)

// with is the present policy, changed.
func (w *world) with(change func(*Policy)) {
	p := *w.policy()
	change(&p)
	w.Reload(p)
}

// turn.md §12: peers, quotas, lifetimes and rates change while the relay runs; a peer that
// is refused from then on is not reached by those who had it.
func TestReload(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	p := newFar(t, local4)
	byChannel, bySend := w.login("udp"), w.login("tcp")
	relayed := byChannel.allocate()
	byChannel.ask(stun.ChannelBind, 0, channel(0x4000), peerAt(p.addr))
	byChannel.sayOn(0x4000, "before")
	p.hear(relayed, "before")
	bySend.allocate(lifetime(3600))
	bySend.ask(stun.CreatePermission, 0, peerAt(p.addr))
	bySend.say(p.addr, "before")
	p.hear(w.relayedOf(bySend), "before")

	none := func(netip.AddrPort) bool { return false }
	w.with(func(q *Policy) { q.Peers.Announced = none })
	byChannel.sayOn(0x4000, "refused")
	byChannel.settle()
	bySend.say(p.addr, "refused")
	bySend.settle()
	p.say(relayed, "refused")
	for w.Stats().RefusedPeer < 3 {
		byChannel.settle()
	}
	byChannel.ask(stun.ChannelBind, 403, channel(0x4001), peerAt(p.addr))

	w.with(func(q *Policy) {
		q.Peers.Announced = func(netip.AddrPort) bool { return true }
		q.QuotaUser, q.MaxLifetime, q.Software, q.FingerprintAlways = 2, 20*time.Minute, "Test", true
	})
	byChannel.sayOn(0x4000, "again") // the channel has outlived it
	p.hear(relayed, "again")
	p.say(relayed, "again")
	byChannel.hearOn(0x4000, "again")
	bySend.say(p.addr, "again")
	p.hear(w.relayedOf(bySend), "again")
	m := bySend.ask(stun.Refresh, 0, lifetime(3600))
	if software, _ := m.Get(stun.AttrSoftware); granted(t, m) != 1200 || string(software) != "Test" {
		t.Errorf("%d s granted by %q", granted(t, m), software)
	}
	w.login("udp").ask(stun.Allocate, 486, overUDP)
	w.with(func(q *Policy) { q.QuotaUser = 3 })
	w.login("udp").allocate()

	w.with(func(q *Policy) { q.MaxBps = 10 })
	byChannel.sayOn(0x4000, "more than ten bytes")
	byChannel.settle()
	if got := w.Stats().OverRate; got != 1 {
		t.Errorf("%d packets over the rate", got)
	}
}

// relayedOf is the relayed address of a client.
func (w *world) relayedOf(c *caller) netip.AddrPort {
	w.t.Helper()
	for _, a := range w.allocations() {
		if a.client.Load().addr == addrPort(c.conn.LocalAddr()) {
			return a.relayed()
		}
	}
	w.t.Fatal("no allocation")
	return netip.AddrPort{}
}

// A credential that has run out is good for what it has allocated, for as long as the
// policy says then.
func TestReloadMaxSession(t *testing.T) {
	t.Parallel()
	w := serve(t, func(c *Config) { c.StaleNonce = 0 })
	c := w.login("udp")
	c.allocate(lifetime(3600))
	w.pass(90 * time.Minute / 2)
	c.ask(stun.Refresh, 0, lifetime(3600))
	w.pass(30 * time.Minute) // over by a quarter of an hour
	c.ask(stun.Refresh, 0, lifetime(3600))
	w.with(func(p *Policy) { p.MaxSession = 10 * time.Minute })
	c.ask(stun.Refresh, 401, lifetime(3600))
}

// A packet that has found its peer when the policy is replaced goes that way, and what it
// has found is not kept for the next.
func TestReloadBetweenLookupAndSend(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	c, p := w.login("udp"), newFar(t, local4)
	relayed := c.allocate()
	c.ask(stun.ChannelBind, 0, channel(0x4000), peerAt(p.addr))
	a := w.allocations()[0]
	found := a.bindings.Load()
	w.with(func(*Policy) {})

	now := w.Server.clock()
	if q := found.channels[0x4000]; q.expires.Load() <= now || q.permission.expires.Load() <= now {
		t.Fatal("what a packet had found has run out under it")
	}
	f := newFlight(0)
	f.now = now
	a.receive(f, found.channels[0x4000], []byte("back"))
	f.flush()
	c.hearOn(0x4000, "back") // and not in a Data indication
	a.send(f, found.channels[0x4000], []byte("there"))
	f.flush()
	p.hear(relayed, "there")

	a.remember(&a.lastOut, found.channels[0x4000], found)
	if q := a.lastOut.Load(); q != nil {
		t.Error("a peer that was judged by the old policy is at hand")
	}
	if q := a.bound(0x4000, now); q == nil || q == found.channels[0x4000] || a.lastOut.Load() != q {
		t.Error("the channel's peer was not looked up anew")
	}
}

// What is reloaded while packets fly: nothing is lost but what was refused in between.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	w := serve(t, nil)
	c, p := w.login("udp"), newFar(t, local4)
	relayed := c.allocate()
	c.ask(stun.ChannelBind, 0, channel(0x4000), peerAt(p.addr))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 200 {
			w.with(func(*Policy) {})
		}
	}()
	for range 300 {
		c.sayOn(0x4000, "there")
		p.hear(relayed, "there")
		p.say(relayed, "back")
		c.hearOn(0x4000, "back")
	}
	<-done
}

// What the policy asks elsewhere, such as the addresses of this machine, may change without
// another policy.
func TestJudge(t *testing.T) {
	t.Parallel()
	var gone atomic.Bool
	w := serve(t, func(c *Config) { c.Peers.Announced = func(netip.AddrPort) bool { return !gone.Load() } })
	c, p := w.login("udp"), newFar(t, local4)
	relayed := c.allocate()
	c.ask(stun.ChannelBind, 0, channel(0x4000), peerAt(p.addr))
	c.sayOn(0x4000, "there")
	p.hear(relayed, "there")
	gone.Store(true)
	w.Judge()
	c.sayOn(0x4000, "refused")
	c.settle()
	if n := w.Stats().RefusedPeer; n != 1 {
		t.Errorf("%d packets refused", n)
	}
	gone.Store(false)
	w.Judge()
	c.sayOn(0x4000, "again")
	p.hear(relayed, "again")
}
