package scenario

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"confab/internal/meettest"
	"confab/internal/meettest/token"
	"confab/xmpp"
)

const key = "Bearer " + meettest.APIKey

// basic is the login of an account.
func basic(user, password string) string {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization")
}

// ask makes a request; the result is "200 body".
func (w *world) ask(method, target, auth, body string) string {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.ctx, method, target, strings.NewReader(body))
	w.must(err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true, //nolint:gosec // test server
	}}
	resp, err := client.Do(req)
	w.must(err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	w.must(err)
	return fmt.Sprint(resp.StatusCode, " ", strings.TrimSpace(string(b)))
}

// api asks the public front.
func (w *world) api(method, path, auth, body string) string {
	w.t.Helper()
	return w.ask(method, w.URL+"/_/api/v1"+path, auth, body)
}

// adminURL is the address of the admin listener, as the start prints it.
func (w *world) adminURL() string {
	m := regexp.MustCompile(`Metrics and health +(http://\S+)/metrics`).FindStringSubmatch(w.Log())
	if m == nil {
		w.t.Fatal("no admin listener")
	}
	return m[1]
}

func (w *world) want(got, pattern string) {
	w.t.Helper()
	if !regexp.MustCompile(`(?s)^` + pattern + `$`).MatchString(got) {
		w.t.Errorf("got  %s\nwant %s", got, pattern)
	}
}

// makeAccount makes an account that is no host's.
func (w *world) makeAccount(name, password string) {
	w.t.Helper()
	bin, err := meettest.Program()
	w.must(err)
	cmd := exec.CommandContext(w.ctx, bin, "user", "add", name, "--no-host", "--domain", w.Domain, "--data", w.Dir)
	cmd.Stdin = strings.NewReader(password + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("%v: %s", err, out)
	}
}

// turnedAway checks the error of a join that must not succeed.
func turnedAway(t *testing.T, err error, cond string) {
	t.Helper()
	var se *xmpp.StanzaError
	if !errors.As(err, &se) || se.Cond != cond {
		t.Errorf("join: %v, want %s", err, cond)
	}
}

// A script steers a meeting by the HTTP interface; people in it see what it does.
func TestHTTPInterface(t *testing.T) {
	w := newWorld(t, "")
	a, b := w.join("Ann", nil), w.join("Bea", nil)
	host := basic(w.HostLogin, w.HostPassword)
	w.makeAccount("bot", "botpassword")
	room := "/rooms/" + w.room

	// Who may ask: a stranger gets the same for everything.
	const stranger = `401 {"type":"about:blank","title":"Unauthorized","status":401,"detail":"An API key or the login of a host is needed."}`
	for _, auth := range []string{"", "Bearer wrong-key-of-some-length", basic(w.HostLogin, "wrong"), basic("nobody", "x")} {
		for _, path := range []string{"/rooms", room, "/rooms/nobody", "/presets/x", "/nonsense"} {
			if got := w.api("GET", path, auth, ""); got != stranger {
				t.Errorf("%s with %q: %s", path, auth, got)
			}
		}
	}
	w.want(w.api("GET", room, basic("bot", "botpassword"), ""), `403 .*not a host's.*`)
	w.want(w.api("GET", "/openapi.json", "", ""), `200 \{.*"openapi": "3.1.0".*`)
	w.want(w.api("GET", room, host, ""), `200 .*`)

	w.want(w.api("GET", "/rooms", key, ""), `200 \{"rooms":\[\{"name":"`+w.room+`","jid":"`+w.room+`@conference.meet.test","meeting_id":"[0-9a-f-]{36}",`+
		`"subject":"","participants":2,"occupants":3,"max_occupants":0,"password_protected":false,"lobby":false,"created_at":"2\S+Z"\}\],"more":false\}`)
	w.want(w.api("GET", "/rooms/nobody", key, ""), `404 .*`)
	w.want(w.api("GET", "/rooms/a%20b", key, ""), `400 .*`)
	w.want(w.api("GET", "/rooms/x@conference.elsewhere.test", key, ""), `404 .*`)
	w.want(w.api("GET", room+"/occupants", key, ""), `200 .*"nick":"focus".*"nick":"`+a.Nick()+`","jid":"`+w.room+`@conference.meet.test/`+a.Nick()+
		`","display_name":"Ann","role":"moderator","affiliation":"owner","person":true,"connections":\["`+regexp.QuoteMeta(a.JID().String())+`"\].*"display_name":"Bea","role":"participant".*`)
	w.want(w.api("GET", "/sessions", key, ""), `200 \{"sessions":2\}`)
	w.want(w.api("GET", "/turn-credentials", key, ""), `200 \{"services":\[.*"type":"turn".*"password":.*`)

	// Chat in the server's name.
	w.want(w.api("POST", room+"/messages", key, `{"message":"100% of <you>","display_name":"Desk"}`), `200 \{"sent":2\}`)
	for _, c := range []*meettest.Client{a, b} {
		_, err := c.Expect(w.ctx, "the server's message", func(s *xmpp.Stanza) bool {
			el := s.Child("http://jitsi.org/jitmeet", "json-message")
			return el != nil && s.From.String() == w.room+"@conference.meet.test" && !strings.Contains(el.Text, "%") &&
				el.Text == `{"type":"system_chat_message","message":"100\u0025 of \u003cyou\u003e","displayName":"Desk"}`
		})
		w.must(err)
	}
	w.want(w.api("POST", room+"/messages", key, `{"message":"x","to":["focus"]}`), `404 .*`)

	// The lock: everybody learns of it, newcomers need the password.
	w.want(w.api("PUT", room+"/password", key, `{"password":"1234"}`), `204 `)
	_, err := b.Expect(w.ctx, "status 104", func(s *xmpp.Stanza) bool {
		x := s.Child("http://jabber.org/protocol/muc#user", "x")
		return s.Kind == xmpp.Message && x != nil && x.Child("", "status").Get("code") == "104"
	})
	w.must(err)
	turnedAway(t, w.Dial(w.ctx, "Cem", nil).Join(w.ctx, w.room), xmpp.CondNotAuthorized)
	w.want(w.api("POST", room+"/password/check", key, `{"password":"123"}`), `200 \{"valid":false\}`)
	w.want(w.api("POST", room+"/password/check", key, `{"password":"1234"}`), `200 \{"valid":true\}`)
	info := w.URL + "/_api/room-info?room=" + w.room
	w.want(w.ask("GET", info, key, ""), `200 \{"conference":"`+w.room+`@conference.meet.test","passcodeProtected":true,"lobbyEnabled":false\}`)
	w.want(w.ask("PUT", info, key, `{"passcode":"1234"}`), `200 \{"valid":true\}`)
	w.want(w.ask("GET", info, "", ""), `403 `)
	w.want(w.ask("GET", info+"x", "", ""), `403 `)
	w.want(w.ask("GET", w.URL+"/acme/_api/room-info?prefix=&room="+w.room, key, ""), `404 `)
	d := w.Dial(w.ctx, "Dee", nil)
	w.must(d.JoinPassword(w.ctx, w.room, "1234"))
	w.want(w.api("DELETE", room+"/password", key, ""), `204 `)

	// Limits and the lobby hold for newcomers, and nobody is put out.
	w.want(w.api("PATCH", room, key, `{"max_occupants":3}`), `200 .*"max_occupants":3.*`)
	turnedAway(t, w.Dial(w.ctx, "Eva", nil).Join(w.ctx, w.room), xmpp.CondServiceUnavailable)
	w.want(w.api("PATCH", room, key, `{"max_occupants":0}`), `200 .*"max_occupants":0.*`)
	w.want(w.api("PUT", room+"/lobby", key, `{"enabled":true}`), `204 `)
	turnedAway(t, w.Dial(w.ctx, "Fay", nil).Join(w.ctx, w.room), xmpp.CondRegistrationRequired)
	w.want(w.api("GET", room, key, ""), `200 .*"participants":3,.*"lobby":true.*`)
	w.want(w.api("PUT", room+"/lobby", key, `{"enabled":false}`), `204 `)

	// Metadata reach the clients.
	w.want(w.api("PATCH", room+"/metadata", key, `{"colour":{"of":"sky"},"gone":null}`), `200 \{.*"colour":\{"of":"sky"\}.*`)
	_, err = a.Expect(w.ctx, "the metadata", func(s *xmpp.Stanza) bool {
		el := s.Child("http://jitsi.org/jitmeet", "json-message")
		return el != nil && strings.Contains(el.Text, `"colour":{"of":"sky"}`)
	})
	w.must(err)
	w.want(w.api("PATCH", room+"/metadata", key, `{"lobbyEnabled":true}`), `409 .*`)
	w.want(w.api("PATCH", room+"/metadata", key, `{"big":"`+strings.Repeat("x", 70000)+`"}`), `409 .*`)
	w.want(w.api("PATCH", room+"/metadata", key, `{"colour":null}`), `200 \{.*\}`)
	if got := w.api("GET", room+"/metadata", key, ""); strings.Contains(got, "colour") {
		t.Errorf("not removed: %s", got)
	}

	w.want(w.api("POST", room+"/invitations", key, `{"number":"+4930"}`), `503 .*no SIP gateway.*`)

	// The admin listener has both, too.
	admin := w.adminURL()
	w.want(w.ask("GET", admin+"/_/api/v1"+room, key, ""), `200 .*`)
	w.want(w.ask("GET", admin+"/room-size?domain=meet.test&room="+w.room, key, ""), `200 \{"participants":3\}`)
	w.want(w.ask("GET", admin+"/room?room="+w.room, host, ""), `200 \[\{"jid":"`+w.room+`@conference.meet.test/`+a.Nick()+`","email":"","display_name":"Ann"\},.*`)
	w.want(w.ask("GET", admin+"/room-census", key, ""), `200 \{"room_census":\[\{"room_name":"`+w.room+`@conference.meet.test","participants":3,"created_time":"\d{13}","leaked":false\}\]\}`)
	w.want(w.ask("GET", admin+"/sessions", key, ""), `200 \d`)
	w.want(w.ask("GET", admin+"/turn-credentials", key, ""), `200 \[.*\]`)
	w.want(w.ask("POST", admin+"/invite-jigasi", key, `{"conference":"`+w.room+`@conference.meet.test","phoneNo":"1"}`), `404 \{"error":"Jigasi not found"\}`)
	for _, path := range []string{"/room-size", "/room", "/room-census", "/sessions", "/turn-credentials", "/room-info"} {
		w.want(w.ask("GET", admin+path+"?room="+w.room, "", ""), `40[13] `)
	}
	say := func(to string) string {
		return w.ask("POST", admin+"/send-system-chat-message", key, `{"room":"`+w.room+`@conference.meet.test","connectionJIDs":["`+to+`"],"message":"psst"}`)
	}
	w.want(say("focus@auth.meet.test/focus"), `200 `) // no occupant to be written to: nothing is sent
	w.want(say(a.JID().String()), `200 `)
	_, err = a.Expect(w.ctx, "the whispered message", func(s *xmpp.Stanza) bool {
		el := s.Child("http://jitsi.org/jitmeet", "json-message")
		return el != nil && el.Text == `{"type":"system_chat_message","message":"psst"}`
	})
	w.must(err)

	// Out with them, one and then all.
	w.want(w.api("DELETE", room+"/occupants/focus", key, ""), `409 .*`)
	w.want(w.api("DELETE", room+"/occupants/"+b.Nick()+"?reason=Enough", key, ""), `204 `)
	w.must(b.Until(w.ctx, "to be kicked", func() bool { return b.Kicked() == "Enough" }))
	w.want(w.ask("PUT", admin+"/kick-participant?room="+w.room, key, `{"participantId":"`+d.Nick()+`"}`), `200 `)
	w.must(a.Until(w.ctx, "to be alone", func() bool { return a.Others() == 0 }))
	w.want(w.ask("POST", admin+"/end-meeting?silent-reconnect=true&conference="+w.room+"@conference.meet.test", key, ""), `200 `)
	_, err = a.Expect(w.ctx, "the end", func(s *xmpp.Stanza) bool {
		x := s.Child("http://jabber.org/protocol/muc#user", "x")
		return x != nil && x.Child("", "destroy") != nil && x.Child("", "destroy").Get("jid") == w.room+"@conference.meet.test" &&
			x.Child("", "destroy").ChildText("", "reason") == "The meeting has been terminated silently"
	})
	w.must(err)
	w.want(w.api("GET", room, key, ""), `404 .*`)
	w.want(w.api("DELETE", room, key, ""), `404 .*`)
}

// What is settled about a room holds when it begins, also after a restart.
// Who is in a breakout room is in the meeting: a script finds, tells and removes it.
func TestHTTPInterfaceReachesBreakoutRooms(t *testing.T) {
	w := newWorld(t, "")
	a, b := w.join("Ann", nil), w.join("Bea", nil)
	side := w.breakout(a, "Left", b)
	w.must(a.SendTo(b, side))
	w.must(b.Follow(w.ctx))
	w.shown(a, side, 1)

	room, admin := "/rooms/"+w.room, w.adminURL()
	w.want(w.api("GET", room+"/occupants", key, ""), `200 .*"nick":"`+b.Nick()+`","jid":"`+side.String()+`/`+b.Nick()+`".*"breakout":"`+side.String()+`".*`)
	w.want(w.ask("GET", admin+"/room?room="+w.room, key, ""), `200 \[\{"jid":"[^{}]*/`+a.Nick()+`"[^{}]*\}\]`)
	say := func(body, sent string, to ...*meettest.Client) {
		t.Helper()
		w.want(w.api("POST", room+"/messages", key, body), `200 \{"sent":`+sent+`\}`)
		for _, c := range to {
			_, err := c.Expect(w.ctx, "the system's message", func(s *xmpp.Stanza) bool {
				el := s.Child("http://jitsi.org/jitmeet", "json-message")
				from := a.RoomJID(w.room)
				if c == b {
					from = side
				}
				return el != nil && s.From == from && strings.Contains(el.Text, "system_chat_message")
			})
			w.must(err)
		}
	}
	say(`{"message":"to all"}`, "2", a, b)
	say(`{"message":"to one","to":["`+b.Nick()+`"]}`, "1", b)
	w.want(w.api("DELETE", room+"/occupants/"+b.Nick()+"?reason=Enough", key, ""), `204 `)
	w.must(b.Until(w.ctx, "to be kicked", func() bool { return b.Kicked() == "Enough" }))
	w.shown(a, side, 0)
}

func TestPresets(t *testing.T) {
	w := newWorld(t, "")
	preset := "/presets/%5Bacme%5Dplans"
	w.want(w.api("PUT", preset, key, `{"password":"pw","max_occupants":1,"subject":"Plans","moderators":["Host@meet.test"],"members":["x"]}`),
		`201 \{"room":"\[acme\]plans","subject":"Plans","password":"pw","max_occupants":1,"moderators":\["host@meet.test"\],"members":\["x"\],"expires_at":"2.*"\}`)
	w.want(w.api("PUT", preset, key, `{"password":"pw","max_occupants":1,"subject":"Plans"}`), `200 .*`)
	w.want(w.api("PUT", "/presets/a%20b", key, `{}`), `400 .*`)
	w.want(w.api("PUT", "/presets/x", key, `{"moderators":["a@b@c"]}`), `400 .*`)
	w.Stop()
	w.Server = meettest.StartServer(t, meettest.ServerOptions{Like: w.Server})
	w.want(w.api("GET", "/presets", key, ""), `200 \{"presets":\[\{"room":"\[acme\]plans".*\}\]\}`)

	in := func(name string) *meettest.Client {
		return w.Dial(w.ctx, name, func(o *meettest.Options) { o.MUC = "conference.acme.meet.test" })
	}
	turnedAway(t, in("Ann").Join(w.ctx, "plans"), xmpp.CondNotAuthorized)
	a := in("Ann")
	w.must(a.JoinPassword(w.ctx, "plans", "pw"))
	_, err := a.Expect(w.ctx, "the subject", func(s *xmpp.Stanza) bool {
		el := s.Child(xmpp.NSClient, "subject")
		return el != nil && el.Text == "Plans"
	})
	w.must(err)
	turnedAway(t, in("Bea").JoinPassword(w.ctx, "plans", "pw"), xmpp.CondServiceUnavailable)
	w.want(w.api("GET", "/rooms?tenant=acme", key, ""), `200 \{"rooms":\[\{"name":"\[acme\]plans","tenant":"acme","jid":"plans@conference.acme.meet.test",.*"subject":"Plans","participants":1,.*"password_protected":true.*`)
	w.want(w.api("GET", "/rooms?tenant=other", key, ""), `200 \{"rooms":\[\],"more":false\}`)
	w.want(w.ask("GET", w.URL+"/acme/_api/room-info?room=plans", key, ""), `200 \{"conference":"\[acme\]plans@conference.meet.test","passcodeProtected":true,.*`)
	w.want(w.ask("GET", w.adminURL()+"/room-size?room=plans&subdomain=acme", key, ""), `200 \{"participants":1\}`)
	w.want(w.api("DELETE", preset, key, ""), `204 `)
	w.want(w.api("DELETE", preset, key, ""), `404 .*`)
}

// Who has a token for a room may ask about that room, and about no other.
func TestRoomInfoByToken(t *testing.T) {
	w := newWorld(t, tokenConfig)
	jwt := w.token(tokenSecret, nil)
	a := w.Dial(w.ctx, "Ann", with(jwt))
	w.must(a.Join(w.ctx, w.room))
	info := w.URL + "/_api/room-info?room="
	w.want(w.ask("GET", info+w.room, "Bearer "+jwt, ""), `200 \{"conference":"`+w.room+`@conference.meet.test","passcodeProtected":false,"lobbyEnabled":false\}`)
	w.want(w.ask("PUT", info+w.room, "Bearer "+jwt, `{"passcode":"x"}`), `200 \{"valid":false\}`)
	w.want(w.ask("GET", w.adminURL()+"/room-size?room="+w.room+"&token="+jwt, "", ""), `200 \{"participants":1\}`)
	for name, auth := range map[string]string{
		"another room":   w.token(tokenSecret, token.Set{"room": "other"}),
		"another secret": w.token(strings.Repeat("x", 32), nil),
		"over":           w.token(tokenSecret, token.Set{"exp": time.Now().Add(-time.Hour).Unix()}),
		"another tenant": w.token(tokenSecret, token.Set{"sub": "acme"}),
	} {
		if got := w.ask("GET", info+w.room, "Bearer "+auth, ""); got != "403 " {
			t.Errorf("%s: %s", name, got)
		}
	}
	w.want(w.ask("GET", w.URL+"/acme/_api/room-info?room="+w.room, "Bearer "+jwt, ""), `403 `)
	w.want(w.ask("GET", info+"nobody", "Bearer "+jwt, ""), `403 `)
	w.want(w.api("GET", "/rooms/"+w.room, "Bearer "+jwt, ""), `401 .*`)
	w.want(w.ask("POST", w.adminURL()+"/end-meeting?conference="+w.room+"@conference.meet.test", "Bearer "+jwt, ""), `401 `)
}

// desk is a booking service.
type desk struct {
	mu     sync.Mutex
	asked  []string
	answer http.HandlerFunc
}

func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(b))
	d.mu.Lock()
	d.asked = append(d.asked, r.Method+" "+r.URL.Path+" "+form.Get("name"))
	answer := d.answer
	d.mu.Unlock()
	answer(w, r)
}

func (d *desk) set(f http.HandlerFunc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answer = f
}

func (d *desk) was(line string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Contains(strings.Join(d.asked, "\n")+"\n", line+"\n")
}

// Rooms are opened by the leave of a booking service, which says how they are.
func TestReservations(t *testing.T) {
	d := &desk{}
	srv := httptest.NewServer(d)
	defer srv.Close()
	hang, release := make(chan struct{}), context.CancelFunc(nil)
	var ctx context.Context
	ctx, release = context.WithCancel(t.Context())
	defer release()
	d.set(func(_ http.ResponseWriter, r *http.Request) {
		close(hang)
		select {
		case <-r.Context().Done():
		case <-ctx.Done():
		}
	})
	w := newWorld(t, "[reservations]\nurl = \""+srv.URL+"\"\ntimeout = \"1s\"\nretries = 0\nheaders = { X-Key = \"abc\" }\n")

	reserved := func(room, code, text string) {
		t.Helper()
		c := w.Dial(w.ctx, "Ann", nil)
		_, err := c.Request(w.ctx, c.RoomJID(room))
		var se *xmpp.StanzaError
		if !errors.As(err, &se) || se.Type != "cancel" || se.Cond != xmpp.CondServiceUnavailable || se.Text != text ||
			se.App != `<reservation-error xmlns="http://jitsi.org/protocol/focus" error-code="`+code+`"/>` {
			t.Errorf("%s: %+v", room, err)
		}
	}
	reserved("hanging", "500", "Reservation lookup timed out")
	<-hang
	d.set(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Key") != "abc" {
			rw.WriteHeader(500)
			return
		}
		rw.WriteHeader(403)
		_, _ = io.WriteString(rw, `{"message":"Not today"}`)
	})
	reserved("refused", "403", "Not today")
	// The other way of asking is no way around it.
	w.want(w.ask("POST", w.URL+"/conference-request/v1", "", `{"room":"refused@conference.meet.test"}`), `409 .*Not today.*`)
	w.want(w.ask("POST", w.URL+"/conference-request/v1", "", `{"room":"other@conference.meet.test"}`), `409 .*Not today.*`)

	d.set(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			return
		}
		_ = json.NewEncoder(rw).Encode(map[string]any{
			"id": 7, "name": w.room, "mail_owner": "x", "start_time": time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), "duration": 3600,
			"max_occupants": 1, "password": "pw",
		})
	})
	turnedAway(t, w.Dial(w.ctx, "Ann", nil).Join(w.ctx, w.room), xmpp.CondNotAuthorized)
	a := w.Dial(w.ctx, "Ann", nil)
	w.must(a.JoinPassword(w.ctx, w.room, "pw"))
	turnedAway(t, w.Dial(w.ctx, "Bea", nil).JoinPassword(w.ctx, w.room, "pw"), xmpp.CondServiceUnavailable)
	if !d.was("POST /conference " + w.room) {
		t.Errorf("asked %q", d.asked)
	}
	w.want(w.api("DELETE", "/rooms/"+w.room, key, ""), `204 `)
	w.must(a.Until(w.ctx, "the end", a.Gone))
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !d.was("DELETE /conference/7 ") {
		select {
		case <-tick.C:
		case <-w.ctx.Done():
			t.Fatalf("the booking service is not told of the end: %q", d.asked)
		}
	}
}
