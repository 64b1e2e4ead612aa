package web

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"confab/internal/guard"
)

// acmeSource obtains certificates in the background, so that a handshake never
// waits for the CA: a name is served from ACME once its certificate is there,
// and by the self-signed one until then.
type acmeSource struct {
	manager *autocert.Manager
	names   []string
	retry   time.Duration
	log     *slog.Logger
	guard   *guard.Guard
	stop    context.CancelFunc // ends requests to the CA

	mu    sync.Mutex
	certs map[string]*tls.Certificate // by name, what the last look gave
}

func newACMESource(cfg CertConfig) *acmeSource {
	s := &acmeSource{retry: cfg.Retry, log: cfg.Log, guard: guard.New("acme", cfg.Log), certs: make(map[string]*tls.Certificate)}
	for _, n := range append([]string{cfg.Domain}, cfg.Aliases...) {
		n = strings.ToLower(n)
		if strings.Contains(n, ".") && net.ParseIP(n) == nil && !slices.Contains(s.names, n) {
			s.names = append(s.names, n)
		}
	}
	client := http.DefaultClient
	if cfg.ACMEClient != nil {
		client = cfg.ACMEClient
	}
	base := client.Transport
	if base == nil {
		base = http.DefaultTransport
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.manager = &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		Cache:      autocert.DirCache(filepath.Join(cfg.DataDir, "acme")),
		HostPolicy: autocert.HostWhitelist(s.names...),
		Email:      cfg.ACMEEmail,
		Client: &acme.Client{
			DirectoryURL: cfg.ACMEDirectory,
			HTTPClient:   &http.Client{Transport: &untilStopped{ctx, base}, Timeout: time.Minute},
			UserAgent:    "confab",
		},
	}
	return s
}

// untilStopped ends the CA requests of autocert, whose own context nobody can
// reach, when the server stops.
type untilStopped struct {
	ctx  context.Context
	base http.RoundTripper
}

func (t *untilStopped) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := t.ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	context.AfterFunc(t.ctx, func() { cancel(t.ctx.Err()) })
	return t.base.RoundTrip(r.WithContext(ctx))
}

// certificate answers a handshake; nil, nil means "not ours, use the other one".
func (s *acmeSource) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == acme.ALPNProto {
		return s.manager.GetCertificate(hello) // RFC 8737: the CA is asking
	}
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if name == "" && len(s.names) > 0 {
		name = s.names[0]
	}
	return s.current(name), nil
}

func (s *acmeSource) current(name string) *tls.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.certs[strings.ToLower(name)]
}

// run looks after every name until ctx ends: an order, a daily look that picks
// up what autocert renewed, a growing pause after failures.
func (s *acmeSource) run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, name := range s.names {
		wg.Go(func() {
			_ = s.guard.Keep(ctx, func(ctx context.Context) error {
				s.keep(ctx, name)
				return nil
			})
		})
	}
	if len(s.names) == 0 {
		s.log.Warn("acme is set but no name can have a public certificate")
	}
	<-ctx.Done()
	s.stop()
	wg.Wait()
	return nil
}

func (s *acmeSource) keep(ctx context.Context, name string) {
	pause := s.retry
	for {
		wait := time.Hour
		if cert, err := s.order(ctx, name); err == nil {
			s.store(name, cert)
			pause = s.retry
		} else if ctx.Err() == nil {
			wait, pause = pause, min(2*pause, 24*time.Hour)
			s.log.Warn("certificate by acme", "name", name, "err", err, "again_in", wait)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

func (s *acmeSource) order(ctx context.Context, name string) (*tls.Certificate, error) {
	// A name that doesn't resolve can't be validated; asking anyway would use up
	// the CA's few failed validations an hour.
	if s.manager.Client.DirectoryURL == "" || s.manager.Client.DirectoryURL == autocert.DefaultACMEDirectory {
		if _, err := net.DefaultResolver.LookupHost(ctx, name); err != nil {
			return nil, err
		}
	}
	// autocert reads the client's abilities: ask for ECDSA, which every client
	// of ours has, so there is one certificate for all.
	return s.manager.GetCertificate(&tls.ClientHelloInfo{
		ServerName:        name,
		SupportedVersions: []uint16{tls.VersionTLS13},
		SignatureSchemes:  []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
		SupportedCurves:   []tls.CurveID{tls.CurveP256},
		CipherSuites:      []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	})
}

func (s *acmeSource) store(name string, cert *tls.Certificate) {
	s.mu.Lock()
	old := s.certs[name]
	s.certs[name] = cert
	s.mu.Unlock()
	if cert.Leaf != nil && (old == nil || !old.Leaf.NotAfter.Equal(cert.Leaf.NotAfter)) {
		s.log.Info("certificate by acme", "name", name, "until", cert.Leaf.NotAfter)
	}
}
