package policy

import (
	"slices"

	"confab/muc"
	"confab/xmpp"
)

// Everyone says where everybody moderates (rooms.moderators = "everyone").
type Everyone struct {
	On bool
	// Rooms, which have no tenant, and Tenants are exempt: there only who has a token
	// for the room moderates (rooms.moderated, rooms.moderated_tenants).
	Rooms, Tenants []string
}

// In reports whether everybody in a meeting moderates it.
func (e Everyone) In(r *muc.Room) bool {
	main := r.Main()
	if tenant := main.Tenant(); tenant != "" {
		return e.On && !slices.Contains(e.Tenants, tenant)
	}
	return e.On && !slices.Contains(e.Rooms, main.JID().Local)
}

// Moderators makes owners before anybody sees the joiner, where that is not the
// focus's decision. It stands behind the lobby and the lock, which are for future
// moderators, too.
type Moderators struct {
	Everyone Everyone
	Rules    *TokenRules
}

// Name implements muc.Stage.
func (Moderators) Name() string { return "moderators" }

// Join implements muc.Stage.
func (m Moderators) Join(r *muc.Room, j *muc.Join) muc.Verdict {
	bare := j.Real.Bare()
	if !j.Person(r) || r.Affiliation(bare) < muc.AffNone {
		return muc.Pass
	}
	if r.Policy().AllModerators || m.Everyone.On && (m.Everyone.In(r) || m.Rules.names(j.Client.Claims, r.Main().JID())) {
		r.SetAffiliation(bare, muc.AffOwner)
	}
	return muc.Pass
}

// names reports whether a token is for a room, by name and tenant (muc_allowners).
func (t *TokenRules) names(c *xmpp.Claims, room xmpp.JID) bool {
	if t == nil || c == nil || c.BadPattern {
		return false
	}
	named := c.Room == room.Local || c.Room == "*"
	if c.Pattern != nil {
		named = c.Pattern.MatchString(room.Local)
	}
	return named && (c.Domain == "*" || xmpp.NormalTenant(c.Domain) == t.place(room))
}
