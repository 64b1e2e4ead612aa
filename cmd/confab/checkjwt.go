package main

// confab check: whether tokens can be verified.

import (
	"context"
	"slices"
	"time"

	"confab/cmd/confab/config"
	"confab/focus"
	"confab/xmpp/auth"
)

// keysTimeout is how long a key server is waited for.
const keysTimeout = 10 * time.Second

// tokens looks at what a start would accept in silence.
func (r *report) tokens(ctx context.Context, cfg config.Config) {
	j := &cfg.Auth.JWT
	if cfg.JWTOn() {
		r.signer(ctx, "tokens", j.Algorithm, j.Secret, auth.KeysConfig{URL: j.KeysURL, Server: j.KeyServer})
	}
	for _, t := range cfg.Tenants {
		if t.JWTSecret != "" || t.JWTKeysURL != "" {
			r.signer(ctx, "tokens of "+t.Name, config.JWTAlgorithm("", t.JWTSecret), t.JWTSecret, auth.KeysConfig{URL: t.JWTKeysURL})
		}
	}
	switch {
	case !cfg.JWTOn():
		return
	case slices.Contains(j.Issuers, "*"):
		r.warn("tokens", "of any issuer are accepted (auth.jwt.issuers)")
	}
	if j.AllowEmpty && cfg.RequireHost {
		r.warn("tokens", "auth.jwt.allow_empty has little use with require_host: guests come in at guest.%s", cfg.Domain)
	}
	if cfg.Rooms.Moderators != focus.ModeratorsToken {
		r.ok("tokens", `who moderates is not theirs to say: that takes rooms.moderators = "token"`)
	}
	if j.LoginURL == "" && !j.AllowEmpty && !cfg.RequireHost {
		r.ok("tokens", "who comes without one is asked for an account: auth.jwt.login_url can name your own sign-in page")
	}
}

// signer looks at one secret, or at one place of keys.
func (r *report) signer(ctx context.Context, subject, algorithm string, secret config.Secret, place auth.KeysConfig) {
	if secret != "" {
		if size := auth.HashSize(algorithm); len(secret) < size {
			r.warn(subject, "the secret has %d bytes, %s asks for %d (RFC 7518): openssl rand -hex 32 makes a good one", len(secret), algorithm, size)
			return
		}
		r.ok(subject, "%s with a secret", algorithm)
		return
	}
	for _, address := range []string{place.URL, place.Server} {
		if inClear(address) {
			r.warn(subject, "%s comes in clear: whoever is on the way can put in keys of their own", address)
		}
	}
	keys := auth.NewKeys(place)
	defer keys.Close()
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	if err := keys.Check(ctx); err != nil {
		r.fail(subject, "public keys: %v", err)
		return
	}
	r.ok(subject, "%s with public keys", algorithm)
}
