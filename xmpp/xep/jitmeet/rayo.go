package jitmeet

import "confab/xmpp"

// NSRayo is the part of XEP-0327 that clients and gateways (Jigasi) speak.
const NSRayo = "urn:xmpp:rayo:1"

// DialTranscriber is the number that means a transcriber.
const DialTranscriber = "jitsi_meet_transcribe"

// HeaderRoom names the room of a call (JvbRoomName).
const HeaderRoom = "JvbRoomName"

// Dial is <dial/>.
type Dial struct {
	From, To string
	Headers  []Property
}

// ParseDial reads a dial element.
func ParseDial(el *xmpp.Element) *Dial {
	d := &Dial{From: el.Get("from"), To: el.Get("to")}
	for _, k := range el.Children("", "header") {
		d.Headers = append(d.Headers, Property{k.Get("name"), k.Get("value")})
	}
	return d
}

// Header is the value of the first header of a name.
func (d *Dial) Header(name string) (string, bool) {
	for _, h := range d.Headers {
		if h.Name == name {
			return h.Value, true
		}
	}
	return "", false
}

// String is d as XML.
func (d *Dial) String() string {
	var e xmpp.Enc
	e.Start("dial", NSRayo).AttrIf("from", d.From).AttrIf("to", d.To)
	for _, h := range d.Headers {
		e.Start("header", NSRayo).Attr("name", h.Name).Attr("value", h.Value).End()
	}
	return e.End().String()
}

// ParseRef reads the address of a call from a <ref/>, "" when there is none.
func ParseRef(el *xmpp.Element) string {
	if el == nil || el.NS != NSRayo || el.Name != "ref" {
		return ""
	}
	return el.Get("uri")
}

// EncodeRef is <ref/>.
func EncodeRef(uri string) string {
	var e xmpp.Enc
	return e.Start("ref", NSRayo).Attr("uri", uri).End().String()
}
