package web

import (
	"strings"
	"testing"
)

// A tenant's host is the tenant: no path below it names another one.
func TestTenantHosts(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Dir = stock(t)
	cfg.Site.Config = map[string]any{"defaultLanguage": "de", "p2p": map[string]any{"enabled": true}}
	cfg.Tenants = []TenantSite{{
		Name: "acme", Hosts: []string{"meet.acme.example"}, Config: map[string]any{"defaultLogoUrl": "https://acme.example/logo.png", "p2p": map[string]any{"enabled": false}},
		InterfaceConfig: map[string]any{"APP_NAME": "Acme Meet"},
	}}
	s := open(t, cfg, tellAll())
	for _, c := range []struct {
		request, host string
		status        int
		body, not     string
	}{
		{"GET /config.js", "meet.acme.example", 200, `"muc": "conference.acme.meet.example.org"`, "/acme/"},
		{"GET /config.js", "ACME.meet.example.org:8443", 200, `"websocket": "wss://ACME.meet.example.org:8443/xmpp-websocket"`, ""},
		{"GET /config.js", "meet.acme.example", 200, `"defaultLogoUrl": "https://acme.example/logo.png"`, ""},
		{"GET /acme/config.js", "meet.example.org", 200, `"defaultLogoUrl": "https://acme.example/logo.png"`, ""},
		{"GET /acme/config.js", "meet.example.org", 200, `"defaultLanguage": "de"`, ""},
		{"GET /config.js", "meet.example.org", 200, `"muc": "conference.meet.example.org"`, "defaultLogoUrl"},
		{"GET /other/config.js", "meet.example.org", 200, `"muc": "conference.other.meet.example.org"`, "defaultLogoUrl"},
		{"GET /config.js", "other.meet.example.org", 200, `"muc": "conference.meet.example.org"`, ""},
		{"GET /interface_config.js", "meet.acme.example", 200, "Acme Meet", ""},
		{"GET /interface_config.js", "meet.example.org", 200, "Jitsi Meet", "Acme"},
		{"POST /http-bind?room=a&prefix=evil", "meet.acme.example", 200, "bosh POST /http-bind?room=a&prefix=acme tenant=acme ", ""},
		{"GET /standup", "meet.acme.example", 200, `<div id="react">`, ""},
		{"GET /other/standup", "meet.acme.example", 404, "", ""},
		{"GET /standup", "meet.evil.example", 421, "", ""},
	} {
		got := ask(t, s, c.request, "Host: "+c.host)
		if got.StatusCode != c.status || !strings.Contains(got.body, c.body) || c.not != "" && strings.Contains(got.body, c.not) {
			t.Errorf("%s at %s: %d %.600s", c.request, c.host, got.StatusCode, got.body)
		}
	}
	// What one tenant has is not written into what all have.
	if got := cfg.Site.Config["p2p"].(map[string]any)["enabled"]; got != true {
		t.Error("the site's own table was changed")
	}
}
