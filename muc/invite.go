package muc

import "confab/xmpp"

// mediated is an invitation or the refusal of one (XEP-0045 §7.8.2).
func (r *Room) mediated(t *Seat, s *xmpp.Stanza) error {
	x := s.Child(NSUser, "x")
	invites := x.Children("", "invite")
	if len(invites) == 0 {
		return r.decline(t.Real, x)
	}
	if len(invites) > r.sv.cfg.MaxInvites {
		return xmpp.NotAcceptable("too many invitations")
	}
	if r.conf.membersOnly && t.occ.Aff < AffAdmin || t.occ.Role < RoleParticipant {
		return xmpp.Forbidden("")
	}
	password := ""
	if t.occ.Role == RoleModerator {
		password = r.conf.password // others may be in since before there was one
	}
	// All addresses are checked first: one message is answered once.
	to := make([]xmpp.JID, len(invites))
	for i, inv := range invites {
		var err error
		if to[i], err = xmpp.ParseJID(inv.Get("to")); err != nil || to[i].Local == "" {
			return xmpp.JIDMalformed("")
		}
	}
	for i, inv := range invites {
		if r.conf.membersOnly && r.Affiliation(to[i].Bare()) == AffNone {
			r.SetAffiliation(to[i].Bare(), AffMember)
		}
		reason := clip(inv.ChildText("", "reason"), r.sv.cfg.TextBytes)
		var e xmpp.Enc
		e.Start("x", NSUser).Start("invite", "").Attr("from", t.Real.String())
		if reason != "" {
			e.Leaf("reason", "", reason)
		}
		e.End()
		if password != "" {
			e.Leaf("password", "", password)
		}
		e.End()
		e.Start("x", nsConference).Attr("jid", r.jid.String()).AttrIf("reason", reason).AttrIf("password", password).End()
		text := t.Real.Bare().String() + " invited you to the room " + r.jid.String()
		if reason != "" {
			text += " (" + reason + ")"
		}
		e.Leaf("body", "", text)
		r.sv.router.RouteNow(xmpp.NewStanza(xmpp.Message, "", s.ID, r.jid, to[i], e.String()))
	}
	return nil
}

// decline goes to the occupant who had invited.
func (r *Room) decline(from xmpp.JID, x *xmpp.Element) error {
	d := x.Child("", "decline")
	if d == nil {
		return xmpp.BadRequest("")
	}
	to, err := xmpp.ParseJID(d.Get("to"))
	if err != nil {
		return xmpp.JIDMalformed("")
	}
	for _, o := range r.order {
		if o.bare != to.Bare() {
			continue
		}
		var e xmpp.Enc
		e.Start("x", NSUser).Start("decline", "").Attr("from", from.String())
		e.Leaf("reason", "", clip(d.ChildText("", "reason"), r.sv.cfg.TextBytes)).End().End()
		m := xmpp.NewStanza(xmpp.Message, "", "", r.jid, xmpp.JID{}, e.String())
		for _, dst := range o.Seats {
			r.deliver(dst, m)
		}
		return nil
	}
	return xmpp.ItemNotFound("")
}

// voice is a request to speak, or a moderator's answer to one (XEP-0045 §7.13,
// §8.6).
func (r *Room) voice(t *Seat, s *xmpp.Stanza) error {
	f, err := parseForm(s.Child(xmpp.NSDataForm, "x"))
	if err != nil || f.Type() != NSRequest {
		return xmpp.BadRequest("")
	}
	if t.occ.Role != RoleModerator {
		if t.occ.Role != RoleVisitor || f.Value("muc#role") != "participant" {
			return xmpp.BadRequest("")
		}
		ask := NewForm("form", NSRequest)
		ask.Text("muc#role", "participant")
		ask.Text("muc#jid", t.Real.String())
		ask.Text("muc#roomnick", t.occ.Nick)
		ask.Bool("muc#request_allow", false)
		m := xmpp.NewStanza(xmpp.Message, "", "", r.jid, xmpp.JID{}, ask.String())
		r.Broadcast(m, func(o *Occupant) bool { return o.Role == RoleModerator && !o.admin })
		return nil
	}
	if allow, _ := f.Flag("muc#request_allow"); !allow {
		return nil
	}
	o := r.occ[f.Value("muc#roomnick")]
	if o == nil {
		return xmpp.ItemNotFound("")
	}
	if o.Role == RoleVisitor {
		o.Role = RoleParticipant
		r.announce(o, change{actor: t.occ})
	}
	return nil
}

// clip cuts s to at most n bytes, at a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}
