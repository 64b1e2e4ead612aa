package xmpp

import (
	"log/slog"
	"net/http"
	"strings"
)

// Attrs is what the URL and the headers of the request that opened a session
// say (room-services.md §4.1). None of it is verified.
type Attrs struct {
	Room           string // room name without tenant
	Prefix         string // tenant, set by our web front from the path
	PrevID         string // stream-management id of the connection before; a secret
	Token          string // JWT; a secret
	CustomUsername string
	Region         string
	UserAgent      string
}

// maxUserAgent bounds what is kept of a header for the log.
const maxUserAgent = 256

// AttrsOf reads the attributes of a WebSocket or BOSH request.
func AttrsOf(r *http.Request) Attrs {
	q := r.URL.Query()
	a := Attrs{
		Room:           q.Get("room"),
		Prefix:         NormalTenant(q.Get("prefix")),
		PrevID:         q.Get("previd"),
		Token:          q.Get("token"),
		CustomUsername: q.Get("customusername"),
		Region:         r.Header.Get("X-Proxy-Region"),
		UserAgent:      r.UserAgent(),
	}
	if len(a.UserAgent) > maxUserAgent {
		a.UserAgent = strings.ToValidUTF8(a.UserAgent[:maxUserAgent], "")
	}
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok && a.Token == "" {
		a.Token = bearer
	}
	return a
}

// NormalTenant is a tenant as config.js writes it into addresses: the path says
// My.Team, hosts.muc says my_team (room-services.md §4.1).
func NormalTenant(prefix string) string {
	return strings.ReplaceAll(strings.ToLower(prefix), ".", "_")
}

// merge is a with what the connection that resumed the session says.
func (a Attrs) merge(b Attrs) Attrs {
	for _, f := range []struct{ old, now *string }{
		{&a.Room, &b.Room}, {&a.Prefix, &b.Prefix}, {&a.Token, &b.Token},
		{&a.CustomUsername, &b.CustomUsername}, {&a.Region, &b.Region}, {&a.UserAgent, &b.UserAgent},
	} {
		if *f.now != "" {
			*f.old = *f.now
		}
	}
	return a
}

// LogValue leaves the secrets out.
func (a Attrs) LogValue() slog.Value {
	return slog.GroupValue(slog.String("room", a.Room), slog.String("prefix", a.Prefix), slog.String("agent", a.UserAgent))
}
