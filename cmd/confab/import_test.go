package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"confab/cmd/confab/config"
)

var update = flag.Bool("update", false, "write what the imports give to importer/testdata")

// What the files of importer/testdata become, and what is said about them. Run with
// -update to write them anew, and read the difference.
func TestImport(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"jitsi", "debian", "odd"} {
		path := filepath.Join("importer", "testdata", name+".conf")
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
			golden := filepath.Join("importer", "testdata", name+suffix)
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
	if cfg, _, err := config.Load(config.Sources{Path: file, Require: true}); err != nil || cfg.TURN.Realm != "x" || len(cfg.TURN.Secrets) != 1 {
		t.Errorf("-o: %v", err)
	}
	if status, _, errOut := run("realm=y\n", "-o", file); status != 1 || !strings.Contains(errOut, "is there already") {
		t.Errorf("a file was overwritten: exit %d\n%s", status, errOut)
	}
}
