package muc

import (
	"strings"

	"confab/xmpp"
)

// presence is a presence to the room or one of its occupants' addresses.
func (r *Room) presence(s *xmpp.Stanza) error {
	t := r.real[s.From]
	switch s.Type {
	case "":
	case xmpp.TypeUnavailable:
		r.unavailable(t, s)
		return nil
	case xmpp.TypeError:
		r.bounced(t, s)
		return nil
	default:
		return nil // subscriptions and probes mean nothing here
	}
	if s.To.Resource == "" {
		return xmpp.JIDMalformed("")
	}
	if len(s.Inner) > r.sv.cfg.PresenceBytes {
		return xmpp.NotAcceptable(textTooBig)
	}
	if t != nil {
		return r.update(t, s)
	}
	if !s.Has(NSMUC, "x") {
		// LJM never sends <x/> in updates: this tells a client that it is not in.
		return xmpp.ItemNotFound(textNotConnected)
	}
	j := r.newJoin(s)
	if j == nil {
		return nil
	}
	if old := r.parkedOf(s.From); old != nil {
		r.unpark(old) // a repeated join replaces the one that waits
	}
	if !r.live {
		if !j.Admin {
			r.await(j)
			return nil
		}
		r.begin()
	}
	r.tryJoin(j)
	return nil
}

// Who joins gets the presences of all at once. Together they stay below what may wait
// for a connection (xmpp.Config.QueuedBytes), or nobody could join any more: people
// with long ones would close a room, or a lobby to its moderators. Those of stock
// clients have less than 1500 bytes.
const (
	smallPresence = 2 << 10
	rosterBytes   = 768 << 10
	textTooBig    = "presence too big"
)

// fits reports whether a presence of o, nil for a new occupant, leaves that so.
func (r *Room) fits(o *Occupant, s *xmpp.Stanza) bool {
	sum := len(s.Inner)
	if sum <= smallPresence || r.Visitors() { // they don't see each other
		return true
	}
	for _, x := range r.order {
		if x != o {
			sum += len(x.payload.lead) + len(x.payload.tail)
		}
	}
	return sum <= rosterBytes
}

// clean takes out of a client's presence what only the server may say, and
// splits it around the place of the muc#user element.
func (r *Room) clean(s *xmpp.Stanza, c Client) payload {
	s = s.Filter(func(ns, name string) bool {
		switch {
		case name == "identity", // mod_presence_identity: in whatever namespace
			name == "flip_device",
			name == "x" && (ns == NSMUC || ns == NSUser),
			name == "occupant-id" && ns == NSOccupantID,
			name == "permissions" && ns == NSJitsi,
			name == "jitsi_participant_region" && c.Region != "",
			ns == NSNick && name == "nick" && c.Features[featureNameReadonly],
			r.sv.cfg.Hidden != nil && r.sv.cfg.Hidden(name):
			return false
		}
		return true
	})
	p := payload{lead: s.Inner}
	if s.Has("", "x") {
		p.lead = s.Filter(func(_, name string) bool { return name != "x" }).Inner
		p.tail = s.Filter(func(_, name string) bool { return name == "x" }).Inner
	}
	if c.Region != "" {
		var e xmpp.Enc
		p.lead += e.Leaf("jitsi_participant_region", "", c.Region).String()
	}
	if c.Features[featureNameReadonly] && c.Claims != nil && c.Claims.User["name"] != "" {
		// mod_muc_displayname: the name is the token's, or there is none.
		var e xmpp.Enc
		p.lead += e.Leaf("nick", NSNick, c.Claims.User["name"]).String()
	}
	p.lead += c.Identity
	return p
}

// update is a presence of somebody in the room.
func (r *Room) update(t *Seat, s *xmpp.Stanza) error {
	o := t.occ
	if s.To.Resource != o.Nick && s.To.Resource != o.alias {
		return xmpp.NotAllowed(textNickChange)
	}
	s, err := r.filter(o, s)
	if s == nil || err != nil {
		return err
	}
	t.refresh(r)
	if !o.admin && !r.fits(o, s) {
		return xmpp.NotAcceptable(textTooBig)
	}
	resync := s.Has(NSMUC, "x")
	if p := r.clean(s, t.Client); !resync || p != o.payload {
		o.payload, o.lang = p, s.Lang
		r.publish(o, change{})
	}
	if resync {
		// XEP-0045 §7.2: a client that joins again wants to see everything again.
		r.welcome(t, s, []int{100})
		return nil
	}
	r.reflect(o, o.Seats, change{}, s.ID, false)
	return nil
}

// bounced is an error that came back for something the room has sent. Somebody
// who can't be reached is no occupant any more. A client whose own handler failed
// can be: slixmpp 1.8 answers so (undefined-condition) when two of its own
// presences come at once while it joins, as they do when it becomes the owner.
func (r *Room) bounced(t *Seat, s *xmpp.Stanza) {
	if t == nil || s.Child(xmpp.NSClient, "error").Child(xmpp.NSStanzas, "undefined-condition") != nil {
		return
	}
	switch s.ErrorOf().Cond {
	case xmpp.CondGone, xmpp.CondInternalServerError, xmpp.CondItemNotFound, xmpp.CondJIDMalformed,
		xmpp.CondRecipientUnavailable, "redirect", xmpp.CondRemoteServerNotFound, xmpp.CondRemoteServerTimeout,
		xmpp.CondServiceUnavailable, "undefined-condition":
		r.leave(t, nil, change{codes: []int{333}})
	}
}

// statusText is the text of a presence's status, such as LJM's "switch_room".
func statusText(s *xmpp.Stanza) string {
	return elText(s.Child(xmpp.NSClient, "status"))
}

func elText(el *xmpp.Element) string {
	if el == nil {
		return ""
	}
	return strings.TrimSpace(el.Text)
}
