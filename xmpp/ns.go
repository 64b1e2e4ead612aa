package xmpp

// Namespaces of the protocols that this package itself speaks.
const (
	NSClient   = "jabber:client"
	NSStream   = "http://etherx.jabber.org/streams"
	NSStreams  = "urn:ietf:params:xml:ns:xmpp-streams"
	NSStanzas  = "urn:ietf:params:xml:ns:xmpp-stanzas"
	NSFraming  = "urn:ietf:params:xml:ns:xmpp-framing"
	NSTLS      = "urn:ietf:params:xml:ns:xmpp-tls"
	NSSASL     = "urn:ietf:params:xml:ns:xmpp-sasl"
	NSBind     = "urn:ietf:params:xml:ns:xmpp-bind"
	NSSession  = "urn:ietf:params:xml:ns:xmpp-session"
	NSSM       = "urn:xmpp:sm:3"
	NSPing     = "urn:xmpp:ping"
	NSInfo     = "http://jabber.org/protocol/disco#info"
	NSItems    = "http://jabber.org/protocol/disco#items"
	NSCaps     = "http://jabber.org/protocol/caps"
	NSDataForm = "jabber:x:data"
	NSDelay    = "urn:xmpp:delay"
	NSHTTPBind = "http://jabber.org/protocol/httpbind"
	NSXBosh    = "urn:xmpp:xbosh"
	nsXML      = "http://www.w3.org/XML/1998/namespace"
)
