package xmpp

import "slices"

// Identity is one identity of a disco#info answer (XEP-0030 §3.1). LJM looks at
// type and name only; the name of a component's identity is its address.
type Identity struct{ Category, Type, Name string }

// DiscoInfo is what an address says of itself: a disco#info answer.
type DiscoInfo struct {
	Identities []Identity
	Features   []string
	// Forms are encoded jabber:x:data elements (XEP-0128).
	Forms []string
}

// Inner encodes the query element that answers a request for node.
func (d DiscoInfo) Inner(node string) string {
	var e Enc
	e.Start("query", NSInfo).AttrIf("node", node)
	for _, id := range d.Identities {
		e.Start("identity", "").Attr("category", id.Category).Attr("type", id.Type).AttrIf("name", id.Name).End()
	}
	for _, f := range d.Features {
		e.Start("feature", "").Attr("var", f).End()
	}
	for _, f := range d.Forms {
		e.Raw(f)
	}
	return e.End().String()
}

// With is d with features that it does not have yet.
func (d DiscoInfo) With(features ...string) DiscoInfo {
	d.Features = slices.Clone(d.Features)
	for _, f := range features {
		if !slices.Contains(d.Features, f) {
			d.Features = append(d.Features, f)
		}
	}
	return d
}

// DiscoItem is one entry of a disco#items answer (XEP-0030 §4.1).
type DiscoItem struct {
	JID        JID
	Node, Name string
}

// ItemsInner encodes the query element of a disco#items answer.
func ItemsInner(node string, items []DiscoItem) string {
	var e Enc
	e.Start("query", NSItems).AttrIf("node", node)
	for _, it := range items {
		e.Start("item", "").Attr("jid", it.JID.String()).AttrIf("node", it.Node).AttrIf("name", it.Name).End()
	}
	return e.End().String()
}
