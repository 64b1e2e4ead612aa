package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"confab/cmd/confab/config"
)

func TestCheckCommand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	args := []string{"check", "--https", "127.0.0.1:0", "--media-port", "0", "--turn-port", "0", "--xmpp-port", "0"}
	status, out, errOut := w.run(t.Context(), "", args...)
	if status != 0 || !strings.Contains(out, "OK    configuration ") || !strings.Contains(out, "WARN  certificate           self-signed") {
		t.Errorf("exit %d\n%s%s", status, out, errOut)
	}
	relay := filepath.Join(t.TempDir(), "relay.toml")
	if err := os.WriteFile(relay, []byte("[node]\nroles = ['turn']\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	status, out, errOut = w.run(t.Context(), "", "check", "--config", relay, "--turn-port", "0")
	if status != 0 || !strings.Contains(out, "for STUN and TURN") || strings.Contains(out, "HTTPS") || strings.Contains(out, ":10000") || strings.Contains(out, "XMPP") || strings.Contains(out, "web app") {
		t.Errorf("a relay alone: exit %d\n%s%s", status, out, errOut)
	}
	status, _, errOut = w.run(t.Context(), "", "check", "--media-port", "70000")
	if status != 78 || !strings.Contains(errOut, "--media-port: bridge.udp_port: 70000 is not between 0 and 65535") {
		t.Errorf("exit %d\n%s", status, errOut)
	}
}

// A port in use is fine when our own server holds it. This process plays it.
func TestCheckPorts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := makeDataDir(w.dir); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	var cfg config.Config
	cfg.DataDir, cfg.XMPP.Port, cfg.TURN.Mode, cfg.TLS.Mode = w.dir, port, "off", "off"
	cfg.Admin.Listen = fmt.Sprintf("127.0.0.1:%d", port)

	findings := func() string {
		var out bytes.Buffer
		(&report{out: &out}).ports(cfg)
		return out.String()
	}
	if got := findings(); !strings.Contains(got, fmt.Sprintf("FAIL  tcp :%d", port)) ||
		!strings.Contains(got, "address already in use, needed for XMPP clients (xmpp.port)") ||
		!strings.Contains(got, "address already in use: a free port is used instead, as admin.listen is not set") ||
		!strings.Contains(got, "OK    udp :0") {
		t.Error(got)
	}
	set, _, err := config.Load(config.Sources{Environ: []string{"CONFAB_ADMIN_LISTEN=" + cfg.Admin.Listen, "CONFAB_DATA_DIR=" + w.dir, fmt.Sprint("CONFAB_XMPP_PORT=", port),
		"CONFAB_XMPP_TLS_PORT=0", "CONFAB_TURN_MODE=off", "CONFAB_TLS_MODE=off", "CONFAB_WEB_LISTEN=127.0.0.1:0", "CONFAB_WEB_HTTP_LISTEN=", "CONFAB_BRIDGE_UDP_PORT=0"}})
	if err != nil {
		t.Fatal(err)
	}
	cfg = set
	if got := findings(); !strings.Contains(got, "needed for metrics and health (admin.listen)") {
		t.Errorf("an address that was set gives way: %s", got)
	}
	lock, err := lockDataDir(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if got := findings(); strings.Contains(got, "FAIL") || !strings.Contains(got, fmt.Sprintf("held by the running server (process %d)", os.Getpid())) {
		t.Errorf("our own server: %s", got)
	}
}

func TestCheckDataDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := config.Config{DataDir: dir}
	findings := func() string {
		var out bytes.Buffer
		(&report{out: &out}).dataDir(cfg)
		return out.String()
	}
	for mode, want := range map[os.FileMode]string{0o700: "OK  ", 0o755: "WARN", 0o777: "FAIL"} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if got := findings(); !strings.HasPrefix(got, want) {
			t.Errorf("%04o: %s", mode, got)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, secretsFile), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := findings(); !strings.Contains(got, "FAIL  secrets") {
		t.Error(got)
	}
	cfg.DataDir = filepath.Join(dir, "later")
	if got := findings(); !strings.Contains(got, "will be made at the first start") {
		t.Error(got)
	}
	cfg.DataDir = filepath.Join(dir, secretsFile)
	if got := findings(); !strings.Contains(got, "is no directory") {
		t.Error(got)
	}
}

func TestCheckDatabase(t *testing.T) {
	t.Parallel()
	cfg := config.Config{DataDir: t.TempDir()}
	path := sqlitePath(cfg)
	findings := func() string {
		var out bytes.Buffer
		(&report{out: &out}).database(t.Context(), cfg)
		return out.String()
	}
	if got := findings(); got != "" {
		t.Errorf("no database yet: %s", got)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := findings(); !strings.HasPrefix(got, "OK    database") || !strings.Contains(got, "has schema 0 and gets ") {
		t.Error(got)
	}
	st, err := openStorage(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if got := findings(); !strings.HasPrefix(got, "OK    database") || strings.Contains(got, "gets") {
		t.Error(got)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := findings(); !strings.Contains(got, "FAIL  database              "+path+" can be read by others (mode 0644)") {
		t.Error(got)
	}
	cfg.Database = "postgres://confab:hunter2@127.0.0.1:1/confab?connect_timeout=1"
	if got := findings(); !strings.HasPrefix(got, "FAIL  database              database confab on 127.0.0.1: ") || strings.Contains(got, "hunter2") {
		t.Error(got)
	}
}

func TestCheckCertificate(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ca, caKey := issue(t, "Test CA", nil, nil, now.Add(-time.Hour), now.Add(48*time.Hour), "")
	year := now.Add(365 * 24 * time.Hour)
	for _, c := range []struct {
		name     string
		domain   string
		from, to time.Time
		chain    bool
		want     string
	}{
		{"leaf only", "meet.example", now.Add(-time.Hour), year, false, `WARN  certificate           %s: the chain is missing: add the certificate of "CN=Test CA"`},
		{"unknown root", "meet.example", now.Add(-time.Hour), year, true, "WARN  certificate           %s: this machine does not trust it"},
		{"other name", "other.example", now.Add(-time.Hour), year, true, "FAIL  certificate           %s: x509: certificate is valid for other.example, not meet.example"},
		{"expired", "meet.example", now.Add(-2 * time.Hour), now.Add(-time.Hour), true, "FAIL  certificate           %s: expired on "},
		{"expires soon", "meet.example", now.Add(-time.Hour), now.Add(48 * time.Hour), true, "WARN  certificate           %s: expires on "},
		{"not yet", "meet.example", now.Add(time.Hour), year, true, "FAIL  certificate           %s: is valid only from "},
	} {
		leaf, key := issue(t, c.domain, ca, caKey, c.from, c.to, c.domain)
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})
		if c.chain {
			text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})...)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		cfg := config.Config{Domain: "meet.example"}
		cfg.TLS.Cert, cfg.TLS.Key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
		for path, data := range map[string][]byte{cfg.TLS.Cert: text, cfg.TLS.Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})} {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var out bytes.Buffer
		(&report{out: &out}).certificate(cfg, now)
		if want := fmt.Sprintf(c.want, cfg.TLS.Cert); !strings.Contains(out.String(), want) {
			t.Errorf("%s:\n got %swant %s", c.name, out.String(), want)
		}
	}
}

// issue makes a certificate, signed by parent or by itself.
func issue(t *testing.T, name string, parent *x509.Certificate, parentKey *ecdsa.PrivateKey, from, to time.Time, host string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to}
	if host != "" {
		template.DNSNames = []string{host}
	}
	if parent == nil {
		parent, parentKey = template, key
		template.IsCA, template.BasicConstraintsValid = true, true
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func TestCheckBuffers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "rmem_max")
	for text, want := range map[string]string{"212992\n": "WARN", "10485760\n": "OK", "many": "WARN"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		(&report{out: &out}).buffers(path)
		if !strings.HasPrefix(out.String(), want) {
			t.Errorf("%s: %s", text, out.String())
		}
	}
}

func TestCheckLocalAddressesAndWebDir(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	r := &report{out: &out}
	cfg := config.Config{DataDir: t.TempDir()}
	cfg.Network.Bind = []string{"127.0.0.1", "lo", "192.0.2.77", "eth77"}
	cfg.Network.PublicAddresses = []string{"auto", "192.0.2.1/127.0.0.1", "192.0.2.1/192.0.2.78"}
	cfg.Web.Dir = cfg.DataDir
	r.localAddresses(cfg)
	r.webDir(cfg)
	cfg.Web.Dir = ""
	r.webDir(cfg)
	for _, want := range []string{
		"FAIL  network.bind          this machine has no address or interface 192.0.2.77\n",
		"FAIL  network.bind          this machine has no address or interface eth77\n",
		"FAIL  public addresses      192.0.2.1/192.0.2.78: this machine has no address 192.0.2.78\n",
		"FAIL  web app               " + cfg.DataDir + " holds no index.html (web.dir)\n",
		"OK    web app               the page of our own;",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Count(out.String(), "\n") != 5 || !r.failed {
		t.Error(out.String())
	}
}
