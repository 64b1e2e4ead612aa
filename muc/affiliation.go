package muc

import (
	"strconv"

	"confab/xmpp"
)

// Affiliation is standing that lasts as long as the room (XEP-0045 §5.2). In
// Jitsi every moderator is an owner.
type Affiliation int8

// The affiliations, in rank.
const (
	AffOutcast Affiliation = iota - 1
	AffNone
	AffMember
	AffAdmin
	AffOwner
)

func (a Affiliation) String() string {
	switch a {
	case AffOutcast:
		return "outcast"
	case AffMember:
		return "member"
	case AffAdmin:
		return "admin"
	case AffOwner:
		return "owner"
	}
	return "none"
}

func parseAffiliation(s string) (Affiliation, bool) {
	for a := AffOutcast; a <= AffOwner; a++ {
		if a.String() == s {
			return a, true
		}
	}
	return AffNone, false
}

// Role is standing for this stay (XEP-0045 §5.1).
type Role int8

// The roles, in rank.
const (
	RoleNone Role = iota
	RoleVisitor
	RoleParticipant
	RoleModerator
)

func (r Role) String() string {
	switch r {
	case RoleVisitor:
		return "visitor"
	case RoleParticipant:
		return "participant"
	case RoleModerator:
		return "moderator"
	}
	return "none"
}

func parseRole(s string) (Role, bool) {
	for r := RoleNone; r <= RoleModerator; r++ {
		if r.String() == s {
			return r, true
		}
	}
	return RoleNone, false
}

// defaultRole is the role that an affiliation brings.
func defaultRole(a Affiliation) Role {
	if a >= AffAdmin {
		return RoleModerator
	}
	return RoleParticipant
}

// Affiliation is that of a bare address; admins of the service are always
// owners.
func (r *Room) Affiliation(bare xmpp.JID) Affiliation {
	if r.sv.IsAdmin(bare) {
		return AffOwner
	}
	return r.aff[bare]
}

// SetAffiliation sets the affiliation of a bare address without telling anyone;
// the caller is a stage that decides about that address's join. It does nothing
// when the room knows too many addresses.
func (r *Room) SetAffiliation(bare xmpp.JID, a Affiliation) {
	if a < AffOwner {
		delete(r.grants, bare)
	}
	if a == AffNone {
		delete(r.aff, bare)
		return
	}
	if r.affFits(bare, a) {
		r.aff[bare] = a
	}
}

// affFits reports whether the room can remember one more. Members may not fill it to
// the brim: what is left is for those who rule it and for those who are banned.
func (r *Room) affFits(bare xmpp.JID, a Affiliation) bool {
	if _, known := r.aff[bare]; known || a == AffNone {
		return true
	}
	limit := r.sv.cfg.MaxAffiliations
	if a != AffMember {
		limit += max(1, limit/10)
	}
	return len(r.aff) < limit
}

// ownersBeside counts the owners other than bare, for XEP-0045 §10.5: the last
// one can't resign.
func (r *Room) ownersBeside(bare xmpp.JID) int {
	n := 0
	for j, a := range r.aff {
		if a == AffOwner && j != bare {
			n++
		}
	}
	for _, o := range r.order {
		if o.admin && o.bare != bare {
			n++
		}
	}
	return n
}

func code(n int) string { return strconv.Itoa(n) }
