package policy

import (
	"regexp"
	"testing"

	"confab/xmpp"
)

func TestTokenNamesRoom(t *testing.T) {
	t.Parallel()
	rules := &TokenRules{Domain: "meet.example", MUC: "conference.meet.example"}
	room, tenants := xmpp.MustJID("board@conference.meet.example"), xmpp.MustJID("board@conference.acme.meet.example")
	for _, c := range []struct {
		claims *xmpp.Claims
		room   xmpp.JID
		want   bool
	}{
		{&xmpp.Claims{Room: "board", Domain: "meet.example"}, room, true},
		{&xmpp.Claims{Room: "*", Domain: "*"}, room, true},
		{&xmpp.Claims{Room: "*", Domain: "*"}, tenants, true},
		{&xmpp.Claims{Room: "board", Domain: "acme"}, tenants, true},
		{&xmpp.Claims{Room: "board", Domain: "acme"}, room, false},
		{&xmpp.Claims{Room: "board", Domain: "other"}, tenants, false},
		{&xmpp.Claims{Room: "other", Domain: "*"}, room, false},
		{&xmpp.Claims{Domain: "*"}, room, false},
		{&xmpp.Claims{Pattern: regexp.MustCompile("^b"), Domain: "*"}, room, true},
		{&xmpp.Claims{Room: "board", BadPattern: true, Domain: "*"}, room, false},
		{nil, room, false},
	} {
		if rules.names(c.claims, c.room) != c.want {
			t.Errorf("%+v names %s: %v", c.claims, c.room, !c.want)
		}
	}
	if (*TokenRules)(nil).names(&xmpp.Claims{Room: "*", Domain: "*"}, room) {
		t.Error("tokens are off")
	}
}
