package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever stands in the file, each mistake is a line of its own that says where it is,
// and what is accepted can be shown.
func FuzzConfig(f *testing.F) {
	f.Add(defaultTOML)
	f.Add("domain = \"meet.example\"\n[web.config]\np2p = { enabled = false }\n[[turn.servers]]\ntype = \"turns\"\nhost = \"h\"\nport = 70000\n")
	f.Add("[[tenants]]\nname = \"a\"\nhosts = [\"x\", 1]\n[tenants.config]\na = {}\n[rooms]\nlinger = \"-1s\"\n")
	f.Add("domain = 5\n[turn]\nsecret = \"\"\nport = 99999999999999999999\nrange = \"9-1\"\n")
	f.Add("[bridge.last_n_limits]\n5 = 3\nx = 1\n[log.components]\nmuc = \"loud\"\n")
	f.Add("xmpp.port = 5222\nxmpp = 5\n")
	src := Sources{Path: filepath.Join(f.TempDir(), "confab.toml"), Require: true}
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(src.Path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, _, err := Load(src)
		if err != nil {
			problems, ok := errors.AsType[Error](err)
			if !ok || len(problems) == 0 {
				t.Fatalf("%T: %v", err, err)
			}
			for _, p := range problems {
				if !strings.HasPrefix(p, src.Path) {
					t.Errorf("%q does not say where", p)
				}
			}
			return
		}
		if len(text) > 2000 {
			return // each key is looked for in it: too slow to do often
		}
		var out strings.Builder
		if err := Show(&out, cfg); err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{string(cfg.Database), strings.Join(secretTexts(cfg.TURN.Secrets), "")} {
			if len(secret) > 20 && strings.Contains(out.String(), secret) {
				t.Error("a secret is shown")
			}
		}
	})
}

func secretTexts(list []Secret) (out []string) {
	for _, s := range list {
		out = append(out, string(s))
	}
	return out
}
