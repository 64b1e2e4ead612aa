package muc

import (
	"fmt"
	"slices"
	"time"

	"confab/xmpp"
)

// Main is the main room of the meeting: r itself, unless r is a lobby or a
// breakout room.
func (r *Room) Main() *Room {
	if r.main != nil {
		return r.main
	}
	return r
}

// Meeting are all rooms of the meeting, the main one first.
func (r *Room) Meeting() []*Room { return append([]*Room{r.Main()}, r.m.sides...) }

// Sides are the rooms of the meeting that belong to a service, in the order in
// which they were opened.
func (r *Room) Sides(sv *Service) []*Room {
	var out []*Room
	for _, side := range r.m.sides {
		if side.sv == sv {
			out = append(out, side)
		}
	}
	return out
}

// Inside are the rooms of the meeting in which people take part in it: the main
// one first, then its breakout rooms, but no lobby.
func (r *Room) Inside() []*Room {
	out := make([]*Room, 1, 1+len(r.m.sides))
	out[0] = r.Main()
	for _, side := range r.m.sides {
		if side.sv.cfg.Inside {
			out = append(out, side)
		}
	}
	return out
}

// Open makes a room of another service a part of this meeting; local is its name,
// "" gives it one that can't be guessed. It lives until it is destroyed or the main
// room ends, which destroys it with the same reason.
func (r *Room) Open(sv *Service, local string) (*Room, error) {
	main := r.Main()
	if local == "" {
		local = newUUID()
	}
	j := sv.domain
	j.Local = local
	if sv.cfg.Visitors {
		j.Domain = sv.TenantDomain(main.Tenant()) // clients only put another host for ours
	}
	if j, err := xmpp.ParseJID(j.String()); err != nil || j.Local != local {
		return nil, fmt.Errorf("room %q: %w", local, xmpp.JIDMalformed(""))
	}
	sv.mu.Lock()
	defer sv.mu.Unlock()
	switch {
	case main.over || sv.stopped || sv.cfg.Main != main.sv:
		return nil, xmpp.ServiceUnavailable("")
	case sv.rooms[j] != nil:
		return nil, xmpp.Conflict("")
	case len(sv.rooms) >= sv.cfg.MaxRooms:
		return nil, xmpp.ResourceConstraint("")
	}
	side := newRoom(sv, j, main.m, main, true)
	if sv.cfg.Visitors {
		side.conf.meetingID = main.conf.meetingID // one and the same meeting to clients
	}
	main.m.sides = append(main.m.sides, side)
	sv.rooms[j] = side
	return side, nil
}

// leaveMeeting is the part of end that concerns the other rooms of the meeting.
func (r *Room) leaveMeeting() {
	if r.main == nil {
		for _, side := range slices.Clone(r.m.sides) {
			side.Destroy(xmpp.JID{}, r.closing, nil)
		}
		return
	}
	r.m.sides = slices.DeleteFunc(r.m.sides, func(x *Room) bool { return x == r })
	r.sv.mu.Lock()
	defer r.sv.mu.Unlock()
	delete(r.sv.rooms, r.jid)
}

// Find is the room of the meeting that a session is in, and its seat there; nil
// when it is in none. A lobby is before the meeting, not in it.
func (r *Room) Find(real xmpp.JID) (*Room, *Seat) {
	for _, in := range r.Inside() {
		if t := in.real[real]; t != nil {
			return in, t
		}
	}
	return nil, nil
}

// takesPart reports whether one of an occupant's sessions is in the meeting.
func (r *Room) takesPart(o *Occupant) bool {
	for _, t := range o.Seats {
		if _, in := r.Find(t.Real); in != nil {
			return true
		}
	}
	return false
}

// Held reports whether the room is kept for a reason beside this one.
func (r *Room) Held(beside string) bool {
	for reason := range r.holds {
		if reason != beside {
			return true
		}
	}
	return false
}

// Hold keeps the room although nobody is in it, until Unhold of the same reason.
func (r *Room) Hold(reason string) {
	if r.holds == nil {
		r.holds = map[string]bool{}
	}
	r.holds[reason] = true
}

// Unhold takes a reason to keep the room back; the room ends if nobody is in it.
func (r *Room) Unhold(reason string) {
	if !r.holds[reason] {
		return
	}
	delete(r.holds, reason)
	if r.over {
		return
	}
	r.ifDeserted(r.sv.cfg.Linger)
	if !r.over {
		r.endIfEmpty()
	}
}

// Bound reports whether there is a session of that address.
func (r *Room) Bound(real xmpp.JID) bool {
	_, ok := r.sv.router.Port(real)
	return ok
}

// Subject is the room's subject, or "".
func (r *Room) Subject() string { return r.subject.text }

// SetSubject gives the room a subject in the server's name, and tells everybody.
func (r *Room) SetSubject(text string) {
	r.subject = subject{text: text, from: r.jid, at: time.Now()}
	var e xmpp.Enc
	e.Leaf("subject", "", text)
	r.broadcast(xmpp.NewStanza(xmpp.Message, xmpp.TypeGroupchat, "", r.jid, xmpp.JID{}, e.String()), nil)
}

// FormValue is what the room's form says in a field that one of its services adds,
// or "".
func (r *Room) FormValue(name string) string {
	f := NewForm("result", NSRoomInfo)
	for _, svc := range r.services {
		if c, ok := svc.(Formed); ok {
			c.Form(r, f)
		}
	}
	return f.Value(name)
}

// Over reports whether the room has ended.
func (r *Room) Over() bool { return r.over }

// Occupies is the occupant that a session is in this room, or nil.
func (r *Room) Occupies(real xmpp.JID) *Occupant {
	if t := r.real[real]; t != nil {
		return t.occ
	}
	return nil
}

// Occ is the occupant whose session this is.
func (t *Seat) Occ() *Occupant { return t.occ }

// Tell gives s, with an empty To, to all sessions of an occupant.
func (r *Room) Tell(o *Occupant, s *xmpp.Stanza) {
	for _, t := range o.Seats {
		r.deliver(t, s)
	}
}

// Send routes a stanza to whom the room has no seat for.
func (r *Room) Send(s *xmpp.Stanza) { r.sv.router.RouteNow(s) }

// Name is the name that an occupant shows, and where it is from: token or guest.
func (o *Occupant) Name() (name, source string) { return o.displayName() }

// Email is the address that an occupant shows, or "".
func (o *Occupant) Email() string {
	if o.pres == nil {
		return ""
	}
	return elText(o.pres.Child(xmpp.NSClient, "email"))
}

// SetMaxOccupants limits the people in this room; 0 leaves it to the service.
func (r *Room) SetMaxOccupants(n int) { r.maxOcc = n }

// MaxOccupants is the limit of this room, or 0.
func (r *Room) MaxOccupants() int { return r.maxOcc }

// Tenant is the tenant whose room this is, or "".
func (r *Room) Tenant() string { return r.sv.TenantOf(r.jid) }

// Domain is the service's own domain, without tenant.
func (r *Room) Domain() string { return r.sv.cfg.Domain }
