package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"confab/internal/meettest/token"
)

// keySite publishes keys; its clock is the caches'.
type keySite struct {
	*httptest.Server
	keys *Keys

	mu    sync.Mutex
	now   time.Time
	pages map[string]string // by path; without one 404
	cache string            // Cache-Control
	code  int               // instead of 200
	hold  chan struct{}     // answers wait for it, unless nil
	asked map[string]int
}

func newKeySite(t *testing.T, change func(*KeysConfig, string)) *keySite {
	t.Helper()
	s := &keySite{now: noon, pages: map[string]string{}, asked: map[string]int{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		page, ok := s.pages[r.URL.Path]
		s.asked[r.URL.Path]++
		cache, code, hold := s.cache, s.code, s.hold
		s.mu.Unlock()
		if hold != nil {
			select {
			case <-hold:
			case <-r.Context().Done():
				return
			}
		}
		if cache != "" {
			w.Header().Set("Cache-Control", cache)
		}
		switch {
		case code != 0:
			w.WriteHeader(code)
		case !ok:
			http.NotFound(w, r)
		default:
			_, _ = w.Write([]byte(page))
		}
	}))
	cfg := KeysConfig{Now: func() time.Time {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.now
	}}
	change(&cfg, s.URL)
	s.keys = NewKeys(cfg)
	t.Cleanup(func() {
		if err := s.keys.Close(); err != nil {
			t.Error(err)
		}
		s.Close()
	})
	return s
}

func (s *keySite) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *keySite) count(path string) (n int) {
	s.set(func() { n = s.asked[path] })
	return n
}

// settled waits for requests that nobody waits for.
func (s *keySite) settled() { s.keys.settle() }

// settle waits for the requests under way.
func (k *Keys) settle() {
	for {
		k.mu.Lock()
		var f *flight
		for _, f = range k.inflight {
			break
		}
		k.mu.Unlock()
		if f == nil {
			return
		}
		<-f.done
	}
}

func (s *keySite) has(t *testing.T, kid string, want bool) {
	t.Helper()
	key, err := s.keys.Key(t.Context(), kid)
	if (err == nil) != want || (key != nil) != want {
		t.Errorf("key %s: %v, %v", kid, key, err)
	}
}

func pemOf(t testing.TB, pub crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func certOf(t testing.TB, key crypto.Signer) string {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"}, NotBefore: noon, NotAfter: noon.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func filePath(kid string) string {
	h := sha256.Sum256([]byte(kid))
	return "/keys/" + hex.EncodeToString(h[:]) + ".pem"
}

func TestKeyServer(t *testing.T) {
	t.Parallel()
	s := newKeySite(t, func(c *KeysConfig, url string) { c.Server = url + "/keys/" })
	a, b := filePath("jitsi/a"), filePath("b")
	s.pages[a], s.cache = pemOf(t, &rsaKey().PublicKey), "public, max-age=600"

	// Many logins, one request.
	hold := make(chan struct{})
	s.set(func() { s.hold = hold })
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { s.has(t, "jitsi/a", true) })
	}
	close(hold)
	wg.Wait()
	if n := s.count(a); n != 1 {
		t.Errorf("%d requests", n)
	}
	s.set(func() { s.hold = nil })

	// Not asked again within its life, asked in the background after it.
	s.set(func() { s.now = s.now.Add(599 * time.Second) })
	s.has(t, "jitsi/a", true)
	s.settled()
	if n := s.count(a); n != 1 {
		t.Errorf("%d requests", n)
	}
	s.set(func() { s.now = s.now.Add(2 * time.Second) })
	s.has(t, "jitsi/a", true)
	s.settled()
	if n := s.count(a); n != 2 {
		t.Errorf("%d requests after its life", n)
	}

	// A kid that is not there is asked for once a minute.
	for range 5 {
		s.has(t, "b", false)
	}
	if n := s.count(b); n != 1 {
		t.Errorf("%d requests for a missing key", n)
	}
	s.set(func() { s.pages[b] = certOf(t, ecKey()); s.now = s.now.Add(missLife) })
	s.has(t, "b", true)

	// The server fails: known keys are good for a while, then no more.
	s.set(func() { s.code = 500; s.now = s.now.Add(20 * time.Minute) })
	s.has(t, "b", true)
	s.settled()
	s.set(func() { s.now = s.now.Add(75 * time.Minute) })
	s.has(t, "b", true)
	s.settled()
	s.set(func() { s.now = s.now.Add(5 * time.Minute) })
	s.has(t, "b", false)
}

// Kids are made up by whoever logs in: they cost us a bounded number of requests
// and push out no keys.
func TestMadeUpKids(t *testing.T) {
	t.Parallel()
	s := newKeySite(t, func(c *KeysConfig, url string) { c.Server = url + "/keys" })
	s.pages[filePath("good")] = pemOf(t, &rsaKey().PublicKey)
	s.has(t, "good", true)
	var asked atomic.Int32
	for i := range 200 {
		if _, err := s.keys.Key(t.Context(), fmt.Sprint("kid", i)); !errors.Is(err, errTooMany) {
			asked.Add(1)
		}
	}
	if n := asked.Load(); n > missBurst {
		t.Errorf("%d requests at once", n)
	}
	s.set(func() { s.now = s.now.Add(30 * time.Minute) })
	for i := range 3 * cachedMiss {
		s.set(func() { s.now = s.now.Add(100 * time.Millisecond) })
		s.has(t, fmt.Sprint("other", i), false)
	}
	s.keys.mu.Lock()
	n := len(s.keys.files)
	s.keys.mu.Unlock()
	if n > cachedMiss+1 {
		t.Errorf("%d kids kept", n)
	}
	s.has(t, "good", true)
	if n := s.count(filePath("good")); n != 1 {
		t.Errorf("the good key was asked for %d times", n)
	}
}

func TestDocument(t *testing.T) {
	t.Parallel()
	s := newKeySite(t, func(c *KeysConfig, url string) { c.URL = url + "/jwks.json" })
	const path = "/jwks.json"
	s.set(func() { s.pages[path], s.cache = token.JWKS(token.JWK("a", &rsaKey().PublicKey)), "max-age=3600" })
	s.keys.Warm()
	s.settled()
	s.has(t, "a", true)
	s.has(t, "b", false) // just fetched: not again at once
	if n := s.count(path); n != 1 {
		t.Errorf("%d requests", n)
	}

	// Rotation: a new kid is found as soon as somebody shows it, the old one stays
	// good for tokens that are out there.
	s.set(func() {
		s.pages[path] = token.JWKS(token.JWK("b", &otherRSA().PublicKey))
		s.now = s.now.Add(retryAfter)
	})
	hold := make(chan struct{})
	s.set(func() { s.hold = hold })
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { s.has(t, "b", true) })
	}
	close(hold)
	wg.Wait()
	s.set(func() { s.hold = nil })
	if n := s.count(path); n != 2 {
		t.Errorf("%d requests after the rotation", n)
	}
	s.has(t, "a", true)
	s.set(func() { s.now = s.now.Add(goneGrace - time.Second) })
	s.has(t, "a", true)
	s.settled()
	s.set(func() { s.now = s.now.Add(time.Second) })
	s.has(t, "a", false)

	// It is fetched ahead of its end, in the background.
	s.settled()
	before := s.count(path)
	s.set(func() { s.now = s.now.Add(time.Hour - refreshAhead - 2*time.Second) })
	s.has(t, "b", true)
	s.settled()
	if n := s.count(path); n != before {
		t.Errorf("%d requests before its end", n-before)
	}
	s.set(func() { s.now = s.now.Add(time.Second) })
	s.has(t, "b", true)
	s.settled()
	if n := s.count(path); n != before+1 {
		t.Errorf("%d requests at its end", n-before)
	}

	// Rubbish and failures change nothing.
	for _, page := range []string{"", "[]", "{}", `{"keys":[]}`, strings.Repeat(" ", maxDocument) + token.JWKS(token.JWK("c", &rsaKey().PublicKey))} {
		s.set(func() { s.pages[path] = page; s.now = s.now.Add(24 * time.Hour) })
		s.has(t, "b", true)
		s.settled()
		s.has(t, "c", false)
	}
}

// One who waits for a key that does not come is let go, and so is the server's end.
func TestKeysThatHang(t *testing.T) {
	t.Parallel()
	s := newKeySite(t, func(c *KeysConfig, url string) { c.Server, c.URL = url+"/keys", url+"/jwks" })
	s.set(func() { s.hold = make(chan struct{}) })
	ctx, cancel := context.WithCancel(t.Context())
	waits := make(chan error)
	go func() {
		_, err := s.keys.Key(ctx, "a")
		waits <- err
	}()
	cancel()
	if err := <-waits; err == nil {
		t.Error("a key out of nowhere")
	}
	go func() {
		_, err := s.keys.Key(t.Context(), "b")
		waits <- err
	}()
	if err := s.keys.Close(); err != nil {
		t.Error(err)
	}
	if err := <-waits; err == nil {
		t.Error("a key out of nowhere")
	}
	s.has(t, "c", false)
}

func TestBothSources(t *testing.T) {
	t.Parallel()
	s := newKeySite(t, func(c *KeysConfig, url string) { c.Server, c.URL = url+"/keys", url+"/jwks" })
	s.set(func() {
		s.pages["/jwks"] = `{"doc":` + string(mustJSON(certOf(t, rsaKey()))) + `}`
		s.pages[filePath("file")] = pemOf(t, edKey().Public())
	})
	s.has(t, "doc", true)
	s.has(t, "file", true)
	s.has(t, "none", false)
	if err := s.keys.Check(t.Context()); err != nil {
		t.Error(err)
	}
	s.set(func() { s.pages["/jwks"] = "x" })
	if err := s.keys.Check(t.Context()); err == nil {
		t.Error("a broken document passes")
	}
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// A key server that sends to plain HTTP, or in circles, gives no key.
func TestRedirects(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	page := pemOf(t, &rsaKey().PublicKey)
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if r.URL.Path == "/loop" {
			http.Redirect(w, r, "/loop", http.StatusFound)
			return
		}
		_, _ = w.Write([]byte(page))
	}))
	defer plain.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain.URL, http.StatusFound)
	}))
	defer secure.Close()
	for _, url := range []string{secure.URL, plain.URL + "/loop"} {
		k := NewKeys(KeysConfig{Server: url, Client: secure.Client()})
		before := requests.Load()
		if _, _, err := k.get(t.Context(), url, maxKeyFile); err == nil {
			t.Errorf("%s: followed", url)
		}
		if n := requests.Load() - before; n > maxRedirects+1 {
			t.Errorf("%s: %d requests", url, n)
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestPublishedForms(t *testing.T) {
	t.Parallel()
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skip(err) // a Go that makes none has none to refuse
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point := func(k *ecdsa.PublicKey) (x, y []byte) {
		b, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		n := (len(b) - 1) / 2
		return b[1 : 1+n], b[1+n:]
	}
	x, y := point(&ecKey().PublicKey)
	x5, y5 := point(&p521.PublicKey)
	ed := edKey().Public().(ed25519.PublicKey)
	keys, skipped, err := parseDocument([]byte(token.JWKS(
		token.JWK("rsa", &rsaKey().PublicKey),
		token.Set{"kty": "EC", "kid": "ec", "crv": "P-256", "x": token.Encode(x), "y": token.Encode(y)},
		token.Set{"kty": "EC", "kid": "ec5", "crv": "P-521", "x": token.Encode(x5), "y": token.Encode(y5)},
		token.Set{"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": token.Encode(ed)},
		// None of these can be used.
		token.Set{"kty": "oct", "kid": "oct", "k": token.Encode(secret)},
		token.JWK("small", &small.PublicKey),
		token.Set{"kty": "RSA", "kid": "even", "n": token.Encode(rsaKey().N.Bytes()), "e": token.Encode([]byte{2})},
		token.Set{"kty": "RSA", "kid": "one", "n": token.Encode(rsaKey().N.Bytes()), "e": token.Encode([]byte{1})},
		token.Set{"kty": "RSA", "kid": "huge", "n": token.Encode(make([]byte, 4000)), "e": "AQAB"},
		token.Set{"kty": "EC", "kid": "off", "crv": "P-256", "x": token.Encode(y), "y": token.Encode(x)},
		token.Set{"kty": "EC", "kid": "short", "crv": "P-256", "x": token.Encode(x[1:]), "y": token.Encode(y)},
		token.Set{"kty": "EC", "kid": "curve", "crv": "secp256k1", "x": token.Encode(x), "y": token.Encode(y)},
		token.Set{"kty": "RSA", "kid": "enc", "use": "enc", "n": token.Encode(rsaKey().N.Bytes()), "e": "AQAB"},
		token.Set{"kty": "RSA", "n": token.Encode(rsaKey().N.Bytes()), "e": "AQAB"},
	)))
	if err != nil || len(keys) != 4 || skipped != 10 {
		t.Fatal(len(keys), skipped, err)
	}
	if !rsaKey().PublicKey.Equal(keys["rsa"]) || !ecKey().PublicKey.Equal(keys["ec"]) || !p521.PublicKey.Equal(keys["ec5"]) || !ed.Equal(keys["ed"]) {
		t.Error("other keys than those published")
	}

	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey)}))
	for name, text := range map[string]string{
		"pkix": pemOf(t, &rsaKey().PublicKey), "pkcs1": pkcs1, "certificate": certOf(t, rsaKey()),
		"with text": "Issuer: us\n" + pemOf(t, &rsaKey().PublicKey),
	} {
		if k, err := parsePEM([]byte(text)); err != nil || !rsaKey().PublicKey.Equal(k) {
			t.Errorf("%s: %v", name, err)
		}
	}
	private := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey())}))
	for name, text := range map[string]string{
		"nothing": "", "text": "hello", "private": private, "small": pemOf(t, &small.PublicKey),
		"broken": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
	} {
		if _, err := parsePEM([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestLifeOf(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{
		"": keyLife, "public": keyLife, "max-age=600": 10 * time.Minute, "public, Max-Age=\"600\"": 10 * time.Minute,
		"max-age=0": minKeyLife, "max-age=-1": keyLife, "max-age=99999999999999999999": keyLife, "max-age=999999": maxKeyLife,
		"no-store": minKeyLife, "no-cache, max-age=600": minKeyLife,
	} {
		if got := lifeOf(header); got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
}

func FuzzDocument(f *testing.F) {
	f.Add([]byte(token.JWKS(token.JWK("a", &rsaKey().PublicKey))))
	f.Add([]byte(`{"a":"-----BEGIN CERTIFICATE-----\n"}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","kid":"a","crv":"P-256","x":"","y":""},{"kty":"OKP","crv":"Ed25519","kid":"b","x":"AA"},1,null]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, _, err := parseDocument(data)
		if err == nil && len(keys) == 0 {
			t.Fatal("no error and no keys")
		}
		for kid, k := range keys {
			if _, err := usable(k); err != nil || kid == "" {
				t.Fatalf("%q: %v", kid, err)
			}
		}
	})
}
