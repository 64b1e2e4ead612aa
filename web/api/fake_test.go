package api

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// fake is a server with rooms in memory.
type fake struct {
	mu       sync.Mutex
	err      error // of every call
	rooms    map[string]*fakeRoom
	presets  map[string]Preset
	full     bool // no more presets
	calls    []string
	password int // checks
	node     Node

	allocations []Allocation
}

type fakeRoom struct {
	Room
	password  string
	occupants []Occupant
	metadata  map[string]json.RawMessage
	said      []Message
	ended     *End
}

func newFake() *fake {
	at := time.Unix(1_700_000_000, 0).UTC()
	allocation := Allocation{ID: "k3v9", Transport: "tls", Client: "192.0.2.7:40000", Server: "192.0.2.1:443", Relayed: []string{"192.0.2.1:50000"}, BeganAt: at, ExpiresAt: at.Add(time.Hour),
		Permissions: 2, Channels: 1, PacketsToPeers: 3, BytesToPeers: 300, PacketsFromPeers: 4, BytesFromPeers: 400}
	second := allocation
	allocation.Number, second.Number = 7, 9
	return &fake{allocations: []Allocation{allocation, second}, node: Node{State: "running", Participants: 3}, presets: map[string]Preset{"standup": {Room: "standup", ExpiresAt: at}}, rooms: map[string]*fakeRoom{
		"standup": {
			Room: Room{Name: "standup", JID: "standup@conference.meet.test", MeetingID: "m", Participants: 1, Occupants: 2, CreatedAt: &at,
				PasswordProtected: true, Internal: "standup@conference.meet.test"},
			password: "s3cret",
			occupants: []Occupant{
				{Nick: "focus", JID: "standup@conference.meet.test/focus", Role: "moderator", Affiliation: "owner", Connections: []string{"focus@auth.meet.test/focus"}, Focus: true, Stock: "standup@conference.meet.test/focus"},
				{Nick: "aaaa1111", JID: "standup@conference.meet.test/aaaa1111", Role: "participant", Affiliation: "none", Person: true, DisplayName: "+4930 Anna", Email: "a@b.c",
					Connections: []string{"u1@meet.test/r"}, Phone: "+4930 Anna", Stock: "standup@conference.meet.test/aaaa1111"},
			},
			metadata: map[string]json.RawMessage{"a": json.RawMessage(`1`)},
		},
		"[acme]standup": {Room: Room{Name: "[acme]standup", Tenant: "acme", JID: "standup@conference.acme.meet.test", Occupants: 1, Internal: "[acme]standup@conference.meet.test", Leaked: true}},
	}}
}

func (f *fake) called(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, what)
}

func (f *fake) room(name string) (*fakeRoom, error) {
	f.called(name)
	name = strings.TrimSuffix(strings.ToLower(name), "@conference.meet.test")
	switch {
	case f.err != nil:
		return nil, f.err
	case name == "[":
		return nil, &Detail{ErrInvalid, "This is no name of a room."}
	case f.rooms[name] == nil:
		return nil, &Detail{ErrNotFound, "There is no such meeting."}
	}
	return f.rooms[name], nil
}

func (f *fake) Rooms(_ context.Context, tenant, after string, limit int) (out []Room, more bool, err error) {
	f.called("list")
	for _, name := range slices.Sorted(maps.Keys(f.rooms)) {
		if r := f.rooms[name]; name > after && (tenant == "" || r.Tenant == tenant) {
			if len(out) == limit {
				return out, true, f.err
			}
			out = append(out, r.Room)
		}
	}
	return out, false, f.err
}

func (f *fake) Room(_ context.Context, room string) (Room, error) {
	r, err := f.room(room)
	if err != nil {
		return Room{}, err
	}
	return r.Room, nil
}

func (f *fake) Occupants(_ context.Context, room string) ([]Occupant, error) {
	r, err := f.room(room)
	if err != nil {
		return nil, err
	}
	return r.occupants, nil
}

func (f *fake) Kick(_ context.Context, room, nick, reason string) error {
	r, err := f.room(room)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(r.occupants, func(o Occupant) bool { return o.Nick == nick })
	switch {
	case i < 0:
		return &Detail{ErrNotFound, "There is nobody of that name."}
	case r.occupants[i].Focus:
		return &Detail{ErrConflict, "The focus can't be removed."}
	}
	r.occupants = slices.Delete(slices.Clone(r.occupants), i, i+1)
	return nil
}

func (f *fake) End(_ context.Context, room string, e End) error {
	r, err := f.room(room)
	if err == nil {
		r.ended = &e
	}
	return err
}

func (f *fake) Say(_ context.Context, room string, m Message) (int, error) {
	r, err := f.room(room)
	if err == nil {
		r.said = append(r.said, m)
	}
	return len(m.Nicks) + len(m.Connections), err
}

func (f *fake) SetPassword(_ context.Context, room, password string) error {
	r, err := f.room(room)
	if err == nil {
		r.password = password
	}
	return err
}

func (f *fake) CheckPassword(_ context.Context, room, password string) (bool, error) {
	r, err := f.room(room)
	if err != nil {
		return false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.password++
	return r.password != "" && r.password == password, nil
}

func (f *fake) SetLobby(_ context.Context, room string, on bool) error {
	r, err := f.room(room)
	if err != nil {
		return err
	}
	if r.Tenant != "" {
		return &Detail{ErrConflict, "This room has no lobby."}
	}
	r.Lobby = on
	return nil
}

func (f *fake) SetMaxOccupants(_ context.Context, room string, n int) error {
	r, err := f.room(room)
	if err == nil {
		r.MaxOccupants = n
	}
	return err
}

func (f *fake) Metadata(_ context.Context, room string) (map[string]json.RawMessage, error) {
	r, err := f.room(room)
	if err != nil {
		return nil, err
	}
	return r.metadata, nil
}

func (f *fake) SetMetadata(_ context.Context, room string, change map[string]json.RawMessage) error {
	r, err := f.room(room)
	if err != nil {
		return err
	}
	if _, blocked := change["moderators"]; blocked {
		return &Detail{ErrConflict, "moderators is set by the server"}
	}
	r.metadata = maps.Clone(r.metadata)
	if r.metadata == nil {
		r.metadata = map[string]json.RawMessage{}
	}
	maps.Copy(r.metadata, change)
	return nil
}

func (f *fake) Dial(_ context.Context, room, number string) error {
	_, err := f.room(room)
	if err == nil && number == "0" {
		return ErrNoGateway
	}
	return err
}

func (f *fake) Presets(context.Context) (out []Preset, err error) {
	f.called("presets")
	for _, name := range slices.Sorted(maps.Keys(f.presets)) {
		out = append(out, f.presets[name])
	}
	return out, f.err
}

func (f *fake) Preset(_ context.Context, room string) (Preset, error) {
	f.called(room)
	p, ok := f.presets[room]
	switch {
	case f.err != nil:
		return Preset{}, f.err
	case room == "[":
		return Preset{}, &Detail{ErrInvalid, "This is no name of a room."}
	case !ok:
		return Preset{}, &Detail{ErrNotFound, "Nothing is settled about this room."}
	}
	return p, nil
}

func (f *fake) SetPreset(_ context.Context, p Preset) (Preset, bool, error) {
	f.called(p.Room)
	_, known := f.presets[p.Room]
	switch {
	case f.err != nil:
		return Preset{}, false, f.err
	case !known && f.full:
		return Preset{}, false, &Detail{ErrConflict, "There are too many presets."}
	}
	f.presets[p.Room] = p
	return p, !known, nil
}

func (f *fake) DeletePreset(ctx context.Context, room string) error {
	_, err := f.Preset(ctx, room)
	if err == nil {
		delete(f.presets, room)
	}
	return err
}

func (f *fake) Sessions() int { return 7 }

func (f *fake) TURN(string) []ICEServer {
	return []ICEServer{{Type: "turns", Host: "meet.test", Port: 443, Transport: "tcp", Username: "1:x", Password: "y", Restricted: true, Expires: 5}}
}

func (f *fake) Allocations(after uint64, limit int) (out []Allocation, more bool) {
	f.called("allocations")
	for _, a := range f.allocations {
		if a.Number > after {
			if len(out) == limit {
				return out, true
			}
			out = append(out, a)
		}
	}
	return out, false
}

func (f *fake) EndAllocation(number uint64) bool {
	f.called("end allocation")
	i := slices.IndexFunc(f.allocations, func(a Allocation) bool { return a.Number == number })
	if i >= 0 {
		f.allocations = slices.Delete(f.allocations, i, i+1)
	}
	return i >= 0
}

// fakeAccounts know the host anna and the account bot, which is none.
type fakeAccounts struct{}

func (fakeAccounts) Login(_ context.Context, _ netip.Addr, user, password string) (bool, error) {
	switch {
	case user == "broken":
		return false, errors.New("database is down, StoredKey=secret")
	case user == "tried":
		return false, ErrTries
	case password != "pw":
		return false, ErrWrongPassword
	}
	return user == "anna", nil
}

func (f *fake) Node() Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.node
}

func (f *fake) Drain(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.node.Drain = on
}

func (f *fake) Shutdown(graceful bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.node.State = "shutting_down"
	if graceful {
		f.node.State = "graceful_shutdown"
	}
}
