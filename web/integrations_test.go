package web

import (
	"fmt"
	"io"
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
	s := open(t, testConfig(t), Handlers{Etherpad: Proxy(target, "/etherpad", quiet())})
	if got := ask(t, s, "GET /etherpad/p/room?x=1", "X-Forwarded-For: 192.0.2.9", "X-Forwarded-Host: evil.example").body; got != "GET /pad/p/room?x=1 for=198.51.100.7 proto=https host="+testDomain {
		t.Error(got)
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
