package muc

import "confab/xmpp"

// Text is the text of a child of the occupant's last presence, or "".
func (o *Occupant) Text(ns, name string) string {
	if o.pres == nil {
		return ""
	}
	return elText(o.pres.Child(ns, name))
}

// Said reports whether the occupant's last presence has just this element.
func (o *Occupant) Said(el *xmpp.Element) bool {
	if o.pres == nil || el == nil {
		return false
	}
	before := o.pres.Child(el.NS, el.Name)
	return before != nil && before.String() == el.String()
}
