package focus

import (
	"strings"

	"confab/xmpp"
)

// Entering the room, and being thrown out of it.

// enterRoom joins as the occupant "focus"; a missing room is created by that. The
// presence has all extensions from the start, so that the first participant
// sees them with the focus's first presence.
func (c *Conference) enterRoom() {
	c.published = c.extensions()
	c.s.port.Send(xmpp.NewStanza(xmpp.Presence, "", "", xmpp.JID{}, c.me, `<x xmlns="`+nsMUC+`"/>`+c.published))
}

// onOwnPresence handles the presence of the occupant "focus".
func (c *Conference) onOwnPresence(s *xmpp.Stanza) {
	switch {
	case s.Type == xmpp.TypeError:
		if c.state != stateJoining {
			return
		}
		se := s.ErrorOf()
		c.log.Warn("room not entered", "err", se)
		if se.Type == "wait" {
			c.answer(false, nil)
		} else {
			c.answer(false, xmpp.ServiceUnavailable(se.Text))
		}
		c.end("room not entered")
	case s.Type == xmpp.TypeUnavailable:
		// While joining it is the echo of an earlier conference that left.
		if c.state == stateJoined {
			c.end("out of the room")
		}
	case s.Type == "":
		x := s.Child(nsMUCUser, "x")
		if x == nil {
			return
		}
		item := x.Child("", "item")
		if c.state == stateJoined {
			if a := item.Get("affiliation"); a != "" && a != "owner" && a != "admin" {
				c.end("no longer owner") // useless without that
			}
			return
		}
		for _, st := range x.Children("", "status") {
			if st.Get("code") == "110" && c.meetingID == "" {
				c.readForm()
				return
			}
		}
	}
}

// readForm asks for the room's configuration: the meeting id is in it.
func (c *Conference) readForm() {
	get := xmpp.NewStanza(xmpp.IQ, xmpp.TypeGet, "", xmpp.JID{}, c.room, `<query xmlns="`+nsMUCOwner+`"/>`)
	c.s.port.Go(get, c.s.cfg.ReplyTimeout, func(reply *xmpp.Stanza, err error) {
		c.post(func() { c.onForm(reply, err) })
	})
}

func (c *Conference) onForm(reply *xmpp.Stanza, err error) {
	if c.state != stateJoining || c.meetingID != "" {
		return
	}
	if err != nil {
		c.log.Warn("room configuration not read", "err", err)
	} else if form := reply.Child(nsMUCOwner, "query").Child(xmpp.NSDataForm, "x"); form != nil {
		for _, f := range form.Children("", "field") {
			switch value := strings.TrimSpace(f.ChildText("", "value")); f.Get("var") {
			case "muc#roominfo_meetingId":
				c.meetingID = value
			case "muc#roominfo_breakout_main_room":
				if main, err := xmpp.ParseJID(value); err == nil && c.breakout() && main != c.room {
					c.main = main
					c.s.link(main)
				}
			}
		}
		c.setWhois()
	}
	if c.meetingID == "" {
		c.meetingID = newUUID()
	}
	c.state = stateJoined
	c.log.Info("conference started", "conf", c.meetingID)
	c.answer(true, nil)
	c.elect()
	c.inviteAll()
}

// setWhois makes real addresses visible: LJM knows the focus by its own.
func (c *Conference) setWhois() {
	var e xmpp.Enc
	field := func(name, typ, value string) {
		e.Start("field", "").Attr("var", name).AttrIf("type", typ).Leaf("value", "", value).End()
	}
	e.Start("query", nsMUCOwner).Start("x", xmpp.NSDataForm).Attr("type", "submit")
	field("FORM_TYPE", "hidden", "http://jabber.org/protocol/muc#roomconfig")
	field("muc#roomconfig_whois", "", "anyone")
	e.End().End()
	set := xmpp.NewStanza(xmpp.IQ, xmpp.TypeSet, "", xmpp.JID{}, c.room, e.String())
	c.s.port.Go(set, c.s.cfg.ReplyTimeout, func(_ *xmpp.Stanza, err error) {
		if err != nil {
			c.log.Warn("room not configured", "err", err)
		}
	})
}
