package web

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"sync"
)

// gzipMin is the size from which compressing pays (deployment.md §3.1).
const gzipMin = 512

// gzipCache keeps compressed static files; when full it is emptied, since a
// build's few large files are back in it after one request each.
type gzipCache struct {
	mu    sync.Mutex
	files map[string][]byte // by ETag of the plain file
	size  int64
}

func (c *gzipCache) get(etag string) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, ok := c.files[etag]
	return b, ok
}

func (c *gzipCache) put(etag string, b []byte, limit int64) {
	if int64(len(b)) > limit {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.files == nil || c.size+int64(len(b)) > limit {
		c.files, c.size = make(map[string][]byte), 0
	}
	if _, ok := c.files[etag]; !ok {
		c.files[etag] = b
		c.size += int64(len(b))
	}
}

func gzipAll(r io.Reader, level int) ([]byte, error) {
	var b bytes.Buffer
	zw, err := gzip.NewWriterLevel(&b, level)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(zw, r); err != nil {
		return nil, err
	}
	if err := zw.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// compressible are the types worth the effort; media is compressed already.
func compressible(ctype string) bool {
	ctype, _, _ = strings.Cut(ctype, ";")
	switch ctype {
	case "application/javascript", "application/json", "application/manifest+json", "application/xml",
		"application/wasm", "application/octet-stream", "image/svg+xml", "image/x-icon", "font/ttf":
		return true
	}
	return strings.HasPrefix(ctype, "text/")
}

// accepts reports whether the client takes a content coding (RFC 9110 §12.5.3);
// a quality of zero refuses it.
func accepts(r *http.Request, coding string) bool {
	for _, line := range r.Header.Values("Accept-Encoding") {
		for item := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(item, ";")
			if strings.EqualFold(strings.TrimSpace(name), coding) {
				q := strings.ReplaceAll(params, " ", "")
				return q != "q=0" && q != "q=0.0" && q != "q=0.00" && q != "q=0.000"
			}
		}
	}
	return false
}
