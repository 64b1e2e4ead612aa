package files

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const meeting1 = "7c9e6679-7425-40de-944b-e07fc1f90ae7"

// newStore has a live meeting. Tokens are "MEETING" or "MEETING write".
func newStore(t testing.TB, change func(*Config)) *Store {
	t.Helper()
	cfg := Config{
		Dir: filepath.Join(t.TempDir(), "files"), Prefix: "/_/files", Log: slog.New(slog.DiscardHandler),
		Limits: Limits{File: 1 << 20, PerMeeting: 100, Disk: 10 << 20, Uploads: 1000},
		Verify: func(tok string) (Grant, error) {
			id, rest, _ := strings.Cut(tok, " ")
			if id == "bad" {
				return Grant{}, errors.New("expired")
			}
			return Grant{Meeting: id, Write: rest == "write"}, nil
		},
		Origin:  func(r *http.Request) string { return "http://" + r.Host },
		Address: func(*http.Request) string { return "192.0.2.1" },
	}
	if change != nil {
		change(&cfg)
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	s.Begin(meeting1)
	return s
}

type server struct {
	*httptest.Server
	t *testing.T
	s *Store
}

func serve(t *testing.T, s *Store) server {
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return server{srv, t, s}
}

func (s server) do(verb, path, token string, body io.Reader, ctype string) (*http.Response, string) {
	s.t.Helper()
	if strings.HasPrefix(path, "/") {
		path = s.URL + path
	}
	req, err := http.NewRequestWithContext(s.t.Context(), verb, path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if ctype != "" {
		req.Header.Set("Content-Type", ctype)
	}
	resp, err := s.Client().Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp, string(b)
}

// formName is how browsers write names (HTML, multipart/form-data encoding).
var formName = strings.NewReplacer(`"`, "%22", "\r", "%0D", "\n", "%0A", "\x00", "")

// form is what jitsi-meet's uploadFile sends.
func form(t testing.TB, id, name, ctype, content string) (*bytes.Buffer, string) {
	t.Helper()
	meta, err := json.Marshal(map[string]any{"authorParticipantId": "1f6f329b", "fileId": id, "fileName": name, "fileSize": len(content), "timestamp": 1})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	err1 := w.WriteField("metadata", string(meta))
	p, err2 := w.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {`form-data; name="file"; filename="` + formName.Replace(name) + `"`}, "Content-Type": {ctype}})
	_, err3 := io.WriteString(p, content)
	if err := errors.Join(err1, err2, err3, w.Close()); err != nil {
		t.Fatal(err)
	}
	return &b, w.FormDataContentType()
}

func (s server) upload(id, name, ctype, content string) (*http.Response, string) {
	s.t.Helper()
	b, ct := form(s.t, id, name, ctype, content)
	return s.do("POST", "/_/files/sessions/"+meeting1+"/files", meeting1+" write", b, ct)
}

func (s server) find(id string) (addr, name string) {
	s.t.Helper()
	resp, body := s.do("GET", "/_/files/sessions/"+meeting1+"/files/"+id, meeting1, nil, "")
	var out struct{ PresignedURL, FileName string }
	if resp.StatusCode != 200 || json.Unmarshal([]byte(body), &out) != nil {
		s.t.Fatal(resp.Status, body)
	}
	return out.PresignedURL, out.FileName
}

func onDisk(t testing.TB, s *Store) []string {
	t.Helper()
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// gone fails unless nothing is left after the sweep.
func gone(t testing.TB, s *Store) {
	t.Helper()
	s.sweep()
	if n, used := s.Stats(); len(onDisk(t, s)) != 0 || n != 0 || used != 0 {
		t.Errorf("left: %v, %d files, %d bytes", onDisk(t, s), n, used)
	}
}

func TestShare(t *testing.T) {
	t.Parallel()
	srv := serve(t, newStore(t, nil))
	resp, body := srv.upload("5c1f", "Überblick, neu.html", "text/html", "<script>alert(1)</script>")
	if resp.StatusCode != 201 || body != `{"fileId":"5c1f"}`+"\n" || !srv.s.Has(meeting1, "5c1f") {
		t.Fatal(resp.Status, body)
	}
	addr, name := srv.find("5c1f")
	if name != "Überblick, neu.html" || !strings.HasPrefix(addr, srv.URL+"/_/files/get/") {
		t.Fatal(addr, name)
	}
	resp, body = srv.do("GET", addr, "", nil, "")
	h := resp.Header
	if body != "<script>alert(1)</script>" || h.Get("Content-Type") != "application/octet-stream" ||
		h.Get("Content-Disposition") != "attachment; filename*=utf-8''%C3%9Cberblick%2C%20neu.html" ||
		h.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(h.Get("Content-Security-Policy"), "sandbox") ||
		h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Cache-Control") != "no-store" {
		t.Fatal(resp.Status, h, body)
	}
	// The answer to a second DELETE is the same: the list's removal may come first.
	for range 2 {
		if resp, _ := srv.do("DELETE", "/_/files/sessions/"+meeting1+"/files/5c1f", meeting1+" write", nil, ""); resp.StatusCode != 204 {
			t.Fatal(resp.Status)
		}
	}
	if resp, _ := srv.do("GET", addr, "", nil, ""); resp.StatusCode != 404 {
		t.Error("a removed file is served:", resp.Status)
	}
	if resp, _ := srv.do("GET", "/_/files/sessions/"+meeting1+"/files/5c1f", meeting1, nil, ""); resp.StatusCode != 404 {
		t.Error("a removed file is found:", resp.Status)
	}
	gone(t, srv.s)
}

func TestTypes(t *testing.T) {
	t.Parallel()
	srv := serve(t, newStore(t, nil))
	for i, c := range []struct{ sent, want string }{
		{"image/png", "image/png"}, {"video/mp4; codecs=avc1", "video/mp4"}, {"image/svg+xml", anyType}, {"text/html", anyType},
		{"text/javascript", anyType}, {"application/pdf", anyType}, {"application/xhtml+xml", anyType}, {"", anyType}, {"image/png, text/html", anyType},
	} {
		id := fmt.Sprint("f", i)
		if resp, body := srv.upload(id, "x", c.sent, "x"); resp.StatusCode != 201 {
			t.Fatal(resp.Status, body)
		}
		addr, _ := srv.find(id)
		if resp, _ := srv.do("GET", addr, "", nil, ""); resp.Header.Get("Content-Type") != c.want || !strings.HasPrefix(resp.Header.Get("Content-Disposition"), "attachment") {
			t.Errorf("%q became %q", c.sent, resp.Header.Get("Content-Type"))
		}
	}
}

func TestWhoMay(t *testing.T) {
	t.Parallel()
	srv := serve(t, newStore(t, nil))
	if resp, _ := srv.upload("f1", "a.txt", "text/plain", "a"); resp.StatusCode != 201 {
		t.Fatal(resp.Status)
	}
	path := "/_/files/sessions/" + meeting1 + "/files"
	for _, c := range []struct {
		verb, path, token string
		want              int
	}{
		{"POST", path, "", 401}, {"POST", path, "bad", 401}, {"POST", path, meeting1, 403}, {"POST", path, "other write", 403},
		{"GET", path + "/f1", "", 401}, {"GET", path + "/f1", "other", 403}, {"GET", path + "/f1", meeting1, 200},
		{"GET", path + "/f2", meeting1, 404},
		{"DELETE", path + "/f1", meeting1, 403}, {"DELETE", path + "/f1", "other write", 403}, {"DELETE", path + "/f1", "bad", 401},
		{"GET", path, meeting1, 405}, {"PUT", path + "/f1", meeting1 + " write", 405},
		{"GET", "/_/files/sessions/other/files/f1", meeting1, 403}, {"GET", "/_/files/sessions//files/f1", " write", 403},
		{"GET", "/_/files/", meeting1, 404}, {"GET", "/_/files/get/", meeting1, 404}, {"GET", "/_/elsewhere", meeting1, 404},
		{"OPTIONS", path, "", 204},
	} {
		b, ct := form(t, "f3", "x", "", "x")
		if resp, body := srv.do(c.verb, c.path, c.token, b, ct); resp.StatusCode != c.want {
			t.Errorf("%s %s as %q: %s %s", c.verb, c.path, c.token, resp.Status, body)
		}
	}
	// The meeting of a valid token that has ended.
	srv.s.End(meeting1)
	if resp, _ := srv.upload("f4", "a.txt", "text/plain", "a"); resp.StatusCode != 404 {
		t.Error("upload to a meeting that ended:", resp.Status)
	}
	gone(t, srv.s)
}

func TestAddressIsSigned(t *testing.T) {
	t.Parallel()
	s := newStore(t, nil)
	srv := serve(t, s)
	if resp, _ := srv.upload("f1", "a.txt", "text/plain", "a"); resp.StatusCode != 201 {
		t.Fatal(resp.Status)
	}
	f := s.file(meeting1, "f1")
	good := s.address(f, time.Now())
	for _, c := range []struct {
		path string
		want int
	}{
		{good, 200},
		{s.address(f, time.Now().Add(-addressLifetime-2*time.Second)), 404},
		{strings.Replace(good, "until=", "until=9", 1), 404},
		{strings.Split(good, "&sig=")[0], 404},
		{strings.Split(good, "?")[0], 404},
		{good[:len(good)-1] + "x", 404},
		{strings.Replace(good, f.key, strings.Repeat("0", 32), 1), 404},
	} {
		if resp, _ := srv.do("GET", c.path, "", nil, ""); resp.StatusCode != c.want {
			t.Errorf("%s: %s", c.path, resp.Status)
		}
	}
	resp, _ := srv.do("HEAD", good, "", nil, "")
	if resp.StatusCode != 200 || resp.ContentLength != 1 {
		t.Error(resp.Status)
	}
}

func TestNamesAreNoPaths(t *testing.T) {
	t.Parallel()
	s := newStore(t, nil)
	srv := serve(t, s)
	for _, id := range []string{"../x", "..", "a/b", `a\b`, "a\x00b", "", strings.Repeat("a", idBytes+1), "%2e%2e"} {
		if resp, body := srv.upload(id, "x", "", "x"); resp.StatusCode != 400 {
			t.Errorf("id %q: %s %s", id, resp.Status, body)
		}
	}
	for i, c := range []struct{ sent, want string }{
		{"../../../etc/passwd", "passwd"}, {`C:\Users\x\a.doc`, "a.doc"}, {"..", "file"}, {"a\r\nSet-Cookie: x", "aSet-Cookie: x"},
		{"a\u202egnp.exe", "agnp.exe"}, {"a\x00b", "ab"}, {strings.Repeat("ü", 200), strings.Repeat("ü", 127)}, {`a";b`, `a";b`},
	} {
		id := fmt.Sprint("f", i)
		if resp, body := srv.upload(id, c.sent, "", "x"); resp.StatusCode != 201 {
			t.Fatal(c.sent, resp.Status, body)
		}
		addr, name := srv.find(id)
		if name != c.want {
			t.Errorf("%q became %q", c.sent, name)
		}
		if resp, _ := srv.do("GET", addr, "", nil, ""); len(resp.Header["Set-Cookie"]) > 0 || resp.StatusCode != 200 {
			t.Errorf("%q: %v", c.sent, resp.Header)
		}
	}
	for _, name := range onDisk(t, s) {
		if strings.Trim(name, "0123456789abcdefghijklmnopqrstuvwxyz") != "" || len(name) > 3 {
			t.Errorf("on disk: %q", name)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(s.cfg.Dir)); err != nil || len(entries) != 1 {
		t.Error(entries, err)
	}
	for _, path := range []string{"/_/files/get/..%2f..%2fetc", "/_/files/get/1?until=9999999999&sig=", "/_/files/sessions/..%2f/files/x"} {
		if resp, _ := srv.do("GET", path, "", nil, ""); resp.StatusCode == 200 {
			t.Error(path)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	s := newStore(t, func(c *Config) {
		c.Limits = Limits{File: 1000, PerMeeting: 3, Disk: 2500, Uploads: 100}
	})
	srv := serve(t, s)
	want := func(status int, id, content string) {
		t.Helper()
		if resp, body := srv.upload(id, "x", "", content); resp.StatusCode != status {
			t.Errorf("%s: %s %s", id, resp.Status, body)
		}
	}
	want(413, "big", strings.Repeat("x", 1001))
	want(413, "huge", strings.Repeat("x", 1000+overheadBytes))
	want(201, "f1", strings.Repeat("x", 1000))
	want(409, "f1", "again")
	want(201, "f2", strings.Repeat("x", 1000))
	want(507, "f3", strings.Repeat("x", 600))
	want(201, "f3", strings.Repeat("x", 500))
	want(403, "f4", "")
	s.Remove(meeting1, "f1")
	s.sweep()
	want(201, "f4", strings.Repeat("x", 1000))
	s.SetLimits(Limits{File: 1000, PerMeeting: 100, Disk: 1 << 20, Uploads: 1})
	want(201, "f5", "one")
	want(429, "f6", "two")
	if n, used := s.Stats(); n != 4 || used != 2503 {
		t.Error(n, used)
	}
}

// TestChunkedTooBig: without a length the bytes are counted.
func TestChunkedTooBig(t *testing.T) {
	t.Parallel()
	s := newStore(t, func(c *Config) { c.Limits.File = 1000 })
	srv := serve(t, s)
	b, ct := form(t, "f1", "x", "", strings.Repeat("x", 200000))
	if resp, _ := srv.do("POST", "/_/files/sessions/"+meeting1+"/files", meeting1+" write", struct{ io.Reader }{b}, ct); resp.StatusCode != 413 {
		t.Error(resp.Status)
	}
	gone(t, s)
}

func TestMalformed(t *testing.T) {
	t.Parallel()
	s := newStore(t, nil)
	srv := serve(t, s)
	full, ct := form(t, "f1", "x", "", "content")
	text := full.String()
	_, boundary, _ := strings.Cut(ct, "boundary=")
	for name, body := range map[string]string{
		"empty":          "",
		"no end":         strings.TrimSuffix(text, "--"+boundary+"--\r\n"),
		"cut":            text[:len(text)-len(boundary)-20],
		"only metadata":  text[:strings.Index(text, `name="file"`)-60] + "--" + boundary + "--\r\n",
		"a third part":   strings.TrimSuffix(text, "--\r\n") + "\r\nContent-Disposition: form-data; name=\"more\"\r\n\r\nx\r\n--" + boundary + "--\r\n",
		"wrong names":    strings.Replace(text, `name="metadata"`, `name="other"`, 1),
		"no JSON":        strings.Replace(text, `{"author`, `{author`, 1),
		"long metadata":  strings.Replace(text, `{"author`, `{"a":"`+strings.Repeat("x", metadataBytes)+`","author`, 1),
		"id is a number": strings.Replace(text, `"fileId":"f1"`, `"fileId":1`, 1),
	} {
		if resp, got := srv.do("POST", "/_/files/sessions/"+meeting1+"/files", meeting1+" write", strings.NewReader(body), ct); resp.StatusCode != 400 {
			t.Errorf("%s: %s %s", name, resp.Status, got)
		}
	}
	if resp, _ := srv.do("POST", "/_/files/sessions/"+meeting1+"/files", meeting1+" write", strings.NewReader("{}"), "application/json"); resp.StatusCode != 400 {
		t.Error(resp.Status)
	}
	gone(t, s)
}

// TestBroken: a connection that ends in the middle leaves nothing.
func TestBroken(t *testing.T) {
	t.Parallel()
	s := newStore(t, nil)
	ended := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	b, ct := form(t, "f1", "x", "", strings.Repeat("x", 100000))
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "POST /_/files/sessions/%s/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s write\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n",
		meeting1, meeting1, ct, b.Len())
	c.Write(b.Next(50000))
	c.Close()
	<-ended
	gone(t, s)
}

// TestEndWhileUploading: the upload fails at once and its bytes go.
func TestEndWhileUploading(t *testing.T) {
	t.Parallel()
	s := newStore(t, nil)
	f, err := s.begin(meeting1, "f1", "x", anyType)
	if err != nil {
		t.Fatal(err)
	}
	in, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := s.write(f, in)
		in.Close()
		done <- err
	}()
	out.Write([]byte("first half"))
	s.End(meeting1)
	s.Begin(meeting1) // even if an id came back
	out.Write([]byte("second half"))
	out.Close()
	if err := <-done; !errors.Is(err, errNoMeeting) {
		t.Fatal(err)
	}
	if s.Has(meeting1, "f1") {
		t.Error("it is in the new meeting")
	}
	gone(t, s)
}

func TestEndsWithMeeting(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, func(c *Config) { c.Dir = dir })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		for i := range 10 {
			f, err := s.begin(meeting1, fmt.Sprint(i), "x", anyType)
			if err == nil {
				err = s.write(f, strings.NewReader("content"))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		s.Remove(meeting1, "3")
		synctest.Wait()
		if n := len(onDisk(t, s)); n != 9 {
			t.Error(n)
		}
		s.End(meeting1)
		s.End(meeting1)
		synctest.Wait()
		if n := len(onDisk(t, s)); n != 0 {
			t.Error(n)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// TestAfterACrash: what an earlier process left is of no meeting.
func TestAfterACrash(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "files")
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "old"), 0o700), os.WriteFile(filepath.Join(dir, "1"), []byte("x"), 0o600),
		os.WriteFile(filepath.Join(dir, "old", "2"), []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	s := newStore(t, func(c *Config) { c.Dir = dir })
	gone(t, s)
	f, err := s.begin(meeting1, "f1", "x", anyType)
	if err != nil || s.write(f, strings.NewReader("x")) != nil {
		t.Fatal(err)
	}
	again, err := Open(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if names := onDisk(t, again); len(names) != 0 {
		t.Error(names)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// TestNotInMemory: a large file passes through.
func TestNotInMemory(t *testing.T) {
	const size = 64 << 20
	s := newStore(t, func(c *Config) { c.Limits.File, c.Limits.Disk = size, size })
	const boundary = "b"
	head := "--b\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\r\n{\"fileId\":\"f1\"}\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\n"
	r := httptest.NewRequest("POST", "/", io.MultiReader(strings.NewReader(head), io.LimitReader(zeros{}, size), strings.NewReader("\r\n--b--\r\n")))
	r.Header.Set("Content-Type", "multipart/form-data; boundary="+boundary)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := s.receive(r, meeting1); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("%d bytes allocated", got)
	}
	if _, used := s.Stats(); used != size {
		t.Error(used)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// FuzzUpload: whatever a body holds, what fails leaves nothing, and what doesn't
// is one file with the id that was said.
func FuzzUpload(f *testing.F) {
	for _, seed := range []string{
		"--b\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\r\n{\"fileId\":\"f1\",\"fileName\":\"a\"}\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\nabc\r\n--b--\r\n",
		"--b\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\r\n{\"fileId\":\"../f1\"}\r\n--b--", "--b--", "",
	} {
		f.Add(seed)
	}
	s := newStore(f, nil)
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Header.Set("Content-Type", "multipart/form-data; boundary=b")
		id, err := s.receive(r, meeting1)
		if err == nil {
			file := s.file(meeting1, id)
			if !validID(id) || file == nil || file.name != fileName(file.name) || strings.ContainsAny(file.name, "/\\\r\n\x00") {
				t.Fatalf("%q %+v", id, file)
			}
			if _, err := url.ParseQuery(s.address(file, time.Now())); err != nil {
				t.Fatal(err)
			}
			s.Remove(meeting1, id)
		}
		gone(t, s)
	})
}
