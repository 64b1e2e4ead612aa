// Package auth holds the ways in which a user may log in to a host: without an
// account, with a token that somebody else has signed, and with a password. Each is
// an xmpp.Authenticator.
//
// Rules of this package:
//   - The SASL exchange is mellium's negotiator; its PLAIN and ANONYMOUS, and a
//     SCRAM of our own that works from StoredKey and ServerKey.
//   - Errors of the SASL library never leave the package: they may contain keys.
//     What leaves is an *xmpp.SASLFailure with a fixed text.
//   - A token is never logged, nor is a part of it. How it must be signed is said by
//     the configuration, never by the token.
//   - A login waits for a public key, for a bounded time; nobody else does.
//   - An account that does not exist answers like one with a wrong password, in
//     form and in time.
package auth

import (
	"errors"

	"mellium.im/sasl"

	"confab/xmpp"
)

// exchange runs one of mellium's mechanisms as an xmpp.Exchange.
type exchange struct {
	neg     *sasl.Negotiator
	account func() xmpp.Account
	// failed is the failure of our own callbacks, which mellium can't carry.
	failed *error
	done   func() // the login succeeded; may be nil
}

func (e *exchange) Step(in []byte) ([]byte, bool, error) {
	more, out, err := e.neg.Step(in)
	switch {
	case e.failed != nil && *e.failed != nil:
		return nil, false, *e.failed
	case errors.Is(err, sasl.ErrInvalidChallenge), errors.Is(err, sasl.ErrTooManySteps):
		return nil, false, &xmpp.SASLFailure{Cond: xmpp.SASLMalformed}
	case err != nil:
		return nil, false, &xmpp.SASLFailure{Cond: xmpp.SASLNotAuthorized}
	}
	if !more && e.done != nil {
		e.done()
	}
	return out, !more, nil
}

func (e *exchange) Account() xmpp.Account { return e.account() }
