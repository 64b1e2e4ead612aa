package xmpp

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/netip"
	"time"
)

// Config is what a Server needs to know. Zero limits and times take the values
// of DefaultConfig.
type Config struct {
	// Hosts are the domains that clients may log in to. The first is the main
	// one: its identities are pushed to the clients of all.
	Hosts []LoginHost
	// TLS is used for STARTTLS; without it TCP serves loopback clients only.
	TLS *tls.Config
	// Origins are the web origins that may open WebSockets and use BOSH
	// (web.origins); host patterns, none or "*" means any.
	Origins []string
	// RemoteAddr finds the client's address when proxies are trusted; nil takes
	// the peer of the connection.
	RemoteAddr func(*http.Request) netip.Addr
	// Secure says whether a request came over TLS; nil looks at the connection.
	Secure func(*http.Request) bool
	// Promised is the name under which a client may log in because it has been promised
	// to it, of those that its URL claims, or ""; nil promises none. It must not wait.
	Promised func(Attrs) string
	// PushServices sends disco#info and the STUN and TURN servers to web clients
	// just before bind ends (xmpp.push_services).
	PushServices bool

	// Stanza bounds one element of a logged-in client (limits.stanza), and
	// StanzaUnauthenticated its size in bytes before login.
	Stanza                Limits
	StanzaUnauthenticated int
	// QueuedStanzas and QueuedBytes bound what waits for a client, and likewise
	// what it has not acknowledged (architecture §5.5).
	QueuedStanzas, QueuedBytes int
	// DirectedPresences bounds the addresses that a session may have shown its
	// presence to, RFC 6121 §4.6: each costs a stanza when it ends.
	DirectedPresences int
	// AckEvery is after how many stanzas an acknowledgement is asked for.
	AckEvery int

	WriteTimeout       time.Duration // of one write to a socket
	NegotiationTimeout time.Duration // from accept to bind
	IdleTimeout        time.Duration // xmpp.idle_timeout: silence that ends a connection
	ResumeTimeout      time.Duration // xmpp.resume_timeout: a lost session keeps its places
	ShutdownTimeout    time.Duration // for saying good-bye to all

	// Token buckets of this size, refilled by half per second; a client that
	// empties one is read more slowly, nothing is dropped (limits.*_rate).
	LoginRate, PresenceRate, IQRate, MessageRate int
	// CommandRate is another such bucket (limits.command_rate): of messages to the
	// domains in Commands, services to which one click of a moderator sends a message
	// for each of many people.
	CommandRate int
	Commands    []string
	// ByteRate is how many bytes a second a session may send on average
	// (limits.byte_rate), of whatever kind; one stanza of the greatest size, or a
	// second's worth if that is more, may come at once.
	ByteRate int
	// LoginDelay is the longest that a connection waits for LoginRate.
	LoginDelay time.Duration
	// ConnectionsPerAddress bounds the connections of one address
	// (limits.connections_per_ip); IPv6 addresses count by /64.
	ConnectionsPerAddress int
	// Exempt addresses have no rates and no bound on connections (limits.exempt).
	Exempt []netip.Prefix
	// Wrong passwords (limits.password_tries): of one stream before it is closed,
	// of one address per minute before it is refused, of one account per minute
	// before each further one is answered PasswordDelay late.
	TriesPerStream, TriesPerAddress, TriesPerAccount int
	PasswordDelay                                    time.Duration

	// BOSHWait and BOSHInactivity are the longest wait and inactivity of XEP-0124
	// §7.1, and BOSHSessions bounds the sessions.
	BOSHWait, BOSHInactivity time.Duration
	BOSHSessions             int

	Log *slog.Logger
}

// LoginHost is a domain that clients log in to.
type LoginHost struct {
	Host *Host
	Auth Authenticator
	// Tailor is what is announced to user in particular; nil announces the same to all.
	// Of all hosts that of the first counts, and of those with Own. It must not wait.
	Tailor func(user JID, d DiscoInfo) DiscoInfo
	// Own makes clients of this host be pushed what it announces, not the first.
	Own bool
	// Services encodes the <services xmlns="urn:xmpp:extdisco:2"> element with
	// fresh credentials for user; nil pushes none.
	Services func(user JID) string
}

// DefaultConfig holds the defaults of reference/deployment.md §15.
func DefaultConfig() Config {
	return Config{
		PushServices:          true,
		Stanza:                DefaultLimits,
		StanzaUnauthenticated: 16 << 10,
		QueuedStanzas:         4096,
		QueuedBytes:           2 << 20,
		DirectedPresences:     64,
		AckEvery:              8,
		WriteTimeout:          15 * time.Second,
		NegotiationTimeout:    30 * time.Second,
		IdleTimeout:           30 * time.Second,
		ResumeTimeout:         time.Minute,
		ShutdownTimeout:       3 * time.Second,
		LoginRate:             3,
		PresenceRate:          4,
		IQRate:                15,
		MessageRate:           3,
		CommandRate:           500,
		ByteRate:              20_000,
		LoginDelay:            5 * time.Second,
		ConnectionsPerAddress: 500,
		Exempt:                []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
		TriesPerStream:        5,
		TriesPerAddress:       10,
		TriesPerAccount:       5,
		PasswordDelay:         time.Second,
		BOSHWait:              time.Minute,
		BOSHInactivity:        time.Minute,
		BOSHSessions:          10000,
		Log:                   slog.New(slog.DiscardHandler),
	}
}

func (c Config) orDefault() Config {
	d := DefaultConfig()
	c.Stanza = c.Stanza.orDefault()
	for _, p := range []struct {
		v *int
		d int
	}{
		{&c.StanzaUnauthenticated, d.StanzaUnauthenticated}, {&c.QueuedStanzas, d.QueuedStanzas},
		{&c.QueuedBytes, d.QueuedBytes}, {&c.DirectedPresences, d.DirectedPresences}, {&c.AckEvery, d.AckEvery},
		{&c.LoginRate, d.LoginRate}, {&c.PresenceRate, d.PresenceRate}, {&c.IQRate, d.IQRate},
		{&c.MessageRate, d.MessageRate}, {&c.CommandRate, d.CommandRate}, {&c.ByteRate, d.ByteRate}, {&c.ConnectionsPerAddress, d.ConnectionsPerAddress},
		{&c.TriesPerStream, d.TriesPerStream}, {&c.TriesPerAddress, d.TriesPerAddress},
		{&c.TriesPerAccount, d.TriesPerAccount}, {&c.BOSHSessions, d.BOSHSessions},
	} {
		if *p.v == 0 {
			*p.v = p.d
		}
	}
	for _, p := range []struct{ v, d *time.Duration }{
		{&c.WriteTimeout, &d.WriteTimeout}, {&c.NegotiationTimeout, &d.NegotiationTimeout},
		{&c.IdleTimeout, &d.IdleTimeout}, {&c.ResumeTimeout, &d.ResumeTimeout},
		{&c.ShutdownTimeout, &d.ShutdownTimeout}, {&c.LoginDelay, &d.LoginDelay},
		{&c.PasswordDelay, &d.PasswordDelay}, {&c.BOSHWait, &d.BOSHWait}, {&c.BOSHInactivity, &d.BOSHInactivity},
	} {
		if *p.v == 0 {
			*p.v = *p.d
		}
	}
	if c.Log == nil {
		c.Log = d.Log
	}
	return c
}
