package muc

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"

	"confab/xmpp"
)

// payload is the part of a presence that its sender decides about.
type payload struct {
	lead string // goes before the muc#user element
	tail string // other elements named x: LJM takes the first one for ours
}

// change is what a presence says beside the sender's payload.
type change struct {
	actor   *Occupant // who did it
	reason  string
	codes   []int
	destroy string // encoded

	switching bool // to another room of the meeting
}

// occupantID is an address that can't be read back (XEP-0421).
func (r *Room) occupantID(bare xmpp.JID) string {
	mac := hmac.New(sha256.New, []byte(bare.String()))
	mac.Write([]byte(r.conf.salt))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// encode builds the payload of a presence of o. role is none in the last one;
// seats are the sessions that it shows. self is the copy for o itself.
func (r *Room) encode(o *Occupant, p payload, role Role, seats []*Seat, ch change, self, perms bool) string {
	e := &r.enc
	e.Reset()
	e.Raw(p.lead)
	e.Start("occupant-id", NSOccupantID).Attr("id", o.id).End()
	e.Start("x", NSUser)
	for _, t := range seats {
		e.Start("item", "").Attr("affiliation", o.Aff.String()).Attr("role", role.String()).Attr("jid", t.Real.String())
		if ch.actor != nil {
			e.Start("actor", "").Attr("nick", ch.actor.Nick).Attr("jid", ch.actor.bare.String()).End()
		}
		if ch.reason != "" {
			e.Leaf("reason", "", ch.reason)
		}
		e.End()
	}
	for _, c := range ch.codes {
		e.Start("status", "").Attr("code", code(c)).End()
	}
	if self {
		e.Start("status", "").Attr("code", "110").End()
	}
	e.Raw(ch.destroy).End()
	if perms {
		r.permissions(e, o)
	}
	return e.Raw(p.tail).String()
}

func presenceFrom(o *Occupant, typ, inner string) *xmpp.Stanza {
	s := xmpp.NewStanza(xmpp.Presence, typ, "", o.jid, xmpp.JID{}, inner)
	s.Lang = o.lang
	return s
}

// publish makes the presence of o anew and sends it to all others.
func (r *Room) publish(o *Occupant, ch change) {
	shown := presenceFrom(o, "", r.encode(o, o.payload, o.Role, o.Seats, ch, false, false))
	o.pres = shown
	if ch.actor != nil || ch.reason != "" || ch.codes != nil {
		// Later joiners see how things are, not how they came about.
		o.pres = presenceFrom(o, "", r.encode(o, o.payload, o.Role, o.Seats, change{}, false, false))
	}
	r.broadcastOf(o, shown, o)
}

// reflect sends o its own presence.
func (r *Room) reflect(o *Occupant, to []*Seat, ch change, id string, perms bool) {
	s := presenceFrom(o, "", r.encode(o, o.payload, o.Role, o.Seats, ch, true, perms))
	s.ID = id
	for _, t := range to {
		r.deliver(t, s)
	}
}

// broadcastOf gives what of sends to all occupants but except, to each as much of
// it as it may see.
func (r *Room) broadcastOf(of *Occupant, s *xmpp.Stanza, except *Occupant) {
	r.mirror(of, s)
	if len(r.audience) == 0 && !r.Visitors() && !r.Main().policy.HideNames {
		r.broadcast(s, except)
		return
	}
	shown := views{full: s}
	for _, o := range r.order {
		if o == except {
			continue
		}
		x := shown.as(r.sees(o, of, s.Kind))
		if x == nil {
			continue
		}
		for _, t := range o.Seats {
			r.deliver(t, x)
		}
	}
}

// views are what different occupants see of one stanza. Each is made once.
type views struct{ full, nameless *xmpp.Stanza }

// as is the stanza for somebody who sees that much, or nil.
func (v *views) as(much View) *xmpp.Stanza {
	switch much {
	case ViewFull:
		return v.full
	case ViewNameless:
		if v.nameless == nil {
			v.nameless = withoutName(v.full)
		}
		return v.nameless
	}
	return nil
}

// withoutName takes out of a presence or message what says who somebody is.
func withoutName(s *xmpp.Stanza) *xmpp.Stanza {
	return s.Filter(func(ns, name string) bool {
		switch {
		case name == "identity", ns == NSNick, ns == nsDisplayName, ns == "" && (name == "email" || name == "stats-id"),
			ns == xmpp.NSClient && (name == "email" || name == "stats-id"):
			return false
		}
		return true
	})
}

// broadcast gives one stanza with an empty To to all occupants but except.
func (r *Room) broadcast(s *xmpp.Stanza, except *Occupant) {
	for _, o := range r.order {
		if o == except {
			continue
		}
		for _, t := range o.Seats {
			r.deliver(t, s)
		}
	}
}

// Broadcast gives one stanza with an empty To to the occupants that pick accepts;
// nil picks all.
func (r *Room) Broadcast(s *xmpp.Stanza, pick func(*Occupant) bool) {
	for _, o := range r.order {
		if pick != nil && !pick(o) {
			continue
		}
		for _, t := range o.Seats {
			r.deliver(t, s)
		}
	}
}

func (r *Room) deliver(t *Seat, s *xmpp.Stanza) {
	// A full queue is the session's to deal with: it closes and resumes, or leaves.
	if err := t.port.Deliver(s); errors.Is(err, xmpp.ErrGone) {
		r.gone = append(r.gone, t)
	}
}

// Deliver gives s, with an empty To, to one session; for services.
func (r *Room) Deliver(t *Seat, s *xmpp.Stanza) { r.deliver(t, s) }
