package main

// What hosts settle about rooms by the HTTP interface, before these exist.

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"confab/muc"
	"confab/muc/presets"
	"confab/storage"
	"confab/web/api"
	"confab/xmpp"
)

// openPresets reads what hosts have settled about rooms.
func (s *server) openPresets(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	s.presets, err = presets.Open(ctx, s.cfg.Rooms.Presets, presetDisk{s.storage})
	return err
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
