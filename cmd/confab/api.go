package main

// The rooms as the HTTP interface sees them.

import (
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"confab/focus"
	"confab/muc"
	"confab/muc/presets"
	"confab/muc/services"
	"confab/storage"
	"confab/web/api"
	"confab/xmpp"
)

// buildAPI makes the HTTP interface for hosts.
func (s *server) buildAPI() error {
	c := api.Config{
		Backend: apiBackend{s}, Accounts: apiAccounts{s}, Keys: s.apiKeys,
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

// openPresets reads what hosts have settled about rooms.
func (s *server) openPresets() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s.presets, err = presets.Open(ctx, s.cfg.Rooms.Presets, presetDisk{s.storage})
	return err
}

// apiKeys are the keys of the configuration as of now.
func (s *server) apiKeys() []string {
	if keys := s.keys.Load(); keys != nil {
		return *keys
	}
	return nil
}

func (s *server) setAPIKeys(c Config) {
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

func (b apiBackend) describe(r *muc.Room) api.Room {
	out := api.Room{
		Name: b.roomName(r.JID()), Tenant: r.Tenant(), JID: r.JID().String(), MeetingID: r.MeetingID(), Subject: r.Subject(),
		Participants: r.People(), Occupants: len(r.Occupants()), MaxOccupants: r.MaxOccupants(),
		PasswordProtected: r.Password() != "", Lobby: r.MembersOnly(), Internal: b.internal(r.JID()),
	}
	if ms, err := strconv.ParseInt(r.Created(), 10, 64); err == nil {
		at := time.UnixMilli(ms).UTC()
		out.CreatedAt = &at
	}
	alive := 0
	for _, o := range r.Occupants() {
		for _, t := range o.Seats {
			if _, ok := b.s.router.Port(t.Real); ok && o.Person() {
				alive++
			}
		}
	}
	out.Leaked = out.Participants > 0 && alive == 0
	return out
}

// internal is the address as Prosody's modules write it.
func (b apiBackend) internal(j xmpp.JID) string {
	return b.roomName(j) + "@" + b.s.rooms.Domain().Domain
}

func (b apiBackend) Rooms(ctx context.Context, tenant, after string, limit int) ([]api.Room, bool, error) {
	type named struct {
		name string
		jid  xmpp.JID
	}
	var all []named
	tenant = xmpp.NormalTenant(tenant)
	for _, j := range b.s.rooms.Rooms() {
		name := b.roomName(j)
		if health(j) || tenant != "" && b.s.rooms.TenantOf(j) != tenant || after != "" && name <= after {
			continue
		}
		all = append(all, named{name, j})
	}
	slices.SortFunc(all, func(x, y named) int { return cmp.Compare(x.name, y.name) })
	more := len(all) > limit
	if more {
		all = all[:limit]
	}
	// Rooms are asked side by side: one that is slow holds up no others.
	list := make([]*api.Room, len(all))
	var wg sync.WaitGroup
	for part := range roomWorkers {
		wg.Go(func() {
			for i := part; i < len(all); i += roomWorkers {
				one, cancel := context.WithTimeout(ctx, roomPatience)
				var room api.Room
				if b.in(one, all[i].jid, func(r *muc.Room) error { room = b.describe(r); return nil }) == nil {
					list[i] = &room
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	var out []api.Room
	for _, r := range list {
		if r != nil { // one that has just ended is not listed
			out = append(out, *r)
		}
	}
	return out, more, nil
}

const (
	roomWorkers  = 8
	roomPatience = time.Second
)

func (b apiBackend) Room(ctx context.Context, room string) (out api.Room, err error) {
	err = b.do(ctx, room, func(r *muc.Room) error { out = b.describe(r); return nil })
	return out, err
}

// Namespaces that tell what an occupant is.
const (
	nsJigasi = "http://jitsi.org/protocol/jigasi"
)

func (b apiBackend) Occupants(ctx context.Context, room string) (out []api.Occupant, err error) {
	err = b.do(ctx, room, func(r *muc.Room) error {
		for _, in := range r.Inside() {
			for _, o := range in.Occupants() {
				if in == r || !o.Admin() {
					out = append(out, b.occupant(in, o))
				}
			}
		}
		return nil
	})
	return out, err
}

func (b apiBackend) occupant(r *muc.Room, o *muc.Occupant) api.Occupant {
	name, _ := o.Name()
	a := api.Occupant{
		Nick: o.Nick, JID: o.JID().String(), DisplayName: name, Email: o.Text(xmpp.NSClient, "email"),
		Role: o.Role.String(), Affiliation: o.Aff.String(), Person: o.Person(), Connections: []string{},
		Focus: o.Admin(), Stock: b.internal(r.JID()) + "/" + o.Nick,
	}
	if r.Main() != r {
		a.Breakout = r.JID().String()
	}
	if o.Has(nsJigasi, "initiator") {
		a.Phone = name
	}
	for _, t := range o.Seats {
		a.Connections = append(a.Connections, t.Real.String())
	}
	return a
}

// named is whoever has a nick in a meeting, and the room that it is in: breakout rooms
// and the main room share their nicks.
func named(r *muc.Room, nick string) (in *muc.Room, o *muc.Occupant) {
	for _, in := range r.Inside() {
		if o := in.Occupant(nick); o != nil && (in == r || !o.Admin()) {
			return in, o
		}
	}
	return nil, nil
}

func (b apiBackend) Kick(ctx context.Context, room, nick, reason string) error {
	return b.do(ctx, room, func(r *muc.Room) error {
		in, o := named(r, nick)
		switch {
		case o == nil:
			return notFound("There is nobody of that name.")
		case o.Admin():
			return &api.Detail{Err: api.ErrConflict, Text: "The focus can't be removed."}
		}
		in.Kick(o, nil, reason)
		return nil
	})
}

func (b apiBackend) End(ctx context.Context, room string, e api.End) error {
	return b.do(ctx, room, func(r *muc.Room) error {
		var to xmpp.JID
		if e.Silent { // LJM: a destroyed room that names itself is entered again
			to = r.JID()
			e.Reason = cmp.Or(e.Reason, "The meeting has been terminated silently")
		}
		r.Destroy(to, cmp.Or(e.Reason, "The meeting has been terminated"), nil)
		return nil
	})
}

func (b apiBackend) Say(ctx context.Context, room string, m api.Message) (sent int, err error) {
	err = b.do(ctx, room, func(r *muc.Room) error {
		to := map[*muc.Room][]*muc.Occupant{} // clients take it from the room that they are in
		add := func(in *muc.Room, o *muc.Occupant) {
			if !slices.Contains(to[in], o) {
				to[in] = append(to[in], o)
				sent++
			}
		}
		switch {
		case m.ByAddress:
			for _, address := range m.Connections {
				if j, err := xmpp.ParseJID(address); err == nil {
					if in, t := r.Find(j); t != nil && !t.Occ().Admin() {
						add(in, t.Occ())
					}
				}
			}
		case m.Nicks == nil:
			for _, in := range r.Inside() {
				for _, o := range in.Occupants() {
					if o.Person() {
						add(in, o)
					}
				}
			}
		default:
			for _, nick := range m.Nicks {
				in, o := named(r, nick)
				if o == nil || o.Admin() {
					return notFound("There is nobody called " + strconv.Quote(nick) + ".")
				}
				add(in, o)
			}
		}
		for in, list := range to {
			if err := services.SystemMessage(in, list, m.Text, m.DisplayName); err != nil {
				return err
			}
		}
		return nil
	})
	return sent, err
}

func (b apiBackend) SetPassword(ctx context.Context, room, password string) error {
	return b.do(ctx, room, func(r *muc.Room) error { r.SetPassword(password); return nil })
}

func (b apiBackend) CheckPassword(ctx context.Context, room, password string) (right bool, err error) {
	err = b.do(ctx, room, func(r *muc.Room) error {
		right = r.Password() != "" && subtle.ConstantTimeCompare([]byte(r.Password()), []byte(password)) == 1
		return nil
	})
	return right, err
}

func (b apiBackend) SetLobby(ctx context.Context, room string, on bool) error {
	return b.do(ctx, room, func(r *muc.Room) error {
		l := services.LobbyOf(r)
		switch {
		case l == nil:
			return &api.Detail{Err: api.ErrConflict, Text: "This server has no lobbies (rooms.lobby)."}
		case on == r.MembersOnly():
		case on:
			return l.Open(r)
		default:
			r.SetMembersOnly(false, nil)
		}
		return nil
	})
}

func (b apiBackend) SetMaxOccupants(ctx context.Context, room string, n int) error {
	return b.do(ctx, room, func(r *muc.Room) error { r.SetMaxOccupants(n); return nil })
}

// metadata is the room's service of that name.
func metadata(r *muc.Room) (*services.Metadata, error) {
	m, ok := r.Service(services.MetadataName).(*services.Metadata)
	if !ok {
		return nil, &api.Detail{Err: api.ErrUnavailable, Text: "Rooms have no metadata."}
	}
	return m, nil
}

func (b apiBackend) Metadata(ctx context.Context, room string) (out map[string]json.RawMessage, err error) {
	err = b.do(ctx, room, func(r *muc.Room) error {
		m, err := metadata(r)
		if err == nil {
			out = m.Object()
		}
		return err
	})
	return out, err
}

func (b apiBackend) SetMetadata(ctx context.Context, room string, change map[string]json.RawMessage) error {
	return b.do(ctx, room, func(r *muc.Room) error {
		m, err := metadata(r)
		if err == nil {
			err = m.Change(r, change)
		}
		return err
	})
}

func (b apiBackend) Dial(ctx context.Context, room, number string) error {
	j, err := b.roomJID(room)
	if err != nil {
		return err
	}
	err = b.s.focus.Dial(ctx, j, number)
	switch {
	case errors.Is(err, focus.ErrNoGateway):
		return api.ErrNoGateway
	case errors.Is(err, focus.ErrNoBrewery):
		return api.ErrNoBrewery
	case errors.Is(err, focus.ErrNoConference):
		return noRoom()
	case errors.Is(err, xmpp.ErrTimeout):
		return &api.Detail{Err: api.ErrUnavailable, Text: "The gateway does not answer."}
	}
	return asAPI(err)
}

func (b apiBackend) preset(p presets.Preset) api.Preset {
	q := p.Policy
	return api.Preset{
		Room: b.roomName(p.Room), Subject: q.Subject, Password: q.Password, MaxOccupants: q.MaxOccupants,
		Lobby: q.Lobby, LobbyDisabled: q.NoLobby, Moderators: q.Moderators, Members: q.Members,
		AllModerators: q.AllModerators, TokensOnly: q.NoGuests, Muted: q.Muted, HideNames: q.HideNames, ExpiresAt: p.ExpiresAt,
	}
}

func (b apiBackend) Presets(context.Context) (out []api.Preset, err error) {
	for _, p := range b.s.presets.List() {
		out = append(out, b.preset(p))
	}
	return out, nil
}

func noPreset() error { return notFound("Nothing is settled about this room.") }

func (b apiBackend) Preset(_ context.Context, room string) (api.Preset, error) {
	j, err := b.roomJID(room)
	if err != nil {
		return api.Preset{}, err
	}
	p, ok := b.s.presets.Get(j)
	if !ok {
		return api.Preset{}, noPreset()
	}
	return b.preset(p), nil
}

func (b apiBackend) SetPreset(ctx context.Context, p api.Preset) (stored api.Preset, made bool, err error) {
	j, err := b.roomJID(p.Room)
	if err != nil {
		return api.Preset{}, false, err
	}
	for _, list := range [][]string{p.Moderators, p.Members} {
		for i, who := range list {
			if strings.Contains(who, "@") {
				account, err := xmpp.ParseJID(who)
				if err != nil || !account.IsBare() {
					return api.Preset{}, false, &api.Detail{Err: api.ErrInvalid, Text: strconv.Quote(who) + " is no address of an account."}
				}
				list[i] = account.String()
			}
		}
	}
	next := presets.Preset{Room: j, ExpiresAt: p.ExpiresAt, Policy: muc.RoomPolicy{
		Subject: p.Subject, Password: p.Password, MaxOccupants: p.MaxOccupants, Lobby: p.Lobby, NoLobby: p.LobbyDisabled,
		Moderators: p.Moderators, Members: p.Members, AllModerators: p.AllModerators, NoGuests: p.TokensOnly, Muted: p.Muted, HideNames: p.HideNames,
	}}
	made, err = b.s.presets.Set(ctx, next)
	if errors.Is(err, presets.ErrFull) {
		err = &api.Detail{Err: api.ErrConflict, Text: "There are too many presets (rooms.presets)."}
	}
	return b.preset(next), made, err
}

func (b apiBackend) DeletePreset(ctx context.Context, room string) error {
	j, err := b.roomJID(room)
	if err != nil {
		return err
	}
	was, err := b.s.presets.Delete(ctx, j)
	if err == nil && !was {
		err = noPreset()
	}
	return err
}

func (b apiBackend) Sessions() int {
	st := b.s.sessions.Stats()
	n := int(st.Detached)
	for _, c := range st.Connected {
		n += int(c)
	}
	return n
}

// TURN has the credentials of a user of its own for name.
func (b apiBackend) TURN(name string) (out []api.ICEServer) {
	user := xmpp.JID{Domain: b.s.names.auth, Resource: "api " + name}
	for _, m := range b.s.iceServers().Metadata(user) {
		port, _ := strconv.Atoi(m["port"]) // a number of ours
		e := api.ICEServer{
			Type: m["type"], Host: m["host"], Port: port, Transport: m["transport"],
			Username: m["username"], Password: m["password"], Restricted: m["restricted"] != "",
		}
		if at, err := time.Parse(time.RFC3339, m["expires"]); err == nil {
			e.Expires = at.Unix()
		}
		out = append(out, e)
	}
	return out
}

// presetsKey is the setting that presets are kept in.
const presetsKey = "presets"

// presetDisk keeps presets in the database.
type presetDisk struct{ st Storage }

func (d presetDisk) Load(ctx context.Context) (string, error) {
	text, err := d.st.Setting(ctx, presetsKey)
	if errors.Is(err, storage.ErrNotFound) {
		return "", nil
	}
	return text, err
}

func (d presetDisk) Save(ctx context.Context, text string) error {
	return d.st.SetSetting(ctx, presetsKey, text)
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
