package web

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"
)

// Our own page: one document on which a meeting can be held when no stock build
// is installed (deployment.md §3.4). Its files lie below /_/page/, where no room
// can be. The client library is put into page/lib by page/fetch-lib.sh before
// the program is built; without it the page says so.

//go:embed page/*.html page/*.css page/*.js page/*.svg page/lib
var pageFS embed.FS

const pagePrefix = "/_/page/"

// ownPage are the embedded files, read once.
type ownPage struct {
	files map[string][]byte // "main.js", "lib/lib-jitsi-meet.min.js"
}

func openOwnPage() (*ownPage, error) {
	p := &ownPage{files: make(map[string][]byte)}
	err := fs.WalkDir(pageFS, "page", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := pageFS.ReadFile(name)
		p.files[strings.TrimPrefix(name, "page/")] = b
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("embedded page: %w", err)
	}
	if p.files["index.html"] == nil {
		return nil, fmt.Errorf("embedded page: %w", fs.ErrNotExist)
	}
	return p, nil
}

// rootFiles of our page that browsers ask for by themselves and that are
// therefore no rooms.
var rootFiles = map[string]string{"favicon.ico": "icon.svg", "robots.txt": "robots.txt"}

func (s *Server) ownRootFile(w http.ResponseWriter, r *http.Request, name string) {
	if name == "robots.txt" {
		// A room name is a secret as long as nobody finds it in an index.
		plain(w, http.StatusOK, "User-agent: *\nAllow: /$\nDisallow: /\n")
		return
	}
	s.generated(w, r, typeByExt[".svg"], s.page.files[rootFiles[name]], http.StatusOK)
}

// ownPageCSP: scripts only from this server, media from the camera, and the
// library's timers and audio work in workers made from blobs.
func ownPageCSP(st *state, o origin) string {
	csp := "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; " +
		"media-src 'self' blob: mediastream:; worker-src 'self' blob:; font-src 'self'; " +
		"connect-src 'self' " + strings.TrimSuffix(o.wsURL(""), o.subdir()) + "; base-uri 'none'; form-action 'self'"
	if !anyAllowed(st.cfg.FrameAncestors) {
		csp += "; frame-ancestors " + strings.Join(st.cfg.FrameAncestors, " ")
	}
	return csp
}

func (s *Server) ownPage(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", ownPageCSP(s.state.Load(), originOf(r)))
	s.generated(w, r, typeByExt[".html"], s.page.files["index.html"], http.StatusOK)
}

// reserved is everything below /_/.
func (s *Server) reserved(w http.ResponseWriter, r *http.Request, p string) {
	switch {
	case p == "/_/new":
		if onlyGet(w, r) {
			w.Header().Set("Cache-Control", "no-store")
			http.Redirect(w, r, "/"+freshRoom(), http.StatusFound)
		}
	case strings.HasPrefix(p, pagePrefix):
		if onlyGet(w, r) {
			s.pageFile(w, r, strings.TrimPrefix(p, pagePrefix))
		}
	case s.handlers.Files != nil && strings.HasPrefix(p, FilesPrefix+"/"):
		s.handlers.Files.ServeHTTP(w, r)
	case s.handlers.Reserved != nil:
		w.Header().Set("Content-Security-Policy", "frame-ancestors 'none'")
		s.handlers.Reserved.ServeHTTP(w, r)
	default:
		plain(w, http.StatusNotFound, "not found\n")
	}
}

func (s *Server) pageFile(w http.ResponseWriter, r *http.Request, name string) {
	if name == "" || name == "index.html" {
		s.ownPage(w, r)
		return
	}
	body, ok := s.page.files[name]
	if !ok {
		plain(w, http.StatusNotFound, "not found\n")
		return
	}
	s.embedded(w, r, name, body)
}

// embedded serves a file of the program, compressed once.
func (s *Server) embedded(w http.ResponseWriter, r *http.Request, name string, body []byte) {
	h := w.Header()
	ctype := contentType(name)
	h.Set("Content-Type", ctype)
	h.Set("Cache-Control", cacheAsk)
	tag := contentTag(body)
	if compressible(ctype) && len(body) >= gzipMin && r.Header.Get("Range") == "" {
		h.Add("Vary", "Accept-Encoding")
		if accepts(r, "gzip") {
			z, ok := s.gzips.get(tag)
			if !ok {
				var err error
				if z, err = gzipAll(bytes.NewReader(body), 9); err != nil {
					s.fail(w, r, err)
					return
				}
				s.gzips.put(tag, z, s.state.Load().cfg.Limits.GzipCache)
			}
			body, tag = z, tag+"-gzip"
			h.Set("Content-Encoding", "gzip")
		}
	}
	h.Set("ETag", `"`+tag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}
