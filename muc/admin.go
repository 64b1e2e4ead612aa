package muc

import (
	"confab/xmpp"
)

// adminItem is one change that a muc#admin query asks for.
type adminItem struct {
	jid    xmpp.JID // bare; zero when only a nick is given
	nick   string
	aff    *Affiliation
	role   *Role
	reason string
}

// parseItem reads an item (XEP-0045 §9, §10).
func (r *Room) parseItem(el *xmpp.Element) (adminItem, error) {
	it := adminItem{nick: el.Get("nick"), reason: clip(el.ChildText("", "reason"), r.sv.cfg.TextBytes)}
	if s, ok := el.Lookup("jid"); ok {
		j, err := xmpp.ParseJID(s)
		if err != nil {
			return it, xmpp.JIDMalformed("")
		}
		if !j.IsBare() {
			return it, xmpp.JIDMalformed(textBareJID)
		}
		it.jid = j
	}
	if s, ok := el.Lookup("affiliation"); ok {
		a, ok := parseAffiliation(s)
		if !ok {
			return it, xmpp.BadRequest("")
		}
		it.aff = &a
	}
	if s, ok := el.Lookup("role"); ok {
		ro, ok := parseRole(s)
		if !ok {
			return it, xmpp.BadRequest("")
		}
		it.role = &ro
	}
	if it.jid.IsZero() && it.nick == "" || it.aff == nil && it.role == nil {
		return it, xmpp.BadRequest("")
	}
	return it, nil
}

// adminSet carries out all items of a query and reports the first that failed:
// LJM makes everybody a member with one query.
func (r *Room) adminSet(actor *Occupant, q *xmpp.Element) error {
	items := q.Children(NSAdmin, "item")
	if len(items) == 0 {
		return xmpp.BadRequest("")
	}
	var first error
	for _, el := range items {
		it, err := r.parseItem(el)
		switch {
		case err != nil:
		case it.aff != nil:
			err = r.setAffiliation(actor, it)
		default:
			err = r.setRole(actor, it)
		}
		if err != nil && first == nil {
			first = err
		}
		if r.over {
			break // the last person has removed itself
		}
	}
	return first
}

// setAffiliation changes lasting standing. In Jitsi all moderators are owners
// and may demote each other; the focus is out of reach.
func (r *Room) setAffiliation(actor *Occupant, it adminItem) error {
	bare := it.jid
	if bare.IsZero() {
		o := r.occ[it.nick]
		if o == nil {
			return xmpp.ItemNotFound("")
		}
		bare = o.bare
	}
	aff, old := *it.aff, r.Affiliation(bare)
	switch {
	case r.sv.IsAdmin(bare):
		return xmpp.NotAllowed("")
	case actor.Aff < AffAdmin:
		return xmpp.Forbidden("")
	case actor.Aff < AffOwner && (old >= AffAdmin || aff >= AffAdmin):
		return xmpp.NotAllowed("") // XEP-0045 §9: admins rule over members only
	case old == AffOwner && aff != AffOwner && r.ownersBeside(bare) == 0:
		return xmpp.Conflict("") // XEP-0045 §10.5
	case !r.affFits(bare, aff):
		return xmpp.ResourceConstraint("")
	}
	for _, svc := range r.Main().services { // standing is the meeting's, wherever it is changed
		if c, ok := svc.(Ruling); ok {
			if err := c.Rule(r.Main(), actor, bare, old, aff); err != nil {
				return err
			}
		}
	}
	if aff != old {
		r.Affiliate(bare, aff, actor, it.reason)
	}
	return nil
}

// Affiliate gives an account a standing in the whole meeting and tells everybody.
// actor is who did it, or nil. It asks nobody's leave.
func (r *Room) Affiliate(bare xmpp.JID, aff Affiliation, actor *Occupant, reason string) {
	r.SetAffiliation(bare, aff)
	for _, in := range r.Meeting() {
		in.affiliated(bare, aff, change{actor: actor, reason: reason})
	}
}

// affiliated carries an affiliation out in one room.
func (r *Room) affiliated(bare xmpp.JID, aff Affiliation, ch change) {
	for _, o := range r.ofBare(bare) {
		if r.over || r.occ[o.Nick] != o || r.visitor(o) && aff != AffOutcast {
			continue // a visitor has no standing until it is let into the main room
		}
		r.inherit(o, ch.actor, o.Aff, aff)
		o.Aff = aff
		switch {
		case aff == AffOutcast:
			// Clients ignore 301; 307 beside it tells the user (client-signaling.md §8.4).
			ch.codes = []int{301, 307}
			r.remove(o, payload{}, ch, r.sv.cfg.Linger)
		case r.MembersOnly() && aff < AffMember:
			ch.codes = []int{321, 307}
			r.remove(o, payload{}, ch, r.sv.cfg.Linger)
		default:
			if aff >= AffAdmin || o.Role == RoleModerator {
				o.Role = defaultRole(aff)
			}
			r.announce(o, ch)
		}
	}
}

// announce tells everybody of an occupant's new standing, the occupant with its
// permissions.
func (r *Room) announce(o *Occupant, ch change) {
	r.publish(o, ch)
	r.reflect(o, o.Seats, ch, "", true)
	old := o.ranked
	if o.ranked = o.Role; old == o.Role {
		return
	}
	if o.Role == RoleModerator && r.Main().policy.HideNames {
		for _, t := range o.Seats {
			r.roster(t) // with the names, this time
		}
	}
	for _, svc := range r.services {
		if c, ok := svc.(Ranked); ok {
			c.Ranked(r, o, old, ch.actor)
		}
	}
}

// ofBare are the occupants of one account.
func (r *Room) ofBare(bare xmpp.JID) []*Occupant {
	var out []*Occupant
	for _, o := range r.order {
		if o.bare == bare {
			out = append(out, o)
		}
	}
	return out
}

// setRole changes standing for this stay; role none is a kick.
func (r *Room) setRole(actor *Occupant, it adminItem) error {
	targets := []*Occupant{r.occ[it.nick]}
	if it.nick == "" {
		targets = r.ofBare(it.jid)
	}
	if len(targets) == 0 || targets[0] == nil {
		return xmpp.ItemNotFound("")
	}
	role := *it.role
	for _, o := range targets {
		switch {
		case o.admin:
			return xmpp.NotAllowed("") // the focus
		case r.main != nil && !r.sv.cfg.Inside && r.takesPart(o):
			return xmpp.NotAllowed("") // a lobby is no place to put somebody out of the meeting
		case actor.Role != RoleModerator:
			return xmpp.Forbidden("")
		case actor.Aff < o.Aff:
			return xmpp.NotAllowed("")
		case (role == RoleModerator || o.Role == RoleModerator && role != RoleNone) && actor.Aff < AffAdmin:
			return xmpp.NotAllowed("")
		case o.Aff >= AffAdmin && role != RoleNone && role != RoleModerator:
			return xmpp.NotAllowed("") // owners are moderators (XEP-0045 §5.2.1)
		}
		if role == RoleNone {
			r.Kick(o, actor, it.reason)
			if r.over {
				return nil
			}
			continue
		}
		if o.Role != role {
			o.Role = role
			r.announce(o, change{actor: actor, reason: it.reason})
		}
	}
	return nil
}

// Kick removes an occupant; actor is who did it, or nil. What remains must not let
// the victim back into a members-only room.
func (r *Room) Kick(o *Occupant, actor *Occupant, reason string) {
	if !(o.Aff == AffOwner && r.ownersBeside(o.bare) == 0) {
		r.SetAffiliation(o.bare, AffNone)
	}
	o.Aff = AffNone
	r.remove(o, payload{}, change{actor: actor, reason: reason, codes: []int{307}}, r.sv.cfg.Linger)
}

// Dismiss takes an occupant out as if it had left.
func (r *Room) Dismiss(o *Occupant) { r.remove(o, payload{}, change{}, r.sv.cfg.Linger) }

// adminList answers who has an affiliation or a role.
func (r *Room) adminList(actor *Occupant, q *xmpp.Element) (string, error) {
	item := q.Child(NSAdmin, "item")
	if item == nil {
		return "", xmpp.BadRequest("")
	}
	var e xmpp.Enc
	e.Start("query", NSAdmin)
	if s, ok := item.Lookup("affiliation"); ok {
		aff, ok := parseAffiliation(s)
		switch {
		case !ok || aff == AffNone:
			return "", xmpp.BadRequest("")
		case actor.Aff >= AffAdmin && actor.Aff >= aff, r.MembersOnly() && actor.Aff >= AffMember && aff >= AffMember:
		default:
			return "", xmpp.Forbidden("")
		}
		for j, a := range r.aff {
			if a == aff {
				e.Start("item", "").Attr("affiliation", s).Attr("jid", j.String()).End()
			}
		}
		return e.End().String(), nil
	}
	role, ok := parseRole(item.Get("role"))
	if !ok || role == RoleNone {
		return "", xmpp.BadRequest("")
	}
	if actor.Role != RoleModerator {
		return "", xmpp.Forbidden("")
	}
	for _, o := range r.order {
		if o.Role == role {
			e.Start("item", "").Attr("affiliation", o.Aff.String()).Attr("role", role.String()).Attr("nick", o.Nick)
			e.Attr("jid", o.Seats[0].Real.String()).End()
		}
	}
	return e.End().String(), nil
}
