package focus

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"confab/xmpp"
	"confab/xmpp/xep/jitmeet"
)

// HTTPHandler serves /conference-request/v1 (config.js conferenceRequestUrl).
func (s *Service) HTTPHandler() http.Handler { return http.HandlerFunc(s.serveRequest) }

func (s *Service) serveRequest(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if h.Get("Access-Control-Allow-Origin") == "" { // called cross-origin by apps hosted elsewhere
		h.Set("Access-Control-Allow-Origin", "*")
	}
	switch r.Method {
	case http.MethodOptions:
		h.Set("Access-Control-Allow-Methods", "POST, OPTIONS")
		h.Set("Access-Control-Allow-Headers", "Content-Type, Authorization")
		h.Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusOK)
		return
	case http.MethodPost:
	default:
		h.Set("Allow", "POST, OPTIONS")
		http.Error(w, "Method not allowed", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.cfg.RequestBodyBytes))
	if err != nil {
		var big *http.MaxBytesError
		if errors.As(err, &big) {
			http.Error(w, "Request too large", http.StatusRequestEntityTooLarge)
		}
		return
	}
	req := &jitmeet.ConferenceRequest{}
	if err := json.Unmarshal(body, req); err != nil {
		http.Error(w, "Bad request: invalid JSON", http.StatusBadRequest)
		return
	}
	type result struct {
		resp *jitmeet.ConferenceResponse
		err  *xmpp.StanzaError
	}
	done := make(chan result, 1)
	s.request(req, xmpp.JID{}, s.bearer(r), func(resp *jitmeet.ConferenceResponse, err *xmpp.StanzaError) { done <- result{resp, err} })
	// A conference answers within JoinTimeout; this is for one that broke.
	timeout := time.NewTimer(s.cfg.AdmissionTimeout + s.cfg.JoinTimeout + 5*time.Second)
	defer timeout.Stop()
	select {
	case res := <-done:
		writeResult(w, res.resp, res.err)
	case <-timeout.C:
		http.Error(w, "No answer from the conference", http.StatusInternalServerError)
	case <-r.Context().Done():
	}
}

// bearer checks the token that a request shows in its header, when it is asked.
func (s *Service) bearer(r *http.Request) func(room xmpp.JID) bool {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || !s.cfg.RequireHost || s.cfg.VerifyToken == nil {
		return nil
	}
	return func(room xmpp.JID) bool { return s.cfg.VerifyToken(r.Context(), token, room) }
}

func writeResult(w http.ResponseWriter, resp *jitmeet.ConferenceResponse, se *xmpp.StanzaError) {
	switch {
	case se == nil:
		b, err := json.Marshal(resp)
		if err != nil {
			http.Error(w, "Internal error", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(b)
	case se.Cond == xmpp.CondNotAuthorized:
		http.Error(w, se.Text, http.StatusForbidden)
	case se.Cond == xmpp.CondNotAcceptable:
		// LJM looks for "400 invalid-session" anywhere but at the beginning.
		http.Error(w, "Error 400 invalid-session", http.StatusBadRequest)
	case se.Cond == xmpp.CondServiceUnavailable && se.App != "":
		// Not 403: LJM asks for a login then.
		http.Error(w, "Not reserved: "+se.Text, http.StatusConflict)
	default:
		http.Error(w, "Bad request: "+se.Text, http.StatusBadRequest)
	}
}
