package main

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"confab/cmd/confab/config"
	"confab/extdisco/credential"
	"confab/extdisco/relay"
)

const checkSecret = "a secret of at least 16 bytes"

// look collects what a part of the check says.
func look(part func(*report)) (text string, failed bool) {
	var out strings.Builder
	r := &report{out: &out}
	part(r)
	return out.String(), r.failed
}

// A running server passes, by each transport, and on the port of the web.
func TestCheckUsesTheRunningRelay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.config(t)
	cfg.Domain, cfg.TURN.TLSPort = "127.0.0.1", 0
	before, _ := look(func(r *report) { r.relaySelfTest(t.Context(), cfg) })
	if !strings.HasPrefix(before, "OK    TURN self-test        not tried, as the server does not run") {
		t.Errorf("before the start: %s", before)
	}
	startServer(t, cfg, reloads{}, io.Discard)
	got, failed := look(func(r *report) { r.relaySelfTest(t.Context(), cfg) })
	port := strconv.Itoa(cfg.TURN.Port)
	for _, want := range []string{
		"OK    STUN by UDP           127.0.0.1:" + port + " answers; as it is an address of this machine",
		"OK    STUN by TCP           127.0.0.1:" + port + " answers",
		"OK    TURN                  127.0.0.1:" + port + " gives allocations at 127.0.0.1, relays between them",
		"OK    TURN peers            loopback, cloud metadata",
		"OK    TURN over TLS         " + cfg.Web.Listen[0] + " answers TURN where the web is",
	} {
		if !strings.Contains(got, want) || failed {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// Relays that are open where they must not be are found.
func TestCheckFindsOpenRelays(t *testing.T) {
	t.Parallel()
	local := netip.MustParseAddr("127.0.0.1")
	for _, c := range []struct {
		name      string
		announced func(netip.AddrPort) bool
		secret    string
		want      string
	}{
		{"sound", func(ap netip.AddrPort) bool { return ap.Addr() == local && (ap.Port() == 0 || ap.Port() == 10000) }, checkSecret, "OK    TURN peers"},
		{"all ports", func(ap netip.AddrPort) bool { return ap.Addr() == local }, checkSecret,
			"FAIL  TURN peers            clients reach other ports of this machine"},
		{"metadata", func(ap netip.AddrPort) bool {
			return ap == netip.AddrPortFrom(local, 10000) || ap.Port() == 0 && (ap.Addr() == local || ap.Addr() == netip.MustParseAddr("169.254.169.254"))
		}, checkSecret, "FAIL  TURN peers            clients may reach 169.254.169.254, ::ffff:169.254.169.254 through the relay"},
		{"SSH", func(ap netip.AddrPort) bool { return ap.Addr() == local && ap.Port() < 20000 }, checkSecret,
			"FAIL  TURN peers            clients may reach 127.0.0.1:22, 127.0.0.1:8888 through the relay"},
		{"no bridge", func(netip.AddrPort) bool { return false }, checkSecret,
			"FAIL  TURN                  clients that come through the relay can't reach the bridge at 127.0.0.1:10000: the address is refused"},
		{"another secret", nil, "quite another secret of the server", "FAIL  TURN                  no allocation at "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rc := relay.DefaultConfig()
			var ring credential.Keyring
			ring.Set([]credential.Secret{{Value: c.secret}}, nil)
			rc.Credentials, rc.Realm = &ring, "meet.example"
			at := "127.0.0.1:" + freePort(t)
			rc.UDP = []netip.AddrPort{netip.MustParseAddrPort(at)}
			rc.Relays = []relay.Address{{Bind: local, Public: local}}
			rc.Peers.Announced = c.announced
			rc.Peers.Own = func(a netip.Addr) bool { return a == local }
			s, err := relay.Listen(rc, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			var cfg config.Config
			cfg.Network.PublicAddresses = []string{"127.0.0.1"}
			cfg.TURN.Secrets, cfg.Bridge.UDPPort, cfg.Admin.Listen = []config.Secret{checkSecret}, 10000, "127.0.0.1:8888"
			got, failed := look(func(r *report) { r.allocations(t.Context(), cfg, "udp", at) })
			if !strings.Contains(got, c.want) || failed != strings.HasPrefix(c.want, "FAIL") {
				t.Errorf("failed %v\n%swant %s", failed, got, c.want)
			}
		})
	}
}

func TestCheckOfAnAddressWithoutAnswer(t *testing.T) {
	t.Parallel()
	closed := "127.0.0.1:" + freePort(t) // nobody answers there
	here, failed := look(func(r *report) { r.answers(t.Context(), turnTarget{local: true}, "tcp", closed, "") })
	if !failed || !strings.Contains(here, "connection refused") {
		t.Errorf("of this machine: %s", here)
	}
	nat, failed := look(func(r *report) { r.answers(t.Context(), turnTarget{}, "tcp", closed, "") })
	if failed || !strings.HasPrefix(nat, "WARN") || !strings.Contains(nat, "does not send back what comes from inside") {
		t.Errorf("of a NAT: %s", nat)
	}
}

// A proxy that knows HTTP only stands where TURN over TLS should get through.
func TestCheckFindsAProxy(t *testing.T) {
	t.Parallel()
	proxy := httptest.NewTLSServer(http.NotFoundHandler())
	proxy.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	defer proxy.Close()
	cfg := config.Config{Domain: "127.0.0.1"}
	cfg.TURN.Share443, cfg.TURN.TLS = true, true
	cfg.Web.Listen = []string{proxy.Listener.Addr().String()}
	if got, _ := look(func(r *report) { r.shared443(t.Context(), cfg) }); !strings.Contains(got, "speaks TLS, but does not answer TURN") {
		t.Error(got)
	}
	proxy.Close()
	if got, _ := look(func(r *report) { r.shared443(t.Context(), cfg) }); !strings.Contains(got, "is not shown") {
		t.Error(got)
	}
}

func TestCheckOfRelayPorts(t *testing.T) {
	t.Parallel()
	var cfg config.Config
	cfg.TURN.Mode, cfg.TURN.MinPort, cfg.TURN.MaxPort, cfg.Bridge.UDPPort = "full", 49152, 65535, 50000
	for _, c := range []struct{ ports, reserved, want string }{
		{"32768\t60999\n", "\n", "WARN  relay range           the system gives UDP 49152 to 60999 to other programs"},
		{"32768\t60999\n", "8080,49152-65535\n", "OK    relay range           UDP 49152 to 65535, reserved"},
		{"32768\t60999\n", "50000-65535,49152-49999\n", "OK    relay range           UDP 49152 to 65535, reserved"},
		{"32768\t60999\n", "49152-60998\n", "WARN  relay range           the system"},
		{"32768\t49151\n", "\n", "OK    relay range           UDP 49152 to 65535, apart"},
		{"some\n", "\n", "WARN  relay range           net.ipv4.ip_local_port_range can't be read"},
	} {
		proc := t.TempDir()
		dir := filepath.Join(proc, "sys", "net", "ipv4")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"ip_local_port_range": c.ports, "ip_local_reserved_ports": c.reserved} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, failed := look(func(r *report) { r.relayPorts(cfg, proc) })
		if !strings.Contains(got, c.want) || !strings.Contains(got, "WARN  relay range           bridge.udp_port, 50000, lies in it") || failed {
			t.Errorf("%q %q\n%swant %s", c.ports, c.reserved, got, c.want)
		}
	}
}

func TestCheckOfRelaySettings(t *testing.T) {
	t.Parallel()
	var cfg config.Config
	cfg.TURN.Mode, cfg.TURN.TLS, cfg.TLS.Mode, cfg.TURN.RFC5780 = "full", true, "off", true
	cfg.TURN.Listen, cfg.TURN.RelayAddresses = []string{"127.0.0.1", "192.0.2.77"}, []string{"192.0.2.78"}
	got, failed := look(func(r *report) { r.relaySettings(cfg) })
	for _, want := range []string{
		"FAIL  turn.listen           this machine has no address 192.0.2.77\n",
		"FAIL  turn.relay_addresses  this machine has no address 192.0.2.78\n",
		"WARN  TURN over TLS         is off, as TLS ends at a proxy",
	} {
		if !strings.Contains(got, want) || !failed {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	cfg.TURN.Listen = []string{"127.0.0.1"}
	if got, _ := look(func(r *report) { r.relaySettings(cfg) }); !strings.Contains(got, "WARN  turn.rfc5780          NAT behaviour discovery takes two addresses") {
		t.Error(got)
	}
}

// What is said of the media port is of the addresses that it is opened on, and of those
// that are announced for them.
func TestCheckOfBoundAddresses(t *testing.T) {
	t.Parallel()
	var cfg config.Config
	cfg.Bridge.UDPPort, cfg.Network.IPv6 = 10000, true
	cfg.Network.Bind = []string{"192.0.2.77"} // which no machine has
	cfg.Network.PublicAddresses = []string{"198.51.100.1/192.0.2.77"}
	if got, _ := look(func(r *report) { r.addresses(cfg) }); !strings.HasSuffix(got, " media on UDP 10000 of 198.51.100.1\n") {
		t.Error(got)
	}
	cfg.Network.PublicAddresses = nil
	if got, _ := look(func(r *report) { r.addresses(cfg) }); !strings.Contains(got, "no interface but loopback") {
		t.Error(got)
	}
}

// Another Confab, on a machine with two addresses, sends to our ports from outside.
func TestCheckFromOutside(t *testing.T) {
	t.Parallel()
	rc := relay.DefaultConfig()
	port, err := strconv.Atoi(freePort(t))
	if err != nil {
		t.Fatal(err)
	}
	alt, err := strconv.Atoi(freePort(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{"127.0.0.1", "127.0.0.2"} {
		rc.UDP = append(rc.UDP, netip.AddrPortFrom(netip.MustParseAddr(a), uint16(port)))
	}
	rc.AltPort = uint16(alt)
	s, err := relay.Listen(rc, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	held, err := net.ListenUDP("udp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	var cfg config.Config
	cfg.Bridge.UDPPort, err = strconv.Atoi(freePort(t))
	if err != nil {
		t.Fatal(err)
	}
	cfg.TURN.Mode, cfg.TURN.UDP, cfg.TURN.Port = "stun", true, int(held.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	got, failed := look(func(r *report) { r.outside(t.Context(), cfg, rc.UDP[0].String()) })
	for _, want := range []string{
		"OK    public address        " + rc.UDP[0].String() + " sees this machine as 127.0.0.1, which is",
		"OK    outside, UDP " + strconv.Itoa(cfg.Bridge.UDPPort),
		"open: a packet from " + rc.UDP[0].String() + " came in that nobody here had asked for (media)",
		"not tried, the port is in use: stop the server for it (STUN and TURN)",
		"OK    from outside          TCP ports are not shown by this",
	} {
		if !strings.Contains(got, want) || failed {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}
