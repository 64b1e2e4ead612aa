package web

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Proxy hands requests to another server, with their WebSockets: an Etherpad, a
// relay of whiteboards. What stands before the path is taken off; requests arrive
// with the client's address, host and scheme in X-Forwarded-*. The path has to be a
// clean one: for the server behind, /etherpad/../x may be something else than for us.
type Proxy struct {
	behind *httputil.ReverseProxy

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup // requests
}

// Bounds of what is passed on. It is not kept, so a large body costs nothing but time.
const (
	proxyBody  = 100 << 20        // bytes of a request: an Etherpad imports documents
	proxyPause = 30 * time.Second // between two reads of it
)

// NewProxy returns a proxy to target.
func NewProxy(target *url.URL, strip string, log *slog.Logger) *Proxy {
	p := &Proxy{behind: &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			u := *pr.In.URL
			u.Path, u.RawPath = strings.TrimPrefix(u.Path, strip), ""
			pr.Out.URL = &u
			pr.SetURL(target)
			pr.SetXForwarded()
			pr.Out.Header.Set("X-Forwarded-Proto", originOf(pr.In).scheme)
		},
		FlushInterval: -1, // as it comes: these servers poll
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if _, big := errors.AsType[*http.MaxBytesError](err); big {
				plain(w, http.StatusRequestEntityTooLarge, "too large\n")
				return
			}
			log.Warn("no answer from a server behind this one", "target", target.Host, "err", err)
			plain(w, http.StatusBadGateway, "no answer\n")
		},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !p.hold() {
		plain(w, http.StatusServiceUnavailable, "shutting down\n")
		return
	}
	defer p.wg.Done()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	r = r.WithContext(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &steadyBody{http.MaxBytesReader(w, r.Body, proxyBody), http.NewResponseController(w)}
	}
	p.behind.ServeHTTP(w, r)
}

// hold counts a request, unless the proxy is closed.
func (p *Proxy) hold() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.wg.Add(1)
	}
	return !p.closed
}

// Close ends requests and WebSockets under way and returns when they have ended.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.wg.Wait()
	return nil
}

// steadyBody may be as long as it likes while it goes on coming.
type steadyBody struct {
	io.ReadCloser
	ctl *http.ResponseController
}

func (b *steadyBody) Read(p []byte) (int, error) {
	_ = b.ctl.SetReadDeadline(time.Now().Add(proxyPause)) // an error: no connection is behind it
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		_ = b.ctl.SetReadDeadline(time.Time{})
	}
	return n, err
}
