package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"confab/cmd/confab/config"
)

// A server with the imported configuration of a typical site relays for coturn's own
// client, which knows the secret of the old file. The package coturn has the client
// (make test-deps).
func TestImportedConfigurationWorks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writePair(t, dir, "meet.example.org")
	const secret = "f2d6b3f0c1a94e7f8e5d"
	plain, overTLS := freePort(t), freePort(t)
	old := filepath.Join(dir, "turnserver.conf")
	if err := os.WriteFile(old, fmt.Appendf(nil, `
# coturn
syslog
listening-ip=127.0.0.1
listening-port=%s
alt-listening-port=3479
tls-listening-port=%s
external-ip=127.0.0.1/127.0.0.1
realm=meet.example.org
use-auth-secret
static-auth-secret=another-secret-that-verifies
static-auth-secret=%s
fingerprint
mobility
min-port=49160
max-port=64999
cert=cert.pem
pkey=key.pem
dh-file=dhparam.pem
denied-peer-ip=10.0.0.0-10.255.255.255
denied-peer-ip=169.254.0.0-169.254.255.255
`, plain, overTLS, secret), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "confab.toml")
	var said bytes.Buffer
	p := program{stdout: &said, stderr: &said}
	if status := p.run(t.Context(), []string{"import", old, "-o", file}); status != 0 {
		t.Fatalf("exit %d\n%s", status, said.String())
	}
	cfg, _, err := config.Load(config.Sources{Path: file, Require: true, Environ: []string{
		"CONFAB_DATA_DIR=" + filepath.Join(dir, "data"), "CONFAB_DOMAIN=meet.example.org", "CONFAB_ADMIN_LISTEN=",
		"CONFAB_WEB_LISTEN=127.0.0.1:" + freePort(t), "CONFAB_WEB_HTTP_LISTEN=", "CONFAB_BRIDGE_UDP_PORT=" + freePort(t),
		"CONFAB_XMPP_PORT=" + freePort(t), "CONFAB_XMPP_TLS_PORT=0",
	}})
	if err != nil {
		t.Fatal(err)
	}

	startServer(t, cfg, reloads{}, io.Discard)
	t.Run("clients", func(t *testing.T) {
		for name, args := range map[string][]string{
			"UDP": {"-p", plain}, "TCP": {"-t", "-p", plain}, "TLS": {"-t", "-S", "-p", overTLS},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				got, err := turnClient(t, append(args, "-W", secret)...)
				if err != nil || !received.MatchString(got) {
					t.Errorf("turnutils_uclient: %v\n%s", err, got)
				}
			})
		}
		t.Run("another secret", func(t *testing.T) {
			t.Parallel()
			if got, _ := turnClient(t, "-p", plain, "-W", "not-the-secret-of-the-file"); received.MatchString(got) {
				t.Errorf("relayed\n%s", got)
			}
		})
	})
}

// received is what turnutils_uclient says at its end when packets came back.
var received = regexp.MustCompile(`tot_recv_msgs=[1-9]`)

// turnClient has two clients of coturn send to each other through the relay.
func turnClient(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "turnutils_uclient", append(args, "-u", "import", "-y", "-c", "-n", "10", "127.0.0.1")...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// writePair puts cert.pem and key.pem for a name into dir.
func writePair(t *testing.T, dir, name string) {
	t.Helper()
	now := time.Now()
	cert, key := issue(t, name, nil, nil, now.Add(-time.Hour), now.Add(365*24*time.Hour), name)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: cert.Raw}, "key.pem": {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
