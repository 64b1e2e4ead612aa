package web

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

type ctxKey int

const (
	keyTLS    ctxKey = iota // *tls.Conn behind a firstByteConn
	keyClient               // *client
	keyPlace                // place
)

// client is what the connection and trusted proxies say about the sender.
type client struct {
	addr   netip.Addr
	scheme string // as the client sees it
}

// ClientAddr is the address of the client that sent r, also behind a trusted
// proxy; the zero Addr outside of a request of this server.
func ClientAddr(r *http.Request) netip.Addr {
	if c, ok := r.Context().Value(keyClient).(*client); ok {
		return c.addr
	}
	return netip.Addr{}
}

// place is whose rooms a request is about.
type place struct {
	tenant string
	byHost bool // the host names the tenant, not the path
}

func placeOf(r *http.Request) place {
	p, _ := r.Context().Value(keyPlace).(place)
	return p
}

func tenantOf(r *http.Request) string { return placeOf(r).tenant }

func withPlace(r *http.Request, p place) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), keyPlace, p))
}

func originOf(r *http.Request) origin {
	o := origin{scheme: "https", host: r.Host, place: placeOf(r)}
	if c, ok := r.Context().Value(keyClient).(*client); ok {
		o.scheme = c.scheme
	}
	return o
}

// Origin is where r came in, as its client sees it: https://meet.example.
func Origin(r *http.Request) string {
	o := originOf(r)
	return o.scheme + "://" + o.host
}

func tlsConnContext(ctx context.Context, c net.Conn) context.Context {
	if f, ok := c.(*firstByteConn); ok {
		return context.WithValue(ctx, keyTLS, f.Conn)
	}
	return ctx
}

// ServeHTTP is the public listener: who is asking, may this host be asked, then
// the route table.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	st := s.state.Load()
	if c, ok := r.Context().Value(keyTLS).(*tls.Conn); ok && r.TLS == nil {
		cs := c.ConnectionState()
		r.TLS = &cs
	}
	r = st.identify(r)
	rec := &recorder{ResponseWriter: w}
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler {
			s.metrics.panics.Inc()
			s.log.Error("panic in http handler", "path", r.URL.Path, "panic", v, "stack", stack())
			if rec.status == 0 {
				(&Error{Status: http.StatusInternalServerError, Public: "internal error"}).ServeHTTP(rec, r)
			}
		} else if v != nil {
			panic(v)
		}
		s.metrics.requests.WithLabelValues(statusClass(rec.status)).Inc()
		s.log.Debug("http request", "remote", ClientAddr(r), "method", r.Method, "url", redact(r.URL),
			"referer", redactString(r.Referer()), "status", rec.status, "took", time.Since(start))
	}()
	s.headers(rec, st)
	p := cleanPath(r.URL.Path)
	if r.ContentLength != 0 && r.Body != nil {
		s.boundBody(rec, r, p, &st.cfg.Limits)
	}
	switch {
	case p == "/about/health": // balancers ask by any name
		s.health(rec, r)
	case !st.cfg.hostAllowed(r.Host):
		plain(rec, http.StatusMisdirectedRequest, "this server is not "+printable(r.Host)+"\n")
	case strings.HasPrefix(p, "/_/"):
		s.reserved(rec, r, p)
	default:
		s.route(rec, st.ofTenantHost(r), p)
	}
}

// boundBody gives the body a deadline, also for who reads none of it: http.Server
// waits for the rest before it answers. Server.ReadTimeout would end a BOSH request,
// too, that waits with its body long read.
func (s *Server) boundBody(w http.ResponseWriter, r *http.Request, path string, l *Limits) {
	ctl := http.NewResponseController(w)
	if l.BodyTimeout > 0 {
		_ = ctl.SetReadDeadline(time.Now().Add(l.BodyTimeout)) // an error: no connection is behind it
	}
	if !boundsItself(path) {
		r.Body = &timedBody{http.MaxBytesReader(w, r.Body, l.Body), ctl}
	}
}

// boundsItself reports whether the handler of a path bounds what it reads: what
// people share is larger and takes longer than any other request.
func boundsItself(p string) bool {
	return p == socketIO || strings.HasPrefix(p, FilesPrefix+"/") || strings.HasPrefix(p, etherpad)
}

// identify puts the client's address, host and scheme in place, from a trusted
// proxy's headers when the connection is one ("web.trusted_proxies").
func (st *state) identify(r *http.Request) *http.Request {
	c := &client{addr: addrOf(r.RemoteAddr), scheme: "http"}
	if r.TLS != nil {
		c.scheme = "https"
	}
	trusted := st.cfg.TrustedProxies
	r2 := r.WithContext(context.WithValue(r.Context(), keyClient, c))
	if !contains(trusted, c.addr) {
		return r2
	}
	// The rightmost address that isn't a proxy of ours: what stands left of it
	// the client may have written itself.
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		a := addrOf(strings.TrimSpace(hops[i]))
		if !a.IsValid() {
			break
		}
		c.addr = a
		if !contains(trusted, a) {
			break
		}
	}
	r2.RemoteAddr = net.JoinHostPort(c.addr.String(), "0")
	c.scheme = "https" // a proxy in front is there for TLS
	if p := lastOf(r.Header.Get("X-Forwarded-Proto")); p == "http" || p == "ws" {
		c.scheme = "http"
	}
	if h := lastOf(r.Header.Get("X-Forwarded-Host")); h != "" {
		r2.Host = h
	}
	return r2
}

func lastOf(list string) string {
	return strings.TrimSpace(list[strings.LastIndexByte(list, ',')+1:])
}

// headers are those of every public response (deployment.md §3.1, §9).
func (s *Server) headers(w http.ResponseWriter, st *state) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "strict-origin-when-cross-origin")
	// Who has accepted our own certificate could not do so again.
	if st.cfg.HSTS && !st.cfg.TLSOff && !s.certs.SelfSigned() {
		h.Set("Strict-Transport-Security", "max-age=63072000")
	}
	if !anyAllowed(st.cfg.FrameAncestors) {
		h.Set("Content-Security-Policy", "frame-ancestors "+strings.Join(st.cfg.FrameAncestors, " "))
	}
	if st.cfg.Shard != "" {
		h.Set("X-Jitsi-Shard", st.cfg.Shard)
	}
}

// redirect is port 80: everything but ACME goes to HTTPS.
func (s *Server) redirect(w http.ResponseWriter, r *http.Request) {
	st := s.state.Load()
	if strings.HasPrefix(r.URL.Path, "/.well-known/acme-challenge/") || len(s.fronts) == 0 {
		plain(w, http.StatusNotFound, "not found\n")
		return
	}
	host := hostOnly(r.Host)
	if !st.cfg.hostAllowed(r.Host) {
		host = st.cfg.Domain
	}
	if strings.Contains(host, ":") {
		host = "[" + strings.Trim(host, "[]") + "]"
	}
	if a, ok := s.fronts[0].ln.Addr().(*net.TCPAddr); ok && a.Port != 443 {
		host += ":" + strconv.Itoa(a.Port)
	}
	http.Redirect(w, r, "https://"+host+r.URL.RequestURI(), http.StatusMovedPermanently)
}

// fail answers what is our fault, under an id that is in the log.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	id := errorID()
	s.log.Error("http request", "id", id, "path", r.URL.Path, "err", err)
	(&Error{Status: http.StatusInternalServerError, Public: "internal error", ID: id}).ServeHTTP(w, r)
}

// hostOnly is a Host header without port and brackets.
func hostOnly(hostport string) string {
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		return h
	}
	return strings.Trim(hostport, "[]")
}

// printable keeps a foreign string fit for a line of text.
func printable(s string) string {
	if len(s) > 100 {
		s = s[:100]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// secretParams must not be logged (deployment.md §3.1).
var secretParams = []string{"jwt", "token", "previd", "customusername", "pwd", "sig", "sid"}

// redact is a URL fit for the log.
func redact(u *url.URL) string {
	if u.RawQuery == "" {
		return u.Path
	}
	if hasSecret(u.RawQuery) {
		return u.Path + "?…"
	}
	return u.Path + "?" + u.RawQuery
}

func redactString(s string) string {
	if base, query, ok := strings.Cut(s, "?"); ok && hasSecret(query) {
		return base + "?…"
	}
	return s
}

func hasSecret(query string) bool {
	// The names may be escaped, so look at both forms.
	plain, err := url.QueryUnescape(query)
	if err != nil {
		plain = query
	}
	for _, p := range secretParams {
		if strings.Contains(query, p+"=") || strings.Contains(plain, p+"=") {
			return true
		}
	}
	return false
}

// recorder notes the status for log and metrics.
type recorder struct {
	http.ResponseWriter
	status int
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 || status == http.StatusSwitchingProtocols {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection; Hijack and Flush
// stand here for libraries that ask by type assertion.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

func (w *recorder) Flush() { http.NewResponseController(w.ResponseWriter).Flush() }

// timedBody lifts the deadline of the body when all of it is there.
type timedBody struct {
	io.ReadCloser
	ctl *http.ResponseController
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		_ = b.ctl.SetReadDeadline(time.Time{})
	}
	return n, err
}
