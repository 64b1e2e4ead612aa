package web

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestHosts(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Aliases = []string{"old.example.net"}
	s := open(t, cfg, Handlers{})
	for host, want := range map[string]int{
		"meet.example.org": 200, "MEET.example.org:8443": 200, "meet.example.org.": 200, "acme.meet.example.org": 200,
		"old.example.net": 200, "localhost": 200, "127.0.0.1:8443": 200, "[::1]": 200, "[::1]:8443": 200, "203.0.113.9": 200,
		"evil.example": 421, "notmeet.example.org": 421, "meet.example.org.evil.example": 421, "": 421,
		"x;y.meet.example.org": 421, "meet.example.org:80;x": 421, "'x'.meet.example.org": 421,
	} {
		if got := ask(t, s, "GET /standup", "Host: "+host); got.StatusCode != want {
			t.Errorf("%q: %d, want %d", host, got.StatusCode, want)
		}
	}
	if got := ask(t, s, "GET /about/health", "Host: 10.1.2.3.balancer"); got.StatusCode != 200 {
		t.Errorf("health by a balancer's name: %d", got.StatusCode)
	}
}

func TestTrustedProxies(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.TLSOff = true
	cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("10.0.0.0/8")}
	s := open(t, cfg, tellAll())
	for _, c := range []struct {
		name    string
		headers []string
		want    string
	}{
		{"one hop", []string{"X-Forwarded-For: 203.0.113.5"}, "203.0.113.5:0"},
		{"what the client wrote itself", []string{"X-Forwarded-For: 1.2.3.4, 203.0.113.5"}, "203.0.113.5:0"},
		{"two proxies", []string{"X-Forwarded-For: 203.0.113.5, 10.0.0.7"}, "203.0.113.5:0"},
		{"IPv6", []string{"X-Forwarded-For: 2001:db8::5"}, "[2001:db8::5]:0"},
		{"rubbish", []string{"X-Forwarded-For: nonsense"}, "198.51.100.7:0"},
		{"none", nil, "198.51.100.7:0"},
	} {
		got := ask(t, s, "POST /http-bind", c.headers...)
		if !strings.HasSuffix(got.body, "from="+c.want) {
			t.Errorf("%s: %q, want %q", c.name, got.body, c.want)
		}
	}
	v := scriptValue(t, "config", ask(t, s, "GET http://10.9.9.9:8080/config.js", "X-Forwarded-Host: meet.example.org").body)
	if at(v, "websocket") != "wss://meet.example.org/xmpp-websocket" {
		t.Errorf("behind a TLS proxy: %v", at(v, "websocket"))
	}

	cfg.TrustedProxies = nil
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, s, "POST /http-bind", "X-Forwarded-For: 203.0.113.5"); !strings.HasSuffix(got.body, "from=198.51.100.7:4000") {
		t.Errorf("an untrusted peer's header counts: %q", got.body)
	}
}

func TestOrigins(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	s := open(t, cfg, tellAll())
	if got := ask(t, s, "POST /http-bind", "Origin: https://else.example"); got.StatusCode != 200 || got.Header.Get("Access-Control-Allow-Origin") != "https://else.example" {
		t.Errorf("any origin by default: %d", got.StatusCode)
	}
	cfg.Origins = []string{"https://portal.example"}
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	for o, want := range map[string]int{"": 200, "https://portal.example": 200, "https://meet.example.org": 200, "https://else.example": 403, "null": 403} {
		got := ask(t, s, "GET /xmpp-websocket", "Upgrade: websocket", "Origin: "+o)
		if o == "" {
			got = ask(t, s, "GET /xmpp-websocket", "Upgrade: websocket")
		}
		if got.StatusCode != want {
			t.Errorf("origin %q: %d, want %d", o, got.StatusCode, want)
		}
	}
}

func TestFrameAncestorsAndPolicy(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Dir = stock(t)
	cfg.FrameAncestors = []string{"'self'", "https://portal.example"}
	cfg.CSP = "object-src 'none'"
	cfg.Shard = "one"
	s := open(t, cfg, Handlers{})
	got := ask(t, s, "GET /standup")
	if csp := strings.Join(got.Header.Values("Content-Security-Policy"), "|"); csp != "frame-ancestors 'self' https://portal.example|object-src 'none'" {
		t.Errorf("policy %q", csp)
	}
	for _, p := range []string{"/standup", "/xmpp-websocket", "/about/health", "/config.js", "/none/none/none"} {
		if shard := ask(t, s, "GET "+p).Header.Get("X-Jitsi-Shard"); shard != "one" {
			t.Errorf("%s: shard %q", p, shard) // a missing one makes the client leave the meeting
		}
	}
}

// deployment.md §17 #14.
func TestSecretsAreNotLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	cfg := testConfig(t)
	cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := open(t, cfg, tellAll())
	for _, p := range []string{
		"/standup?jwt=SECRET", "/http-bind?room=a&token=SECRET", "/xmpp-websocket?previd=SECRET", "/xmpp-websocket?customusername=SECRET",
		"/colibri-ws/x/y?pwd=SECRET", "/standup?%6awt=SECRET",
	} {
		ask(t, s, "GET "+p, "Referer: https://meet.example.org/standup?jwt=SECRET")
	}
	if strings.Contains(log.String(), "SECRET") || !strings.Contains(log.String(), "/standup") {
		t.Errorf("log: %s", log.String())
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	var problem error
	s := open(t, testConfig(t), Handlers{Ready: func() error { return problem }})
	if got := ask(t, s, "GET /about/health"); got.StatusCode != 200 {
		t.Errorf("ready: %d", got.StatusCode)
	}
	problem = http.ErrServerClosed
	if got := ask(t, s, "GET /about/health"); got.StatusCode != 503 || strings.Contains(got.body, "Server closed") {
		t.Errorf("not ready: %d %q", got.StatusCode, got.body)
	}
}
