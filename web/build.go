package web

import (
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"time"
)

// keepOld is how long the files of the build before the last `confab web
// install` stay served: open tabs load their lazy chunks from there
// (deployment.md §3.4).
const keepOld = 24 * time.Hour

// buildDir is a directory with a stock web build. It is looked at again on every
// page, so that an installed or upgraded build is served without a restart.
type buildDir struct {
	path string

	mu    sync.Mutex
	build *build
}

// build is one opened state of a buildDir. os.Root keeps every name, and every
// link on the way, inside.
type build struct {
	root *os.Root
	info fs.FileInfo
	old  *os.Root // the build before, nil or empty when there is none
	till time.Time

	mu    sync.Mutex
	pages map[string]parsedPage // by path, "/index.html"
}

type parsedPage struct {
	mod  time.Time
	size int64
	segs []segment
}

// current returns the opened build; nil when there is no index.html.
func (d *buildDir) current() *build {
	if d == nil || d.path == "" {
		return nil
	}
	info, err := os.Stat(d.path)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.build = nil
		return nil
	}
	if d.build != nil && os.SameFile(d.build.info, info) {
		return d.build
	}
	d.build = nil
	root, err := os.OpenRoot(d.path)
	if err != nil {
		return nil
	}
	if fi, err := root.Stat("index.html"); err != nil || !fi.Mode().IsRegular() {
		root.Close()
		return nil
	}
	b := &build{root: root, info: info, pages: make(map[string]parsedPage)}
	if fi, err := os.Stat(d.path + oldSuffix); err == nil && time.Since(fi.ModTime()) < keepOld {
		if b.old, err = os.OpenRoot(d.path + oldSuffix); err == nil {
			b.till = fi.ModTime().Add(keepOld)
		}
	}
	// A build replaced by this one is closed by its finalizer, when the last
	// request that uses it is done.
	d.build = b
	return b
}

// open opens a regular file by its URL path; ok is false for anything else.
func (b *build) open(name string) (*os.File, fs.FileInfo, bool) {
	f, fi, ok := openRegular(b.root, name)
	if !ok && b.old != nil && time.Now().Before(b.till) {
		f, fi, ok = openRegular(b.old, name)
	}
	return f, fi, ok
}

func openRegular(root *os.Root, name string) (*os.File, fs.FileInfo, bool) {
	name = strings.TrimPrefix(name, "/")
	if name == "" || hidden(name) {
		return nil, nil, false
	}
	// Look before opening: opening a named pipe would wait for its writer.
	fi, err := root.Stat(name)
	if err != nil || !fi.Mode().IsRegular() {
		return nil, nil, false
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, nil, false
	}
	return f, fi, true
}

// hidden reports whether a path names something that editors and packagers
// leave behind rather than a file of the site.
func hidden(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, ".") && part != ".well-known" {
			return true
		}
	}
	return false
}

// page returns the parsed HTML file of a URL path, read again when it changed.
func (b *build) page(name string) ([]segment, bool) {
	f, fi, ok := b.open(name)
	if !ok || fi.Size() > ssiOutput {
		if ok {
			f.Close()
		}
		return nil, false
	}
	defer f.Close()
	b.mu.Lock()
	p, ok := b.pages[name]
	b.mu.Unlock()
	if ok && p.size == fi.Size() && p.mod.Equal(fi.ModTime()) {
		return p.segs, true
	}
	src, err := io.ReadAll(io.LimitReader(f, ssiOutput))
	if err != nil {
		return nil, false
	}
	p = parsedPage{mod: fi.ModTime(), size: fi.Size(), segs: parseSSI(src)}
	b.mu.Lock()
	if len(b.pages) > 500 { // more pages than any build has: a moving target
		clear(b.pages)
	}
	b.pages[name] = p
	b.mu.Unlock()
	return p.segs, true
}

// typeByExt are the types of everything in a stock build; the system's own table
// is not asked, so that every machine answers alike (deployment.md §3.1).
var typeByExt = map[string]string{
	".html":        "text/html; charset=utf-8",
	".js":          "application/javascript; charset=utf-8",
	".mjs":         "application/javascript; charset=utf-8",
	".css":         "text/css; charset=utf-8",
	".json":        "application/json",
	".map":         "application/json",
	".webmanifest": "application/manifest+json",
	".txt":         "text/plain; charset=utf-8",
	".md":          "text/plain; charset=utf-8",
	".xml":         "application/xml",
	".svg":         "image/svg+xml",
	".png":         "image/png",
	".jpg":         "image/jpeg",
	".jpeg":        "image/jpeg",
	".gif":         "image/gif",
	".webp":        "image/webp",
	".avif":        "image/avif",
	".ico":         "image/x-icon",
	".woff":        "font/woff",
	".woff2":       "font/woff2",
	".ttf":         "font/ttf",
	".otf":         "font/otf",
	".eot":         "application/vnd.ms-fontobject",
	".mp3":         "audio/mpeg",
	".opus":        "audio/ogg",
	".ogg":         "audio/ogg",
	".wav":         "audio/wav", // Firefox refuses any other
	".mp4":         "video/mp4",
	".webm":        "video/webm",
	".wasm":        "application/wasm",
	".tflite":      "application/octet-stream",
	".pdf":         "application/pdf",
}

func contentType(name string) string {
	if t, ok := typeByExt[strings.ToLower(path.Ext(name))]; ok {
		return t
	}
	switch path.Base(name) {
	case "apple-app-site-association": // deployment.md §8
		return "application/json"
	case "_unlock":
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}
