package web

import (
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// The route table of deployment.md §3.2, in its order. Paths are matched after
// decoding, as nginx does; what nobody matches is a room or a file.

const (
	socketIO = "/socket.io/"
	etherpad = "/etherpad/"
)

// assetDirs are served as they are, for any origin (row 6).
var assetDirs = map[string]bool{
	"libs": true, "css": true, "static": true, "images": true, "fonts": true, "lang": true,
	"sounds": true, ".well-known": true, "connection_optimization": true, "transcripts": true,
}

// route answers r, whose path below the tenant is p.
func (s *Server) route(w http.ResponseWriter, r *http.Request, p string) {
	st := s.state.Load()
	b := st.build()
	switch p {
	case "/":
		s.index(w, r, b)
		return
	case "/config.js":
		s.script(w, r, func() ([]byte, error) { return st.configJS(originOf(r)) })
		return
	case "/interface_config.js":
		s.script(w, r, func() ([]byte, error) { return st.interfaceJS(originOf(r)) })
		return
	case "/external_api.js":
		p = "/libs/external_api.min.js"
	case "/http-bind":
		s.bosh(w, r)
		return
	case "/xmpp-websocket":
		s.xmppWebSocket(w, r)
		return
	case socketIO: // row 13
		s.protocol(w, atPath(r, p), s.handlers.SocketIO)
		return
	case "/_unlock":
		// deployment.md row 14: the target of websocketKeepAliveUrl.
		if onlyGet(w, r) {
			w.Header().Set("Access-Control-Allow-Origin", "*")
			plain(w, http.StatusOK, "OK\n")
		}
		return
	case "/conference-request/v1":
		s.conferenceRequest(w, r)
		return
	}

	first, rest, deeper := strings.Cut(p[1:], "/")
	switch {
	case p == "/visitor/websocket" && s.handlers.VisitorQueue != nil && r.Header.Get("Upgrade") != "":
		s.handlers.VisitorQueue.ServeHTTP(w, r)
	case first == "conference-request" && strings.HasPrefix(rest, "v1/"):
		s.conferenceRequest(w, r)
	case first == "colibri-ws" && deeper && s.handlers.ColibriWS != nil:
		s.handlers.ColibriWS.ServeHTTP(w, r)
	case s.handlers.Etherpad != nil && strings.HasPrefix(p, etherpad): // row 11
		s.handlers.Etherpad.ServeHTTP(w, atPath(r, p))
	case p == "/_api/room-info" && s.handlers.RoomInfo != nil:
		if tenantOf(r) != "" {
			r = withPrefix(r)
		}
		s.handlers.RoomInfo.ServeHTTP(w, r)
	case first == "_api":
		if name, ok := strings.CutPrefix(p, "/_api/public/"); !ok || !s.public(w, r, name) {
			plain(w, http.StatusNotFound, "not found\n")
		}
	case assetDirs[first] && deeper:
		s.asset(w, r, b, p)
	case !validSegment(first):
		s.notFound(w, r, b)
	case !deeper:
		// Row 16: a file of the root if there is one, else a room.
		if !onlyGet(w, r) {
			return
		}
		if b != nil && s.file(w, r, b, p, rootCache(r, p)) {
			return
		}
		if b == nil && rootFiles[first] != "" {
			s.ownRootFile(w, r, first)
			return
		}
		s.index(w, r, b)
	case tenantOf(r) == "":
		// Rows 17 to 20: the tenant is stripped once.
		s.route(w, withPlace(r, place{tenant: normalTenant(first)}), "/"+rest)
	default:
		s.notFound(w, r, b)
	}
}

// atPath is r for a handler that looks at the path, or hands it on: as the route table
// took it, decoded, clean and without a tenant.
func atPath(r *http.Request, p string) *http.Request {
	r2, u := *r, *r.URL
	u.Path, u.RawPath = p, ""
	r2.URL = &u
	return &r2
}

// validSegment is the rule for rooms and tenants (deployment.md §3.2).
func validSegment(s string) bool {
	return s != "" && !strings.ContainsAny(s, `?&:'"`) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// onlyGet refuses methods that static content doesn't have.
func onlyGet(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	plain(w, http.StatusMethodNotAllowed, "method not allowed\n")
	return false
}

// index is the web app for a room or the welcome page: the stock one, or ours.
func (s *Server) index(w http.ResponseWriter, r *http.Request, b *build) {
	if !onlyGet(w, r) {
		return
	}
	if b == nil {
		s.ownPage(w, r)
		return
	}
	if !s.html(w, r, b, "/index.html", http.StatusOK) {
		s.notFound(w, r, nil)
	}
}

func (s *Server) script(w http.ResponseWriter, r *http.Request, body func() ([]byte, error)) {
	if !onlyGet(w, r) {
		return
	}
	js, err := body()
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Access-Control-Allow-Origin", "*")
	s.generated(w, r, typeByExt[".js"], js, http.StatusOK)
}

// asset is row 6: files only, never the app, so that a missing chunk is a 404.
func (s *Server) asset(w http.ResponseWriter, r *http.Request, b *build, p string) {
	if origin := s.state.Load().cfg.CORSOrigin; origin != "" {
		w.Header().Set("Access-Control-Allow-Origin", origin)
		if r.Method == http.MethodOptions {
			w.Header().Set("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
			w.Header().Set("Access-Control-Max-Age", "86400")
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
	if !onlyGet(w, r) {
		return
	}
	if name, ok := strings.CutPrefix(p, "/.well-known/"); ok && s.public(w, r, ".well-known/"+name) {
		return
	}
	cache := cacheAnHour
	if r.URL.Query().Get("v") != "" {
		cache = cacheForever
	}
	if b == nil || !s.file(w, r, b, p, cache) {
		s.notFound(w, r, b)
	}
}

// rootCache: what decides how the app starts is asked for each time.
func rootCache(r *http.Request, p string) string {
	switch {
	case p == "/manifest.json" || p == "/pwa-worker.js":
		return cacheAsk
	case r.URL.Query().Get("v") != "":
		return cacheForever
	}
	return cacheAnHour
}

// public serves the operator's own files, data_dir/public (row 5).
func (s *Server) public(w http.ResponseWriter, r *http.Request, name string) bool {
	if !onlyGet(w, r) {
		return true
	}
	dataDir := s.state.Load().cfg.DataDir
	if dataDir == "" {
		return false
	}
	root, err := os.OpenRoot(filepath.Join(dataDir, "public"))
	if err != nil {
		return false
	}
	defer root.Close()
	f, fi, ok := openRegular(root, name)
	if !ok {
		return false
	}
	defer f.Close()
	w.Header().Set("Access-Control-Allow-Origin", "*")
	s.content(w, r, name, cacheAnHour, f, fi, func(string) (*os.File, bool) { return nil, false })
	return true
}

// xmppWebSocket hands the upgrade to the XMPP side. Without Upgrade it is the
// keep-alive of LJM XmppConnection, which only wants any answer (deployment.md
// §0 #3); such a request never touches a session, whatever its query names.
func (s *Server) xmppWebSocket(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Access-Control-Expose-Headers", "X-Jitsi-Shard")
		if onlyGet(w, r) {
			plain(w, http.StatusOK, "this is the xmpp websocket\n")
		}
		return
	}
	s.protocol(w, r, s.handlers.XMPPWebSocket)
}

func (s *Server) bosh(w http.ResponseWriter, r *http.Request) {
	if o := r.Header.Get("Origin"); o != "" {
		w.Header().Set("Access-Control-Allow-Origin", o)
		w.Header().Set("Access-Control-Allow-Headers", "Content-Type")
		w.Header().Set("Access-Control-Expose-Headers", "X-Jitsi-Shard")
		w.Header().Add("Vary", "Origin")
	}
	s.protocol(w, r, s.handlers.BOSH)
}

// protocol passes r on if its origin is welcome ("web.origins").
func (s *Server) protocol(w http.ResponseWriter, r *http.Request, h http.Handler) {
	switch {
	case h == nil:
		plain(w, http.StatusNotFound, "not found\n")
	case !s.originAllowed(r):
		plain(w, http.StatusForbidden, "origin not allowed\n")
	default:
		h.ServeHTTP(w, withPrefix(r))
	}
}

func (s *Server) originAllowed(r *http.Request) bool {
	o := r.Header.Get("Origin")
	list := s.state.Load().cfg.Origins
	if o == "" || anyAllowed(list) { // apps send none
		return true
	}
	for _, v := range list {
		if strings.EqualFold(v, o) {
			return true
		}
	}
	u, err := url.Parse(o)
	return err == nil && u.Host == r.Host
}

// conferenceRequest is row 15: preflight and CORS here, the rest at the focus.
func (s *Server) conferenceRequest(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cache-Control", "no-cache, no-store")
	switch r.Method {
	case http.MethodOptions:
		h.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
		h.Set("Access-Control-Allow-Headers", "DNT,X-CustomHeader,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Authorization")
		h.Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusOK)
		return
	case http.MethodGet, http.MethodPost:
	default:
		h.Set("Allow", "GET, POST, OPTIONS")
		plain(w, http.StatusMethodNotAllowed, "method not allowed\n")
		return
	}
	if s.handlers.ConferenceRequest == nil {
		plain(w, http.StatusNotFound, "not found\n")
		return
	}
	if !s.MayAsk(addrOf(r.RemoteAddr)) {
		h.Set("Retry-After", "1")
		(&Error{Status: http.StatusTooManyRequests, Public: "too many requests"}).ServeHTTP(w, r)
		return
	}
	s.handlers.ConferenceRequest.ServeHTTP(w, withPrefix(r))
}

// withPrefix sets prefix=TENANT from the path and drops one the client sent; the
// rest of the query stays as it came, byte for byte.
func withPrefix(r *http.Request) *http.Request {
	tenant := tenantOf(r)
	var kept []string
	if r.URL.RawQuery != "" {
		for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
			key, _, _ := strings.Cut(pair, "=")
			if k, err := url.QueryUnescape(key); err != nil || k == "prefix" {
				continue
			}
			kept = append(kept, pair)
		}
	}
	if tenant != "" {
		kept = append(kept, "prefix="+url.QueryEscape(tenant))
	}
	r2 := *r
	u := *r.URL
	u.RawQuery = strings.Join(kept, "&")
	r2.URL = &u
	return &r2
}

// cleanPath merges slashes and resolves dots as nginx does before it matches.
func cleanPath(p string) string {
	if p == "" || p[0] != '/' {
		p = "/" + p
	}
	c := path.Clean(p)
	if strings.HasSuffix(p, "/") && c != "/" {
		c += "/"
	}
	return c
}
