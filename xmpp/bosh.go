package xmpp

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// boshBodyExtra is what a request may hold beside one stanza of the greatest size.
const boshBodyExtra = 64 << 10

// BOSHHandler serves XMPP over BOSH (XEP-0124, XEP-0206) at one path.
func (s *Server) BOSHHandler() http.Handler { return http.HandlerFunc(s.serveBOSH) }

func (s *Server) serveBOSH(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	s.cors(h, r.Header.Get("Origin"))
	switch r.Method {
	case http.MethodOptions:
		h.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
		h.Set("Access-Control-Allow-Headers", "Content-Type")
		h.Set("Access-Control-Max-Age", "7200")
		w.WriteHeader(http.StatusNoContent)
		return
	case http.MethodPost:
	default:
		h.Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, "XMPP over BOSH\n")
		return
	}
	// The content type is not looked at: the last request of a closing page
	// comes by sendBeacon as text/plain (client-signaling.md §2.3).
	h.Set("Content-Type", "text/xml; charset=utf-8")
	src, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(s.cfg.Stanza.Bytes+boshBodyExtra)))
	if err != nil {
		var big *http.MaxBytesError
		if errors.As(err, &big) {
			_, _ = w.Write(boshTerminate("policy-violation", ""))
		}
		return
	}
	lim := s.cfg.Stanza
	lim.Depth++
	body, err := parseBody(string(src), lim)
	if err != nil {
		_, _ = w.Write(boshTerminate("bad-request", ""))
		return
	}
	var f *boshFramer
	if body.sid == "" {
		f = s.newBOSH(r, body, len(src))
		if f == nil {
			_, _ = w.Write(boshTerminate("policy-violation", ""))
			return
		}
	} else if f = s.boshSession(body.sid); f == nil {
		_, _ = w.Write(boshTerminate("item-not-found", ""))
		return
	}
	req, refusal := f.request(body, len(src))
	if refusal != "" {
		_, _ = w.Write(boshTerminate(refusal, ""))
		return
	}
	wait := time.NewTimer(f.wait)
	defer wait.Stop()
	select {
	case <-req.done:
	case <-wait.C:
		f.waited(req)
		<-req.done
	case <-r.Context().Done():
		f.waited(req) // the answer is kept for the same rid
		return
	}
	_, _ = w.Write(req.answer)
}

// cors lets pages of the allowed origins use BOSH.
func (s *Server) cors(h http.Header, origin string) {
	if len(s.cfg.Origins) == 0 || slices.Contains(s.cfg.Origins, "*") {
		h.Set("Access-Control-Allow-Origin", "*")
		return
	}
	h.Set("Vary", "Origin")
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return
	}
	for _, p := range s.cfg.Origins {
		if ok, err := path.Match(strings.ToLower(p), strings.ToLower(u.Host)); ok && err == nil {
			h.Set("Access-Control-Allow-Origin", origin)
			return
		}
	}
}

func (s *Server) boshSession(sid string) *boshFramer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bosh[sid]
}

// newBOSH makes the session that body asks for and starts its stream; nil when
// there are too many.
func (s *Server) newBOSH(r *http.Request, body *boshBody, size int) *boshFramer {
	if body.rid == 0 || size > s.cfg.StanzaUnauthenticated {
		return nil
	}
	f := &boshFramer{
		srv:        s,
		sid:        randomID(smIDBytes),
		wait:       min(max(body.wait, time.Second), s.cfg.BOSHWait),
		hold:       min(body.hold, 1),
		inactivity: s.cfg.BOSHInactivity,
		next:       body.rid,
		arrived:    make(chan struct{}, 1),
		held:       make(chan struct{}, 1),
		dead:       make(chan struct{}),
		early:      map[uint64]*earlyRequest{},
		limit:      s.cfg.StanzaUnauthenticated,
	}
	st := &stream{
		fr: f, remote: s.remoteAddr(r), secure: s.secureRequest(r), tls: r.TLS, attrs: AttrsOf(r),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || len(s.bosh) >= s.cfg.BOSHSessions {
		return nil
	}
	s.bosh[f.sid] = f
	s.wg.Go(func() { s.serveStream(st) })
	return f
}
