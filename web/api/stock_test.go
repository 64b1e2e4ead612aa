package api

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// stockDo asks one of the paths of Prosody's modules.
func stockDo(s *Server, line, auth, body string) (int, string, http.Header) {
	method, target, _ := strings.Cut(line, " ")
	mux := http.NewServeMux()
	for pattern, h := range s.StockHandlers() {
		mux.Handle(pattern, h)
	}
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.RemoteAddr = "192.0.2.1:1234"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if auth != "" {
		r.Header.Set("Authorization", auth)
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	b, _ := io.ReadAll(w.Body)
	return w.Code, string(b), w.Header()
}

const withKey = "Bearer " + testKey

// The codes and bodies of room-services.md §7.5.
func TestStockPaths(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line, body string
		code       int
		want       string
	}{
		{"GET /room-size?room=standup&domain=meet.test", "", 200, `{"participants":1}`},
		{"GET /room-size?room=standup&domain=meet.test&subdomain=acme", "", 200, `{"participants":1}`},
		{"GET /room-size?room=standup&domain=meet.test&subdomain=other", "", 404, ""},
		{"GET /room-size?room=standup&subdomain=acme", "", 200, `{"participants":1}`}, // 1 stays 1
		{"GET /room-size?room=nobody", "", 404, ""},
		{"GET /room-size", "", 400, ""},
		{"GET /room?room=standup&domain=meet.test", "", 200, `[{"jid":"standup@conference.meet.test/aaaa1111","email":"a@b.c","display_name":"+4930 Anna"}]`},
		{"GET /room?room=standup&prefix=acme", "", 200, `[]`},
		{"GET /room?room=nobody", "", 404, ""},
		{"GET /sessions", "", 200, `7`},
		{"GET /colibri/drain", "", 200, `{"drain":false}`},
		{"POST /colibri/drain/enable", "", 200, ""},
		{"POST /colibri/drain/disable", "", 200, ""},
		{"POST /colibri/shutdown", `{"graceful-shutdown":true}`, 200, ""},
		{"POST /colibri/shutdown", `{"force-shutdown":true}`, 200, ""},
		{"POST /colibri/shutdown", `{}`, 400, ""},
		{"GET /room-census", "", 200, `{"room_census":[{"room_name":"[acme]standup@conference.meet.test","participants":0,"leaked":true},` +
			`{"room_name":"standup@conference.meet.test","participants":1,"created_time":"1700000000000","leaked":false}]}`},
		{"POST /end-meeting?conference=standup@conference.meet.test", "", 200, ""},
		{"POST /end-meeting?conference=nobody@conference.meet.test", "", 404, ""},
		{"POST /end-meeting", "", 400, ""},
		{"PUT /kick-participant?room=standup", `{"participantId":"aaaa1111"}`, 200, ""},
		{"PUT /kick-participant?room=standup", `{"number":"+4930"}`, 200, ""},
		{"PUT /kick-participant?room=standup", `{"number":"+4931"}`, 404, ""},
		{"PUT /kick-participant?room=standup", `{"number":""}`, 404, ""},
		{"PUT /kick-participant?room=standup", `{"participantId":"focus"}`, 404, ""},
		{"PUT /kick-participant?room=standup&prefix=acme", `{"participantId":"aaaa1111"}`, 404, ""},
		{"PUT /kick-participant?room=nobody", `{"participantId":"aaaa1111"}`, 404, ""},
		{"PUT /kick-participant?room=standup", `{"participantId":"aaaa1111","number":"1"}`, 400, ""},
		{"PUT /kick-participant?room=standup", `{}`, 400, ""},
		{"PUT /kick-participant?room=standup", `[`, 400, ""},
		{"PUT /kick-participant", `{"participantId":"aaaa1111"}`, 400, ""},
		{"POST /invite-jigasi", `{"conference":"standup@conference.meet.test","phoneNo":"+4930"}`, 200, ""},
		{"POST /invite-jigasi", `{"conference":"standup@conference.meet.test","phoneNo":"0"}`, 404, `{"error":"Jigasi not found"}`},
		{"POST /invite-jigasi", `{"conference":"standup@conference.meet.test"}`, 400, ""},
		{"POST /invite-jigasi", `{"phoneNo":"1"}`, 400, ""},
		{"POST /send-system-chat-message", `{"room":"standup@conference.meet.test","connectionJIDs":["u1@meet.test/r"],"message":"Hi","displayName":"Bot"}`, 200, ""},
		{"POST /send-system-chat-message", `{"room":"nobody@conference.meet.test","connectionJIDs":[],"message":"Hi"}`, 404, ""},
		{"POST /send-system-chat-message", `{"room":"standup@conference.meet.test","message":"Hi"}`, 400, ""},
		{"POST /send-system-chat-message", `{"room":"standup@conference.meet.test","connectionJIDs":[1],"message":"Hi"}`, 400, ""},
		{"POST /send-system-chat-message", `{"room":"standup@conference.meet.test","connectionJIDs":[],"message":"\u0000"}`, 400, ""},
		{"GET /turn-credentials", "", 200, `[{"type":"turns","host":"meet.test","port":443,"transport":"tcp","username":"1:x","password":"y","restricted":true,"expires":5}]`},
		{"GET /room-info?room=standup", "", 200, `{"conference":"standup@conference.meet.test","passcodeProtected":true,"lobbyEnabled":false}`},
		{"GET /room-info?room=standup&prefix=acme", "", 200, `{"conference":"[acme]standup@conference.meet.test","passcodeProtected":false,"lobbyEnabled":false}`},
		{"GET /room-info", "", 400, ""},
		{"PUT /room-info?room=standup", `{"passcode":"s3cret"}`, 200, `{"valid":true}`},
		{"PUT /room-info?room=standup", `{"passcode":"1234"}`, 200, `{"valid":false}`},
		{"PUT /room-info?room=standup", `{}`, 400, ""},
		{"PUT /room-info?room=standup", `{"passcode":1234}`, 400, ""},
		{"PUT /room-info?room=nobody", `{"passcode":"1"}`, 404, ""},
	} {
		code, body, _ := stockDo(newAPI(newFake(), nil), c.line, withKey, c.body)
		if code != c.code || body != c.want {
			t.Errorf("%s %s:\ngot  %d %s\nwant %d %s", c.line, c.body, code, body, c.code, c.want)
		}
	}
	f := newFake()
	s := newAPI(f, nil)
	stockDo(s, "POST /end-meeting?conference=standup@conference.meet.test&silent-reconnect=true", withKey, "")
	if e := f.rooms["standup"].ended; e == nil || *e != (End{"The meeting has been terminated silently", true}) {
		t.Errorf("%+v", e)
	}
	stockDo(s, "POST /send-system-chat-message", withKey, `{"room":"standup","connectionJIDs":["u1@meet.test/r"],"message":"Hi","displayName":"Bot"}`)
	if m := f.rooms["standup"].said; len(m) != 1 || !m[0].ByAddress || m[0].Connections[0] != "u1@meet.test/r" || m[0].DisplayName != "Bot" {
		t.Errorf("%+v", m)
	}
}

// A body of another type is none: the modules compare the whole header.
func TestStockContentType(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("PUT", "/kick-participant?room=standup", strings.NewReader(`{"participantId":"aaaa1111"}`))
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.Header.Set("Authorization", withKey)
	w := httptest.NewRecorder()
	newAPI(newFake(), nil).StockHandlers()["PUT /kick-participant"].ServeHTTP(w, r)
	if w.Code != 400 {
		t.Error(w.Code)
	}
}

// Every stock path asks who is there, also those where Prosody's module does not, and
// answers a stranger in the same way whether the room exists or not.
func TestStockStrangers(t *testing.T) {
	t.Parallel()
	for pattern := range newAPI(newFake(), nil).StockHandlers() {
		for _, auth := range []string{"", "Bearer wrong", "Basic YW5uYTp3cm9uZw==", "Basic Ym90OnB3", "Bearer"} {
			f := newFake()
			s := newAPI(f, nil)
			var first string
			for _, query := range []string{"?room=standup&conference=standup", "?room=nobody&conference=nobody", ""} {
				body := ""
				if !strings.HasPrefix(pattern, "GET") {
					body = `{"participantId":"aaaa1111","passcode":"x","room":"standup","conference":"standup","phoneNo":"1","connectionJIDs":[],"message":"x"}`
				}
				code, got, h := stockDo(s, pattern+query, auth, body)
				want := 401
				if strings.Contains(pattern, "/room-info") || strings.Contains(pattern, "/kick") || strings.HasSuffix(pattern, "/room") || strings.Contains(pattern, "/room-size") {
					want = 403
				}
				h.Del("Date")
				all := http.StatusText(code) + got + strings.Join(h.Values("WWW-Authenticate"), "") + strings.Join(h.Values("Content-Type"), "")
				if first == "" {
					first = all
				}
				if code != want || got != "" || all != first {
					t.Errorf("%s%s %q: %d %s", pattern, query, auth, code, got)
				}
			}
			if len(f.calls) > 0 {
				t.Errorf("%s %q: rooms were asked: %q", pattern, auth, f.calls)
			}
		}
	}
}

// A user's token opens the room that it is for, and only at /room-info.
func TestRoomInfoTokens(t *testing.T) {
	t.Parallel()
	f := newFake()
	s := newAPI(f, func(c *Config) {
		c.Token = func(_ context.Context, token, room string) bool { return token == "jwt-of-"+room }
	})
	for _, c := range []struct {
		line, auth, body string
		want             int
	}{
		{"GET /room-info?room=standup", "Bearer jwt-of-standup", "", 200},
		{"GET /room-info?room=standup&prefix=acme", "Bearer jwt-of-[acme]standup", "", 200},
		{"GET /room-info?room=standup&prefix=acme", "Bearer jwt-of-standup", "", 403},
		{"GET /room-info?room=other", "Bearer jwt-of-standup", "", 403},
		{"GET /room-info?room=nobody", "Bearer jwt-of-nobody", "", 404},
		{"GET /room-info", "Bearer jwt-of-", "", 403},
		{"PUT /room-info?room=standup", "Bearer jwt-of-standup", `{"passcode":"s3cret"}`, 200},
		{"PUT /room-info?room=standup", "Bearer jwt-of-other", `{"passcode":"s3cret"}`, 403},
		{"PUT /room-info?room=standup", "Bearer jwt-of-standup", `nonsense`, 400},
		{"DELETE /room-info?room=standup", "Bearer jwt-of-standup", "", 405},
		{"GET /room-size?room=standup", "Bearer jwt-of-standup", "", 403},
		{"POST /end-meeting?conference=standup", "Bearer jwt-of-standup", "", 401},
	} {
		if code, body, _ := stockDo(s, c.line, c.auth, c.body); code != c.want {
			t.Errorf("%s %s: %d %s", c.line, c.auth, code, body)
		}
	}
}

// A passcode of a few digits can't be guessed by trying, not under another spelling of
// the room, either; the right one gives its try back.
func TestPasscodeTries(t *testing.T) {
	t.Parallel()
	f := newFake()
	s := newAPI(f, func(c *Config) { c.Tries = 3 })
	try := func(room, passcode string) int {
		code, _, _ := stockDo(s, "PUT /room-info?room="+room, withKey, `{"passcode":"`+passcode+`"}`)
		return code
	}
	for range 10 {
		if code := try("standup", "s3cret"); code != 200 {
			t.Fatal(code)
		}
	}
	for i, room := range []string{"standup", "Standup", "standup@conference.meet.test"} {
		if code := try(room, "0000"); code != 200 {
			t.Errorf("%d: %d", i, code)
		}
	}
	if code := try("STANDUP", "s3cret"); code != 429 {
		t.Errorf("after too many: %d", code)
	}
	if f.password != 13 {
		t.Errorf("%d checks", f.password)
	}
	if code, _, _ := stockDo(s, "PUT /room-info?room=standup&prefix=acme", withKey, `{"passcode":"1"}`); code != 200 {
		t.Errorf("another room: %d", code)
	}
}

// Nothing that reaches a stock path makes it panic or answer with a fault.
func FuzzStock(f *testing.F) {
	f.Add("/kick-participant", "room=standup", `{"participantId":"a"}`)
	f.Add("/invite-jigasi", "", `{"conference":"standup","phoneNo":"1"}`)
	f.Add("/send-system-chat-message", "", `{"room":"standup","connectionJIDs":["a"],"message":"b"}`)
	f.Add("/room-info", "room=%5Ba%5Db&prefix=c", `{"passcode":"b"}`)
	s := newAPI(newFake(), nil)
	handlers := s.StockHandlers()
	f.Fuzz(func(t *testing.T, path, query, body string) {
		for pattern, h := range handlers {
			method, p, _ := strings.Cut(pattern, " ")
			if p != path {
				continue
			}
			r := httptest.NewRequest(method, path, strings.NewReader(body))
			r.URL.RawQuery = query
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", withKey)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code >= 500 {
				t.Errorf("%s?%s %q: %d", path, query, body, w.Code)
			}
		}
	})
}

// A host is no operator: its login opens meetings, and ends none of the others.
func TestOnlyKeysEndTheServer(t *testing.T) {
	t.Parallel()
	f := newFake()
	s := newAPI(f, nil)
	for op, body := range map[string]string{"POST /drain": `{"drain":true}`, "POST /shutdown": `{}`} {
		q := ordinary(op)
		q.body, q.key, q.user, q.password = body, "", "anna", "pw"
		if got := q.ask(s).StatusCode; got != http.StatusForbidden {
			t.Errorf("%s by a host: %d", op, got)
		}
		if f.node.Drain || f.node.State != "running" {
			t.Errorf("%s by a host: %+v", op, f.node)
		}
	}
	q := ordinary("POST /drain")
	if got := q.ask(s).StatusCode; got != http.StatusOK || !f.node.Drain {
		t.Errorf("drain: %d %+v", got, f.node)
	}
	q = ordinary("POST /shutdown")
	if got := q.ask(s).StatusCode; got != http.StatusAccepted || f.node.State != "graceful_shutdown" {
		t.Errorf("shutdown: %d %+v", got, f.node)
	}
}
