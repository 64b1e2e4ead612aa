package xmpp

import "strings"

// Element is a small tree for the payloads that we interpret. Attributes that
// declare namespaces are not in Attr; Text is the character data directly below
// the element, joined.
type Element struct {
	Name, NS string
	Attr     []Attr
	Kids     []*Element
	Text     string
}

// ParseElement parses one complete element.
func ParseElement(src string, lim Limits, scope Scope) (*Element, error) {
	t := newTokenizer(src, lim.orDefault(), scope)
	defer t.release()
	if err := t.check(); err != nil {
		return nil, err
	}
	return t.tree()
}

// tree reads to the end of the root element.
func (t *tokenizer) tree() (*Element, error) {
	type open struct {
		el   *Element
		text []byte // once there is more than one piece
	}
	var tok token
	var root *Element
	stack := make([]open, 0, 8)
	for {
		done, err := t.next(&tok)
		if err != nil {
			return nil, err
		}
		if done {
			return root, nil
		}
		switch tok.kind {
		case tokStart:
			el := &Element{Name: tok.name, NS: tok.ns}
			if len(tok.attrs) > 0 {
				el.Attr = append([]Attr(nil), tok.attrs...)
			}
			if len(stack) > 0 {
				parent := stack[len(stack)-1].el
				parent.Kids = append(parent.Kids, el)
			} else {
				root = el
			}
			stack = append(stack, open{el: el})
		case tokText:
			top := &stack[len(stack)-1]
			switch {
			case top.text != nil:
				top.text = append(top.text, tok.text...)
			case top.el.Text == "":
				top.el.Text = tok.text
			default:
				top.text = append([]byte(top.el.Text), tok.text...)
			}
		case tokEnd:
			if top := stack[len(stack)-1]; top.text != nil {
				top.el.Text = string(top.text)
			}
			stack = stack[:len(stack)-1]
		}
	}
}

// Get is the value of the unprefixed attribute name, or "".
func (e *Element) Get(name string) string {
	v, _ := e.Lookup(name)
	return v
}

// Lookup is Get that tells an empty attribute from a missing one.
func (e *Element) Lookup(name string) (string, bool) {
	if e == nil {
		return "", false
	}
	for _, a := range e.Attr {
		if a.NS == "" && a.Name == name {
			return a.Value, true
		}
	}
	return "", false
}

// Child is the first child of that namespace and name, or nil. An empty ns
// matches any; "jabber:client" also matches none, because LJM writes many of its
// elements without a namespace.
func (e *Element) Child(ns, name string) *Element {
	if e == nil {
		return nil
	}
	for _, k := range e.Kids {
		if k.Name == name && nsMatch(ns, k.NS) {
			return k
		}
	}
	return nil
}

// Children are all children of that namespace and name.
func (e *Element) Children(ns, name string) []*Element {
	if e == nil {
		return nil
	}
	var out []*Element
	for _, k := range e.Kids {
		if k.Name == name && nsMatch(ns, k.NS) {
			out = append(out, k)
		}
	}
	return out
}

// ChildText is the trimmed text of a child, or "".
func (e *Element) ChildText(ns, name string) string {
	if k := e.Child(ns, name); k != nil {
		return strings.TrimSpace(k.Text)
	}
	return ""
}

// String encodes the tree with its namespace written out.
func (e *Element) String() string {
	var enc Enc
	return enc.Element(e, "").String()
}

func nsMatch(want, have string) bool {
	return want == "" || want == have || want == NSClient && have == ""
}
