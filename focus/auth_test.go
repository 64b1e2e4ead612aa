package focus_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"confab/focus"
	"confab/xmpp"
	"confab/xmpp/xep/jingle"
	"confab/xmpp/xep/jitmeet"
)

func requireHost(c *focus.Config) { c.RequireHost, c.Moderators = true, focus.ModeratorsHosts }

// "I am the host": the guest waits, logs in on a second connection, comes back
// with the session, and is moderator.
func TestIAmTheHost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, requireHost)
		guest := w.client("u1@guest.meet.example", "aaaaaaaa")
		for range 3 {
			_, se := guest.request(`machine-uid="browser"`)
			want := `<error type="auth"><not-authorized xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/><text xmlns="urn:ietf:params:xml:ns:xmpp-stanzas">not authorized user domain</text></error>`
			if se == nil || se.Inner() != want {
				t.Fatalf("guest: %v", se)
			}
			time.Sleep(5 * time.Second)
		}
		login := w.client("alice@meet.example", "x")
		r, se := login.request(`machine-uid="browser"`)
		if se != nil || !r.Ready || r.SessionID == "" || r.Identity != "alice@meet.example" {
			t.Fatalf("login: %+v %v", r, se)
		}
		if got := (jitmeet.Property{Name: "authentication", Value: "true"}); r.Properties[0] != got {
			t.Errorf("properties %v", r.Properties)
		}
		// A stranger with the stolen id, and one with an invented id.
		_, se = w.client("evil@guest.meet.example", "y").request(`machine-uid="other" session-id="` + r.SessionID + `"`)
		if se == nil || se.Cond != xmpp.CondNotAcceptable || se.App != "" {
			t.Errorf("stolen id: %v", se)
		}
		_, se = guest.request(`machine-uid="browser" session-id="invented"`)
		if se == nil || se.Cond != xmpp.CondNotAcceptable || !strings.Contains(se.App, "session-invalid") {
			t.Errorf("invented id: %v", se)
		}
		back, se := guest.request(`machine-uid="browser" session-id="` + r.SessionID + `"`)
		if se != nil || !back.Ready || back.SessionID != r.SessionID || back.Identity != "alice@meet.example" {
			t.Fatalf("guest with session: %+v %v", back, se)
		}
		guest.join(caps2026)
		// It was made owner before it came: a lobby would have let nobody else in.
		if p := guest.presences("aaaaaaaa"); len(p) == 0 || !strings.Contains(p[0].Inner, `affiliation="owner"`) {
			t.Errorf("first presences of the host: %v", p)
		}
		// Another guest comes into the open room, and moderates nothing.
		other := w.client("u2@guest.meet.example", "bbbbbbbb")
		if r, se := other.request(`machine-uid="m2"`); se != nil || !r.Ready || r.SessionID != "" || r.Identity != "" {
			t.Fatalf("other guest: %+v %v", r, se)
		}
		other.join(caps2026)
		if other.owner() {
			t.Error("a guest is moderator")
		}
		// It logs in during the meeting.
		if _, se := w.client("bob@meet.example", "z").request(`machine-uid="m2"`); se != nil {
			t.Fatal(se)
		}
		r2, se := w.client("bob@meet.example/2", "z2").request(`machine-uid="m2"`)
		if se != nil {
			t.Fatal(se)
		}
		if _, se := other.request(`machine-uid="m2" session-id="` + r2.SessionID + `"`); se != nil {
			t.Fatal(se)
		}
		if !other.owner() {
			t.Error("the second host is not moderator")
		}
		if n := w.focus.Stats().Sessions; n != 2 {
			t.Errorf("%d sessions, not one for each account and machine", n)
		}
	})
}

// A host who joins on the connection it logged in with.
func TestHostJoinsDirectly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, requireHost)
		h := w.client("alice@meet.example", "aaaaaaaa")
		if r, se := h.request(`machine-uid="m"`); se != nil || !r.Ready {
			t.Fatal(se)
		}
		h.join(caps2026)
		if !h.owner() {
			t.Error("not moderator")
		}
	})
}

// A plain XMPP client of a host opens the room by joining; that of a guest doesn't.
func TestPlainHost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, requireHost)
		guest := w.client("plain@guest.meet.example", "Guest")
		guest.join("")
		if p := guest.presences("Guest"); len(p) != 1 || p[0].Type != "error" {
			t.Errorf("guest: %v", p)
		}
		h := w.client("plain@meet.example", "Romeo")
		h.join("")
		if !h.owner() {
			t.Error("the host is not in or not moderator")
		}
	})
}

// With IsHost the domain says nothing: guests and hosts share it.
func TestHostsAmongGuests(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, func(c *focus.Config) {
			c.IsHost = func(j xmpp.JID) bool { return j.Local == "alice" }
		})
		guest := w.meet("aaaaaaaa")
		if !guest.owner() {
			t.Error("the first is not moderator")
		}
		h := w.client("alice@meet.example", "bbbbbbbb")
		if r, se := h.request(`machine-uid="m"`); se != nil || r.Identity != "alice@meet.example" {
			t.Fatalf("%+v %v", r, se)
		}
		h.join(caps2026)
		if !h.owner() {
			t.Error("the host is not moderator")
		}
	})
}

func TestSessionsEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, requireHost)
		h := w.client("alice@meet.example", "x")
		r, se := h.request(`machine-uid="m"`)
		if se != nil {
			t.Fatal(se)
		}
		logout := func() error {
			_, err := h.port.Request(t.Context(), xmpp.NewStanza(xmpp.IQ, "set", "", xmpp.JID{}, xmpp.MustJID("focus.meet.example"),
				(&jitmeet.Logout{SessionID: r.SessionID}).String()), time.Minute)
			return err
		}
		if err := logout(); err != nil {
			t.Fatal(err)
		}
		if se, _ := logout().(*xmpp.StanzaError); se == nil || !strings.Contains(se.App, "session-invalid") {
			t.Errorf("second logout: %v", se)
		}
		r, _ = h.request(`machine-uid="m"`)
		time.Sleep(23 * time.Hour)
		guest := w.client("u1@guest.meet.example", "aaaaaaaa")
		if _, se := guest.request(`machine-uid="m" session-id="` + r.SessionID + `"`); se != nil {
			t.Errorf("after 23 h: %v", se)
		}
		time.Sleep(24 * time.Hour)
		if _, se := guest.request(`machine-uid="m" session-id="` + r.SessionID + `"`); se == nil {
			t.Error("valid after a day without use")
		}
		synctest.Wait()
		if n := w.focus.Stats().Sessions; n != 0 {
			t.Errorf("%d sessions", n)
		}
	})
}

func TestBadRequests(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		c := w.client("u1@meet.example", "x")
		for _, room := range []string{"", "x", "@conference.meet.example", "r@other.example", "r@conference.meet.example/nick", "r@conference.meet.example.evil"} {
			w.room = xmpp.JID{}
			inner := `<conference xmlns="http://jitsi.org/protocol/focus" room="` + room + `"/>`
			_, err := c.port.Request(t.Context(), xmpp.NewStanza(xmpp.IQ, "set", "", xmpp.JID{}, xmpp.MustJID("focus.meet.example"), inner), time.Minute)
			se, _ := err.(*xmpp.StanzaError)
			if se == nil || se.Cond != xmpp.CondBadRequest || se.Text == "" {
				t.Errorf("%q: %v", room, err)
			}
		}
		if st := w.focus.Stats(); st.Conferences != 0 || st.RequestsDenied != 6 {
			t.Errorf("%+v", st)
		}
	})
}

// The conference that can't be entered in time is "not ready", never an error.
func TestNotReady(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, func(c *focus.Config) { c.MUC = "conference.slow.example" })
		w.router.Serve("conference.slow.example", silence{})
		w.room = xmpp.MustJID("r@conference.slow.example")
		start := time.Now()
		r, se := w.client("u1@meet.example", "x").request(`machine-uid="m"`)
		if se != nil || r.Ready || time.Since(start) != 8*time.Second {
			t.Errorf("%+v %v after %v", r, se, time.Since(start))
		}
	})
}

func TestHTTPRequest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, requireHost)
		post := func(body string) (int, string) {
			rec := httptest.NewRecorder()
			w.focus.HTTPHandler().ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/conference-request/v1?room=standup", strings.NewReader(body)))
			b, _ := io.ReadAll(rec.Body)
			return rec.Code, string(b)
		}
		const room = `"room":"standup@conference.meet.example"`
		if code, _ := post(`{` + room + `,"machineUid":"m"}`); code != http.StatusForbidden {
			t.Errorf("guest: %d", code)
		}
		if code, body := post(`{` + room + `,"sessionId":"stale"}`); code != 400 || strings.Index(body, "400 invalid-session") < 1 {
			t.Errorf("stale session: %d %s", code, body)
		}
		for _, bad := range []string{``, `{}`, `[]`, `{"room":"nonsense"}`} {
			if code, _ := post(bad); code != 400 {
				t.Errorf("%s: %d", bad, code)
			}
		}
		if code, _ := post(`{"room":"` + strings.Repeat("x", 70000) + `"}`); code != http.StatusRequestEntityTooLarge {
			t.Errorf("big: %d", code)
		}
		if _, se := w.client("alice@meet.example", "x").request(`machine-uid="m"`); se != nil {
			t.Fatal(se)
		}
		code, body := post(`{` + room + `,"machineUid":"m","unknown":[1],"properties":{"startAudioMuted":10,"rtcstatsEnabled":false,"visitors-version":1}}`)
		want := `{` + room + `,"ready":true,"focusJid":"focus@auth.meet.example","properties":{"authentication":"true","externalAuth":"false"}}`
		if code != 200 || body != want {
			t.Errorf("got  %d %s\nwant %s", code, body, want)
		}
		rec := httptest.NewRecorder()
		w.focus.HTTPHandler().ServeHTTP(rec, httptest.NewRequest(http.MethodOptions, "/conference-request/v1", nil))
		if rec.Code != 200 || rec.Header().Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("preflight: %d %v", rec.Code, rec.Header())
		}
		rec = httptest.NewRecorder()
		w.focus.HTTPHandler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/conference-request/v1", nil))
		if rec.Code != http.StatusMethodNotAllowed {
			t.Errorf("GET: %d", rec.Code)
		}
	})
}

// The room of a tenant has one address, under which it is asked for, entered and
// summoned.
func TestTenant(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.room = xmpp.MustJID("standup@conference.acme.meet.example")
		a := w.meet("aaaaaaaa")
		if !a.owner() {
			t.Error("the first in a tenant's room is not its owner")
		}
		b := w.meet("bbbbbbbb")
		for _, c := range []*client{a, b} {
			c.expect(jingle.SessionInitiate)
		}
		plain := w.client("plain@meet.example", "p")
		w.room = xmpp.MustJID("other@conference.acme.meet.example")
		plain.me = w.room.WithResource("p")
		plain.join("")
		if p := plain.presences("focus"); len(p) == 0 {
			t.Error("the focus was not summoned to the room of a tenant")
		}
		if n := w.focus.Stats().Conferences; n != 2 {
			t.Errorf("%d conferences", n)
		}
		for _, room := range []string{
			"r@conference.a.b.meet.example", "r@conference..meet.example", "r@conference.acme.other.example",
			"r@xconference.acme.meet.example", "r@meet.example", "r@breakout.meet.example",
		} {
			w.room = xmpp.JID{Local: "r", Domain: room[2:]}
			if _, se := a.request(`machine-uid="m"`); se == nil || se.Cond != xmpp.CondBadRequest {
				t.Errorf("%s: %v", room, se)
			}
		}
	})
}
