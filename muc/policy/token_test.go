package policy

import (
	"regexp"
	"strings"
	"testing"

	"confab/muc"
	"confab/xmpp"
)

// The table of room-services.md §4.6.
func TestTokenAndRoom(t *testing.T) {
	t.Parallel()
	const (
		room     = "standup@conference.meet.example"
		tenant   = "standup@conference.acme.meet.example"
		mismatch = ":Room and token mismatched"
		other    = "room-mismatch:Room does not match the room from token"
		unnamed  = "room-name-does-not-match:Room name cannot be matched to the one from token."
	)
	strict := TokenRules{RequireRoom: true, VerifyTenant: true}
	loose := TokenRules{RequireRoom: true}
	optional := TokenRules{VerifyTenant: true}
	pattern := regexp.MustCompile(`(?i)\A(?:stand.*)\z`)
	for _, c := range []struct {
		name   string
		rules  TokenRules
		claims xmpp.Claims
		room   string
		want   string // child and text; "" passes
	}{
		{"room", strict, xmpp.Claims{Room: "standup", Domain: "meet.example"}, room, ""},
		{"sub in capitals", strict, xmpp.Claims{Room: "standup", Domain: "Meet.Example"}, room, ""},
		{"any room", strict, xmpp.Claims{Room: "*", Domain: "meet.example"}, room, ""},
		{"any sub", strict, xmpp.Claims{Room: "standup", Domain: "*"}, room, ""},
		{"another room", strict, xmpp.Claims{Room: "other", Domain: "meet.example"}, room, mismatch},
		{"part of the name", strict, xmpp.Claims{Room: "stand", Domain: "meet.example"}, room, mismatch},
		{"another sub", strict, xmpp.Claims{Room: "standup", Domain: "acme"}, room, mismatch},
		{"no sub", strict, xmpp.Claims{Room: "standup"}, room, mismatch},
		{"no room", strict, xmpp.Claims{Domain: "meet.example"}, room, unnamed},
		{"no room, not required", optional, xmpp.Claims{Domain: "meet.example"}, room, ""},
		{"another room, not required", optional, xmpp.Claims{Room: "other", Domain: "meet.example"}, room, mismatch},

		{"name with a blank", strict, xmpp.Claims{Room: "daily standup", Domain: "*"}, "daily%20standup@conference.meet.example", ""},
		{"name as in addresses", strict, xmpp.Claims{Room: "daily%20standup", Domain: "*"}, "daily%20standup@conference.meet.example", ""},
		{"umlauts", strict, xmpp.Claims{Room: "füße", Domain: "*"}, "f%c3%bc%c3%9fe@conference.meet.example", ""},
		{"umlauts of two characters", strict, xmpp.Claims{Room: "fu\u0308r", Domain: "*"}, "f%c3%bcr@conference.meet.example", ""},
		{"another name", strict, xmpp.Claims{Room: "daily standup", Domain: "*"}, "daily@conference.meet.example", mismatch},
		{"percent", strict, xmpp.Claims{Room: "100%", Domain: "*"}, "100%25@conference.meet.example", ""},

		{"tenant", strict, xmpp.Claims{Room: "standup", Domain: "acme"}, tenant, ""},
		{"tenant in capitals", strict, xmpp.Claims{Room: "standup", Domain: "ACME"}, tenant, ""},
		{"tenant, any", strict, xmpp.Claims{Room: "*", Domain: "*"}, tenant, ""},
		{"another tenant", strict, xmpp.Claims{Room: "standup", Domain: "evil"}, tenant, mismatch},
		{"the domain for a tenant", strict, xmpp.Claims{Room: "standup", Domain: "meet.example"}, tenant, mismatch},
		{"a tenant with a dot", strict, xmpp.Claims{Room: "standup", Domain: "My.Team"}, "standup@conference.my_team.meet.example", ""},
		{"key of the tenant", strict, xmpp.Claims{Room: "*", Domain: "*", Scope: "acme"}, tenant, ""},
		{"key of another tenant", strict, xmpp.Claims{Room: "*", Domain: "acme", Scope: "evil"}, tenant, mismatch},
		{"key of a tenant for the domain", strict, xmpp.Claims{Room: "*", Domain: "*", Scope: "acme"}, room, mismatch},
		{"key of a tenant, loose", loose, xmpp.Claims{Room: "*", Scope: "acme"}, room, mismatch},
		{"elsewhere", strict, xmpp.Claims{Room: "standup", Domain: "acme"}, "standup@breakout.acme.example", mismatch},

		{"pattern", strict, xmpp.Claims{Room: "stand.*", Pattern: pattern, Domain: "meet.example"}, room, ""},
		{"pattern of another room", strict, xmpp.Claims{Room: "stand.*", Pattern: pattern, Domain: "meet.example"}, "x@conference.meet.example", unnamed},
		{"pattern, another sub", strict, xmpp.Claims{Room: "stand.*", Pattern: pattern, Domain: "acme"}, room, mismatch},
		{"pattern, loose", loose, xmpp.Claims{Room: "stand.*", Pattern: pattern}, room, ""},
		{"pattern of another room, loose", loose, xmpp.Claims{Room: "stand.*", Pattern: pattern}, "x@conference.meet.example", other},
		{"bad pattern", strict, xmpp.Claims{Room: "(", BadPattern: true, Domain: "meet.example"}, room, "invalid-regex:Room claim is not a valid regular expression"},
		{"bad pattern, loose", loose, xmpp.Claims{Room: "(", BadPattern: true}, room, "invalid-regex:Room claim is not a valid regular expression"},

		{"loose", loose, xmpp.Claims{Room: "standup", Domain: "whatever"}, tenant, ""},
		{"loose, another room", loose, xmpp.Claims{Room: "other"}, room, other},
		{"loose, any room", loose, xmpp.Claims{Room: "*"}, room, ""},
		{"loose, no room", loose, xmpp.Claims{}, room, ""},
	} {
		c.rules.Domain, c.rules.MUC = "meet.example", "conference.meet.example"
		local, domain, _ := strings.Cut(c.room, "@")
		v := c.rules.verify(&c.claims, xmpp.JID{Local: local, Domain: domain}, "", false)
		got := ""
		if v.Action == muc.ActionRefuse {
			child := ""
			if el, err := xmpp.ParseElement(v.Err.App, xmpp.Limits{}, xmpp.Scope{}); err == nil && el.NS == muc.NSJitsi {
				child = el.Name
			}
			got = child + ":" + v.Err.Text
			if v.Err.Cond != xmpp.CondNotAllowed || v.Err.Type != "cancel" {
				t.Errorf("%s: %s", c.name, v.Err.Inner())
			}
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	// context.tenant differs from the URL's: only rooms without guests mind.
	strict.Domain, strict.MUC = "meet.example", "conference.meet.example"
	claims := &xmpp.Claims{Room: "*", Domain: "*", Tenant: "Acme"}
	for _, c := range []struct {
		tenant   string
		noGuests bool
		want     muc.Action
	}{{"acme", true, muc.ActionPass}, {"other", false, muc.ActionPass}, {"other", true, muc.ActionRefuse}} {
		if v := strict.verify(claims, xmpp.MustJID(tenant), c.tenant, c.noGuests); v.Action != c.want {
			t.Errorf("%+v: %+v", c, v)
		}
	}
}
