package api

import (
	"net/http"
	"time"
)

// RoomInfo serves /room-info, which dial-in services ask whether a room has a passcode
// and whether theirs is the right one. It is the one path of Prosody's modules that is
// published: /_api/room-info. It takes the token of a user as well, for the room that
// the token is for. Who may not ask gets 403 whether the room exists or not.
func (s *Server) RoomInfo() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.stockGate(w, r) {
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodPut {
			w.Header().Set("Allow", "GET, PUT")
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		name, named := addressed(r)
		if _, p := s.authenticate(r); p != nil && !s.byToken(r, bearer(r)) {
			s.denied(w, r, p, http.StatusForbidden)
			return
		}
		if !named {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		r, done := s.bounded(w, r)
		defer done()
		if r.Method != http.MethodPut {
			status, body := s.roomInfo(r, name)
			answerStock(w, status, body)
			return
		}
		status, body := s.passcode(w, r, name)
		answerStock(w, status, body)
	})
}

// byToken reports whether a token is for the room that the query names.
func (s *Server) byToken(r *http.Request, token string) bool {
	name, named := addressed(r)
	return token != "" && named && s.cfg.Token != nil && s.cfg.Token(r.Context(), token, name)
}

func (s *Server) roomInfo(r *http.Request, name string) (int, any) {
	room, err := s.cfg.Backend.Room(r.Context(), name)
	if err != nil {
		return s.stockStatus(err)
	}
	return http.StatusOK, struct {
		Conference        string `json:"conference"`
		PasscodeProtected bool   `json:"passcodeProtected"`
		LobbyEnabled      bool   `json:"lobbyEnabled"`
	}{room.Internal, room.PasswordProtected, room.Lobby}
}

// passcode tries a passcode. Wrong ones are counted: a few digits are soon guessed.
func (s *Server) passcode(w http.ResponseWriter, r *http.Request, name string) (int, any) {
	var in struct {
		Passcode *string `json:"passcode"`
	}
	if !stockBody(r, &in) || in.Passcode == nil {
		return http.StatusBadRequest, nil
	}
	// Under the name that the room has, or every spelling would have tries of its own.
	room, err := s.cfg.Backend.Room(r.Context(), name)
	if err != nil {
		return s.stockStatus(err)
	}
	key := subject(addrOf(r)) + " " + room.Name
	if s.cfg.Tries > 0 && !s.tries.take(key, s.cfg.Tries, time.Now()) {
		w.Header().Set("Retry-After", "60")
		return http.StatusTooManyRequests, nil
	}
	right, err := s.cfg.Backend.CheckPassword(r.Context(), name, *in.Passcode)
	if right || err != nil {
		s.tries.giveBack(key)
	}
	if err != nil {
		return s.stockStatus(err)
	}
	return http.StatusOK, valid{right}
}
