package main

// JSON Web Tokens: who signs them, and what they open.

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"slices"
	"sync/atomic"

	"confab/cmd/confab/config"
	"confab/focus"
	"confab/muc/policy"
	"confab/xmpp"
	"confab/xmpp/auth"
)

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
func (s *server) reloadJWT(c config.Config) error {
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
func (s *server) jwtState(c config.Config, known map[keyPlace]*auth.Keys) (*jwtState, error) {
	j := &c.Auth.JWT
	st := &jwtState{verifiers: map[string]*auth.Verifier{}, keys: map[keyPlace]*auth.Keys{}, loginURL: j.LoginURL}
	add := func(tenant, algorithm string, secret config.Secret, place keyPlace, issuers []string) error {
		tc := auth.TokenConfig{
			Algorithm: config.JWTAlgorithm(algorithm, secret), Secret: []byte(secret), Issuers: issuers, Audiences: j.Audiences,
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
	if c.JWTOn() {
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
		TenantsOnly: !c.JWTOn(), Tenants: tenants,
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
