package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestAdminListener(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	ready := errors.Join(errors.New("storage: down"), errors.New("bridge: none"))
	s, c := run(t, cfg, Handlers{
		Ready: func() error { return ready },
		Admin: map[string]http.Handler{"GET /debug/conferences": tell("debug")},
	})
	base := "http://" + s.AdminAddr().String()
	fetch := func(path string, headers ...string) (int, string) {
		req, err := http.NewRequest("GET", base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			if name == "Host" {
				req.Host = value
			}
			req.Header.Set(name, value)
		}
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var b strings.Builder
		buf := make([]byte, 1<<16)
		for {
			n, err := res.Body.Read(buf)
			b.Write(buf[:n])
			if err != nil {
				return res.StatusCode, b.String()
			}
		}
	}
	get(t, c, "https://"+s.Addrs()[0].String()+"/_unlock")
	for path, want := range map[string]struct {
		status int
		body   string
	}{
		"/livez":              {200, "ok"},
		"/metrics":            {200, `confab_http_requests_total{status="2xx"} 1`},
		"/debug/pprof/":       {200, "goroutine"},
		"/debug/conferences":  {200, "debug GET"},
		"/standup":            {404, ""},
		"/debug/pprof/symbol": {200, ""},
	} {
		if status, body := fetch(path); status != want.status || !strings.Contains(body, want.body) {
			t.Errorf("%s: %d %.200q", path, status, body)
		}
	}
	for path, want := range map[string]int{"/readyz": 503, "/about/health": 500} {
		status, body := fetch(path)
		var v struct{ Reasons []string }
		if err := json.Unmarshal([]byte(body), &v); err != nil || status != want || strings.Join(v.Reasons, "|") != "storage: down|bridge: none" {
			t.Errorf("%s: %d %q %v", path, status, body, err)
		}
	}
	if status, _ := fetch("/metrics", "Host: evil.example"); status != 421 {
		t.Errorf("foreign host: %d", status)
	}
	if status, _ := fetch("/metrics", "Origin: https://evil.example"); status != 403 {
		t.Errorf("foreign origin: %d", status)
	}
	if status, body, _ := get(t, c, "https://"+s.Addrs()[0].String()+"/metrics"); status != 200 || !strings.Contains(body, "main.js") {
		t.Errorf("the public /metrics is a room: %d", status)
	}
}

func TestAdminFromElsewhere(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.AdminAllow = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	cfg.AdminKeys = []string{"", "k1", "k2"}
	s := open(t, cfg, Handlers{})
	h := http.HandlerFunc(s.serveAdmin)
	host := "Host: " + s.AdminAddr().String()
	for _, c := range []struct {
		path    string
		headers []string
		want    int
	}{
		{"/livez", nil, 200},
		{"/about/health", nil, 200},
		{"/metrics", nil, 401},
		{"/metrics", []string{"Authorization: Bearer wrong"}, 401},
		{"/metrics", []string{"Authorization: Bearer "}, 401},
		{"/metrics", []string{"Authorization: Bearer k2"}, 200},
	} {
		if got := ask(t, h, "GET "+c.path, append(c.headers, host)...); got.StatusCode != c.want {
			t.Errorf("%s %v: %d, want %d", c.path, c.headers, got.StatusCode, c.want)
		}
	}
	cfg.AdminAllow = nil
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, h, "GET /metrics", "Authorization: Bearer k2", host); got.StatusCode != 403 {
		t.Errorf("address not allowed: %d", got.StatusCode)
	}
}

// A part of the server without a front has the admin listener alone.
func TestAdminOnly(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig("relay.example")
	cfg.AdminOnly, cfg.Listen, cfg.HTTP, cfg.Admin = true, nil, Bind{}, Bind{Addr: "127.0.0.1:0"}
	s, err := Open(cfg, nil, Handlers{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	resp, err := http.Get("http://" + s.AdminAddr().String() + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || len(s.Addrs()) != 0 || s.plain != nil || s.TURN() != nil {
		t.Errorf("%d %v %v", resp.StatusCode, s.Addrs(), s.plain)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	cfg.AdminOnly = false
	if _, err := Open(cfg, nil, Handlers{}); err == nil {
		t.Error("a front without an address")
	}
}
