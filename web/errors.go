package web

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
)

// Error is an answer of the HTTP API: a status and a text for the caller. What
// went wrong inside is logged under the same id, never sent.
type Error struct {
	Status int
	Public string // shown to the caller
	ID     string // "E-7fa3c2", also in the log; "" when there is nothing to look up
}

func (e *Error) Error() string { return "http " + strconv.Itoa(e.Status) + ": " + e.Public }

// ServeHTTP writes the error as {"error":"…","id":"E-…"}.
func (e *Error) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	body, _ := json.Marshal(struct {
		Error string `json:"error"`
		ID    string `json:"id,omitempty"`
	}{e.Public, e.ID})
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(e.Status)
	w.Write(append(body, '\n'))
}

// errorID is a short name under which a failure is found in the log.
func errorID() string {
	b := make([]byte, 3)
	rand.Read(b)
	return "E-" + hex.EncodeToString(b)
}
