package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testDomain = "meet.example.org"

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// testConfig listens on loopback only.
func testConfig(t *testing.T) Config {
	t.Helper()
	cfg := DefaultConfig(testDomain)
	cfg.DataDir = t.TempDir()
	cfg.Listen = []Bind{{Addr: "127.0.0.1:0"}}
	cfg.HTTP = Bind{Addr: "127.0.0.1:0"}
	cfg.Admin = Bind{Addr: "127.0.0.1:0"}
	cfg.Log = quiet()
	return cfg
}

func testCerts(t *testing.T, dataDir string) *Certificates {
	t.Helper()
	certs, err := OpenCertificates(CertConfig{Domain: testDomain, DataDir: dataDir, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	return certs
}

// open makes a server that is asked through ServeHTTP, without Run.
func open(t *testing.T, cfg Config, h Handlers) *Server {
	t.Helper()
	s, err := Open(cfg, testCerts(t, cfg.DataDir), h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// run serves on real listeners until the test ends.
func run(t *testing.T, cfg Config, h Handlers) (*Server, *http.Client) {
	t.Helper()
	certs := testCerts(t, cfg.DataDir)
	s, err := Open(cfg, certs, h)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	tr := &http.Transport{
		TLSClientConfig:   clientTLS(certs),
		ForceAttemptHTTP2: true,
	}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s, &http.Client{
		Transport:     tr,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func clientTLS(certs *Certificates) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(certs.Leaf())
	return &tls.Config{RootCAs: pool, ServerName: testDomain}
}

// stock is a copy of the fixture build that a test may change.
func stock(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "jitsi-meet")
	if err := os.CopyFS(dir, os.DirFS("testdata/stock")); err != nil {
		t.Fatal(err)
	}
	return dir
}

type reply struct {
	*http.Response
	body string
}

// ask sends "METHOD URL" with "Name: value" header lines.
func ask(t *testing.T, h http.Handler, request string, headers ...string) reply {
	t.Helper()
	method, url, _ := strings.Cut(request, " ")
	if strings.HasPrefix(url, "/") {
		url = "https://" + testDomain + url
	}
	r := httptest.NewRequest(method, url, nil)
	r.RemoteAddr = "198.51.100.7:4000"
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header.Set(name, value)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	res := rec.Result()
	body, _ := io.ReadAll(res.Body)
	return reply{res, string(body)}
}

// scriptValue parses `var NAME = {…};`, all that config.js may be.
func scriptValue(t *testing.T, name, js string) map[string]any {
	t.Helper()
	body, ok := strings.CutPrefix(strings.TrimSpace(js), "var "+name+" = ")
	if !ok {
		t.Fatalf("not a declaration of %s: %.80s", name, js)
	}
	body, ok = strings.CutSuffix(body, ";")
	if !ok {
		t.Fatalf("no semicolon at the end: …%s", js[max(0, len(js)-40):])
	}
	var v map[string]any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%s is not data: %v", name, err)
	}
	return v
}

func at(v any, path string) any {
	for key := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}
