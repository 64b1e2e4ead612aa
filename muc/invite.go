package muc

import "confab/xmpp"

// mediated is an invitation or the refusal of one (XEP-0045 §7.8.2), from somebody
// in the meeting. LJM lets people in from the lobby by it, all of them with one
// message: those don't count against the bound of a message.
func (r *Room) mediated(t *Seat, s *xmpp.Stanza) error {
	x := s.Child(NSUser, "x")
	list := x.Children("", "invite")
	if len(list) == 0 {
		return r.decline(t.Real, x)
	}
	// In a lobby nobody invites: strangers would bother others in the server's name.
	lobby := r.main != nil && !r.sv.cfg.Inside
	if r.conf.membersOnly && t.occ.Aff < AffAdmin || t.occ.Role < RoleParticipant || lobby {
		return xmpp.Forbidden("")
	}
	// All addresses are checked first: one message is answered once.
	todo := make([]invitation, 0, min(len(list), r.sv.cfg.MaxInvites))
	seen := make(map[xmpp.JID]bool, len(list))
	strangers := 0
	for _, el := range list {
		to, err := xmpp.ParseJID(el.Get("to"))
		if err != nil || to.Local == "" {
			return xmpp.JIDMalformed("")
		}
		if seen[to] {
			continue
		}
		seen[to] = true
		inv := invitation{to: to, reason: clip(el.ChildText("", "reason"), r.sv.cfg.TextBytes)}
		for _, svc := range r.services {
			if d, ok := svc.(Door); ok && inv.door == nil {
				if inv.waiting = d.Waiting(r, to); len(inv.waiting) > 0 {
					inv.door = d
				}
			}
		}
		if inv.door == nil {
			strangers++
		}
		if strangers > r.sv.cfg.MaxInvites {
			return xmpp.NotAcceptable("too many invitations")
		}
		todo = append(todo, inv)
	}
	for _, inv := range todo {
		if r.conf.membersOnly && r.Affiliation(inv.to.Bare()) == AffNone {
			r.SetAffiliation(inv.to.Bare(), AffMember)
		}
		r.invite(t, inv, s.ID)
		if inv.door != nil {
			inv.door.Admit(r, t, inv.to)
		}
	}
	return nil
}

// invitation is one that a message asks for.
type invitation struct {
	to      xmpp.JID
	reason  string
	door    Door       // before which it is waited for, or nil
	waiting []xmpp.JID // who does
}

// invite sends an invitation. Who has waited at the door needs no password.
func (r *Room) invite(by *Seat, inv invitation, id string) {
	password := ""
	if by.occ.Role == RoleModerator && inv.door == nil {
		password = r.conf.password // others may be in since before there was one
	}
	var e xmpp.Enc
	e.Start("x", NSUser).Start("invite", "").Attr("from", by.Real.String())
	if inv.reason != "" {
		e.Leaf("reason", "", inv.reason)
	}
	e.End()
	if password != "" {
		e.Leaf("password", "", password)
	}
	e.End()
	e.Start("x", nsConference).Attr("jid", r.jid.String()).AttrIf("reason", inv.reason).AttrIf("password", password).End()
	text := by.Real.Bare().String() + " invited you to the room " + r.jid.String()
	if inv.door != nil {
		text = "You may come in: join " + r.jid.String() // what a plain client shows
	}
	if inv.reason != "" {
		text += " (" + inv.reason + ")"
	}
	e.Leaf("body", "", text)
	to := inv.waiting
	if len(to) == 0 {
		to = []xmpp.JID{inv.to}
	}
	for _, j := range to {
		r.sv.router.RouteNow(xmpp.NewStanza(xmpp.Message, "", id, r.jid, j, e.String()))
	}
}

// Admit invites a session that waits before the room in the server's name: somebody
// has become a moderator meanwhile.
func (r *Room) Admit(real xmpp.JID) {
	var e xmpp.Enc
	e.Start("x", NSUser).Start("invite", "").Attr("from", r.jid.String()).End().End()
	e.Start("x", nsConference).Attr("jid", r.jid.String()).End()
	e.Leaf("body", "", "You may come in: join "+r.jid.String())
	r.sv.router.RouteNow(xmpp.NewStanza(xmpp.Message, "", "", r.jid, real, e.String()))
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
