package xmpp_test

import (
	"testing"

	"confab/xmpp"
)

// What is pushed may differ from session to session, while it can already be found.
func TestPushIsTailored(t *testing.T) {
	t.Parallel()
	var found bool
	var s *site
	s = newSite(t, func(c *xmpp.Config) {
		c.Hosts[0].Tailor = func(user xmpp.JID, d xmpp.DiscoInfo) xmpp.DiscoInfo {
			_, found = s.router.Port(user)
			d.Identities = []xmpp.Identity{{Category: "component", Type: "DISABLED_x", Name: "x.meet.test"}}
			return d.With("urn:tailored")
		}
	})
	c := s.dial("")
	c.login()
	c.send(bindIQ)
	c.expect(`<message [^>]*><query [^>]*><identity category="component" type="DISABLED_x" name="x.meet.test"/>.*<feature var="urn:tailored"/></query></message>`)
	if !found {
		t.Error("the session is not known yet")
	}
	c.expect(`<iq [^>]*type="result" id="_bind_auth_2".*`)
	c.jid = "" // the host itself is as it was
	c.send(`<iq id="d" to="meet.test" type="get" xmlns="jabber:client"><query xmlns="http://jabber.org/protocol/disco#info"/></iq>`)
	c.expect(`<iq [^>]*id="d"[^>]*><query [^>]*><identity category="component" type="room_metadata" .*`)
}
