package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of what a request may say.
const (
	maxText     = 4096  // bytes of a reason, a name, a password
	maxMessage  = 16384 // of a line in the chat
	maxPage     = 10000 // of a list at once
	defaultPage = 1000
)

// text refuses what clients could not be told.
func text(name, s string, max int) error {
	switch {
	case len(s) > max:
		return fail(http.StatusBadRequest, name+" is longer than "+strconv.Itoa(max)+" bytes.")
	case !utf8.ValidString(s), strings.ContainsFunc(s, unprintable):
		return fail(http.StatusBadRequest, name+" has characters that can't be sent.")
	}
	return nil
}

// unprintable are the characters that XML can't hold.
func unprintable(c rune) bool {
	return c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0xfffe || c == 0xffff
}

// roomOf is the name of the room that a path is about.
func roomOf(r *http.Request) string { return r.PathValue("room") }

// pageLimit is how many of a list are asked for.
func pageLimit(r *http.Request) (int, error) {
	v := r.URL.Query().Get("limit")
	if v == "" {
		return defaultPage, nil
	}
	limit, err := strconv.Atoi(v)
	if err != nil || limit < 1 || limit > maxPage {
		return 0, fail(http.StatusBadRequest, "limit is not between 1 and "+strconv.Itoa(maxPage)+".")
	}
	return limit, nil
}

func (s *Server) listRooms(r *http.Request) (int, any, error) {
	q := r.URL.Query()
	limit, err := pageLimit(r)
	if err != nil {
		return 0, nil, err
	}
	list, more, err := s.cfg.Backend.Rooms(r.Context(), q.Get("tenant"), q.Get("after"), limit)
	if err != nil {
		return 0, nil, err
	}
	if list == nil {
		list = []Room{}
	}
	return http.StatusOK, struct {
		Rooms []Room `json:"rooms"`
		More  bool   `json:"more"`
	}{list, more}, nil
}

func (s *Server) getRoom(r *http.Request) (int, any, error) {
	room, err := s.cfg.Backend.Room(r.Context(), roomOf(r))
	return http.StatusOK, room, err
}

func (s *Server) patchRoom(r *http.Request) (int, any, error) {
	var in struct {
		MaxOccupants *int `json:"max_occupants"`
	}
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	if in.MaxOccupants == nil || *in.MaxOccupants < 0 || *in.MaxOccupants > 1<<30 {
		return 0, nil, fail(http.StatusBadRequest, "max_occupants is missing or out of range.")
	}
	if err := s.cfg.Backend.SetMaxOccupants(r.Context(), roomOf(r), *in.MaxOccupants); err != nil {
		return 0, nil, err
	}
	return s.getRoom(r)
}

func (s *Server) endRoom(r *http.Request) (int, any, error) {
	q := r.URL.Query()
	e := End{Reason: q.Get("reason")}
	if err := text("reason", e.Reason, maxText); err != nil {
		return 0, nil, err
	}
	if v := q.Get("silent_reconnect"); v != "" {
		var err error
		if e.Silent, err = strconv.ParseBool(v); err != nil {
			return 0, nil, fail(http.StatusBadRequest, "silent_reconnect is neither true nor false.")
		}
	}
	return http.StatusNoContent, nil, s.cfg.Backend.End(r.Context(), roomOf(r), e)
}

func (s *Server) listOccupants(r *http.Request) (int, any, error) {
	list, err := s.cfg.Backend.Occupants(r.Context(), roomOf(r))
	if err != nil {
		return 0, nil, err
	}
	if list == nil {
		list = []Occupant{}
	}
	return http.StatusOK, struct {
		Occupants []Occupant `json:"occupants"`
	}{list}, nil
}

func (s *Server) kick(r *http.Request) (int, any, error) {
	reason := r.URL.Query().Get("reason")
	if err := text("reason", reason, maxText); err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, s.cfg.Backend.Kick(r.Context(), roomOf(r), r.PathValue("nick"), reason)
}

func (s *Server) say(r *http.Request) (int, any, error) {
	var in struct {
		Message     string   `json:"message"`
		DisplayName string   `json:"display_name"`
		To          []string `json:"to"`
	}
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	if in.Message == "" {
		return 0, nil, fail(http.StatusBadRequest, "message is missing.")
	}
	if err := text("message", in.Message, maxMessage); err != nil {
		return 0, nil, err
	}
	if err := text("display_name", in.DisplayName, maxText); err != nil {
		return 0, nil, err
	}
	n, err := s.cfg.Backend.Say(r.Context(), roomOf(r), Message{Text: in.Message, DisplayName: in.DisplayName, Nicks: in.To})
	return http.StatusOK, struct {
		Sent int `json:"sent"`
	}{n}, err
}

// password reads a body of one password.
func password(r *http.Request) (string, error) {
	var in struct {
		Password string `json:"password"`
	}
	if err := decode(r, &in); err != nil {
		return "", err
	}
	if in.Password == "" {
		return "", fail(http.StatusBadRequest, "password is missing.")
	}
	return in.Password, text("password", in.Password, maxText)
}

func (s *Server) setPassword(r *http.Request) (int, any, error) {
	pw, err := password(r)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, s.cfg.Backend.SetPassword(r.Context(), roomOf(r), pw)
}

func (s *Server) removePassword(r *http.Request) (int, any, error) {
	return http.StatusNoContent, nil, s.cfg.Backend.SetPassword(r.Context(), roomOf(r), "")
}

type valid struct {
	Valid bool `json:"valid"`
}

func (s *Server) checkPassword(r *http.Request) (int, any, error) {
	pw, err := password(r)
	if err != nil {
		return 0, nil, err
	}
	ok, err := s.cfg.Backend.CheckPassword(r.Context(), roomOf(r), pw)
	return http.StatusOK, valid{ok}, err
}

func (s *Server) setLobby(r *http.Request) (int, any, error) {
	var in struct {
		Enabled *bool `json:"enabled"`
	}
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	if in.Enabled == nil {
		return 0, nil, fail(http.StatusBadRequest, "enabled is missing.")
	}
	return http.StatusNoContent, nil, s.cfg.Backend.SetLobby(r.Context(), roomOf(r), *in.Enabled)
}

func (s *Server) getMetadata(r *http.Request) (int, any, error) {
	m, err := s.cfg.Backend.Metadata(r.Context(), roomOf(r))
	if m == nil {
		m = map[string]json.RawMessage{}
	}
	return http.StatusOK, m, err
}

// patchMetadata is a merge of the top level only (RFC 7396): a key that is null is
// removed, any other replaced.
func (s *Server) patchMetadata(r *http.Request) (int, any, error) {
	var change map[string]json.RawMessage
	if err := decode(r, &change); err != nil {
		return 0, nil, err
	}
	for k := range change {
		if k == "" || len(k) > 256 {
			return 0, nil, fail(http.StatusBadRequest, "A key is empty or longer than 256 bytes.")
		}
		if err := text("A key", k, 256); err != nil {
			return 0, nil, err
		}
	}
	if err := s.cfg.Backend.SetMetadata(r.Context(), roomOf(r), change); err != nil {
		return 0, nil, err
	}
	return s.getMetadata(r)
}

func (s *Server) invite(r *http.Request) (int, any, error) {
	var in struct {
		Number string `json:"number"`
	}
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	if !dialable(in.Number) {
		return 0, nil, fail(http.StatusBadRequest, "number is no telephone number and no SIP address.")
	}
	return http.StatusAccepted, nil, s.cfg.Backend.Dial(r.Context(), roomOf(r), in.Number)
}

// dialable is a telephone number or a SIP address: no spaces, nothing that a gateway
// could take for a header.
func dialable(s string) bool {
	return s != "" && len(s) <= 256 && strings.Trim(s, "+0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ*#.-_:@=;") == ""
}

func (s *Server) countSessions(*http.Request) (int, any, error) {
	return http.StatusOK, struct {
		Sessions int `json:"sessions"`
	}{s.cfg.Backend.Sessions()}, nil
}

func (s *Server) turnCredentials(r *http.Request) (int, any, error) {
	list := s.cfg.Backend.TURN(r.RemoteAddr)
	if list == nil {
		list = []ICEServer{}
	}
	return http.StatusOK, struct {
		Services []ICEServer `json:"services"`
	}{list}, nil
}
