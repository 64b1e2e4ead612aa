package main

// The HTTP interface: who may use it, and how it finds rooms.

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"

	"confab/bridge"
	"confab/cmd/confab/config"
	"confab/muc"
	"confab/web/api"
	"confab/xmpp"
)

// buildAPI makes the HTTP interface for hosts.
func (s *server) buildAPI() error {
	c := api.Config{
		Backend: apiBackend{s}, Relay: apiRelay{s}, Accounts: apiAccounts{s}, Keys: s.apiKeys,
		Rate: float64(s.cfg.Limits.RequestsPerIP), Burst: 10 * s.cfg.Limits.RequestsPerIP,
		Token: func(ctx context.Context, token, room string) bool {
			j, err := apiBackend{s}.roomJID(room)
			return err == nil && s.verifyToken(ctx, token, j)
		},
		Exempt: s.exempt, Tries: s.cfg.Limits.PasswordTries, Log: s.logs.of("api"),
	}
	s.setAPIKeys(s.cfg)
	s.api = api.New(c)
	return nil
}

// apiKeys are the keys of the configuration as of now.
func (s *server) apiKeys() []string {
	if keys := s.keys.Load(); keys != nil {
		return *keys
	}
	return nil
}

func (s *server) setAPIKeys(c config.Config) {
	var keys []string
	for _, k := range c.Admin.APIKeys {
		keys = append(keys, string(k))
	}
	s.keys.Store(&keys)
}

// apiAccounts checks the logins of hosts as the XMPP side does, with its limits.
type apiAccounts struct{ s *server }

func (a apiAccounts) Login(ctx context.Context, from netip.Addr, user, password string) (host bool, err error) {
	account, err := a.s.sessions.Login(ctx, a.s.names.domain, from, user, password)
	switch {
	case errors.Is(err, xmpp.ErrTries):
		return false, api.ErrTries
	case err == nil:
		return account.Host, nil
	}
	if _, refused := errors.AsType[*xmpp.SASLFailure](err); refused {
		return false, api.ErrWrongPassword
	}
	// The cause may quote keys: package accounts has logged it.
	return false, errors.New("accounts can't be read")
}

// apiBackend is what the HTTP interface does.
type apiBackend struct{ s *server }

func notFound(what string) error { return &api.Detail{Err: api.ErrNotFound, Text: what} }

func noRoom() error { return notFound("There is no such meeting.") }

// roomJID is the address of a room that people name: room, [tenant]room, or either as
// an address.
func (b apiBackend) roomJID(name string) (xmpp.JID, error) {
	rooms, tenant := b.s.rooms, ""
	bad := &api.Detail{Err: api.ErrInvalid, Text: "This is no name of a room."}
	if rest, ok := strings.CutPrefix(name, "["); ok {
		if tenant, name, ok = strings.Cut(rest, "]"); !ok || tenant == "" || xmpp.NormalTenant(tenant) == "" {
			return xmpp.JID{}, bad
		}
		tenant = xmpp.NormalTenant(tenant)
	}
	local, domain, addressed := strings.Cut(name, "@")
	if !addressed {
		domain = rooms.Domain().Domain
	}
	if tenant != "" {
		if !strings.EqualFold(domain, rooms.Domain().Domain) {
			return xmpp.JID{}, bad
		}
		domain = rooms.TenantDomain(tenant)
	}
	j, err := xmpp.ParseJID(local + "@" + domain)
	if err != nil || !j.IsBare() || j.Local == "" {
		return xmpp.JID{}, bad
	}
	if j.Domain != rooms.Domain().Domain && rooms.TenantOf(j) == "" {
		return xmpp.JID{}, noRoom()
	}
	return j, nil
}

// roomName is the name under which people know a room: room or [tenant]room.
func (b apiBackend) roomName(j xmpp.JID) string {
	if t := b.s.rooms.TenantOf(j); t != "" {
		return "[" + t + "]" + j.Local
	}
	return j.Local
}

// do runs fn in a room.
func (b apiBackend) do(ctx context.Context, name string, fn func(*muc.Room) error) error {
	j, err := b.roomJID(name)
	if err != nil {
		return err
	}
	return b.in(ctx, j, fn)
}

func (b apiBackend) in(ctx context.Context, j xmpp.JID, fn func(*muc.Room) error) error {
	var result error
	err := b.s.rooms.Do(ctx, j, func(r *muc.Room) {
		if result = noRoom(); r.Live() {
			result = asAPI(fn(r))
		}
	})
	se, refused := errors.AsType[*xmpp.StanzaError](err)
	switch {
	case err == nil:
		return result
	case refused && se.Cond == xmpp.CondItemNotFound:
		return noRoom()
	case refused && se.Cond == xmpp.CondServiceUnavailable:
		return &api.Detail{Err: api.ErrUnavailable, Text: "The server is about to stop."}
	}
	return err // the room broke, or fn may still be running
}

// asAPI translates what a room refuses.
func asAPI(err error) error {
	se, ok := errors.AsType[*xmpp.StanzaError](err)
	if !ok {
		return err
	}
	kind := api.ErrConflict
	switch se.Cond {
	case xmpp.CondItemNotFound:
		kind = api.ErrNotFound
	case xmpp.CondBadRequest, xmpp.CondJIDMalformed, xmpp.CondNotAcceptable:
		kind = api.ErrInvalid
	}
	return &api.Detail{Err: kind, Text: cmp.Or(se.Text, "The room refuses this.")}
}

// health says of a room that it is one of the focus's tests.
func health(j xmpp.JID) bool { return strings.HasPrefix(j.Local, "__jicofo-health-check") }

func (b apiBackend) Sessions() int {
	st := b.s.sessions.Stats()
	n := int(st.Detached)
	for _, c := range st.Connected {
		n += int(c)
	}
	return n
}

// states are those of jitsi-videobridge.
var states = map[bridge.State]string{
	bridge.Running: "running", bridge.GracefulShutdown: "graceful_shutdown", bridge.ShuttingDown: "shutting_down",
}

func (b apiBackend) Node() api.Node {
	return api.Node{State: states[b.s.bridge.State()], Drain: b.s.bridge.Draining(), Participants: b.s.bridge.Stats().Endpoints}
}

func (b apiBackend) Drain(on bool) { b.s.bridge.Drain(on) }

func (b apiBackend) Shutdown(graceful bool) {
	if graceful {
		b.s.bridge.Shutdown(true)
		return
	}
	b.s.logs.of("main").Info("shutdown asked for", "graceful", false)
	b.s.stop()
}

// TURN has the credentials of a user of its own for name.
func (b apiBackend) TURN(name string) (out []api.ICEServer) {
	for _, e := range b.s.ice.Entries(xmpp.JID{Domain: b.s.names.auth, Resource: "api " + name}) {
		i := api.ICEServer{
			Type: e.Type, Host: e.Host, Port: e.Port, Transport: e.Transport,
			Username: e.Username, Password: e.Password, Restricted: e.Password != "",
		}
		if !e.Expires.IsZero() {
			i.Expires = e.Expires.Unix()
		}
		out = append(out, i)
	}
	return out
}

// adminHandlers are the pages of the HTTP interface on the admin listener.
func (s *server) adminHandlers() map[string]http.Handler {
	out := map[string]http.Handler{api.Prefix + "/": s.api}
	if s.cfg.Admin.StockPaths {
		for pattern, h := range s.api.StockHandlers() {
			out[pattern] = h
		}
	}
	return out
}
