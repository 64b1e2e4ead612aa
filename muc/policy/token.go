package policy

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"confab/muc"
	"confab/xmpp"
)

// TokenRules says which rooms a token opens (auth.jwt.*, rooms.moderators).
type TokenRules struct {
	// Domain is the main domain: the sub of tokens for rooms without tenant.
	Domain string
	// MUC is the domain of such rooms, conference.DOMAIN; those of a tenant are on
	// conference.TENANT.DOMAIN.
	MUC string
	// GuestDomain is where people log in who need no token, or "".
	GuestDomain string
	// AllowEmpty lets people in who have no token.
	AllowEmpty bool
	// TenantsOnly says that only tenants have keys, so that other rooms need no token.
	TenantsOnly bool
	// Tenants have keys of their own.
	Tenants []string
	// RequireRoom refuses tokens that name no room.
	RequireRoom bool
	// VerifyTenant compares sub with the room's tenant or domain.
	VerifyTenant bool
	// Moderators makes owners of those whose token says that they moderate, and
	// members of the others (rooms.moderators = "token").
	Moderators bool
	// ModeratorIssuers are believed when they name moderators; none is all.
	ModeratorIssuers []string
}

// Token compares the token of a session, verified when it logged in, with the room
// (room-services.md §4.6). It is the first stage: somebody without a claim to the
// room learns nothing else of it.
type Token struct{ Rules *TokenRules }

// Name implements muc.Stage.
func (Token) Name() string { return "token" }

// Join implements muc.Stage.
func (t Token) Join(r *muc.Room, j *muc.Join) muc.Verdict {
	if j.Admin || !j.Person(r) {
		return muc.Pass // the focus, recorders, gateways
	}
	c := j.Client.Claims
	noGuests := r.Policy().NoGuests
	switch {
	case c == nil && !j.Client.Guest:
		return muc.Pass // logged in with an account
	case c == nil && (noGuests || t.needsToken(r, j)):
		return refuseToken("authentication-required", "Authentication required")
	case c == nil:
		return muc.Pass
	}
	return t.Rules.verify(c, r.JID(), j.Client.Tenant, noGuests)
}

// needsToken reports whether a guest should have had a token: the rules may have
// changed since it logged in.
func (t Token) needsToken(r *muc.Room, j *muc.Join) bool {
	switch {
	case t.Rules == nil || t.Rules.AllowEmpty || j.Real.Domain == t.Rules.GuestDomain:
		return false
	case t.Rules.TenantsOnly:
		return slices.Contains(t.Rules.Tenants, t.Rules.place(r.JID()))
	}
	return true
}

func refuseToken(child, text string) muc.Verdict {
	err := xmpp.NotAllowed(text)
	if child != "" {
		err.App = `<` + child + ` xmlns="` + muc.NSJitsi + `"/>`
	}
	return muc.Refuse(err)
}

// mismatch is the refusal without a reason.
func mismatch() muc.Verdict { return refuseToken("", "Room and token mismatched") }

// verify compares claims with a room. tenant is that of the session's URL.
func (t *TokenRules) verify(c *xmpp.Claims, room xmpp.JID, tenant string, noGuests bool) muc.Verdict {
	if t == nil {
		return muc.Pass // tokens were switched off after it logged in
	}
	if c.Scope != "" && c.Scope != t.place(room) {
		return mismatch() // whoever holds a tenant's key has no say elsewhere
	}
	named, byPattern := c.Room == room.Local || c.Room == "*" || onWire(c.Room) == room.Local, false
	switch {
	case c.BadPattern:
		return refuseToken("invalid-regex", "Room claim is not a valid regular expression")
	case c.Pattern != nil:
		named, byPattern = c.Pattern.MatchString(room.Local), true
	}
	switch {
	case !t.VerifyTenant && (named || c.Room == ""):
		return muc.Pass
	case !t.VerifyTenant:
		return refuseToken("room-mismatch", "Room does not match the room from token")
	case c.Room == "" && !t.RequireRoom:
		return muc.Pass
	case c.Room == "" || byPattern && !named:
		return refuseToken("room-name-does-not-match", "Room name cannot be matched to the one from token.")
	case c.Tenant != "" && xmpp.NormalTenant(c.Tenant) != tenant && noGuests:
		return mismatch()
	case !named || c.Domain != "*" && xmpp.NormalTenant(c.Domain) != t.place(room):
		return mismatch()
	}
	return muc.Pass
}

// onWire is a room's name as clients write it into addresses (the web app's
// getBackendSafeRoomName): with "Daily Standup" in a token Jitsi's module wants
// daily%20standup there.
func onWire(name string) string {
	if plain, err := url.PathUnescape(name); err == nil {
		name = plain
	}
	name = strings.ToLower(norm.NFKC.String(name))
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		c := name[i]
		// What encodeURIComponent leaves as it is (ECMA-262 §19.2.6.4).
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("-_.!~*'()", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02x", c)
	}
	return b.String()
}

// Opens reports whether a token is one for a room; tenant is that of the session's
// URL.
func (t *TokenRules) Opens(c *xmpp.Claims, room xmpp.JID, tenant string) bool {
	return t != nil && t.verify(c, room, tenant, false).Action == muc.ActionPass
}

// place is what the sub of a token for a room says, normalised: its tenant, or the
// main domain.
func (t *TokenRules) place(room xmpp.JID) string {
	if room.Domain == t.MUC {
		return xmpp.NormalTenant(t.Domain)
	}
	prefix, suffix, _ := strings.Cut(t.MUC, ".")
	tenant, ok := strings.CutPrefix(room.Domain, prefix+".")
	tenant, inside := strings.CutSuffix(tenant, "."+suffix)
	if !ok || !inside {
		return ""
	}
	return tenant
}

// TokenAffiliation gives token users their standing before anybody sees them
// (mod_token_affiliation). It only raises: what a moderator gave stays. It is the
// last stage: a token opens neither a lobby nor a lock.
type TokenAffiliation struct{ Rules *TokenRules }

// Name implements muc.Stage.
func (TokenAffiliation) Name() string { return "tokenaffiliation" }

// Join implements muc.Stage.
func (t TokenAffiliation) Join(r *muc.Room, j *muc.Join) muc.Verdict {
	c := j.Client.Claims
	if t.Rules == nil || !t.Rules.Moderators || c == nil || j.Admin || !j.Person(r) {
		return muc.Pass
	}
	bare := j.Real.Bare()
	old := r.Affiliation(bare)
	aff := muc.AffMember
	if t.Rules.moderates(c) {
		aff = muc.AffOwner
	}
	if aff > old {
		r.SetAffiliation(bare, aff)
	}
	return muc.Pass
}

// moderates reports whether a token makes a moderator.
func (t *TokenRules) moderates(c *xmpp.Claims) bool {
	return t != nil && t.Moderators && c != nil && c.Moderator && t.believes(c.Issuer)
}

func (t *TokenRules) believes(issuer string) bool {
	return len(t.ModeratorIssuers) == 0 || slices.Contains(t.ModeratorIssuers, issuer)
}
