package muc

import (
	"crypto/rand"
	"fmt"
	"runtime/debug"
	"time"

	"confab/xmpp"
)

// Room is owned by its meeting's goroutine. Stages and services run there and
// may use its methods; nobody else may.
type Room struct {
	jid  xmpp.JID
	sv   *Service
	m    *meeting
	main *Room // whose lobby or breakout room this is; nil for a main room
	live bool  // an admin has entered; before, the room only holds joins that wait
	over bool  // has ended

	occ   map[string]*Occupant // by nick
	real  map[xmpp.JID]*Seat   // by full real address
	order []*Occupant          // join order: broadcasts and roster use it
	aff   map[xmpp.JID]Affiliation
	// grants are what owners got with their rank: they keep it when they go to a breakout
	// room or join anew (room-services.md §5.2).
	grants map[xmpp.JID]*grant

	conf    roomConf
	subject subject
	history []line
	histLen int // bytes of the history
	authors authors

	stages   []Stage
	services []RoomService
	audience []Audience // those of the services that decide who sees whom
	holds    map[string]bool
	closing  string // why the room is being destroyed
	maxOcc   int    // of this room; 0: the service's
	policy   RoomPolicy
	parked   []*Join // in order of arrival
	asked    map[iqKey]*asked
	iqTimer  *time.Timer
	linger   *time.Timer   // ends a room without people
	lingers  time.Duration // how long it runs
	focused  bool
	gone     []*Seat // found dead by a delivery
	enc      xmpp.Enc
}

// roomConf is what the room form shows.
type roomConf struct {
	meetingID     string
	salt          string // of occupant ids
	created       string // ms since 1970, once a second occupant is in
	password      string
	membersOnly   bool
	changeSubject bool // by participants, too
	name, desc    string
	lang          string
}

// Occupant is somebody in the room under one nick.
type Occupant struct {
	Nick  string
	Role  Role
	Aff   Affiliation
	Seats []*Seat // the sessions behind the nick, at least one

	bare    xmpp.JID
	jid     xmpp.JID // room/nick
	alias   string   // the nick it asked for, if another was assigned
	id      string   // XEP-0421
	ranked  Role     // the role that the services know of
	admin   bool
	person  bool
	payload payload      // its last presence, cleaned
	lang    string       // of it
	pres    *xmpp.Stanza // what others got, shared by all receivers
	shown   views        // of pres
	mirror  mirror       // of pres
	named   *xmpp.Stanza // the pres that name is of
	name    string       // shown to people
	iqs     int          // requests of it that wait for an answer
	granted *grant       // what a moderator gave it with the rank
}

// Seat is one session of an occupant.
type Seat struct {
	Real   xmpp.JID
	Client Client
	port   xmpp.Port
	occ    *Occupant
}

// Bare is the occupant's real address without resource.
func (o *Occupant) Bare() xmpp.JID { return o.bare }

// JID is the occupant's address in the room.
func (o *Occupant) JID() xmpp.JID { return o.jid }

// Admin reports whether the occupant is an admin of the service: the focus.
func (o *Occupant) Admin() bool { return o.admin }

// Person reports whether the occupant counts as one of the people in the room.
func (o *Occupant) Person() bool { return o.person }

// Has reports whether the occupant's last presence has a child.
func (o *Occupant) Has(ns, name string) bool { return o.pres != nil && o.pres.Has(ns, name) }

// newRoom makes a room of a meeting; main is nil for the main one.
func newRoom(sv *Service, j xmpp.JID, m *meeting, main *Room, live bool) *Room {
	r := &Room{
		jid:    j,
		sv:     sv,
		m:      m,
		main:   main,
		occ:    map[string]*Occupant{},
		real:   map[xmpp.JID]*Seat{},
		aff:    map[xmpp.JID]Affiliation{},
		grants: map[xmpp.JID]*grant{},
		conf:   roomConf{meetingID: newUUID(), salt: newUUID(), lang: "en"},
	}
	if main != nil {
		r.aff, r.grants = main.aff, main.grants // one standing in the whole meeting
		r.policy = main.policy
	}
	if live {
		r.begin()
	}
	return r
}

// begin makes a room of what may have been a list of joins that wait. What is settled
// about it may not have been known before: a booking is asked for with the focus.
func (r *Room) begin() {
	r.live = true
	if r.main == nil && r.sv.cfg.Policy != nil {
		r.settle(r.sv.cfg.Policy(r.jid))
	}
	if r.sv.cfg.Stages != nil {
		r.stages = r.sv.cfg.Stages()
	}
	for _, mk := range r.sv.cfg.Services {
		svc := mk(r)
		if svc == nil {
			continue // this room has none
		}
		r.services = append(r.services, svc)
		if a, ok := svc.(Audience); ok {
			r.audience = append(r.audience, a)
		}
	}
}

// newUUID is a random UUID (RFC 9562 §5.4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Live reports whether the focus has entered; before, there is only an address at
// which joins wait.
func (r *Room) Live() bool { return r.live }

// JID is the room's address.
func (r *Room) JID() xmpp.JID { return r.jid }

// MeetingID is the UUID of the meeting.
func (r *Room) MeetingID() string { return r.conf.meetingID }

// Created is when the meeting began, in ms since 1970, or "" before it has.
func (r *Room) Created() string { return r.conf.created }

// Occupants are all in the room, in join order. The slice is valid until
// somebody joins or leaves.
func (r *Room) Occupants() []*Occupant { return r.order }

// Occupant is the one with that nick, or nil.
func (r *Room) Occupant(nick string) *Occupant { return r.occ[nick] }

// Focused reports whether the focus is in.
func (r *Room) Focused() bool { return r.focused }

// People counts the occupants that aren't services.
func (r *Room) People() int {
	n := 0
	for _, o := range r.order {
		if o.person {
			n++
		}
	}
	return n
}

// Password is the room's password, or "".
func (r *Room) Password() string { return r.conf.password }

// MembersOnly reports whether only members may join: a breakout room is as open as
// its main room (room-services.md §6.2).
func (r *Room) MembersOnly() bool {
	if r.Breakout() {
		return r.main.conf.membersOnly
	}
	return r.conf.membersOnly
}

// Breakout reports whether this is a breakout room.
func (r *Room) Breakout() bool { return r.main != nil && r.sv.cfg.Inside }

// handle runs one event. A panic closes this room and no other.
func (r *Room) handle(e *event) {
	defer func() {
		if p := recover(); p != nil {
			r.sv.stats.panics.Add(1)
			r.sv.log.Error("room panicked", "room", r.jid.String(), "err", p, "stack", string(debug.Stack()))
			r.abort()
		}
	}()
	if r.over {
		r.late(e)
		return
	}
	switch e.kind {
	case evStanza:
		if err := r.stanza(e.s); err != nil {
			r.sv.bounce(e.s, err)
		}
	case evCommand:
		if err := r.command(e.name, e.s); err != nil {
			r.sv.bounce(e.s, err)
		}
	case evTimer, evResult, evDo:
		e.fn()
	}
	r.m.reap()
}

func (r *Room) stanza(s *xmpp.Stanza) error {
	switch s.Kind {
	case xmpp.Presence:
		return r.presence(s)
	case xmpp.Message:
		return r.message(s)
	case xmpp.IQ:
		return r.iq(s)
	}
	return nil
}

// reap does so in all rooms of a meeting: what happens in one is told in others.
func (m *meeting) reap() {
	m.room.reap()
	for i := 0; i < len(m.sides); i++ { // one may end by it
		m.sides[i].reap()
	}
}

// reap removes occupants whose port turned out to be dead: in-process entities
// that closed without leaving. Sessions leave by themselves.
func (r *Room) reap() {
	for len(r.gone) > 0 && !r.over {
		gone := r.gone
		r.gone = nil
		for _, t := range gone {
			if r.real[t.Real] == t {
				r.leave(t, nil, change{codes: []int{333}})
			}
		}
	}
	r.gone = nil
}

// end forgets the room. Its occupants have been told, or there are none.
func (r *Room) end() {
	if r.over {
		return
	}
	r.over = true
	for _, t := range []*time.Timer{r.iqTimer, r.linger} {
		if t != nil {
			t.Stop()
		}
	}
	for _, j := range r.parked {
		j.stop()
		r.sv.stats.parked.Add(-1)
		r.refuse(j, xmpp.NotAllowed(TextCreation))
	}
	r.parked = nil
	for _, svc := range r.services {
		if c, ok := svc.(Ended); ok {
			c.Ended(r)
		}
	}
	r.leaveMeeting()
	r.sv.stats.occupants.Add(-int64(len(r.order)))
	if r.live {
		r.sv.log.Info("room ended", "room", r.jid.String(), "meeting_id", r.conf.meetingID)
	}
}

// abort ends a room in an unknown state. Clients that see it destroyed join
// anew.
func (r *Room) abort() {
	defer func() {
		if p := recover(); p != nil {
			r.over = true
		}
	}()
	r.Destroy(xmpp.JID{}, "internal error", nil)
}
