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

// Joined is told after the occupant's own presence, the history and the subject.
type Joined interface{ Joined(r *Room, o *Occupant) }

// Left is told when an occupant is gone and everybody knows.
type Left interface{ Left(r *Room, o *Occupant) }

// Filter sees groupchat messages and presence updates before they are
// relayed. It may change them; (nil, nil) swallows.
type Filter interface {
	Filter(r *Room, o *Occupant, s *xmpp.Stanza) (*xmpp.Stanza, error)
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

// Ended is told when the room is forgotten.
type Ended interface{ Ended(r *Room) }

func (r *Room) command(name string, s *xmpp.Stanza) error {
	t := r.real[s.From]
	if t == nil {
		return xmpp.Forbidden("")
	}
	for _, svc := range r.services {
		if c, ok := svc.(Command); ok && svc.Name() == name {
			return c.Command(r, t.occ, s)
		}
	}
	return xmpp.ServiceUnavailable("")
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
