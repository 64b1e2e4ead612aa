package main

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWebInstall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	name := filepath.Join(t.TempDir(), "build.zip")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	for _, entry := range []string{"jitsi-meet/index.html", "jitsi-meet/libs/lib-jitsi-meet.min.js"} {
		if _, err := z.Create(entry); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(name))))
	t.Cleanup(srv.Close)
	hash := sha256.Sum256(data)
	sum := hex.EncodeToString(hash[:])
	for _, c := range []struct {
		args   []string
		status int
		out    string
	}{
		{[]string{name}, 0, "installed in " + filepath.Join(w.dir, "web")},
		{[]string{"--sha256", strings.Repeat("0", 64), name}, 1, "checksum of " + name + " is " + sum},
		{[]string{srv.URL + "/build.zip"}, 1, "a download needs its checksum; what " + srv.URL + "/build.zip gave has sha256 " + sum},
		{[]string{srv.URL + "/build.zip", "--sha256", sum}, 0, "a running server serves it from now on"},
		{[]string{srv.URL + "/none.zip", "--sha256", sum}, 1, "/none.zip answers 404"},
	} {
		status, out, errOut := w.run(t.Context(), "", append([]string{"web", "install"}, c.args...)...)
		if status != c.status || !strings.Contains(out+errOut, c.out) {
			t.Errorf("confab web install %s: exit %d\n%s%s", c.args, status, out, errOut)
		}
	}
	if _, err := os.Stat(filepath.Join(w.dir, "web", "index.html")); err != nil {
		t.Error(err)
	}
}
