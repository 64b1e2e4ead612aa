package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes that crypto.Hash finds
	_ "crypto/sha512"
	"encoding/base64"
	"math/big"
	"strings"
)

// JSON Web Signatures in their compact form (RFC 7515 §3.1).

// algorithm is how one signature is checked.
type algorithm struct {
	hash   crypto.Hash
	verify func(h crypto.Hash, key any, signed string, sig []byte) bool
}

var algorithms = map[string]algorithm{
	"HS256": {crypto.SHA256, verifyHMAC}, "HS384": {crypto.SHA384, verifyHMAC}, "HS512": {crypto.SHA512, verifyHMAC},
	"RS256": {crypto.SHA256, verifyRSA}, "RS384": {crypto.SHA384, verifyRSA}, "RS512": {crypto.SHA512, verifyRSA},
	"PS256": {crypto.SHA256, verifyPSS}, "PS384": {crypto.SHA384, verifyPSS}, "PS512": {crypto.SHA512, verifyPSS},
	"ES256": {crypto.SHA256, verifyECDSA}, "ES384": {crypto.SHA384, verifyECDSA}, "ES512": {crypto.SHA512, verifyECDSA},
	"EdDSA": {0, verifyEd25519},
}

// Algorithms lists what TokenConfig.Algorithm can be, in order.
func Algorithms() []string {
	var out []string
	for _, family := range []string{"HS", "RS", "PS", "ES"} {
		for _, size := range []string{"256", "384", "512"} {
			out = append(out, family+size)
		}
	}
	return append(out, "EdDSA")
}

// HashSize is the output of an algorithm's hash in bytes. An HMAC secret that is
// shorter is weaker than the algorithm (RFC 7518 §3.2).
func HashSize(alg string) int {
	if h := algorithms[alg].hash; h != 0 {
		return h.Size()
	}
	return 0
}

// Symmetric reports whether an algorithm works with a shared secret.
func Symmetric(alg string) bool { return strings.HasPrefix(alg, "HS") }

// genuine checks form, header and signature and returns the body.
func (v *Verifier) genuine(token string, key any) (*payload, error) {
	signed, sig64, ok := cutLast(token)
	head64, body64, ok2 := strings.Cut(signed, ".")
	if !ok || !ok2 || strings.Contains(body64, ".") {
		return nil, notAllowed(reasonToken)
	}
	raw, err := decode(head64)
	if err != nil {
		return nil, notAllowed(reasonHeader)
	}
	header, err := object(raw)
	if err != nil {
		return nil, notAllowed(reasonHeader)
	}
	if raw, err = decode(body64); err != nil {
		return nil, notAllowed(reasonBody)
	}
	p, err := parsePayload(raw)
	if err != nil {
		return nil, notAllowed(reasonBody)
	}
	sig, err := decode(sig64)
	if err != nil {
		return nil, notAllowed(reasonSignature)
	}
	if typ, _ := text(header["typ"]); typ != "JWT" {
		return nil, notAllowed(reasonTyp)
	}
	if alg, _ := text(header["alg"]); alg != v.cfg.Algorithm {
		return nil, notAllowed(reasonAlg)
	}
	// RFC 7515 §4.1.11: extensions that must be understood, and none is.
	if _, critical := header["crit"]; critical {
		return nil, notAllowed(reasonHeader)
	}
	if !v.alg.verify(v.alg.hash, key, signed, sig) {
		return nil, notAllowed(reasonSignature)
	}
	return &p, nil
}

func cutLast(token string) (before, after string, ok bool) {
	i := strings.LastIndexByte(token, '.')
	if i < 0 {
		return "", "", false
	}
	return token[:i], token[i+1:], true
}

// decode is base64url, with padding or without: some issuers write it.
func decode(s string) ([]byte, error) {
	return base64.RawURLEncoding.Strict().DecodeString(strings.TrimRight(s, "="))
}

func sum(h crypto.Hash, signed string) []byte {
	w := h.New()
	w.Write([]byte(signed))
	return w.Sum(nil)
}

func verifyHMAC(h crypto.Hash, key any, signed string, sig []byte) bool {
	secret, ok := key.([]byte)
	if !ok {
		return false
	}
	m := hmac.New(h.New, secret)
	m.Write([]byte(signed))
	return hmac.Equal(m.Sum(nil), sig) // in constant time
}

func verifyRSA(h crypto.Hash, key any, signed string, sig []byte) bool {
	pub, ok := key.(*rsa.PublicKey)
	return ok && rsa.VerifyPKCS1v15(pub, h, sum(h, signed), sig) == nil
}

func verifyPSS(h crypto.Hash, key any, signed string, sig []byte) bool {
	pub, ok := key.(*rsa.PublicKey)
	// RFC 7518 §3.5: the salt is as long as the hash.
	return ok && rsa.VerifyPSS(pub, h, sum(h, signed), sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
}

// curveBits are the curves of RFC 7518 §3.4, one for each hash.
var curveBits = map[crypto.Hash]int{crypto.SHA256: 256, crypto.SHA384: 384, crypto.SHA512: 521}

func verifyECDSA(h crypto.Hash, key any, signed string, sig []byte) bool {
	pub, ok := key.(*ecdsa.PublicKey)
	if !ok || pub.Curve.Params().BitSize != curveBits[h] {
		return false
	}
	size := (curveBits[h] + 7) / 8
	if len(sig) != 2*size {
		return false
	}
	r, s := new(big.Int).SetBytes(sig[:size]), new(big.Int).SetBytes(sig[size:])
	return ecdsa.Verify(pub, sum(h, signed), r, s)
}

func verifyEd25519(_ crypto.Hash, key any, signed string, sig []byte) bool {
	pub, ok := key.(ed25519.PublicKey)
	return ok && len(pub) == ed25519.PublicKeySize && ed25519.Verify(pub, []byte(signed), sig)
}
