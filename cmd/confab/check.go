package main

// confab check: what keeps the server from working, found without starting it.

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"confab/cmd/confab/config"
	"confab/storage/postgres"
	"confab/storage/sqlite"
)

const (
	// wantBuffer is the UDP socket buffer the bridge asks for, in bytes: the
	// kernel's usual limit holds some 90 packets of video.
	wantBuffer = 10 << 20

	// expirySoon is when a certificate should have been renewed.
	expirySoon = 14 * 24 * time.Hour

	dnsTimeout = 3 * time.Second
)

// check is "confab check". Its error is errSaid when something failed, or a
// ConfigError.
func (p *program) check(ctx context.Context, args []string) error {
	flags := p.flagSet("check")
	helper := flags.String("stun", "", "`HOST[:PORT]` of a STUN server elsewhere with RFC 5780, to send to our ports from outside (check)")
	rest, err := p.parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usageError("check: takes no arguments")
	}
	cfg, err := p.load()
	if err != nil {
		return err
	}
	r := &report{out: p.stdout}
	r.configuration(p, cfg)
	r.dataDir(cfg)
	r.database(ctx, cfg)
	r.ports(cfg)
	if cfg.TLS.Mode != "off" && (!cfg.RelayOnly() || cfg.TLS.Cert != "") {
		r.certificate(cfg, time.Now())
	}
	if !cfg.RelayOnly() { // it needs no name of its own
		r.dns(ctx, cfg)
	}
	r.addresses(cfg)
	r.localAddresses(cfg)
	if !cfg.RelayOnly() {
		r.webDir(cfg)
		r.tokens(ctx, cfg)
		r.servers(ctx, cfg)
	}
	r.logPlace(cfg)
	r.buffers("/proc/sys/net/core/rmem_max")
	r.buffers("/proc/sys/net/core/wmem_max")
	r.relayPorts(cfg, "/proc")
	r.relaySettings(cfg)
	r.relaySelfTest(ctx, cfg)
	if *helper != "" {
		r.outside(ctx, cfg, *helper)
	}
	if r.failed {
		return errSaid
	}
	return nil
}

// report prints a line per finding.
type report struct {
	out    io.Writer
	failed bool
}

func (r *report) line(verdict, subject, format string, args ...any) {
	fmt.Fprintf(r.out, "%-4s  %-20s  %s\n", verdict, subject, oneLine(fmt.Sprintf(format, args...)))
}

// oneLine joins the lines of an error and leaves out those it repeats.
func oneLine(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, " ")
}

func (r *report) ok(subject, format string, args ...any)   { r.line("OK", subject, format, args...) }
func (r *report) warn(subject, format string, args ...any) { r.line("WARN", subject, format, args...) }

func (r *report) fail(subject, format string, args ...any) {
	r.failed = true
	r.line("FAIL", subject, format, args...)
}

func (r *report) configuration(p *program, cfg config.Config) {
	source := "defaults only, no file"
	if _, err := os.Stat(p.configPath); err == nil {
		source = p.configPath
	}
	r.ok("configuration", "%s; domain %s, data in %s", source, cfg.Domain, cfg.DataDir)
}

// dataDir looks at who can read the directory and what lies in it.
func (r *report) dataDir(cfg config.Config) {
	info, err := os.Stat(cfg.DataDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.ok("data directory", "%s will be made at the first start", cfg.DataDir)
		return
	case err != nil:
		r.fail("data directory", "%v", err)
		return
	case !info.IsDir():
		r.fail("data directory", "%s is no directory", cfg.DataDir)
		return
	case !config.Writable(cfg.DataDir):
		r.fail("data directory", "%s: this user may not write there", cfg.DataDir)
		return
	case info.Mode().Perm()&0o022 != 0:
		r.fail("data directory", "%s can be written by others (mode %04o): chmod 700 it", cfg.DataDir, info.Mode().Perm())
	case info.Mode().Perm()&0o055 != 0:
		r.warn("data directory", "%s can be listed by others (mode %04o): chmod 700 it", cfg.DataDir, info.Mode().Perm())
	default:
		r.ok("data directory", "%s", cfg.DataDir)
	}
	if _, err := readSecrets(filepath.Join(cfg.DataDir, secretsFile)); err != nil {
		r.fail("secrets", "%v", err)
	}
}

// database looks whether it answers and fits this program, without changing it.
func (r *report) database(ctx context.Context, cfg config.Config) {
	var have, known int
	var err error
	name := "PostgreSQL"
	if cfg.Database != "" {
		have, known, err = postgres.Versions(ctx, string(cfg.Database))
	} else {
		name = sqlitePath(cfg)
		info, statErr := os.Stat(name)
		if errors.Is(statErr, fs.ErrNotExist) {
			return // made at the first start, as dataDir has said
		}
		if statErr == nil && info.Mode().Perm()&0o077 != 0 {
			r.fail("database", "%s can be read by others (mode %04o): chmod 600 it", name, info.Mode().Perm())
		}
		have, known, err = sqlite.Versions(ctx, name)
	}
	switch {
	case err != nil:
		r.fail("database", "%v", err)
	case have > known:
		r.fail("database", "%s has schema %d, this program knows up to %d: it is too old", name, have, known)
	case have < known:
		r.ok("database", "%s has schema %d and gets %d at the next start", name, have, known)
	default:
		r.ok("database", "%s, schema %d", name, have)
	}
}

// certificate looks at the operator's certificate as a client would.
func (r *report) certificate(cfg config.Config, now time.Time) {
	if cfg.TLS.Cert == "" {
		if cfg.ACME != "" {
			r.ok("certificate", "obtained by ACME for %s", cfg.Domain)
		} else {
			r.warn("certificate", "self-signed: browsers ask first, mobile apps refuse. Set acme or tls.cert")
		}
		return
	}
	pair, err := tls.LoadX509KeyPair(cfg.TLS.Cert, cfg.TLS.Key)
	if err != nil {
		r.fail("certificate", "%v", err)
		return
	}
	leaf := pair.Leaf
	sound := true
	bad := func(report func(subject, format string, args ...any), format string, args ...any) {
		sound = false
		report("certificate", cfg.TLS.Cert+": "+format, args...)
	}
	if err := leaf.VerifyHostname(cfg.Domain); err != nil {
		bad(r.fail, "%v", err)
	}
	for _, name := range cfg.TURN.SNI {
		if err := leaf.VerifyHostname(name); err != nil {
			bad(r.fail, "turn.sni: %v", err)
		}
	}
	switch left := leaf.NotAfter.Sub(now); {
	case now.Before(leaf.NotBefore):
		bad(r.fail, "is valid only from %s on", leaf.NotBefore.Format(time.DateOnly))
	case left < 0:
		bad(r.fail, "expired on %s", leaf.NotAfter.Format(time.DateOnly))
	case left < expirySoon:
		bad(r.warn, "expires on %s", leaf.NotAfter.Format(time.DateOnly))
	}
	if err := chainErr(pair); err != nil {
		bad(r.warn, "%v", err)
	}
	if sound {
		r.ok("certificate", "%s, valid to %s", cfg.TLS.Cert, leaf.NotAfter.Format(time.DateOnly))
	}
}

// chainErr says what is missing between the leaf and a root that clients have.
// Browsers fetch a missing intermediate, mobile apps and XMPP clients don't.
func chainErr(pair tls.Certificate) error {
	leaf := pair.Leaf
	if slices.Equal(leaf.RawIssuer, leaf.RawSubject) {
		return errors.New("is self-signed: mobile apps refuse it")
	}
	pool := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("a certificate of the chain can't be read: %w", err)
		}
		pool.AddCert(c)
	}
	if len(pair.Certificate) == 1 {
		return fmt.Errorf("the chain is missing: add the certificate of %q behind it, or mobile apps fail", leaf.Issuer)
	}
	// CurrentTime: expiry is reported by itself.
	if _, err := leaf.Verify(x509.VerifyOptions{Intermediates: pool, CurrentTime: leaf.NotBefore.Add(time.Minute)}); err != nil {
		return fmt.Errorf("this machine does not trust it: %w", err)
	}
	return nil
}

// webDir looks for a web build where the configuration says there is one.
func (r *report) webDir(cfg config.Config) {
	dir := cfg.Web.Dir
	if dir == "" {
		dir = filepath.Join(cfg.DataDir, "web")
	}
	_, err := os.Stat(filepath.Join(dir, "index.html"))
	switch {
	case err == nil:
		r.ok("web app", "%s", dir)
	case cfg.Web.Dir != "":
		r.fail("web app", "%s holds no index.html (web.dir)", dir)
	default:
		r.ok("web app", "the page of our own; confab web install adds a stock Jitsi Meet build")
	}
}

// logPlace looks whether the log can be written where it is to go.
func (r *report) logPlace(cfg config.Config) {
	switch cfg.Log.Output {
	case "file":
		// The file itself may be there and ours in a directory that is not.
		f, err := os.OpenFile(cfg.Log.File, os.O_APPEND|os.O_WRONLY, 0)
		if err == nil {
			_ = f.Close()
		}
		if dir := filepath.Dir(cfg.Log.File); err != nil && (!errors.Is(err, fs.ErrNotExist) || !config.Writable(dir)) {
			r.fail("log", "%s: this user may not write there (log.file): %v", cfg.Log.File, rootCause(err))
			return
		}
		r.ok("log", "%s", cfg.Log.File)
	case "syslog":
		s := &syslog{sockets: syslogSockets}
		if err := s.reopen(); err != nil {
			r.warn("log", "there is no syslog daemon at %s: the log goes to stderr", strings.Join(syslogSockets, ", "))
			return
		}
		_ = s.close()
		r.ok("log", "syslog")
	}
}

// buffers looks whether the kernel lets the bridge have large UDP buffers.
func (r *report) buffers(path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		return // not Linux
	}
	name := "net.core." + filepath.Base(path)
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	switch {
	case err != nil:
		r.warn("UDP buffers", "%s holds no number", path)
	case n < wantBuffer:
		r.warn("UDP buffers", "%s is %d, media may be lost under load: sysctl -w %s=%d", name, n, name, wantBuffer)
	default:
		r.ok("UDP buffers", "%s is %d", name, n)
	}
}
