package config

// What is settled about JSON Web Tokens.

import (
	"net/url"
	"strings"

	"confab/xmpp/auth"
)

// minSecret is how short a secret may be, as for the others of the configuration.
const minSecret = 16

// JWTOn reports whether people of the whole server may come with a token.
func (c *Config) JWTOn() bool {
	j := &c.Auth.JWT
	return j.Secret != "" || j.KeyServer != "" || j.KeysURL != ""
}

// JWTAlgorithm is what signs tokens, by a secret or public keys.
func JWTAlgorithm(set string, secret Secret) string {
	switch {
	case set != "":
		return set
	case secret != "":
		return "HS256"
	}
	return "RS256"
}

func (c *Config) deriveJWT() {
	j := &c.Auth.JWT
	if c.JWTOn() {
		j.Algorithm = JWTAlgorithm(j.Algorithm, j.Secret)
	}
	if len(j.Issuers) == 0 && j.AppID != "" {
		j.Issuers = []string{j.AppID}
	}
}

func (c *Config) validateJWT(p *problems) {
	j := &c.Auth.JWT
	tenants := false
	for i, t := range c.Tenants {
		bad := func(ok bool, what string) { p.check(ok, "tenants", "entry %d: %s", i+1, what) }
		on := t.JWTSecret != "" || t.JWTKeysURL != ""
		tenants = tenants || on
		bad(t.JWTSecret == "" || t.JWTKeysURL == "", "jwt_secret and jwt_keys_url are both set: tokens are verified with one or the other")
		bad(t.JWTSecret == "" || len(t.JWTSecret) >= minSecret, "jwt_secret has less than 16 bytes and can be guessed")
		bad(t.JWTKeysURL == "" || keyURL(t.JWTKeysURL), "jwt_keys_url is no https:// or http:// address")
		bad(!on || len(t.JWTIssuers) > 0, "jwt_issuers is missing")
		bad(on || len(t.JWTIssuers) == 0, "jwt_secret or jwt_keys_url is missing")
	}
	keys := j.KeyServer != "" || j.KeysURL != ""
	p.check(j.Secret == "" || !keys, "auth.jwt.secret", "is set beside public keys (auth.jwt.key_server, keys_url): tokens are verified with one or the other")
	p.check(j.Secret == "" || len(j.Secret) >= minSecret, "auth.jwt.secret", "a secret of less than %d bytes can be guessed", minSecret)
	p.check(j.AppID == "" || c.JWTOn() || tenants, "auth.jwt.app_id", "is set, but there is no key: set auth.jwt.secret, key_server or keys_url")
	p.check(j.KeyServer == "" || keyURL(j.KeyServer), "auth.jwt.key_server", "%q is no https:// or http:// address", j.KeyServer)
	p.check(j.KeysURL == "" || keyURL(j.KeysURL), "auth.jwt.keys_url", "%q is no https:// or http:// address", j.KeysURL)
	if j.Algorithm != "" {
		p.oneOf("auth.jwt.algorithm", j.Algorithm, auth.Algorithms()...)
		p.check(!auth.Symmetric(j.Algorithm) || !keys, "auth.jwt.algorithm", "%s works with auth.jwt.secret, not with public keys", j.Algorithm)
		p.check(auth.Symmetric(j.Algorithm) || j.Secret == "", "auth.jwt.algorithm", "%s works with public keys, not with auth.jwt.secret", j.Algorithm)
	}
	p.check(!c.JWTOn() || len(j.Issuers) > 0, "auth.jwt.issuers", "neither app_id nor issuers says whose tokens are accepted")
	p.check(len(j.Audiences) > 0, "auth.jwt.audiences", `is empty; "*" accepts any`)
	p.check(!j.AllowEmpty || c.JWTOn() || tenants, "auth.jwt.allow_empty", "has no meaning without tokens: set auth.jwt.secret, key_server or keys_url")
	p.check(!j.AllowEmpty || c.Auth.Guests, "auth.jwt.allow_empty", "lets guests in, which auth.guests = false forbids")
	p.check(j.LoginURL == "" || loginURL(j.LoginURL), "auth.jwt.login_url", "%q is neither an https:// or http:// address nor a path", j.LoginURL)
	p.check(c.Rooms.Moderators != "token" || c.JWTOn() || tenants, "rooms.moderators", `"token" needs tokens: set auth.jwt.secret, key_server or keys_url`)
}

func keyURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}

// loginURL holds placeholders of the web app: {room}, {state}.
func loginURL(s string) bool {
	if strings.HasPrefix(s, "/") {
		return true
	}
	return keyURL(strings.NewReplacer("{", "", "}", "").Replace(s))
}
