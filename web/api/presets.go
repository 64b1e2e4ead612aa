package api

import (
	"net/http"
	"strconv"
	"time"
)

// Bounds of presets.
const (
	maxPeople     = 1000 // moderators, members
	presetDefault = 24 * time.Hour
	presetLongest = 366 * 24 * time.Hour
)

func (s *Server) listPresets(r *http.Request) (int, any, error) {
	list, err := s.cfg.Backend.Presets(r.Context())
	if list == nil {
		list = []Preset{}
	}
	return http.StatusOK, struct {
		Presets []Preset `json:"presets"`
	}{list}, err
}

func (s *Server) getPreset(r *http.Request) (int, any, error) {
	p, err := s.cfg.Backend.Preset(r.Context(), roomOf(r))
	return http.StatusOK, p, err
}

func (s *Server) putPreset(r *http.Request) (int, any, error) {
	var p Preset
	if err := decode(r, &p); err != nil {
		return 0, nil, err
	}
	if p.Room != "" && p.Room != roomOf(r) {
		return 0, nil, fail(http.StatusBadRequest, "room is another than that of the path.")
	}
	p.Room = roomOf(r)
	if err := p.check(time.Now()); err != nil {
		return 0, nil, err
	}
	stored, made, err := s.cfg.Backend.SetPreset(r.Context(), p)
	if made {
		return http.StatusCreated, stored, err
	}
	return http.StatusOK, stored, err
}

// check refuses what can't be kept, and fills in when the preset ends.
func (p *Preset) check(now time.Time) error {
	for name, s := range map[string]string{"subject": p.Subject, "password": p.Password} {
		if err := text(name, s, maxText); err != nil {
			return err
		}
	}
	bad := func(what string) error { return fail(http.StatusBadRequest, what) }
	switch {
	case p.MaxOccupants < 0 || p.MaxOccupants > 1<<30:
		return bad("max_occupants is out of range.")
	case p.Lobby && p.LobbyDisabled:
		return bad("lobby and lobby_disabled contradict each other.")
	case len(p.Moderators)+len(p.Members) > maxPeople:
		return bad("More than " + strconv.Itoa(maxPeople) + " people.")
	}
	for _, list := range [][]string{p.Moderators, p.Members} {
		for _, who := range list {
			if who == "" {
				return bad("An empty name is nobody's.")
			}
			if err := text("A name", who, 1023); err != nil {
				return err
			}
		}
	}
	if p.ExpiresAt.IsZero() {
		p.ExpiresAt = now.Add(presetDefault)
	}
	p.ExpiresAt = p.ExpiresAt.UTC().Truncate(time.Second)
	if d := p.ExpiresAt.Sub(now); d <= 0 || d > presetLongest {
		return bad("expires_at is past or more than a year ahead.")
	}
	return nil
}

func (s *Server) deletePreset(r *http.Request) (int, any, error) {
	return http.StatusNoContent, nil, s.cfg.Backend.DeletePreset(r.Context(), roomOf(r))
}
