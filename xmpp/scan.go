package xmpp

import (
	"errors"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// Limits bound one top-level element. Zero values take DefaultLimits.
type Limits struct {
	Bytes      int // of the whole element
	Depth      int // of nesting
	Elements   int // in all
	Attributes int // of one element; as many prefixes may be in force
}

// DefaultLimits are those of an authenticated client (limits.stanza).
var DefaultLimits = Limits{Bytes: 512 << 10, Depth: 64, Elements: 4096, Attributes: 256}

func (l Limits) orDefault() Limits {
	d := DefaultLimits
	if l.Bytes > 0 {
		d.Bytes = l.Bytes
	}
	if l.Depth > 0 {
		d.Depth = l.Depth
	}
	if l.Elements > 0 {
		d.Elements = l.Elements
	}
	if l.Attributes > 0 {
		d.Attributes = l.Attributes
	}
	return d
}

// Errors of the scanner; a session turns them into stream errors.
var (
	ErrNotWellFormed = errors.New("not well-formed")
	ErrRestrictedXML = errors.New("restricted XML") // RFC 6120 §11.1
	ErrTooBig        = errors.New("element too big")
	ErrNamespace     = errors.New("unbound or forbidden namespace prefix")
)

// Attr is one attribute. NS is empty for the usual unprefixed ones.
type Attr struct{ NS, Name, Value string }

// Binding is a namespace prefix declared outside the element that is scanned:
// in the stream header of a TCP connection or the body of a BOSH request.
type Binding struct{ Prefix, URI string }

// Scope is the namespace context that a top-level element is read in.
type Scope struct {
	Default  string
	Prefixes []Binding
}

type tokenKind uint8

const (
	tokStart tokenKind = iota
	tokEnd
	tokText
)

// token is one piece of markup; it is valid until the next call of next.
type token struct {
	kind       tokenKind
	ns, name   string
	attrs      []Attr
	text       string // of tokText, unescaped
	start, end int    // byte range in the source
	prefixed   bool   // the tag uses a prefix, in its name or an attribute
}

type openElement struct {
	qname string // as written, to compare with the end tag
	ns    string
	name  string
	deflt string // default namespace inside
	binds int    // bindings in force inside
}

// tokenizer reads one element and checks all that XML and RFC 6120 §11.1 ask
// for, so that relayed text can't break a receiver's parser.
type tokenizer struct {
	src      string
	pos      int
	lim      Limits
	stack    []openElement
	binds    []Binding
	attrs    []Attr
	elements int
	outer    string // default namespace outside
	pendEnd  bool   // the last start tag was self-closing
	done     bool
}

var tokenizers = sync.Pool{New: func() any { return &tokenizer{} }}

func newTokenizer(src string, lim Limits, scope Scope) *tokenizer {
	t := tokenizers.Get().(*tokenizer)
	*t = tokenizer{src: src, lim: lim, stack: t.stack[:0], binds: append(t.binds[:0], scope.Prefixes...), attrs: t.attrs[:0], outer: scope.Default}
	return t
}

func (t *tokenizer) release() {
	t.src = ""
	clear(t.stack[:cap(t.stack)])
	clear(t.attrs[:cap(t.attrs)])
	tokenizers.Put(t)
}

// check does the tests that need the whole text once.
func (t *tokenizer) check() error {
	if len(t.src) > t.lim.Bytes {
		return ErrTooBig
	}
	if !utf8.ValidString(t.src) || strings.Contains(t.src, "\uFFFE") || strings.Contains(t.src, "\uFFFF") {
		return ErrNotWellFormed
	}
	return nil
}

// next returns the next token; after the end of the root element it checks that
// only white space follows and then reports done.
func (t *tokenizer) next(tok *token) (done bool, err error) {
	if t.done {
		if strings.Trim(t.src[t.pos:], " \t\r\n") != "" {
			return true, ErrNotWellFormed
		}
		return true, nil
	}
	if t.pendEnd {
		t.pendEnd = false
		t.pop(tok, t.pos, t.pos)
		return false, nil
	}
	if t.pos >= len(t.src) {
		return false, ErrNotWellFormed
	}
	if t.src[t.pos] != '<' {
		return false, t.charData(tok)
	}
	rest := t.src[t.pos:]
	switch {
	case strings.HasPrefix(rest, "</"):
		return false, t.endTag(tok)
	case strings.HasPrefix(rest, "<![CDATA["):
		return false, t.cdata(tok)
	case strings.HasPrefix(rest, "<!"), strings.HasPrefix(rest, "<?"):
		return false, ErrRestrictedXML
	}
	return false, t.startTag(tok)
}

func (t *tokenizer) charData(tok *token) error {
	n := strings.IndexByte(t.src[t.pos:], '<')
	if n < 0 {
		n = len(t.src) - t.pos
	}
	raw := t.src[t.pos : t.pos+n]
	if len(t.stack) == 0 {
		if strings.Trim(raw, " \t\r\n") != "" {
			return ErrNotWellFormed
		}
		t.pos += n
		if t.pos >= len(t.src) {
			return ErrNotWellFormed
		}
		_, err := t.next(tok)
		return err
	}
	if strings.Contains(raw, "]]>") {
		return ErrNotWellFormed
	}
	text, err := unescape(raw)
	if err != nil {
		return err
	}
	*tok = token{kind: tokText, text: text, start: t.pos, end: t.pos + n}
	t.pos += n
	return nil
}

func (t *tokenizer) cdata(tok *token) error {
	const open, close = "<![CDATA[", "]]>"
	n := strings.Index(t.src[t.pos+len(open):], close)
	if n < 0 || len(t.stack) == 0 {
		return ErrNotWellFormed
	}
	if t.elements++; t.elements > t.lim.Elements {
		return ErrTooBig
	}
	text := t.src[t.pos+len(open) : t.pos+len(open)+n]
	if !plainChars(text) {
		return ErrNotWellFormed
	}
	end := t.pos + len(open) + n + len(close)
	*tok = token{kind: tokText, text: newlines(text), start: t.pos, end: end}
	t.pos = end
	return nil
}

func (t *tokenizer) endTag(tok *token) error {
	start := t.pos
	t.pos += 2
	qname := t.name()
	t.space()
	if qname == "" || t.pos >= len(t.src) || t.src[t.pos] != '>' {
		return ErrNotWellFormed
	}
	t.pos++
	if len(t.stack) == 0 || t.stack[len(t.stack)-1].qname != qname {
		return ErrNotWellFormed
	}
	t.pop(tok, start, t.pos)
	return nil
}

func (t *tokenizer) pop(tok *token, start, end int) {
	top := t.stack[len(t.stack)-1]
	t.stack = t.stack[:len(t.stack)-1]
	outer := 0
	if len(t.stack) > 0 {
		outer = t.stack[len(t.stack)-1].binds
		t.binds = t.binds[:outer]
	}
	t.done = len(t.stack) == 0
	*tok = token{kind: tokEnd, ns: top.ns, name: top.name, start: start, end: end}
}

func (t *tokenizer) startTag(tok *token) error {
	start := t.pos
	t.pos++
	qname := t.name()
	if qname == "" {
		return ErrNotWellFormed
	}
	if t.elements++; t.elements > t.lim.Elements || len(t.stack) >= t.lim.Depth {
		return ErrTooBig
	}
	deflt := t.outer
	if len(t.stack) > 0 {
		deflt = t.stack[len(t.stack)-1].deflt
	}
	t.attrs = t.attrs[:0]
	firstBind := len(t.binds)
	count := 0
	empty := false
	for {
		spaced := t.space()
		if t.pos >= len(t.src) {
			return ErrNotWellFormed
		}
		if c := t.src[t.pos]; c == '>' {
			t.pos++
			break
		} else if c == '/' {
			if t.pos+1 >= len(t.src) || t.src[t.pos+1] != '>' {
				return ErrNotWellFormed
			}
			t.pos += 2
			empty = true
			break
		}
		if !spaced {
			return ErrNotWellFormed
		}
		if count++; count > t.lim.Attributes {
			return ErrTooBig
		}
		name, value, err := t.attribute()
		if err != nil {
			return err
		}
		prefix, local, err := splitName(name)
		switch {
		case err != nil:
			return err
		case name == "xmlns":
			if value == "http://www.w3.org/2000/xmlns/" || value == nsXML {
				return ErrNamespace
			}
			for _, a := range t.attrs { // a second xmlns is a duplicate attribute
				if a.NS == "xmlns" && a.Name == "" {
					return ErrNotWellFormed
				}
			}
			t.attrs = append(t.attrs, Attr{NS: "xmlns", Value: value})
			deflt = value
		case prefix == "xmlns":
			if value == "" || local == "xmlns" || (local == "xml") != (value == nsXML) || value == "http://www.w3.org/2000/xmlns/" {
				return ErrNamespace
			}
			for _, b := range t.binds[firstBind:] {
				if b.Prefix == local {
					return ErrNotWellFormed
				}
			}
			if len(t.binds) >= t.lim.Attributes {
				return ErrTooBig // each prefixed name is looked up among them all
			}
			t.binds = append(t.binds, Binding{local, value})
		default:
			// The prefix is resolved below: it may be declared later in the tag.
			t.attrs = append(t.attrs, Attr{NS: prefix, Name: local, Value: value})
		}
	}
	prefix, local, err := splitName(qname)
	if err != nil {
		return err
	}
	ns := deflt
	prefixed := prefix != ""
	if prefixed {
		if ns, err = t.lookup(prefix); err != nil {
			return err
		}
	}
	out := t.attrs[:0]
	for _, a := range t.attrs {
		switch {
		case a.NS == "xmlns" && a.Name == "":
			continue
		case a.NS == "xml":
			a.NS = nsXML
		case a.NS != "":
			if a.NS, err = t.lookup(a.NS); err != nil {
				return err
			}
			prefixed = true
		}
		for _, b := range out {
			if b.Name == a.Name && b.NS == a.NS {
				return ErrNotWellFormed
			}
		}
		out = append(out, a)
	}
	t.attrs = out
	t.stack = append(t.stack, openElement{qname: qname, ns: ns, name: local, deflt: deflt, binds: len(t.binds)})
	t.pendEnd = empty
	*tok = token{kind: tokStart, ns: ns, name: local, attrs: t.attrs, start: start, end: t.pos, prefixed: prefixed}
	return nil
}

func (t *tokenizer) lookup(prefix string) (string, error) {
	if prefix == "xml" {
		return nsXML, nil
	}
	for i := len(t.binds) - 1; i >= 0; i-- {
		if t.binds[i].Prefix == prefix {
			return t.binds[i].URI, nil
		}
	}
	return "", ErrNamespace
}

func (t *tokenizer) attribute() (name, value string, err error) {
	name = t.name()
	t.space()
	if name == "" || t.pos >= len(t.src) || t.src[t.pos] != '=' {
		return "", "", ErrNotWellFormed
	}
	t.pos++
	t.space()
	if t.pos >= len(t.src) {
		return "", "", ErrNotWellFormed
	}
	quote := t.src[t.pos]
	if quote != '"' && quote != '\'' {
		return "", "", ErrNotWellFormed
	}
	t.pos++
	n := strings.IndexByte(t.src[t.pos:], quote)
	if n < 0 {
		return "", "", ErrNotWellFormed
	}
	raw := t.src[t.pos : t.pos+n]
	t.pos += n + 1
	if strings.IndexByte(raw, '<') >= 0 {
		return "", "", ErrNotWellFormed
	}
	value, err = unescape(raw)
	return name, value, err
}

// name reads a qualified name. Only ASCII names are taken: nothing in XMPP uses
// others, and libraries differ over which of them are legal.
func (t *tokenizer) name() string {
	start := t.pos
	for t.pos < len(t.src) && nameByte[t.src[t.pos]] {
		t.pos++
	}
	n := t.src[start:t.pos]
	if n == "" || n[0] == '-' || n[0] == '.' || '0' <= n[0] && n[0] <= '9' {
		return ""
	}
	return n
}

var nameByte = func() (t [256]bool) {
	for _, c := range "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:" {
		t[c] = true
	}
	return t
}()

func (t *tokenizer) space() bool {
	start := t.pos
	for t.pos < len(t.src) {
		switch t.src[t.pos] {
		case ' ', '\t', '\r', '\n':
			t.pos++
			continue
		}
		break
	}
	return t.pos > start
}

func splitName(q string) (prefix, local string, err error) {
	i := strings.IndexByte(q, ':')
	if i < 0 {
		return "", q, nil
	}
	prefix, local = q[:i], q[i+1:]
	if prefix == "" || local == "" || strings.IndexByte(local, ':') >= 0 || local[0] == '-' || local[0] == '.' || '0' <= local[0] && local[0] <= '9' {
		return "", "", ErrNotWellFormed
	}
	return prefix, local, nil
}

// plainChars reports whether s has no control character that XML forbids.
func plainChars(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 && c != '\t' && c != '\n' && c != '\r' {
			return false
		}
	}
	return true
}

// newlines does the end-of-line handling of XML 1.0 §2.11.
func newlines(s string) string {
	if strings.IndexByte(s, '\r') < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
}

// unescape resolves the five predefined entities and numeric references, the
// only ones allowed (RFC 6120 §11.1).
func unescape(raw string) (string, error) {
	if !plainChars(raw) {
		return "", ErrNotWellFormed
	}
	raw = newlines(raw)
	i := strings.IndexByte(raw, '&')
	if i < 0 {
		return raw, nil
	}
	b := make([]byte, 0, len(raw))
	for i >= 0 {
		b = append(b, raw[:i]...)
		raw = raw[i+1:]
		end := strings.IndexByte(raw, ';')
		if end < 0 || end > 10 {
			return "", ErrNotWellFormed
		}
		ent := raw[:end]
		raw = raw[end+1:]
		switch ent {
		case "amp":
			b = append(b, '&')
		case "lt":
			b = append(b, '<')
		case "gt":
			b = append(b, '>')
		case "quot":
			b = append(b, '"')
		case "apos":
			b = append(b, '\'')
		default:
			r, ok := charRef(ent)
			if !ok {
				return "", ErrRestrictedXML
			}
			b = utf8.AppendRune(b, r)
		}
		i = strings.IndexByte(raw, '&')
	}
	return string(append(b, raw...)), nil
}

func charRef(ent string) (rune, bool) {
	if len(ent) < 2 || ent[0] != '#' {
		return 0, false
	}
	digits, base := ent[1:], 10
	if digits[0] == 'x' {
		digits, base = digits[1:], 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil || !isChar(rune(n)) || n > 0x10FFFF {
		return 0, false
	}
	return rune(n), true
}
