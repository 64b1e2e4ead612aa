package auth

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"mellium.im/sasl"

	"confab/xmpp"
)

// JSON Web Tokens (RFC 7515, 7518, 7519) as Jitsi's token authentication takes
// them (room-services.md §4.5). The algorithm is that of the configuration: what
// the token names is only compared with it.

// maxToken is how long a token may be: more than the request line of stock
// clients takes, and little enough to decode for everybody who comes.
const maxToken = 24 << 10

// Reasons of a refused token. Clients show those of not-allowed; scripts of
// operators look for them in logs.
const (
	reasonRequired  = "token required"
	reasonToken     = "Invalid token"
	reasonFormat    = "bad token format"
	reasonKid       = "'kid' claim is missing"
	reasonNoAlg     = "'alg' claim is missing"
	reasonFamily    = "'kid' claim only support with RS family"
	reasonNoKey     = "could not obtain public key"
	reasonHeader    = "Invalid header"
	reasonBody      = "Invalid body"
	reasonTyp       = "Invalid typ"
	reasonAlg       = "Invalid or incorrect alg"
	reasonSignature = "Invalid signature"
	reasonExp       = "exp must be number"
	reasonNbf       = "nbf must be number"
	reasonNoExp     = "'exp' claim is missing"
	reasonTooEarly  = "Not acceptable by nbf"
	reasonNoIss     = "'iss' claim is missing"
	reasonIss       = "invalid 'iss' claim"
	reasonNoAud     = "'aud' claim is missing"
	reasonAud       = "invalid 'aud' claim"
	reasonNoRoom    = "room claim is missing"
	reasonNoSub     = "sub claim is missing"
)

func notAllowed(reason string) error { return &xmpp.SASLFailure{Cond: "not-allowed", Text: reason} }

// Token is SASL ANONYMOUS (room-services.md §4.3) with a token in the URL of the session,
// or none. Whom it lets in has no account: the name is a random one, but a client that
// comes back with the id of its old session is the same user again, else it could not
// resume.
type Token struct {
	// Verifier is asked at each login, with the tenant of the session's URL; nil, or an
	// answer of nil, means that no tokens are taken now.
	Verifier func(tenant string) *Verifier
	// Guests lets people in while no tokens are taken; with them, those without one
	// as Verifier.AllowEmpty says.
	Guests bool
	// GuestHost is a host for people without a token. One counts there only on a
	// connection that resumes a session: this is how a guest who signs in
	// elsewhere keeps its place (LJM JitsiConnection.refreshToken).
	GuestHost bool
	// Log is told who is refused, never with which token; nil tells nobody.
	Log *slog.Logger
}

// Mechanisms implements xmpp.Authenticator.
func (t Token) Mechanisms(p *xmpp.Peer) []string {
	if t.Guests || t.verifier(p) != nil {
		return []string{sasl.Anonymous.Name}
	}
	return nil
}

// Start implements xmpp.Authenticator. It waits for a key, for a bounded time.
func (t Token) Start(ctx context.Context, p *xmpp.Peer, mechanism string) (xmpp.Exchange, error) {
	claims, err := t.claims(ctx, p)
	if err != nil {
		if fail, ok := errors.AsType[*xmpp.SASLFailure](err); ok && t.Log != nil {
			t.Log.Info("token refused", "reason", fail.Text, "room", p.Attrs.Room, "tenant", p.Attrs.Prefix, "addr", p.Remote.String())
		}
		return nil, err
	}
	name := p.GuestName()
	if name == "" {
		name = newUUID()
	}
	return &exchange{
		neg:     sasl.NewServer(sasl.Anonymous, nil),
		account: func() xmpp.Account { return xmpp.Account{Name: name, Guest: true, Claims: claims} },
	}, nil
}

func (t Token) verifier(p *xmpp.Peer) *Verifier {
	if t.Verifier == nil {
		return nil
	}
	return t.Verifier(p.Attrs.Prefix)
}

func (t Token) claims(ctx context.Context, p *xmpp.Peer) (*xmpp.Claims, error) {
	v, token := t.verifier(p), p.Attrs.Token
	switch {
	case v == nil && !t.Guests:
		return nil, &xmpp.SASLFailure{Cond: xmpp.SASLInvalidMechanism}
	case v == nil, t.GuestHost && (token == "" || p.Resumes == ""), token == "" && v.AllowEmpty():
		return nil, nil
	case token == "":
		return nil, notAllowed(reasonRequired)
	}
	return v.Verify(ctx, token)
}

// newUUID is a version 4 UUID. It is lower-case hexadecimal, because LJM takes
// its nick from the first eight digits.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// KeySource finds the public key that a token names. ctx bounds the wait.
type KeySource interface {
	Key(ctx context.Context, kid string) (crypto.PublicKey, error)
}

// TokenConfig says which tokens are genuine.
type TokenConfig struct {
	// Algorithm is one of Algorithms.
	Algorithm string
	// Secret verifies HS*; Keys all others.
	Secret []byte
	Keys   KeySource
	// Issuers and Audiences are accepted; "*" accepts any. The claims must exist.
	Issuers, Audiences []string
	// RequireRoom and RequireExp refuse tokens without these claims.
	RequireRoom, RequireExp bool
	// AllowEmpty lets people in who have no token.
	AllowEmpty bool
	// Scope is the tenant to whose rooms these tokens are limited, or "".
	Scope string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Verifier checks tokens. It is immutable.
type Verifier struct {
	cfg TokenConfig
	alg algorithm
}

// NewVerifier returns a verifier, or says what its configuration lacks.
func NewVerifier(cfg TokenConfig) (*Verifier, error) {
	alg, ok := algorithms[cfg.Algorithm]
	switch {
	case !ok:
		return nil, fmt.Errorf("token algorithm %q is none of %s", cfg.Algorithm, strings.Join(Algorithms(), ", "))
	case Symmetric(cfg.Algorithm) && len(cfg.Secret) == 0:
		return nil, fmt.Errorf("token algorithm %s needs a secret", cfg.Algorithm)
	case !Symmetric(cfg.Algorithm) && cfg.Keys == nil:
		return nil, fmt.Errorf("token algorithm %s needs public keys", cfg.Algorithm)
	case len(cfg.Issuers) == 0 || len(cfg.Audiences) == 0:
		return nil, errors.New("tokens of no issuer or no audience are accepted")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Verifier{cfg, alg}, nil
}

// AllowEmpty reports whether people without a token may come in.
func (v *Verifier) AllowEmpty() bool { return v.cfg.AllowEmpty }

// Verify returns what a genuine token says. Its errors are *xmpp.SASLFailure with
// the reasons of Jitsi's module, or ctx's.
func (v *Verifier) Verify(ctx context.Context, token string) (*xmpp.Claims, error) {
	if len(token) > maxToken {
		return nil, notAllowed(reasonToken)
	}
	var key any = v.cfg.Secret
	if !Symmetric(v.cfg.Algorithm) {
		var err error
		if key, err = v.publicKey(ctx, token); err != nil {
			return nil, err
		}
	}
	p, err := v.genuine(token, key)
	if err != nil {
		return nil, err
	}
	issuer, err := v.acceptable(p)
	if err != nil {
		return nil, err
	}
	c := p.claims(issuer)
	c.Scope = v.cfg.Scope
	return c, nil
}

// publicKey finds the key that the header names. Its checks come first and have
// other texts than those of the same mistakes without a key server.
func (v *Verifier) publicKey(ctx context.Context, token string) (crypto.PublicKey, error) {
	first, _, dot := strings.Cut(token, ".")
	raw, err := decode(first)
	if !dot || err != nil {
		return nil, notAllowed(reasonToken)
	}
	header, err := object(raw)
	if err != nil {
		return nil, notAllowed(reasonFormat)
	}
	kid, ok := text(header["kid"])
	if !ok || kid == "" {
		return nil, notAllowed(reasonKid)
	}
	alg, ok := text(header["alg"])
	if !ok {
		return nil, notAllowed(reasonNoAlg)
	}
	if strings.HasPrefix(v.cfg.Algorithm, "RS") && !strings.HasPrefix(alg, "RS") {
		return nil, notAllowed(reasonFamily)
	}
	if alg != v.cfg.Algorithm {
		return nil, notAllowed(reasonAlg) // no fetch for what can't be accepted
	}
	key, err := v.cfg.Keys.Key(ctx, kid)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, notAllowed(reasonNoKey)
	}
	return key, nil
}

// acceptable checks what a genuine token says of itself, in the order of Jitsi's
// module. There is no leeway.
func (v *Verifier) acceptable(p *payload) (issuer string, err error) {
	now := v.cfg.Now().Unix()
	exp, isNumber := seconds(p.Exp)
	if len(p.Exp) > 0 && !isNumber {
		return "", notAllowed(reasonExp)
	}
	nbf, isNumber := seconds(p.Nbf)
	if len(p.Nbf) > 0 && !isNumber {
		return "", notAllowed(reasonNbf)
	}
	switch {
	case len(p.Exp) == 0 && v.cfg.RequireExp:
		return "", notAllowed(reasonNoExp)
	case len(p.Exp) > 0 && now >= exp:
		valid := ""
		if iat, ok := seconds(p.Iat); ok {
			valid = fmt.Sprintf(", valid for:%d sec", exp-iat)
		}
		return "", notAllowed(fmt.Sprintf("Not acceptable by exp (%d sec since expired%s)", now-exp, valid))
	case len(p.Nbf) > 0 && now < nbf:
		return "", notAllowed(reasonTooEarly)
	case len(p.Iss) == 0:
		return "", notAllowed(reasonNoIss)
	}
	issuer, _ = text(p.Iss)
	if !accepted(v.cfg.Issuers, issuer) {
		return "", notAllowed(reasonIss)
	}
	if len(p.Aud) == 0 {
		return "", notAllowed(reasonNoAud)
	}
	// Jitsi's module knows one audience only; RFC 7519 §4.1.3 several.
	if !accepted(v.cfg.Audiences, texts(p.Aud)...) {
		return "", notAllowed(reasonAud)
	}
	if _, ok := text(p.Room); !ok && v.cfg.RequireRoom {
		return "", &xmpp.SASLFailure{Cond: xmpp.SASLNotAuthorized, Text: reasonNoRoom}
	}
	if _, ok := text(p.Sub); !ok {
		return "", &xmpp.SASLFailure{Cond: xmpp.SASLNotAuthorized, Text: reasonNoSub}
	}
	return issuer, nil
}

func accepted(list []string, claims ...string) bool {
	if slices.Contains(list, "*") {
		return true
	}
	return slices.ContainsFunc(claims, func(c string) bool { return c != "" && slices.Contains(list, c) })
}
