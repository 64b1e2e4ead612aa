package importer

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"confab/cmd/confab/config"
	"confab/extdisco/relay"
)

// Each option of coturn is understood, with and without a value, and the result is
// accepted.
func TestImportOfEachOption(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("testdata", "options.txt"))
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Fields(string(text))
	for _, name := range names {
		if _, known := coturnOptions[name]; !known {
			t.Errorf("%s is not known", name)
		}
	}
	for name := range coturnOptions {
		for _, value := range []string{"", "=1", "=0", "=off", "=443", "=70000", "=10.0.0.1", "=::", "=a:b", "=\"a b\" # c;"} {
			c := FromCoturn(name+value, "/etc", false)
			if len(c.keys) == 0 && len(c.findings) == 0 {
				t.Errorf("%s%s vanishes", name, value)
			}
			if err := config.Check(c.TOML("f")); err != nil {
				t.Errorf("%s%s: %v\n%s", name, value, err, c.TOML("f"))
			}
		}
	}
}

// The table of docs/migrating.md is complete.
func TestImportIsDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "migrating.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## coturn\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for name := range coturnOptions {
		if !strings.Contains(section, "`"+name+"`") {
			t.Errorf("docs/migrating.md says nothing about %s", name)
		}
	}
}

// A host without a web keeps the ports that the web would have.
func TestImportForAHostThatOnlyRelays(t *testing.T) {
	t.Parallel()
	const text = "listening-port=80\ntls-listening-port=443\nrealm=x\nuse-auth-secret\nstatic-auth-secret=0123456789abcdef\n"
	c := FromCoturn(text, "/etc", true)
	got := c.TOML("f")
	for _, want := range []string{"[node]\nroles = [\"turn\"]\n", "port = 80  # 1\n", "tls_port = 443  # 2\n"} {
		if !strings.Contains(got, want) || strings.Contains(got, "domain") {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if err := config.Check(got); err != nil {
		t.Error(err)
	}
	if got := FromCoturn(text, "/etc", false).TOML("f"); !strings.Contains(got, "port = 80  # 1\ntcp = false  # 1\ntls_port = 0  # 2\n") {
		t.Error(got)
	}
}

func TestPeerRanges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"10.0.0.0-10.255.255.255", "[10.0.0.0/8]"},
		{"10.0.0.1", "[10.0.0.1/32]"},
		{" 10.0.0.1 - 10.0.0.6 ", "[10.0.0.1/32 10.0.0.2/31 10.0.0.4/31 10.0.0.6/32]"},
		{"0.0.0.0-255.255.255.255", "[0.0.0.0/0]"},
		{"255.255.255.254-255.255.255.255", "[255.255.255.254/31]"},
		{"83.166.64.0-83.166.95.255", "[83.166.64.0/19]"},
		{"::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "[::/0]"},
		{"2001:db8::-2001:db8::2", "[2001:db8::/127 2001:db8::2/128]"},
		{"::ffff:10.0.0.0-::ffff:10.0.0.255", "[10.0.0.0/24]"},
		{"10.1.2.3/8", "[10.0.0.0/8]"},
		{"10.0.0.2-10.0.0.1", `"10.0.0.2-10.0.0.1" ends before it begins`},
		{"10.0.0.2-::1", `"10.0.0.2-::1" has two kinds of addresses`},
		{"localhost", `"localhost" is no address`},
		{"10.0.0.1-", `"" is no address`},
	} {
		ps, err := peerRange(c.text)
		if got := fmt.Sprint(ps); err != nil && err.Error() != c.want || err == nil && got != c.want {
			t.Errorf("%s\n got %s %v\nwant %s", c.text, got, err, c.want)
		}
	}
}

// What the import leaves out because the relay refuses it anyway is refused.
func TestImportKnowsThePolicyOfTheRelay(t *testing.T) {
	t.Parallel()
	all := parsePrefixes("0.0.0.0/0", "::/0")
	for _, c := range []struct {
		list   []netip.Prefix
		policy relay.Peers
	}{
		{neverPeers, relay.Peers{Private: true, Allowed: all}},
		{specialPeers, relay.Peers{Private: true}},
		{privatePeers, relay.Peers{}},
	} {
		for _, p := range c.list {
			for _, a := range []netip.Addr{p.Addr(), lastOf(p)} {
				if c.policy.AllowIP(a) {
					t.Errorf("%v of %v is relayed to", a, p)
				}
			}
		}
	}
}

func FuzzImport(f *testing.F) {
	for _, name := range []string{"jitsi", "debian", "odd"} {
		text, err := os.ReadFile(filepath.Join("testdata", name+".conf"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := FromCoturn(text, "/etc", len(text)%2 == 0)
		if err := config.Check(c.TOML("f")); err != nil {
			t.Errorf("%v\n%s", err, c.TOML("f"))
		}
		for _, finding := range c.findings {
			if strings.ContainsAny(finding.String(), "\x00\x1b\n") {
				t.Errorf("%q", finding)
			}
		}
	})
}

func FuzzPeerRange(f *testing.F) {
	f.Add(uint32(0x0a000001), uint32(0x0a0000fe))
	f.Fuzz(func(t *testing.T, a, b uint32) {
		from, to := address4(min(a, b)), address4(max(a, b))
		next := from
		for _, p := range cover(from, to) {
			if p.Addr() != next || p.Masked() != p {
				t.Fatalf("%v-%v: %v does not follow", from, to, p)
			}
			next = lastOf(p).Next()
		}
		if next != to.Next() {
			t.Fatalf("%v-%v ends before %v", from, to, next)
		}
	})
}

func address4(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}
