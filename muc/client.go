package muc

import "confab/xmpp"

// ClientOf is what a session says of its client. How its address is counted is for
// the caller to say, and who an account is.
func ClientOf(se *xmpp.Session) Client {
	a, who := se.Attrs(), se.Account()
	c := Client{
		Room: a.Room, Tenant: a.Prefix, In: se.In(), Stream: se.Transport() == xmpp.TransportTCP,
		Host: who.Host, Guest: who.Guest, Claims: who.Claims, Token: a.Token, Region: a.Region,
	}
	if who.Claims != nil {
		c.Features, c.Identity = who.Claims.Features, who.Claims.Identity
	}
	return c
}
