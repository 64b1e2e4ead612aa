package focus_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"confab/focus"
	"confab/xmpp"
)

// withTokens lets j… users have tokens for the room that their resource names, or
// for any. Hosts with accounts are h….
func withTokens(moderators string) func(*focus.Config) {
	fits := func(claim, room string) bool { return claim == "any" || claim == room }
	return func(c *focus.Config) {
		c.RequireHost, c.Moderators = true, moderators
		c.IsHost = func(j xmpp.JID) bool { return strings.HasPrefix(j.Local, "h") }
		c.HasToken = func(j, room xmpp.JID) bool {
			return strings.HasPrefix(j.Local, "j") && fits(strings.TrimSuffix(j.Resource, "/r"), room.Local)
		}
		c.VerifyToken = func(_ context.Context, token string, room xmpp.JID) bool {
			claim, ok := strings.CutPrefix(token, "good-")
			return ok && fits(claim, room.Local)
		}
	}
}

// With require_host a token opens its room, and its user moderates like a host; a
// token for another room is that of a guest.
func TestTokenUsersAreHosts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, withTokens(focus.ModeratorsHosts))
		guest := w.client("u1@guest.meet.example", "aaaaaaaa")
		if _, se := guest.request(`machine-uid="m1"`); se == nil || se.Cond != xmpp.CondNotAuthorized {
			t.Fatalf("guest: %v", se)
		}
		stray := w.client("j0@meet.example/other", "cccccccc")
		if _, se := stray.request(`machine-uid="m0"`); se == nil || se.Cond != xmpp.CondNotAuthorized {
			t.Fatalf("a token for another room: %v", se)
		}
		user := w.client("j1@meet.example/"+w.room.Local, "bbbbbbbb")
		// No machine-uid is needed, and an id of a session of long ago is of no matter.
		for _, attrs := range []string{``, `machine-uid="m"`, `machine-uid="m" session-id="stale"`} {
			r, se := user.request(attrs)
			if se != nil || !r.Ready || r.SessionID != "" || r.Identity != "j1@meet.example" {
				t.Fatalf("%s: %+v %v", attrs, r, se)
			}
		}
		if r, se := guest.request(`machine-uid="m1"`); se != nil || !r.Ready {
			t.Fatalf("guest with a host: %v", se)
		}
		guest.join(caps2026)
		user.join(caps2026)
		if guest.owner() || !user.owner() {
			t.Errorf("owner: guest %v, token %v", guest.owner(), user.owner())
		}
		if n := w.focus.Stats().Sessions; n != 0 {
			t.Errorf("%d sessions", n)
		}
	})
}

// rooms.moderators = "token": the room decides, but for accounts.
func TestTokenModerators(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, withTokens(focus.ModeratorsToken))
		user := w.client("j1@meet.example/any", "aaaaaaaa")
		if r, se := user.request(``); se != nil || !r.Ready {
			t.Fatal(se)
		}
		user.join(caps2026)
		host := w.client("h1@meet.example", "bbbbbbbb")
		host.join(caps2026)
		if user.owner() || !host.owner() {
			t.Errorf("owner: token %v, host %v", user.owner(), host.owner())
		}
		// A token user who logs in with an account, too, on another connection.
		r, se := w.client("h2@meet.example", "x").request(`machine-uid="m"`)
		if se != nil {
			t.Fatal(se)
		}
		if r, se := user.request(`machine-uid="m" session-id="` + r.SessionID + `"`); se != nil || r.Identity != "h2@meet.example" {
			t.Fatalf("%+v %v", r, se)
		}
		if !user.owner() {
			t.Error("logged in, and no moderator")
		}
	})
}

// Without require_host tokens mean nothing to the focus.
func TestTokensWithoutRequireHost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, func(c *focus.Config) {
			withTokens(focus.ModeratorsFirst)(c)
			c.RequireHost = false
		})
		first := w.meet("aaaaaaaa")
		user := w.client("j1@meet.example/any", "bbbbbbbb")
		if r, se := user.request(``); se != nil || r.Identity != "" {
			t.Fatalf("%+v %v", r, se)
		}
		user.join(caps2026)
		if !first.owner() || user.owner() {
			t.Errorf("owner: first %v, token %v", first.owner(), user.owner())
		}
	})
}

// rooms.moderators = "hosts" where everybody may open rooms, as with wait_for_host.
func TestTokenUsersModerateWhereHostsDo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, func(c *focus.Config) {
			withTokens(focus.ModeratorsHosts)(c)
			c.RequireHost = false
		})
		first := w.meet("aaaaaaaa")
		user, stray := w.client("j1@meet.example/any", "bbbbbbbb"), w.client("j2@meet.example/other", "cccccccc")
		user.join(caps2026)
		stray.join(caps2026)
		if first.owner() || !user.owner() || stray.owner() {
			t.Errorf("owner: first %v, token %v, token for another room %v", first.owner(), user.owner(), stray.owner())
		}
	})
}

func TestTokenByHTTP(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, withTokens(focus.ModeratorsHosts))
		for token, want := range map[string]int{
			"": http.StatusForbidden, "forged": http.StatusForbidden, "good-other": http.StatusForbidden, "good-" + w.room.Local: http.StatusOK,
		} {
			if want == http.StatusOK {
				continue // last: it opens the room for all
			}
			if got, body := postRequest(w, token); got != want {
				t.Errorf("%q: %d %s", token, got, body)
			}
		}
		if got, body := postRequest(w, "good-"+w.room.Local); got != http.StatusOK || strings.Contains(body, "identity") {
			t.Errorf("%d %s", got, body)
		}
	})
}

func postRequest(w *world, token string) (int, string) {
	rec := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodPost, "/conference-request/v1", strings.NewReader(`{"room":"`+w.room.String()+`"}`))
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	w.focus.HTTPHandler().ServeHTTP(rec, req)
	return rec.Code, rec.Body.String()
}

// Where people sign in elsewhere, the focus names no page of ours.
func TestExternalLogin(t *testing.T) {
	bubble(t, func(t *testing.T) {
		external := false
		w := newWorld(t, func(c *focus.Config) { c.ExternalLogin = func() bool { return external } })
		c := w.client("u1@meet.example", "aaaaaaaa")
		ask := func() (url, property string) {
			s, err := c.port.Request(t.Context(), xmpp.NewStanza(xmpp.IQ, "get", "", xmpp.JID{}, xmpp.MustJID("focus.meet.example"),
				`<login-url xmlns="http://jitsi.org/protocol/focus" room="`+w.room.String()+`" machine-uid="m"/>`), time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			r, se := c.request(`machine-uid="m"`)
			if se != nil {
				t.Fatal(se)
			}
			for _, p := range r.Properties {
				if p.Name == "externalAuth" {
					property = p.Value
				}
			}
			return s.Payload().Get("url"), property
		}
		if url, p := ask(); url != "./"+w.room.Local+"?login=true" || p != "false" {
			t.Errorf("%q %q", url, p)
		}
		external = true
		if url, p := ask(); url != "" || p != "true" {
			t.Errorf("%q %q", url, p)
		}
	})
}
