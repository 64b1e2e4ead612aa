package muc

import (
	"slices"
	"time"

	"confab/xmpp"
)

// switchGrace keeps a room whose last person goes to another room of the same
// meeting; it is the focus's start timeout.
const switchGrace = 15 * time.Second

// unavailable is a leave.
func (r *Room) unavailable(t *Seat, s *xmpp.Stanza) {
	if t == nil {
		if j := r.parkedOf(s.From); j != nil {
			r.unpark(j)
		}
		r.sv.echoLeave(s)
		r.endIfEmpty()
		return
	}
	r.leave(t, s, change{})
}

// leave takes one session out. s is its leave presence, or nil when it is taken.
func (r *Room) leave(t *Seat, s *xmpp.Stanza, ch change) {
	o := t.occ
	p := payload{}
	linger := r.sv.cfg.Linger
	if s != nil {
		p = r.clean(s, Client{})
		if statusText(s) == "switch_room" {
			linger = max(linger, switchGrace)
			ch.switching = true
		}
	}
	if len(o.Seats) == 1 {
		r.remove(o, p, ch, linger)
		return
	}
	// The occupant stays with its other sessions.
	o.Seats = slices.DeleteFunc(o.Seats, func(x *Seat) bool { return x == t })
	delete(r.real, t.Real)
	r.deliver(t, presenceFrom(o, xmpp.TypeUnavailable, r.encode(o, p, RoleNone, []*Seat{t}, ch, true, false)))
	r.publish(o, change{})
	r.reflect(o, o.Seats, change{}, "", false)
	r.forgetIQs(t)
}

// remove takes an occupant out and tells everybody: a leave, a kick, a ban.
func (r *Room) remove(o *Occupant, p payload, ch change, linger time.Duration) {
	delete(r.occ, o.Nick)
	r.order = slices.DeleteFunc(r.order, func(x *Occupant) bool { return x == o })
	for _, t := range o.Seats {
		delete(r.real, t.Real)
	}
	r.sv.stats.occupants.Add(-1)
	seats := o.Seats
	r.broadcastOf(o, presenceFrom(o, xmpp.TypeUnavailable, r.encode(o, p, RoleNone, seats, ch, false, false)), nil)
	last := presenceFrom(o, xmpp.TypeUnavailable, r.encode(o, p, RoleNone, seats, ch, true, false))
	for _, t := range seats {
		_ = t.port.Deliver(last)
		r.forgetIQs(t)
	}
	for _, svc := range r.services {
		if c, ok := svc.(Left); ok {
			c.Left(r, o, ch.departure())
		}
	}
	if o.admin && o.bare == r.sv.cfg.Focus {
		r.focused = false
	}
	if r.over {
		return
	}
	if len(r.order) == 0 {
		r.endIfEmpty()
		return
	}
	if o.person {
		r.ifDeserted(linger)
	}
}

// ifDeserted ends a room in which no person is any more.
func (r *Room) ifDeserted(linger time.Duration) {
	if r.sv.cfg.EndWithPeople && r.People() == 0 && len(r.holds) == 0 {
		reason := TextTerminated
		if r.served() && r.sv.cfg.ServicesLinger > linger {
			linger, reason = r.sv.cfg.ServicesLinger, textServices
		}
		r.emptied(linger, reason)
	}
}

// served reports whether others than people and the focus are in the room.
func (r *Room) served() bool {
	return slices.ContainsFunc(r.order, func(o *Occupant) bool { return !o.person && !o.admin })
}

// departure is how somebody left, for the services.
func (ch change) departure() Departure {
	return Departure{
		Kicked: slices.Contains(ch.codes, 307), Banned: slices.Contains(ch.codes, 301),
		Actor: ch.actor, Switch: ch.switching,
	}
}

// emptied is called when the last person has left. The room goes at once, with
// its password, unless it is to linger.
func (r *Room) emptied(linger time.Duration, reason string) {
	if linger <= 0 {
		r.Destroy(xmpp.JID{}, reason, nil)
		return
	}
	if r.linger != nil {
		r.linger.Stop()
	}
	r.linger = r.After(linger, func() {
		if r.People() == 0 && len(r.holds) == 0 {
			r.Destroy(xmpp.JID{}, reason, nil)
		}
	})
	r.lingers = linger
}

// endIfEmpty forgets a room without occupants and without joins that wait.
func (r *Room) endIfEmpty() {
	if len(r.order) == 0 && len(r.parked) == 0 && len(r.holds) == 0 && r.main == nil {
		r.end()
	}
}

// Destroy ends the room and tells everybody why (XEP-0045 §10.9). newJID, or
// zero, is where to go instead; password is that room's, or nil.
func (r *Room) Destroy(newJID xmpp.JID, reason string, password *string) {
	if r.over {
		return
	}
	r.closing = reason
	var d xmpp.Enc
	d.Start("destroy", "")
	if !newJID.IsZero() {
		d.Attr("jid", newJID.String())
	}
	if reason != "" {
		d.Leaf("reason", "", reason)
	}
	if password != nil {
		d.Leaf("password", "", *password)
	}
	destroy := d.End().String()
	for _, o := range r.order {
		aff := o.Aff
		o.Aff = AffNone
		s := presenceFrom(o, xmpp.TypeUnavailable, r.encode(o, payload{}, RoleNone, o.Seats, change{destroy: destroy}, true, false))
		o.Aff = aff
		for _, t := range o.Seats {
			_ = t.port.Deliver(s)
		}
	}
	r.end()
}
