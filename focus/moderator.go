package focus

import (
	"confab/xmpp"
)

// Who becomes owner, which is what makes a moderator (focus.md §5). Nobody is
// ever demoted. A breakout room has the moderators of its main room.

// breakout reports whether this is the conference of a breakout room.
func (c *Conference) breakout() bool { return c.room.Domain == c.s.cfg.Breakout }

// elect grants what the policy says. It is called whenever somebody joins,
// leaves or changes rank.
func (c *Conference) elect() {
	if c.state != stateJoined || c.breakout() {
		return
	}
	c.grantHosts()
	switch c.s.cfg.Moderators {
	case ModeratorsEveryone:
		for _, m := range c.order {
			if m.eligible() {
				c.grant(m)
			}
		}
	case ModeratorsFirst:
		c.electFirst()
	}
}

// electFirst keeps one owner in the room: whoever is one already, else the first
// in order of joining.
func (c *Conference) electFirst() {
	if c.owner != nil {
		return
	}
	for _, m := range c.order {
		if m.eligible() && (m.affiliation == "owner" || m.granted) {
			c.owner = m
			return
		}
	}
	for _, m := range c.order {
		if m.eligible() {
			c.owner = m
			c.grant(m)
			return
		}
	}
}

// eligible reports whether m is somebody who may become moderator.
func (m *Member) eligible() bool { return !m.service && m.role != "visitor" && !m.real.IsZero() }

// grantHosts makes every host in the room owner, whatever the policy.
func (c *Conference) grantHosts() {
	if c.state != stateJoined || c.breakout() {
		return
	}
	for _, m := range c.order {
		if m.eligible() && !m.granted && m.affiliation != "owner" && c.host(m) {
			c.grant(m)
		}
	}
}

// host reports whether m logged in, on whatever connection. That is so for
// everybody with a token, too, where rooms or moderating are for hosts (JICOFO
// AuthenticationRoleManager), unless the token itself says who moderates.
func (c *Conference) host(m *Member) bool {
	cfg := &c.s.cfg
	return cfg.isHost(m.real) || c.s.auth.authenticated(m.real) || cfg.Moderators != ModeratorsToken && cfg.hasToken(m.real, c.room)
}

// grantAbsent makes a host owner who has yet to join: a room that waits for its host,
// or has a lobby, lets nobody else in (room-services.md §5.16).
func (c *Conference) grantAbsent(host xmpp.JID) {
	if host.IsZero() || c.breakout() {
		return
	}
	for _, m := range c.order {
		if m.real == host {
			return
		}
	}
	c.makeOwner(host.Bare(), "")
}

// grant asks the room to make m owner.
func (c *Conference) grant(m *Member) {
	if m.granted || m.affiliation == "owner" {
		return
	}
	m.granted = true
	c.makeOwner(m.real.Bare(), m.nick)
}

func (c *Conference) makeOwner(bare xmpp.JID, nick string) {
	var e xmpp.Enc
	e.Start("query", nsMUCAdmin).Start("item", "").Attr("affiliation", "owner").Attr("jid", bare.String()).End().End()
	set := xmpp.NewStanza(xmpp.IQ, xmpp.TypeSet, "", xmpp.JID{}, c.room, e.String())
	c.s.port.Go(set, c.s.cfg.ReplyTimeout, func(_ *xmpp.Stanza, err error) {
		switch se := stanzaError(err); {
		case err == nil, se != nil && se.Cond == xmpp.CondItemNotFound: // it was the last and has left, too
		default:
			c.log.Warn("ownership not granted", "endpoint", nick, "jid", bare.String(), "err", err)
		}
	})
}
