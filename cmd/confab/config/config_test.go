package config

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
)

// Deployment.md §17 row 20: no key without documentation, no documentation
// without a key, and every default is a valid value of its key.
func TestEveryKeyIsDocumented(t *testing.T) {
	t.Parallel()
	md, err := toml.Decode(defaultTOML, &map[string]any{})
	if err != nil {
		t.Fatal(err)
	}
	keys := Keys()
	lines := strings.Split(defaultTOML, "\n")
	for _, key := range keys {
		path := strings.Split(key, ".")
		if inList(key) {
			list := path[:len(path)-1]
			if comment := commentAbove(lines, LineOf(defaultTOML, list)); !strings.Contains(comment, path[len(list)]) {
				t.Errorf("%s is not mentioned at %s", key, strings.Join(list, "."))
			}
			continue
		}
		n := LineOf(defaultTOML, path)
		if !md.IsDefined(path...) || n == 0 {
			t.Errorf("%s is not in default.toml", key)
		} else if commentAbove(lines, n) == "" {
			t.Errorf("default.toml:%d: %s has no comment", n, key)
		}
	}
	for _, k := range md.Keys() {
		if key := k.String(); !slices.Contains(keys, key) && !isTable(key, keys) {
			t.Errorf("%s is in default.toml but not in Config", key)
		}
	}
}

// commentAbove returns the comment directly above line n, which counts from 1.
func commentAbove(lines []string, n int) string {
	var comment []string
	for i := n - 2; i >= 0 && strings.HasPrefix(lines[i], "# "); i-- {
		comment = append([]string{lines[i]}, comment...)
	}
	return strings.Join(comment, "\n")
}

func TestNoTwoKeysShareAVariable(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, key := range Keys() {
		for _, name := range []string{envName(key), envName(key) + "_FILE"} {
			if other, taken := seen[name]; taken {
				t.Errorf("%s belongs to %s and %s", name, other, key)
			}
			seen[name] = key
		}
	}
}

// write makes a configuration file and returns sources that read only it.
func write(t *testing.T, text string) Sources {
	t.Helper()
	path := filepath.Join(t.TempDir(), "confab.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Sources{Path: path, Require: true}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	cfg, warnings, err := Load(Sources{Path: filepath.Join(t.TempDir(), "none.toml")})
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	// Deployment.md §15, a sample of every kind of value.
	for _, c := range []struct{ got, want any }{
		{cfg.Web.Listen, []string{":443"}},
		{cfg.XMPP.IdleTimeout, Duration{30 * time.Second}},
		{cfg.Rooms.MaxOccupants, 75},
		{cfg.Rooms.Moderators, "first"},
		{cfg.Bridge.LastN, -1},
		{cfg.TURN.Realm, cfg.Domain},
		{cfg.TURN.Peers.MinPort, 1024},
		{cfg.RequireHost, false},
		{cfg.Web.HSTS, true},
		{cfg.IsSet("web.listen"), false},
		{cfg.Where("web.listen"), "default"},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("got %#v, want %#v", c.got, c.want)
		}
	}
	if cfg.Domain == "" || cfg.DataDir == "" {
		t.Errorf("domain %q, data_dir %q", cfg.Domain, cfg.DataDir)
	}
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("0123456789abcdef0123,fedcba9876543210ffff\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	src := write(t, `
domain = "Meet.Example"
require_host = true
[turn]
port = 1000
min_port = 50000
[[turn.servers]]
type = "turn"
host = "other.example"
ttl = "1h"
[web.config]
startWithAudioMuted = true
p2p = { enabled = false }
`)
	src.Environ = []string{
		"PATH=/bin", "CONFAB_TURN_PORT=2000", "CONFAB_XMPP_PORT=5000", "CONFAB_TURN_SECRETS_FILE=" + secret,
		"CONFAB_WEB_ORIGINS=https://a.example, https://b.example", "CONFAB_WEB_HSTS=false", "CONFAB_XMPP_IDLE_TIMEOUT=9s",
		`CONFAB_LOG_COMPONENTS={ muc = "debug" }`, "CONFAB_TURN_PROT=1", "CONFAB_TEST_POSTGRES=x",
	}
	src.Flags = []Override{{"turn.port", "--turn-port", "3000"}}
	cfg, warnings, err := Load(src)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ got, want any }{
		{cfg.Domain, "meet.example"},
		{cfg.TURN.Port, 3000},
		{cfg.TURN.TLSPort, 0}, // --turn-port moves the server out of the way of another
		{cfg.TURN.MinPort, 50000},
		{cfg.TURN.MaxPort, 65535},
		{cfg.XMPP.Port, 5000},
		{cfg.TURN.Secrets, []Secret{"0123456789abcdef0123", "fedcba9876543210ffff"}},
		{cfg.TURN.Servers, []TURNServer{{Type: "turn", Host: "other.example", TTL: Duration{time.Hour}}}},
		{cfg.Web.Origins, []string{"https://a.example", "https://b.example"}},
		{cfg.Web.HSTS, false},
		{cfg.XMPP.IdleTimeout.Duration, 9 * time.Second},
		{cfg.Log.Components, map[string]string{"muc": "debug"}},
		{cfg.Web.Config, map[string]any{"startWithAudioMuted": true, "p2p": map[string]any{"enabled": false}}},
		{cfg.Rooms.Moderators, "hosts"},
		{cfg.TURN.Realm, "meet.example"},
		{cfg.Where("turn.port"), "--turn-port"},
		{cfg.Where("xmpp.port"), "CONFAB_XMPP_PORT"},
		{cfg.Where("turn.min_port"), src.Path + ":6"},
		{cfg.IsSet("turn.max_port"), false},
		{warnings, []string{"CONFAB_TURN_PROT: no such key"}},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("got %#v, want %#v", c.got, c.want)
		}
	}
}

// Each mistake is told with its line; %s stands for the file.
func TestMistakesInTheFile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"[rooms]\n\nmax_ocupants = 5", "%s:3: unknown key rooms.max_ocupants, did you mean rooms.max_occupants?"},
		{"max_occupants = 5", "%s:1: unknown key max_occupants, did you mean rooms.max_occupants?"},
		{"\nDomain = 'x'", "%s:2: unknown key Domain, did you mean domain?"},
		{"[bridge]\nbanana_split = 5", "%s:2: unknown key bridge.banana_split"},
		{"[room]\nlinger = '1s'\njoin_rate = 3", "%s:1: unknown key room"},
		{"[[turn.servers]]\ntype = 'stun'\nhost = 'h'\nhots = 'x'", "%s:4: unknown key turn.servers.hots, did you mean turn.servers.host?"},
		{"[cluster]\nenabled = true", "%s:1: unknown key cluster"},
		{"[auth.ldap]\nurl = 'x'", "%s:1: unknown key auth.ldap"},
		{"domain = 5", "%s:1: domain: is of type integer, must be of type string"},
		{"[turn]\nudp = 'yes'", "%s:2: turn.udp: is of type string, must be of type boolean"},
		{"rooms = 5", "%s:1: rooms: is of type integer, must be a table"},
		{"[rooms]\nlinger = 20", `%s:2: rooms.linger: is no duration such as "20s" or "24h"`},
		{"[rooms]\nlinger = '20 parsecs'", `%s:2: rooms.linger: is no duration such as "20s" or "24h"`},
		{"domain = 'a\n", "%s:1: domain: strings cannot contain newlines"},
		{"domain = 'a'\ndomain = 'b'", "%s:2: domain: Key 'domain' has already been defined."},
		{"[xmpp]\nport = 99999", "%s:2: xmpp.port: 99999 is not between 0 and 65535"},
		{"[xmpp]\nidle_timeout = '1ms'", "%s:2: xmpp.idle_timeout: 1ms is not between 2s and 1h0m0s"},
		{"[turn]\nmax_port = 40000", "%s:2: turn.max_port: 40000 is not between 49152 and 65535"},
		{"[turn]\nsecrets = ['short']", "%s:2: turn.secrets: a secret of less than 16 bytes can be guessed"},
		{"[[turn.servers]]\ntype = 'trun'\nhost = 'h'", "%s:1: turn.servers: entry 1: type is none of stun, turn, turns, own"},
		{"[[turn.servers]]\ntype = 'own'\nport = 1", `%s:1: turn.servers: entry 1: has other keys beside type = "own"`},
		{"[[turn.servers]]\ntype = 'turn'\nhost = 'h'\npassword = 'p'", "%s:1: turn.servers: entry 1: password has no username"},
		{"[turn]\naccess = ['a/b']", `%s:2: turn.access: "a/b" is neither a host name nor an address without resource`},
		{"[turn]\nprobe_interval = '1ms'", "%s:2: turn.probe_interval: 1ms is neither 0s nor between 1s and 1h"},
		{"[turn]\nmax_session = '999h'", "%s:2: turn.max_session: 999h0m0s is not between 0s and 720h0m0s"},
		{"[turn.peers]\nallow = ['10.0.0.0/8', '10.0.0.0/99']", `%s:2: turn.peers.allow: "10.0.0.0/99" is no address range such as "10.0.0.0/8"`},
		{"[turn]\nlisten = ['eth0']", `%s:2: turn.listen: "eth0" is no address such as "192.0.2.1"`},
		{"[turn]\nrelay_addresses = ['::']", `%s:2: turn.relay_addresses: "::" is no single address`},
		{"[turn]\nrfc5780 = true\nalt_port = 3478", "%s:3: turn.alt_port: is the same as turn.port"},
		{"[turn]\ndtls = true\ntls_port = 0", "%s:2: turn.dtls: needs turn.tls_port, whose number it uses"},
		{"aliases = ['b.example']\n[turn]\nsni = ['B.example.']", `%s:3: turn.sni: "b.example" is no domain name beside those of the web`},
		{"[turn]\nshare_443 = false\nsni = ['turn.meet.example']", "%s:3: turn.sni: needs turn.share_443"},
		{"[turn]\ntcp_relay = true", "%s:2: turn.tcp_relay: needs turn.peers.allow: it relays to nobody else"},
		{"[turn]\nmax_lifetime = '1m'", "%s:2: turn.max_lifetime: 1m0s is not between 10m0s and 24h0m0s"},
		{"[turn]\nfingerprint = 'never'", `%s:2: turn.fingerprint: "never" is none of auto, always`},
		{"[web]\nlisten = ['443']", `%s:2: web.listen: "443" is no address such as ":443" or "127.0.0.1:8443"`},
		{"[rooms]\nmoderators = 'nobody'", `%s:2: rooms.moderators: "nobody" is none of first, hosts, everyone, token`},
		{"[focus]\ncodecs = ['vp8', 'h265']", `%s:2: focus.codecs: "h265" is none of av1, vp9, vp8, h264`},
		{"[log.components]\nmuc = 'loud'", `%s:1: log.components: muc = "loud" is none of debug, info, warn, error`},
		{"[reservations]\nurl = 'ftp://x'", `%s:2: reservations.url: "ftp://x" is no http:// or https:// address`},
		{"[reservations]\ntimeout = '2m'", "%s:2: reservations.timeout: 2m0s is not between 1s and 1m0s"},
		{"[reservations]\nheaders = { 'X Y' = 'z' }", `%s:2: reservations.headers: "X Y" is no header, or its value is none`},
		{"[reservations]\nheaders = { X = \"a\\nb\" }", `%s:2: reservations.headers: "X" is no header, or its value is none`},
		{"[integrations]\nfiles = 'built-in'", `%s:2: integrations.files: "built-in" is no http:// or https:// address`},
		{"[integrations]\nwhiteboard = 'ws://x'", `%s:2: integrations.whiteboard: "ws://x" is no http:// or https:// address`},
		{"[integrations]\netherpad = 'builtin'", `%s:2: integrations.etherpad: "builtin" is no http:// or https:// address`},
		{"[rooms]\nfiles_max = 0", "%s:2: rooms.files_max: 0 is not between 1 and 10000"},
		{"[tls]\ncert = '/x.pem'", "%s:2: tls.cert: tls.key is missing"},
		{"database = 'mysql://x'", "%s:1: database: is neither empty nor a postgres:// address"},
		{"domain = 'meet_example.org'", `%s:1: domain: "meet_example.org" is no domain name (a name with other letters than a-z goes in its xn-- form)`},
		{"acme = 'yes'", `%s:1: acme: "yes" is no e-mail address`},
		{"[network]\npublic_addresses = ['auto', '1.2.3.4/x']", `%s:2: network.public_addresses: "1.2.3.4/x" is neither "auto" nor an address nor a PUBLIC/PRIVATE pair`},
	} {
		src := write(t, c.text)
		_, _, err := Load(src)
		if want := fmt.Sprintf(strings.Replace(c.want, "%s", "%[1]s", 1), src.Path); err == nil || err.Error() != want {
			t.Errorf("%q\n got %v\nwant %v", c.text, err, want)
		}
	}
}

func TestMistakesElsewhere(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		environ []string
		flags   []Override
		want    string
	}{
		{environ: []string{"CONFAB_XMPP_PORT=abc"}, want: `CONFAB_XMPP_PORT: "abc" is no whole number`},
		{environ: []string{"CONFAB_XMPP_PORT=-1"}, want: "CONFAB_XMPP_PORT: xmpp.port: -1 is not between 0 and 65535"},
		{environ: []string{"CONFAB_XMPP_BOSH=perhaps"}, want: `CONFAB_XMPP_BOSH: "perhaps" is neither true nor false`},
		{environ: []string{"CONFAB_DOMAIN=a", "CONFAB_DOMAIN_FILE=b"}, want: "CONFAB_DOMAIN and CONFAB_DOMAIN_FILE are both set"},
		{environ: []string{"CONFAB_DOMAIN_FILE=/missing"}, want: "CONFAB_DOMAIN_FILE: open /missing: no such file or directory"},
		{environ: []string{"CONFAB_TURN_SERVERS=[{tpye='turn'}]"}, want: "CONFAB_TURN_SERVERS: is no TOML value of the right kind"},
		{environ: []string{"CONFAB_TURN_SERVERS_TYPE=turn"}, want: "CONFAB_TURN_SERVERS_TYPE: can be set as a whole only"},
		{flags: []Override{{"bridge.udp_port", "--media-port", "70000"}}, want: "--media-port: bridge.udp_port: 70000 is not between 0 and 65535"},
	} {
		_, _, err := Load(Sources{Path: "/missing.toml", Environ: c.environ, Flags: c.flags})
		if err == nil || err.Error() != c.want {
			t.Errorf("%v %v\n got %v\nwant %v", c.environ, c.flags, err, c.want)
		}
	}
	if _, _, err := Load(Sources{Path: "/missing.toml", Require: true}); err == nil || !strings.Contains(err.Error(), "/missing.toml") {
		t.Errorf("a file that was asked for and is missing: %v", err)
	}
}

func TestHTTPSFlagLeavesPort80Alone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		listen string
		env    []string
		want   string
	}{
		{":8443", nil, ""},
		{":443", nil, ":80"},
		{":8443", []string{"CONFAB_WEB_HTTP_LISTEN=:8080"}, ":8080"},
	} {
		cfg, _, err := Load(Sources{Path: "/missing.toml", Environ: c.env, Flags: []Override{{"web.listen", "--https", c.listen}}})
		if err != nil || cfg.Web.HTTPListen != c.want {
			t.Errorf("--https %s %v: http_listen %q, %v", c.listen, c.env, cfg.Web.HTTPListen, err)
		}
	}
}

func TestDataDirectory(t *testing.T) {
	t.Parallel()
	env := func(pairs ...string) func(string) string {
		return func(name string) string {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i] == name {
					return pairs[i+1]
				}
			}
			return ""
		}
	}
	for _, c := range []struct {
		getenv func(string) string
		uid    int
		want   string
	}{
		{env("STATE_DIRECTORY", "/var/lib/private/confab:/x", "HOME", "/root"), 0, "/var/lib/private/confab"},
		{env("HOME", "/root"), 0, "/var/lib/confab"},
	} {
		if got := defaultDataDir(c.getenv, c.uid); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
	if Writable("/var/lib/confab") {
		t.Skip("this user may write /var/lib/confab")
	}
	for _, c := range []struct {
		getenv func(string) string
		want   string
	}{
		{env("HOME", "/home/anna"), "/home/anna/.local/share/confab"},
		{env("HOME", "/home/anna", "XDG_DATA_HOME", "/data"), "/data/confab"},
	} {
		if got := defaultDataDir(c.getenv, 1000); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	cfg := Config{Database: "postgres://u:hunter2@h/d"}
	cfg.TURN.Secrets = []Secret{"hunter2hunter2hunter2"}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "database", cfg.Database)
	for _, text := range []string{fmt.Sprint(cfg), fmt.Sprintf("%+v %#v", cfg, cfg.Database), log.String()} {
		if strings.Contains(text, "hunter2") {
			t.Error(text)
		}
	}
}
