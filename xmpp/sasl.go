package xmpp

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net/netip"
	"slices"
	"strings"
)

// Peer is what is known of a client that logs in.
type Peer struct {
	Host   JID
	Remote netip.Addr
	// Secure says that TLS protects the connection as far as we can see.
	Secure bool
	// TLS is the connection's state when TLS ends here, else nil.
	TLS   *tls.ConnectionState
	Attrs Attrs
	// Resumes is the guest whose live or detached session of this host the client's
	// previd names, or "" (client-signaling.md §4.3). It is in a URL: who has an
	// account logs in with the password again.
	Resumes string
	// Promised is the name that the client was promised and claims by its URL
	// (?customusername=), or "": Config.Promised.
	Promised string
}

// GuestName is the name that a guest has a right to, or "": the promised one, else
// that of the session that it comes from (room-services.md §4.3).
func (p *Peer) GuestName() string {
	if p.Promised != "" {
		return p.Promised
	}
	return p.Resumes
}

// Account is who has logged in.
type Account struct {
	// Name is the localpart, prepared.
	Name string
	// Host says that the account opens rooms and is moderator where it goes.
	Host bool
	// Guest says that nobody is behind the name but who got it.
	Guest bool
	// Claims are those of the verified token that the user came with, or nil.
	Claims *Claims
}

// Authenticator lets users in to one host. Implementations are in xmpp/auth.
type Authenticator interface {
	// Mechanisms are the SASL mechanisms to offer to p, best first.
	Mechanisms(p *Peer) []string
	// Start begins an exchange with one of them.
	Start(ctx context.Context, p *Peer, mechanism string) (Exchange, error)
}

// Exchange is one SASL exchange.
type Exchange interface {
	// Step takes what the client sent, decoded. A *SASLFailure refuses the
	// client; any other error is logged by its type only, since libraries put
	// keys into the text, and refused as temporary-auth-failure.
	Step(in []byte) (out []byte, done bool, err error)
	// Account is who logs in: claimed until the exchange is done.
	Account() Account
}

// Conditions of SASL failures (RFC 6120 §6.5).
const (
	SASLAborted           = "aborted"
	SASLEncryption        = "encryption-required"
	SASLIncorrectEncoding = "incorrect-encoding"
	SASLInvalidMechanism  = "invalid-mechanism"
	SASLMalformed         = "malformed-request"
	SASLNotAuthorized     = "not-authorized"
	SASLTemporary         = "temporary-auth-failure"
)

// errTriesExceeded ends a stream after too many wrong passwords (RFC 6120 §6.4.5).
var errTriesExceeded = &StreamError{Cond: "policy-violation", Text: "Too many failed logins"}

// handleSASL is one step of the login.
func (st *stream) handleSASL(el *Element) error {
	out, done, err := st.stepSASL(el)
	var fail *SASLFailure
	switch {
	case errors.As(err, &fail):
		return st.refuse(fail)
	case err != nil:
		return err
	case done:
		st.account = st.exchange.Account()
		st.endExchange()
		st.state = stateAuthenticated
		st.fr.restart()
		return st.writeNow(saslElement("success", out))
	}
	return st.writeNow(saslElement("challenge", out))
}

// saslElement encodes data; nothing at all is self-closed, as Prosody does it.
func saslElement(name string, data []byte) string {
	return new(Enc).Leaf(name, NSSASL, base64.StdEncoding.EncodeToString(data)).String()
}

func (st *stream) stepSASL(el *Element) (out []byte, done bool, err error) {
	var in []byte
	switch el.Name {
	case "auth":
		if st.exchange != nil {
			st.endExchange()
			return nil, false, &SASLFailure{Cond: SASLMalformed}
		}
		if st.tlsRequired() {
			return nil, false, &SASLFailure{Cond: SASLEncryption}
		}
		mech := el.Get("mechanism")
		peer := st.peer()
		if !slices.Contains(st.host.Auth.Mechanisms(peer), mech) {
			return nil, false, &SASLFailure{Cond: SASLInvalidMechanism}
		}
		if mech != "ANONYMOUS" && !st.mayTry() {
			return nil, false, errTriesExceeded
		}
		if st.exchange, err = st.host.Auth.Start(st.ctx, peer, mech); err != nil {
			return nil, false, st.secretFree("start", err)
		}
		if el.Text == "" && mech != "ANONYMOUS" {
			return nil, false, nil // RFC 6120 §6.4.2: an empty challenge asks for the first message
		}
	case "response":
		if st.exchange == nil {
			return nil, false, &SASLFailure{Cond: SASLMalformed}
		}
	case "abort":
		st.endExchange()
		return nil, false, &SASLFailure{Cond: SASLAborted}
	default:
		return nil, false, &StreamError{Cond: "not-authorized"}
	}
	if text := strings.TrimSpace(el.Text); text != "" && text != "=" {
		if in, err = base64.StdEncoding.Strict().DecodeString(text); err != nil {
			st.endExchange()
			return nil, false, &SASLFailure{Cond: SASLIncorrectEncoding}
		}
	}
	out, done, err = st.exchange.Step(in)
	if err != nil {
		return nil, false, st.secretFree("step", err)
	}
	return out, done, nil
}

// mayTry asks for a try with a password. Who has none left waits first, and may
// have one then: others of the address may have been about to log in.
func (st *stream) mayTry() (ok bool) {
	st.endExchange()
	if st.tried, ok = st.srv.gate.try(st.remote); ok {
		return true
	}
	_ = pause(st.ctx, st.srv.cfg.PasswordDelay)
	if st.tried, ok = st.srv.gate.try(st.remote); ok {
		return true
	}
	st.srv.log.Warn("no more passwords tried for this address", "addr", st.remote.String())
	return false
}

func (st *stream) endExchange() {
	st.exchange = nil
	if st.tried != nil {
		st.tried()
		st.tried = nil
	}
}

// secretFree keeps texts of SASL libraries out of the log: on a wrong proof they
// contain the stored key.
func (st *stream) secretFree(what string, err error) error {
	var fail *SASLFailure
	if errors.As(err, &fail) {
		return err
	}
	st.srv.cfg.Log.Warn("login failed inside the server", "jid", st.host.Host.JID().String(), "step", what)
	return &SASLFailure{Cond: SASLTemporary}
}

// refuse answers a failed login, late when there have been many.
func (st *stream) refuse(fail *SASLFailure) error {
	st.srv.stats.authFailures.Add(1)
	if st.exchange != nil && fail.Cond == SASLNotAuthorized {
		account := JID{Local: st.exchange.Account().Name, Domain: st.host.Host.JID().Domain}
		st.srv.log.Info("login failed", "jid", account.String(), "addr", st.remote.String())
		if err := pause(st.ctx, st.srv.gate.failed(st.remote, account)); err != nil {
			return err
		}
	}
	st.endExchange()
	if err := st.writeNow(fail.Encode()); err != nil {
		return err
	}
	if st.tries++; st.tries >= st.srv.cfg.TriesPerStream {
		return errTriesExceeded
	}
	return nil
}

func (st *stream) peer() *Peer {
	p := &Peer{
		Host: st.host.Host.JID(), Remote: st.remote, Secure: st.secure, TLS: st.tls, Attrs: st.attrs,
		Resumes: st.srv.guestOf(st.attrs.PrevID, st.host.Host.JID().Domain),
	}
	if promised := st.srv.cfg.Promised; promised != nil && st.attrs.CustomUsername != "" {
		p.Promised = promised(st.attrs)
	}
	return p
}

// mechanismsFeature lists what the client may log in with, or "".
func (st *stream) mechanismsFeature() string {
	if st.tlsRequired() {
		return ""
	}
	var e Enc
	e.Start("mechanisms", NSSASL)
	for _, m := range st.host.Auth.Mechanisms(st.peer()) {
		e.Leaf("mechanism", "", m)
	}
	return e.End().String()
}
