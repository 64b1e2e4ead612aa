package api

import (
	"net/http"
	"strings"
)

// Node is the state of this server as a whole.
type Node struct {
	State        string `json:"state"` // running, graceful_shutdown or shutting_down
	Drain        bool   `json:"drain"` // others are preferred for new meetings
	Participants int    `json:"participants"`
}

func (s *Server) getNode(*http.Request) (int, any, error) {
	return http.StatusOK, s.cfg.Backend.Node(), nil
}

// operates reports whether who asks may end or empty the server: hosts open meetings,
// the operator has the keys.
func operates(r *http.Request) bool { return bearer(r) != "" }

func notOperator() *problem {
	return fail(http.StatusForbidden, "Only one of admin.api_keys may do this.")
}

func (s *Server) setDrain(r *http.Request) (int, any, error) {
	if !operates(r) {
		return 0, nil, notOperator()
	}
	var in struct {
		Drain *bool `json:"drain"`
	}
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	if in.Drain == nil {
		return 0, nil, fail(http.StatusBadRequest, "drain is missing.")
	}
	s.cfg.Backend.Drain(*in.Drain)
	return http.StatusOK, s.cfg.Backend.Node(), nil
}

// shutdown begins the end. It can't be taken back.
func (s *Server) shutdown(r *http.Request) (int, any, error) {
	if !operates(r) {
		return 0, nil, notOperator()
	}
	var in struct {
		Graceful *bool `json:"graceful"`
	}
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	s.cfg.Backend.Shutdown(in.Graceful == nil || *in.Graceful)
	return http.StatusAccepted, s.cfg.Backend.Node(), nil
}

// The paths of jitsi-videobridge (bridge.md §20).

func (s *Server) stockDrain(r *http.Request) (int, any) {
	switch {
	case r.Method != http.MethodGet && !operates(r):
		return http.StatusForbidden, nil
	case strings.HasSuffix(r.URL.Path, "/enable"):
		s.cfg.Backend.Drain(true)
		return http.StatusOK, nil
	case strings.HasSuffix(r.URL.Path, "/disable"):
		s.cfg.Backend.Drain(false)
		return http.StatusOK, nil
	}
	return http.StatusOK, struct {
		Drain bool `json:"drain"`
	}{s.cfg.Backend.Node().Drain}
}

func (s *Server) stockShutdown(r *http.Request) (int, any) {
	if !operates(r) {
		return http.StatusForbidden, nil
	}
	var yes struct {
		Graceful bool `json:"graceful-shutdown"`
		Force    bool `json:"force-shutdown"`
	}
	if err := decode(r, &yes); err != nil || yes.Graceful == yes.Force {
		return http.StatusBadRequest, nil
	}
	s.cfg.Backend.Shutdown(yes.Graceful)
	return http.StatusOK, nil
}
