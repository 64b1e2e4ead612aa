package relay

import (
	"net/netip"
	"testing"
)

func TestPeerPolicy(t *testing.T) {
	own := netip.MustParseAddr("198.51.100.77")
	bridge := netip.MustParseAddrPort("127.0.0.1:10000")
	p := Peers{
		MinPort: 1024,
		Own:     func(a netip.Addr) bool { return a == own },
		Announced: func(ap netip.AddrPort) bool {
			return ap.Addr() == bridge.Addr() && (ap.Port() == 0 || ap.Port() == bridge.Port())
		},
		Denied:  prefixes("9.9.9.0/24"),
		Allowed: prefixes("192.168.7.0/24"),
	}
	for in, want := range map[string]bool{
		"8.8.8.8:5000":                true,
		"8.8.8.8:53":                  false, // reflection at low ports
		"127.0.0.1:10000":             true,  // the bridge, announced by ourselves
		"127.0.0.1:10001":             false,
		"[::ffff:127.0.0.1]:10001":    false, // CVE-2026-27624
		"[::ffff:127.0.0.1]:10000":    true,
		"[::1]:10000":                 false, // CVE-2020-26262
		"0.0.0.0:10000":               false,
		"[::]:10000":                  false,
		"169.254.169.254:8080":        false,
		"10.1.2.3:5000":               false,
		"192.168.7.9:5000":            true, // turn.peers.allow
		"9.9.9.9:5000":                false,
		"198.51.100.77:5000":          false, // ourselves, no port that we announce
		"[64:ff9b::7f00:1]:5000":      false, // NAT64 of 127.0.0.1
		"[2002:7f00:1::]:5000":        false, // 6to4
		"[64:ff9b::808:808]:5000":     true,
		"[fe80::1]:5000":              false,
		"[fd00::1]:5000":              false,
		"[2001:db8::1]:5000":          false,
		"[2606:4700::1111]:5000":      true,
		"[fe80::5efe:127.0.0.1]:5000": false,
	} {
		if got := p.Allow(netip.MustParseAddrPort(in)); got != want {
			t.Errorf("%s: %v, want %v", in, got, want)
		}
	}
	if !p.AllowIP(bridge.Addr()) || p.AllowIP(netip.MustParseAddr("127.0.0.2")) {
		t.Error("a permission for the bridge's address names no port")
	}
	p.Private = true
	if !p.Allow(netip.MustParseAddrPort("10.1.2.3:5000")) {
		t.Error("turn.peers.private = on")
	}
	p.OnlyOwn = true
	if p.Allow(netip.MustParseAddrPort("8.8.8.8:5000")) || !p.Allow(bridge) {
		t.Error("turn.peers.only_bridge = true")
	}
}

func FuzzPeers(f *testing.F) {
	f.Add([]byte{127, 0, 0, 1}, uint16(80))
	f.Fuzz(func(t *testing.T, b []byte, port uint16) {
		a, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		p := Peers{MinPort: 1024}
		if p.Allow(netip.AddrPortFrom(a, port)) && (a.Unmap().IsLoopback() || a.Unmap().IsPrivate() || a.Unmap().IsLinkLocalUnicast() || a.IsUnspecified()) {
			t.Fatalf("%s:%d is reachable", a, port)
		}
	})
}
