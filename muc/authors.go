package muc

import (
	"crypto/rand"
	"slices"

	"confab/xmpp"
)

// Who wrote what (XEP-0359, XEP-0424, XEP-0425). Clients find the message that a
// reply, a reaction or a retraction is about by its id alone, so within a room an id
// is one message, and only its writer, or a moderator, takes it back.

const (
	nsStanzaID = "urn:xmpp:sid:0"
	nsModerate = "urn:xmpp:message-moderate:1"
)

// maxMessageID is longer than any client's ids.
const maxMessageID = 256

// authors are the writers of the last messages, by id.
type authors struct {
	of   map[string]xmpp.JID // bare addresses
	ring []string            // the ids, the oldest at next once it is full
	next int
}

// note remembers a message. An id that is known stays with who had it first.
func (a *authors) note(id string, bare xmpp.JID, limit int) {
	if _, known := a.of[id]; known {
		return
	}
	if a.of == nil {
		a.of = map[string]xmpp.JID{}
	}
	a.of[id] = bare
	if len(a.ring) < limit {
		a.ring = append(a.ring, id)
		return
	}
	delete(a.of, a.ring[a.next])
	a.ring[a.next] = id
	a.next = (a.next + 1) % limit
}

// wrote remembers the writer of a message that may be taken back.
func (r *Room) wrote(o *Occupant, s *xmpp.Stanza) {
	if s.ID != "" && len(s.ID) <= maxMessageID && worthKeeping(s) {
		r.authors.note(s.ID, o.bare, r.sv.cfg.MessageIDs)
	}
}

// identified gives a message its id, one that no message of somebody else has: LJM
// leaves it out, and it must be the same for all. XMPP clients look for it in
// <stanza-id/> (XEP-0424 §4.1).
func (r *Room) identified(o *Occupant, s *xmpp.Stanza) (*xmpp.Stanza, error) {
	if len(s.ID) > maxMessageID {
		return nil, xmpp.NotAcceptable("id too long")
	}
	if by, known := r.authors.of[s.ID]; s.ID == "" || known && by != o.bare {
		s = s.WithID(rand.Text())
	}
	if !worthKeeping(s) {
		return s, nil
	}
	r.wrote(o, s)
	var e xmpp.Enc
	e.Start("stanza-id", nsStanzaID).Attr("by", r.jid.String()).Attr("id", s.ID).End()
	return s.WithChild(e.String()), nil
}

// retracted is the id of the message that s takes back.
func retracted(s *xmpp.Stanza) (id string, ok bool) {
	if !s.Has("", "retract") {
		return "", false
	}
	for _, el := range s.Elements() {
		if el.Name == "retract" {
			return el.Get("id"), true
		}
	}
	return "", false
}

// mayRetract refuses to take back somebody else's message, and what nobody here
// wrote.
func (r *Room) mayRetract(o *Occupant, s *xmpp.Stanza) error {
	id, ok := retracted(s)
	if !ok {
		return nil
	}
	switch by, known := r.authors.of[id]; {
	case !known:
		return xmpp.ItemNotFound("")
	case by != o.bare:
		return xmpp.Forbidden("")
	}
	return nil
}

// retract forgets the message that s takes back.
func (r *Room) retract(s *xmpp.Stanza) {
	if id, ok := retracted(s); ok {
		r.forgetLine(id)
	}
}

func (r *Room) forgetLine(id string) {
	for i, l := range r.history {
		if l.id == id {
			r.histLen -= len(l.s.Inner)
			r.history = slices.Delete(r.history, i, i+1)
			return
		}
	}
}

// moderate takes back somebody else's message (XEP-0425). Jitsi clients have no
// button for it; they understand the result.
func (r *Room) moderate(actor *Occupant, el *xmpp.Element) error {
	id := el.Get("id")
	switch {
	case actor.Role != RoleModerator:
		return xmpp.Forbidden("")
	case el.Child(nsRetract, "retract") == nil:
		return xmpp.BadRequest("")
	}
	if _, known := r.authors.of[id]; !known {
		return xmpp.ItemNotFound("")
	}
	r.forgetLine(id)
	var e xmpp.Enc
	e.Start("retract", nsRetract).Attr("id", id)
	e.Start("moderated", nsModerate).Attr("by", actor.jid.String()).Raw(actor.idElement()).End()
	if reason := clip(el.ChildText(nsModerate, "reason"), r.sv.cfg.TextBytes); reason != "" {
		e.Leaf("reason", "", reason)
	}
	e.End()
	s := xmpp.NewStanza(xmpp.Message, xmpp.TypeGroupchat, rand.Text(), r.jid, xmpp.JID{}, e.String())
	r.broadcast(s, nil)
	r.eachVisitors(func(side *Room) {
		side.Broadcast(s.With(side.jid, xmpp.JID{}), func(o *Occupant) bool { return !o.admin })
	})
	return nil
}
