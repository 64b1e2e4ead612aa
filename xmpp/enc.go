package xmpp

import "unicode/utf8"

// Enc appends XML to a buffer. It writes namespaces as literal xmlns attributes,
// never prefixes, and self-closes empty elements as <x/>, without a blank: LJM
// reads SASL failures with a regular expression that wants exactly that form.
// The zero value is ready.
type Enc struct {
	b     []byte
	names []string
	inTag bool
}

// Start opens an element. ns is written when it is not empty.
func (e *Enc) Start(name, ns string) *Enc {
	e.closeTag()
	e.b = append(e.b, '<')
	e.b = append(e.b, name...)
	e.names = append(e.names, name)
	e.inTag = true
	if ns != "" {
		e.Attr("xmlns", ns)
	}
	return e
}

// Attr writes an attribute of the element just started.
func (e *Enc) Attr(name, value string) *Enc {
	e.b = append(e.b, ' ')
	e.b = append(e.b, name...)
	e.b = append(e.b, '=', '"')
	e.b = appendEscaped(e.b, value)
	e.b = append(e.b, '"')
	return e
}

// AttrIf writes an attribute unless its value is empty.
func (e *Enc) AttrIf(name, value string) *Enc {
	if value != "" {
		e.Attr(name, value)
	}
	return e
}

// Text writes character data.
func (e *Enc) Text(s string) *Enc {
	if s != "" {
		e.closeTag()
		e.b = appendEscaped(e.b, s)
	}
	return e
}

// Raw writes XML that is already encoded and balanced.
func (e *Enc) Raw(s string) *Enc {
	if s != "" {
		e.closeTag()
		e.b = append(e.b, s...)
	}
	return e
}

// End closes the innermost open element.
func (e *Enc) End() *Enc {
	name := e.names[len(e.names)-1]
	e.names = e.names[:len(e.names)-1]
	if e.inTag {
		e.b = append(e.b, '/', '>')
		e.inTag = false
		return e
	}
	e.b = append(e.b, '<', '/')
	e.b = append(e.b, name...)
	e.b = append(e.b, '>')
	return e
}

// Leaf writes an element that holds only text.
func (e *Enc) Leaf(name, ns, text string) *Enc { return e.Start(name, ns).Text(text).End() }

// Element writes a tree below an element of namespace parentNS.
func (e *Enc) Element(el *Element, parentNS string) *Enc {
	e.Start(el.Name, "")
	if el.NS != parentNS {
		e.Attr("xmlns", el.NS) // "" where the parent has one and el has none
	}
	for _, a := range el.Attr {
		e.attrNS(a)
	}
	e.Text(el.Text)
	for _, k := range el.Kids {
		e.Element(k, el.NS)
	}
	return e.End()
}

// attrNS writes an attribute that may have a namespace. Attributes in a
// namespace need a prefix; each declares its own, so that the element can be
// moved anywhere.
func (e *Enc) attrNS(a Attr) {
	switch a.NS {
	case "":
		e.Attr(a.Name, a.Value)
	case nsXML:
		e.Attr("xml:"+a.Name, a.Value)
	default:
		prefix := "a" + string(rune('a'+len(e.b)%26)) + a.Name
		e.Attr("xmlns:"+prefix, a.NS)
		e.Attr(prefix+":"+a.Name, a.Value)
	}
}

func (e *Enc) closeTag() {
	if e.inTag {
		e.b = append(e.b, '>')
		e.inTag = false
	}
}

// String is what has been written.
func (e *Enc) String() string { return string(e.b) }

// Bytes is what has been written, valid until the next call.
func (e *Enc) Bytes() []byte { return e.b }

// Reset empties the encoder and keeps its buffer.
func (e *Enc) Reset() { e.b, e.names, e.inTag = e.b[:0], e.names[:0], false }

// appendEscaped appends s escaped for text and for quoted attributes. Characters
// that XML can't carry become U+FFFD: one of them would end a client's stream.
func appendEscaped(b []byte, s string) []byte {
	last := 0
	for i := 0; i < len(s); {
		c := s[i]
		var esc string
		width := 1
		switch {
		case c == '&':
			esc = "&amp;"
		case c == '<':
			esc = "&lt;"
		case c == '>':
			esc = "&gt;"
		case c == '"':
			esc = "&quot;"
		case c == '\r':
			esc = "&#13;"
		case c < 0x20 && c != '\t' && c != '\n':
			esc = "\uFFFD"
		case c >= utf8.RuneSelf:
			r, n := utf8.DecodeRuneInString(s[i:])
			width = n
			if !isChar(r) || (r == utf8.RuneError && n == 1) {
				esc = "\uFFFD"
			}
		}
		if esc != "" {
			b = append(b, s[last:i]...)
			b = append(b, esc...)
			last = i + width
		}
		i += width
	}
	return append(b, s[last:]...)
}

// isChar is the Char production of XML 1.0.
func isChar(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r <= 0xD7FF ||
		r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 && r <= 0x10FFFF
}

// Escape returns s escaped for text and attribute values.
func Escape(s string) string { return string(appendEscaped(nil, s)) }
