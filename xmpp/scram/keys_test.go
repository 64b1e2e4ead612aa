package scram

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"hash"
	"strings"
	"testing"
)

// The example exchanges of RFC 5802 §5 and RFC 7677 §3: the client's proof must
// lead to our StoredKey, and the server's signature must come from our ServerKey.
func TestKeysOfTheRFCExamples(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                         string
		hash                         func() hash.Hash
		pair                         func(Keys) Pair
		salt, auth, proof, signature string
	}{
		{
			name: "RFC 5802 §5", hash: sha1.New, pair: func(k Keys) Pair { return k.SHA1 },
			salt: "QSXCR+Q6sek8bf92",
			auth: "n=user,r=fyko+d2lbbFgONRv9qkxdawL," +
				"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096," +
				"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j",
			proof: "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=", signature: "rmF9pqV8S7suAoZWja4dJRkFsKQ=",
		},
		{
			name: "RFC 7677 §3", hash: sha256.New, pair: func(k Keys) Pair { return k.SHA256 },
			salt: "W22ZaJ0SNY7soEsUEjb6gQ==",
			auth: "n=user,r=rOprNGfwEbeRWgbNEkqO," +
				"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096," +
				"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
			proof:     "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
			signature: "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			keys, err := DeriveKeys("pencil", unbase64(t, c.salt), 4096)
			if err != nil {
				t.Fatal(err)
			}
			p := c.pair(keys)
			clientKey := unbase64(t, c.proof) // ClientProof XOR ClientSignature
			for i, b := range mac(c.hash, p.StoredKey, c.auth) {
				clientKey[i] ^= b
			}
			h := c.hash()
			h.Write(clientKey)
			if !hmac.Equal(h.Sum(nil), p.StoredKey) {
				t.Error("the example's client proof does not verify")
			}
			if got := mac(c.hash, p.ServerKey, c.auth); !bytes.Equal(got, unbase64(t, c.signature)) {
				t.Errorf("server signature %x", got)
			}
		})
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	keys, err := NewKeys("Grüße 1")
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewKeys("Grüße 1")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(keys.Salt, other.Salt) || bytes.Equal(keys.SHA256.StoredKey, other.SHA256.StoredKey) {
		t.Error("two accounts with one password share salt or key")
	}
	for password, want := range map[string]bool{
		"Grüße 1":              true,
		"Gru\u0308ße\u00a01":   true, // decomposed umlaut, no-break space: the same password
		"grüße 1":              false,
		"":                     false,
		"Grüße 1\x00":          false,
		"\xff\xfe":             false,
		string(keys.Salt):      false,
		"Grüße 1 ":             false,
		strings.Repeat("x", 2): false,
	} {
		if got := keys.Verify(password); got != want {
			t.Errorf("Verify(%q) = %v", password, got)
		}
	}
	if (Keys{}).Verify("anything") {
		t.Error("an account without keys lets in")
	}
}

func TestRefusedPasswords(t *testing.T) {
	t.Parallel()
	for _, password := range []string{"", "\x00", "a\nb", strings.Repeat("a", MaxPassword+1)} {
		if _, err := NewKeys(password); !errors.Is(err, ErrPassword) {
			t.Errorf("NewKeys(%.20q) = %v", password, err)
		}
	}
	if _, err := DeriveKeys("pencil", []byte("salt"), 0); err == nil {
		t.Error("zero iterations accepted")
	}
}

func unbase64(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
