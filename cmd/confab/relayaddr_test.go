package main

import (
	"io"
	"net/netip"
	"slices"
	"testing"

	"confab/bridge/transport"
	"confab/cmd/confab/config"
)

// What relayed sockets are opened on, and what clients see of it: coturn's external-ip and
// relay-ip.
func TestRelayAddresses(t *testing.T) {
	t.Parallel()
	host := func(a string) transport.Candidate {
		return transport.Candidate{Type: "host", Addr: netip.AddrPortFrom(netip.MustParseAddr(a), 10000)}
	}
	mapped := func(public, local string) transport.Candidate {
		c := host(public)
		c.Type, c.Related = "srflx", host(local).Addr
		return c
	}
	for name, x := range map[string]struct {
		only    []string
		offered []transport.Candidate
		want    []string // BIND=PUBLIC
	}{
		"behind a NAT":               {nil, []transport.Candidate{host("10.0.0.5"), mapped("198.51.100.1", "10.0.0.5")}, []string{"10.0.0.5=198.51.100.1"}},
		"behind that of a carrier":   {nil, []transport.Candidate{host("100.64.0.5"), mapped("198.51.100.1", "100.64.0.5")}, []string{"100.64.0.5=198.51.100.1"}},
		"a public one that is moved": {nil, []transport.Candidate{host("203.0.113.1"), mapped("198.51.100.1", "203.0.113.1")}, []string{"203.0.113.1=198.51.100.1"}},
		"public beside private":      {nil, []transport.Candidate{host("10.0.0.5"), host("203.0.113.1")}, []string{"203.0.113.1=203.0.113.1"}},
		"of both families": {nil, []transport.Candidate{host("203.0.113.1"), host("2001:db8::1"), host("2001:db8::2")},
			[]string{"203.0.113.1=203.0.113.1", "2001:db8::1=2001:db8::1"}},
		"several pairs": {[]string{"127.0.0.1", "127.0.0.2"}, []transport.Candidate{mapped("198.51.100.1", "127.0.0.1"), mapped("198.51.100.2", "127.0.0.2")},
			[]string{"127.0.0.1=198.51.100.1", "127.0.0.2=198.51.100.2"}},
		"one pair of two": {[]string{"127.0.0.1", "127.0.0.2"}, []transport.Candidate{host("127.0.0.2"), mapped("198.51.100.2", "127.0.0.2")},
			[]string{"127.0.0.2=198.51.100.2"}},
		"not the bridge's":   {[]string{"127.0.0.2"}, []transport.Candidate{host("127.0.0.1")}, []string{"127.0.0.2=127.0.0.2"}},
		"not this machine's": {[]string{"192.0.2.77", "127.0.0.1"}, nil, []string{"127.0.0.1=127.0.0.1"}},
		"none":               {nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config.Config{}
			cfg.TURN.RelayAddresses = x.only
			s := &server{cfg: cfg, logs: newLogs(cfg, io.Discard), local: planned{offered: x.offered}}
			var got []string
			for _, a := range s.relayAddresses() {
				got = append(got, a.Bind.String()+"="+a.Public.String())
			}
			if !slices.Equal(got, x.want) {
				t.Errorf("%v, want %v", got, x.want)
			}
		})
	}
}

// What the operator is told at the start is what is answered on.
func TestTURNPorts(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*config.Config){
		"UDP and TCP 3478, TLS 443":            func(*config.Config) {},
		"UDP and TCP 3478, TLS 443, DTLS 5349": func(c *config.Config) { c.TURN.DTLS = true },
		"UDP and TCP 3478, UDP 10000, TLS 443": func(c *config.Config) { c.TURN.ShareMediaPort = true },
		"UDP 10000, TLS 443":                   func(c *config.Config) { c.TURN.ShareMediaPort, c.TURN.UDP, c.TURN.TCP = true, false, false },
		"TCP 3478":                             func(c *config.Config) { c.TURN.UDP, c.TURN.TLS = false, false },
		"UDP 3478 (STUN only)":                 func(c *config.Config) { c.TURN.Mode = "stun" },
	} {
		c := config.Config{}
		c.TURN.Mode, c.TURN.Port, c.TURN.TLSPort, c.TURN.UDP, c.TURN.TCP, c.TURN.TLS = "full", 3478, 5349, true, true, true
		change(&c)
		if got := turnPorts(c, 10000, 443); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
