package web

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"confab/internal/guard"
)

func TestSelfSignedCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := CertConfig{Domain: testDomain, Aliases: []string{"old.example.net"}, DataDir: dir, Addresses: []net.IP{net.ParseIP("203.0.113.8")}, Log: quiet()}
	first, err := OpenCertificates(cfg)
	if err != nil {
		t.Fatal(err)
	}
	leaf := first.Leaf()
	for _, name := range []string{testDomain, "old.example.net", "localhost", "127.0.0.1", "::1", "203.0.113.8"} {
		if err := leaf.VerifyHostname(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: testDomain}); err != nil {
		t.Errorf("trusted by itself: %v", err)
	}
	if leaf.IsCA || leaf.PublicKey.(*ecdsa.PublicKey).Curve != elliptic.P256() {
		t.Error("a CA, or not P-256")
	}
	fi, err := os.Stat(filepath.Join(dir, "tls", "selfsigned.key"))
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v %v", fi.Mode(), err)
	}
	if err := first.Err(); err != nil {
		t.Error(err)
	}

	again, err := OpenCertificates(cfg)
	if err != nil || !again.Leaf().Equal(leaf) {
		t.Errorf("not kept over a start: %v", err)
	}
	cfg.Aliases = nil
	other, err := OpenCertificates(cfg)
	if err != nil || other.Leaf().Equal(leaf) || slices.Contains(other.Leaf().DNSNames, "old.example.net") {
		t.Errorf("not made anew for other names: %v", err)
	}
	late := &Certificates{cfg: cfg, log: quiet()}
	renewed, err := late.selfSigned(time.Now().Add(selfSignedLife - 20*24*time.Hour))
	if err != nil || renewed.Leaf.Equal(other.Leaf()) {
		t.Errorf("not made anew 20 days before its end: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tls", "selfsigned.key"), []byte("half a"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCertificates(cfg); err != nil {
		t.Errorf("a broken key stops the start: %v", err)
	}
}

// issue writes a pair for name as certbot would.
func issue(t *testing.T, dir, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	ca := &x509.Certificate{Subject: pkix.Name{CommonName: "Test CA"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "fullchain.pem"), filepath.Join(dir, "privkey.pem")
	if err := writePair(dir, certFile, keyFile, der, key); err != nil {
		t.Fatal(err)
	}
	return certFile, keyFile
}

// Browsers that have learnt to come by HTTPS only offer no way around a
// certificate that they don't trust.
func TestHSTSNeedsAnAuthority(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cert, key := issue(t, t.TempDir(), testDomain)
	certs, err := OpenCertificates(CertConfig{Domain: testDomain, CertFile: cert, KeyFile: key, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(cfg, certs, Handlers{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, c := range []struct {
		s    *Server
		want string
	}{{s, "max-age=63072000"}, {open(t, testConfig(t), Handlers{}), ""}} {
		if got := ask(t, c.s, "GET /config.js").Header.Get("Strict-Transport-Security"); got != c.want {
			t.Errorf("%s: %q, want %q", c.s.certs.Describe(), got, c.want)
		}
	}
}

func TestCertificateFilesAreWatched(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := issue(t, dir, "one.example.org")
	c, err := OpenCertificates(CertConfig{Domain: "one.example.org", CertFile: cert, KeyFile: key, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	names := func() string {
		got, err := c.GetCertificate(&tls.ClientHelloInfo{ServerName: "anything"})
		if err != nil {
			t.Fatal(err)
		}
		return got.Leaf.DNSNames[0]
	}
	if names() != "one.example.org" {
		t.Error(names())
	}
	issue(t, dir, "two.example.org")
	c.reload()
	if names() != "two.example.org" {
		t.Errorf("after renewal: %s", names())
	}
	if err := os.WriteFile(key, []byte("half written"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.reload()
	if names() != "two.example.org" {
		t.Error("a broken file replaced a good certificate")
	}
	issue(t, dir, "three.example.org")
	c.reload()
	if names() != "three.example.org" {
		t.Errorf("after repair: %s", names())
	}

	for _, bad := range []CertConfig{
		{Domain: "x", CertFile: cert},
		{Domain: "x", CertFile: filepath.Join(dir, "none"), KeyFile: key},
	} {
		bad.Log = quiet()
		if _, err := OpenCertificates(bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

// A handshake that panics closes its connection; the next is made, and no slot is lost.
func TestHandshakePanics(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sh := &share{
		ln: ln, timeout: time.Minute, log: quiet(), guard: guard.New("handshakes", quiet()),
		handshake: make(chan struct{}, 1), perAddr: newConnCount(func(netip.Addr) int { return 1 }), http: newConnQueue(ln.Addr()),
		tls: &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { panic("a bug") }},
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- sh.run(ctx) }()
	for range 2 {
		// The one before has given its place back when its connection is closed, or soon
		// after: until then this one is closed at once.
		for before := sh.guard.Panics(); sh.guard.Panics() == before; {
			if c, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{InsecureSkipVerify: true}); err == nil {
				c.Close()
				t.Fatal("a handshake without a certificate")
			}
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := sh.perAddr.open(); n != 0 || len(sh.handshake) != 0 {
		t.Errorf("%d addresses, %d handshakes are still counted", n, len(sh.handshake))
	}
}

// One address can't take all handshakes with connections that say nothing.
func TestHandshakesOfOneAddress(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sh := &share{
		ln: ln, tls: &tls.Config{}, timeout: time.Hour, log: quiet(),
		handshake: make(chan struct{}, 10), perAddr: newConnCount(func(netip.Addr) int { return 1 }), http: newConnQueue(ln.Addr()), guard: guard.New("handshakes", quiet()),
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- sh.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := sh.perAddr.open(); n != 0 {
			t.Errorf("%d are still counted", n)
		}
	})
	dial := func() net.Conn {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	silent := dial()
	second := dial()
	if err := second.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the second of an address that may have one: %v", err)
	}
	_ = silent.Close()
}
