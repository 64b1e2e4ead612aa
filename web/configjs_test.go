package web

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// The app makes wss://HOST/visitor/websocket of it.
func TestQueueInConfig(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Site.VisitorQueue = true
	s := open(t, cfg, Handlers{VisitorQueue: http.NotFoundHandler()})
	if got := at(scriptValue(t, "config", ask(t, s, "GET /acme/config.js", "Host: meet.example.org:8443").body), "visitors.queueService"); got != "meet.example.org:8443" {
		t.Error(got)
	}
	if a := ask(t, s, "GET /visitor/websocket", "Upgrade: websocket"); a.StatusCode != http.StatusNotFound {
		t.Error("not handed on:", a.StatusCode)
	}
	if a := ask(t, s, "GET /visitor/websocket"); a.StatusCode != http.StatusOK {
		t.Error("a tenant's room may have that name:", a.StatusCode)
	}
}

func TestConfigJS(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Aliases = []string{"old.example.net"}
	cfg.Site.Config = map[string]any{
		"startWithAudioMuted": true,
		"defaultLanguage":     "de",
		"p2p":                 map[string]any{"enabled": false},
		"toolbarButtons":      []any{"microphone", "camera"},
		"evil":                "</script><!--\u2028",
	}
	s := open(t, cfg, Handlers{})

	js := ask(t, s, "GET /config.js?room=standup").body
	for _, bad := range []string{"<", ">", "&", "\u2028", "window", "document", "location"} {
		if strings.Contains(js, bad) {
			t.Errorf("config.js holds %q", bad)
		}
	}
	// deployment.md §17 #5: one declaration of plain data.
	c := scriptValue(t, "config", js)
	for path, want := range map[string]any{
		"hosts.domain":                      "meet.example.org",
		"hosts.muc":                         "conference.meet.example.org",
		"hosts.anonymousdomain":             nil,
		"hosts.authdomain":                  nil,
		"websocket":                         "wss://meet.example.org/xmpp-websocket",
		"bosh":                              "https://meet.example.org/http-bind",
		"websocketKeepAliveUrl":             "https://meet.example.org/_unlock",
		"conferenceRequestUrl":              nil,
		"bridgeChannel.preferSctp":          true,
		"flags.sourceNameSignaling":         true,
		"flags.sendMultipleVideoStreams":    true,
		"flags.receiveMultipleVideoStreams": true,
		"p2p.enabled":                       false, // overridden, beside what is generated
		"startWithAudioMuted":               true,
		"defaultLanguage":                   "de",
		"evil":                              "</script><!--\u2028",
		"analytics.disabled":                true,
		"resolution":                        720.0,
		"channelLastN":                      -1.0,
	} {
		if got := at(c, path); got != want {
			t.Errorf("%s = %v, want %v", path, got, want)
		}
	}
	if stun := at(c, "p2p.stunServers").([]any); len(stun) != 1 || at(stun[0], "urls") != "stun:meet.example.org:3478" {
		t.Errorf("p2p.stunServers = %v", stun)
	}
	if strings.Contains(js, "jitsi.net") || strings.Contains(js, "8x8") {
		t.Error("config.js names a third party")
	}

	for _, x := range []struct{ request, host, websocket, muc string }{
		{"GET /Acme.Inc/config.js", testDomain, "wss://meet.example.org/acme_inc/xmpp-websocket", "conference.acme_inc.meet.example.org"},
		{"GET /config.js", "old.example.net:8443", "wss://old.example.net:8443/xmpp-websocket", "conference.meet.example.org"},
		{"GET /config.js", "192.0.2.4", "wss://192.0.2.4/xmpp-websocket", "conference.meet.example.org"},
		{"GET /config.js", "[2001:db8::1]:8443", "wss://[2001:db8::1]:8443/xmpp-websocket", "conference.meet.example.org"},
		{"GET /config.js", "localhost:8443", "wss://localhost:8443/xmpp-websocket", "conference.meet.example.org"},
	} {
		c := scriptValue(t, "config", ask(t, s, x.request, "Host: "+x.host).body)
		if at(c, "websocket") != x.websocket || at(c, "hosts.muc") != x.muc || at(c, "hosts.domain") != testDomain {
			t.Errorf("%s at %s: %v %v", x.request, x.host, at(c, "websocket"), at(c, "hosts"))
		}
	}
	scriptValue(t, "interfaceConfig", ask(t, s, "GET /interface_config.js").body)
}

func TestSwitchedOffButtons(t *testing.T) {
	t.Parallel()
	for _, off := range []bool{false, true} {
		cfg := testConfig(t)
		cfg.Site.NoPolls, cfg.Site.NoReactions = off, off
		c := scriptValue(t, "config", ask(t, open(t, cfg, Handlers{}), "GET /config.js").body)
		var want any
		if off {
			want = true
		}
		for _, key := range []string{"disablePolls", "disableReactions"} {
			if got := at(c, key); got != want {
				t.Errorf("%s = %v, want %v", key, got, want)
			}
		}
	}
}

func TestConfigJSWithRequireHost(t *testing.T) {
	t.Parallel()
	site := DefaultSite()
	site.RequireHost = true
	o := origin{scheme: "https", host: testDomain}
	if h := site.values(testDomain, o)["hosts"].(object); h["anonymousdomain"] != "guest."+testDomain || h["authdomain"] != testDomain {
		t.Errorf("hosts = %v", h)
	}
	site.Guests = false
	if h := site.values(testDomain, o)["hosts"].(object); h["anonymousdomain"] != nil || h["authdomain"] != testDomain {
		t.Errorf("without guests: hosts = %v", h)
	}
	site = Site{} // all off
	c := site.values(testDomain, o)
	if c["bosh"] != nil || len(at(c, "p2p.stunServers").([]any)) != 0 || at(c, "bridgeChannel.preferSctp") != false {
		t.Errorf("all off: %v", c)
	}
}

func TestOverridesAreData(t *testing.T) {
	t.Parallel()
	for _, bad := range []any{time.Now(), func() {}, []any{map[string]any{"x": struct{}{}}}} {
		cfg := testConfig(t)
		cfg.Site.Config = map[string]any{"key": map[string]any{"deep": bad}}
		if _, err := Open(cfg, testCerts(t, cfg.DataDir), Handlers{}); err == nil || !strings.Contains(err.Error(), "web.config.key.deep") {
			t.Errorf("%T: %v", bad, err)
		}
	}
	deep := map[string]any{}
	for range 50 {
		deep = map[string]any{"a": deep}
	}
	if err := validateLiteral("web.config", deep, 0); err == nil {
		t.Error("any depth is taken")
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	s := open(t, cfg, Handlers{})
	cfg.Site.Config = map[string]any{"defaultLanguage": "fr"}
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if c := scriptValue(t, "config", ask(t, s, "GET /config.js").body); c["defaultLanguage"] != "fr" {
		t.Error("not taken over")
	}
	cfg.Dir = t.TempDir()
	if err := s.Reload(cfg); err == nil {
		t.Error("a directory without a build is taken")
	}
	if c := scriptValue(t, "config", ask(t, s, "GET /config.js").body); c["defaultLanguage"] != "fr" {
		t.Error("a refused reload changed something")
	}
}
