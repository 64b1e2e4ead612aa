// Package token makes and checks the short-lived tokens that clients show to
// services beside XMPP, such as the file store (room-services.md §7.4).
//
// Rules of this package:
//   - A token is a JWT (RFC 7519) signed by RS256 (RFC 7518 §3.3); nothing else is
//     ever accepted, whatever a header says.
//   - Only who has the key makes tokens; everybody may have the key set (RFC 7517)
//     and check them.
package token

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// Claims are what a token says. Services of others read the same names.
type Claims struct {
	Issuer    string  `json:"iss"`
	Audience  string  `json:"aud"` // the service, such as file-sharing
	Subject   string  `json:"sub"` // the tenant, or the domain
	NotBefore int64   `json:"nbf"`
	Expires   int64   `json:"exp"`
	Room      string  `json:"room"`
	MeetingID string  `json:"meeting_id"`
	Context   Context `json:"context"`

	CustomerID string `json:"customer_id,omitempty"`
	UserRegion string `json:"user_region,omitempty"`
}

// Context says who has the token and what it may do.
type Context struct {
	User     User            `json:"user"`
	Group    string          `json:"group,omitempty"`
	Features map[string]bool `json:"features"`
}

// User is an occupant of the room.
type User struct {
	ID    string `json:"id"`
	Name  string `json:"name,omitempty"`
	Email string `json:"email,omitempty"`
	Nick  string `json:"nick"`
}

// leeway is how far the clocks of two machines may differ.
const leeway = 10 * time.Second

// maxBytes is more than any token of ours has.
const maxBytes = 8 << 10

// bits of a new key: what RFC 7518 §3.3 asks for at least.
const bits = 2048

// Key signs and checks. It is safe for concurrent use.
type Key struct {
	private *rsa.PrivateKey
	header  string // encoded, with the key's id
	id      string
}

// NewSecret makes a private key: PKCS #8 in base64.
func NewSecret() (string, error) {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return "", fmt.Errorf("token key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", fmt.Errorf("token key: %w", err)
	}
	return base64.StdEncoding.EncodeToString(der), nil
}

// Open reads a key that NewSecret made.
func Open(secret string) (*Key, error) {
	der, err := base64.StdEncoding.DecodeString(secret)
	if err != nil {
		return nil, errors.New("token key: not in base64")
	}
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("token key: no PKCS #8 key") // the cause could quote it
	}
	private, ok := k.(*rsa.PrivateKey)
	if !ok || private.N.BitLen() < bits {
		return nil, fmt.Errorf("token key: no RSA key of %d bits", bits)
	}
	// The id is the key's thumbprint (RFC 7638), so that a new key has a new one.
	n, e := encode(private.N.Bytes()), encode(big.NewInt(int64(private.E)).Bytes())
	sum := sha256.Sum256([]byte(`{"e":"` + e + `","kty":"RSA","n":"` + n + `"}`))
	id := encode(sum[:])
	header, err := json.Marshal(header{Algorithm: "RS256", Type: "JWT", KeyID: id})
	if err != nil {
		return nil, fmt.Errorf("token key: %w", err)
	}
	return &Key{private: private, id: id, header: encode(header)}, nil
}

type header struct {
	Algorithm string `json:"alg"`
	Type      string `json:"typ"`
	KeyID     string `json:"kid"`
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// Sign makes a token. It takes about a millisecond.
func (k *Key) Sign(c Claims) (string, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	text := k.header + "." + encode(b)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, k.private, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return text + "." + encode(sig), nil
}

// ErrInvalid is the error of every token that is not ours, not for this service
// or not of this time.
var ErrInvalid = errors.New("invalid token")

// Verify reads a token of this key for a service.
func (k *Key) Verify(token, audience string, now time.Time) (Claims, error) {
	var c Claims
	// The decoder overlooks line ends; a token has one spelling only.
	if len(token) > maxBytes || strings.ContainsAny(token, "\r\n") {
		return c, ErrInvalid
	}
	text, sig, ok := cutLast(token)
	head, payload, ok2 := strings.Cut(text, ".")
	// The header is compared, not read: there is only one that we make.
	if !ok || !ok2 || head != k.header {
		return c, ErrInvalid
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(sig)
	if err != nil {
		return c, ErrInvalid
	}
	sum := sha256.Sum256([]byte(text))
	if rsa.VerifyPKCS1v15(&k.private.PublicKey, crypto.SHA256, sum[:], raw) != nil {
		return c, ErrInvalid
	}
	b, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil || json.Unmarshal(b, &c) != nil {
		return Claims{}, ErrInvalid
	}
	if c.Audience != audience || now.Add(leeway).Unix() < c.NotBefore || now.Add(-leeway).Unix() >= c.Expires {
		return Claims{}, ErrInvalid
	}
	return c, nil
}

func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// JWKS is the public half as a key set (RFC 7517 §5).
func (k *Key) JWKS() []byte {
	type jwk struct {
		Type      string `json:"kty"`
		Use       string `json:"use"`
		Algorithm string `json:"alg"`
		ID        string `json:"kid"`
		N         string `json:"n"`
		E         string `json:"e"`
	}
	b, err := json.Marshal(struct {
		Keys []jwk `json:"keys"`
	}{[]jwk{{"RSA", "sig", "RS256", k.id, encode(k.private.N.Bytes()), encode(big.NewInt(int64(k.private.E)).Bytes())}}})
	if err != nil {
		panic("token: a struct of strings: " + err.Error())
	}
	return append(b, '\n')
}
