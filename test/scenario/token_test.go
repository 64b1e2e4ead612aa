package scenario

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"confab/internal/meettest"
	"confab/internal/meettest/token"
	"confab/xmpp"
)

const tokenSecret = "0123456789abcdef0123456789abcdef"

const tokenConfig = `
[auth.jwt]
app_id = "app"
secret = "` + tokenSecret + `"
`

// token is one for the story's room, with changes; nil removes a claim.
func (w *world) token(secret string, changes token.Set) string {
	claims := token.Set{"iss": "app", "aud": "jitsi", "sub": w.Domain, "room": w.room, "exp": time.Now().Add(time.Hour).Unix()}
	for k, v := range changes {
		if claims[k] = v; v == nil {
			delete(claims, k)
		}
	}
	return token.Sign("HS256", []byte(secret), nil, claims)
}

// user is a context with a user and features.
func user(u, features token.Set) token.Set {
	c := token.Set{"user": u}
	if features != nil {
		c["features"] = features
	}
	return token.Set{"context": c}
}

// with logs in with a token.
func with(jwt string) func(*meettest.Options) {
	return func(o *meettest.Options) { o.Token, o.Silent = jwt, true }
}

// below makes a client one of a tenant's page.
func below(w *world, o *meettest.Options, tenant string) {
	o.URL = strings.Replace(o.URL, "/xmpp-websocket", "/"+tenant+"/xmpp-websocket", 1)
	o.MUC = "conference." + xmpp.NormalTenant(tenant) + "." + w.Domain
}

// Who is let in, and what the others are told.
func TestTokenLogins(t *testing.T) {
	w := newWorld(t, "[rooms]\nmoderators = \"token\"\n"+tokenConfig)
	var tokens []string
	for _, c := range []struct{ name, jwt, cond, text string }{
		{"none", "", "not-allowed", "token required"},
		{"expired", w.token(tokenSecret, token.Set{"exp": time.Now().Add(-time.Minute).Unix()}), "not-allowed", "Not acceptable by exp ("},
		{"not yet", w.token(tokenSecret, token.Set{"nbf": time.Now().Add(time.Minute).Unix()}), "not-allowed", "Not acceptable by nbf"},
		{"another issuer", w.token(tokenSecret, token.Set{"iss": "evil"}), "not-allowed", "invalid 'iss' claim"},
		{"forged", w.token("guess", nil), "not-allowed", "Invalid signature"},
		{"none as algorithm", token.JSON(token.Set{"alg": "none", "typ": "JWT"}) + "." + token.JSON(token.Set{"iss": "app"}) + ".", "not-allowed", "Invalid or incorrect alg"},
		{"rubbish", "rubbish", "not-allowed", "Invalid token"},
		{"no room", w.token(tokenSecret, token.Set{"room": nil}), "not-authorized", "room claim is missing"},
		{"no sub", w.token(tokenSecret, token.Set{"sub": nil}), "not-authorized", "sub claim is missing"},
	} {
		opt := w.Options(c.name)
		opt.Token, opt.Room = c.jwt, w.room
		_, err := meettest.Dial(w.ctx, opt)
		sasl, ok := errors.AsType[*meettest.SASLError](err)
		if !ok || sasl.Cond != c.cond || !strings.HasPrefix(sasl.Text, c.text) {
			t.Errorf("%s: %v", c.name, err)
		}
		tokens = append(tokens, c.jwt)
	}

	// A moderator by token, from the first presence on; it has no features of its own
	// and is told what it may do.
	boss := w.token(tokenSecret, user(token.Set{"id": "u-1", "name": "Ada", "avatar": "https://x/a.png", "moderator": "true"}, nil))
	ada := w.join("Ada", with(boss))
	if !ada.Moderator() {
		t.Error("the token makes no moderator")
	}
	own, _ := ada.Occupant(ada.Nick())
	if p := own.Presence.Child("http://jitsi.org/jitmeet", "permissions"); p == nil || !strings.Contains(p.String(), `name="recording"`) {
		t.Errorf("no permissions: %s", own.Presence)
	}
	// One with features, which the client reads from its token.
	bob := w.join("Bob", with(w.token(tokenSecret, user(token.Set{"id": 2, "moderator": false}, token.Set{"recording": true}))))
	own, _ = bob.Occupant(bob.Nick())
	if bob.Moderator() || own.Affiliation != "member" || own.Presence.Has("http://jitsi.org/jitmeet", "permissions") {
		t.Errorf("bob: %s", own.Presence)
	}
	seen := w.seen(bob, ada)
	want := `<identity><user><avatar>https://x/a.png</avatar><id>u-1</id><moderator>true</moderator><name>Ada</name></user></identity>`
	if id := seen.Presence.Child(xmpp.NSClient, "identity"); id == nil || !strings.Contains(seen.Presence.Inner, want) {
		t.Errorf("identity: %s", seen.Presence)
	}

	// Tokens for other rooms, of other tenants, and with a pattern.
	tenant := func(o *meettest.Options) { below(w, o, "acme") }
	for _, c := range []struct {
		name   string
		jwt    string
		change func(*meettest.Options)
		want   string // text and child; "" enters
	}{
		{"any room", w.token(tokenSecret, token.Set{"room": "*", "sub": "*"}), nil, ""},
		{"room in capitals", w.token(tokenSecret, token.Set{"room": strings.ToUpper(w.room)}), nil, ""},
		{"another room", w.token(tokenSecret, token.Set{"room": "other"}), nil, "Room and token mismatched"},
		{"another sub", w.token(tokenSecret, token.Set{"sub": "acme"}), nil, "Room and token mismatched"},
		{"pattern", w.token(tokenSecret, token.Set{"room": "testtoken.*", "context": token.Set{"room": token.Set{"regex": true}}}), nil, ""},
		{"another pattern", w.token(tokenSecret, token.Set{"room": "x.*", "context": token.Set{"room": token.Set{"regex": true}}}), nil,
			"Room name cannot be matched to the one from token.<room-name-does-not-match "},
		{"no pattern", w.token(tokenSecret, token.Set{"room": "(", "context": token.Set{"room": token.Set{"regex": true}}}), nil,
			"Room claim is not a valid regular expression<invalid-regex "},
		{"tenant", w.token(tokenSecret, token.Set{"sub": "acme"}), tenant, ""},
		{"tenant with a dot", w.token(tokenSecret, token.Set{"sub": "My.Team"}), func(o *meettest.Options) { below(w, o, "My.Team") }, ""},
		{"another tenant", w.token(tokenSecret, token.Set{"sub": "evil"}), tenant, "Room and token mismatched"},
		{"the domain in a tenant", w.token(tokenSecret, nil), tenant, "Room and token mismatched"},
	} {
		cl := w.Dial(w.ctx, c.name, func(o *meettest.Options) {
			with(c.jwt)(o)
			o.Room = w.room
			if c.change != nil {
				c.change(o)
			}
		})
		err := cl.Join(w.ctx, w.room)
		got := ""
		if se, ok := errors.AsType[*xmpp.StanzaError](err); ok {
			if got = se.Text + se.App; se.Cond != xmpp.CondNotAllowed || se.Type != "cancel" {
				t.Errorf("%s: %v", c.name, se)
			}
		} else if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		_ = cl.Close()
		tokens = append(tokens, c.jwt)
	}

	// The rank brings what its giver may do.
	_, err := ada.IQ(w.ctx, xmpp.TypeSet, ada.RoomJID(w.room).String(),
		`<query xmlns="http://jabber.org/protocol/muc#admin"><item affiliation="owner" jid="`+bob.JID().Bare().String()+`"/></query>`)
	w.must(err)
	w.must(bob.Until(w.ctx, "to be moderator", bob.Moderator))

	for _, jwt := range append(tokens, boss) {
		if jwt != "" && jwt != "rubbish" && strings.Contains(w.Log(), jwt) {
			t.Error("a token is in the log")
		}
	}
}

// require_host with tokens: guests wait on their host for somebody with a token, or
// sign in themselves and keep their place.
func TestTokenUserIsTheHost(t *testing.T) {
	w := newWorld(t, "require_host = true\n"+tokenConfig+"login_url = \"https://login.example/{room}\"\n")
	guests := func(o *meettest.Options) { o.Login, o.Room, o.Silent = "guest."+w.Domain, w.room, true }
	refused := func(c *meettest.Client) {
		t.Helper()
		_, err := c.Request(w.ctx, c.RoomJID(w.room))
		if se, ok := errors.AsType[*xmpp.StanzaError](err); !ok || se.Cond != xmpp.CondNotAuthorized {
			t.Errorf("a guest without a host: %v", err)
		}
	}
	if js := w.configJS(); !strings.Contains(js, `"tokenAuthUrl": "https://login.example/{room}"`) || !strings.Contains(js, `"anonymousdomain": "guest.`+w.Domain+`"`) {
		t.Errorf("config.js: %s", js)
	}
	gus := w.Dial(w.ctx, "Gus", guests)
	refused(gus)
	// On the guest host a token counts only for who comes back with it, not for who
	// comes new, and a forged one ends the session.
	sly := w.Dial(w.ctx, "Sly", func(o *meettest.Options) {
		guests(o)
		o.Token = w.token(tokenSecret, nil)
	})
	refused(sly)
	if err := sly.Refresh(w.ctx, w.token("guess", nil)); err == nil {
		t.Error("resumed with a forged token")
	}
	// A token for another room opens only that.
	stray := w.Dial(w.ctx, "Stray", func(o *meettest.Options) {
		with(w.token(tokenSecret, token.Set{"room": "other"}))(o)
		o.Room = w.room
	})
	refused(stray)

	jid := gus.JID()
	w.must(gus.Refresh(w.ctx, w.token(tokenSecret, user(token.Set{"name": "Gus"}, nil))))
	if gus.JID() != jid {
		t.Errorf("%s became %s", jid, gus.JID())
	}
	w.must(gus.Join(w.ctx, w.room))
	w.must(gus.Until(w.ctx, "to be moderator", gus.Moderator))
	eve := w.Dial(w.ctx, "Eve", guests)
	w.must(eve.Join(w.ctx, w.room))
	ada := w.join("Ada", with(w.token(tokenSecret, nil)))
	w.must(ada.Until(w.ctx, "to be moderator", ada.Moderator))
	host := w.Dial(w.ctx, "Host", func(o *meettest.Options) {
		o.Room, o.Account, o.Password, o.Silent = w.room, w.HostLogin, w.HostPassword, true
	})
	w.must(host.Join(w.ctx, w.room))
	w.must(host.Until(w.ctx, "to be moderator", host.Moderator))
	if eve.Moderator() {
		t.Error("a guest is moderator")
	}
	// The account's identity is shown; what a guest says of itself is not.
	seen := w.seen(eve, host)
	if want := `<identity><user><id>` + w.HostLogin + `@` + w.Domain + `</id><name>` + w.HostLogin + `</name></user></identity>`; !strings.Contains(seen.Presence.Inner, want) {
		t.Errorf("identity of the host: %s", seen.Presence)
	}
	// Guests without an account at the main host need a token.
	if _, err := meettest.Dial(w.ctx, w.Options("nobody")); err == nil || !strings.Contains(err.Error(), "token required") {
		t.Errorf("anonymous at the main host: %v", err)
	}
}

// Public keys, guests beside token users, and a change of all that without an end to
// the meeting.
func TestTokenKeysAndReload(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	set := token.JWKS(token.Set{"kty": "EC", "kid": "k1", "crv": "P-256", "x": token.Encode(point[1:33]), "y": token.Encode(point[33:])})
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(set)) }))
	t.Cleanup(site.Close)
	config := func(more string) string {
		return fmt.Sprintf("[auth.jwt]\napp_id = \"app\"\nkeys_url = %q\nalgorithm = \"ES256\"\n%s", site.URL, more)
	}
	w := newWorld(t, config("allow_empty = true\n"))
	claims := token.Set{"iss": "app", "aud": "x", "sub": w.Domain, "room": "*", "context": token.Set{"user": token.Set{"name": "Ada"}}}
	jwt := token.Sign("ES256", key, token.Set{"kid": "k1"}, claims)
	ada := w.join("Ada", with(jwt))
	eve := w.join("Eve", func(o *meettest.Options) { o.Silent = true })
	seen := w.seen(eve, ada)
	if !strings.Contains(seen.Presence.Inner, "<identity><user><name>Ada</name></user></identity>") {
		t.Errorf("Ada: %s", seen.Presence)
	}
	if seen = w.seen(ada, eve); strings.Contains(seen.Presence.Inner, "identity") {
		t.Errorf("Eve: %s", seen.Presence)
	}
	for name, bad := range map[string]string{
		"'kid' claim is missing":      token.Sign("ES256", key, nil, claims),
		"could not obtain public key": token.Sign("ES256", key, token.Set{"kid": "k2"}, claims),
		"Invalid or incorrect alg":    token.Sign("HS256", point, token.Set{"kid": "k1"}, claims), // signed by what everybody knows
	} {
		opt := w.Options(name)
		opt.Token = bad
		if _, err := meettest.Dial(w.ctx, opt); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}

	w.must(w.Reload(w.ctx, config("")))
	if _, err := meettest.Dial(w.ctx, w.Options("nobody")); err == nil || !strings.Contains(err.Error(), "token required") {
		t.Errorf("without a token after the reload: %v", err)
	}
	w.join("Bob", with(jwt))
	// Who was let in before stays, in this meeting and on this connection.
	w.must(eve.Ping(w.ctx))
	w.must(ada.Resume(w.ctx))
	w.must(ada.Chat("still here"))
	if _, err := eve.ExpectChat(w.ctx, "still here"); err != nil {
		t.Error(err)
	}
	// A new room has the new rules.
	other := eve.RoomJID(w.room + "-2")
	if _, err := eve.Request(w.ctx, other); err != nil {
		t.Fatal(err)
	}
	err = eve.Join(w.ctx, other.Local)
	if se, ok := errors.AsType[*xmpp.StanzaError](err); !ok || !strings.Contains(se.App, "<authentication-required ") {
		t.Errorf("a guest of before in a new room: %v", err)
	}
}

// A tenant with a key of its own: below its path a token is needed, and such tokens
// open its rooms and no others. Elsewhere nothing has changed.
func TestTokenOfTenant(t *testing.T) {
	const acmeSecret = "fedcba9876543210fedcba9876543210"
	w := newWorld(t, "[[tenants]]\nname = \"acme\"\njwt_secret = \""+acmeSecret+"\"\njwt_issuers = [\"acme's\"]\n")
	everything := token.Set{"iss": "acme's", "sub": "*", "room": "*"}
	jwt := w.token(acmeSecret, everything)
	acme := func(jwt string) func(*meettest.Options) {
		return func(o *meettest.Options) {
			with(jwt)(o)
			o.Room = w.room
			below(w, o, "acme")
		}
	}
	guest := w.join("Gus", with(""))
	inside := w.Dial(w.ctx, "Ada", acme(jwt))
	w.must(inside.Join(w.ctx, w.room))

	for name, bad := range map[string]string{"token required": "", "Invalid signature": w.token(tokenSecret, everything), "invalid 'iss' claim": w.token(acmeSecret, nil)} {
		opt := w.Options(name)
		acme(bad)(&opt)
		if _, err := meettest.Dial(w.ctx, opt); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Who came in below the tenant's path goes into no room beside, nor who came in
	// beside it into the tenant's.
	refused := func(name string, c *meettest.Client, muc, child string) {
		t.Helper()
		w.must(c.Send(xmpp.Presence, "", "", w.room+"@"+muc+"/"+c.Nick(), `<x xmlns="http://jabber.org/protocol/muc"/>`))
		s, err := c.Expect(w.ctx, name, func(s *xmpp.Stanza) bool {
			return s.Kind == xmpp.Presence && s.Type == xmpp.TypeError && s.From.Domain == muc
		})
		w.must(err)
		if se := s.ErrorOf(); se.Cond != xmpp.CondNotAllowed || !strings.Contains(se.Text+se.App, child) {
			t.Errorf("%s: %v", name, se)
		}
	}
	refused("a tenant's user in a room of the domain", inside, "conference."+w.Domain, "Room and token mismatched")
	refused("a guest in a tenant's room", guest, "conference.acme."+w.Domain, "authentication-required")
}

// What a token allows changes with the token, in the middle of a meeting (LJM
// JitsiConnection.refreshToken).
func TestTokenRefreshedInMeeting(t *testing.T) {
	w := newWorld(t, "[rooms]\nmoderators = \"token\"\n"+tokenConfig)
	ada := w.join("Ada", with(w.token(tokenSecret, user(token.Set{"moderator": true}, nil))))
	mute := w.token(tokenSecret, user(token.Set{"name": "Bob"}, token.Set{"send-groupchat": false}))
	bob := w.join("Bob", with(mute))
	restricted := func(s *xmpp.Stanza) bool {
		return s.Kind == xmpp.Message && s.From.Domain == "metadata."+w.Domain && strings.Contains(s.Inner, "groupChatRestricted")
	}
	w.must(ada.Send(xmpp.Message, "", "", "metadata."+w.Domain, `<room_metadata xmlns="http://jitsi.org/jitmeet" room="`+ada.RoomJID(w.room).String()+
		`">{"key":"permissions","data":{"groupChatRestricted":true}}</room_metadata>`))
	_, err := bob.Expect(w.ctx, "the restriction of the chat", restricted)
	w.must(err)
	w.must(bob.Chat("may I?"))
	s, err := bob.Expect(w.ctx, "the refusal of its message", func(s *xmpp.Stanza) bool { return s.Kind == xmpp.Message && s.Type == xmpp.TypeError })
	w.must(err)
	if se := s.ErrorOf(); se.Cond != xmpp.CondNotAllowed || se.Text != "Sending group messages not allowed" {
		t.Error(se)
	}
	if err := bob.Refresh(w.ctx, w.token("guess", nil)); err == nil {
		t.Error("resumed with a forged token")
	}
	w.must(bob.Refresh(w.ctx, w.token(tokenSecret, user(token.Set{"name": "Bob"}, token.Set{"send-groupchat": true}))))
	w.must(bob.Chat("I may"))
	_, err = ada.ExpectChat(w.ctx, "I may")
	w.must(err)
	if _, there := ada.Occupant(bob.Nick()); !there {
		t.Error("Bob has left meanwhile")
	}
}
