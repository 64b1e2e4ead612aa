package main

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

func TestConfigShow(t *testing.T) {
	t.Parallel()
	src := write(t, `
database = "postgres://u:hunter2@h/d"
require_host = true
[web.config]
startWithAudioMuted = true
p2p = { enabled = false }
[[turn.servers]]
type = "turn"
host = "other.example"
secret = "hunter2hunter2hunter2"
`)
	src.environ = []string{"CONFAB_TURN_SECRETS=hunter2hunter2hunter2,hunter3hunter3hunter3"}
	src.flags = []override{{"xmpp.port", "--xmpp-port", "6000"}}
	cfg, _, err := load(src)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := showConfig(&out, cfg); err != nil {
		t.Fatal(err)
	}
	lines := map[string]string{}
	for line := range strings.Lines(out.String()) {
		value, from, _ := strings.Cut(strings.TrimSpace(line), " # ")
		lines[strings.TrimSpace(value)] = from
	}
	for want, from := range map[string]string{
		`database = "***"`:        src.path + ":2",
		`require_host = true`:     src.path + ":3",
		`turn.port = 3478`:        "default",
		`xmpp.port = 6000`:        "--xmpp-port",
		`xmpp.tls_port = 6001`:    "derived",
		`rooms.linger = "0s"`:     "default",
		`limits.exempt = []`:      "default",
		`log.components = {}`:     "default",
		`turn.peers.deny = []`:    "default",
		`admin.api_keys = []`:     "default",
		`bridge.udp_port = 10000`: "default",

		`rooms.moderators = "hosts"`:          "derived",
		`turn.secrets = ["***", "***"]`:       "CONFAB_TURN_SECRETS",
		`network.bind = []`:                   "default",
		`web.interface_config = {}`:           "default",
		`xmpp.resume_timeout = "1m0s"`:        "default",
		`network.public_addresses = ["auto"]`: "default",

		`web.config = { "p2p" = { "enabled" = false }, "startWithAudioMuted" = true }`: src.path + ":4",
		`turn.servers = [{ type = "turn", host = "other.example", secret = "***" }]`:   src.path + ":7",
	} {
		if lines[want] != from {
			t.Errorf("%s: from %q, want %q", want, lines[want], from)
		}
	}
	if strings.Contains(out.String(), "hunter") {
		t.Error("a secret is shown")
	}
	if _, err := toml.Decode(out.String(), &Config{}); err != nil {
		t.Errorf("no TOML: %v", err)
	}
}

func TestWebInstall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	name := filepath.Join(t.TempDir(), "build.zip")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	for _, entry := range []string{"jitsi-meet/index.html", "jitsi-meet/libs/lib-jitsi-meet.min.js"} {
		if _, err := z.Create(entry); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(name))))
	t.Cleanup(srv.Close)
	hash := sha256.Sum256(data)
	sum := hex.EncodeToString(hash[:])
	for _, c := range []struct {
		args   []string
		status int
		out    string
	}{
		{[]string{name}, 0, "installed in " + filepath.Join(w.dir, "web")},
		{[]string{"--sha256", strings.Repeat("0", 64), name}, 1, "checksum of " + name + " is " + sum},
		{[]string{srv.URL + "/build.zip"}, 1, "a download needs its checksum; what " + srv.URL + "/build.zip gave has sha256 " + sum},
		{[]string{srv.URL + "/build.zip", "--sha256", sum}, 0, "a running server serves it from now on"},
		{[]string{srv.URL + "/none.zip", "--sha256", sum}, 1, "/none.zip answers 404"},
	} {
		status, out, errOut := w.run(t.Context(), "", append([]string{"web", "install"}, c.args...)...)
		if status != c.status || !strings.Contains(out+errOut, c.out) {
			t.Errorf("confab web install %s: exit %d\n%s%s", c.args, status, out, errOut)
		}
	}
	if _, err := os.Stat(filepath.Join(w.dir, "web", "index.html")); err != nil {
		t.Error(err)
	}
}
