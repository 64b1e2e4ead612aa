package token

import (
	"crypto"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"
)

// testKey is made once: that takes longer than all tests.
var testKey = sync.OnceValue(func() *Key {
	secret, err := NewSecret()
	if err != nil {
		panic(err)
	}
	k, err := Open(secret)
	if err != nil {
		panic(err)
	}
	return k
})

var noon = time.Unix(1795300000, 0)

func claims() Claims {
	return Claims{
		Issuer: "meet.example", Audience: "file-sharing", Subject: "acme", NotBefore: noon.Unix(), Expires: noon.Unix() + 30,
		Room: "standup", MeetingID: "7c9e6679-7425-40de-944b-e07fc1f90ae7",
		Context: Context{User: User{ID: "u@meet.example/r", Nick: "1f6f329b"}, Features: map[string]bool{"file-upload": true}},
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	k := testKey()
	tok, err := k.Sign(claims())
	if err != nil {
		t.Fatal(err)
	}
	got, err := k.Verify(tok, "file-sharing", noon.Add(5*time.Second))
	if err != nil || got.MeetingID != claims().MeetingID || !got.Context.Features["file-upload"] || got.Context.User.Nick != "1f6f329b" {
		t.Fatal(got, err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	k := testKey()
	tok, err := k.Sign(claims())
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(tok, ".")
	forged := claims()
	forged.MeetingID = "another"
	payload, _ := json.Marshal(forged)
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`))
	// The classic: the public key as the secret of an HMAC.
	hs := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + parts[1]
	mac := hmac.New(sha256.New, k.JWKS())
	mac.Write([]byte(hs))
	for name, bad := range map[string]string{
		"empty":         "",
		"no signature":  parts[0] + "." + parts[1],
		"cut signature": tok[:len(tok)-4],
		"other payload": parts[0] + "." + base64.RawURLEncoding.EncodeToString(payload) + "." + parts[2],
		"none":          none + "." + parts[1] + ".",
		"HS256":         hs + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
		"huge":          strings.Repeat("a", maxBytes+1),
	} {
		if _, err := k.Verify(bad, "file-sharing", noon); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := k.Verify(tok, "whiteboard", noon); !errors.Is(err, ErrInvalid) {
		t.Error("for another service:", err)
	}
	for _, at := range []time.Duration{-time.Minute, 30*time.Second + leeway} {
		if _, err := k.Verify(tok, "file-sharing", noon.Add(at)); !errors.Is(err, ErrInvalid) {
			t.Error("at", at, err)
		}
	}
}

// TestJWKS checks a token with nothing but the published set, as the stores of
// others do.
func TestJWKS(t *testing.T) {
	t.Parallel()
	k := testKey()
	var set struct {
		Keys []struct{ Kty, Alg, Kid, N, E string }
	}
	if err := json.Unmarshal(k.JWKS(), &set); err != nil || len(set.Keys) != 1 {
		t.Fatal(err, string(k.JWKS()))
	}
	if strings.Contains(string(k.JWKS()), `"d"`) {
		t.Fatal("the private half is published")
	}
	n, err1 := base64.RawURLEncoding.DecodeString(set.Keys[0].N)
	e, err2 := base64.RawURLEncoding.DecodeString(set.Keys[0].E)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	pub := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	tok, err := k.Sign(claims())
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(tok, ".")
	head, _ := base64.RawURLEncoding.DecodeString(parts[0])
	var h header
	if json.Unmarshal(head, &h) != nil || h.KeyID != set.Keys[0].Kid || h.Algorithm != "RS256" {
		t.Fatal(string(head))
	}
	sig, _ := base64.RawURLEncoding.DecodeString(parts[2])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum[:], sig); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "%", "aGVsbG8="} {
		if k, err := Open(s); err == nil || k != nil {
			t.Errorf("%q was taken", s)
		}
	}
}

// FuzzVerify: nothing but what the key signed is accepted.
func FuzzVerify(f *testing.F) {
	k := testKey()
	tok, err := k.Sign(claims())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(tok)
	f.Add(tok + ".")
	f.Add("..")
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := k.Verify(s, "file-sharing", noon); err == nil && s != tok {
			t.Fatalf("accepted %q", s)
		}
	})
}
