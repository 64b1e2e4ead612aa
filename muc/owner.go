package muc

import (
	"confab/xmpp"
)

// ownerForm is the room form (XEP-0045 §10.2). Clients probe it for fields: one
// that is missing means "not supported" to them.
func (r *Room) ownerForm(actor *Occupant) (string, error) {
	if actor.Aff != AffOwner {
		return "", xmpp.Forbidden(textOwnersOnly)
	}
	f := NewForm("form", NSRoomConfig)
	f.Text("muc#roomconfig_roomname", r.conf.name)
	f.Text("muc#roomconfig_roomdesc", r.conf.desc)
	f.Text("muc#roomconfig_lang", r.conf.lang)
	f.Bool("muc#roomconfig_persistentroom", false)
	f.Bool("muc#roomconfig_publicroom", false)
	f.Bool("muc#roomconfig_membersonly", r.MembersOnly())
	f.add(field{name: "muc#roomconfig_whois", typ: "list-single", values: []string{"anyone"}, options: []string{"anyone"}})
	f.add(field{name: "muc#roomconfig_roomsecret", typ: "text-private", values: []string{r.conf.password}})
	f.Bool("muc#roomconfig_moderatedroom", false)
	f.Bool("muc#roomconfig_changesubject", r.conf.changeSubject)
	f.Text("muc#roominfo_meetingId", r.conf.meetingID)
	for _, svc := range r.services {
		if c, ok := svc.(Formed); ok {
			c.Form(r, f)
		}
	}
	return `<query xmlns="` + NSOwner + `">` + f.String() + `</query>`, nil
}

// ownerSet takes the form back, or destroys the room. What it returns goes out
// after the answer.
func (r *Room) ownerSet(actor *Occupant, q *xmpp.Element) (after func(), err error) {
	if actor.Aff != AffOwner {
		return nil, xmpp.Forbidden(textOwnersOnly)
	}
	if d := q.Child(NSOwner, "destroy"); d != nil {
		return r.ownerDestroy(d)
	}
	f, err := parseForm(q.Child(xmpp.NSDataForm, "x"))
	if err != nil {
		return nil, xmpp.BadRequest("")
	}
	if f.typ == "cancel" {
		return nil, nil
	}
	if f.typ != "submit" {
		return nil, xmpp.BadRequest("")
	}
	if len(f.fields) == 0 {
		return nil, nil // XEP-0045 §10.1.2: the defaults will do
	}
	if f.Type() != NSRoomConfig {
		return nil, &xmpp.StanzaError{Type: "cancel", Cond: xmpp.CondBadRequest, Text: textFormType}
	}
	next, err := r.conf.submitted(f, actor.admin, r.sv.cfg.TextBytes)
	if err != nil {
		return nil, err
	}
	for _, svc := range r.services {
		if c, ok := svc.(Formed); ok {
			if err := c.Submit(r, actor, f); err != nil {
				return nil, err
			}
		}
	}
	before := r.conf
	if r.Breakout() {
		next.membersOnly = before.membersOnly // the main room's
	}
	r.conf = next
	if next == before {
		return nil, nil
	}
	return func() { r.configured(actor, before) }, nil
}

// submitted is the configuration after a form. Fields that it lacks stay as they
// are: a client that switches the lobby does not repeat the password.
func (c roomConf) submitted(f *Form, admin bool, max int) (roomConf, error) {
	for name, dst := range map[string]*string{
		"muc#roomconfig_roomname":   &c.name,
		"muc#roomconfig_roomdesc":   &c.desc,
		"muc#roomconfig_lang":       &c.lang,
		"muc#roomconfig_roomsecret": &c.password,
	} {
		if !f.Has(name) {
			continue
		}
		if *dst = f.Value(name); len(*dst) > max {
			return c, xmpp.NotAcceptable("value too long")
		}
	}
	if locked, ok := f.Flag("muc#roomconfig_passwordprotectedroom"); ok && !locked {
		c.password = ""
	}
	if v, ok := f.Flag("muc#roomconfig_membersonly"); ok {
		c.membersOnly = v
	}
	if v, ok := f.Flag("muc#roomconfig_changesubject"); ok {
		c.changeSubject = v
	}
	if f.Has("muc#roomconfig_whois") && f.Value("muc#roomconfig_whois") != "anyone" {
		// Clients know the focus by its real address: without it there is no meeting.
		return c, xmpp.NotAcceptable("rooms show real addresses")
	}
	if id := f.Value("muc#roominfo_meetingId"); admin && id != "" && len(id) <= max {
		c.meetingID = id
	}
	return c, nil
}

// Changed tells everybody that the room has another configuration: LJM then
// repeats its disco#info, by which it learns of lock and lobby.
func (r *Room) Changed() {
	var e xmpp.Enc
	e.Start("x", NSUser).Start("status", "").Attr("code", "104").End().End()
	r.broadcast(xmpp.NewStanza(xmpp.Message, xmpp.TypeGroupchat, "", r.jid, xmpp.JID{}, e.String()), nil)
	if r.main == nil {
		for _, side := range r.Inside()[1:] { // they say what is so in the main room
			side.Changed()
		}
	}
}

// SetPassword locks the room, or unlocks it with "", and tells everybody.
func (r *Room) SetPassword(password string) {
	if r.conf.password != password {
		r.conf.password = password
		r.Changed()
	}
}

// SetMembersOnly closes the room to all but members, or opens it, and tells
// everybody. Who is in and no member is put out (322); nil is the server.
func (r *Room) SetMembersOnly(on bool, actor *Occupant) {
	if before := r.conf; before.membersOnly != on && !r.Breakout() {
		r.conf.membersOnly = on
		r.configured(actor, before)
	}
}

// configured tells everybody of a change and puts out who may not be in any more.
func (r *Room) configured(actor *Occupant, before roomConf) {
	defer r.reconfigured(actor)
	r.Changed()
	if !r.conf.membersOnly || before.membersOnly {
		return
	}
	for _, o := range append([]*Occupant(nil), r.order...) {
		if o.Aff < AffMember && o.person && !r.over {
			r.remove(o, payload{}, change{actor: actor, codes: []int{322, 307}}, r.sv.cfg.Linger)
		}
	}
}

// reconfigured tells the services of a change.
func (r *Room) reconfigured(actor *Occupant) {
	for _, svc := range r.services {
		if c, ok := svc.(Configured); ok && !r.over {
			c.Configured(r, actor)
		}
	}
}

func (r *Room) ownerDestroy(d *xmpp.Element) (func(), error) {
	var to xmpp.JID
	if s := d.Get("jid"); s != "" {
		var err error
		if to, err = xmpp.ParseJID(s); err != nil {
			return nil, xmpp.JIDMalformed("")
		}
	}
	var password *string
	if p := d.Child(NSOwner, "password"); p != nil {
		text := clip(p.Text, r.sv.cfg.TextBytes)
		password = &text
	}
	reason := clip(d.ChildText(NSOwner, "reason"), r.sv.cfg.TextBytes)
	return func() { r.Destroy(to, reason, password) }, nil
}
