package main

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"confab/extdisco/relay"
)

var update = flag.Bool("update", false, "write what the imports give to testdata/import")

// What the files of testdata/import become, and what is said about them. Run with
// -update to write them anew, and read the difference.
func TestImport(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"jitsi", "debian", "odd"} {
		path := filepath.Join("testdata", "import", name+".conf")
		var out, errOut bytes.Buffer
		p := program{stdout: &out, stderr: &errOut}
		if status := p.run(t.Context(), []string{"import", path}); status != 0 {
			t.Errorf("%s: exit %d\n%s", path, status, errOut.String())
			continue
		}
		dir, err := filepath.Abs(filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		for suffix, got := range map[string]string{".toml": strings.ReplaceAll(out.String(), dir, "/etc"), ".txt": errOut.String()} {
			golden := filepath.Join("testdata", "import", name+suffix)
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want, err := os.ReadFile(golden); err != nil || got != string(want) {
				t.Errorf("%s: %v\n got\n%s\nwant\n%s", golden, err, got, want)
			}
		}
		if !strings.Contains(out.String(), "secret") || strings.Contains(errOut.String(), "do-not-show") || strings.Contains(errOut.String(), "hunter2") {
			t.Errorf("%s: secrets are at the wrong place\n%s", path, errOut.String())
		}
	}
}

func TestImportRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := func(text string, args ...string) (status int, out, errOut string) {
		path := filepath.Join(dir, "turnserver.conf")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var o, e bytes.Buffer
		p := program{stdout: &o, stderr: &e}
		status = p.run(t.Context(), append([]string{"import", path}, args...))
		return status, o.String(), e.String()
	}
	for _, c := range []struct {
		text, want string
		status     int
	}{
		{"realm=x\nno-auth\n", "turnserver.conf:2: REFUSED: no-auth: makes a relay for anybody", 1},
		{"realm=x\nno-auth=off\n", "turnserver.conf:2: needs nothing: no-auth: is off", 0},
		{"server-relay=yes\n", "turnserver.conf:1: REFUSED: server-relay: lets anybody", 1},
		{"VirtualHost \"meet.example.org\"\n", "is no configuration of coturn", 1},
		{"realm=x\n", "asks for credentials, so coturn relays for anybody", 0},
		{"use-auth-secret\n", "NOT carried over: use-auth-secret: the secrets are in coturn's database", 0},
		{"realm=\xff\nverbose\n", "turnserver.conf:1: NOT carried over: realm: is no text in UTF-8", 0},
		{"realm=" + strings.Repeat("x", 2000) + "\nverbose\n", "turnserver.conf:1: NOT carried over: realm: is longer than coturn reads", 0},
		{"min-port=60000\nmax-port=50000", "turnserver.conf:2: NOT carried over: min-port, max-port: 60000 is more than 50000", 0},
		{"cert=/x.pem", "turnserver.conf:1: NOT carried over: cert: pkey is missing", 0},
	} {
		status, out, errOut := run(c.text)
		if status != c.status || !strings.Contains(errOut, c.want) || (out == "") != (status != 0) {
			t.Errorf("%.60q: exit %d\n%s%s\nwant %s", c.text, status, out, errOut, c.want)
		}
	}
	if status, _, _ := run("realm=x", "another"); status != exitUsage {
		t.Errorf("two files: exit %d", status)
	}

	file := filepath.Join(dir, "confab.toml")
	status, out, errOut := run("realm=x\nstatic-auth-secret=0123456789abcdef\n", "-o", file)
	info, err := os.Stat(file)
	if status != 0 || out != "" || err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("-o: exit %d, %v %v\n%s%s", status, info, err, out, errOut)
	}
	if cfg, _, err := load(sources{path: file, require: true}); err != nil || cfg.TURN.Realm != "x" || len(cfg.TURN.Secrets) != 1 {
		t.Errorf("-o: %v", err)
	}
	if status, _, errOut := run("realm=y\n", "-o", file); status != 1 || !strings.Contains(errOut, "is there already") {
		t.Errorf("a file was overwritten: exit %d\n%s", status, errOut)
	}
}

// Each option of coturn is understood, with and without a value, and the result is
// accepted.
func TestImportOfEachOption(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("testdata", "import", "options.txt"))
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
			c := importCoturn(name+value, "/etc", false)
			if len(c.keys) == 0 && len(c.findings) == 0 {
				t.Errorf("%s%s vanishes", name, value)
			}
			if err := acceptable(c.toml("f")); err != nil {
				t.Errorf("%s%s: %v\n%s", name, value, err, c.toml("f"))
			}
		}
	}
}

// The table of docs/migrating.md is complete.
func TestImportIsDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "migrating.md"))
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
	c := importCoturn(text, "/etc", true)
	got := c.toml("f")
	for _, want := range []string{"[node]\nroles = [\"turn\"]\n", "port = 80  # 1\n", "tls_port = 443  # 2\n"} {
		if !strings.Contains(got, want) || strings.Contains(got, "domain") {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if err := acceptable(got); err != nil {
		t.Error(err)
	}
	if got := importCoturn(text, "/etc", false).toml("f"); !strings.Contains(got, "port = 80  # 1\ntcp = false  # 1\ntls_port = 0  # 2\n") {
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
		text, err := os.ReadFile(filepath.Join("testdata", "import", name+".conf"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := importCoturn(text, "/etc", len(text)%2 == 0)
		if err := acceptable(c.toml("f")); err != nil {
			t.Errorf("%v\n%s", err, c.toml("f"))
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
