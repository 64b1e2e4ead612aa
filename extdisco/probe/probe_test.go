package probe_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"confab/extdisco/credential"
	"confab/extdisco/probe"
	"confab/extdisco/relay"
	"confab/extdisco/stun"
	"confab/internal/freeport"
)

const secret = "a secret of thirty-two bytes, or so"

// listen starts our relay on an ephemeral port of some loopback addresses.
func listen(t *testing.T, change func(*relay.Config), addrs ...string) netip.AddrPort {
	t.Helper()
	cfg := relay.DefaultConfig()
	cfg.Realm = "meet.example"
	var ring credential.Keyring
	ring.Set([]credential.Secret{{Value: secret}}, nil)
	cfg.Credentials = &ring
	port := freePort(t)
	for _, a := range addrs {
		ap := netip.AddrPortFrom(netip.MustParseAddr(a), port)
		cfg.UDP = append(cfg.UDP, ap)
		cfg.TCP = append(cfg.TCP, ap)
	}
	local := netip.MustParseAddr(addrs[0])
	cfg.Relays = []relay.Address{{Bind: local, Public: local}}
	// The bridge is at port 10000 of the same address.
	cfg.Peers.Announced = func(ap netip.AddrPort) bool { return ap.Addr() == local && (ap.Port() == 0 || ap.Port() == 10000) }
	cfg.Peers.Own = func(a netip.Addr) bool { return a == local }
	if change != nil {
		change(&cfg)
	}
	s, err := relay.Listen(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return netip.AddrPortFrom(local, port)
}

// freePort is this test's alone, on all addresses.
func freePort(t *testing.T) uint16 { return uint16(freeport.Pair(t)) }

func context60(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func dial(t *testing.T, network string, server netip.AddrPort) *probe.Client {
	t.Helper()
	c, err := probe.Dial(context60(t), network, server.String(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func mint(t *testing.T, with string) credential.Credential {
	t.Helper()
	c, err := credential.Secrets{with}.Mint(time.Now(), time.Hour, "check")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Two allocations, one over each transport, and what the relay refuses.
func TestAllocations(t *testing.T) {
	t.Parallel()
	ctx := context60(t)
	server := listen(t, nil, "127.0.0.1")
	a, b := dial(t, "udp", server), dial(t, "tcp", server)
	for _, c := range []*probe.Client{a, b} {
		if mapped, other, err := c.Binding(ctx); err != nil || mapped != c.Local() || other.IsValid() {
			t.Errorf("Binding: %v %v %v, local is %v", mapped, other, err, c.Local())
		}
	}
	if _, err := dial(t, "udp", server).Allocate(ctx, mint(t, "another secret")); !isRefused(err, stun.CodeUnauthorized) {
		t.Errorf("with a wrong secret: %v", err)
	}
	relayedA, err := a.Allocate(ctx, mint(t, secret))
	if err != nil {
		t.Fatal(err)
	}
	relayedB, err := b.Allocate(ctx, mint(t, secret))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.Permit(ctx, relayedB.Addr()), b.Permit(ctx, relayedA.Addr())); err != nil {
		t.Fatal(err)
	}
	for _, peer := range []string{"127.0.0.2", "0.0.0.0", "169.254.169.254", "::ffff:127.0.0.2", "::1", "10.0.0.1"} {
		code, ok := errors.AsType[probe.Refused](a.Permit(ctx, netip.MustParseAddr(peer)))
		if !ok || code != stun.CodeForbidden && code != stun.CodePeerFamilyMismatch {
			t.Errorf("%s: %v", peer, code)
		}
	}
	bridge := netip.AddrPortFrom(server.Addr(), 10000)
	if err := a.Bind(ctx, stun.MinChannel, bridge); err != nil {
		t.Errorf("the bridge: %v", err)
	}
	if err := a.Bind(ctx, stun.MinChannel+1, netip.AddrPortFrom(server.Addr(), 22)); !isRefused(err, stun.CodeForbidden) {
		t.Errorf("another port: %v", err)
	}
	canary, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer canary.Close()
	if err := b.Send(canary.LocalAddr().(*net.UDPAddr).AddrPort(), []byte("to a port of our own")); err != nil {
		t.Fatal(err)
	}
	if err := b.Send(relayedA, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if p, err := a.Receive(ctx); err != nil || p.From != relayedB || string(p.Data) != "hello" {
		t.Errorf("got %v %q %v, want it from %v", p.From, p.Data, err, relayedB)
	}
	_ = canary.SetReadDeadline(time.Now().Add(50 * time.Millisecond)) // it would have come before the other
	if n, _, err := canary.ReadFrom(make([]byte, 100)); err == nil {
		t.Errorf("%d bytes came to a port of our own", n)
	}
	if err := errors.Join(a.Release(ctx), b.Release(ctx)); err != nil {
		t.Error(err)
	}
	if err := a.Permit(ctx, relayedB.Addr()); !isRefused(err, stun.CodeAllocationMismatch) {
		t.Errorf("after the end: %v", err)
	}
}

func isRefused(err error, code int) bool {
	c, ok := errors.AsType[probe.Refused](err)
	return ok && int(c) == code
}

// What waits ends with its context: nobody listens.
func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	silent, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c := dial(t, "udp", silent.LocalAddr().(*net.UDPAddr).AddrPort())
	ctx, cancel := context.WithCancel(t.Context())
	go func() { // the first request is there
		_, _, _ = silent.ReadFrom(make([]byte, 100))
		cancel()
	}()
	if _, _, err := c.Binding(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// An answer that is not signed by the server's key is none: somebody on the way wrote it.
func TestForgedAnswer(t *testing.T) {
	t.Parallel()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		in := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(in)
			if err != nil {
				return
			}
			m, ok := stun.Parse(in[:n])
			if !ok {
				continue
			}
			var b stun.Builder
			if m.Has(stun.AttrMessageIntegrity) {
				b.Start(stun.Allocate|stun.Success, m.ID())
				b.AddXORAddress(stun.AttrXORRelayedAddress, netip.MustParseAddrPort("192.0.2.1:50000"))
				b.Sign([]byte("a key of its own"))
			} else {
				b.Start(stun.Allocate|stun.Error, m.ID())
				b.AddError(stun.CodeUnauthorized)
				b.AddString(stun.AttrRealm, "meet.example")
				b.AddString(stun.AttrNonce, "nonce")
			}
			_, _ = conn.WriteToUDPAddrPort(b.Bytes(), from)
		}
	}()
	c := dial(t, "udp", conn.LocalAddr().(*net.UDPAddr).AddrPort())
	if _, err := c.Allocate(context60(t), mint(t, secret)); !errors.Is(err, probe.ErrForged) {
		t.Errorf("got %v", err)
	}
}

// A server with two addresses sends to a port from which nothing has gone out.
func TestArrival(t *testing.T) {
	t.Parallel()
	ctx := context60(t)
	helper := listen(t, func(c *relay.Config) { c.AltPort = freePort(t) }, "127.0.0.1", "127.0.0.2")
	mapped, arrived, err := probe.Arrival(ctx, helper.String(), freePort(t))
	if err != nil || !arrived || mapped != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("open: %v %v %v", mapped, arrived, err)
	}
	held, err := net.ListenUDP("udp4", &net.UDPAddr{})
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if _, _, err := probe.Arrival(ctx, helper.String(), held.LocalAddr().(*net.UDPAddr).AddrPort().Port()); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a port in use: %v", err)
	}
	plain := listen(t, nil, "127.0.0.1")
	if _, _, err := probe.Arrival(ctx, plain.String(), freePort(t)); !errors.Is(err, probe.ErrNoHelp) {
		t.Errorf("without RFC 5780: %v", err)
	}

	// A helper that says it can, and whose answers a firewall drops.
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		in := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(in)
			if err != nil {
				return
			}
			if m, ok := stun.Parse(in[:n]); ok && !m.Has(stun.AttrResponsePort) {
				var b stun.Builder
				b.Start(stun.Binding|stun.Success, m.ID())
				b.AddXORAddress(stun.AttrXORMappedAddress, from)
				b.AddAddress(stun.AttrOtherAddress, netip.MustParseAddrPort("127.0.0.2:3479"))
				_, _ = conn.WriteToUDPAddrPort(b.Bytes(), from)
			}
		}
	}()
	if _, arrived, err := probe.Arrival(ctx, conn.LocalAddr().String(), freePort(t)); err != nil || arrived {
		t.Errorf("closed: %v %v", arrived, err)
	}
}
