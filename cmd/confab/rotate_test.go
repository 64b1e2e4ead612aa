package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"confab/cmd/confab/config"
	"confab/extdisco/credential"
)

var rotatedAt = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// verifies reports whether a keyring of what is in the file knows a credential at a time.
func verifies(t *testing.T, dir string, c credential.Credential, now time.Time) bool {
	t.Helper()
	s, err := readSecrets(filepath.Join(dir, secretsFile))
	if err != nil {
		t.Fatal(err)
	}
	var ring credential.Keyring
	ring.Set(s.inForce(now), nil)
	who, _ := ring.Lookup(c.Username, "meet.example", now)
	want := credential.Key(c.Username, "meet.example", c.Password)
	for _, key := range who.Keys {
		if string(key) == string(want[:]) {
			return true
		}
	}
	return false
}

// TestRotation: credentials of the old secret count until the end that was set, those of
// the new one at once; everything else in the file stays.
func TestRotation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := loadSecrets(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, secretsFile)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(text, "# a remark\n[later]\nturn_secret = 'of another table'"...), 0o600); err != nil {
		t.Fatal(err)
	}
	mint := func(secret config.Secret) credential.Credential {
		c, err := credential.Secrets{string(secret)}.Mint(rotatedAt, 24*time.Hour, "k3v9")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	until := rotatedAt.Add(48 * time.Hour)
	if err := rotateSecrets(dir, "second-second-second", rotatedAt, until); err != nil {
		t.Fatal(err)
	}
	old, fresh := mint(first.TURN), mint("second-second-second")
	for after, want := range map[time.Duration]bool{0: true, 48*time.Hour - time.Second: true, 48 * time.Hour: false, 49 * time.Hour: false} {
		if got := verifies(t, dir, old, rotatedAt.Add(after)); got != want {
			t.Errorf("the old secret after %v: %v", after, got)
		}
		if !verifies(t, dir, fresh, rotatedAt.Add(after)) {
			t.Errorf("the new secret after %v does not verify", after)
		}
	}
	// Another one a day later: both before it run out each at its own time.
	if err := rotateSecrets(dir, "third-third-third", rotatedAt.Add(24*time.Hour), until.Add(24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if now := until.Add(time.Hour); verifies(t, dir, old, now) || !verifies(t, dir, fresh, now) || !verifies(t, dir, mint("third-third-third"), now) {
		t.Error("each secret has its own end")
	}
	// And one when the first has run out: it is forgotten.
	if err := rotateSecrets(dir, "fourth-fourth-fourth", until, until.Add(48*time.Hour)); err != nil {
		t.Fatal(err)
	}
	text, err = os.ReadFile(path)
	if err != nil || strings.Contains(string(text), string(first.TURN)) || !strings.HasSuffix(string(text), "# a remark\n[later]\nturn_secret = 'of another table'") {
		t.Errorf("%v\n%s", err, text)
	}
	s, err := loadSecrets(dir)
	if err != nil || s.Cookie != first.Cookie || s.Token != first.Token || s.TURN != "fourth-fourth-fourth" || len(s.Older) != 2 {
		t.Errorf("%v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

// A file that was written by hand in another way, and too many rotations, are refused,
// and nothing is lost.
func TestRotationRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, secretsFile)
	const byHand = "turn_secret = '''\nhunter2hunter2'''\ncookie_key = 'c'\n"
	if err := os.WriteFile(path, []byte(byHand), 0o600); err != nil {
		t.Fatal(err)
	}
	err := rotateSecrets(dir, "second", rotatedAt, rotatedAt.Add(time.Hour))
	if err == nil || !strings.Contains(err.Error(), "not on a line of their own") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != byHand {
		t.Errorf("%v\n%s", err, text)
	}
	dir = t.TempDir()
	if _, err := loadSecrets(dir); err != nil {
		t.Fatal(err)
	}
	for i := range maxOlder + 2 {
		err := rotateSecrets(dir, config.Secret(fmt.Sprint("secret ", i)), rotatedAt, rotatedAt.Add(time.Hour))
		if (err == nil) != (i < maxOlder) {
			t.Fatalf("rotation %d: %v", i, err)
		}
	}
}

// Of rotations at the same time none is lost.
func TestRotationsAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := loadSecrets(dir); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range maxOlder {
		wg.Go(func() {
			if err := rotateSecrets(dir, config.Secret(fmt.Sprint("secret ", i)), rotatedAt, rotatedAt.Add(time.Hour)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s, err := loadSecrets(dir)
	if err != nil || len(s.Older) != maxOlder {
		t.Fatalf("%d of %d are there, %v", len(s.Older), maxOlder, err)
	}
	seen := map[config.Secret]bool{s.TURN: true}
	for _, o := range s.Older {
		seen[o.Secret] = true
	}
	if len(seen) != maxOlder+1 {
		t.Error("a secret was lost")
	}
}

var hexSecret = regexp.MustCompile(`[0-9a-f]{64}`)

func TestSecretCommand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	signer := func() config.Secret {
		s, err := loadSecrets(w.dir)
		if err != nil {
			t.Fatal(err)
		}
		return s.TURN
	}
	for _, args := range []string{"secret", "secret rotate", "secret rotate cookie", "secret rotate turn now"} {
		if status, _, errOut := w.run(t.Context(), "", strings.Fields(args)...); status != exitUsage || !strings.Contains(errOut, "secret: rotate turn expected") {
			t.Errorf("%s: %d %s", args, status, errOut)
		}
	}
	// Before the first start, and again.
	var last config.Secret
	for range 2 {
		status, out, errOut := w.run(t.Context(), "", "secret", "rotate", "turn")
		if status != 0 || !strings.Contains(out, "has a new TURN secret. The old one is accepted until 20") || signer() == last {
			t.Fatalf("%d %s%s", status, out, errOut)
		}
		if last = signer(); strings.Contains(out, string(last)) {
			t.Error("the secret is shown without need")
		}
	}
	// With a relay elsewhere it waits for a yes.
	relay := []string{"secret", "rotate", "turn", "--config", filepath.Join(w.dir, "relay.toml")}
	if err := os.WriteFile(filepath.Join(w.dir, "relay.toml"), []byte("[turn]\nttl = '1h'\nmax_session = '2h'\n[[turn.servers]]\ntype = 'own'\n[[turn.servers]]\ntype = 'turn'\nhost = 'relay.example'\n[[turn.servers]]\ntype = 'turns'\nhost = 'relay.example'\n[[turn.servers]]\ntype = 'turn'\nhost = 'bought.example'\nusername = 'u'\npassword = 'p'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, answer := range []string{"", "no\n", "y\n"} {
		if status, _, errOut := w.run(t.Context(), answer, relay...); status != exitFailure || !strings.Contains(errOut, "nothing was changed") || signer() != last {
			t.Errorf("%q: %d %s", answer, status, errOut)
		}
	}
	status, out, errOut := w.run(t.Context(), "yes\n", relay...)
	if status != 0 || signer() == last || !strings.Contains(out, "static-auth-secret="+string(signer())+"\n") || strings.Count(out, "relay.example") != 2 || strings.Contains(out, "bought") {
		t.Errorf("%d %s%s", status, out, errOut)
	}
	until := regexp.MustCompile(`until (\S+Z)\.`).FindStringSubmatch(out)
	if at, err := time.Parse(time.RFC3339, until[1]); err != nil || time.Until(at) > 3*time.Hour || time.Until(at) < 2*time.Hour {
		t.Errorf("ttl and max_session are 3 h together: %v, %v", until, err)
	}
	// A secret of the configuration is not ours to change.
	last = signer()
	if err := os.WriteFile(filepath.Join(w.dir, "own.toml"), []byte("[turn]\nsecrets = ['hunter2hunter2hunter2']\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	status, out, errOut = w.run(t.Context(), "", "secret", "rotate", "turn", "--config", filepath.Join(w.dir, "own.toml"))
	fresh := hexSecret.FindString(out)
	if status != 0 || signer() != last || fresh == "" || strings.Contains(out, "hunter2") || !strings.Contains(out, "own.toml:2") || !strings.Contains(out, `turn.secrets = ["`+fresh+`", …`) {
		t.Errorf("%d %s%s", status, out, errOut)
	}
}

// TestKeysFollow: what commands change while the server runs counts in its keyring, and
// what can't be read takes nothing away.
func TestKeysFollow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := makeDataDir(w.dir); err != nil {
		t.Fatal(err)
	}
	if _, err := loadSecrets(w.dir); err != nil {
		t.Fatal(err)
	}
	cfg := config.Config{DataDir: w.dir}
	cfg.TURN.Realm = "meet.example"
	st, err := openStorage(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	keys := newTURNKeys(cfg, st, slog.New(slog.DiscardHandler))
	refresh := func(resigned bool) {
		t.Helper()
		if got, err := keys.refresh(t.Context()); err != nil || got != resigned {
			t.Errorf("resigned %v, %v", got, err)
		}
	}
	run := func(stdin string, args ...string) {
		t.Helper()
		if status, out, errOut := w.run(t.Context(), stdin, args...); status != 0 {
			t.Errorf("%s: %s%s", args, out, errOut)
		}
	}
	now := time.Now()
	knows := func(c credential.Credential) bool {
		who, ok := keys.ring.Lookup(c.Username, "meet.example", now)
		want := credential.Key(c.Username, "meet.example", c.Password)
		for _, key := range who.Keys {
			ok = ok && string(key) == string(want[:])
			if ok {
				return true
			}
			ok = true
		}
		return false
	}
	refresh(false)
	first, err := keys.ring.Mint(now, time.Hour, "x")
	if err != nil {
		t.Fatal(err)
	}
	anna := credential.Credential{Username: "anna", Password: "secret 1"}
	if knows(anna) {
		t.Error("anna is known before she is there")
	}
	run("secret 1\n", "turn", "user", "add", "anna")
	refresh(false)
	if !knows(anna) || knows(credential.Credential{Username: "anna", Password: "secret 2"}) {
		t.Error("anna is not known by her password")
	}
	run("", "secret", "rotate", "turn")
	refresh(true)
	refresh(false)
	second, err := keys.ring.Mint(now, time.Hour, "x")
	if err != nil || second.Password == first.Password || !knows(first) || !knows(second) || !knows(anna) {
		t.Errorf("after the rotation: %v %v %v, %v", knows(first), knows(second), knows(anna), err)
	}
	if err := os.Chmod(filepath.Join(w.dir, secretsFile), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.refresh(t.Context()); err == nil || !knows(first) || !knows(anna) {
		t.Errorf("a file that others can read: %v", err)
	}
	if err := os.Chmod(filepath.Join(w.dir, secretsFile), 0o600); err != nil {
		t.Fatal(err)
	}
	run("", "turn", "user", "remove", "anna")
	refresh(false)
	if knows(anna) || !knows(first) {
		t.Error("anna was removed, nobody else")
	}
	cfg.TURN.Secrets = []config.Secret{"of the configuration"}
	keys.configure(cfg)
	refresh(true)
	if knows(first) || knows(second) || keys.ring.Signer() != "of the configuration" {
		t.Error("turn.secrets takes the place of the file")
	}
}
