// Package extdisco tells clients which STUN and TURN servers to use, with
// time-limited credentials made from the shared secret (XEP-0215).
//
// Rules of this package:
//   - The list is built in one place and used four times: the XEP-0215 answer,
//     the push message before bind, the first room metadata, HTTP.
//   - An empty list is never answered: LJM replaces its own list by ours.
//   - Credentials go to sessions of this server only.
//   - The list changes as a whole, while the server runs; probing other servers waits
//     for them on goroutines of its own (health.go).
package extdisco

import (
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"confab/extdisco/credential"
	"confab/xmpp"
)

// Server is one entry of the list ([[turn.servers]]).
type Server struct {
	Type      string // stun, turn, turns
	Host      string
	Port      int
	Transport string // udp or tcp; LJM uses turn and turns for the bridge only with tcp
	// Secret signs the credentials of a relay that is not ours; empty means that
	// the shared secret does.
	Secret string
	// Username and Password are static credentials, passed on unchanged. With a
	// secret, Username is the id part of the credentials (turn.md §3.5).
	Username, Password string
	// TTL overrides the list's.
	TTL time.Duration
	// Own says that it is at this very address, and not probed.
	Own bool
}

// restricted reports whether the server wants credentials.
func (s Server) restricted() bool { return s.Type != "stun" }

// Shared reports whether its credentials are made from the shared secret.
func (s Server) Shared() bool { return s.restricted() && s.Secret == "" && s.Password == "" }

// Settings are what a list is made of; they may change while the server runs.
type Settings struct {
	Servers []Server
	// TTL is how long credentials are valid (turn.ttl).
	TTL time.Duration
	// Access are the bare addresses and domains whose sessions are told; empty: all
	// sessions (turn.access, Prosody's external_service_access).
	Access []xmpp.JID
}

// Reachable knows which servers answer. It does not wait.
type Reachable interface {
	Up(Server) bool
}

// List makes the entries for a session.
type List struct {
	keys     *credential.Keyring
	health   Reachable // nil: all are up
	settings atomic.Pointer[Settings]
	// sessionKey hides session addresses in usernames: those travel in clear.
	sessionKey []byte
	now        func() time.Time
}

// NewList returns the list that is told to every session. keys signs, idKey keys the
// hash that turns a session's address into the id part of its usernames. health may
// be nil.
func NewList(set Settings, keys *credential.Keyring, idKey []byte, health Reachable) *List {
	l := &List{keys: keys, health: health, sessionKey: idKey, now: time.Now}
	l.Set(set)
	return l
}

// Set replaces the settings; what is told from then on is made of them.
func (l *List) Set(set Settings) { l.settings.Store(&set) }

// Entry is a server with the credentials for one session.
type Entry struct {
	Server
	Expires time.Time // zero: never
	signer  string    // what the credentials are made of
}

// allowed reports whether a session may be told the servers.
func (l *List) allowed(user xmpp.JID) bool {
	access := l.settings.Load().Access
	return len(access) == 0 || slices.Contains(access, user.Bare()) || slices.Contains(access, xmpp.JID{Domain: user.Domain})
}

// Entries mints for a session, or for another user that has a name of its own. All
// entries of one answer share the username of each secret, so that the quota counts the
// session once. turn.access is not looked at.
func (l *List) Entries(user xmpp.JID) []Entry {
	set := l.settings.Load()
	out := make([]Entry, 0, len(set.Servers))
	now := l.now()
	id := l.ID(user)
	for _, s := range set.Servers {
		if !s.Own && l.health != nil && !l.health.Up(s) {
			continue
		}
		e := Entry{Server: s, signer: s.Username + "\x00" + s.Password}
		if s.restricted() && s.Password == "" {
			ttl := set.TTL
			if s.TTL > 0 {
				ttl = s.TTL
			}
			mint := l.keys.Mint
			if e.signer = l.keys.Signer(); s.Secret != "" {
				e.signer, mint = s.Secret, credential.Secrets{s.Secret}.Mint
			}
			of := id
			if s.Username != "" {
				of = s.Username
			}
			c, err := mint(now, ttl, of)
			if err != nil {
				continue // without a secret the relay is off; STUN is still told
			}
			e.Username, e.Password, e.Expires = c.Username, c.Password, c.Expires
		}
		out = append(out, e)
	}
	return out
}

// told are the entries for a session, none if it may not have them.
func (l *List) told(user xmpp.JID) []Entry {
	if !l.allowed(user) {
		return nil
	}
	return l.Entries(user)
}

// Metadata is the list as room metadata carries it: all values are strings
// (client-signaling.md §10.10). It is nil when there is nothing to tell.
func (l *List) Metadata(user xmpp.JID) []map[string]string {
	var out []map[string]string
	for _, e := range l.told(user) {
		m := map[string]string{"type": e.Type, "host": e.Host, "port": strconv.Itoa(e.Port), "transport": e.Transport}
		if e.Password != "" {
			m["username"], m["password"], m["restricted"] = e.Username, e.Password, "1"
		}
		if !e.Expires.IsZero() {
			m["expires"] = stamp(e.Expires)
		}
		out = append(out, m)
	}
	return out
}

// Services is the encoded services element of the push message, or "".
func (l *List) Services(user xmpp.JID) string {
	entries := l.told(user)
	if len(entries) == 0 {
		return ""
	}
	var enc xmpp.Enc
	enc.Start("services", NS2)
	for _, e := range entries {
		encode(&enc, e, "")
	}
	return enc.End().String()
}

// encode writes one service. action is that of a push (XEP-0215 §3.2), else "".
func encode(enc *xmpp.Enc, e Entry, action string) {
	enc.Start("service", "").AttrIf("action", action).
		Attr("type", e.Type).Attr("host", e.Host).Attr("port", strconv.Itoa(e.Port)).AttrIf("transport", e.Transport)
	if e.Password != "" {
		enc.Attr("username", e.Username).Attr("password", e.Password).Attr("restricted", "1")
	}
	if !e.Expires.IsZero() {
		enc.Attr("expires", stamp(e.Expires))
	}
	enc.End()
}

// stamp is XEP-0082 UTC with whole seconds.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }
