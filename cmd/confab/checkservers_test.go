package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"confab/cmd/confab/config"
)

func TestCheckServers(t *testing.T) {
	t.Parallel()
	there := httptest.NewServer(http.NotFoundHandler())
	defer there.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()

	var cfg config.Config
	findings := func() (string, bool) {
		var out bytes.Buffer
		r := &report{out: &out}
		r.servers(t.Context(), cfg)
		return out.String(), r.failed
	}
	cfg.Integrations.Whiteboard = config.Builtin
	if got, _ := findings(); got != "" {
		t.Errorf("nobody to ask: %s", got)
	}
	cfg.Integrations.Whiteboard, cfg.Integrations.Etherpad, cfg.Reservations.URL = there.URL, gone.URL, there.URL
	got, failed := findings()
	if failed || strings.Count(got, "OK ") != 2 || !strings.Contains(got, "WARN  Etherpad") || !strings.Contains(got, "(integrations.etherpad): connection refused") {
		t.Errorf("%v\n%s", failed, got)
	}
	cfg.Reservations.URL = gone.URL
	if got, failed := findings(); !failed || !strings.Contains(got, "FAIL  reservations") {
		t.Errorf("%v\n%s", failed, got)
	}
}
