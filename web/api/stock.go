package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// The paths of Prosody's modules (room-services.md §7.5), with their codes and bodies.
// Each asks for a key or the login of a host, which several of theirs do not.

// StockHandlers are the paths of the admin listener, by http.ServeMux pattern.
func (s *Server) StockHandlers() map[string]http.Handler {
	out := map[string]http.Handler{}
	for pattern, e := range map[string]stockPath{
		"GET /room-size":                 {http.StatusForbidden, true, ofRoom((*Server).stockRoomSize)},
		"GET /room":                      {http.StatusForbidden, true, ofRoom((*Server).stockRoom)},
		"GET /sessions":                  {http.StatusUnauthorized, false, (*Server).stockSessions},
		"GET /room-census":               {http.StatusUnauthorized, false, (*Server).stockCensus},
		"POST /end-meeting":              {http.StatusUnauthorized, false, (*Server).stockEnd},
		"PUT /kick-participant":          {http.StatusForbidden, false, ofRoom((*Server).stockKick)},
		"POST /invite-jigasi":            {http.StatusUnauthorized, false, (*Server).stockInvite},
		"POST /send-system-chat-message": {http.StatusUnauthorized, false, (*Server).stockSay},
		"GET /turn-credentials":          {http.StatusUnauthorized, false, (*Server).stockTURN},
		"GET /colibri/drain":             {http.StatusUnauthorized, false, (*Server).stockDrain},
		"POST /colibri/drain/enable":     {http.StatusUnauthorized, false, (*Server).stockDrain},
		"POST /colibri/drain/disable":    {http.StatusUnauthorized, false, (*Server).stockDrain},
		"POST /colibri/shutdown":         {http.StatusUnauthorized, false, (*Server).stockShutdown},
	} {
		out[pattern] = s.stock(e)
	}
	out["GET /room-info"], out["PUT /room-info"] = s.RoomInfo(), s.RoomInfo()
	return out
}

// stockPath is one of them: the code for strangers, whether the query may have a token
// for the room, and what it does.
type stockPath struct {
	denied int
	tokens bool
	handle func(*Server, *http.Request) (status int, body any)
}

func (s *Server) stock(e stockPath) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.stockGate(w, r) {
			return
		}
		if _, p := s.authenticate(r); p != nil && !(e.tokens && s.byToken(r, r.URL.Query().Get("token"))) {
			s.denied(w, r, p, e.denied)
			return
		}
		r, done := s.bounded(w, r)
		defer done()
		status, body := e.handle(s, r)
		answerStock(w, status, body)
		if r.Method != http.MethodGet {
			s.log.Info("api call", "method", r.Method, "route", r.URL.Path, "status", status)
		}
	})
}

// bounded is r with the bounds of its body and its time.
func (s *Server) bounded(w http.ResponseWriter, r *http.Request) (*http.Request, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Timeout)
	r = r.WithContext(ctx)
	r.Body = http.MaxBytesReader(w, r.Body, s.cfg.Body)
	return r, cancel
}

// stockGate is what holds before anybody is known.
func (s *Server) stockGate(w http.ResponseWriter, r *http.Request) bool {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if !s.allow(r) {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		return false
	}
	if s.origin.Check(r) != nil {
		w.WriteHeader(http.StatusForbidden)
		return false
	}
	return true
}

func (s *Server) denied(w http.ResponseWriter, r *http.Request, p *problem, code int) {
	s.refused(r, p)
	switch p.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		if code == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="Confab"`)
		}
		w.WriteHeader(code)
	default:
		if p.after > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(p.after))
		}
		w.WriteHeader(p.Status)
	}
}

func answerStock(w http.ResponseWriter, status int, body any) {
	switch b := body.(type) {
	case nil:
		w.WriteHeader(status)
	case string:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, b)
	default:
		out, err := json.Marshal(b)
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write(out)
	}
}

// stockStatus is the code of an error.
func (s *Server) stockStatus(err error) (int, any) {
	p := problemOf(err)
	if p.cause != nil {
		s.log.Error("api request", "err", p.cause)
	}
	return p.Status, nil
}

// addressed is the room that a query names: by name, with the tenant in subdomain or
// prefix, and with or without the server's domain.
func addressed(r *http.Request) (string, bool) {
	q := r.URL.Query()
	room, tenant := q.Get("room"), q.Get("subdomain")
	if tenant == "" {
		tenant = q.Get("prefix")
	}
	if room == "" {
		return "", false
	}
	if tenant != "" {
		room = "[" + tenant + "]" + room
	}
	if domain := q.Get("domain"); domain != "" {
		room += "@conference." + domain
	}
	return room, true
}

// ofRoom is a path whose query names a room.
func ofRoom(handle func(s *Server, r *http.Request, name string) (status int, body any)) func(*Server, *http.Request) (int, any) {
	return func(s *Server, r *http.Request) (int, any) {
		name, ok := addressed(r)
		if !ok {
			return http.StatusBadRequest, nil
		}
		return handle(s, r, name)
	}
}

func (s *Server) stockRoomSize(r *http.Request, name string) (int, any) {
	room, err := s.cfg.Backend.Room(r.Context(), name)
	if err != nil {
		return s.stockStatus(err)
	}
	return http.StatusOK, struct {
		Participants int `json:"participants"`
	}{withoutFocus(room.Occupants)}
}

// withoutFocus is how the module counts: it takes the focus away, but never the last.
func withoutFocus(n int) int {
	if n > 1 {
		return n - 1
	}
	return n
}

type stockOccupant struct {
	JID         string `json:"jid"`
	Email       string `json:"email"`
	DisplayName string `json:"display_name"`
}

func (s *Server) stockRoom(r *http.Request, name string) (int, any) {
	list, err := s.cfg.Backend.Occupants(r.Context(), name)
	if err != nil {
		return s.stockStatus(err)
	}
	out := []stockOccupant{}
	for _, o := range list {
		if !o.Focus && o.Breakout == "" {
			out = append(out, stockOccupant{o.Stock, o.Email, o.DisplayName})
		}
	}
	return http.StatusOK, out
}

func (s *Server) stockSessions(*http.Request) (int, any) {
	return http.StatusOK, strconv.Itoa(s.cfg.Backend.Sessions())
}

type censusRoom struct {
	Name         string `json:"room_name"`
	Participants int    `json:"participants"`
	Created      string `json:"created_time,omitempty"` // milliseconds since 1970
	Leaked       bool   `json:"leaked"`
}

func (s *Server) stockCensus(r *http.Request) (int, any) {
	out := struct {
		Rooms []censusRoom `json:"room_census"`
	}{[]censusRoom{}}
	for after := ""; ; {
		list, more, err := s.cfg.Backend.Rooms(r.Context(), "", after, maxPage)
		if err != nil {
			return s.stockStatus(err)
		}
		for _, room := range list {
			c := censusRoom{Name: room.Internal, Participants: max(0, room.Occupants-1), Leaked: room.Leaked}
			if room.CreatedAt != nil {
				c.Created = strconv.FormatInt(room.CreatedAt.UnixMilli(), 10)
			}
			out.Rooms = append(out.Rooms, c)
		}
		if !more || len(list) == 0 {
			return http.StatusOK, out
		}
		after = list[len(list)-1].Name
	}
}

// The reasons that clients look for.
const (
	stockEnded  = "The meeting has been terminated"
	stockSilent = "The meeting has been terminated silently"
)

func (s *Server) stockEnd(r *http.Request) (int, any) {
	q := r.URL.Query()
	conference := q.Get("conference")
	if conference == "" {
		return http.StatusBadRequest, nil
	}
	e := End{Reason: stockEnded}
	if q.Get("silent-reconnect") == "true" {
		e = End{Reason: stockSilent, Silent: true}
	}
	if err := s.cfg.Backend.End(r.Context(), conference, e); err != nil {
		return s.stockStatus(err)
	}
	return http.StatusOK, nil
}

// stockBody reads a body as the modules do: the content type has to be exact.
func stockBody(r *http.Request, v any) bool {
	if r.Header.Get("Content-Type") != "application/json" {
		return false
	}
	b, err := io.ReadAll(r.Body)
	return err == nil && len(b) > 0 && json.Unmarshal(b, v) == nil
}

func (s *Server) stockKick(r *http.Request, name string) (int, any) {
	var in struct {
		Nick   *string `json:"participantId"`
		Number *string `json:"number"`
	}
	if !stockBody(r, &in) || (in.Nick == nil) == (in.Number == nil) {
		return http.StatusBadRequest, nil
	}
	list, err := s.cfg.Backend.Occupants(r.Context(), name)
	if err != nil {
		return s.stockStatus(err)
	}
	for _, o := range list {
		if o.Focus || in.Nick != nil && o.Nick != *in.Nick || in.Number != nil && (*in.Number == "" || !strings.HasPrefix(o.Phone, *in.Number)) {
			continue
		}
		if err := s.cfg.Backend.Kick(r.Context(), name, o.Nick, ""); err != nil {
			return s.stockStatus(err)
		}
		return http.StatusOK, nil
	}
	return http.StatusNotFound, nil
}

type stockError struct {
	Error string `json:"error"`
}

func (s *Server) stockInvite(r *http.Request) (int, any) {
	var in struct {
		Conference string `json:"conference"`
		Number     string `json:"phoneNo"`
	}
	if !stockBody(r, &in) || in.Conference == "" || !dialable(in.Number) {
		return http.StatusBadRequest, nil
	}
	err := s.cfg.Backend.Dial(r.Context(), in.Conference, in.Number)
	switch {
	case err == nil:
		return http.StatusOK, nil
	case errors.Is(err, ErrNoBrewery):
		return http.StatusNotFound, stockError{"Brewery room was not found"}
	case errors.Is(err, ErrNoGateway):
		return http.StatusNotFound, stockError{"Jigasi not found"}
	}
	return s.stockStatus(err)
}

func (s *Server) stockSay(r *http.Request) (int, any) {
	var in struct {
		Room        string    `json:"room"`
		Connections *[]string `json:"connectionJIDs"`
		Message     string    `json:"message"`
		DisplayName string    `json:"displayName"`
	}
	if !stockBody(r, &in) || in.Room == "" || in.Connections == nil || in.Message == "" ||
		text("message", in.Message, maxMessage) != nil || text("displayName", in.DisplayName, maxText) != nil {
		return http.StatusBadRequest, nil
	}
	_, err := s.cfg.Backend.Say(r.Context(), in.Room, Message{
		Text: in.Message, DisplayName: in.DisplayName, Connections: *in.Connections, ByAddress: true,
	})
	if err != nil {
		return s.stockStatus(err)
	}
	return http.StatusOK, nil
}

func (s *Server) stockTURN(r *http.Request) (int, any) {
	list := s.cfg.Backend.TURN(r.RemoteAddr)
	if list == nil {
		list = []ICEServer{}
	}
	return http.StatusOK, list
}
