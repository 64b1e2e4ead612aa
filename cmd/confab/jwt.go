package main

// JSON Web Tokens: who signs them, and what they open.

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"confab/focus"
	"confab/muc/policy"
	"confab/xmpp"
	"confab/xmpp/auth"
)

// minSecret is how short a secret may be, as for the others of the configuration.
const minSecret = 16

// jwtOn reports whether people of the whole server may come with a token.
func (c *Config) jwtOn() bool {
	j := &c.Auth.JWT
	return j.Secret != "" || j.KeyServer != "" || j.KeysURL != ""
}

// jwtAlgorithm is what signs tokens, by a secret or public keys.
func jwtAlgorithm(set string, secret Secret) string {
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
	if c.jwtOn() {
		j.Algorithm = jwtAlgorithm(j.Algorithm, j.Secret)
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
	p.check(j.AppID == "" || c.jwtOn() || tenants, "auth.jwt.app_id", "is set, but there is no key: set auth.jwt.secret, key_server or keys_url")
	p.check(j.KeyServer == "" || keyURL(j.KeyServer), "auth.jwt.key_server", "%q is no https:// or http:// address", j.KeyServer)
	p.check(j.KeysURL == "" || keyURL(j.KeysURL), "auth.jwt.keys_url", "%q is no https:// or http:// address", j.KeysURL)
	if j.Algorithm != "" {
		p.oneOf("auth.jwt.algorithm", j.Algorithm, auth.Algorithms()...)
		p.check(!auth.Symmetric(j.Algorithm) || !keys, "auth.jwt.algorithm", "%s works with auth.jwt.secret, not with public keys", j.Algorithm)
		p.check(auth.Symmetric(j.Algorithm) || j.Secret == "", "auth.jwt.algorithm", "%s works with public keys, not with auth.jwt.secret", j.Algorithm)
	}
	p.check(!c.jwtOn() || len(j.Issuers) > 0, "auth.jwt.issuers", "neither app_id nor issuers says whose tokens are accepted")
	p.check(len(j.Audiences) > 0, "auth.jwt.audiences", `is empty; "*" accepts any`)
	p.check(!j.AllowEmpty || c.jwtOn() || tenants, "auth.jwt.allow_empty", "has no meaning without tokens: set auth.jwt.secret, key_server or keys_url")
	p.check(!j.AllowEmpty || c.Auth.Guests, "auth.jwt.allow_empty", "lets guests in, which auth.guests = false forbids")
	p.check(j.LoginURL == "" || loginURL(j.LoginURL), "auth.jwt.login_url", "%q is neither an https:// or http:// address nor a path", j.LoginURL)
	p.check(c.Rooms.Moderators != focus.ModeratorsToken || c.jwtOn() || tenants, "rooms.moderators", `"token" needs tokens: set auth.jwt.secret, key_server or keys_url`)
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

// inClear reports whether keys come over the network for everybody to change.
func inClear(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() != "localhost" && (err != nil || !ip.IsLoopback())
}

// jwts is what the server makes of tokens now. A reload replaces all of it.
type jwts struct{ now atomic.Pointer[jwtState] }

type jwtState struct {
	// verifiers by tenant; "" is the whole server's.
	verifiers map[string]*auth.Verifier
	keys      map[keyPlace]*auth.Keys
	rules     *policy.TokenRules // nil: no tokens
	loginURL  string
}

// keyPlace is where public keys are published.
type keyPlace struct{ url, server string }

// verifier checks the tokens of those who come below a tenant's path: those of the
// tenant if it has keys, else those of the server.
func (t *jwts) verifier(tenant string) *auth.Verifier {
	st := t.now.Load()
	if v := st.verifiers[tenant]; v != nil {
		return v
	}
	return st.verifiers[""]
}

func (t *jwts) rules() *policy.TokenRules { return t.now.Load().rules }

func (t *jwts) external() bool { return t.now.Load().loginURL != "" }

// Close ends requests for keys.
func (t *jwts) Close() error {
	st := t.now.Load()
	for _, k := range st.keys {
		_ = k.Close() // has nothing to report
	}
	return nil
}

var _ io.Closer = (*jwts)(nil)

func (s *server) buildJWT() error {
	st, err := s.jwtState(s.cfg, nil)
	if err != nil {
		return err
	}
	s.jwts.now.Store(st)
	s.opened(&s.jwts)
	return nil
}

// reloadJWT takes another configuration over. Keys of the same place stay known.
func (s *server) reloadJWT(c Config) error {
	old := s.jwts.now.Load()
	st, err := s.jwtState(c, old.keys)
	if err != nil {
		return err
	}
	s.jwts.now.Store(st)
	for place, k := range old.keys {
		if st.keys[place] == nil {
			_ = k.Close() // has nothing to report
		}
	}
	return nil
}

// jwtState makes the state of a configuration; known are keys to go on with.
func (s *server) jwtState(c Config, known map[keyPlace]*auth.Keys) (*jwtState, error) {
	j := &c.Auth.JWT
	st := &jwtState{verifiers: map[string]*auth.Verifier{}, keys: map[keyPlace]*auth.Keys{}, loginURL: j.LoginURL}
	add := func(tenant, algorithm string, secret Secret, place keyPlace, issuers []string) error {
		tc := auth.TokenConfig{
			Algorithm: jwtAlgorithm(algorithm, secret), Secret: []byte(secret), Issuers: issuers, Audiences: j.Audiences,
			RequireRoom: j.RequireRoom, RequireExp: j.RequireExp, AllowEmpty: j.AllowEmpty, Scope: tenant,
		}
		if secret == "" {
			k := st.keys[place]
			if k == nil {
				k = known[place]
			}
			if k == nil {
				k = auth.NewKeys(auth.KeysConfig{URL: place.url, Server: place.server, Log: s.logs.of("xmpp")})
			}
			st.keys[place], tc.Keys = k, k
		}
		v, err := auth.NewVerifier(tc)
		if err != nil {
			return err
		}
		st.verifiers[tenant] = v
		return nil
	}
	if c.jwtOn() {
		if err := add("", j.Algorithm, j.Secret, keyPlace{j.KeysURL, j.KeyServer}, j.Issuers); err != nil {
			return nil, fmt.Errorf("auth.jwt: %w", err)
		}
	}
	var tenants []string
	for _, t := range c.Tenants {
		if t.JWTSecret == "" && t.JWTKeysURL == "" {
			continue
		}
		if err := add(t.Name, "", t.JWTSecret, keyPlace{url: t.JWTKeysURL}, t.JWTIssuers); err != nil {
			return nil, fmt.Errorf("tenant %s: %w", t.Name, err)
		}
		tenants = append(tenants, t.Name)
	}
	for place, k := range st.keys {
		if known[place] == nil {
			k.Warm()
		}
	}
	if len(st.verifiers) == 0 {
		return st, nil
	}
	st.rules = &policy.TokenRules{
		Domain: c.Domain, MUC: s.names.conference, AllowEmpty: j.AllowEmpty, RequireRoom: j.RequireRoom, VerifyTenant: j.VerifyTenant,
		TenantsOnly: !c.jwtOn(), Tenants: tenants,
		Moderators: c.Rooms.Moderators == focus.ModeratorsToken, ModeratorIssuers: slices.Clone(j.ModeratorIssuers),
	}
	if s.names.guests {
		st.rules.GuestDomain = s.names.guest
	}
	return st, nil
}

// hasToken reports whether a session came with a token for a room.
func (s *server) hasToken(user, room xmpp.JID) bool {
	se := s.session(user)
	if se == nil {
		return false
	}
	c := se.Account().Claims
	return c != nil && s.jwts.rules().Opens(c, room, se.Attrs().Prefix)
}

// verifyToken checks a token that was shown without a session.
func (s *server) verifyToken(ctx context.Context, token string, room xmpp.JID) bool {
	tenant := s.rooms.TenantOf(room)
	v := s.jwts.verifier(tenant)
	if v == nil {
		return false
	}
	c, err := v.Verify(ctx, token)
	return err == nil && s.jwts.rules().Opens(c, room, tenant)
}

// identityOf is the <identity/> that the presences of an account get: so that others
// know hosts from guests of the same name (room-services.md §4.7).
func identityOf(j xmpp.JID) string {
	return xmpp.EncodeIdentity([]string{"id", "name"}, map[string]string{"id": j.Bare().String(), "name": j.Local}, "")
}
