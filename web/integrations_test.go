package web

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestConfigJSOfIntegrations(t *testing.T) {
	t.Parallel()
	o := origin{scheme: "https", host: testDomain + ":8443", place: place{tenant: "acme"}}
	site := DefaultSite()
	for _, key := range []string{"fileSharing", "whiteboard", "etherpad_base"} {
		if v := site.values(testDomain, o)[key]; v != nil {
			t.Errorf("%s = %v without being there", key, v)
		}
	}
	site.Whiteboard, site.Etherpad, site.FileSharing = true, true, FileSharing{On: true, Max: 1000}
	c := site.values(testDomain, o)
	const root = "https://" + testDomain + ":8443"
	if at(c, "fileSharing.apiUrl") != root+"/_/files" || at(c, "fileSharing.maxFileSize") != int64(1000) || at(c, "fileSharing.enabled") != true ||
		at(c, "whiteboard.collabServerBaseUrl") != root || at(c, "whiteboard.enabled") != true || c["etherpad_base"] != root+"/etherpad/p/" {
		t.Errorf("%v %v %v", c["fileSharing"], c["whiteboard"], c["etherpad_base"])
	}
	site.FileSharing.URL = "https://files.example/api"
	if v := at(site.values(testDomain, o), "fileSharing.apiUrl"); v != "https://files.example/api" {
		t.Error(v)
	}
}

// Bodies of shared files are larger than those of any other request.
func TestLargeBodies(t *testing.T) {
	t.Parallel()
	count := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err, " ", Origin(r))
	})
	s := open(t, testConfig(t), Handlers{Files: count, SocketIO: count, ConferenceRequest: count})
	for path, want := range map[string]string{
		"/_/files/sessions/x/files": "3000000 <nil> https://" + testDomain, "/socket.io/?EIO=4": "3000000 <nil> https://" + testDomain,
		"/conference-request/v1": "1048576 http: request body too large https://" + testDomain,
		"/_/filesx/":             "not found", "/_/files": "not found", "/_/files/../new": "not found",
	} {
		r := httptest.NewRequest("POST", "https://"+testDomain+path, strings.NewReader(strings.Repeat("x", 3_000_000)))
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if got := strings.TrimSpace(w.Body.String()); got != want && !(want == "not found" && w.Code >= 400) {
			t.Errorf("%s: %d %s", path, w.Code, got)
		}
	}
}

func TestProxy(t *testing.T) {
	t.Parallel()
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Method, " ", r.URL, " for=", r.Header.Get("X-Forwarded-For"), " proto=", r.Header.Get("X-Forwarded-Proto"), " host=", r.Header.Get("X-Forwarded-Host"))
	}))
	t.Cleanup(behind.Close)
	target, err := url.Parse(behind.URL + "/pad")
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, testConfig(t), Handlers{Etherpad: proxyTo(t, target)})
	if got := ask(t, s, "GET /etherpad/p/room?x=1", "X-Forwarded-For: 192.0.2.9", "X-Forwarded-Host: evil.example").body; got != "GET /pad/p/room?x=1 for=198.51.100.7 proto=https host="+testDomain {
		t.Error(got)
	}
	// The server behind gets the path that was looked at, whatever the client wrote.
	for path, want := range map[string]string{
		"/acme/etherpad/p/room": "/pad/p/room", "//etherpad/p/room": "/pad/p/room", "/../etherpad/p/x%2f..%2froom": "/pad/p/room",
		"/x/../etherpad/../etherpad/p/a%20b": "/pad/p/a%20b",
	} {
		if got, _, _ := strings.Cut(ask(t, s, "GET "+path).body, " for="); got != "GET "+want {
			t.Errorf("%s: %s", path, got)
		}
	}
	behind.Close()
	if got := ask(t, s, "GET /etherpad/p/room"); got.StatusCode != http.StatusBadGateway {
		t.Error(got.StatusCode, got.body)
	}
	// Without an Etherpad the path is a tenant's.
	s = open(t, testConfig(t), Handlers{})
	if got := ask(t, s, "GET /etherpad/room"); got.StatusCode != http.StatusOK || !strings.Contains(got.body, "<html") {
		t.Error(got.StatusCode, got.body)
	}
}

func proxyTo(t *testing.T, target *url.URL) *Proxy {
	p := NewProxy(target, "/etherpad", quiet())
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// What is passed on is bounded, and ends with the proxy: http.Server lets go of
// connections that became WebSockets.
func TestProxyBounds(t *testing.T) {
	t.Parallel()
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n, err)
			return
		}
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		w.WriteHeader(http.StatusSwitchingProtocols)
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.Copy(c, rw) // until the proxy goes
	}))
	t.Cleanup(behind.Close)
	target, err := url.Parse(behind.URL)
	if err != nil {
		t.Fatal(err)
	}
	p := proxyTo(t, target)
	front := httptest.NewServer(open(t, testConfig(t), Handlers{Etherpad: p}))
	t.Cleanup(front.Close)

	for n, want := range map[int64]int{2 << 20: http.StatusOK, proxyBody + 1: http.StatusRequestEntityTooLarge} {
		r := httptest.NewRequest("POST", "https://"+testDomain+"/etherpad/p/room/import", io.LimitReader(zeros{}, n))
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%d bytes: %d %s", n, w.Code, w.Body)
		}
	}

	c, err := net.Dial("tcp", front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET /etherpad/socket.io/ HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", testDomain)
	in := bufio.NewReader(c)
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(res, err)
	}
	fmt.Fprint(c, "hello")
	if b, err := in.Peek(5); string(b) != "hello" {
		t.Fatalf("%q %v", b, err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(in); err != nil || string(b) != "hello" {
		t.Errorf("after the end: %q %v", b, err)
	}
	if got := ask(t, open(t, testConfig(t), Handlers{Etherpad: p}), "GET /etherpad/"); got.StatusCode != http.StatusServiceUnavailable {
		t.Error(got.StatusCode)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
