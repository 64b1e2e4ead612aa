package main

// confab check: whether the servers answer that this one asks or passes people on to.

import (
	"context"
	"net/http"
	"time"

	"confab/cmd/confab/config"
)

// serverTimeout is how long each is waited for.
const serverTimeout = 5 * time.Second

func (r *report) servers(ctx context.Context, cfg config.Config) {
	if u := cfg.Integrations.Whiteboard; u != config.Builtin {
		r.server(ctx, "whiteboard", "integrations.whiteboard", u, r.warn)
	}
	r.server(ctx, "Etherpad", "integrations.etherpad", cfg.Integrations.Etherpad, r.warn)
	// Without an answer nobody can open a room.
	r.server(ctx, "reservations", "reservations.url", cfg.Reservations.URL, r.fail)
}

// server asks for address; whatever is answered, somebody is there. bad says that
// nobody is.
func (r *report) server(ctx context.Context, subject, key, address string, bad func(subject, format string, args ...any)) {
	if address == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, address, nil)
	if err != nil {
		bad(subject, "%s: %v", key, err)
		return
	}
	tr := http.DefaultTransport.(*http.Transport).Clone()
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req) // a redirect is an answer
	if err != nil {
		bad(subject, "no answer from %s (%s): %v", address, key, rootCause(err))
		return
	}
	_ = resp.Body.Close() // of a HEAD: empty
	r.ok(subject, "%s answers", address)
}
