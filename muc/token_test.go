package muc_test

import (
	"confab/internal/meettest/roomworld"
	"confab/muc"
	"confab/muc/policy"
	"confab/xmpp"
)

// tokens of the clients of the token transcripts, by number.
var tokens = map[string]*xmpp.Claims{
	"u1": {Issuer: "app", Domain: "meet.example", Room: "r", Moderator: true, Group: "g1", User: map[string]string{"id": "id-1", "name": "Ada"},
		Identity: "<identity><user><id>id-1</id><name>Ada</name></user><group>g1</group></identity>"},
	"u2": {Issuer: "app", Domain: "meet.example", Room: "*", Features: map[string]bool{"recording": true, "livestreaming": false}},
	"u3": {Issuer: "app", Domain: "meet.example", Room: "other", Moderator: true},
	"u5": {Issuer: "app", Domain: "acme", Room: "r", Moderator: true},
	"u6": {Issuer: "another", Domain: "*", Room: "*", Moderator: true},
	"u7": {Issuer: "app", Domain: "*", Room: "*", Features: map[string]bool{"name-readonly": true}, User: map[string]string{"name": "Official Name"}},
	"u8": {Issuer: "app", Domain: "*", Room: "*", Features: map[string]bool{"name-readonly": true}},
	"u9": {Issuer: "app", Domain: "*", Room: "*", Moderator: true, Features: map[string]bool{"recording": true, "transcription": false},
		User: map[string]string{"id": "id-9"}},
}

func tokenClient(p xmpp.Port) muc.Client {
	c := roomworld.DefaultClient(p)
	if j := p.JID(); j.Local[0] == 'u' {
		c.Guest, c.Claims = true, tokens[j.Local]
		if c.Claims != nil {
			c.Features, c.Identity = c.Claims.Features, c.Claims.Identity
		}
	}
	return c
}

// tokenWorld takes tokens for meet.example; u4 has none.
func tokenWorld(change func(*policy.TokenRules)) roomworld.Options {
	return roomworld.Options{Client: tokenClient, Policy: func(c *policy.Config) {
		rules := &policy.TokenRules{Domain: "meet.example", MUC: "conference.meet.example", RequireRoom: true, VerifyTenant: true}
		change(rules)
		c.Tokens = func() *policy.TokenRules { return rules }
	}}
}
