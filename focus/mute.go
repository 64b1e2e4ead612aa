package focus

import (
	"confab/xmpp"
	"confab/xmpp/xep/jitmeet"
)

// onMute handles a mute request (focus.md §10.1). An ordinary mute is a request
// to the client, which obeys it and can unmute again by itself; so nothing is
// forced on the bridge but by AV moderation.
func (c *Conference) onMute(m *Member, s *xmpp.Stanza, el *xmpp.Element) *xmpp.StanzaError {
	req := jitmeet.ParseMute(el)
	target, err := xmpp.ParseJID(req.JID)
	if err != nil || !req.Valid {
		return xmpp.BadRequest("")
	}
	t := c.member(target)
	switch {
	case t == nil:
		return xmpp.ItemNotFound("")
	case t == m && !req.Mute && !c.mayUnmute(m, mediaOf(req.NS)):
		return xmpp.NotAllowed("moderated")
	case t == m:
		c.ack(s) // it says what it does
		return nil
	case !req.Mute:
		return xmpp.NotAllowed("nobody unmutes another")
	case !m.moderator():
		return xmpp.NotAllowed("")
	case !t.mutable():
		return xmpp.NotAllowed("")
	}
	c.ack(s)
	c.sendMute(t, req.NS, m.jid.String())
	return nil
}
