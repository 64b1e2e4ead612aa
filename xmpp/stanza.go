package xmpp

import (
	"errors"
	"strings"
)

// Kind tells the three stanzas apart.
type Kind uint8

// The three kinds of stanza (RFC 6120 §8).
const (
	IQ Kind = iota + 1
	Message
	Presence
)

// String is the element name.
func (k Kind) String() string {
	switch k {
	case IQ:
		return "iq"
	case Message:
		return "message"
	case Presence:
		return "presence"
	}
	return "none"
}

// Types of stanzas that this server decides by.
const (
	TypeGet         = "get"
	TypeSet         = "set"
	TypeResult      = "result"
	TypeError       = "error"
	TypeGroupchat   = "groupchat"
	TypeUnavailable = "unavailable"
)

// Stanza is one top-level element of a stream. It is immutable once routed, and
// may be shared by any number of receivers: one with an empty To is addressed to
// the port that it is delivered to.
type Stanza struct {
	Kind     Kind
	Type     string
	ID       string
	Lang     string
	From, To JID
	// Inner is everything between the stanza's tags, namespace-complete below
	// jabber:client: it can be put into any stanza of any stream.
	Inner string
	kids  []kid
}

// kid is the place of one direct child.
type kid struct {
	ns, name   string
	start, end int // in Inner
}

var errNotAStanza = errors.New("not a stanza")

// ParseStanza scans one complete element, checks it, and indexes its children.
// Payloads that use prefixes are rewritten without them; all others are kept to
// the byte. It returns errNotAStanza, by IsStanza false, for other elements.
func ParseStanza(src string, lim Limits, scope Scope) (*Stanza, error) {
	t := newTokenizer(src, lim.orDefault(), scope)
	defer t.release()
	if err := t.check(); err != nil {
		return nil, err
	}
	s := &Stanza{}
	var tok token
	if _, err := t.next(&tok); err != nil {
		return nil, err
	}
	if err := s.root(&tok); err != nil {
		return nil, err
	}
	innerStart, innerEnd := tok.end, tok.end
	// A root that was prefixed leaves unprefixed children in another namespace.
	rewrite := t.stack[0].deflt != NSClient
	depth := 0
	for {
		done, err := t.next(&tok)
		if err != nil {
			return nil, err
		}
		if done {
			break
		}
		switch tok.kind {
		case tokStart:
			if depth == 0 {
				s.kids = append(s.kids, kid{ns: tok.ns, name: tok.name, start: tok.start - innerStart})
			}
			rewrite = rewrite || tok.prefixed
			depth++
		case tokEnd:
			if depth == 0 {
				innerEnd = tok.start
				break
			}
			if depth--; depth == 0 {
				s.kids[len(s.kids)-1].end = tok.end - innerStart
			}
		}
	}
	if len(s.kids) == 0 {
		return s, nil // text directly below a stanza means nothing
	}
	s.Inner = src[innerStart:innerEnd]
	if rewrite {
		return s.withoutPrefixes(src, lim, scope)
	}
	return s, nil
}

func (s *Stanza) root(tok *token) error {
	if tok.ns != NSClient {
		return errNotAStanza
	}
	switch tok.name {
	case "iq":
		s.Kind = IQ
	case "message":
		s.Kind = Message
	case "presence":
		s.Kind = Presence
	default:
		return errNotAStanza
	}
	for _, a := range tok.attrs {
		if a.NS == nsXML && a.Name == "lang" {
			s.Lang = a.Value
		}
		if a.NS != "" {
			continue
		}
		var err error
		switch a.Name {
		case "type":
			s.Type = a.Value
		case "id":
			s.ID = a.Value
		case "to":
			s.To, err = ParseJID(a.Value)
		case "from":
			s.From, err = ParseJID(a.Value)
		}
		if err != nil {
			// RFC 6120 §8.3.3.8: the sender is told; the stream goes on.
			return &JIDError{Kind: s.Kind, ID: attr(tok.attrs, "id"), Type: attr(tok.attrs, "type"), Attr: a.Name, Err: err}
		}
	}
	return nil
}

// JIDError is a stanza whose to or from is not an address; its sender gets
// jid-malformed (RFC 6120 §8.3.3.8).
type JIDError struct {
	Kind           Kind
	ID, Type, Attr string
	Err            error
}

func (e *JIDError) Error() string { return "malformed " + e.Attr + ": " + e.Err.Error() }
func (e *JIDError) Unwrap() error { return e.Err }

func attr(as []Attr, name string) string {
	for _, a := range as {
		if a.NS == "" && a.Name == name {
			return a.Value
		}
	}
	return ""
}

// IsStanza reports whether err of ParseStanza means anything but "this element
// is well-formed so far, and no stanza".
func IsStanza(err error) bool { return !errors.Is(err, errNotAStanza) }

// NewStanza makes a stanza from parts; inner is encoded XML below jabber:client.
func NewStanza(kind Kind, typ, id string, from, to JID, inner string) *Stanza {
	s := &Stanza{Kind: kind, Type: typ, ID: id, From: from, To: to, Inner: inner}
	s.index()
	return s
}

// index rebuilds kids for an Inner that we made ourselves.
func (s *Stanza) index() {
	s.kids = nil
	if s.Inner == "" {
		return
	}
	t := newTokenizer(s.Inner, Limits{Bytes: 1 << 30, Depth: 1 << 20, Elements: 1 << 30, Attributes: 1 << 20}, Scope{})
	defer t.release()
	// The children are read as if below an open root.
	t.stack = append(t.stack, openElement{qname: "\x00", deflt: NSClient})
	depth := 0
	var tok token
	for t.pendEnd || t.pos < len(t.src) {
		if _, err := t.next(&tok); err != nil {
			panic("xmpp: inner XML made by this program is not well-formed: " + err.Error() + ": " + s.Inner)
		}
		switch tok.kind {
		case tokStart:
			if depth == 0 {
				s.kids = append(s.kids, kid{ns: tok.ns, name: tok.name, start: tok.start})
			}
			depth++
		case tokEnd:
			if depth--; depth == 0 {
				s.kids[len(s.kids)-1].end = tok.end
			}
		}
	}
}

// withoutPrefixes re-encodes the payload in default-namespace form. It works on
// the token stream, so mixed content keeps its order. Namespaces are written out
// where prefixes stood: what grows beyond the limit is refused.
func (s *Stanza) withoutPrefixes(src string, lim Limits, scope Scope) (*Stanza, error) {
	lim = lim.orDefault()
	t := newTokenizer(src, lim, scope)
	defer t.release()
	var enc Enc
	var tok token
	nsStack := []string{NSClient}
	if _, err := t.next(&tok); err != nil {
		return nil, err
	}
	for {
		done, err := t.next(&tok)
		if err != nil {
			return nil, err
		}
		if done {
			break
		}
		switch tok.kind {
		case tokStart:
			enc.closeTag()
			enc.Start(tok.name, "")
			if parent := nsStack[len(nsStack)-1]; tok.ns != parent {
				enc.Attr("xmlns", tok.ns)
			}
			for _, a := range tok.attrs {
				if enc.attrNS(a); len(enc.b) > lim.Bytes {
					return nil, ErrTooBig
				}
			}
			nsStack = append(nsStack, tok.ns)
		case tokText:
			if len(nsStack) > 1 {
				enc.Text(tok.text)
			}
		case tokEnd:
			if len(nsStack) > 1 {
				enc.End()
				nsStack = nsStack[:len(nsStack)-1]
			}
		}
		if len(enc.b) > lim.Bytes {
			return nil, ErrTooBig
		}
	}
	out := *s
	out.Inner = enc.String()
	out.index()
	return &out, nil
}

// Has reports whether there is a child of that namespace and name.
func (s *Stanza) Has(ns, name string) bool { return s.find(ns, name) >= 0 }

// HasNS reports whether there is a child of that namespace.
func (s *Stanza) HasNS(ns string) bool {
	for _, k := range s.kids {
		if k.ns == ns {
			return true
		}
	}
	return false
}

func (s *Stanza) find(ns, name string) int {
	for i, k := range s.kids {
		if k.name == name && nsMatch(ns, k.ns) {
			return i
		}
	}
	return -1
}

// Child parses the first child of that namespace and name; nil when there is
// none. Callers keep what they get: it is parsed anew at each call.
func (s *Stanza) Child(ns, name string) *Element {
	i := s.find(ns, name)
	if i < 0 {
		return nil
	}
	return s.element(i)
}

// Payload parses the first child whatever it is: an IQ has just one
// (RFC 6120 §8.2.3). Errors in a reply are skipped.
func (s *Stanza) Payload() *Element {
	for i, k := range s.kids {
		if k.name != "error" || k.ns != NSClient {
			return s.element(i)
		}
	}
	return nil
}

// Elements parses all children.
func (s *Stanza) Elements() []*Element {
	out := make([]*Element, len(s.kids))
	for i := range s.kids {
		out[i] = s.element(i)
	}
	return out
}

func (s *Stanza) element(i int) *Element {
	k := s.kids[i]
	t := newTokenizer(s.Inner[k.start:k.end], Limits{Bytes: 1 << 30, Depth: 1 << 20, Elements: 1 << 30, Attributes: 1 << 20}, Scope{Default: NSClient})
	defer t.release()
	el, err := t.tree()
	if err != nil {
		panic("xmpp: a scanned child does not parse: " + err.Error())
	}
	return el
}

// PayloadName is the namespace and name of the first child, without parsing it.
func (s *Stanza) PayloadName() (ns, name string) {
	if len(s.kids) == 0 {
		return "", ""
	}
	return s.kids[0].ns, s.kids[0].name
}

// Raw is the text of the first child of that namespace and name, or "".
func (s *Stanza) Raw(ns, name string) string {
	if i := s.find(ns, name); i >= 0 {
		return s.Inner[s.kids[i].start:s.kids[i].end]
	}
	return ""
}

// With is s in a new envelope, with the same payload.
func (s *Stanza) With(from, to JID) *Stanza {
	out := *s
	out.From, out.To = from, to
	return &out
}

// WithID is s with another id.
func (s *Stanza) WithID(id string) *Stanza {
	out := *s
	out.ID = id
	return &out
}

// WithoutChild is s without its children of that namespace and name; s itself
// when there are none. An empty name means all of the namespace.
func (s *Stanza) WithoutChild(ns, name string) *Stanza {
	return s.Filter(func(kns, kname string) bool {
		return !(nsMatch(ns, kns) && (name == "" || name == kname))
	})
}

// Filter is s with only the children that keep accepts; s itself when that is all.
func (s *Stanza) Filter(keep func(ns, name string) bool) *Stanza {
	n := 0
	for _, k := range s.kids {
		if keep(k.ns, k.name) {
			n++
		}
	}
	if n == len(s.kids) {
		return s
	}
	out := *s
	out.kids = make([]kid, 0, n)
	var b strings.Builder
	for _, k := range s.kids {
		if !keep(k.ns, k.name) {
			continue
		}
		start := b.Len()
		b.WriteString(s.Inner[k.start:k.end])
		out.kids = append(out.kids, kid{k.ns, k.name, start, b.Len()})
	}
	out.Inner = b.String()
	return &out
}

// WithChild is s with raw, one or more encoded elements, appended.
func (s *Stanza) WithChild(raw string) *Stanza {
	added := NewStanza(s.Kind, "", "", JID{}, JID{}, raw)
	out := *s
	out.Inner = s.Inner + raw
	out.kids = make([]kid, 0, len(s.kids)+len(added.kids))
	out.kids = append(out.kids, s.kids...)
	for _, k := range added.kids {
		out.kids = append(out.kids, kid{k.ns, k.name, k.start + len(s.Inner), k.end + len(s.Inner)})
	}
	return &out
}

// Result is the empty or filled result of IQ s.
func (s *Stanza) Result(inner string) *Stanza {
	return NewStanza(IQ, TypeResult, s.ID, s.To, s.From, inner)
}

// IsRequest reports whether s is an IQ that wants an answer.
func (s *Stanza) IsRequest() bool {
	return s.Kind == IQ && (s.Type == TypeGet || s.Type == TypeSet)
}

// Append appends s as it goes to a client whose address is to; a non-empty s.To
// wins. withNS writes the stanza's own namespace, as RFC 7395 §3.3.3 wants it on
// WebSockets and XEP-0206 in BOSH bodies.
func (s *Stanza) Append(b []byte, to JID, withNS bool) []byte {
	name := s.Kind.String()
	b = append(b, '<')
	b = append(b, name...)
	if withNS {
		b = append(b, ` xmlns="`+NSClient+`"`...)
	}
	b = appendAttr(b, ` type="`, s.Type)
	b = appendAttr(b, ` id="`, s.ID)
	if !s.From.IsZero() {
		b = append(b, ` from="`...)
		b = s.From.appendEscaped(b)
		b = append(b, '"')
	}
	if !s.To.IsZero() {
		to = s.To
	}
	if !to.IsZero() {
		b = append(b, ` to="`...)
		b = to.appendEscaped(b)
		b = append(b, '"')
	}
	b = appendAttr(b, ` xml:lang="`, s.Lang)
	if s.Inner == "" {
		return append(b, '/', '>')
	}
	b = append(b, '>')
	b = append(b, s.Inner...)
	b = append(b, '<', '/')
	b = append(b, name...)
	return append(b, '>')
}

func appendAttr(b []byte, open, value string) []byte {
	if value == "" {
		return b
	}
	b = append(b, open...)
	b = appendEscaped(b, value)
	return append(b, '"')
}

// String is s as it goes over a WebSocket, for logs and tests.
func (s *Stanza) String() string { return string(s.Append(nil, JID{}, true)) }
