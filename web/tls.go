package web

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"confab/internal/guard"
)

// CertConfig says where the server's certificate comes from: the operator's
// files when they are given, else ACME when a contact is given, else a
// self-signed one ("tls.mode" = "auto", deployment.md §7.1 step 4).
type CertConfig struct {
	Domain  string
	Aliases []string
	DataDir string // self-signed pair in tls/, ACME account and certificates in acme/

	CertFile, KeyFile string // "tls.cert", "tls.key": PEM chain and key, watched

	ACMEEmail     string       // "acme"; set = obtain certificates
	ACMEDirectory string       // "tls.acme_directory"; "" is Let's Encrypt
	ACMEClient    *http.Client // nil is http.DefaultClient

	// Addresses are further addresses of this machine for the self-signed
	// certificate (a public one behind NAT); those of its interfaces are added.
	Addresses []net.IP

	Watch time.Duration // how often the files are looked at; 0 is 30 s
	Retry time.Duration // first pause after a failed ACME order, doubled up to 24 h; 0 is 5 min

	Log *slog.Logger
}

// Certificates is the server's certificate, shared by HTTPS, STARTTLS and TURN.
// GetCertificate may be called before and while Run runs.
type Certificates struct {
	cfg  CertConfig
	log  *slog.Logger
	own  atomic.Pointer[tls.Certificate] // from files, or self-signed
	acme *acmeSource                     // nil without ACME

	stamp fileStamp // of the files behind own; touched by Open and Run only
}

const selfSignedLife = 365 * 24 * time.Hour

// OpenCertificates reads the certificate, or makes the self-signed one. Files
// that can't be used are an error; ACME is tried by Run only, so that no network
// stands between start and the first request.
func OpenCertificates(cfg CertConfig) (*Certificates, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Watch == 0 {
		cfg.Watch = 30 * time.Second
	}
	if cfg.Retry == 0 {
		cfg.Retry = 5 * time.Minute
	}
	c := &Certificates{cfg: cfg, log: cfg.Log}
	if cfg.CertFile != "" || cfg.KeyFile != "" {
		if cfg.CertFile == "" || cfg.KeyFile == "" {
			return nil, errors.New("tls.cert and tls.key belong together, one is missing")
		}
		c.stamp = stampOf(cfg.CertFile, cfg.KeyFile)
		cert, err := loadPair(cfg.CertFile, cfg.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		c.warnChain(cert)
		c.own.Store(cert)
		return c, nil
	}
	cert, err := c.selfSigned(time.Now())
	if err != nil {
		return nil, fmt.Errorf("self-signed certificate: %w", err)
	}
	c.own.Store(cert)
	if cfg.ACMEEmail != "" {
		c.acme = newACMESource(cfg)
	}
	return c, nil
}

// GetCertificate is for tls.Config.GetCertificate of everything that does TLS.
func (c *Certificates) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.acme != nil {
		if cert, err := c.acme.certificate(hello); cert != nil || err != nil {
			return cert, err
		}
	}
	return c.own.Load(), nil
}

// TLSConfig is a fresh server configuration with the given ALPN names.
func (c *Certificates) TLSConfig(alpn ...string) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS12,
		GetCertificate:         c.GetCertificate,
		NextProtos:             alpn,
		SessionTicketsDisabled: true, // deployment.md §3.1
	}
}

// Leaf is the certificate that a client asking for the main domain gets.
func (c *Certificates) Leaf() *x509.Certificate {
	if c.acme != nil {
		if cert := c.acme.current(c.cfg.Domain); cert != nil {
			return cert.Leaf
		}
	}
	return c.own.Load().Leaf
}

// SelfSigned reports whether nobody else vouches for the certificate.
func (c *Certificates) SelfSigned() bool {
	leaf := c.Leaf()
	return bytes.Equal(leaf.RawIssuer, leaf.RawSubject)
}

// Describe is one line for the start-up summary.
func (c *Certificates) Describe() string {
	leaf := c.Leaf()
	by := leaf.Issuer.CommonName
	if len(leaf.Issuer.Organization) > 0 {
		by = leaf.Issuer.Organization[0]
	}
	if c.SelfSigned() {
		by = "self-signed"
	}
	s := by + ", valid to " + leaf.NotAfter.Format(time.DateOnly)
	if c.acme != nil && c.acme.current(c.cfg.Domain) == nil {
		s += " (asking for a trusted one by ACME)"
	}
	return s
}

// Err is for the health check: the certificate has run out.
func (c *Certificates) Err() error {
	if leaf := c.Leaf(); time.Now().After(leaf.NotAfter) {
		return fmt.Errorf("certificate expired on %s", leaf.NotAfter.Format(time.DateOnly))
	}
	return nil
}

// HTTPChallenge answers ACME HTTP-01 and passes the rest to next.
func (c *Certificates) HTTPChallenge(next http.Handler) http.Handler {
	if c.acme == nil {
		return next
	}
	return c.acme.manager.HTTPHandler(next)
}

// Guard counts what was caught while certificates were obtained; nil without ACME.
func (c *Certificates) Guard() *guard.Guard {
	if c.acme == nil {
		return nil
	}
	return c.acme.guard
}

// Run watches the files and keeps the ACME certificates fresh until ctx ends.
func (c *Certificates) Run(ctx context.Context) error {
	if c.acme != nil {
		return c.acme.run(ctx)
	}
	if c.cfg.CertFile == "" {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(c.cfg.Watch)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			c.reload()
		}
	}
}

// reload takes over changed files; unusable ones leave the old pair in place.
func (c *Certificates) reload() {
	now := stampOf(c.cfg.CertFile, c.cfg.KeyFile)
	if now == c.stamp {
		return
	}
	cert, err := loadPair(c.cfg.CertFile, c.cfg.KeyFile)
	if err != nil {
		// The two files change one after the other; the next look may fit.
		c.log.Warn("certificate files changed but can't be used", "err", err)
		return
	}
	c.stamp = now
	c.own.Store(cert)
	c.log.Info("certificate reloaded", "names", cert.Leaf.DNSNames, "until", cert.Leaf.NotAfter)
	c.warnChain(cert)
}

// warnChain reports a leaf without its issuer: browsers often have it cached,
// mobile apps refuse the connection (deployment.md §7.1).
func (c *Certificates) warnChain(cert *tls.Certificate) {
	leaf := cert.Leaf
	if len(cert.Certificate) == 1 && leaf.Issuer.String() != leaf.Subject.String() {
		c.log.Warn("certificate file holds no intermediate, mobile apps will refuse it", "issuer", leaf.Issuer.CommonName)
	}
}

func loadPair(certFile, keyFile string) (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	if cert.Leaf == nil {
		if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return nil, err
		}
	}
	return &cert, nil
}

// fileStamp changes when one of two files does.
type fileStamp struct {
	certTime, keyTime time.Time
	certSize, keySize int64
}

func stampOf(certFile, keyFile string) (s fileStamp) {
	if fi, err := os.Stat(certFile); err == nil {
		s.certTime, s.certSize = fi.ModTime(), fi.Size()
	}
	if fi, err := os.Stat(keyFile); err == nil {
		s.keyTime, s.keySize = fi.ModTime(), fi.Size()
	}
	return s
}

// selfSigned returns the stored certificate, or makes a new one when there is
// none, when names or addresses changed, or when 30 days are left.
func (c *Certificates) selfSigned(now time.Time) (*tls.Certificate, error) {
	names, ips := c.selfSignedNames()
	dir := filepath.Join(c.cfg.DataDir, "tls")
	certFile, keyFile := filepath.Join(dir, "selfsigned.crt"), filepath.Join(dir, "selfsigned.key")
	if cert, err := loadPair(certFile, keyFile); err == nil {
		l := cert.Leaf
		sameIPs := slices.EqualFunc(l.IPAddresses, ips, func(a, b net.IP) bool { return a.Equal(b) })
		if slices.Equal(l.DNSNames, names) && sameIPs && now.Add(30*24*time.Hour).Before(l.NotAfter) {
			return cert, nil
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	// No key usage extension and no CA flag: a client that is told to trust it
	// (as OpenSSL's verification of a self-signed leaf wants it) trusts nothing
	// else through it.
	tmpl := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: names[0], Organization: []string{"Confab self-signed"}},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(selfSignedLife),
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              names,
		IPAddresses:           ips,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, err
	}
	if err := writePair(dir, certFile, keyFile, der, key); err != nil {
		return nil, err
	}
	return loadPair(certFile, keyFile)
}

func writePair(dir, certFile, keyFile string, der []byte, key crypto.PrivateKey) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	// The key first: a crash in between leaves a pair that doesn't fit, and the
	// next start makes a new one.
	if err := replaceFile(keyFile, keyPEM, 0o600); err != nil {
		return err
	}
	return replaceFile(certFile, certPEM, 0o644)
}

// replaceFile writes beside name and renames, so name is never half written and
// never has a wider mode.
func replaceFile(name string, data []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// selfSignedNames are the sorted DNS names and addresses of the certificate,
// the domain first.
func (c *Certificates) selfSignedNames() ([]string, []net.IP) {
	var names []string
	var ips []net.IP
	add := func(n string) {
		n = strings.ToLower(strings.TrimSuffix(n, "."))
		if ip := net.ParseIP(n); ip != nil {
			ips = append(ips, ip)
		} else if n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	add(c.cfg.Domain)
	for _, a := range slices.Sorted(slices.Values(c.cfg.Aliases)) {
		add(a)
	}
	add("localhost")
	ips = append(ips, net.IPv4(127, 0, 0, 1), net.IPv6loopback)
	ips = append(ips, c.cfg.Addresses...)
	if addrs, err := net.InterfaceAddrs(); err == nil {
		for _, a := range addrs {
			// Link-local addresses need a zone, which no certificate can name.
			if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
				ips = append(ips, n.IP)
			}
		}
	}
	for i, ip := range ips {
		if v4 := ip.To4(); v4 != nil {
			ips[i] = v4
		}
	}
	slices.SortFunc(ips, func(a, b net.IP) int { return slices.Compare(a, b) })
	return names, slices.CompactFunc(ips, net.IP.Equal)
}
