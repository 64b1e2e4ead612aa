package web

import (
	"errors"
	"net/http"
	"runtime/debug"
)

// ready asks for the reasons not to take meetings; empty when there are none.
func (s *Server) ready() []string {
	var reasons []string
	if s.certs != nil {
		if err := s.certs.Err(); err != nil {
			reasons = append(reasons, err.Error())
		}
	}
	if s.handlers.Ready == nil {
		return reasons
	}
	err := s.handlers.Ready()
	var joined interface{ Unwrap() []error }
	switch {
	case err == nil:
	case errors.As(err, &joined):
		for _, e := range joined.Unwrap() {
			reasons = append(reasons, e.Error())
		}
	default:
		reasons = append(reasons, err.Error())
	}
	return reasons
}

// health is /about/health of the public listener: the verdict without reasons.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	if !onlyGet(w, r) {
		return
	}
	if len(s.ready()) > 0 {
		plain(w, http.StatusServiceUnavailable, "not ready\n")
		return
	}
	plain(w, http.StatusOK, "OK\n")
}

func stack() string { return string(debug.Stack()) }
