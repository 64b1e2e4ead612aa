package muc

import (
	"time"

	"confab/xmpp"
)

// Action is what a stage decides about a join.
type Action uint8

// The three decisions.
const (
	ActionPass Action = iota
	ActionRefuse
	ActionPark
)

// Verdict is a stage's decision: pass, refuse with an error, or park until
// something happens.
type Verdict struct {
	Action Action
	Err    *xmpp.StanzaError
	Until  string
}

// Pass admits the join to the next stage.
var Pass = Verdict{}

// UntilFocus parks for the focus's arrival, at most Config.ParkTime long.
const UntilFocus = "focus"

// Refuse answers the join with err.
func Refuse(err *xmpp.StanzaError) Verdict { return Verdict{Action: ActionRefuse, Err: err} }

// Park keeps the join until Room.Release(until); it is then replayed from the
// first stage.
func Park(until string) Verdict { return Verdict{Action: ActionPark, Until: until} }

// Stage decides about one join. It runs on the room's goroutine and must not
// wait. A stage belongs to one room and may keep state about it.
type Stage interface {
	Name() string
	Join(r *Room, j *Join) Verdict
}

// Join is a join on its way through the stages.
type Join struct {
	Stanza   *xmpp.Stanza
	Real     xmpp.JID // the joiner
	Nick     string   // asked for; a stage may assign another
	Client   Client   // the session
	Admin    bool     // of the service: the focus, a bridge
	Password string   // given, or ""
	Released string   // what a replayed join had been parked for
	Role     Role     // given by a stage; RoleNone: that of the affiliation
	Returns  bool     // from a breakout room to the main one, where it has been admitted before
	Vouched  bool     // a stage says that no password is needed
	// Replaces is the occupant whose user joins from another device, or nil.
	Replaces *Occupant

	port     xmpp.Port
	status   []int
	until    string
	deadline *time.Timer
}

// Rename gives the joiner another nick than it asked for (status 210). The
// requested one becomes its display name, unless it has one.
func (j *Join) Rename(nick string) {
	if !j.Stanza.Has(NSNick, "nick") {
		var e xmpp.Enc
		e.Leaf("nick", NSNick, j.Stanza.To.Resource)
		j.Stanza = j.Stanza.WithChild(e.String())
	}
	j.Nick, j.status = nick, []int{210}
}

// Focus reports whether the joiner is the focus.
func (j *Join) Focus(r *Room) bool { return j.Real.Bare() == r.sv.cfg.Focus && j.Admin }

// Person reports whether the joiner counts as one of the people in a room.
func (j *Join) Person(r *Room) bool { return r.sv.isPerson(j.Real) }

func (j *Join) stop() {
	if j.deadline != nil {
		j.deadline.Stop()
		j.deadline = nil
	}
}

func (sv *Service) isPerson(real xmpp.JID) bool {
	if sv.IsAdmin(real) {
		return false
	}
	for _, d := range sv.cfg.ServiceDomains {
		if d == real.Domain {
			return false
		}
	}
	return true
}

// newJoin reads a join presence (XEP-0045 §7.2). It returns nil when the sender
// is gone.
func (r *Room) newJoin(s *xmpp.Stanza) *Join {
	port, ok := r.sv.router.Port(s.From)
	if !ok {
		return nil
	}
	j := &Join{Stanza: s, Real: s.From, Nick: s.To.Resource, Admin: r.sv.IsAdmin(s.From), port: port, Client: r.sv.cfg.Client(port)}
	// The password inherits the namespace of <x/>; it is compared untrimmed.
	if pw := s.Child(NSMUC, "x").Child("", "password"); pw != nil {
		j.Password = pw.Text
	}
	return j
}

// tryJoin runs the stages.
func (r *Room) tryJoin(j *Join) {
	j.Nick, j.status, j.Role = j.Stanza.To.Resource, nil, RoleNone // a replay starts afresh
	j.Returns, j.Vouched, j.Replaces = false, false, nil
	for _, st := range r.stages {
		v := st.Join(r, j)
		switch v.Action {
		case ActionRefuse:
			r.sv.log.Debug("join refused", "room", r.jid.String(), "jid", j.Real.String(), "stage", st.Name(), "err", v.Err)
			r.refuse(j, v.Err)
			r.endIfEmpty()
			return
		case ActionPark:
			r.park(j, v.Until)
			return
		}
	}
	r.enter(j)
}

func (r *Room) refuse(j *Join, err *xmpp.StanzaError) {
	r.sv.stats.refused.Add(1)
	_ = j.port.Deliver(refusal(j.Stanza, err))
}

// refusal is the error for s. That of a join has the element of the join with it
// (XEP-0045 §7.2.6): slixmpp tells refused joins from other errors by it.
func refusal(s *xmpp.Stanza, err *xmpp.StanzaError) *xmpp.Stanza {
	reply := err.Reply(s)
	if s.Kind == xmpp.Presence && s.Has(NSMUC, "x") {
		reply = reply.WithChild(`<x xmlns="` + NSMUC + `"/>`)
	}
	return reply
}

// Parked counts the joins that wait for something.
func (r *Room) Parked(until string) int {
	n := 0
	for _, j := range r.parked {
		if j.until == until {
			n++
		}
	}
	return n
}

// Parkable is how many joins more may wait.
func (r *Room) Parkable() int { return r.sv.cfg.ParkedJoins - len(r.parked) }

func (r *Room) park(j *Join, until string) {
	if r.Parkable() <= 0 {
		// Of all errors the one from which the stock client retries.
		r.refuse(j, xmpp.NotAllowed(TextCreation))
		return
	}
	j.until = until
	r.parked = append(r.parked, j)
	r.sv.stats.parked.Add(1)
	if until == UntilFocus {
		j.deadline = r.After(r.sv.cfg.ParkTime, func() {
			if r.unpark(j) {
				r.refuse(j, xmpp.NotAllowed(TextCreation))
				r.endIfEmpty()
			}
		})
		if r.sv.port != nil && j.Client.Room == "" {
			r.ask(j)
		}
	}
}

// unpark takes j out of the waiting joins.
func (r *Room) unpark(j *Join) bool {
	for i, p := range r.parked {
		if p == j {
			j.stop()
			r.parked = append(r.parked[:i], r.parked[i+1:]...)
			r.sv.stats.parked.Add(-1)
			return true
		}
	}
	return false
}

// parkedOf is the waiting join of a session, or nil.
func (r *Room) parkedOf(real xmpp.JID) *Join {
	for _, p := range r.parked {
		if p.Real == real {
			return p
		}
	}
	return nil
}

// Release replays up to n joins that were parked for something, in order of
// arrival; n < 0 means all.
func (r *Room) Release(until string, n int) {
	var out []*Join
	for _, j := range r.parked {
		if j.until == until && n != 0 {
			out = append(out, j)
			n--
		}
	}
	for _, j := range out {
		if r.over || !r.unpark(j) {
			continue
		}
		if p, ok := r.sv.router.Port(j.Real); !ok || p != j.port {
			continue // the connection is gone
		}
		j.Released = until
		r.tryJoin(j)
	}
}
