package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
)

// problem is an error of the API (RFC 9457).
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`

	allow string // of a 405
	after int    // seconds until the next try, of a 429
	cause error  // for the log
}

func (p *problem) Error() string { return strconv.Itoa(p.Status) + " " + p.Title + ": " + p.Detail }

func fail(status int, detail string) *problem {
	return &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail}
}

// The answers to strangers do not depend on what they ask for.
func unauthorized() *problem {
	return fail(http.StatusUnauthorized, "An API key or the login of a host is needed.")
}

func notHost() *problem { return fail(http.StatusForbidden, "This account is not a host's.") }

func tooMany(after int, detail string) *problem {
	p := fail(http.StatusTooManyRequests, detail)
	p.after = after
	return p
}

// problemOf is what err looks like from outside.
func problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	text := detailOf(err)
	switch {
	case errors.Is(err, ErrNotFound):
		return fail(http.StatusNotFound, text)
	case errors.Is(err, ErrConflict):
		return fail(http.StatusConflict, text)
	case errors.Is(err, ErrInvalid):
		return fail(http.StatusBadRequest, text)
	case errors.Is(err, ErrNoGateway), errors.Is(err, ErrNoBrewery):
		return fail(http.StatusServiceUnavailable, "There is no SIP gateway.")
	case errors.Is(err, ErrUnavailable):
		return fail(http.StatusServiceUnavailable, text)
	case errors.Is(err, context.DeadlineExceeded):
		return fail(http.StatusServiceUnavailable, "The room does not answer.")
	}
	p := fail(http.StatusInternalServerError, "")
	p.cause = err
	return p
}

// Detail is an error with a text for who called.
type Detail struct {
	Err  error // one of the errors of a Backend
	Text string
}

func (d *Detail) Error() string { return d.Text }

func (d *Detail) Unwrap() error { return d.Err }

func detailOf(err error) string {
	if d, ok := errors.AsType[*Detail](err); ok {
		return d.Text
	}
	return ""
}

func (p *problem) write(w http.ResponseWriter) {
	h := w.Header()
	if p.Status == http.StatusUnauthorized {
		h.Add("WWW-Authenticate", `Bearer realm="Confab"`)
		h.Add("WWW-Authenticate", `Basic realm="Confab", charset="UTF-8"`)
	}
	if p.allow != "" {
		h.Set("Allow", p.allow)
	}
	if p.after > 0 {
		h.Set("Retry-After", strconv.Itoa(p.after))
	}
	writeJSON(w, p.Status, "application/problem+json", p)
}

func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	b, err := json.Marshal(v)
	if err != nil { // values of ours always encode, but for metadata that isn't JSON
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // who went away needs no answer
}
