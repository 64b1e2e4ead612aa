package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"confab/cmd/confab/config"
	"confab/internal/freeport"
	"confab/xmpp/scram"
)

// world is one data directory on which commands are run.
type world struct{ dir string }

func newWorld(t *testing.T) world { return world{filepath.Join(t.TempDir(), "data")} }

// run executes a command and returns exit status, output and error output.
func (w world) run(ctx context.Context, stdin string, args ...string) (status int, out, errOut string) {
	var o, e bytes.Buffer
	p := program{
		stdin: strings.NewReader(stdin), stdout: &o, stderr: &e,
		environ:    []string{"CONFAB_DATA_DIR=" + w.dir, "CONFAB_DOMAIN=meet.example"},
		configPath: filepath.Join(w.dir, "none.toml"),
	}
	status = p.run(ctx, args)
	return status, o.String(), e.String()
}

// verify reports whether a password is the one of an account.
func (w world) verify(t *testing.T, user, password string) bool {
	t.Helper()
	st, err := openStorage(t.Context(), config.Config{DataDir: w.dir})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	a, err := st.Account(t.Context(), user, "meet.example")
	if err != nil {
		t.Fatal(err)
	}
	k := scram.Keys{Salt: a.Salt, Iterations: a.Iterations,
		SHA1:   scram.Pair{StoredKey: a.SHA1StoredKey, ServerKey: a.SHA1ServerKey},
		SHA256: scram.Pair{StoredKey: a.SHA256StoredKey, ServerKey: a.SHA256ServerKey}}
	return k.Verify(password)
}

var password = regexp.MustCompile(`(?:[0-9A-HJKMNP-TV-Z]{4}-){3}[0-9A-HJKMNP-TV-Z]{4}`)

func TestUserCommands(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		args, stdin string
		status      int
		out         string // part of the output, or of the error output
	}{
		{"user add anna", "secret 1\n", 0, "account anna@meet.example added (host)\n"},
		{"user add Bob@Meet.Example --no-host", "secret 2", 0, "account bob@meet.example added (no host)\n"},
		{"user --no-host add carl", "", 0, "account carl@meet.example added (no host)\npassword (shown once): "},
		{"user add anna", "x", 1, "account anna@meet.example exists already"},
		{"user add focus", "x", 1, "focus is reserved"},
		{"user add 0b9a3f42-2f0e-4d6b-9b55-1c2d3e4f5a6b", "x", 1, "looks like a guest"},
		{"user add dora@other.example", "x", 1, "accounts are on meet.example, not on other.example"},
		{"user add a/b", "x", 1, `"a/b@meet.example" is no account name`},
		{"user add @meet.example", "x", 1, `is no account name`},
		{"user add dora", "a\x00b\n", 1, "holds control characters"},
		{"user passwd anna", "secret 3\n", 0, "account anna@meet.example changed (host)\n"},
		{"user passwd nobody", "x", 1, "there is no account nobody@meet.example"},
		{"user remove bob", "", 0, "account bob@meet.example removed\n"},
		{"user remove bob", "", 1, "there is no account bob@meet.example"},
		{"user list", "", 0, "anna@meet.example  yes   20"},
		{"user list", "", 0, "carl@meet.example  no    20"},
		{"user", "", 2, "user: add, passwd, list or remove?"},
		{"user frob x", "", 2, "user frob: add, passwd, list or remove expected"},
		{"user add", "", 2, "user add: NAME or NAME@HOST expected"},
		{"user list x", "", 2, "user list: takes no name"},
		{"user remove anna --no-host", "", 2, "--no-host belongs to user add"},
		{"frob", "", 2, "unknown command frob"},
		{"serve frob", "", 2, "unknown command frob"},
		{"--domain x.example config show", "", 2, "flags stand behind the command: confab config show --…"},
		{"--frob", "", 2, "flag provided but not defined: -frob"},
		{"--help", "", 0, "--media-port PORT"},
		{"version", "", 0, "confab "},
		{"config default", "", 0, "[rooms]"},
		{"config show --turn-port 4000", "", 0, "turn.port = 4000 "},
		{"config", "", 2, "config: default or show expected"},
		{"config show x", "", 2, "config: default or show expected"},
		{"web install", "", 2, "web: install FILE|URL expected"},
		{"web remove x", "", 2, "web: install FILE|URL expected"},
		{"web install /missing.tar.bz2", "", 1, "/missing.tar.bz2: no such file"},
		{"user list --xmpp-port x", "", 78, `--xmpp-port: "x" is no whole number`},
		{"user list --config /missing.toml", "", 78, "/missing.toml: no such file"},
	} {
		status, out, errOut := w.run(t.Context(), c.stdin, strings.Fields(c.args)...)
		if status != c.status || !strings.Contains(out+errOut, c.out) || (status == 0) != (errOut == "") {
			t.Errorf("confab %s: exit %d\n%s%s", c.args, status, out, errOut)
		}
		if strings.Contains(out+errOut, "secret") && c.stdin != "" {
			t.Errorf("confab %s repeats the password: %s", c.args, out+errOut)
		}
	}
	if !w.verify(t, "anna", "secret 3") || w.verify(t, "anna", "secret 1") {
		t.Error("passwd did not change the password")
	}
	_, out, _ := w.run(t.Context(), "", "user", "passwd", "carl")
	if generated := password.FindString(out); generated == "" || !w.verify(t, "carl", generated) {
		t.Errorf("the password shown is not the one that counts: %s", out)
	}
}

// serveWriter ends the server when the summary is there.
type serveWriter struct {
	text bytes.Buffer
	stop context.CancelFunc
}

func (w *serveWriter) Write(b []byte) (int, error) {
	defer w.stop()
	return w.text.Write(b)
}

// freePort is this test's alone, on all addresses.
func freePort(t *testing.T) string { return strconv.Itoa(freeport.Pair(t)) }

// written makes a configuration file and returns sources that read only it.
func written(t *testing.T, text string) config.Sources {
	t.Helper()
	path := filepath.Join(t.TempDir(), "confab.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Sources{Path: path, Require: true}
}

// config is one for a server on free ports of loopback.
func (w world) config(t *testing.T) config.Config {
	t.Helper()
	cfg, _, err := config.Load(config.Sources{Environ: []string{
		"CONFAB_DATA_DIR=" + w.dir, "CONFAB_DOMAIN=meet.example", "CONFAB_NETWORK_PUBLIC_ADDRESSES=127.0.0.1", "CONFAB_ADMIN_LISTEN=",
		"CONFAB_WEB_LISTEN=127.0.0.1:" + freePort(t), "CONFAB_WEB_HTTP_LISTEN=", "CONFAB_BRIDGE_UDP_PORT=" + freePort(t),
		"CONFAB_TURN_PORT=" + freePort(t), "CONFAB_TURN_TLS_PORT=0", "CONFAB_XMPP_PORT=" + freePort(t), "CONFAB_XMPP_TLS_PORT=" + freePort(t),
	}})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// start runs the server until it is up and returns its summary.
func (w world) start(t *testing.T) string {
	t.Helper()
	cfg := w.config(t)
	ctx, stop := context.WithCancel(t.Context())
	out := &serveWriter{stop: stop}
	if err := serve(ctx, cfg, reloads{}, out, io.Discard); err != nil {
		t.Fatal(err)
	}
	return out.text.String()
}

func TestFirstStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	out := w.start(t)
	shown := password.FindString(out)
	if !strings.Contains(out, "https://meet.example:") || !strings.Contains(out, "host@meet.example\n") || !w.verify(t, "host", shown) {
		t.Errorf("first start: %s", out)
	}
	if out := w.start(t); password.MatchString(out) || strings.Contains(out, "host@") || !strings.Contains(out, "https://meet.example:") {
		t.Errorf("second start: %s", out)
	}
	if !w.verify(t, "host", shown) {
		t.Error("the second start changed the password")
	}
	for name, mode := range map[string]os.FileMode{".": 0o700, secretsFile: 0o600, "confab.db": 0o600, lockFile: 0o600} {
		if info, err := os.Stat(filepath.Join(w.dir, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

func TestChangeOfDomainIsTold(t *testing.T) {
	t.Parallel()
	st, err := openStorage(t.Context(), config.Config{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	for _, domain := range []string{"a.example", "a.example", "b.example", "b.example"} {
		if err := noteDomain(t.Context(), st, domain, log); err != nil {
			t.Fatal(err)
		}
	}
	if got := text.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "old=a.example new=b.example") {
		t.Errorf("log: %s", got)
	}
	// The new domain gets a host of its own, once.
	first, err := firstHost(t.Context(), st, "a.example")
	if err != nil || first == "" {
		t.Fatal(first, err)
	}
	second, err := firstHost(t.Context(), st, "b.example")
	if err != nil || second == "" || second == first {
		t.Fatal(second, err)
	}
	if again, err := firstHost(t.Context(), st, "b.example"); again != "" || err != nil {
		t.Errorf("made again: %q, %v", again, err)
	}
}

func TestOneServerPerDataDirectory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := makeDataDir(w.dir); err != nil {
		t.Fatal(err)
	}
	if pid, err := runningServer(w.dir); pid != 0 || err != nil {
		t.Errorf("nothing runs: %d, %v", pid, err)
	}
	lock, err := lockDataDir(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	if pid, err := runningServer(w.dir); pid != os.Getpid() || err != nil {
		t.Errorf("running server: %d, %v", pid, err)
	}
	if status, _, errOut := w.run(t.Context(), "", "serve"); status != 1 || !strings.Contains(errOut, w.dir+" is in use") {
		t.Errorf("second server: %d, %s", status, errOut)
	}
	if status, _, errOut := w.run(t.Context(), "x", "user", "add", "anna"); status != 0 {
		t.Errorf("commands work beside a server: %d, %s", status, errOut)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if pid, err := runningServer(w.dir); pid != 0 || err != nil {
		t.Errorf("it has ended: %d, %v", pid, err)
	}
}

func TestInitialCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(t)
	if err := saveInitialCredentials(w.dir, "host", "meet.example", "AAAA"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.dir, initialCredentials)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if status, _, errOut := w.run(t.Context(), "new\n", "user", "passwd", "host"); status != 0 {
		t.Fatal(errOut)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the old password is still in the file: %v", err)
	}
	if err := removeInitialCredentials(w.dir); err != nil {
		t.Errorf("nothing to remove: %v", err)
	}
}

func TestJournalIsRecognised(t *testing.T) {
	t.Parallel()
	r, wr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer wr.Close()
	if toJournal(wr, func(string) string { return "" }) || toJournal(wr, func(string) string { return "8:123456789" }) {
		t.Error("a pipe is taken for the journal")
	}
}

func TestPublicURL(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		listen string
		plain  bool
		want   string
	}{
		{":443", false, "https://meet.example"},
		{"127.0.0.1:8443", false, "https://meet.example:8443"},
		{":80", true, "http://meet.example"},
		{":443", true, "http://meet.example:443"},
	} {
		if got := publicURL("meet.example", c.listen, c.plain); got != c.want {
			t.Errorf("%s %v: %s", c.listen, c.plain, got)
		}
	}
}
