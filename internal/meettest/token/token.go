// Package token issues JSON Web Tokens for tests, as the sites do whose users come
// to Jitsi with one. It also signs what no honest issuer would.
package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
)

// Set is a JSON object: a header, claims, a key.
type Set = map[string]any

// Sign makes a token. The header has alg and typ; of header and claims a nil
// value removes the name. key is a secret or a private key.
func Sign(alg string, key any, header, claims Set) string {
	h := Set{"alg": alg, "typ": "JWT"}
	for k, v := range header {
		if h[k] = v; v == nil {
			delete(h, k)
		}
	}
	return SignRaw(alg, key, JSON(h)+"."+JSON(claims))
}

// SignRaw adds the signature to the two parts before it.
func SignRaw(alg string, key any, signed string) string {
	sig, err := signature(alg, key, signed)
	if err != nil {
		panic(fmt.Sprintf("token: %v", err)) // a mistake of the test
	}
	return signed + "." + Encode(sig)
}

func signature(alg string, key any, signed string) ([]byte, error) {
	if k, ok := key.(ed25519.PrivateKey); ok {
		return ed25519.Sign(k, []byte(signed)), nil
	}
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[alg[2:]]
	w := hash.New()
	w.Write([]byte(signed))
	digest := w.Sum(nil)
	switch k := key.(type) {
	case []byte:
		m := hmac.New(hash.New, k)
		m.Write([]byte(signed))
		return m.Sum(nil), nil
	case *rsa.PrivateKey:
		if strings.HasPrefix(alg, "PS") {
			return rsa.SignPSS(rand.Reader, k, hash, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		return rsa.SignPKCS1v15(rand.Reader, k, hash, digest)
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, k, digest)
		if err != nil {
			return nil, err
		}
		size := (k.Params().BitSize + 7) / 8
		return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...), nil
	}
	return nil, fmt.Errorf("no key for %s: %T", alg, key)
}

// Encode is base64url without padding.
func Encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// JSON is v as a part of a token.
func JSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("token: %v", err)) // a mistake of the test
	}
	return Encode(b)
}

// JWK is a public key as it stands in a JWK set (RFC 7517).
func JWK(kid string, k *rsa.PublicKey) Set {
	return Set{"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": Encode(k.N.Bytes()), "e": Encode(big.NewInt(int64(k.E)).Bytes())}
}

// JWKS is a document of keys.
func JWKS(keys ...Set) string {
	b, err := json.Marshal(Set{"keys": keys})
	if err != nil {
		panic(fmt.Sprintf("token: %v", err)) // a mistake of the test
	}
	return string(b)
}
