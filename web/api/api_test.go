package api

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

// strangers are all who may not ask.
var strangers = map[string]func(*query){
	"nobody":           func(q *query) { q.key = "" },
	"wrong key":        func(q *query) { q.key = "0123456789abcdeg" },
	"part of a key":    func(q *query) { q.key = testKey[:15] },
	"key and more":     func(q *query) { q.key = testKey + "0" },
	"host, wrong pw":   func(q *query) { q.key, q.user, q.password = "", "anna", "wrong" },
	"key as password":  func(q *query) { q.key, q.user, q.password = "", "anna", testKey },
	"endless password": func(q *query) { q.key, q.user, q.password = "", "anna", strings.Repeat("x", 5000) },
}

// A stranger can't tell a room that exists from one that doesn't, nor a path that is
// one from nonsense, and no room is asked on its behalf.
func TestStrangersLearnNothing(t *testing.T) {
	t.Parallel()
	for who, be := range strangers {
		f := newFake()
		s := newAPI(f, nil)
		var first *http.Response
		var firstBody []byte
		for _, rt := range append(routes, route{method: "GET", path: "/nonsense"}, route{method: "TRACE", path: "/rooms"}) {
			for _, room := range []string{"standup", "nobody", "["} {
				q := ordinary(rt.method + " " + rt.path)
				q.room = room
				be(&q)
				got := q.ask(s)
				body, _ := io.ReadAll(got.Body)
				if first == nil {
					first, firstBody = got, body
				}
				if got.StatusCode != 401 || !maps.EqualFunc(got.Header, first.Header, func(a, b []string) bool { return reflect.DeepEqual(a, b) }) ||
					string(body) != string(firstBody) {
					t.Errorf("%s: %s %s: %d %v %s", who, rt.method, q.request().URL, got.StatusCode, got.Header, body)
				}
			}
		}
		if len(f.calls) > 0 {
			t.Errorf("%s: rooms were asked: %q", who, f.calls)
		}
	}
}

func TestWhoMayAsk(t *testing.T) {
	t.Parallel()
	keys := []string{testKey}
	f := newFake()
	s := newAPI(f, func(c *Config) { c.Keys = func() []string { return keys } })
	for _, c := range []struct {
		who  string
		be   func(*query)
		want int
	}{
		{"key", func(*query) {}, 200},
		{"host", func(q *query) { q.key, q.user, q.password = "", "anna", "pw" }, 200},
		{"account that is no host's", func(q *query) { q.key, q.user, q.password = "", "bot", "pw" }, 403},
		{"too many passwords", func(q *query) { q.key, q.user, q.password = "", "tried", "pw" }, 429},
		{"accounts can't be read", func(q *query) { q.key, q.user, q.password = "", "broken", "pw" }, 503},
	} {
		q := ordinary("GET /rooms/{room}")
		c.be(&q)
		got := q.ask(s)
		if body, _ := io.ReadAll(got.Body); got.StatusCode != c.want || strings.Contains(string(body), "StoredKey") {
			t.Errorf("%s: %d %s", c.who, got.StatusCode, body)
		}
	}
	// A key that was taken out of the configuration opens nothing any more; no key at
	// all is not the key "".
	for _, list := range [][]string{nil, {""}, {"another-key-of-16"}} {
		keys = list
		for _, key := range []string{testKey, "", " "} {
			q := ordinary("GET /rooms/{room}")
			q.key = key
			if got := q.ask(s); got.StatusCode != 401 {
				t.Errorf("keys %q, %q: %d", list, key, got.StatusCode)
			}
		}
	}
	if got := ordinary("GET /rooms").ask(newAPI(f, func(c *Config) { c.Keys, c.Accounts = nil, nil })); got.StatusCode != 401 {
		t.Errorf("without keys and accounts: %d", got.StatusCode)
	}
}

// A page of another site can use the login that the browser remembers for nothing.
func TestOtherSites(t *testing.T) {
	t.Parallel()
	for _, rt := range routes {
		f := newFake()
		q := ordinary(rt.method + " " + rt.path)
		q.key, q.user, q.password, q.origin = "", "anna", "pw", "https://evil.example"
		got := q.ask(newAPI(f, nil))
		if got.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %s may be read", rt.method, rt.path)
		}
		if rt.method != "GET" && (got.StatusCode != 403 || len(f.calls) > 0) {
			t.Errorf("%s %s: %d, %q", rt.method, rt.path, got.StatusCode, f.calls)
		}
		pre := ordinary("OPTIONS " + rt.path)
		pre.key, pre.body, pre.origin = "", "", "https://evil.example"
		if got := pre.ask(newAPI(f, nil)); got.Header.Get("Access-Control-Allow-Methods") != "" || got.StatusCode == 200 {
			t.Errorf("preflight: %d %v", got.StatusCode, got.Header)
		}
	}
}

// Rates are by address, before anything else; loopback and exempt ones have none.
func TestRates(t *testing.T) {
	t.Parallel()
	s := newAPI(newFake(), func(c *Config) {
		c.Rate, c.Burst, c.Exempt = 0.001, 3, []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	})
	count := func(addr string, handler http.Handler, op string) (ok int) {
		for range 6 {
			q := ordinary(op)
			q.addr = addr
			w := httptest.NewRecorder()
			r := q.request()
			if op == "GET /room-info" {
				r.URL.Path, r.URL.RawQuery = "/room-info", "room=standup"
			}
			handler.ServeHTTP(w, r)
			if w.Code == 200 {
				ok++
			} else if w.Code != 429 || w.Header().Get("Retry-After") == "" {
				t.Errorf("%d %v", w.Code, w.Header())
			}
		}
		return ok
	}
	for addr, want := range map[string]int{"192.0.2.1": 3, "127.0.0.1": 6, "198.51.100.7": 6, "[2001:db8::1]": 3} {
		if got := count(addr, s, "GET /rooms"); got != want {
			t.Errorf("%s: %d", addr, got)
		}
	}
	if got := count("[2001:db8::2]", s, "GET /rooms"); got != 0 {
		t.Errorf("the next address of the same subscriber: %d", got)
	}
	if got := count("192.0.2.9", s.RoomInfo(), "GET /room-info"); got != 3 {
		t.Errorf("room-info: %d", got)
	}
}

func TestRooms(t *testing.T) {
	t.Parallel()
	f := newFake()
	s := newAPI(f, nil)
	do := func(op, room, body, search string) (int, string) {
		t.Helper()
		q := ordinary(op)
		q.room, q.search = room, search
		if body != "" {
			q.body = body
		}
		got := q.ask(s)
		b, _ := io.ReadAll(got.Body)
		return got.StatusCode, strings.TrimSpace(string(b))
	}
	want := func(code int, body string) func(int, string) {
		return func(gotCode int, gotBody string) {
			t.Helper()
			if gotCode != code || body != "" && gotBody != body {
				t.Errorf("got %d %s\nwant %d %s", gotCode, gotBody, code, body)
			}
		}
	}
	const acme = `{"name":"[acme]standup","tenant":"acme","jid":"standup@conference.acme.meet.test","meeting_id":"","subject":"","participants":0,"occupants":1,"max_occupants":0,"password_protected":false,"lobby":false,"created_at":null}`
	const plain = `{"name":"standup","jid":"standup@conference.meet.test","meeting_id":"m","subject":"","participants":1,"occupants":2,"max_occupants":0,"password_protected":true,"lobby":false,"created_at":"2023-11-14T22:13:20Z"}`
	want(200, `{"rooms":[`+acme+`,`+plain+`],"more":false}`)(do("GET /rooms", "", "", ""))
	want(200, `{"rooms":[`+acme+`],"more":true}`)(do("GET /rooms", "", "", "?limit=1"))
	want(200, `{"rooms":[`+plain+`],"more":false}`)(do("GET /rooms", "", "", "?limit=1&after=%5Bacme%5Dstandup"))
	want(200, `{"rooms":[],"more":false}`)(do("GET /rooms", "", "", "?tenant=other"))
	want(200, acme)(do("GET /rooms/{room}", "[acme]standup", "", ""))
	want(200, plain)(do("GET /rooms/{room}", "standup@conference.meet.test", "", ""))
	want(200, `{"sent":1}`)(do("POST /rooms/{room}/messages", "standup", "", ""))
	want(200, `{"valid":false}`)(do("POST /rooms/{room}/password/check", "standup", `{"password":"S3cret"}`, ""))
	want(200, `{"valid":true}`)(do("POST /rooms/{room}/password/check", "standup", "", ""))
	want(204, "")(do("PUT /rooms/{room}/password", "standup", "", ""))
	want(200, `{"valid":false}`)(do("POST /rooms/{room}/password/check", "standup", "", ""))
	want(204, "")(do("DELETE /rooms/{room}", "standup", "", "?reason=Fire&silent_reconnect=true"))
	if e := f.rooms["standup"].ended; e == nil || *e != (End{"Fire", true}) {
		t.Errorf("ended %+v", e)
	}
	if m := f.rooms["standup"].said; len(m) != 1 || m[0].Text != "Hello" || m[0].DisplayName != "The server" || len(m[0].Nicks) != 1 || m[0].ByAddress {
		t.Errorf("said %+v", m)
	}
	want(405, `{"type":"about:blank","title":"Method Not Allowed","status":405}`)(do("POST /rooms", "", "", ""))
	want(404, `{"type":"about:blank","title":"Not Found","status":404,"detail":"There is no such path."}`)(do("GET /rooms/{room}/nonsense", "standup", "", ""))
}

// Requests that make no sense, each for a reason of its own.
func TestHostileBodies(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 5000)
	for _, c := range []struct{ op, body, detail string }{
		{"PATCH /rooms/{room}", `[]`, "not a JSON object"},
		{"PATCH /rooms/{room}", `null`, "not a JSON object"},
		{"PATCH /rooms/{room}", `{}`, "max_occupants is missing"},
		{"PATCH /rooms/{room}", `{"max_occupants":-1}`, "out of range"},
		{"PATCH /rooms/{room}", `{"max_occupants":1e99}`, "of the wrong type"},
		{"PATCH /rooms/{room}", `{"max_occupants":"5"}`, "of the wrong type"},
		{"PATCH /rooms/{room}", `{"max_occupants":5}{}`, "after the JSON object"},
		{"PATCH /rooms/{room}", strings.Repeat(`{"max_occupants":`, 5000), "not the JSON object"},
		{"POST /rooms/{room}/messages", `{"message":""}`, "message is missing"},
		{"POST /rooms/{room}/messages", `{"message":"a\u0000"}`, "can't be sent"},
		{"POST /rooms/{room}/messages", `{"message":"` + strings.Repeat("x", 20000) + `"}`, "longer"},
		{"POST /rooms/{room}/messages", `{"message":"a","display_name":"\u001b[1m"}`, "can't be sent"},
		{"POST /rooms/{room}/messages", `{"message":"a","to":"b"}`, "of the wrong type"},
		{"PUT /rooms/{room}/password", `{"password":""}`, "password is missing"},
		{"PUT /rooms/{room}/password", `{"password":"` + long + `"}`, "longer"},
		{"PUT /rooms/{room}/password", `{"password":null}`, "password is missing"},
		{"PUT /rooms/{room}/lobby", `{}`, "enabled is missing"},
		{"PATCH /rooms/{room}/metadata", `{"":1}`, "A key is empty"},
		{"PATCH /rooms/{room}/metadata", `{"` + long + `":1}`, "longer"},
		{"PATCH /rooms/{room}/metadata", `{"a\u0001":1}`, "can't be sent"},
		{"POST /rooms/{room}/invitations", `{"number":""}`, "no telephone number"},
		{"POST /rooms/{room}/invitations", `{"number":"1\r\nX: y"}`, "no telephone number"},
		{"PUT /presets/{room}", `{"room":"other"}`, "another than that of the path"},
		{"PUT /presets/{room}", `{"max_occupants":-1}`, "out of range"},
		{"PUT /presets/{room}", `{"lobby":true,"lobby_disabled":true}`, "contradict"},
		{"PUT /presets/{room}", `{"moderators":[""]}`, "nobody's"},
		{"PUT /presets/{room}", `{"members":["` + long + `"]}`, "longer"},
		{"PUT /presets/{room}", `{"members":[` + strings.Repeat(`"a",`, 1000) + `"a"]}`, "More than"},
		{"PUT /presets/{room}", `{"expires_at":"2001-01-01T00:00:00Z"}`, "past"},
		{"PUT /presets/{room}", `{"expires_at":"9001-01-01T00:00:00Z"}`, "a year ahead"},
		{"PUT /presets/{room}", `{"expires_at":"tomorrow"}`, "not the JSON object"},
		{"PUT /presets/{room}", `{"password":"\u0007"}`, "can't be sent"},
	} {
		q := ordinary(c.op)
		q.body = c.body
		got := q.ask(newAPI(newFake(), nil))
		b, _ := io.ReadAll(got.Body)
		if got.StatusCode != 400 || !strings.Contains(string(b), c.detail) {
			t.Errorf("%s %.60s: %d %s, want %s", c.op, c.body, got.StatusCode, b, c.detail)
		}
	}
	for _, search := range []string{"?limit=0", "?limit=10001", "?limit=-1", "?limit=9e9"} {
		q := ordinary("GET /rooms")
		if q.search = search; q.ask(newAPI(newFake(), nil)).StatusCode != 400 {
			t.Error(search)
		}
	}
	for _, search := range []string{"?silent_reconnect=perhaps", "?reason=%00", "?reason=%ff", "?reason=" + long} {
		q := ordinary("DELETE /rooms/{room}")
		if q.search = search; q.ask(newAPI(newFake(), nil)).StatusCode != 400 {
			t.Error(search)
		}
	}
}

// A preset without an end has one.
func TestPresetEnds(t *testing.T) {
	t.Parallel()
	f := newFake()
	q := ordinary("PUT /presets/{room}")
	q.body = `{}`
	if got := q.ask(newAPI(f, nil)); got.StatusCode != 200 {
		t.Fatal(got.Status)
	}
	if d := time.Until(f.presets["standup"].ExpiresAt); d < 23*time.Hour || d > 24*time.Hour {
		t.Error(d)
	}
}

// A room that does not answer holds nobody up.
func TestHangingRoom(t *testing.T) {
	t.Parallel()
	s := newAPI(newFake(), func(c *Config) {
		c.Backend, c.Timeout = hanging{newFake()}, 10*time.Millisecond
	})
	got := ordinary("GET /rooms/{room}").ask(s)
	if b, _ := io.ReadAll(got.Body); got.StatusCode != 503 || !strings.Contains(string(b), "does not answer") {
		t.Errorf("%d %s", got.StatusCode, b)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/room-size?room=standup", nil)
	r.Header.Set("Authorization", "Bearer "+testKey)
	s.StockHandlers()["GET /room-size"].ServeHTTP(w, r)
	if w.Code != 503 {
		t.Error(w.Code)
	}
}

type hanging struct{ *fake }

func (hanging) Room(ctx context.Context, _ string) (Room, error) {
	<-ctx.Done()
	return Room{}, fmt.Errorf("room: %w", ctx.Err())
}

// Nothing that somebody with a key sends makes the API panic, answer with a fault, or
// with something else than a problem.
func FuzzBodies(f *testing.F) {
	for i, rt := range routes {
		f.Add(uint8(i), "standup", bodies[rt.method+" "+rt.path])
		f.Add(uint8(i), "[acme]standup", `{"to":["`+strings.Repeat("[", 100)+`"],"a":{"a":[{}]}}`)
	}
	f.Fuzz(func(t *testing.T, n uint8, room, body string) {
		rt := routes[int(n)%len(routes)]
		q := ordinary(rt.method + " " + rt.path)
		q.body = body
		r := q.request()
		r.SetPathValue("room", room)
		w := httptest.NewRecorder()
		s := newAPI(newFake(), nil)
		r.Body = http.MaxBytesReader(w, r.Body, s.cfg.Body)
		s.serve(w, r, rt)
		if w.Code >= 500 && w.Code != 503 {
			t.Errorf("%s %s %q: %d %s", rt.method, rt.path, body, w.Code, w.Body)
		}
		if w.Code >= 400 && w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%d is no problem", w.Code)
		}
	})
}
