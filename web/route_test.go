package web

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tell answers with what it was called for.
func tell(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s?%s tenant=%s from=%s", name, r.Method, r.URL.Path, r.URL.RawQuery, tenantOf(r), r.RemoteAddr)
	})
}

func tellAll() Handlers {
	return Handlers{
		XMPPWebSocket: tell("ws"), BOSH: tell("bosh"), ConferenceRequest: tell("focus"),
		ColibriWS: tell("colibri"), Reserved: tell("reserved"), RoomInfo: tell("info"),
	}
}

// The rows of deployment.md §3.2 and of the checklist §17 (#2, #3, #4, #7).
func TestRoutesOfAStockBuild(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Dir = stock(t)
	s := open(t, cfg, tellAll())
	const (
		app   = `<div id="react">`
		html  = "text/html; charset=utf-8"
		js    = "application/javascript; charset=utf-8"
		plain = "text/plain; charset=utf-8"
	)
	upgrade := []string{"Connection: Upgrade", "Upgrade: websocket"}
	for _, c := range []struct {
		name, request string
		headers       []string
		status        int
		ctype, body   string
	}{
		{"1 config.js", "GET /config.js?room=standup", nil, 200, js, `var config = {`},
		{"2 interface_config.js", "GET /interface_config.js", nil, 200, js, `var interfaceConfig = {`},
		{"3 external_api.js", "GET /external_api.js", nil, 200, js, "external api"},
		{"4 room-info", "GET /_api/room-info?room=x&prefix=y", nil, 200, "", "info GET /_api/room-info?room=x&prefix=y tenant= "},
		{"4 room-info of a tenant", "GET /acme/_api/room-info?room=x&prefix=y", nil, 200, "", "info GET /acme/_api/room-info?room=x&prefix=acme tenant=acme "},
		{"5 public file that isn't there", "GET /_api/public/branding.json", nil, 404, plain, ""},
		{"6 script", "GET /libs/app.bundle.min.js?v=7", nil, 200, js, "part7"},
		{"6 style", "GET /css/all.css", nil, 200, "text/css; charset=utf-8", "margin"},
		{"6 wasm", "GET /libs/x.wasm", nil, 200, "application/wasm", ""},
		{"6 wav", "GET /sounds/ring.wav", nil, 200, "audio/wav", ""},
		{"6 language", "GET /lang/main.json", nil, 200, "application/json", ""},
		{"6 page with includes", "GET /static/close3.html", nil, 200, html, "<title>Fixture</title>"},
		{"6 missing script is no page", "GET /libs/none.js", []string{"Accept: text/html,*/*"}, 404, plain, "not found"},
		{"6 missing page, person", "GET /static/none.html", []string{"Accept: text/html"}, 404, html, "no such page"},
		{"6 missing page, program", "GET /static/none.html", nil, 404, plain, ""},
		{"7 bosh", "POST /http-bind?room=standup", nil, 200, "", "bosh POST /http-bind?room=standup tenant= "},
		{"8 websocket", "GET /xmpp-websocket?room=a&previd=x", upgrade, 200, "", "ws GET /xmpp-websocket?room=a&previd=x tenant= "},
		{"8 keep-alive", "GET /xmpp-websocket?room=a&previd=x", nil, 200, plain, "websocket"},
		{"9 colibri", "GET /colibri-ws/default-id/conf/ep?pwd=1", upgrade, 200, "", "colibri GET /colibri-ws/default-id/conf/ep?pwd=1"},
		{"14 unlock", "GET /_unlock?room=a", nil, 200, plain, "OK"},
		{"15 conference request", "POST /conference-request/v1?room=a", nil, 200, "", "focus POST /conference-request/v1?room=a"},
		{"15 preflight", "OPTIONS /conference-request/v1", nil, 200, "", ""},
		{"15 method", "DELETE /conference-request/v1", nil, 405, plain, ""},
		{"16 welcome page", "GET /", nil, 200, html, app},
		{"16 room", "GET /standup", nil, 200, html, app},
		{"16 room in Greek", "GET /%CE%A3%CF%8D%CF%83%CE%BA%CE%B5%CF%88%CE%B7", nil, 200, html, app},
		{"16 room that looks like a file", "GET /wp-login.php", nil, 200, html, app},
		{"16 room named as a directory", "GET /libs", nil, 200, html, app},
		{"16 index", "GET /index.html", nil, 200, html, app},
		{"16 manifest", "GET /manifest.json", nil, 200, "application/json", "Fixture"},
		{"16 worker", "GET /pwa-worker.js", nil, 200, js, "pwa worker"},
		{"16 robots", "GET /robots.txt", nil, 200, plain, "User-agent"},
		{"16 forbidden character", "GET /a%27b", nil, 404, plain, ""},
		{"16 post", "POST /standup", nil, 405, plain, ""},
		{"17 tenant config", "GET /acme/config.js?room=x", nil, 200, js, `"muc": "conference.acme.meet.example.org"`},
		{"18 tenant manifest", "GET /acme/manifest.json", nil, 200, "application/json", "Fixture"},
		{"18 tenant worker", "GET /acme/pwa-worker.js", nil, 200, js, "pwa worker"},
		{"19 tenant bosh", "POST /acme/http-bind?room=a&prefix=evil", nil, 200, "", "bosh POST /acme/http-bind?room=a&prefix=acme tenant=acme "},
		{"19 tenant websocket", "GET /Acme.Inc/xmpp-websocket?%70refix=evil&room=a", upgrade, 200, "", "ws GET /Acme.Inc/xmpp-websocket?room=a&prefix=acme_inc tenant=acme_inc "},
		{"19 prefix without tenant", "POST /http-bind?prefix=evil&room=a", nil, 200, "", "bosh POST /http-bind?room=a tenant= "},
		{"19 tenant keep-alive", "GET /acme/xmpp-websocket?room=a", nil, 200, plain, "websocket"},
		{"19 tenant conference request", "POST /acme/conference-request/v1?room=a", nil, 200, "", "focus POST /acme/conference-request/v1?room=a&prefix=acme tenant=acme "},
		{"20 tenant room", "GET /acme/standup", nil, 200, html, app},
		{"20 tenant unlock", "GET /acme/_unlock", nil, 200, plain, "OK"},
		{"20 tenant asset", "GET /acme/static/close.html", nil, 200, html, "close"},
		{"20 two tenants", "GET /acme/eu/standup", nil, 404, plain, ""},
		{"20 two tenants, config", "GET /acme/eu/config.js", nil, 404, plain, ""},
		{"ours health", "GET /about/health", nil, 200, plain, "OK"},
		{"ours reserved", "GET /_/login", nil, 200, "", "reserved GET /_/login"},
		{"ours reserved is no tenant's", "GET /acme/_/login", nil, 404, plain, ""},
		{"slashes are merged", "GET //libs//app.bundle.min.js", nil, 200, js, "part7"},
		{"dots are resolved", "GET /libs/../standup", nil, 200, html, app},
		{"nothing above the root", "GET /libs/../../../../etc/passwd", nil, 200, html, app}, // room passwd of tenant etc
		{"nothing above the root, escaped", "GET /libs/%2e%2e/%2e%2e/%2e%2e/etc/hostname", nil, 200, html, app},
		{"backslashes are no separators", `GET /libs/..%5C..%5Cindex.html`, nil, 404, plain, ""},
		{"hidden files", "GET /libs/.git/config", nil, 404, plain, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := ask(t, s, c.request, c.headers...)
			if got.StatusCode != c.status {
				t.Fatalf("%s: status %d, want %d (%.100s)", c.request, got.StatusCode, c.status, got.body)
			}
			if ct := got.Header.Get("Content-Type"); c.ctype != "" && ct != c.ctype {
				t.Errorf("%s: type %q, want %q", c.request, ct, c.ctype)
			}
			if !strings.Contains(got.body, c.body) {
				t.Errorf("%s: body %.200q, want %q in it", c.request, got.body, c.body)
			}
			if strings.Contains(got.body, "<!--#") {
				t.Errorf("%s: a directive is left: %.300s", c.request, got.body)
			}
		})
	}
}

func TestIncludesAndTenantVariables(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Dir = stock(t)
	s := open(t, cfg, Handlers{})
	got := ask(t, s, `GET /%3Cb%3E%3C!--%23include%20virtual=base.html--%3E/standup`).body
	for _, want := range []string{
		`<base href="/" />`, `<title>Fixture</title>`, `var config = {`, `var interfaceConfig = {`,
		"included relative to its includer", `data-host="meet.example.org"`,
		`data-subdir="&lt;b&gt;&lt;!--#include virtual=base_html--&gt;/"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("page lacks %q", want)
		}
	}
	for _, bad := range []string{"<!--#", "<b>", "include virtual"} {
		if strings.Contains(strings.ReplaceAll(got, "&lt;!--#include virtual", ""), bad) && bad != "include virtual" {
			t.Errorf("page holds %q", bad)
		}
	}
	if n := strings.Count(got, "</script>"); n != 4 {
		t.Errorf("%d script ends, want 4", n)
	}
}

func TestLinksDoNotLeaveTheBuild(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Dir = stock(t)
	secret := filepath.Join(t.TempDir(), "secret.js")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"libs/out.js": secret, "libs/in.js": "app.bundle.min.js", "title.html": secret} {
		os.Remove(filepath.Join(cfg.Dir, name))
		if err := os.Symlink(target, filepath.Join(cfg.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, cfg, Handlers{})
	if got := ask(t, s, "GET /libs/out.js"); got.StatusCode != 404 {
		t.Errorf("link out: %d %q", got.StatusCode, got.body)
	}
	if got := ask(t, s, "GET /libs/in.js"); got.StatusCode != 200 {
		t.Errorf("link within: %d", got.StatusCode)
	}
	if got := ask(t, s, "GET /"); got.StatusCode != 200 || strings.Contains(got.body, "secret") {
		t.Errorf("include over a link: %d", got.StatusCode)
	}
}

func TestCaching(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Dir = stock(t)
	s := open(t, cfg, Handlers{})
	for request, want := range map[string]string{
		"GET /libs/app.bundle.min.js?v=7": cacheForever,
		"GET /libs/app.bundle.min.js":     cacheAnHour,
		"GET /images/favicon.ico":         cacheAnHour,
		"GET /":                           cacheAsk,
		"GET /config.js":                  cacheAsk,
		"GET /interface_config.js":        cacheAsk,
		"GET /manifest.json":              cacheAsk,
		"GET /pwa-worker.js":              cacheAsk,
		"GET /static/close.html":          cacheAsk,
	} {
		got := ask(t, s, request)
		if cc := got.Header.Get("Cache-Control"); cc != want {
			t.Errorf("%s: Cache-Control %q, want %q", request, cc, want)
		}
		tag := got.Header.Get("ETag")
		if tag == "" {
			t.Errorf("%s: no ETag", request)
		}
		if again := ask(t, s, request, "If-None-Match: "+tag); again.StatusCode != 304 {
			t.Errorf("%s with its ETag: %d, want 304", request, again.StatusCode)
		}
	}
	if got := ask(t, s, "GET /libs/app.bundle.min.js"); got.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Error("no CORS on libs")
	}
	if got := ask(t, s, "GET /libs/app.bundle.min.js", "Range: bytes=3-9"); got.StatusCode != 206 || got.body != "fixture" {
		t.Errorf("range: %d %q", got.StatusCode, got.body)
	}
	if got := ask(t, s, "HEAD /libs/app.bundle.min.js"); got.StatusCode != 200 || got.body != "" {
		t.Errorf("head: %d %q", got.StatusCode, got.body)
	}
}

func TestCompression(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Dir = stock(t)
	if err := os.WriteFile(filepath.Join(cfg.Dir, "libs/lib-jitsi-meet.min.js.br"), []byte("brotli bytes"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := open(t, cfg, Handlers{})
	for _, c := range []struct{ request, accept, coding string }{
		{"GET /libs/app.bundle.min.js", "gzip, br", "gzip"},
		{"GET /libs/app.bundle.min.js", "gzip;q=0", ""},
		{"GET /libs/app.bundle.min.js", "", ""},
		{"GET /libs/lib-jitsi-meet.min.js", "gzip, br", "br"},
		{"GET /libs/lib-jitsi-meet.min.js", "gzip", "gzip"},
		{"GET /sounds/ring.wav", "gzip", ""},
		{"GET /", "gzip", "gzip"},
		{"GET /config.js", "gzip", "gzip"},
	} {
		plain := ask(t, s, c.request)
		for range 2 { // made, then kept
			got := ask(t, s, c.request, "Accept-Encoding: "+c.accept)
			if e := got.Header.Get("Content-Encoding"); e != c.coding {
				t.Errorf("%s accepting %q: coding %q, want %q", c.request, c.accept, e, c.coding)
			}
			if c.coding == "gzip" {
				if body := gunzip(t, got.body); body != plain.body {
					t.Errorf("%s: gzip holds something else", c.request)
				}
				if got.Header.Get("ETag") == plain.Header.Get("ETag") {
					t.Errorf("%s: same ETag for two codings", c.request)
				}
			}
		}
	}
}

func TestPublicFiles(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Dir = stock(t)
	for name, text := range map[string]string{
		"branding.json":                          `{"logo":1}`,
		".well-known/assetlinks.json":            `[]`,
		".well-known/apple-app-site-association": `{}`,
	} {
		p := filepath.Join(cfg.DataDir, "public", name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, cfg, Handlers{})
	for _, request := range []string{
		"GET /_api/public/branding.json", "GET /.well-known/assetlinks.json", "GET /.well-known/apple-app-site-association",
	} {
		got := ask(t, s, request)
		if got.StatusCode != 200 || got.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s", request, got.StatusCode, got.Header.Get("Content-Type"))
		}
	}
	if got := ask(t, s, "GET /_api/public/../secrets.toml"); strings.Contains(got.body, "secret") {
		t.Error("left the public directory")
	}
}

// Without a build our own page stands on every room.
func TestRoutesOfOurOwnPage(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	s := open(t, cfg, tellAll())
	if s.state.Load().build() != nil {
		t.Fatal("no own page without a build")
	}
	for _, path := range []string{"/", "/standup", "/acme/standup"} {
		got := ask(t, s, "GET "+path)
		if got.StatusCode != 200 || !strings.Contains(got.body, "/_/page/main.js") {
			t.Errorf("%s: %d %.80s", path, got.StatusCode, got.body)
		}
		csp := got.Header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "script-src 'self';") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", path, csp)
		}
		if strings.Contains(got.body, "<script>") || strings.Contains(got.body, "style=") || strings.Contains(got.body, "onclick") {
			t.Errorf("%s: inline script or style, which the policy forbids", path)
		}
	}
	for _, path := range []string{"/_/page/main.js", "/_/page/style.css", "/_/page/lib/README.md", "/favicon.ico", "/robots.txt", "/acme/config.js"} {
		if got := ask(t, s, "GET "+path); got.StatusCode != 200 || strings.Contains(got.Header.Get("Content-Type"), "html") {
			t.Errorf("%s: %d %s", path, got.StatusCode, got.Header.Get("Content-Type"))
		}
	}
	for _, path := range []string{"/_/page/fetch-lib.sh", "/_/page/../server.go", "/libs/x.js", "/_/page/lib/"} {
		if got := ask(t, s, "GET "+path); got.StatusCode == 200 && !strings.HasPrefix(got.body, "reserved") {
			t.Errorf("%s: %d", path, got.StatusCode)
		}
	}
	got := ask(t, s, "GET /_/new")
	room := got.Header.Get("Location")
	if got.StatusCode != 302 || len(room) != len("/")+4*6+3 || room == ask(t, s, "GET /_/new").Header.Get("Location") {
		t.Errorf("/_/new: %d %q", got.StatusCode, room)
	}
}

// Nothing outside of the build may come out, whatever the path.
func FuzzRoute(f *testing.F) {
	for _, p := range []string{
		"/", "/room", "/acme/room", "/libs/app.bundle.min.js", "/libs/%2e%2e/%2e%2e/x", "/..%2f..%2fsecret", "//a//b/./c/../..",
		"/_/page/../../x", "/_api/public/../x", "/static/close.html\x00.js", "/T/config.js", "/%ff%fe", "/.well-known/../.git",
	} {
		f.Add(p)
	}
	dir := f.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "build"), os.DirFS("testdata/stock")); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("TOPSECRET"), 0o600); err != nil {
		f.Fatal(err)
	}
	cfg := DefaultConfig(testDomain)
	cfg.DataDir, cfg.Dir, cfg.Log = dir, filepath.Join(dir, "build"), quiet()
	s := &Server{log: quiet()}
	if err := s.install(cfg); err != nil {
		f.Fatal(err)
	}
	var err error
	if s.page, err = openOwnPage(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, p string) {
		r, err := http.NewRequest("GET", "/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Path, r.Host = p, testDomain
		w := &sink{header: http.Header{}}
		if clean := cleanPath(p); strings.HasPrefix(clean, "/_/") {
			s.reserved(w, r, clean)
		} else {
			s.route(w, r, clean)
		}
		if strings.Contains(w.body.String(), "TOPSECRET") || strings.Contains(w.body.String(), "<!--#") {
			t.Fatalf("%q: %.200s", p, w.body.String())
		}
		if w.status < 200 || w.status > 499 {
			t.Fatalf("%q: status %d", p, w.status)
		}
	})
}

type sink struct {
	header http.Header
	status int
	body   strings.Builder
}

func (s *sink) Header() http.Header { return s.header }

func (s *sink) WriteHeader(status int) { s.status = status }

func (s *sink) Write(p []byte) (int, error) {
	if s.status == 0 {
		s.status = 200
	}
	return s.body.Write(p)
}
