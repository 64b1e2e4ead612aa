package muc

// Text is the text of a child of the occupant's last presence, or "".
func (o *Occupant) Text(ns, name string) string {
	if o.pres == nil {
		return ""
	}
	return elText(o.pres.Child(ns, name))
}
