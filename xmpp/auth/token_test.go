package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"mellium.im/sasl"

	"confab/internal/meettest/token"
	"confab/xmpp"
)

// noon is the time of all tokens here.
var noon = time.Unix(1_800_000_000, 0)

var secret = []byte("0123456789abcdef0123456789abcdef")

var rsaKey, ecKey, edKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
}), sync.OnceValue(func() *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}), sync.OnceValue(func() ed25519.PrivateKey {
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
})

// good is a body that everybody accepts, with changes; nil removes a claim.
func good(changes token.Set) token.Set {
	b := token.Set{"iss": "app", "aud": "jitsi", "sub": "meet.test", "room": "standup", "exp": noon.Unix() + 60}
	for k, v := range changes {
		if b[k] = v; v == nil {
			delete(b, k)
		}
	}
	return b
}

// oneKey is a key server with one key.
type oneKey struct{ key crypto.PublicKey }

func (o oneKey) Key(_ context.Context, kid string) (crypto.PublicKey, error) {
	if kid != "k1" {
		return nil, errNoSuchKey
	}
	return o.key, nil
}

func verifier(t testing.TB, change func(*TokenConfig)) *Verifier {
	t.Helper()
	cfg := TokenConfig{
		Algorithm: "HS256", Secret: secret, Issuers: []string{"app"}, Audiences: []string{"*"},
		RequireRoom: true, Now: func() time.Time { return noon },
	}
	if change != nil {
		change(&cfg)
	}
	v, err := NewVerifier(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func withKeys(c *TokenConfig) {
	c.Algorithm, c.Secret, c.Keys = "RS256", nil, oneKey{&rsaKey().PublicKey}
}

// Every text of room-services.md §4.5 that a token can earn, and its condition.
func TestFailureTexts(t *testing.T) {
	t.Parallel()
	kid := token.Set{"kid": "k1"}
	none := func(body token.Set) string {
		return token.JSON(token.Set{"alg": "none", "typ": "JWT"}) + "." + token.JSON(body) + "."
	}
	pub, err := json.Marshal(rsaKey().PublicKey.N)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*TokenConfig)
		jwt    string
		want   string // condition, colon, text; "" is accepted
	}{
		{"good", nil, token.Sign("HS256", secret, nil, good(nil)), ""},
		{"padded", nil, token.SignRaw("HS256", secret, base64.URLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"} `))+"."+token.JSON(good(nil))), ""},
		{"no exp", nil, token.Sign("HS256", secret, nil, good(token.Set{"exp": nil})), ""},

		{"no dot", withKeys, "abc", "not-allowed:Invalid token"},
		{"base64 of header", withKeys, "a!c.d.e", "not-allowed:Invalid token"},
		{"header no JSON", withKeys, token.Encode([]byte("hello")) + ".x.y", "not-allowed:bad token format"},
		{"header an array", withKeys, token.Encode([]byte("[]")) + ".x.y", "not-allowed:bad token format"},
		{"no kid", withKeys, token.Sign("RS256", rsaKey(), nil, good(nil)), "not-allowed:'kid' claim is missing"},
		{"kid a number", withKeys, token.Sign("RS256", rsaKey(), token.Set{"kid": 1}, good(nil)), "not-allowed:'kid' claim is missing"},
		{"no alg", withKeys, token.Sign("RS256", rsaKey(), token.Set{"kid": "k1", "alg": nil}, good(nil)), "not-allowed:'alg' claim is missing"},
		{"symmetric with the public key", withKeys, token.Sign("HS256", pub, kid, good(nil)), "not-allowed:'kid' claim only support with RS family"},
		{"none with keys", withKeys, none(good(nil)), "not-allowed:'kid' claim is missing"},
		{"unknown kid", withKeys, token.Sign("RS256", rsaKey(), token.Set{"kid": "k2"}, good(nil)), "not-allowed:could not obtain public key"},
		{"other of the family", withKeys, token.Sign("RS512", rsaKey(), kid, good(nil)), "not-allowed:Invalid or incorrect alg"},
		{"RS good", withKeys, token.Sign("RS256", rsaKey(), kid, good(nil)), ""},

		{"two segments", nil, "a.b", "not-allowed:Invalid token"},
		{"four segments", nil, token.Sign("HS256", secret, nil, good(nil)) + ".x", "not-allowed:Invalid token"},
		{"too long", nil, strings.Repeat("a", maxToken) + ".b.c", "not-allowed:Invalid token"},
		{"header", nil, "e30x." + token.JSON(good(nil)) + ".x", "not-allowed:Invalid header"},
		{"crit", nil, token.Sign("HS256", secret, token.Set{"crit": []string{"exp"}}, good(nil)), "not-allowed:Invalid header"},
		{"body", nil, token.SignRaw("HS256", secret, token.JSON(token.Set{"alg": "HS256", "typ": "JWT"})+"."+token.Encode([]byte("x"))), "not-allowed:Invalid body"},
		{"two bodies", nil, token.SignRaw("HS256", secret, token.JSON(token.Set{"alg": "HS256", "typ": "JWT"})+"."+token.Encode([]byte(`{}{}`))), "not-allowed:Invalid body"},
		{"null body", nil, token.SignRaw("HS256", secret, token.JSON(token.Set{"alg": "HS256", "typ": "JWT"})+"."+token.Encode([]byte(`null`))), "not-allowed:Invalid body"},
		{"no typ", nil, token.Sign("HS256", secret, token.Set{"typ": nil}, good(nil)), "not-allowed:Invalid typ"},
		{"typ", nil, token.Sign("HS256", secret, token.Set{"typ": "jwt"}, good(nil)), "not-allowed:Invalid typ"},
		{"none", nil, none(good(nil)), "not-allowed:Invalid or incorrect alg"},
		{"alg", nil, token.Sign("HS512", secret, nil, good(nil)), "not-allowed:Invalid or incorrect alg"},
		{"alg in other letters", nil, token.Sign("HS256", secret, token.Set{"alg": "hs256"}, good(nil)), "not-allowed:Invalid or incorrect alg"},
		{"other secret", nil, token.Sign("HS256", []byte("x"), nil, good(nil)), "not-allowed:Invalid signature"},
		{"no signature", nil, token.JSON(token.Set{"alg": "HS256", "typ": "JWT"}) + "." + token.JSON(good(nil)) + ".", "not-allowed:Invalid signature"},
		{"signature no base64", nil, token.JSON(token.Set{"alg": "HS256", "typ": "JWT"}) + "." + token.JSON(good(nil)) + ".!", "not-allowed:Invalid signature"},
		{"RS by another", withKeys, token.Sign("RS256", otherRSA(), kid, good(nil)), "not-allowed:Invalid signature"},

		{"exp text", nil, token.Sign("HS256", secret, nil, good(token.Set{"exp": "soon"})), "not-allowed:exp must be number"},
		{"exp null", nil, token.SignRaw("HS256", secret, token.JSON(token.Set{"alg": "HS256", "typ": "JWT"})+"."+token.Encode([]byte(`{"exp":null}`))), "not-allowed:exp must be number"},
		{"exp beyond", nil, token.SignRaw("HS256", secret, token.JSON(token.Set{"alg": "HS256", "typ": "JWT"})+"."+token.Encode([]byte(`{"exp":1e999}`))), "not-allowed:exp must be number"},
		{"nbf text", nil, token.Sign("HS256", secret, nil, good(token.Set{"nbf": "now"})), "not-allowed:nbf must be number"},
		{"expired", nil, token.Sign("HS256", secret, nil, good(token.Set{"exp": noon.Unix() - 12})), "not-allowed:Not acceptable by exp (12 sec since expired)"},
		{"expired with iat", nil, token.Sign("HS256", secret, nil, good(token.Set{"exp": noon.Unix() - 12, "iat": noon.Unix() - 3612})),
			"not-allowed:Not acceptable by exp (12 sec since expired, valid for:3600 sec)"},
		{"expires now", nil, token.Sign("HS256", secret, nil, good(token.Set{"exp": noon.Unix()})), "not-allowed:Not acceptable by exp (0 sec since expired)"},
		{"a fraction left", nil, token.Sign("HS256", secret, nil, good(token.Set{"exp": float64(noon.Unix()) + 1.5})), ""},
		{"exp missing", func(c *TokenConfig) { c.RequireExp = true }, token.Sign("HS256", secret, nil, good(token.Set{"exp": nil})), "not-allowed:'exp' claim is missing"},
		{"not yet", nil, token.Sign("HS256", secret, nil, good(token.Set{"nbf": noon.Unix() + 1})), "not-allowed:Not acceptable by nbf"},
		{"now", nil, token.Sign("HS256", secret, nil, good(token.Set{"nbf": noon.Unix()})), ""},
		{"no iss", nil, token.Sign("HS256", secret, nil, good(token.Set{"iss": nil})), "not-allowed:'iss' claim is missing"},
		{"iss", nil, token.Sign("HS256", secret, nil, good(token.Set{"iss": "other"})), "not-allowed:invalid 'iss' claim"},
		{"iss of another case", nil, token.SignRaw("HS256", secret, token.JSON(token.Set{"alg": "HS256", "typ": "JWT"})+"."+token.Encode([]byte(`{"ISS":"app","iss":"other","aud":"a","sub":"x","room":"y"}`))), "not-allowed:invalid 'iss' claim"},
		{"iss empty", nil, token.Sign("HS256", secret, nil, good(token.Set{"iss": ""})), "not-allowed:invalid 'iss' claim"},
		{"iss list", nil, token.Sign("HS256", secret, nil, good(token.Set{"iss": []string{"app"}})), "not-allowed:invalid 'iss' claim"},
		{"any iss", func(c *TokenConfig) { c.Issuers = []string{"*"} }, token.Sign("HS256", secret, nil, good(token.Set{"iss": "other"})), ""},
		{"no aud", nil, token.Sign("HS256", secret, nil, good(token.Set{"aud": nil})), "not-allowed:'aud' claim is missing"},
		{"aud", func(c *TokenConfig) { c.Audiences = []string{"jitsi"} }, token.Sign("HS256", secret, nil, good(token.Set{"aud": "x"})), "not-allowed:invalid 'aud' claim"},
		{"aud list", func(c *TokenConfig) { c.Audiences = []string{"jitsi"} }, token.Sign("HS256", secret, nil, good(token.Set{"aud": []string{"x", "jitsi"}})), ""},
		{"aud list without", func(c *TokenConfig) { c.Audiences = []string{"jitsi"} }, token.Sign("HS256", secret, nil, good(token.Set{"aud": []any{"x", 1}})), "not-allowed:invalid 'aud' claim"},
		{"no room", nil, token.Sign("HS256", secret, nil, good(token.Set{"room": nil})), "not-authorized:room claim is missing"},
		{"room optional", func(c *TokenConfig) { c.RequireRoom = false }, token.Sign("HS256", secret, nil, good(token.Set{"room": nil})), ""},
		{"no sub", nil, token.Sign("HS256", secret, nil, good(token.Set{"sub": nil})), "not-authorized:sub claim is missing"},
	} {
		claims, err := verifier(t, c.change).Verify(t.Context(), c.jwt)
		got := ""
		if f, ok := errors.AsType[*xmpp.SASLFailure](err); ok {
			got = f.Cond + ":" + f.Text
		} else if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if got != c.want || (claims == nil) != (c.want != "") {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

var otherRSA = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// Each algorithm accepts its own signatures and no other's, with no kind of key.
func TestAlgorithms(t *testing.T) {
	t.Parallel()
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	private := func(alg string) (signer any, public crypto.PublicKey) {
		switch {
		case Symmetric(alg):
			return secret, nil
		case alg == "ES256":
			return ecKey(), &ecKey().PublicKey
		case alg == "ES384":
			return p384, &p384.PublicKey
		case alg == "ES512":
			return p521, &p521.PublicKey
		case alg == "EdDSA":
			return edKey(), edKey().Public().(ed25519.PublicKey)
		}
		return rsaKey(), &rsaKey().PublicKey
	}
	tokens := map[string]string{}
	for _, alg := range Algorithms() {
		k, _ := private(alg)
		tokens[alg] = token.Sign(alg, k, token.Set{"kid": "k1"}, good(nil))
	}
	if len(tokens) != len(algorithms) {
		t.Fatalf("%d of %d algorithms listed", len(tokens), len(algorithms))
	}
	for _, alg := range Algorithms() {
		for _, other := range Algorithms() {
			// The wrong kind of key, too: nothing may be taken for a secret.
			_, public := private(other)
			v := verifier(t, func(c *TokenConfig) { c.Algorithm, c.Keys = alg, oneKey{public} })
			for name, jwt := range tokens {
				ok := name == alg && (Symmetric(alg) || alg == other || alg[1:2] == "S" && other[1:2] == "S" && strings.Contains("RP", alg[:1]) && strings.Contains("RP", other[:1]))
				if _, err := v.Verify(t.Context(), jwt); (err == nil) != ok {
					t.Errorf("%s with the key of %s, token %s: %v", alg, other, name, err)
				}
			}
		}
	}
	// A signature in another form: DER of ECDSA is not JWS.
	v := verifier(t, func(c *TokenConfig) { c.Algorithm, c.Keys = "ES256", oneKey{&ecKey().PublicKey} })
	signed, _, _ := cutLast(tokens["ES256"])
	der, err := ecdsa.SignASN1(rand.Reader, ecKey(), sum(crypto.SHA256, signed))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(t.Context(), signed+"."+token.Encode(der)); err == nil {
		t.Error("DER accepted")
	}
	if _, err := v.Verify(t.Context(), signed+"."+token.Encode(make([]byte, 64))); err == nil {
		t.Error("r = s = 0 accepted")
	}
}

func TestVerifierConfig(t *testing.T) {
	t.Parallel()
	ok := TokenConfig{Algorithm: "HS256", Secret: secret, Issuers: []string{"a"}, Audiences: []string{"*"}}
	for name, change := range map[string]func(*TokenConfig){
		"none":         func(c *TokenConfig) { c.Algorithm = "none" },
		"empty":        func(c *TokenConfig) { c.Algorithm = "" },
		"no secret":    func(c *TokenConfig) { c.Secret = nil },
		"no keys":      func(c *TokenConfig) { c.Algorithm = "RS256" },
		"no issuers":   func(c *TokenConfig) { c.Issuers = nil },
		"no audiences": func(c *TokenConfig) { c.Audiences = nil },
	} {
		c := ok
		change(&c)
		if _, err := NewVerifier(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := NewVerifier(ok); err != nil {
		t.Error(err)
	}
	if HashSize("HS256") != 32 || HashSize("HS512") != 64 || HashSize("EdDSA") != 0 {
		t.Error("sizes of hashes")
	}
}

func TestClaims(t *testing.T) {
	t.Parallel()
	v := verifier(t, nil)
	claims := func(body token.Set) *xmpp.Claims {
		t.Helper()
		c, err := v.Verify(t.Context(), token.Sign("HS256", secret, nil, good(body)))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := claims(token.Set{"room": "StandUp", "context": token.Set{
		"tenant": "Acme", "group": "g1",
		"user": token.Set{"id": 17, "name": "Ada <&>", "avatar": "https://x/y.png", "hidden-from-recorder": true, "email": nil,
			"bad key": "x", "a:b": "x", "<b>": "x", "nested": token.Set{"a": 1}},
		"features": token.Set{"recording": true, "livestreaming": "true", "transcription": false, "flip": "false", "file-upload": 1},
	}})
	want := &xmpp.Claims{
		Issuer: "app", Domain: "meet.test", Room: "standup", Tenant: "Acme", Group: "g1",
		User:     map[string]string{"id": "17", "name": "Ada <&>", "avatar": "https://x/y.png", "hidden-from-recorder": "true", "bad key": "x", "a:b": "x", "<b>": "x"},
		Features: map[string]bool{"recording": true, "livestreaming": true, "transcription": false, "flip": false, "file-upload": false},
		Identity: `<identity><user><avatar>https://x/y.png</avatar><hidden-from-recorder>true</hidden-from-recorder><id>17</id><name>Ada &lt;&amp;&gt;</name></user><group>g1</group></identity>`,
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	if _, err := xmpp.ParseElement(c.Identity, xmpp.Limits{}, xmpp.Scope{}); err != nil {
		t.Error(err)
	}

	for name, user := range map[string]any{
		"bool": token.Set{"moderator": true}, "text": token.Set{"moderator": "true"}, "owner": token.Set{"affiliation": "owner"},
		"teacher": token.Set{"affiliation": "teacher"}, "moderator": token.Set{"affiliation": "moderator"},
	} {
		if !claims(token.Set{"context": token.Set{"user": user}}).Moderator {
			t.Errorf("%s is no moderator", name)
		}
	}
	for name, user := range map[string]any{
		"number": token.Set{"moderator": 1}, "false": token.Set{"moderator": "false"}, "member": token.Set{"affiliation": "member"},
		"Owner": token.Set{"affiliation": "Owner"}, "list": []any{token.Set{"moderator": true}}, "none": nil,
	} {
		if claims(token.Set{"context": token.Set{"user": user}}).Moderator {
			t.Errorf("%s is moderator", name)
		}
	}

	if c := claims(token.Set{"user_id": "fire"}); c.User["id"] != "fire" || c.Identity == "" {
		t.Errorf("Firebase: %+v", c)
	}
	if c := claims(token.Set{"user_id": "fire", "context": token.Set{}}); c.User != nil || c.Features != nil || c.Identity != "" {
		t.Errorf("an empty context: %+v", c)
	}
	if c := claims(token.Set{"context": token.Set{"features": token.Set{}}}); c.Features == nil {
		t.Error("no features are not the same as none at all")
	}
	if c := claims(token.Set{"context": "nonsense"}); c.User != nil {
		t.Errorf("a context of another type: %+v", c)
	}
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	v := verifier(t, nil)
	for _, c := range []struct {
		room  any
		regex any
		name  string
		want  bool
	}{
		{"class-[0-9]+", true, "class-12", true},
		{"class-[0-9]+", "true", "class-12", true},
		{"class-[0-9]+", true, "xclass-12", false},
		{"class-[0-9]+", true, "class-12x", false},
		{"Class-\\d+", true, "class-12", true},
		{"a|b", true, "a", true},
		{"a|b", true, "ab", false},
		{"a|b", true, "xb", false},
		{"(?m)a", true, "a\nb", false},
	} {
		claims, err := v.Verify(t.Context(), token.Sign("HS256", secret, nil, good(token.Set{"room": c.room, "context": token.Set{"room": token.Set{"regex": c.regex}}})))
		if err != nil {
			t.Fatal(err)
		}
		if claims.Pattern == nil || claims.BadPattern || claims.Pattern.MatchString(c.name) != c.want {
			t.Errorf("%v on %s: %v", c.room, c.name, claims.Pattern)
		}
	}
	for _, bad := range []string{"(", "a)|(b", "[", "a{2000}", "\\1", "\\Qx"} {
		claims, err := v.Verify(t.Context(), token.Sign("HS256", secret, nil, good(token.Set{"room": bad, "context": token.Set{"room": token.Set{"regex": true}}})))
		if err != nil || claims.Pattern != nil || !claims.BadPattern {
			t.Errorf("%s: %+v %v", bad, claims, err)
		}
	}
	for _, plain := range []token.Set{{"room": token.Set{"regex": false}}, {"room": "x"}, {}} {
		claims, err := v.Verify(t.Context(), token.Sign("HS256", secret, nil, good(token.Set{"room": "a.c", "context": plain})))
		if err != nil || claims.Pattern != nil || claims.Room != "a.c" {
			t.Errorf("%v: %+v %v", plain, claims, err)
		}
	}
}

// Who comes in, on the main host and on that of guests.
func TestTokenLogin(t *testing.T) {
	t.Parallel()
	fine := token.Sign("HS256", secret, nil, good(nil))
	forged := token.Sign("HS256", []byte("guess"), nil, good(nil))
	taken := func(empty bool) func(string) *Verifier {
		v := verifier(t, func(c *TokenConfig) { c.AllowEmpty = empty })
		return func(string) *Verifier { return v }
	}
	off := func(string) *Verifier { return nil }
	for _, c := range []struct {
		name         string
		auth         Token
		jwt, resumes string
		want         string // "claims", "guest" or the text of the failure
	}{
		{"token", Token{Verifier: taken(false)}, fine, "", "claims"},
		{"no token", Token{Verifier: taken(false)}, "", "", "token required"},
		{"no token, guests elsewhere", Token{Verifier: taken(false), Guests: true}, "", "", "token required"},
		{"empty allowed", Token{Verifier: taken(true)}, "", "", "guest"},
		{"empty allowed, forged", Token{Verifier: taken(true)}, forged, "", "Invalid signature"},
		{"forged", Token{Verifier: taken(false)}, forged, "", "Invalid signature"},
		{"resumes with a token", Token{Verifier: taken(false)}, fine, "u1", "claims"},
		{"resumes with a forged one", Token{Verifier: taken(true)}, forged, "u1", "Invalid signature"},
		{"tokens are off", Token{Verifier: off, Guests: true}, forged, "", "guest"},
		{"all is off", Token{Verifier: off}, fine, "", ""},
		{"guest host", Token{Verifier: taken(false), Guests: true, GuestHost: true}, "", "", "guest"},
		{"guest host, token", Token{Verifier: taken(false), Guests: true, GuestHost: true}, fine, "", "guest"},
		{"guest host, forged", Token{Verifier: taken(false), Guests: true, GuestHost: true}, forged, "", "guest"},
		{"guest host, resumes", Token{Verifier: taken(false), Guests: true, GuestHost: true}, "", "u1", "guest"},
		{"guest host, resumes with a token", Token{Verifier: taken(false), Guests: true, GuestHost: true}, fine, "u1", "claims"},
		{"guest host, resumes with a forged one", Token{Verifier: taken(false), Guests: true, GuestHost: true}, forged, "u1", "Invalid signature"},
	} {
		var log strings.Builder
		c.auth.Log = slog.New(slog.NewTextHandler(&log, nil))
		p := &xmpp.Peer{Host: xmpp.MustJID("meet.test"), Attrs: xmpp.Attrs{Token: c.jwt}, Resumes: c.resumes}
		x, err := c.auth.Start(t.Context(), p, sasl.Anonymous.Name)
		if f, ok := errors.AsType[*xmpp.SASLFailure](err); ok {
			if f.Text != c.want {
				t.Errorf("%s: %v", c.name, f)
			}
			if f.Text != "" && !strings.Contains(log.String(), f.Text) || c.jwt != "" && strings.Contains(log.String(), c.jwt) {
				t.Errorf("%s: log %s", c.name, log.String())
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if _, done, err := x.Step(nil); !done || err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		a := x.Account()
		if !a.Guest || a.Host || (c.want == "claims") != (a.Claims != nil) || c.want != "claims" && c.want != "guest" {
			t.Errorf("%s: %+v, want %s", c.name, a, c.want)
		}
		if c.resumes != "" && a.Name != c.resumes || c.resumes == "" && len(a.Name) != 36 {
			t.Errorf("%s: name %s", c.name, a.Name)
		}
	}
	if m := (Token{Verifier: off}).Mechanisms(peer); m != nil {
		t.Error(m)
	}
	if m := (Token{Verifier: taken(false)}).Mechanisms(peer); len(m) != 1 {
		t.Error(m)
	}
}

// FuzzVerify: whatever a client sends, only what the secret has signed is
// accepted, and what is accepted makes an element.
func FuzzVerify(f *testing.F) {
	f.Add(token.Sign("HS256", secret, nil, good(nil)))
	f.Add(token.Sign("RS256", rsaKey(), token.Set{"kid": "k1"}, good(nil)))
	f.Add("..")
	f.Add("a.b.c")
	f.Add(token.JSON(token.Set{"alg": "none", "typ": "JWT"}) + "." + token.JSON(good(nil)) + ".")
	hs := verifier(f, nil)
	rs := verifier(f, withKeys)
	known, knownRS := token.Sign("HS256", secret, nil, good(nil)), token.Sign("RS256", rsaKey(), token.Set{"kid": "k1"}, good(nil))
	f.Fuzz(func(t *testing.T, jwt string) {
		trimmed := strings.TrimRight(jwt, "=") // padding of the signature is not signed
		if _, err := hs.Verify(t.Context(), jwt); err == nil && trimmed != known {
			t.Fatalf("accepted %s", jwt)
		}
		if _, err := rs.Verify(t.Context(), jwt); err == nil && trimmed != knownRS {
			t.Fatalf("accepted %s", jwt)
		}
	})
}

// FuzzClaims: any body that an issuer signs.
func FuzzClaims(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"iss":"app","aud":"x","sub":"*","room":"*","context":{"user":{"id":1,"a":[1],"b":{}},"group":"g","features":{"x":true},"room":{"regex":true}}}`,
		`{"iss":"app","aud":["x"],"sub":"s","room":"a(b)+","context":{"room":{"regex":"true"}}}`, `{"exp":1e400}`, `{"exp":-1e30,"nbf":1e30}`, `{"user_id":1}`,
	} {
		f.Add([]byte(s))
	}
	v := verifier(f, nil)
	header := token.JSON(token.Set{"alg": "HS256", "typ": "JWT"})
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := v.Verify(t.Context(), token.SignRaw("HS256", secret, header+"."+token.Encode(body)))
		if err != nil {
			if _, ok := errors.AsType[*xmpp.SASLFailure](err); !ok {
				t.Fatal(err)
			}
			return
		}
		if c.Identity != "" {
			if _, err := xmpp.ParseElement(c.Identity, xmpp.Limits{}, xmpp.Scope{}); err != nil {
				t.Fatalf("%v: %s", err, c.Identity)
			}
		}
		if c.BadPattern && c.Pattern != nil || c.Room != strings.ToLower(c.Room) {
			t.Fatalf("%+v", c)
		}
	})
}
