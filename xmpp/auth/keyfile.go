package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// Public keys in the forms in which they are published: PEM, JWK (RFC 7517), and
// documents of several.

const (
	minRSABits = 2048
	maxRSABits = 8192 // what a signature costs us grows with it
	maxKeys    = 1000 // of one document
)

// parsePEM reads a public key or a certificate. What stands beside it is ignored.
func parsePEM(data []byte) (crypto.PublicKey, error) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return nil, errors.New("no PEM block with a public key")
		}
		var key any
		var err error
		switch block.Type {
		case "PUBLIC KEY":
			key, err = x509.ParsePKIXPublicKey(block.Bytes)
		case "RSA PUBLIC KEY":
			key, err = x509.ParsePKCS1PublicKey(block.Bytes)
		case "CERTIFICATE":
			var cert *x509.Certificate
			if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
				key = cert.PublicKey
			}
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", strings.ToLower(block.Type), err)
		}
		return usable(key)
	}
}

// usable lets only those kinds and sizes through that a verifier can use.
func usable(key any) (crypto.PublicKey, error) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, fmt.Errorf("an RSA key of %d bits, not of %d to %d", bits, minRSABits, maxRSABits)
		}
		return k, nil
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return k, nil
	}
	return nil, fmt.Errorf("a key of type %T", key)
}

// jwk is a key of RFC 7517 and 7518. Symmetric ones are no public keys.
type jwk struct {
	Kty string `json:"kty"`
	Kid string `json:"kid"`
	Use string `json:"use"`
	N   string `json:"n"`
	E   string `json:"e"`
	Crv string `json:"crv"`
	X   string `json:"x"`
	Y   string `json:"y"`
}

func (k *jwk) key() (crypto.PublicKey, error) {
	if k.Use != "" && k.Use != "sig" {
		return nil, fmt.Errorf("a key for %.20q", k.Use)
	}
	switch k.Kty {
	case "RSA":
		n, err := decode(k.N)
		if err != nil {
			return nil, fmt.Errorf("n: %w", err)
		}
		e, err := decode(k.E)
		if err != nil {
			return nil, fmt.Errorf("e: %w", err)
		}
		exp := new(big.Int).SetBytes(e)
		if exp.BitLen() < 2 || exp.BitLen() > 31 || exp.Bit(0) == 0 {
			return nil, errors.New("e is no exponent")
		}
		return usable(&rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exp.Int64())})
	case "EC":
		return k.ec()
	case "OKP":
		x, err := decode(k.X)
		if err != nil || k.Crv != "Ed25519" || len(x) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("no Ed25519 key")
		}
		return ed25519.PublicKey(x), nil
	}
	return nil, fmt.Errorf("a key of type %.20q", k.Kty)
}

var curves = map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}

func (k *jwk) ec() (crypto.PublicKey, error) {
	curve := curves[k.Crv]
	if curve == nil {
		return nil, fmt.Errorf("curve %.20q", k.Crv)
	}
	size := (curve.Params().BitSize + 7) / 8
	x, errX := decode(k.X)
	y, errY := decode(k.Y)
	if errX != nil || errY != nil || len(x) != size || len(y) != size {
		return nil, errors.New("no coordinates")
	}
	// SEC 1 §2.3.3; the parser checks that the point is on the curve.
	return ecdsa.ParseUncompressedPublicKey(curve, append(append([]byte{4}, x...), y...))
}

// parseDocument reads a document of keys by kid: a JWK set (RFC 7517 §5), or as
// Firebase publishes them, kid: PEM. Keys that can't be used are left out, and
// counted: somebody else may be able to.
func parseDocument(data []byte) (keys map[string]crypto.PublicKey, skipped int, err error) {
	all, err := object(data)
	if err != nil {
		return nil, 0, fmt.Errorf("document of keys: %w", err)
	}
	keys = map[string]crypto.PublicKey{}
	add := func(kid string, key crypto.PublicKey, err error) {
		if err != nil || kid == "" {
			skipped++
			return
		}
		keys[kid] = key
	}
	for name, raw := range all {
		var set []json.RawMessage
		if name == "keys" && json.Unmarshal(raw, &set) == nil {
			if len(set) > maxKeys {
				return nil, 0, fmt.Errorf("document of keys: %d of them", len(set))
			}
			for _, one := range set {
				var k jwk
				if json.Unmarshal(one, &k) != nil {
					skipped++
					continue
				}
				key, err := k.key()
				add(k.Kid, key, err)
			}
			continue
		}
		if len(all) > maxKeys {
			return nil, 0, fmt.Errorf("document of keys: %d of them", len(all))
		}
		pemText, ok := text(raw)
		if !ok {
			continue // a note beside the keys
		}
		key, err := parsePEM([]byte(pemText))
		add(name, key, err)
	}
	if len(keys) == 0 {
		return nil, skipped, errors.New("document of keys: none that can be used")
	}
	return keys, skipped, nil
}
