package muc

import (
	"crypto/rand"
	"slices"
	"time"

	"confab/xmpp"
)

// message is a message to the room or to an occupant.
func (r *Room) message(s *xmpp.Stanza) error {
	t := r.real[s.From]
	if s.Type == xmpp.TypeError {
		r.bounced(t, s)
		return nil
	}
	if t == nil {
		if r.Visitors() {
			return r.visitorMessage(s)
		}
		if x := s.Child(NSUser, "x"); s.To.Resource == "" && x.Child("", "decline") != nil {
			return r.decline(s.From, x)
		}
		if _, in := r.Find(s.From); in != nil && s.To.Resource == "" && s.Type != xmpp.TypeGroupchat && s.Has(NSUser, "x") {
			return r.mediated(in, s) // LJM Lobby.approveAccess of a moderator in a breakout room
		}
		return notConnected()
	}
	switch {
	case r.visitor(t.occ) && s.To.Resource != "":
		return r.visitorPrivate(t, s)
	case r.visitor(t.occ) && s.Type == xmpp.TypeGroupchat:
		return r.visitorChat(t, s)
	case r.visitor(t.occ):
		return xmpp.Forbidden(textNoVoice) // neither invitations nor requests
	case s.To.Resource != "":
		return r.private(t, s)
	case s.Type == xmpp.TypeGroupchat:
		return r.groupchat(t, s)
	case s.Has(NSUser, "x"):
		return r.mediated(t, s)
	case s.Has(xmpp.NSDataForm, "x"):
		return r.voice(t, s)
	}
	return xmpp.BadRequest("messages to a room are of type groupchat")
}

// ownMessage takes out of a client's message what it must not say: names are
// those of its presence, addresses are the server's business.
func (r *Room) ownMessage(s *xmpp.Stanza) *xmpp.Stanza {
	forged := r.forgedDelay(s)
	s = s.Filter(func(ns, name string) bool {
		switch ns {
		case NSNick, nsDisplayName, NSOccupantID, NSMUC, NSUser, nsAddress, nsStanzaID:
			return false
		case xmpp.NSDelay, nsOldDelay:
			return !forged
		}
		return name != "delay" && name != "display-name" // LJM finds many elements by name alone
	})
	// LJM writes <reply/> without the namespace that its reader looks for.
	if el := s.Child(xmpp.NSClient, "reply"); el != nil && el.Get("to") != "" && !s.HasNS(nsReply) {
		el.NS = nsReply
		s = s.WithoutChild(xmpp.NSClient, "reply").WithChild(el.String())
	}
	return s
}

// forgedDelay reports whether a delay stamp claims to be the server's: clients
// take such a message for history.
func (r *Room) forgedDelay(s *xmpp.Stanza) bool {
	if !s.HasNS(xmpp.NSDelay) && !s.HasNS(nsOldDelay) {
		return false
	}
	for _, el := range s.Elements() {
		if el.NS != xmpp.NSDelay && el.NS != nsOldDelay {
			continue
		}
		from, err := xmpp.ParseJID(el.Get("from"))
		if err != nil || from.Domain == r.jid.Domain {
			return true
		}
	}
	return false
}

// groupchat is a message to all (XEP-0045 §7.4).
func (r *Room) groupchat(t *Seat, s *xmpp.Stanza) error {
	o := t.occ
	t.refresh(r)
	if o.Role < RoleParticipant {
		return xmpp.Forbidden(textNoVoice)
	}
	if s.Has(xmpp.NSClient, "subject") && !s.Has(xmpp.NSClient, "body") && !s.Has(xmpp.NSClient, "thread") {
		return r.setSubject(t, s)
	}
	if !r.maySubject(o) {
		// LJM takes the subject of any message, in whatever namespace, for the room's.
		s = s.Filter(func(_, name string) bool { return name != "subject" })
	}
	if !r.jsonAllowed(t, s, s.Has("", "body")) {
		return nil
	}
	s = r.ownMessage(s)
	if err := r.mayRetract(o, s); err != nil {
		return err
	}
	s, err := r.filter(o, s)
	if s == nil || err != nil {
		return err
	}
	if s, err = r.identified(o, s); err != nil {
		return err
	}
	r.retract(s)
	r.sv.stats.messages.Add(1)
	r.remember(o, s)
	r.broadcastOf(o, s.With(o.jid, xmpp.JID{}).WithChild(o.idElement()), nil)
	return nil
}

func (o *Occupant) idElement() string {
	return `<occupant-id xmlns="` + NSOccupantID + `" id="` + o.id + `"/>`
}

func (r *Room) maySubject(o *Occupant) bool {
	return o.Role == RoleModerator || r.conf.changeSubject && o.Role == RoleParticipant
}

func (r *Room) setSubject(t *Seat, s *xmpp.Stanza) error {
	o := t.occ
	if !r.maySubject(o) {
		return xmpp.Forbidden(textSubject)
	}
	text := s.Child(xmpp.NSClient, "subject").Text
	if len(text) > r.sv.cfg.TextBytes {
		return xmpp.NotAcceptable("subject too long")
	}
	r.subject = subject{text: text, from: o.jid, at: time.Now()}
	s = r.ownMessage(s)
	if s.ID == "" {
		s = s.WithID(rand.Text())
	}
	s = s.With(o.jid, xmpp.JID{}).WithChild(o.idElement())
	r.broadcast(s, nil)
	r.mirror(o, s)
	return nil
}

// private is a message to one occupant (XEP-0045 §7.5).
func (r *Room) private(t *Seat, s *xmpp.Stanza) error {
	if s.Type == xmpp.TypeGroupchat {
		return xmpp.BadRequest("a groupchat message goes to the room")
	}
	to := r.occ[s.To.Resource]
	if to == nil || r.sees(to, t.occ, xmpp.Message) == ViewNone {
		return xmpp.ItemNotFound(textNoRecipient)
	}
	s, err := r.personal(t, to, s)
	if s == nil || err != nil {
		return err
	}
	s = s.WithChild(`<x xmlns="` + NSUser + `"/>` + t.occ.idElement())
	s = s.With(t.occ.jid, xmpp.JID{})
	r.sv.stats.messages.Add(1)
	for _, dst := range to.Seats {
		r.deliver(dst, s)
	}
	return nil
}

// personal is a message to one occupant as the room passes it on; (nil, nil) swallows.
func (r *Room) personal(t *Seat, to *Occupant, s *xmpp.Stanza) (*xmpp.Stanza, error) {
	if !r.jsonAllowed(t, s, true) {
		return nil, nil
	}
	s = r.ownMessage(s)
	if err := r.mayRetract(t.occ, s); err != nil {
		return nil, err
	}
	for _, svc := range r.services {
		if c, ok := svc.(Private); ok {
			if err := c.Private(r, t.occ, to, s); err != nil {
				return nil, err
			}
		}
	}
	r.wrote(t.occ, s)
	return s, nil
}

// line is one message of the history.
type line struct {
	s  *xmpp.Stanza
	id string
	at time.Time
}

// worthKeeping: chat and what changes it, no endpoint messages, which receivers
// ignore when they are old.
func worthKeeping(s *xmpp.Stanza) bool {
	if s.Has(nsHints, "no-store") || s.Has(nsHints, "no-permanent-store") {
		return false
	}
	return s.Has(nsHints, "store") || s.Has(xmpp.NSClient, "body") || s.HasNS(nsEME) || s.HasNS(nsMarkers)
}

// remember keeps a message for later joiners, with the name of its writer: they
// may come when it has gone (mod_muc_displayname).
func (r *Room) remember(o *Occupant, s *xmpp.Stanza) {
	if r.sv.cfg.History <= 0 || !worthKeeping(s) {
		return
	}
	var e xmpp.Enc
	e.Raw(o.idElement())
	if name, source := o.displayName(); name != "" {
		e.Start("display-name", nsDisplayName).Attr("source", source).Text(name).End()
	}
	r.keep(o, s.With(o.jid, xmpp.JID{}), e.String())
}

// keep puts what o has said, and who that is, into the history.
func (r *Room) keep(o *Occupant, s *xmpp.Stanza, name string) {
	if r.sv.cfg.History <= 0 || !worthKeeping(s) {
		return
	}
	now := time.Now()
	var e xmpp.Enc
	delay(e.Raw(name), r.jid, now)
	l := line{s: s.WithChild(e.String()), id: s.ID, at: now}
	if len(l.s.Inner) > r.sv.cfg.HistoryBytes {
		return
	}
	r.history = append(r.history, l)
	r.histLen += len(l.s.Inner)
	for len(r.history) > r.sv.cfg.History || r.histLen > r.sv.cfg.HistoryBytes {
		r.histLen -= len(r.history[0].s.Inner)
		r.history = slices.Delete(r.history, 0, 1)
	}
}

// nameBytes is how much of a name the room hands on beside the presence that it is
// from: with messages, and in lists of people that everybody gets.
const nameBytes = 256

// displayName is the name that an occupant shows, and where it is from.
func (o *Occupant) displayName() (name, source string) {
	source = "guest"
	if o.Seats[0].Client.Claims != nil {
		source = "token" // a verified one; anybody may have something in the URL
	}
	if o.pres != nil && o.pres != o.named {
		o.named, o.name = o.pres, clip(elText(o.pres.Child(NSNick, "nick")), nameBytes)
	}
	return o.name, source
}
