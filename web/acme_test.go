package web

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/acme"
)

// ca is a certificate authority that speaks RFC 8555 as far as one order needs
// and validates the name at the server under test.
type ca struct {
	t         *testing.T
	kind      string // the challenge it offers
	validate  func(token string) error
	url       string
	key       *ecdsa.PrivateKey
	cert      *x509.Certificate
	validated atomic.Bool
	issued    atomic.Pointer[[]byte]
	refuse    atomic.Int32 // orders to refuse before the first good one
}

func newCA(t *testing.T, kind string) *ca {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"Test CA"}}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(100 * 24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c := &ca{t: t, kind: kind, key: key}
	if c.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(c)
	t.Cleanup(srv.Close)
	c.url = srv.URL
	return c
}

func (c *ca) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Replay-Nonce", "nonce")
	w.Header().Set("Content-Type", "application/json")
	answer := func(status int, v any) {
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(v)
	}
	status := func() string {
		switch {
		case c.issued.Load() != nil:
			return "valid"
		case c.validated.Load():
			return "ready"
		}
		return "pending"
	}
	order := func() map[string]any {
		o := map[string]any{
			"status": status(), "identifiers": []any{map[string]any{"type": "dns", "value": testDomain}},
			"authorizations": []string{c.url + "/authz"}, "finalize": c.url + "/finalize",
		}
		if c.issued.Load() != nil {
			o["certificate"] = c.url + "/cert"
		}
		return o
	}
	challenge := func() map[string]any {
		s := "pending"
		if c.validated.Load() {
			s = "valid"
		}
		return map[string]any{"type": c.kind, "url": c.url + "/challenge", "token": "tok-1", "status": s}
	}
	switch r.URL.Path {
	case "/directory":
		answer(200, map[string]string{
			"newNonce": c.url + "/nonce", "newAccount": c.url + "/account", "newOrder": c.url + "/order",
			"revokeCert": c.url + "/revoke", "keyChange": c.url + "/key",
		})
	case "/nonce":
		w.WriteHeader(200)
	case "/account":
		w.Header().Set("Location", c.url+"/account/1")
		answer(201, map[string]string{"status": "valid"})
	case "/order":
		if c.refuse.Add(-1) >= 0 {
			w.Header().Set("Content-Type", "application/problem+json")
			answer(403, map[string]string{"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "not now"})
			return
		}
		w.Header().Set("Location", c.url+"/order/1")
		answer(201, order())
	case "/order/1":
		w.Header().Set("Location", c.url+"/order/1")
		answer(200, order())
	case "/authz":
		s := "pending"
		if c.validated.Load() {
			s = "valid"
		}
		answer(200, map[string]any{
			"status": s, "identifier": map[string]string{"type": "dns", "value": testDomain}, "challenges": []any{challenge()},
		})
	case "/challenge":
		if err := c.validate("tok-1"); err != nil {
			c.t.Errorf("validation: %v", err)
		} else {
			c.validated.Store(true)
		}
		answer(200, challenge())
	case "/finalize":
		var jws struct{ Payload string }
		var body struct{ CSR string }
		json.NewDecoder(r.Body).Decode(&jws)
		payload, _ := base64.RawURLEncoding.DecodeString(jws.Payload)
		json.Unmarshal(payload, &body)
		der, _ := base64.RawURLEncoding.DecodeString(body.CSR)
		csr, err := x509.ParseCertificateRequest(der)
		if err != nil {
			c.t.Errorf("request: %v", err)
			return
		}
		tmpl := &x509.Certificate{
			SerialNumber: big.NewInt(2), DNSNames: csr.DNSNames, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
		}
		leaf, err := x509.CreateCertificate(rand.Reader, tmpl, c.cert, csr.PublicKey, c.key)
		if err != nil {
			c.t.Errorf("issue: %v", err)
			return
		}
		chain := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf}),
			pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw})...)
		c.issued.Store(&chain)
		w.Header().Set("Location", c.url+"/order/1")
		answer(200, order())
	case "/cert":
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		w.Write(*c.issued.Load())
	default:
		http.NotFound(w, r)
	}
}

// told passes log messages on, for tests that wait for one.
type told struct {
	slog.Handler
	ch chan string
}

func (h told) Enabled(context.Context, slog.Level) bool { return true }

func (h told) Handle(_ context.Context, r slog.Record) error {
	select {
	case h.ch <- r.Level.String() + " " + r.Message:
	default:
	}
	return nil
}

// wait returns when msg has been logged.
func (h told) wait(t *testing.T, msg string) {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		select {
		case m := <-h.ch:
			if m == msg {
				return
			}
		case <-limit:
			t.Fatalf("never logged: %s", msg)
		}
	}
}

// A CA that refuses doesn't keep the server from serving, nor from ending.
func TestACMERefused(t *testing.T) {
	t.Parallel()
	authority := newCA(t, "http-01")
	authority.refuse.Store(1000)
	log := told{slog.DiscardHandler, make(chan string, 100)}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	certs, err := OpenCertificates(CertConfig{
		Domain: testDomain, DataDir: t.TempDir(), ACMEEmail: "ops@example.org", ACMEDirectory: authority.url + "/directory",
		ACMEClient: &http.Client{Transport: transport}, Log: slog.New(log),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- certs.Run(ctx) }()
	log.wait(t, "WARN certificate by acme")
	cert, err := certs.GetCertificate(&tls.ClientHelloInfo{ServerName: testDomain})
	if err != nil || cert.Leaf.VerifyHostname(testDomain) != nil {
		t.Errorf("served meanwhile: %v", err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestACME(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"http-01", "tls-alpn-01"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			authority := newCA(t, kind)
			log := told{slog.DiscardHandler, make(chan string, 100)}
			cfg := testConfig(t)
			transport := &http.Transport{}
			certs, err := OpenCertificates(CertConfig{
				Domain: testDomain, Aliases: []string{"localhost"}, DataDir: cfg.DataDir,
				ACMEEmail: "ops@example.org", ACMEDirectory: authority.url + "/directory", ACMEClient: &http.Client{Transport: transport},
				Log: slog.New(log),
			})
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(certs.Describe(), "self-signed") {
				t.Errorf("before the order: %s", certs.Describe())
			}
			s, err := Open(cfg, certs, Handlers{})
			if err != nil {
				t.Fatal(err)
			}
			addr := s.Addrs()[0].String()
			authority.validate = func(token string) error {
				if kind == "http-01" {
					req, _ := http.NewRequest("GET", "http://"+s.plain.Addr().String()+"/.well-known/acme-challenge/"+token, nil)
					req.Host = testDomain
					res, err := transport.RoundTrip(req)
					if err != nil {
						return err
					}
					defer res.Body.Close()
					b, _ := io.ReadAll(res.Body)
					if res.StatusCode != 200 || !strings.HasPrefix(string(b), token+".") {
						return fmt.Errorf("%d %q", res.StatusCode, b)
					}
					return nil
				}
				conn, err := tls.Dial("tcp", addr, &tls.Config{ServerName: testDomain, NextProtos: []string{acme.ALPNProto}, InsecureSkipVerify: true})
				if err != nil {
					return err
				}
				defer conn.Close()
				// RFC 8737 §6.1: id-pe-acmeIdentifier.
				for _, e := range conn.ConnectionState().PeerCertificates[0].Extensions {
					if e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}) {
						return nil
					}
				}
				return fmt.Errorf("no acmeIdentifier in the certificate")
			}
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 2)
			go func() { done <- s.Run(ctx) }()
			go func() { done <- certs.Run(ctx) }()
			defer func() {
				stop()
				for range 2 {
					if err := <-done; err != nil {
						t.Error(err)
					}
				}
				transport.CloseIdleConnections()
			}()
			log.wait(t, "INFO certificate by acme")
			roots := x509.NewCertPool()
			roots.AddCert(authority.cert)
			conn, err := tls.Dial("tcp", addr, &tls.Config{ServerName: testDomain, RootCAs: roots})
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			if d := certs.Describe(); !strings.HasPrefix(d, "Test CA, valid to") {
				t.Errorf("after the order: %s", d)
			}
			// Other names still get the certificate that needs no CA.
			conn, err = tls.Dial("tcp", addr, &tls.Config{ServerName: "localhost", InsecureSkipVerify: true})
			if err != nil {
				t.Fatal(err)
			}
			if conn.ConnectionState().PeerCertificates[0].VerifyHostname("localhost") != nil {
				t.Error("localhost lost its certificate")
			}
			conn.Close()
			files, err := filepath.Glob(filepath.Join(cfg.DataDir, "acme", testDomain+"*"))
			if err != nil || len(files) == 0 {
				t.Fatalf("nothing stored: %v", err)
			}
			if fi, err := os.Stat(files[0]); err != nil || fi.Mode().Perm() != 0o600 {
				t.Errorf("mode of the stored key: %v %v", fi.Mode(), err)
			}
		})
	}
}
