// Package scram holds what a server keeps of a password: the salted keys of
// SCRAM-SHA-1 (RFC 5802) and SCRAM-SHA-256 (RFC 7677).
//
// Rules of this package:
//   - A password goes in and never comes out; nothing here is logged.
//   - StoredKey and ServerKey are kept instead of the SaltedPassword, so a
//     stolen database does not log in (RFC 5802 §9).
//   - Comparisons of secrets take constant time.
package scram

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash"

	"golang.org/x/text/secure/precis"
)

const (
	// Iterations is the PBKDF2 count of newly made keys. RFC 7677 §4 asks for
	// at least 4096; a browser derives 10 000 rounds in a few milliseconds.
	Iterations = 10_000

	// SaltSize is the number of random bytes in a new salt.
	SaltSize = 16

	// MaxPassword bounds the work that one password can cause, in bytes.
	MaxPassword = 1024
)

// ErrPassword says that a password is empty, too long or holds characters that
// RFC 8265 §4.2 (OpaqueString) does not allow. Its text may be shown.
var ErrPassword = errors.New("password is empty, longer than 1024 bytes or holds control characters")

// Pair is what one hash needs to check a client and to prove the server.
type Pair struct {
	StoredKey []byte // H(HMAC(SaltedPassword, "Client Key"))
	ServerKey []byte // HMAC(SaltedPassword, "Server Key")
}

// Keys are the stored credentials of one account. Both hashes share the salt
// and the iteration count.
type Keys struct {
	Salt       []byte
	Iterations int
	SHA1       Pair
	SHA256     Pair
}

// NewKeys derives keys from password with a fresh salt. Its error is ErrPassword.
func NewKeys(password string) (Keys, error) {
	salt := make([]byte, SaltSize)
	rand.Read(salt) // never fails (crypto/rand)
	return DeriveKeys(password, salt, Iterations)
}

// DeriveKeys derives both pairs from password, salt and iteration count; salt
// is kept, not copied. Its error is ErrPassword, or says that iterations is
// not positive.
func DeriveKeys(password string, salt []byte, iterations int) (Keys, error) {
	prepared, err := prepare(password)
	if err != nil {
		return Keys{}, err
	}
	k := Keys{Salt: salt, Iterations: iterations}
	if k.SHA1, err = derive(sha1.New, prepared, salt, iterations); err != nil {
		return Keys{}, err
	}
	if k.SHA256, err = derive(sha256.New, prepared, salt, iterations); err != nil {
		return Keys{}, err
	}
	return k, nil
}

// Verify reports whether password belongs to the keys, as PLAIN needs it. It
// costs one PBKDF2 run of the stronger hash.
func (k Keys) Verify(password string) bool {
	prepared, err := prepare(password)
	if err != nil || len(k.SHA256.StoredKey) == 0 {
		return false
	}
	p, err := derive(sha256.New, prepared, k.Salt, k.Iterations)
	return err == nil && subtle.ConstantTimeCompare(p.StoredKey, k.SHA256.StoredKey) == 1
}

// derive computes RFC 5802 §3: SaltedPassword = Hi(password, salt, i), which is
// PBKDF2 with HMAC and the output size of the hash.
func derive(h func() hash.Hash, password string, salt []byte, iterations int) (Pair, error) {
	if iterations < 1 {
		return Pair{}, fmt.Errorf("scram iterations %d: must be positive", iterations)
	}
	salted, err := pbkdf2.Key(h, password, salt, iterations, h().Size())
	if err != nil {
		return Pair{}, fmt.Errorf("derive scram keys: %w", err)
	}
	stored := h()
	stored.Write(mac(h, salted, "Client Key"))
	return Pair{StoredKey: stored.Sum(nil), ServerKey: mac(h, salted, "Server Key")}, nil
}

func mac(h func() hash.Hash, key []byte, text string) []byte {
	m := hmac.New(h, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// prepare normalises a password as RFC 8265 §4.2 does (OpaqueString, the
// successor of SASLprep): for what people type the two agree.
func prepare(password string) (string, error) {
	if password == "" || len(password) > MaxPassword {
		return "", ErrPassword
	}
	prepared, err := precis.OpaqueString.String(password)
	if err != nil {
		return "", ErrPassword
	}
	return prepared, nil
}
