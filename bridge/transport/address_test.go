package transport

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestBindAddresses(t *testing.T) {
	t.Parallel()
	machine := []ifaceAddr{
		{netip.MustParseAddr("127.0.0.1"), "lo"}, {netip.MustParseAddr("::1"), "lo"},
		{netip.MustParseAddr("2001:db8::5"), "eth0"}, {netip.MustParseAddr("10.0.0.5"), "eth0"},
		{netip.MustParseAddr("172.17.0.1"), "docker0"},
	}
	for _, c := range []struct {
		name          string
		public        string
		bind, exclude string
		noIPv6        bool
		have          []ifaceAddr
		want          string
	}{
		{name: "everything", public: "auto", want: "10.0.0.5 172.17.0.1 2001:db8::5"},
		{name: "no IPv6", public: "auto", noIPv6: true, want: "10.0.0.5 172.17.0.1"},
		{name: "without docker", public: "auto", exclude: "docker0", want: "10.0.0.5 2001:db8::5"},
		{name: "interface", public: "auto", bind: "eth0", want: "10.0.0.5 2001:db8::5"},
		{name: "address", public: "auto", bind: "10.0.0.5", want: "10.0.0.5"},
		{name: "loopback listed", public: "127.0.0.1", want: "127.0.0.1"},
		{name: "loopback beside auto", public: "auto 127.0.0.1", want: "127.0.0.1 10.0.0.5 172.17.0.1 2001:db8::5"},
		{name: "behind NAT", public: "198.51.100.7/10.0.0.5", want: "10.0.0.5"},
		{name: "foreign address", public: "198.51.100.7", want: "10.0.0.5 172.17.0.1 2001:db8::5"},
		{name: "nothing but loopback", public: "auto", have: machine[:2], want: "127.0.0.1 ::1"},
		{name: "nothing left", public: "auto", bind: "eth7", want: "error"},
	} {
		cfg := Config{IPv6: !c.noIPv6, Bind: strings.Fields(c.bind), Exclude: strings.Fields(c.exclude)}
		mappings, err := parseAddresses(strings.Fields(c.public))
		if err != nil {
			t.Fatal(err)
		}
		if c.have == nil {
			c.have = machine
		}
		got, err := bindAddresses(&cfg, mappings, c.have)
		text := strings.Trim(fmt.Sprint(got), "[]")
		if err != nil {
			text = "error"
		}
		if text != c.want {
			t.Errorf("%s: %s, want %s", c.name, text, c.want)
		}
	}
}

func TestCandidates(t *testing.T) {
	t.Parallel()
	locals := []netip.AddrPort{
		netip.MustParseAddrPort("10.0.0.5:10000"), netip.MustParseAddrPort("[2001:db8::5]:10000"),
		netip.MustParseAddrPort("127.0.0.1:10000"),
	}
	for _, c := range []struct {
		public string
		hide   bool
		want   string
	}{
		{"auto", false, "host 10.0.0.5:10000, host [2001:db8::5]:10000"},
		{"auto", true, "host [2001:db8::5]:10000"},
		{"127.0.0.1", false, "host 127.0.0.1:10000"},
		{"auto 198.51.100.7", false, "host 10.0.0.5:10000, host [2001:db8::5]:10000, srflx 198.51.100.7:10000 10.0.0.5:10000"},
		{"198.51.100.7/10.0.0.5", false, "host 10.0.0.5:10000, srflx 198.51.100.7:10000 10.0.0.5:10000"},
		{"198.51.100.7/10.0.0.5", true, "srflx 198.51.100.7:10000 0.0.0.0:9"},
		{"198.51.100.7", true, "srflx 198.51.100.7:10000 0.0.0.0:9"},
	} {
		mappings, err := parseAddresses(strings.Fields(c.public))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		var priorities []uint32
		for _, k := range candidates(locals, mappings, !c.hide) {
			line := k.Type + " " + k.Addr.String()
			if k.Related.IsValid() {
				line += " " + k.Related.String()
			}
			got = append(got, line)
			priorities = append(priorities, k.Priority)
		}
		if text := strings.Join(got, ", "); text != c.want {
			t.Errorf("%s: %s, want %s", c.public, text, c.want)
		}
		slices.Sort(priorities)
		if len(slices.Compact(priorities)) != len(got) {
			t.Errorf("%s: equal priorities", c.public)
		}
	}
	for _, bad := range []string{"", "nonsense", "198.51.100.7/", "198.51.100.7/::1", "a/b"} {
		if _, err := parseAddresses([]string{bad}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestUsableRemote(t *testing.T) {
	t.Parallel()
	for ip, want := range map[string]bool{
		"192.0.2.1": true, "10.1.1.1": true, "2001:db8::1": true,
		"127.0.0.1": false, "::1": false, "::ffff:127.0.0.1": false, "169.254.169.254": false,
		"fe80::1": false, "224.0.0.1": false, "ff02::1": false, "0.0.0.0": false, "::": false, "255.255.255.255": false,
	} {
		if got := usableRemote(netip.MustParseAddr(ip), false); got != want {
			t.Errorf("%s: %v, want %v", ip, got, want)
		}
	}
	if !usableRemote(netip.MustParseAddr("127.0.0.1"), true) {
		t.Error("loopback refused on a loopback bridge")
	}
}
