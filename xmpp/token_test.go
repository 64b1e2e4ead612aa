package xmpp_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/coder/websocket"

	"confab/internal/meettest/token"
	"confab/xmpp"
	"confab/xmpp/auth"
)

var tokenSecret = []byte("0123456789abcdef0123456789abcdef")

// jwt is a token of a user who may enter every room.
func jwt(user string, exp time.Duration) string {
	return token.Sign("HS256", tokenSecret, nil, token.Set{
		"iss": "app", "aud": "a", "sub": "*", "room": "*", "exp": time.Now().Add(exp).Unix(),
		"context": token.Set{"user": token.Set{"id": user}},
	})
}

func withTokens(t *testing.T) func(*xmpp.Config) {
	v, err := auth.NewVerifier(auth.TokenConfig{Algorithm: "HS256", Secret: tokenSecret, Issuers: []string{"app"}, Audiences: []string{"*"}, RequireRoom: true})
	if err != nil {
		t.Fatal(err)
	}
	return func(c *xmpp.Config) { c.Hosts[0].Auth = auth.Token{Verifier: func(string) *auth.Verifier { return v }} }
}

// user is whom the token of a client's session names.
func (s *site) user(jid string) string {
	s.t.Helper()
	port, ok := s.router.Port(xmpp.MustJID(jid))
	if !ok {
		s.t.Fatal("gone: " + jid)
	}
	if c := port.(*xmpp.Session).Account().Claims; c != nil {
		return c.User["id"]
	}
	return ""
}

// The failure is the one form in which LJM reads the reason (FAILURE_REGEX): the
// condition self-closed, the text without attributes and with its apostrophes.
func TestTokenRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, withTokens(t))
	for query, want := range map[string]string{
		"?room=r": "token required",
		"?room=r&token=" + jwt("ada", -12*time.Second):                                                    `Not acceptable by exp \(\d+ sec since expired\)`,
		"?token=" + token.Sign("HS256", tokenSecret, nil, token.Set{"aud": "a"}):                          "'iss' claim is missing",
		"?token=" + token.Sign("HS256", []byte("guess"), nil, token.Set{"iss": "app"}):                    "Invalid signature",
		"?token=" + url.QueryEscape(token.JSON(token.Set{"alg": "none"})+"."+token.JSON(token.Set{})+"."): "Invalid typ",
	} {
		c := s.dial(query)
		c.send(openC)
		c.expect(openS)
		c.expect(features1)
		c.send(anonymous)
		c.expect(`<failure xmlns="urn:ietf:params:xml:ns:xmpp-sasl"><not-allowed/><text>` + want + `</text></failure>`)
	}
	c := s.dial("?token=" + token.Sign("HS256", tokenSecret, nil, token.Set{"iss": "app", "aud": "a", "sub": "x"}))
	c.send(openC)
	c.expect(openS)
	c.expect(features1)
	c.send(anonymous)
	c.expect(`<failure xmlns="urn:ietf:params:xml:ns:xmpp-sasl"><not-authorized/><text>room claim is missing</text></failure>`)
}

// A session that is resumed keeps what its token said, takes what a new one says
// (LJM Connection.refreshToken), and is not resumed with a bad one.
func TestResumeWithToken(t *testing.T) {
	t.Parallel()
	s := newSite(t, withTokens(t))
	c := s.dial("?room=r&token=" + jwt("ada", time.Hour))
	c.bind()
	id := c.enable()
	if u := s.user(c.jid); u != "ada" {
		t.Fatalf("user %q", u)
	}
	_ = c.conn.CloseNow()
	s.waitDetached(1)

	bad := s.dial("?room=r&previd=" + id + "&token=" + jwt("ada", -time.Minute))
	bad.send(openC)
	bad.expect(openS)
	bad.expect(features1)
	bad.send(anonymous)
	bad.expect(`<failure .*<not-allowed/><text>Not acceptable by exp .*`)
	_ = bad.conn.Close(websocket.StatusNormalClosure, "")
	if u := s.user(c.jid); u != "ada" {
		t.Fatalf("user %q after a bad token", u)
	}

	d := s.dial("?room=r&previd=" + id + "&token=" + jwt("bob", time.Hour))
	d.login()
	if u := s.user(c.jid); u != "ada" {
		t.Fatalf("user %q before the resumption", u)
	}
	d.send(`<resume xmlns="urn:xmpp:sm:3" h="0" previd="` + id + `"/>`)
	d.expect(`<resumed xmlns="urn:xmpp:sm:3" h="0" previd="` + id + `"/>`)
	if u := s.user(c.jid); u != "bob" {
		t.Errorf("user %q after the resumption", u)
	}
}
