package muc

import (
	"maps"
	"slices"
	"strconv"

	"confab/xmpp"
)

// What an occupant may do beyond its role (room-services.md §5.2): the features of
// its token; those of the moderator who made it one; or, for a moderator without
// either, those of the configuration.

// featureNameReadonly fixes the display name to that of the token.
const featureNameReadonly = "name-readonly"

// grant is what a moderator passed on with its rank.
type grant struct {
	features    map[string]bool // nil: that moderator had none of its own
	user, group string          // who it was, or who that one was granted by
}

// refresh looks at the session again before what the occupant may do matters: a
// connection that has resumed it may have brought another token.
func (t *Seat) refresh(r *Room) { t.Client = r.sv.cfg.Client(t.port) }

// features are those that are known of the occupant, nil when none are.
func (o *Occupant) features() map[string]bool {
	if o.granted != nil && o.granted.features != nil {
		return o.granted.features
	}
	return o.Seats[0].Client.Features
}

// Allowed reports whether the occupant may use a feature: who has a list of them
// may use what it says; without one moderators may use everything
// (room-services.md §4.0).
func (o *Occupant) Allowed(feature string) bool {
	if o.HasFeatures() {
		return o.Feature(feature)
	}
	return o.Role == RoleModerator
}

// HasFeatures reports whether there is a list of what the occupant may use.
func (o *Occupant) HasFeatures() bool { return o.features() != nil }

// Feature reports whether that list has a feature.
func (o *Occupant) Feature(name string) bool { return o.features()[name] }

// Claims are those of the occupant's token, or nil.
func (o *Occupant) Claims() *xmpp.Claims { return o.Seats[0].Client.Claims }

// Grantor is the token user, and its group, who answers for what a moderator
// without a token starts; both may be empty.
func (o *Occupant) Grantor() (user, group string) {
	if o.granted == nil {
		return "", ""
	}
	return o.granted.user, o.granted.group
}

// inherit passes the features of a moderator on to somebody whose standing it has
// just changed (mod_jitsi_permissions). The focus and the room have none to pass on.
func (r *Room) inherit(o, actor *Occupant, old, now Affiliation) {
	switch {
	case o.admin:
	case now < AffOwner:
		o.granted = nil
	case old == AffOwner || actor == nil || actor == o || actor.admin:
	default:
		g := &grant{features: actor.features()}
		g.user, g.group = actor.Grantor()
		if c := actor.Claims(); c != nil {
			if id := c.User["id"]; id != "" {
				g.user = id
			}
			if c.Group != "" {
				g.group = c.Group
			}
		}
		if g.features != nil || g.user != "" || g.group != "" {
			o.granted, r.grants[o.bare] = g, g
		}
	}
}

// permissions writes what a moderator may do: without it most buttons of the app
// stay off (LJM ChatRoom.onPresence reads it beside status 110). Users with a
// token's features know their own, unless they were granted others.
func (r *Room) permissions(e *xmpp.Enc, o *Occupant) {
	granted := o.granted != nil && o.granted.features != nil
	if o.Role != RoleModerator || o.admin || !granted && o.Seats[0].Client.Features != nil {
		return
	}
	if !granted && len(r.sv.cfg.Permissions) == 0 {
		return
	}
	e.Start("permissions", NSJitsi)
	p := func(name string, val bool) {
		e.Start("p", "").Attr("name", name).Attr("val", strconv.FormatBool(val)).End()
	}
	if granted {
		for _, name := range slices.Sorted(maps.Keys(o.granted.features)) {
			p(name, o.granted.features[name])
		}
	} else {
		for _, name := range r.sv.cfg.Permissions {
			p(name, true)
		}
	}
	e.End()
}
