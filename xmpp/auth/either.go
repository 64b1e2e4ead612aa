package auth

import (
	"context"
	"slices"

	"confab/xmpp"
)

// Either offers the mechanisms of several authenticators on one host: guests come
// in without a name, hosts log in with theirs.
type Either []xmpp.Authenticator

// Mechanisms implements xmpp.Authenticator.
func (e Either) Mechanisms(p *xmpp.Peer) []string {
	var out []string
	for _, a := range e {
		out = append(out, a.Mechanisms(p)...)
	}
	return out
}

// Start implements xmpp.Authenticator.
func (e Either) Start(ctx context.Context, p *xmpp.Peer, mechanism string) (xmpp.Exchange, error) {
	for _, a := range e {
		if slices.Contains(a.Mechanisms(p), mechanism) {
			return a.Start(ctx, p, mechanism)
		}
	}
	return nil, &xmpp.SASLFailure{Cond: xmpp.SASLInvalidMechanism}
}
