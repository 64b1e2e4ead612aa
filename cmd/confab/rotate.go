package main

// confab secret rotate turn: another secret for the credentials of TURN.

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/BurntSushi/toml"

	"confab/cmd/confab/config"
)

// maxOlder bounds the secrets that wait for their end: each costs the relay a little on
// every request.
const maxOlder = 8

// secret is "confab secret rotate turn". It changes secrets.toml, and says what is to
// be changed where that is not the only place (turn.md §4).
func (p *program) secret(args []string) error {
	rest, err := p.parse(p.flagSet("secret"), args)
	if err != nil {
		return err
	}
	if !slices.Equal(rest, []string{"rotate", "turn"}) {
		return usageError("secret: rotate turn expected")
	}
	cfg, err := p.load()
	if err != nil {
		return err
	}
	fresh, err := newSecret()
	if err != nil {
		return err
	}
	others := sharedHosts(cfg)
	now := time.Now()
	until := now.Add(credentialLife(cfg)).UTC().Truncate(time.Second)
	if len(cfg.TURN.Secrets) > 0 {
		p.tellRotation(cfg, fresh, others, until)
		return nil
	}
	if err := makeDataDir(cfg.DataDir); err != nil {
		return err
	}
	if _, err := loadSecrets(cfg.DataDir); err != nil {
		return err
	}
	// Another relay must know the secret before anything is signed with it.
	if len(others) > 0 && !p.relaysAccept(fresh, others) {
		return errors.New("nothing was changed; without a yes the new secret counts nowhere")
	}
	if err := rotateSecrets(cfg.DataDir, fresh, now, until); err != nil {
		return fmt.Errorf("secrets: %w", err)
	}
	fmt.Fprintf(p.stdout, "%s has a new TURN secret. The old one is accepted until %s.\nA running server takes it over within %v; nothing has to be restarted.\n",
		filepath.Join(cfg.DataDir, secretsFile), until.Format(time.RFC3339), keysInterval)
	if len(others) > 0 {
		fmt.Fprintf(p.stdout, "Take the old secret out of %s then.\n", strings.Join(others, ", "))
	}
	return nil
}

// credentialLife is how long a credential made now can be of use: it opens allocations
// until it expires, and what it has opened may go on for turn.max_session.
func credentialLife(c config.Config) time.Duration {
	ttl := c.TURN.TTL.Duration
	for _, s := range c.TURN.Servers {
		ttl = max(ttl, s.TTL.Duration)
	}
	return ttl + c.TURN.MaxSession.Duration
}

// sharedHosts are the relays elsewhere that verify credentials of the shared secret.
func sharedHosts(c config.Config) (hosts []string) {
	for _, s := range turnServers(c) {
		ours := s.Own && c.TURN.Mode != "off" // else it is another program on this machine
		if host := s.Host; s.Shared() && !ours && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// tellRotation says what to do when the secret stands in the configuration, which is
// not ours to write.
func (p *program) tellRotation(cfg config.Config, fresh config.Secret, others []string, until time.Time) {
	where := cfg.Where("turn.secrets")
	fmt.Fprintf(p.stdout, "turn.secrets is set by %s, so nothing was changed. The new secret:\n\n  %s\n\n", where, string(fresh))
	step := 1
	if len(others) > 0 {
		fmt.Fprintf(p.stdout, "%d. %s\n", step, relaySteps(fresh, others))
		step++
	}
	first := fmt.Sprintf("turn.secrets = [%q, …those that are there]", string(fresh))
	if strings.HasPrefix(where, config.EnvPrefix) {
		first = string(fresh) + ",…those that are there"
	}
	fmt.Fprintf(p.stdout, "%d. Put it first in %s and reload this server (SIGHUP):\n     %s\n", step, where, first)
	fmt.Fprintf(p.stdout, "%d. Take the old secret out everywhere, not before %s.\n", step+1, until.Format(time.RFC3339))
}

// relaySteps says how other relays learn of the secret.
func relaySteps(fresh config.Secret, others []string) string {
	return fmt.Sprintf(`On %s, beside what is there:
     coturn: a further line in turnserver.conf, and a restart (what it was started with counts, not a reload)
       static-auth-secret=%s
     confab: in turn.secrets or the file of CONFAB_TURN_SECRETS_FILE, behind the first, and SIGHUP`, strings.Join(others, ", "), string(fresh))
}

// relaysAccept tells what to do at other relays and asks whether it is done.
func (p *program) relaysAccept(fresh config.Secret, others []string) bool {
	fmt.Fprintf(p.stdout, "%s\nType yes when they accept it: ", relaySteps(fresh, others))
	line, _ := bufio.NewReader(io.LimitReader(p.stdin, 64)).ReadString('\n') // an end without a yes is no yes
	fmt.Fprintln(p.stdout)
	return strings.TrimSpace(line) == "yes"
}

// rotateSecrets makes fresh the secret that signs; the one before verifies until then.
// Those that have run out are forgotten, everything else in the file stays as it is. A
// crash leaves the old file or the new one.
func rotateSecrets(dir string, fresh config.Secret, now, until time.Time) error {
	// A lock on the directory: two calls must not lose each other's secret.
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	path := filepath.Join(dir, secretsFile)
	before, err := readSecrets(path)
	if err != nil {
		return err
	}
	after := before
	after.TURN, after.Older = fresh, []olderSecret{{before.TURN, until.UTC().Truncate(time.Second)}}
	for _, o := range before.Older {
		if now.Before(o.Until) {
			after.Older = append(after.Older, o)
		}
	}
	if len(after.Older) > maxOlder {
		return fmt.Errorf("%d secrets before this one still wait for their end: remove some from turn_secrets_old in %s", maxOlder, path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	next := after.turnLines() + withoutKeys(string(text), "turn_secret", "turn_secrets_old")
	var check Secrets
	if _, err := toml.Decode(next, &check); err != nil || !check.same(after) {
		return errors.New("turn_secret and turn_secrets_old are not on a line of their own in " + path)
	}
	return writeFile(path, []byte(next))
}

// turnLines are the keys of the relay, as they stand in the file.
func (s Secrets) turnLines() string {
	older := make([]string, len(s.Older))
	for i, o := range s.Older {
		older[i] = "{ secret = " + strconv.Quote(string(o.Secret)) + ", until = " + o.Until.UTC().Format(time.RFC3339) + " }"
	}
	return "turn_secret = " + strconv.Quote(string(s.TURN)) + "\nturn_secrets_old = [" + strings.Join(older, ", ") + "]\n"
}

// same compares secrets by what they say.
func (s Secrets) same(o Secrets) bool {
	return s.TURN == o.TURN && s.Cookie == o.Cookie && s.Token == o.Token &&
		slices.EqualFunc(s.Older, o.Older, func(a, b olderSecret) bool { return a.Secret == b.Secret && a.Until.Equal(b.Until) })
}

// withoutKeys is text without the lines of these keys.
func withoutKeys(text string, keys ...string) string {
	var drop []int
	for _, key := range keys {
		drop = append(drop, config.LineOf(text, toml.Key{key}))
	}
	var out strings.Builder
	n := 0
	for line := range strings.Lines(text) {
		if n++; !slices.Contains(drop, n) {
			out.WriteString(line)
		}
	}
	return out.String()
}
