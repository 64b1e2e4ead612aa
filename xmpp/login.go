package xmpp

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
)

// ErrTries means that an address has no more tries with passwords just now.
var ErrTries = errors.New("too many wrong passwords")

// Login checks the password of an account for whoever logs in by other means than a
// stream, as the HTTP interface does. The limits of limits.password_tries count both
// together; a wrong password is answered late as it is on a stream. The error is
// ErrTries or a *SASLFailure, or that of the accounts, of which only the kind may be
// told.
func (s *Server) Login(ctx context.Context, domain string, remote netip.Addr, user, password string) (Account, error) {
	const plain = "PLAIN"
	h := s.host(domain)
	peer := &Peer{Host: JID{Domain: domain}, Remote: remote, Secure: true}
	if h == nil || h.Auth == nil || !slices.Contains(h.Auth.Mechanisms(peer), plain) {
		return Account{}, &SASLFailure{Cond: SASLInvalidMechanism}
	}
	user, _ = strings.CutSuffix(user, "@"+domain)
	if user == "" || strings.ContainsRune(user+password, 0) {
		return Account{}, &SASLFailure{Cond: SASLNotAuthorized}
	}
	done, ok := s.gate.try(remote)
	if !ok {
		return Account{}, ErrTries
	}
	defer done()
	x, err := h.Auth.Start(ctx, peer, plain)
	if err != nil {
		return Account{}, err
	}
	_, _, err = x.Step([]byte("\x00" + user + "\x00" + password))
	if err == nil {
		return x.Account(), nil
	}
	s.stats.authFailures.Add(1)
	if fail, refused := errors.AsType[*SASLFailure](err); refused && fail.Cond == SASLNotAuthorized {
		account := JID{Local: x.Account().Name, Domain: domain}
		s.log.Info("login failed", "jid", account.String(), "addr", remote.String())
		if err := pause(ctx, s.gate.failed(remote, account)); err != nil {
			return Account{}, err
		}
	}
	return Account{}, err
}
