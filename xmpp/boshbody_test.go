package xmpp

import "testing"

// A body that is taken has children that the scanner takes, too, in their scope.
func FuzzBOSHBody(f *testing.F) {
	f.Add(`<body content="text/xml; charset=utf-8" hold="1" rid="3754983071" to="meet.test" ver="1.6" wait="60" xml:lang="en" xmlns="http://jabber.org/protocol/httpbind" xmlns:xmpp="urn:xmpp:xbosh" xmpp:version="1.0"/>`)
	f.Add(`<body rid="1" sid="x" xmlns="http://jabber.org/protocol/httpbind" xmlns:c="jabber:client"><iq id="a" type="get" xmlns="jabber:client"/> <c:message/><presence/></body>`)
	f.Add(`<b:body rid="1" xmlns:b="http://jabber.org/protocol/httpbind" xmlns:xmpp="urn:xmpp:xbosh" xmpp:restart="true" type="terminate"><b:x/></b:body>`)
	lim := Limits{Bytes: 4096, Depth: 16, Elements: 64, Attributes: 16}
	f.Fuzz(func(t *testing.T, src string) {
		b, err := parseBody(src, lim)
		if err != nil {
			return
		}
		if b.rid >= 1<<53 || b.hold < 0 || b.wait < 0 {
			t.Fatalf("%+v", b)
		}
		for _, k := range b.kids {
			if _, err := ParseElement(k, Limits{Bytes: len(src)}, b.scope); err != nil && len(src) < 4096 {
				t.Fatalf("child %q: %v", k, err)
			}
			_, _ = ParseStanza(k, lim, b.scope)
		}
	})
}
