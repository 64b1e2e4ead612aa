package muc

import "confab/xmpp"

// RoomService is a feature beside the chat: metadata, polls, … One value serves
// one room, on its goroutine, and implements what it needs of the interfaces
// below. Services are called in the order of Config.Services.
type RoomService interface{ Name() string }

// Joining is told of a session that is about to see the room, before it gets the
// first presence.
type Joining interface {
	Joining(r *Room, o *Occupant, t *Seat)
}

// Visiting is Joining in a room of visitors, told to the services of the main room,
// which is r.
type Visiting interface {
	Visiting(r *Room, o *Occupant, t *Seat)
}

// Visited is Joined in a room of visitors, told to the services of the main room,
// which is r.
type Visited interface{ Visited(r *Room, o *Occupant) }

// Joined is told after the occupant's own presence, the history and the subject.
type Joined interface{ Joined(r *Room, o *Occupant) }

// Left is told when an occupant is gone and everybody knows.
type Left interface {
	Left(r *Room, o *Occupant, why Departure)
}

// Departure is how somebody left.
type Departure struct {
	Kicked bool      // by role or affiliation; Actor says by whom
	Banned bool      // is an outcast now
	Actor  *Occupant // nil: by itself, or by the server
	Switch bool      // goes to another room of the meeting (LJM: status switch_room)
}

// Ranked is told when the role of somebody in the room has changed and everybody
// knows; actor is nil when nobody in the room did it.
type Ranked interface {
	Ranked(r *Room, o *Occupant, old Role, actor *Occupant)
}

// Ruling has a say in a change of standing that somebody in the meeting asks for: an
// error refuses it. The services of the main room are asked; r is that.
type Ruling interface {
	Rule(r *Room, actor *Occupant, bare xmpp.JID, old, aff Affiliation) error
}

// Audience decides what an occupant gets of another one. The least of all
// services counts. It must be cheap: a broadcast asks it for every receiver.
type Audience interface {
	Sees(r *Room, by, of *Occupant, kind xmpp.Kind) View
}

// View is how much one occupant sees of another.
type View uint8

// The views. Of a Nameless presence everything is left out that says who the
// person is.
const (
	ViewNone View = iota
	ViewNameless
	ViewFull
)

// Filter sees groupchat messages and presence updates before they are
// relayed. It may change them; (nil, nil) swallows.
type Filter interface {
	Filter(r *Room, o *Occupant, s *xmpp.Stanza) (*xmpp.Stanza, error)
}

// Requests sees an IQ request to another occupant before it is passed on. It may
// change it; an error is the answer.
type Requests interface {
	Request(r *Room, t *Seat, to *Occupant, s *xmpp.Stanza) (*xmpp.Stanza, error)
}

// Private may refuse a message from one occupant to another.
type Private interface {
	Private(r *Room, from, to *Occupant, s *xmpp.Stanza) error
}

// Command gets a client's message to the service's component.
type Command interface {
	Command(r *Room, o *Occupant, s *xmpp.Stanza) error
}

// Formed adds fields to the room's form and reads them back.
type Formed interface {
	Form(r *Room, f *Form)
	Submit(r *Room, o *Occupant, f *Form) error
}

// Configured is told when the room has another configuration and everybody has been
// told to look (status 104); actor is nil when nobody in the room did it.
type Configured interface {
	Configured(r *Room, actor *Occupant)
}

// Door is a service before which people wait until somebody invites them in.
type Door interface {
	// Waiting are the sessions at the door that an invitation to this address is for;
	// none if it is for somebody else.
	Waiting(r *Room, to xmpp.JID) []xmpp.JID
	// Admit is told that the sender of a session has invited them.
	Admit(r *Room, by *Seat, to xmpp.JID)
}

// Ended is told when the room is forgotten.
type Ended interface{ Ended(r *Room) }

// command finds the sender in the meeting. It commands the service of the room
// that it is in, else that of the main room; r in Command is where the sender is.
func (r *Room) command(name string, s *xmpp.Stanza) error {
	in, t := r.Find(s.From)
	if t == nil {
		in, t = r.findVisitor(s.From)
	}
	if t == nil {
		return xmpp.Forbidden("")
	}
	t.refresh(in)
	for _, at := range []*Room{in, r} {
		c, ok := at.Service(name).(Command)
		if !ok {
			continue
		}
		if _, ok := c.(ForVisitors); !ok && in.visitor(t.occ) {
			return xmpp.Forbidden("")
		}
		return c.Command(in, t.occ, s)
	}
	return xmpp.ServiceUnavailable("")
}

// Service is the room's service of that name, or nil.
func (r *Room) Service(name string) RoomService {
	for _, svc := range r.services {
		if svc.Name() == name {
			return svc
		}
	}
	return nil
}

// sees is what by gets of of.
func (r *Room) sees(by, of *Occupant, kind xmpp.Kind) View {
	v := ViewFull
	switch {
	case by == of:
		return v
	case r.Visitors() && !by.admin && !of.admin:
		return ViewNone // visitors see the focus, and the focus sees them
	}
	if kind == xmpp.Presence && !of.admin && r.HidesNames(by) {
		v = ViewNameless
	}
	for _, a := range r.audience {
		v = min(v, a.Sees(r, by, of, kind))
	}
	return v
}

// HidesNames reports whether an occupant learns nobody's name: guests, where the
// room's policy says so (mod_muc_displayname).
func (r *Room) HidesNames(from *Occupant) bool {
	return r.Main().policy.HideNames && from.Role != RoleModerator && !from.admin
}

// filter passes s through the services.
func (r *Room) filter(o *Occupant, s *xmpp.Stanza) (*xmpp.Stanza, error) {
	for _, svc := range r.services {
		f, ok := svc.(Filter)
		if !ok {
			continue
		}
		var err error
		if s, err = f.Filter(r, o, s); s == nil || err != nil {
			return nil, err
		}
	}
	return s, nil
}
