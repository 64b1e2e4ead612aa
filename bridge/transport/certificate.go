package transport

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	_ "crypto/sha1" // RFC 8122 §5 still lists it
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"
)

// Fingerprint is XEP-0320's <fingerprint/>: hash function, role, and the hash
// of the DTLS certificate as colon-separated upper-case hexadecimal.
type Fingerprint struct {
	Hash  string // "sha-256"
	Setup string // "actpass", "active" or "passive"
	Value string
}

// ErrFingerprint says that the client's certificate is not the signalled one.
var ErrFingerprint = errors.New("the DTLS certificate matches no signalled fingerprint")

// hashes are the functions accepted from clients (reference/bridge.md §5.1).
var hashes = map[string]crypto.Hash{
	"sha-1": crypto.SHA1, "sha-256": crypto.SHA256, "sha-384": crypto.SHA384, "sha-512": crypto.SHA512,
}

func fingerprint(h crypto.Hash, der []byte) string {
	w := h.New()
	w.Write(der)
	var out strings.Builder
	for i, b := range w.Sum(nil) {
		if i > 0 {
			out.WriteByte(':')
		}
		out.WriteString(strings.ToUpper(hex.EncodeToString([]byte{b})))
	}
	return out.String()
}

// verifyFingerprint accepts a certificate that matches any of the fingerprints.
func verifyFingerprint(der []byte, allowed []Fingerprint) error {
	for _, f := range allowed {
		h, ok := hashes[strings.ToLower(f.Hash)]
		if ok && strings.EqualFold(fingerprint(h, der), strings.TrimSpace(f.Value)) {
			return nil
		}
	}
	return ErrFingerprint
}

// certificates holds the DTLS certificate of the process: making one for every
// endpoint would cost more than the handshake.
type certificates struct {
	mu       sync.Mutex
	lifetime time.Duration
	made     time.Time
	cert     tls.Certificate
	value    string // sha-256
}

func (c *certificates) get() (tls.Certificate, string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.value == "" || time.Since(c.made) > c.lifetime {
		cert, err := newCertificate()
		if err != nil {
			return tls.Certificate{}, "", err
		}
		c.cert, c.made = cert, time.Now()
		c.value = fingerprint(crypto.SHA256, cert.Certificate[0])
	}
	return c.cert, c.value, nil
}

func newCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("dtls key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("dtls certificate serial: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "confab"},
		NotBefore:    now.Add(-24 * time.Hour),
		NotAfter:     now.Add(30 * 24 * time.Hour), // meetings outlive the rotation
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("dtls certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// randomICE returns n random ice-chars, 6 bits each (RFC 8445 §5.3 asks for 24
// bits in a ufrag and 128 in a password).
func randomICE(n int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	for i := range b {
		b[i] = alphabet[b[i]%64]
	}
	return string(b)
}
