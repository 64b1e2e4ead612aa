package muc

import (
	"time"

	"confab/xmpp"
)

// iqKey names a request that a room has passed on: an answer counts only from
// whom was asked.
type iqKey struct {
	responder xmpp.JID // real address it went to
	requester string   // nick it came from
	id        string
}

// asked is a request that waits for its answer.
type asked struct {
	by       *Seat
	to       xmpp.JID // the occupant, as the requester addressed it
	deadline time.Time
}

// iqSweep is how often requests without answer are looked at.
const iqSweep = 15 * time.Second

// toBare are payloads that concern the account, not the session (XEP-0045 §17.3,
// XEP-0054).
func toBare(ns string) bool {
	switch ns {
	case "vcard-temp", "urn:ietf:params:xml:ns:vcard-4.0", "http://jabber.org/protocol/pubsub":
		return true
	}
	return false
}

// iq is an IQ to the room or between occupants.
func (r *Room) iq(s *xmpp.Stanza) error {
	if !s.IsRequest() {
		r.iqReply(s)
		return nil
	}
	if !r.live {
		return xmpp.ItemNotFound("")
	}
	t := r.real[s.From]
	if s.To.Resource == "" {
		return r.iqToRoom(t, s)
	}
	if t == nil {
		return notConnected() // XEP-0410 §3.2: this is how one finds out
	}
	ns, name := s.PayloadName()
	if s.To == t.occ.jid && ns == xmpp.NSPing && name == "ping" {
		_ = t.port.Deliver(s.Result("")) // XEP-0410 §3.3: the room knows
		return nil
	}
	return r.iqForward(t, s, ns)
}

// iqForward passes a request on to an occupant, with both addresses rewritten.
func (r *Room) iqForward(t *Seat, s *xmpp.Stanza, ns string) error {
	to := r.occ[s.To.Resource]
	if to == nil || r.sees(to, t.occ, xmpp.IQ) == ViewNone {
		return xmpp.ItemNotFound(textNoRecipient)
	}
	o := t.occ
	// "Mute everyone" is a request for each, all at once.
	if o.iqs >= r.sv.cfg.PendingIQs+len(r.order) && !o.admin {
		return xmpp.ResourceConstraint("")
	}
	for _, svc := range r.services {
		if q, ok := svc.(Requests); ok && !o.admin {
			var err error
			if s, err = q.Request(r, t, to, s); err != nil {
				return err
			}
		}
	}
	dst := to.Seats[0]
	if dst == t && len(to.Seats) > 1 {
		dst = to.Seats[1]
	}
	key := iqKey{responder: dst.Real, requester: o.Nick, id: s.ID}
	if toBare(ns) {
		key.responder = to.bare
	}
	r.answeredIQ(key) // an id used again: the earlier request is forgotten
	if r.asked == nil {
		r.asked = map[iqKey]*asked{}
	}
	r.asked[key] = &asked{by: t, to: s.To, deadline: time.Now().Add(r.sv.cfg.IQTimeout)}
	o.iqs++
	if r.iqTimer == nil {
		r.iqTimer = r.After(iqSweep, r.sweepIQs)
	}
	r.sv.stats.iqs.Add(1)
	out := s.With(o.jid, key.responder)
	if toBare(ns) {
		r.sv.router.RouteNow(out)
		return nil
	}
	if err := dst.port.Deliver(out); err != nil {
		r.answeredIQ(key)
		if err == xmpp.ErrGone {
			r.gone = append(r.gone, dst)
		}
		return err
	}
	return nil
}

// iqReply brings an answer back. Answers that nobody waits for are dropped.
func (r *Room) iqReply(s *xmpp.Stanza) {
	a := r.answeredIQ(iqKey{responder: s.From, requester: s.To.Resource, id: s.ID})
	if a == nil {
		return
	}
	r.deliver(a.by, s.With(a.to, a.by.Real))
}

// answeredIQ takes a request out of those that wait.
func (r *Room) answeredIQ(key iqKey) *asked {
	a := r.asked[key]
	if a != nil {
		delete(r.asked, key)
		a.by.occ.iqs--
	}
	return a
}

// forgetIQs settles the requests of and to a session that has left: those who
// wait for it are told.
func (r *Room) forgetIQs(t *Seat) {
	for key, a := range r.asked {
		switch {
		case a.by == t:
			r.answeredIQ(key)
		case key.responder == t.Real:
			r.answeredIQ(key)
			r.failIQ(key, a, &xmpp.StanzaError{Type: "wait", Cond: xmpp.CondRecipientUnavailable})
		}
	}
}

// sweepIQs answers requests that were not answered in time.
func (r *Room) sweepIQs() {
	now := time.Now()
	for key, a := range r.asked {
		if now.After(a.deadline) {
			r.answeredIQ(key)
			r.failIQ(key, a, xmpp.RemoteServerTimeout(""))
		}
	}
	r.iqTimer = nil
	if len(r.asked) > 0 {
		r.iqTimer = r.After(iqSweep, r.sweepIQs)
	}
}

func (r *Room) failIQ(key iqKey, a *asked, err *xmpp.StanzaError) {
	r.deliver(a.by, xmpp.NewStanza(xmpp.IQ, xmpp.TypeError, key.id, a.to, a.by.Real, err.Inner()))
}

// iqToRoom is a request to the room itself; t is nil when the sender is not in.
func (r *Room) iqToRoom(t *Seat, s *xmpp.Stanza) error {
	if t == nil && !r.sv.IsAdmin(s.From) {
		return xmpp.Forbidden("") // muc_hide_all: who is not in learns nothing
	}
	var inner string
	var err error
	var after func()
	ns, name := s.PayloadName()
	switch {
	case ns == xmpp.NSPing && name == "ping":
	case ns == xmpp.NSInfo && s.Type == xmpp.TypeGet:
		inner = r.info(s.Payload().Get("node"))
	case ns == xmpp.NSItems && s.Type == xmpp.TypeGet:
		inner = xmpp.ItemsInner(s.Payload().Get("node"), nil)
	case ns == NSAdmin && t != nil && s.Type == xmpp.TypeGet:
		inner, err = r.adminList(t.occ, s.Payload())
	case ns == NSAdmin && t != nil:
		err = r.adminSet(t.occ, s.Payload())
	case ns == nsModerate && name == "moderate" && t != nil && s.Type == xmpp.TypeSet:
		err = r.moderate(t.occ, s.Payload())
	case ns == NSOwner && t != nil && s.Type == xmpp.TypeGet:
		inner, err = r.ownerForm(t.occ)
	case ns == NSOwner && t != nil:
		after, err = r.ownerSet(t.occ, s.Payload())
	default:
		err = xmpp.ServiceUnavailable("")
	}
	if err != nil {
		return err
	}
	// A kick of oneself must not keep the answer from arriving: it goes to the
	// session, occupant or not.
	r.sv.router.RouteNow(s.Result(inner))
	if after != nil {
		after()
	}
	return nil
}
