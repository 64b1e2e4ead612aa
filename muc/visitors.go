package muc

import "confab/xmpp"

// A room of visitors (Config.Visitors) stands beside the main room. Who is in it
// sees the people of the main room as if they were here, hears what they say and
// may write to them; the other visitors are hidden. Prosody does this between two
// servers, where the main room's people are occupants of both rooms
// (room-services.md §6.9, mod_visitors and mod_fmuc); here nobody has two seats: a
// presence or message of the main room is shown under the address that it has in
// the room of visitors, and shares its text.

// Texts and namespace of mod_fmuc.
const (
	textNoPrivate = "Private messaging between visitors is disabled on visitor nodes"
	anonymous     = "anonymous" // a visitor without a name
)

// ForVisitors marks a Command that visitors may give, too.
type ForVisitors interface{ ForVisitors() }

// Visitors reports whether this is a room of visitors.
func (r *Room) Visitors() bool { return r.sv.cfg.Visitors }

// visitor reports whether the occupant is a visitor, in a room of these, and not a
// service of the meeting.
func (r *Room) visitor(o *Occupant) bool { return r.sv.cfg.Visitors && !o.admin }

// findVisitor is the room of visitors that a session is in, and its seat there.
func (r *Room) findVisitor(real xmpp.JID) (in *Room, t *Seat) {
	r.eachVisitors(func(side *Room) {
		if found := side.real[real]; found != nil {
			in, t = side, found
		}
	})
	return in, t
}

// eachVisitors calls fn for the rooms of visitors of the meeting.
func (r *Room) eachVisitors(fn func(side *Room)) {
	for _, side := range r.m.sides {
		if side.sv.cfg.Visitors && !side.over {
			fn(side)
		}
	}
}

// BroadcastMeeting is Broadcast to the main room and its visitors: for services
// whose news concern them, too.
func (r *Room) BroadcastMeeting(s *xmpp.Stanza, pick func(*Occupant) bool) {
	r.Broadcast(s, pick)
	r.eachVisitors(func(side *Room) {
		side.Broadcast(s, func(o *Occupant) bool { return !o.admin && (pick == nil || pick(o)) })
	})
}

// mirror is the presence of somebody in the main room as a room of visitors shows it.
type mirror struct {
	in *Room
	of *xmpp.Stanza
	views
}

// mirrored reports whether visitors see this occupant of the main room: the focus
// has a seat of its own beside them, recorders are none of their business.
func (o *Occupant) mirrored() bool { return !o.admin && o.person }

// mirror shows visitors what somebody in the main room has sent to all.
func (r *Room) mirror(of *Occupant, s *xmpp.Stanza) {
	if r.main != nil || of.admin || s.Kind == xmpp.Presence && !of.mirrored() {
		return
	}
	r.eachVisitors(func(side *Room) {
		shown := views{full: s.With(side.jid.WithResource(of.Nick), xmpp.JID{})}
		for _, o := range side.order {
			if o.admin {
				continue
			}
			x := shown.as(r.sees(o, of, s.Kind))
			if x == nil {
				continue
			}
			for _, t := range o.Seats {
				side.deliver(t, x)
			}
		}
	})
}

// visitorRoster sends a visitor the presences of the main room's people.
func (r *Room) visitorRoster(t *Seat) {
	for _, of := range r.main.order {
		if !of.mirrored() || of.pres == nil {
			continue
		}
		if of.mirror.in != r || of.mirror.of != of.pres {
			of.mirror.in, of.mirror.of = r, of.pres
			of.mirror.views = views{full: of.pres.With(r.jid.WithResource(of.Nick), xmpp.JID{})}
		}
		if x := of.mirror.as(r.main.sees(t.occ, of, xmpp.Presence)); x != nil {
			r.deliver(t, x)
		}
	}
}

// displaceVisitor puts out a visitor who has the nick, and so the endpoint id, of
// somebody who enters the main room: else visitors could keep people from coming
// back.
func (r *Room) displaceVisitor(nick string) {
	if r.main != nil {
		return
	}
	r.eachVisitors(func(side *Room) {
		if o := side.occ[nick]; o != nil && !o.admin {
			side.Kick(o, nil, "")
		}
	})
}

// visitorMessage is a message to a room of visitors from somebody who has no seat
// in it: from the main room's people, who answer a visitor.
func (r *Room) visitorMessage(s *xmpp.Stanza) error {
	from := r.main.real[s.From]
	if from == nil {
		return notConnected()
	}
	to := r.occ[s.To.Resource]
	if s.To.Resource == "" || to == nil || to.admin || s.Type == xmpp.TypeGroupchat {
		return xmpp.ItemNotFound(textNoRecipient)
	}
	s, err := r.main.personal(from, to, s)
	if s == nil || err != nil {
		return err
	}
	s = s.WithChild(`<x xmlns="`+NSUser+`"/>`+from.occ.idElement()).With(r.jid.WithResource(from.occ.Nick), xmpp.JID{})
	r.sv.stats.messages.Add(1)
	r.Tell(to, s)
	return nil
}

// visitorChat is a visitor's message to all: chat, and taking chat back.
func (r *Room) visitorChat(t *Seat, s *xmpp.Stanza) error {
	o, main := t.occ, r.main
	switch body := s.Has(xmpp.NSClient, "body"); {
	case s.Has("", "subject"):
		return xmpp.Forbidden(textSubject)
	case s.Has("", "json-message"), !body && !s.Has("", "retract"):
		return nil // commands of the meeting are no visitor's to give
	}
	s = r.ownMessage(s)
	if err := main.mayRetract(o, s); err != nil {
		return err
	}
	s, err := main.filter(o, s)
	if s == nil || err != nil {
		return err
	}
	if s, err = main.identified(o, s); err != nil {
		return err
	}
	main.retract(s)
	main.sv.stats.messages.Add(1)
	s = s.WithChild(o.idElement() + o.visitorName())
	r.Broadcast(s.With(o.jid, xmpp.JID{}), func(o *Occupant) bool { return !o.admin })
	// The main room doesn't know the visitor: to its people the room speaks
	// (LJM ChatRoom.onMessage takes the name from <display-name/>).
	s = s.With(main.jid, xmpp.JID{})
	main.broadcast(s, nil)
	main.keep(o, s, "")
	return nil
}

// visitorName says in a message who a visitor is (mod_fmuc).
func (o *Occupant) visitorName() string {
	name, _ := o.displayName()
	if name == "" {
		name = anonymous
	}
	var e xmpp.Enc
	e.Leaf("nick", NSNick, name)
	e.Start("display-name", nsDisplayName).Attr("source", "visitor").Text(name).End()
	return e.String()
}

// visitorPrivate is a visitor's message to one person of the main room. To that the
// room speaks, and names the visitor's address for the answer (LJM
// ChatRoom.onMessage reads ofrom, XEP-0033).
func (r *Room) visitorPrivate(t *Seat, s *xmpp.Stanza) error {
	if s.Type == xmpp.TypeGroupchat {
		return xmpp.BadRequest("a groupchat message goes to the room")
	}
	if to := r.occ[s.To.Resource]; to != nil && !to.admin {
		return xmpp.Forbidden(textNoPrivate)
	}
	o, main := t.occ, r.main
	to := main.occ[s.To.Resource]
	if to == nil || !to.mirrored() || main.sees(o, to, xmpp.Message) == ViewNone {
		return xmpp.ItemNotFound(textNoRecipient)
	}
	if s.Has("", "json-message") || s.Has("", "subject") || !s.Has(xmpp.NSClient, "body") && !s.Has("", "retract") {
		return nil // as to all
	}
	s, err := main.personal(t, to, s)
	if s == nil || err != nil {
		return err
	}
	var e xmpp.Enc
	e.Raw(o.visitorName())
	e.Start("addresses", nsAddress).Start("address", "").Attr("type", "ofrom").Attr("jid", o.jid.String()).End().End()
	e.Raw(`<x xmlns="` + NSUser + `"/>` + o.idElement())
	main.sv.stats.messages.Add(1)
	main.Tell(to, s.WithChild(e.String()).With(main.jid, xmpp.JID{}))
	return nil
}
