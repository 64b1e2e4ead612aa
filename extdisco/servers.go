// Package extdisco tells clients which STUN and TURN servers to use, with
// time-limited credentials made from the shared secret (XEP-0215).
//
// Rules of this package:
//   - The list is built in one place and used four times: the XEP-0215 answer,
//     the push message before bind, the first room metadata, HTTP.
//   - An empty list is never answered: LJM replaces its own list by ours.
//   - Credentials go to sessions of this server only.
package extdisco

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"strconv"
	"strings"
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
	// Username and Password are static credentials, passed on unchanged.
	Username, Password string
	// TTL overrides the list's.
	TTL time.Duration
}

// restricted reports whether the server wants credentials.
func (s Server) restricted() bool { return s.Type != "stun" }

// List makes the entries for a session.
type List struct {
	servers []Server
	secrets credential.Secrets
	ttl     time.Duration
	// sessionKey hides session addresses in usernames: those travel in clear.
	sessionKey []byte
	now        func() time.Time
}

// NewList returns the list that is told to every session. idKey keys the hash
// that turns a session's address into the id part of its usernames.
func NewList(servers []Server, secrets credential.Secrets, ttl time.Duration, idKey []byte) *List {
	return &List{servers: servers, secrets: secrets, ttl: ttl, sessionKey: idKey, now: time.Now}
}

// entry is a server with the credentials for one session.
type entry struct {
	Server
	expires time.Time
}

// entries mints for a session. All entries of one answer share the username of
// each secret, so that the quota counts the session once.
func (l *List) entries(user xmpp.JID) []entry {
	out := make([]entry, 0, len(l.servers))
	now := l.now()
	id := l.id(user)
	for _, s := range l.servers {
		e := entry{Server: s}
		if s.restricted() && s.Password == "" {
			secrets, ttl := l.secrets, l.ttl
			if s.Secret != "" {
				secrets = credential.Secrets{s.Secret}
			}
			if s.TTL > 0 {
				ttl = s.TTL
			}
			c, err := secrets.Mint(now, ttl, id)
			if err != nil {
				continue // without a secret the relay is off; STUN is still told
			}
			e.Username, e.Password, e.expires = c.Username, c.Password, c.Expires
		}
		out = append(out, e)
	}
	return out
}

func (l *List) id(user xmpp.JID) string {
	mac := hmac.New(sha256.New, l.sessionKey)
	mac.Write([]byte(user.String()))
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(mac.Sum(nil)[:6]))
}

// Metadata is the list as room metadata carries it: all values are strings
// (client-signaling.md §10.10). It is nil when there is nothing to tell.
func (l *List) Metadata(user xmpp.JID) []map[string]string {
	var out []map[string]string
	for _, e := range l.entries(user) {
		m := map[string]string{"type": e.Type, "host": e.Host, "port": strconv.Itoa(e.Port), "transport": e.Transport}
		if e.Password != "" {
			m["username"], m["password"], m["restricted"] = e.Username, e.Password, "1"
		}
		if !e.expires.IsZero() {
			m["expires"] = stamp(e.expires)
		}
		out = append(out, m)
	}
	return out
}

// Services is the encoded services element of the push message, or "".
func (l *List) Services(user xmpp.JID) string {
	entries := l.entries(user)
	if len(entries) == 0 {
		return ""
	}
	var enc xmpp.Enc
	enc.Start("services", NS2)
	encode(&enc, entries)
	return enc.End().String()
}

func encode(enc *xmpp.Enc, entries []entry) {
	for _, e := range entries {
		enc.Start("service", "").Attr("type", e.Type).Attr("host", e.Host).Attr("port", strconv.Itoa(e.Port)).AttrIf("transport", e.Transport)
		if e.Password != "" {
			enc.Attr("username", e.Username).Attr("password", e.Password).Attr("restricted", "1")
		}
		if !e.expires.IsZero() {
			enc.Attr("expires", stamp(e.expires))
		}
		enc.End()
	}
}

// stamp is XEP-0082 UTC with whole seconds.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }
