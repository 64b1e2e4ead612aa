package muc

import (
	"strconv"
	"strings"
	"time"

	"confab/xmpp"
)

// enter makes the joiner an occupant. The stages have admitted it.
func (r *Room) enter(j *Join) {
	bare := j.Real.Bare()
	o := r.occ[j.Nick]
	if o != nil && o.bare != bare || r.Visitors() && !j.Admin && r.main.occ[j.Nick] != nil {
		err := xmpp.Conflict("")
		err.By = r.jid.String()
		r.refuse(j, err)
		r.endIfEmpty()
		return
	}
	if !j.Admin && !r.fits(o, j.Stanza) {
		r.refuse(j, xmpp.NotAcceptable(textTooBig))
		r.endIfEmpty()
		return
	}
	t := &Seat{Real: j.Real, Client: j.Client, port: j.port}
	switch {
	case r.linger == nil:
	case j.Person(r):
		r.linger.Stop()
		r.linger = nil
	default:
		r.linger.Reset(r.lingers) // a focus comes before the people that called it
	}
	r.sv.stats.joins.Add(1)
	r.displaceVisitor(j.Nick)
	known := o != nil
	if !known {
		o = &Occupant{
			Nick: j.Nick, Aff: r.Affiliation(bare), bare: bare, jid: r.jid.WithResource(j.Nick),
			id: r.occupantID(bare), admin: j.Admin, person: j.Person(r),
		}
		o.Role = defaultRole(o.Aff)
		if j.Role != RoleNone {
			o.Role = j.Role
		}
		if r.visitor(o) {
			o.Aff, o.Role = AffNone, RoleVisitor
		}
		if o.Aff == AffOwner {
			o.granted = r.grants[bare]
		}
		o.ranked = o.Role
	}
	if asked := j.Stanza.To.Resource; asked != o.Nick {
		o.alias = asked
	}
	first := len(r.order) == 0
	t.occ = o
	o.Seats = append(o.Seats, t)
	o.payload, o.lang = r.clean(j.Stanza, j.Client), j.Stanza.Lang
	r.real[t.Real] = t
	if !known {
		r.occ[o.Nick] = o
		r.order = append(r.order, o)
		r.sv.stats.occupants.Add(1)
	}
	if r.conf.created == "" && len(r.order) > 1 {
		// mod_conference_duration: clients show the meeting's length from it.
		r.conf.created = strconv.FormatInt(time.Now().UnixMilli(), 10)
	}
	status := append([]int{100}, j.status...)
	if first {
		status = append(status, 201)
		r.sv.log.Info("room created", "room", r.jid.String(), "meeting_id", r.conf.meetingID, "jid", j.Real.String())
	}
	r.joining(t)
	r.roster(t)
	r.publish(o, change{})
	r.reflect(o, []*Seat{t}, change{codes: status}, j.Stanza.ID, true)
	if known {
		for _, other := range o.Seats {
			if other != t {
				r.reflect(o, []*Seat{other}, change{}, "", false)
			}
		}
	}
	r.replay(t, j.Stanza)
	r.sendSubject(t)
	if !known {
		for _, svc := range r.services {
			if c, ok := svc.(Joined); ok {
				c.Joined(r, o)
			}
		}
		if r.visitor(o) {
			for _, svc := range r.main.services {
				if c, ok := svc.(Visited); ok {
					c.Visited(r.main, o)
				}
			}
		}
	}
	if r.over {
		return
	}
	if j.Replaces != nil {
		r.flipped(j.Replaces, o)
	}
	if j.Focus(r) && !r.focused {
		r.focused = true
		r.Release(UntilFocus, -1)
	}
}

// joining tells the services of a session before it sees anybody.
func (r *Room) joining(t *Seat) {
	for _, svc := range r.services {
		if c, ok := svc.(Joining); ok {
			c.Joining(r, t.occ, t)
		}
	}
	if !r.visitor(t.occ) {
		return
	}
	for _, svc := range r.main.services {
		if c, ok := svc.(Visiting); ok {
			c.Visiting(r.main, t.occ, t)
		}
	}
}

// roster sends the presences of all others, in join order: the focus first.
func (r *Room) roster(t *Seat) {
	for _, o := range r.order {
		if o == t.occ {
			continue
		}
		if o.shown.full != o.pres {
			o.shown = views{full: o.pres}
		}
		if x := o.shown.as(r.sees(t.occ, o, xmpp.Presence)); x != nil {
			r.deliver(t, x)
		}
	}
	if r.visitor(t.occ) {
		r.visitorRoster(t)
	}
}

// Roster sends a session the presences of all others again: of what it may see
// of them now.
func (r *Room) Roster(t *Seat) { r.roster(t) }

// welcome sends an occupant everything that it saw when it joined.
func (r *Room) welcome(t *Seat, s *xmpp.Stanza, status []int) {
	r.joining(t)
	r.roster(t)
	r.reflect(t.occ, []*Seat{t}, change{codes: status}, s.ID, true)
	r.replay(t, s)
	r.sendSubject(t)
}

// subject is the room's subject. The zero value is none, as XEP-0045 §7.2.15
// wants it to be sent.
type subject struct {
	text string
	from xmpp.JID
	at   time.Time
}

func (r *Room) sendSubject(t *Seat) {
	var e xmpp.Enc
	sub := r.subject
	if r.visitor(t.occ) {
		sub = r.main.subject
	}
	e.Leaf("subject", "", sub.text)
	from := r.jid
	if !sub.at.IsZero() {
		from = r.jid.WithResource(sub.from.Resource)
		delay(&e, r.jid, sub.at)
	}
	r.deliver(t, xmpp.NewStanza(xmpp.Message, xmpp.TypeGroupchat, "", from, xmpp.JID{}, e.String()))
}

// delay stamps what happened before (XEP-0203).
func delay(e *xmpp.Enc, from xmpp.JID, at time.Time) {
	e.Start("delay", xmpp.NSDelay).Attr("from", from.String()).Attr("stamp", at.UTC().Format("2006-01-02T15:04:05Z")).End()
}

// historyLimits is what a joiner asks for (XEP-0045 §7.2.13); -1 is unlimited.
type historyLimits struct {
	stanzas, chars int
	since          time.Time
}

func historyAsked(s *xmpp.Stanza, now time.Time) historyLimits {
	h := historyLimits{stanzas: -1, chars: -1}
	el := s.Child(NSMUC, "x").Child("", "history")
	if el == nil {
		return h
	}
	num := func(name string) int {
		n, err := strconv.Atoi(strings.TrimSpace(el.Get(name)))
		if err != nil || n < 0 {
			return -1
		}
		return n
	}
	h.stanzas, h.chars = num("maxstanzas"), num("maxchars")
	if n := num("seconds"); n >= 0 && n < 1<<31 {
		h.since = now.Add(-time.Duration(n) * time.Second)
	}
	if at, err := time.Parse(time.RFC3339, el.Get("since")); err == nil && at.After(h.since) {
		h.since = at
	}
	return h
}

// replay sends the chat of before.
func (r *Room) replay(t *Seat, s *xmpp.Stanza) {
	h := historyAsked(s, time.Now())
	history := r.history
	if r.visitor(t.occ) {
		history = r.main.history // what visitors have said is there, too
	}
	first := len(history)
	chars := 0
	for first > 0 {
		l := &history[first-1]
		chars += len(l.s.Inner)
		if h.stanzas == 0 || h.chars >= 0 && chars > h.chars || l.at.Before(h.since) {
			break
		}
		first--
		h.stanzas--
	}
	hidden := r.HidesNames(t.occ)
	for _, l := range history[first:] {
		said := l.s
		if hidden {
			said = withoutName(said)
		}
		if r.visitor(t.occ) {
			said = said.With(r.jid.WithResource(said.From.Resource), xmpp.JID{})
		}
		r.deliver(t, said)
	}
}
