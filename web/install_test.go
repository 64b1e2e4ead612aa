package web

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type entry struct {
	name, text string
	kind       byte
}

var release = []entry{
	{"jitsi-meet/", "", tar.TypeDir},
	{"jitsi-meet/index.html", "<html>", tar.TypeReg},
	{"jitsi-meet/libs/lib-jitsi-meet.min.js", strings.Repeat("lib ", 500), tar.TypeReg},
}

func tgz(t testing.TB, entries []entry) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	tw := tar.NewWriter(zw)
	for _, e := range entries {
		hdr := &tar.Header{Name: e.name, Typeflag: e.kind, Mode: 0o4777, Size: int64(len(e.text))}
		if e.kind == tar.TypeSymlink || e.kind == tar.TypeLink {
			hdr.Linkname, hdr.Size = e.text, 0
		}
		if err := tw.WriteHeader(hdr); err != nil {
			t.Fatal(err)
		}
		if e.kind == tar.TypeReg {
			if _, err := tw.Write([]byte(e.text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipped(t testing.TB, entries []entry) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := zip.NewWriter(&b)
	for _, e := range entries {
		hdr := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		switch e.kind {
		case tar.TypeDir:
			hdr.SetMode(os.ModeDir | 0o755)
		case tar.TypeSymlink:
			hdr.SetMode(os.ModeSymlink | 0o777)
		default:
			hdr.SetMode(0o644)
		}
		w, err := zw.CreateHeader(hdr)
		if err != nil {
			t.Fatal(err)
		}
		if e.kind != tar.TypeDir {
			if _, err := w.Write([]byte(e.text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t *testing.T, name string, b []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

func sumOf(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }

func TestInstall(t *testing.T) {
	t.Parallel()
	flat := make([]entry, 0, len(release))
	for _, e := range release[1:] {
		flat = append(flat, entry{"./" + strings.TrimPrefix(e.name, "jitsi-meet/"), e.text, e.kind})
	}
	bz, err := os.ReadFile("testdata/release.tar.bz2")
	if err != nil {
		t.Fatal(err)
	}
	for name, archive := range map[string][]byte{
		"stock.tar.bz2": bz,
		"folder.tar.gz": tgz(t, release),
		"flat.tar.gz":   tgz(t, flat),
		"folder.zip":    zipped(t, release),
		"flat.zip":      zipped(t, flat),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := t.TempDir()
			dir := filepath.Join(data, "web")
			src := write(t, name, archive)
			if err := Install(t.Context(), src, sumOf(archive), dir); err != nil {
				t.Fatal(err)
			}
			for _, f := range []string{"index.html", "libs/lib-jitsi-meet.min.js", "libs/lib-jitsi-meet.min.js.gz"} {
				fi, err := os.Stat(filepath.Join(dir, f))
				if err != nil || fi.Mode().Perm() != 0o644 {
					t.Errorf("%s: %v %v", f, fi, err)
				}
			}
			// Once more: the build before is kept, nothing else is left over.
			if err := Install(t.Context(), src, "sha256:"+strings.ToUpper(sumOf(archive)), dir); err != nil {
				t.Fatal(err)
			}
			left, err := os.ReadDir(data)
			if err != nil || len(left) != 2 || left[0].Name() != "web" || left[1].Name() != "web.old" {
				t.Errorf("left over: %v %v", left, err)
			}
		})
	}
}

func TestInstallRefuses(t *testing.T) {
	t.Parallel()
	with := func(e ...entry) []byte { return tgz(t, append(append([]entry{}, release...), e...)) }
	lim := DefaultInstallLimits()
	lim.Bytes, lim.Entries = 10_000, 20
	many := make([]entry, 30)
	for i := range many {
		many[i] = entry{"jitsi-meet/libs/" + strings.Repeat("x", i+1), "", tar.TypeReg}
	}
	for _, c := range []struct {
		name, want string
		archive    []byte
	}{
		{"absolute", "not a path inside", with(entry{"/etc/cron.d/x", "x", tar.TypeReg})},
		{"climbing", "leaves the archive", with(entry{"jitsi-meet/../../x", "x", tar.TypeReg})},
		{"climbing, zip", "leaves the archive", zipped(t, append(append([]entry{}, release...), entry{"../x", "x", tar.TypeReg}))},
		{"backslash, zip", "not a path inside", zipped(t, append(append([]entry{}, release...), entry{`..\x`, "x", tar.TypeReg}))},
		{"link", "is a link or a device", with(entry{"jitsi-meet/l", "/etc/passwd", tar.TypeSymlink})},
		{"hard link", "is a link or a device", with(entry{"jitsi-meet/l", "/etc/passwd", tar.TypeLink})},
		{"link, zip", "is a link or a device", zipped(t, append(append([]entry{}, release...), entry{"jitsi-meet/l", "/etc/passwd", tar.TypeSymlink}))},
		{"device", "is a link or a device", with(entry{"jitsi-meet/d", "", tar.TypeChar})},
		{"the same file twice", "exist", with(release[1])},
		{"a file as a folder", "index.html", with(entry{"jitsi-meet/index.html/x", "x", tar.TypeReg})},
		{"bomb", "more than 10000 bytes", with(entry{"jitsi-meet/big", strings.Repeat("0", 20_000), tar.TypeReg})},
		{"bomb, zip", "more than 10000 bytes", zipped(t, append(append([]entry{}, release...), entry{"jitsi-meet/big", strings.Repeat("0", 20_000), tar.TypeReg}))},
		{"too many", "more than 20 entries", with(many...)},
		{"no index", "no index.html", tgz(t, release[2:])},
		{"source", "not a build", tgz(t, release[:2])},
		{"deb", "Debian package", []byte("!<arch>\ndebian-binary   ")},
		{"html page", "neither a tar", []byte("<html>not found</html>")},
		{"empty", "neither a tar", nil},
		{"cut off", "unexpected EOF", with()[:100]},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			data := t.TempDir()
			dir := filepath.Join(data, "web")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("before"), 0o644); err != nil {
				t.Fatal(err)
			}
			err := InstallWith(t.Context(), write(t, "archive", c.archive), "", dir, lim)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
			if b, _ := os.ReadFile(filepath.Join(dir, "index.html")); string(b) != "before" {
				t.Error("the build before is gone")
			}
			if left, _ := os.ReadDir(data); len(left) != 1 {
				t.Errorf("left over: %v", left)
			}
		})
	}
}

func TestInstallFromURL(t *testing.T) {
	t.Parallel()
	archive := tgz(t, release)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/release.tar.gz" {
			http.NotFound(w, r)
			return
		}
		w.Write(archive)
	}))
	defer srv.Close()
	dir := filepath.Join(t.TempDir(), "web")
	url := srv.URL + "/release.tar.gz"
	if err := Install(t.Context(), url, "", dir); err == nil || !strings.Contains(err.Error(), sumOf(archive)) {
		t.Errorf("without a checksum: %v", err)
	}
	if err := Install(t.Context(), url, sumOf([]byte("other")), dir); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("with a wrong checksum: %v", err)
	}
	if err := Install(t.Context(), srv.URL+"/none", sumOf(archive), dir); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("missing: %v", err)
	}
	if err := InstallWith(t.Context(), url, sumOf(archive), dir, InstallLimits{Archive: 10, Bytes: 1 << 20, Entries: 100, Timeout: 1 << 40}); err == nil || !strings.Contains(err.Error(), "larger than 10") {
		t.Errorf("too large: %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("something was installed")
	}
	if err := Install(t.Context(), url, sumOf(archive), dir); err != nil {
		t.Errorf("with its checksum: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Install(gone, url, sumOf(archive), dir); err == nil {
		t.Error("a cancelled install goes on")
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}
