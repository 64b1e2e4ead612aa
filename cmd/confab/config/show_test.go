package config

import (
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
	src.Environ = []string{"CONFAB_TURN_SECRETS=hunter2hunter2hunter2,hunter3hunter3hunter3"}
	src.Flags = []Override{{"xmpp.port", "--xmpp-port", "6000"}}
	cfg, _, err := Load(src)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := Show(&out, cfg); err != nil {
		t.Fatal(err)
	}
	lines := map[string]string{}
	for line := range strings.Lines(out.String()) {
		value, from, _ := strings.Cut(strings.TrimSpace(line), " # ")
		lines[strings.TrimSpace(value)] = from
	}
	for want, from := range map[string]string{
		`database = "***"`:        src.Path + ":2",
		`require_host = true`:     src.Path + ":3",
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

		`web.config = { "p2p" = { "enabled" = false }, "startWithAudioMuted" = true }`: src.Path + ":4",
		`turn.servers = [{ type = "turn", host = "other.example", secret = "***" }]`:   src.Path + ":7",
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
