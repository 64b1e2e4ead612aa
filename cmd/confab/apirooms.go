package main

// The rooms as the HTTP interface sees them.

import (
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"confab/focus"
	"confab/muc"
	"confab/muc/services"
	"confab/web/api"
	"confab/xmpp"
)

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
