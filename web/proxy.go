package web

import (
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
)

// Proxy hands requests to another server, with their WebSockets: an Etherpad, a
// relay of whiteboards. What stands before the path is taken off; requests arrive
// with the client's address, host and scheme in X-Forwarded-*.
func Proxy(target *url.URL, strip string, log *slog.Logger) http.Handler {
	return &httputil.ReverseProxy{
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
			log.Warn("no answer from a server behind this one", "target", target.Host, "err", err)
			plain(w, http.StatusBadGateway, "no answer\n")
		},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
