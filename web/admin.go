package web

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"net/url"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// The admin listener (deployment.md §10.1): metrics, health with reasons and
// profiles, on loopback unless the operator says otherwise.

func (s *Server) adminMux(reg *prometheus.Registry) (_ http.Handler, err error) {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		s.verdict(w, http.StatusServiceUnavailable)
	})
	// The status that jicofo and jvb give on their private ports.
	mux.HandleFunc("GET /about/health", func(w http.ResponseWriter, _ *http.Request) {
		s.verdict(w, http.StatusInternalServerError)
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	// ServeMux panics on patterns that clash; a caller's mistake is an error here.
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("admin handlers: %v", v)
		}
	}()
	for pattern, h := range s.handlers.Admin {
		mux.Handle(pattern, h)
	}
	return mux, nil
}

func (s *Server) verdict(w http.ResponseWriter, bad int) {
	reasons := s.ready()
	body := struct {
		Healthy bool     `json:"healthy"`
		Reasons []string `json:"reasons"`
	}{len(reasons) == 0, append([]string{}, reasons...)}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !body.Healthy {
		w.WriteHeader(bad)
	}
	json.NewEncoder(w).Encode(body)
}

// serveAdmin decides who may ask. A page open in a browser on this machine can
// reach loopback, so Host must name the listener and a foreign Origin is refused.
func (s *Server) serveAdmin(w http.ResponseWriter, r *http.Request) {
	st := s.state.Load()
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Security-Policy", "frame-ancestors 'none'")
	peer := addrOf(r.RemoteAddr)
	switch {
	case !s.adminHost(r.Host):
		(&Error{Status: http.StatusMisdirectedRequest, Public: "unknown host"}).ServeHTTP(w, r)
	case foreignOrigin(r):
		(&Error{Status: http.StatusForbidden, Public: "foreign origin"}).ServeHTTP(w, r)
	case peer.IsLoopback(), r.URL.Path == "/livez", r.URL.Path == "/readyz", r.URL.Path == "/about/health":
		s.mux.ServeHTTP(w, r)
	case !contains(st.cfg.AdminAllow, peer):
		(&Error{Status: http.StatusForbidden, Public: "address not allowed"}).ServeHTTP(w, r)
	case !hasKey(r, st.cfg.AdminKeys):
		w.Header().Set("WWW-Authenticate", "Bearer")
		(&Error{Status: http.StatusUnauthorized, Public: "a key is needed"}).ServeHTTP(w, r)
	default:
		s.mux.ServeHTTP(w, r)
	}
}

func (s *Server) adminHost(hostport string) bool {
	host := strings.ToLower(hostOnly(hostport))
	if a, err := netip.ParseAddr(host); err == nil {
		if a.IsLoopback() {
			return true
		}
		bound, ok := s.admin.Addr().(*net.TCPAddr)
		return ok && (bound.IP.IsUnspecified() || bound.IP.Equal(a.AsSlice()))
	}
	configured := hostOnly(s.state.Load().cfg.Admin.Addr)
	return host == "localhost" || configured != "" && host == strings.ToLower(configured)
}

func foreignOrigin(r *http.Request) bool {
	o := r.Header.Get("Origin")
	if o == "" {
		return false
	}
	u, err := url.Parse(o)
	return err != nil || u.Host != r.Host
}

func hasKey(r *http.Request, keys []string) bool {
	got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return false
	}
	found := 0
	for _, k := range keys {
		if k != "" {
			found |= subtle.ConstantTimeCompare([]byte(got), []byte(k))
		}
	}
	return found == 1
}
