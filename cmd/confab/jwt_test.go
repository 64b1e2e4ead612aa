package main

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"confab/cmd/confab/config"
	"confab/xmpp"
)

const tokenSecret = "0123456789abcdef0123456789abcdef"

func TestTokenDefaults(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "false  []",
		"[auth.jwt]\napp_id = 'app'\nsecret = '" + tokenSecret + "'":                              "true HS256 [app]",
		"[auth.jwt]\napp_id = 'app'\nissuers = ['a','b']\nkeys_url = 'https://x/y'":               "true RS256 [a b]",
		"[auth.jwt]\napp_id = 'app'\nkey_server = 'https://x/y'\nalgorithm = 'ES256'":             "true ES256 [app]",
		"[auth.jwt]\napp_id = 'app'\nsecret = '" + tokenSecret + "'\nalgorithm = 'HS512'":         "true HS512 [app]",
		"[rooms]\nmoderators = 'token'\n[auth.jwt]\napp_id = 'a'\nsecret = '" + tokenSecret + "'": "true HS256 [a]",
	} {
		cfg, _, err := config.Load(written(t, text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		j := cfg.Auth.JWT
		got := strings.Join([]string{map[bool]string{true: "true", false: "false"}[cfg.JWTOn()], j.Algorithm, "[" + strings.Join(j.Issuers, " ") + "]"}, " ")
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestTokenMistakes(t *testing.T) {
	t.Parallel()
	const good = "[auth.jwt]\napp_id = 'app'\nsecret = '" + tokenSecret + "'\n"
	for _, c := range []struct{ text, want string }{
		{"[auth.jwt]\napp_id = 'app'", "auth.jwt.app_id: is set, but there is no key"},
		{"[auth.jwt]\nsecret = '" + tokenSecret + "'", "auth.jwt.issuers: neither app_id nor issuers"},
		{"[auth.jwt]\napp_id = 'app'\nsecret = 'short'", "auth.jwt.secret: a secret of less than 16 bytes can be guessed"},
		{good + "key_server = 'https://keys'", "auth.jwt.secret: is set beside public keys"},
		{good + "keys_url = 'https://keys'", "auth.jwt.secret: is set beside public keys"},
		{good + "algorithm = 'none'", `auth.jwt.algorithm: "none" is none of HS256`},
		{good + "algorithm = 'RS256'", "auth.jwt.algorithm: RS256 works with public keys"},
		{"[auth.jwt]\napp_id = 'app'\nkeys_url = 'https://x'\nalgorithm = 'HS256'", "auth.jwt.algorithm: HS256 works with auth.jwt.secret"},
		{"[auth.jwt]\napp_id = 'app'\nkey_server = 'keys.example'", `auth.jwt.key_server: "keys.example" is no https:// or http:// address`},
		{"[auth.jwt]\napp_id = 'app'\nkeys_url = 'file:///etc/passwd'", "auth.jwt.keys_url: "},
		{good + "audiences = []", "auth.jwt.audiences: is empty"},
		{"[auth.jwt]\nallow_empty = true", "auth.jwt.allow_empty: has no meaning without tokens"},
		{"[auth]\nguests = false\n" + good + "allow_empty = true", "auth.jwt.allow_empty: lets guests in, which auth.guests = false forbids"},
		{good + "login_url = 'javascript:alert(1)'", "auth.jwt.login_url: "},
		{"[rooms]\nmoderators = 'token'", `rooms.moderators: "token" needs tokens`},
		{"[[tenants]]\nname = 'acme'\njwt_secret = '" + tokenSecret + "'", "tenants: entry 1: jwt_issuers is missing"},
		{"[[tenants]]\nname = 'acme'\njwt_issuers = ['a']", "tenants: entry 1: jwt_secret or jwt_keys_url is missing"},
		{"[[tenants]]\nname = 'acme'\njwt_issuers = ['a']\njwt_secret = 'x'", "tenants: entry 1: jwt_secret has less than 16 bytes"},
		{"[[tenants]]\nname = 'acme'\njwt_issuers = ['a']\njwt_keys_url = 'x'", "tenants: entry 1: jwt_keys_url is no"},
	} {
		_, _, err := config.Load(written(t, c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), tokenSecret) {
			t.Errorf("%s\n got %v\nwant %s", c.text, err, c.want)
		}
	}
	if _, _, err := config.Load(written(t, good+"login_url = 'https://login.example/{room}?state={state}'")); err != nil {
		t.Error(err)
	}
}

// The secret is shown nowhere.
func TestTokenSecretIsHidden(t *testing.T) {
	t.Parallel()
	cfg, _, err := config.Load(written(t, "[auth.jwt]\napp_id = 'app'\nsecret = '"+tokenSecret+"'\n[[tenants]]\nname = 'acme'\njwt_issuers = ['a']\njwt_secret = '"+tokenSecret+"'"))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := config.Show(&out, cfg); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); strings.Contains(got, tokenSecret) || !strings.Contains(got, `auth.jwt.secret = "***"`) {
		t.Error(got)
	}
}

func TestCheckTokens(t *testing.T) {
	t.Parallel()
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/keys/" {
			_, _ = w.Write([]byte("hello"))
			return
		}
		http.NotFound(w, r)
	}))
	defer keys.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for text, want := range map[string]string{
		"[auth.jwt]\napp_id = 'a'\nsecret = '" + tokenSecret + "'":                         "OK    tokens                HS256 with a secret",
		"[auth.jwt]\napp_id = 'a'\nsecret = '0123456789abcdef'":                            "WARN  tokens                the secret has 16 bytes, HS256 asks for 32",
		"[auth.jwt]\napp_id = 'a'\nalgorithm = 'HS512'\nsecret = '" + tokenSecret + "'":    "WARN  tokens                the secret has 32 bytes, HS512 asks for 64",
		"[auth.jwt]\nissuers = ['*']\nsecret = '" + tokenSecret + "'":                      "WARN  tokens                of any issuer are accepted",
		"[auth.jwt]\napp_id = 'a'\nkey_server = '" + keys.URL + "/keys'":                   "OK    tokens                RS256 with public keys",
		"[auth.jwt]\napp_id = 'a'\nkey_server = '" + gone.URL + "/keys'":                   "FAIL  tokens                public keys: ",
		"[auth.jwt]\napp_id = 'a'\nkeys_url = '" + keys.URL + "/jwks'":                     "FAIL  tokens                public keys: document of keys: ",
		"[auth.jwt]\napp_id = 'a'\nkeys_url = 'http://keys.invalid/jwks'":                  "WARN  tokens                http://keys.invalid/jwks comes in clear",
		"[[tenants]]\nname = 'acme'\njwt_issuers = ['a']\njwt_secret = '0123456789abcdef'": "WARN  tokens of acme        the secret has 16 bytes",
	} {
		cfg, _, err := config.Load(written(t, text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		var out bytes.Buffer
		r := &report{out: &out}
		r.tokens(t.Context(), cfg)
		if got := out.String(); !strings.Contains(got, want) || r.failed != strings.Contains(got, "FAIL") {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
}

// A reload keeps the keys that it knows, and closes those that nobody needs.
func TestReloadTokens(t *testing.T) {
	t.Parallel()
	site := httptest.NewServer(http.NotFoundHandler())
	defer site.Close()
	state := func(text string) config.Config {
		t.Helper()
		cfg, _, err := config.Load(written(t, text))
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	s := &server{cfg: state(""), names: newNames("meet.example", "b", false), logs: newLogs(config.Config{}, os.Stderr)}
	s.logs.handler = slog.DiscardHandler
	if err := s.buildJWT(); err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if s.jwts.verifier("") != nil || s.jwts.rules() != nil || s.jwts.external() {
		t.Error("tokens are on")
	}
	place := keyPlace{server: site.URL}
	if err := s.reloadJWT(state("domain = 'meet.example'\n[auth.jwt]\napp_id = 'a'\nkey_server = '" + site.URL + "'\nlogin_url = '/login'")); err != nil {
		t.Fatal(err)
	}
	keys := s.jwts.now.Load().keys[place]
	if s.jwts.verifier("") == nil || s.jwts.verifier("acme") != s.jwts.verifier("") || keys == nil || !s.jwts.external() {
		t.Error("tokens are off")
	}
	if r := s.jwts.rules(); r == nil || r.Domain != "meet.example" || r.MUC != "conference.meet.example" || r.AllowEmpty || !r.RequireRoom || !r.VerifyTenant || r.Moderators {
		t.Errorf("%+v", r)
	}
	if err := s.reloadJWT(state("[auth.jwt]\napp_id = 'b'\nkey_server = '" + site.URL + "'\n[[tenants]]\nname = 'acme'\njwt_issuers = ['x']\njwt_secret = '" + tokenSecret + "'")); err != nil {
		t.Fatal(err)
	}
	if s.jwts.now.Load().keys[place] != keys {
		t.Error("the keys were forgotten")
	}
	if s.jwts.verifier("acme") == s.jwts.verifier("") {
		t.Error("the tenant's key is not used")
	}
	if err := s.reloadJWT(state("[[tenants]]\nname = 'acme'\njwt_issuers = ['x']\njwt_secret = '" + tokenSecret + "'")); err != nil {
		t.Fatal(err)
	}
	if r := s.jwts.rules(); r == nil || !r.TenantsOnly || s.jwts.verifier("") != nil {
		t.Errorf("%+v", r)
	}
	if _, err := keys.Key(t.Context(), "x"); err == nil {
		t.Error("keys that nobody needs")
	}
}

func TestIdentityOfAccount(t *testing.T) {
	t.Parallel()
	if got := identityOf(xmpp.MustJID("ada@meet.example/r")); got != `<identity><user><id>ada@meet.example</id><name>ada</name></user></identity>` {
		t.Error(got)
	}
}
