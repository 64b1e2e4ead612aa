package xmpp_test

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
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

// The issuer changes its key while people log in: they see nothing of it, and tokens
// of the old key stay good for a while.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	keys := make([]*rsa.PrivateKey, 2)
	for i := range keys {
		var err error
		if keys[i], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			t.Fatal(err)
		}
	}
	var published atomic.Value // of string
	var requests atomic.Int32
	published.Store(token.JWKS(token.JWK("k0", &keys[0].PublicKey)))
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		w.Header().Set("Cache-Control", "max-age=3600")
		_, _ = w.Write([]byte(published.Load().(string)))
	}))
	defer issuer.Close()
	var passed atomic.Int64 // of time, in nanoseconds
	now := func() time.Time { return time.Now().Add(time.Duration(passed.Load())) }
	source := auth.NewKeys(auth.KeysConfig{URL: issuer.URL, Now: now})
	defer source.Close()
	v, err := auth.NewVerifier(auth.TokenConfig{Algorithm: "RS256", Keys: source, Issuers: []string{"app"}, Audiences: []string{"*"}, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, func(c *xmpp.Config) { c.Hosts[0].Auth = auth.Token{Verifier: func(string) *auth.Verifier { return v }} })
	login := func(n int, want string) {
		t.Helper()
		jwt := token.Sign("RS256", keys[n], token.Set{"kid": fmt.Sprint("k", n)}, token.Set{"iss": "app", "aud": "a", "sub": "*", "room": "*"})
		c := s.dial("?room=r&token=" + jwt)
		c.send(openC)
		c.expect(openS)
		c.expect(features1)
		c.send(anonymous)
		c.expect(want)
	}
	const refused = `<failure .*<not-allowed/><text>could not obtain public key</text></failure>`
	login(0, success)
	login(1, refused)
	published.Store(token.JWKS(token.JWK("k1", &keys[1].PublicKey)))
	login(1, refused) // asked just now
	passed.Add(int64(time.Minute))
	login(1, success)
	login(0, success) // tokens out there live on
	passed.Add(int64(91 * time.Minute))
	login(1, success)
	login(0, refused)
	if n := requests.Load(); n > 5 {
		t.Errorf("%d requests", n)
	}
}

// The token in a header, as other programs than browsers send it, and over BOSH.
func TestTokenTransports(t *testing.T) {
	t.Parallel()
	s := newSite(t, withTokens(t))
	dial := func(bearer, query string) *client {
		t.Helper()
		conn, _, err := websocket.Dial(t.Context(), "wss"+strings.TrimPrefix(s.http.URL, "https")+"/xmpp-websocket"+query, &websocket.DialOptions{
			Subprotocols: []string{"xmpp"}, HTTPClient: s.http.Client(), HTTPHeader: http.Header{"Authorization": {bearer}},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.CloseNow() })
		c := &client{t: t, conn: conn}
		c.send(openC)
		c.expect(openS)
		c.expect(features1)
		c.send(anonymous)
		return c
	}
	dial("Bearer "+jwt("ada", time.Hour), "?room=r").expect(success)
	dial("Basic "+jwt("ada", time.Hour), "?room=r").expect(`<failure .*token required.*`)
	// The address wins, as with stock.
	dial("Bearer "+jwt("ada", time.Hour), "?room=r&token=x").expect(`<failure .*Invalid token.*`)

	for query, want := range map[string]string{"?room=r&token=" + jwt("ada", time.Hour): "<success ", "?room=r": "token required"} {
		post := func(body string) string {
			t.Helper()
			resp, err := s.http.Client().Post(s.http.URL+"/http-bind"+query, "text/xml", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		const ns = `xmlns="http://jabber.org/protocol/httpbind"`
		first := post(`<body ` + ns + ` rid="100" to="meet.test" xml:lang="en" wait="60" hold="1" ver="1.6" xmpp:version="1.0" xmlns:xmpp="urn:xmpp:xbosh"/>`)
		m := regexp.MustCompile(` sid="([^"]+)"`).FindStringSubmatch(first)
		if m == nil {
			t.Fatal(first)
		}
		if got := post(`<body ` + ns + ` rid="101" sid="` + m[1] + `">` + anonymous + `</body>`); !strings.Contains(got, want) {
			t.Errorf("%s: %s", want, got)
		}
	}
}
