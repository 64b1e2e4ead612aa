package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"

	"mellium.im/sasl"

	"confab/xmpp"
	"confab/xmpp/scram"
)

// Record is what is kept of an account.
type Record struct {
	Keys scram.Keys
	Host bool // it opens rooms
}

// Accounts finds what is kept of accounts.
type Accounts interface {
	// Account returns the record of user@host, or found false.
	Account(ctx context.Context, user, host string) (r Record, found bool, err error)
}

// Password lets the owners of accounts in: SCRAM-SHA-256, SCRAM-SHA-1, and under
// TLS PLAIN.
type Password struct {
	accounts Accounts
	secret   []byte
	loggedIn func(user, host string)
}

// NewPassword returns an authenticator on accounts. secret makes the salts that
// are shown for accounts that don't exist: it should be the same after a
// restart, or the salts that change tell which accounts are made up. An empty
// one is replaced by a random one. loggedIn, unless nil, is called for each login
// that succeeded, on the goroutine of its connection.
func NewPassword(accounts Accounts, secret []byte, loggedIn func(user, host string)) *Password {
	if len(secret) == 0 {
		secret = make([]byte, 32)
		rand.Read(secret)
	}
	if loggedIn == nil {
		loggedIn = func(string, string) {}
	}
	return &Password{accounts: accounts, secret: secret, loggedIn: loggedIn}
}

// Mechanisms implements xmpp.Authenticator. LJM ranks SCRAM-SHA-1 above PLAIN
// and knows no others.
func (*Password) Mechanisms(p *xmpp.Peer) []string {
	m := []string{sasl.ScramSha256.Name, sasl.ScramSha1.Name}
	if p.Secure {
		m = append(m, sasl.Plain.Name)
	}
	return m
}

// Start implements xmpp.Authenticator.
func (a *Password) Start(ctx context.Context, p *xmpp.Peer, mechanism string) (xmpp.Exchange, error) {
	l := &login{ctx: ctx, a: a, host: p.Host.Domain}
	x := &exchange{account: func() xmpp.Account { return xmpp.Account{Name: l.name, Host: l.opens} }, failed: &l.failed,
		done: func() { a.loggedIn(l.name, l.host) }}
	switch mechanism {
	case sasl.ScramSha256.Name:
		x.neg = sasl.NewServer(scramSHA256(l.keys), nil)
	case sasl.ScramSha1.Name:
		x.neg = sasl.NewServer(scramSHA1(l.keys), nil)
	case sasl.Plain.Name:
		x.neg = sasl.NewServer(sasl.Plain, l.plain)
	default:
		return nil, &xmpp.SASLFailure{Cond: xmpp.SASLInvalidMechanism}
	}
	return x, nil
}

// login is one exchange.
type login struct {
	ctx    context.Context
	a      *Password
	host   string
	name   string
	opens  bool // rooms, as a host
	failed error
}

// keys finds the keys of user. It fails only for names that can't be, for
// somebody else's authzid, and when storage does.
func (l *login) keys(user, authzid string) (scram.Keys, error) {
	j, err := xmpp.ParseJID(user + "@" + l.host)
	if err != nil || j.Resource != "" || j.Domain != l.host {
		return l.fail(&xmpp.SASLFailure{Cond: xmpp.SASLNotAuthorized})
	}
	l.name = j.Local
	// RFC 6120 §6.3.8: the authorisation identity, if any, is the bare address.
	if authzid != "" && authzid != j.String() && authzid != user {
		return l.fail(&xmpp.SASLFailure{Cond: "invalid-authzid"})
	}
	r, found, err := l.a.accounts.Account(l.ctx, j.Local, l.host)
	if err != nil {
		return l.fail(err)
	}
	if !found {
		return l.a.madeUp(j.String()), nil
	}
	l.opens = r.Host
	return r.Keys, nil
}

func (l *login) fail(err error) (scram.Keys, error) {
	l.failed = err
	return scram.Keys{}, err
}

// plain checks the password of PLAIN (RFC 4616). One that belongs to nobody
// costs the same.
func (l *login) plain(n *sasl.Negotiator) bool {
	user, password, authzid := n.Credentials()
	keys, err := l.keys(string(user), string(authzid))
	return err == nil && keys.Verify(string(password))
}

// madeUp are keys of an account that doesn't exist: always the same salt, and
// keys that no password has.
func (a *Password) madeUp(account string) scram.Keys {
	derive := func(what string) []byte {
		m := hmac.New(sha256.New, a.secret)
		m.Write([]byte(what + "\x00" + account))
		return m.Sum(nil)
	}
	return scram.Keys{
		Salt:       derive("salt")[:scram.SaltSize],
		Iterations: scram.Iterations,
		SHA1:       scram.Pair{StoredKey: derive("stored1")[:20], ServerKey: derive("server1")[:20]},
		SHA256:     scram.Pair{StoredKey: derive("stored256"), ServerKey: derive("server256")},
	}
}
