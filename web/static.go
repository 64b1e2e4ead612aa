package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
)

const (
	cacheForever = "public, max-age=31536000, immutable" // ?v= names this very content
	cacheAnHour  = "public, max-age=3600"
	cacheAsk     = "no-cache" // ask each time; the ETag makes it cheap
)

// file serves a regular file of the build; false when there is none.
func (s *Server) file(w http.ResponseWriter, r *http.Request, b *build, name, cache string) bool {
	f, fi, ok := b.open(name)
	if !ok {
		return false
	}
	defer f.Close()
	if path.Ext(name) == ".html" {
		return s.html(w, r, b, name, http.StatusOK)
	}
	s.content(w, r, name, cache, f, fi, func(suffix string) (*os.File, bool) {
		sf, sfi, ok := b.open(name + suffix)
		if ok && sfi.ModTime().Before(fi.ModTime()) { // made from an older file
			sf.Close()
			return nil, false
		}
		return sf, ok
	})
	return true
}

// content writes a file with its type, ETag and the best coding the client takes.
func (s *Server) content(w http.ResponseWriter, r *http.Request, name, cache string, f *os.File, fi fs.FileInfo, sibling func(suffix string) (*os.File, bool)) {
	ctype := contentType(name)
	tag := strconv.FormatInt(fi.ModTime().UnixNano(), 36) + "-" + strconv.FormatInt(fi.Size(), 36)
	h := w.Header()
	h.Set("Content-Type", ctype)
	h.Set("Cache-Control", cache)
	if compressible(ctype) && fi.Size() >= gzipMin {
		h.Add("Vary", "Accept-Encoding")
		if body, coding, ok := s.coded(r, name+tag, f, fi, sibling); ok {
			defer body.close()
			h.Set("Content-Encoding", coding)
			h.Set("ETag", `"`+tag+"-"+coding+`"`)
			http.ServeContent(w, r, "", fi.ModTime(), body)
			return
		}
	}
	h.Set("ETag", `"`+tag+`"`)
	http.ServeContent(w, r, "", fi.ModTime(), f)
}

type codedBody struct {
	io.ReadSeeker
	close func() error
}

// coded finds a compressed form of f: a sibling made when the build was
// installed, else gzip made now and kept. Ranges are served from the plain file.
func (s *Server) coded(r *http.Request, key string, f *os.File, fi fs.FileInfo, sibling func(string) (*os.File, bool)) (codedBody, string, bool) {
	if r.Header.Get("Range") != "" {
		return codedBody{}, "", false
	}
	for _, c := range []struct{ coding, suffix string }{{"br", ".br"}, {"zstd", ".zst"}, {"gzip", ".gz"}} {
		if accepts(r, c.coding) {
			if sf, ok := sibling(c.suffix); ok {
				return codedBody{sf, sf.Close}, c.coding, true
			}
		}
	}
	limit := s.state.Load().cfg.Limits.GzipCache
	if !accepts(r, "gzip") || fi.Size() > limit {
		return codedBody{}, "", false
	}
	zipped, ok := s.gzips.get(key)
	if !ok {
		var err error
		if zipped, err = gzipAll(f, 6); err != nil {
			f.Seek(0, io.SeekStart)
			return codedBody{}, "", false
		}
		s.gzips.put(key, zipped, limit)
	}
	return codedBody{bytes.NewReader(zipped), func() error { return nil }}, "gzip", true
}

// html serves a page of the build with its includes done.
func (s *Server) html(w http.ResponseWriter, r *http.Request, b *build, name string, status int) bool {
	segs, ok := b.page(name)
	if !ok {
		return false
	}
	o := originOf(r)
	st := s.state.Load()
	p := ssiPage{
		vars: map[string]string{
			"subdir":    strings.TrimPrefix(o.subdir(), "/"),
			"subdomain": o.subdomain(),
			"http_host": o.host,
		},
		load: func(include string) ([]segment, bool) {
			// The generated scripts are data, not documents: nothing in them is
			// taken for a directive.
			switch include {
			case "/config.js":
				return textSegment(st.configJS(o))
			case "/interface_config.js":
				return textSegment(st.interfaceJS(o))
			}
			return b.page(include)
		},
		missing: func(include string) {
			s.log.Debug("include left out", "page", name, "include", include)
		},
	}
	body, err := p.render(name, segs)
	if err != nil {
		s.fail(w, r, fmt.Errorf("page %s: %w", name, err))
		return true
	}
	if csp := st.cfg.CSP; csp != "" {
		w.Header().Add("Content-Security-Policy", csp)
	}
	s.generated(w, r, contentType(name), body, status)
	return true
}

func textSegment(text []byte, err error) ([]segment, bool) {
	return []segment{{kind: segText, text: text}}, err == nil
}

// generated writes something made for this request, with an ETag from its content.
func (s *Server) generated(w http.ResponseWriter, r *http.Request, ctype string, body []byte, status int) {
	h := w.Header()
	h.Set("Content-Type", ctype)
	h.Set("Cache-Control", cacheAsk)
	h.Add("Vary", "Accept-Encoding")
	tag := contentTag(body)
	if len(body) >= gzipMin && r.Header.Get("Range") == "" && accepts(r, "gzip") {
		if z, err := gzipAll(bytes.NewReader(body), 5); err == nil {
			body, tag = z, tag+"-gzip"
			h.Set("Content-Encoding", "gzip")
		}
	}
	if status != http.StatusOK {
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			w.Write(body)
		}
		return
	}
	h.Set("ETag", `"`+tag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// contentTag is an ETag that follows the content alone.
func contentTag(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:12])
}

// notFound is text for a missing script or picture, where a page would only be
// misread (deployment.md §17 #3), and the build's own page for a person.
func (s *Server) notFound(w http.ResponseWriter, r *http.Request, b *build) {
	ext := path.Ext(r.URL.Path)
	if b != nil && (ext == "" || ext == ".html") && strings.Contains(r.Header.Get("Accept"), "text/html") {
		if s.html(w, r, b, "/static/404.html", http.StatusNotFound) {
			return
		}
	}
	plain(w, http.StatusNotFound, "not found\n")
}

// plain writes a short text that nobody keeps.
func plain(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	io.WriteString(w, text)
}
