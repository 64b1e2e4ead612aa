package muc

import (
	"errors"
	"strings"

	"confab/xmpp"
)

// Form is a data form (XEP-0004): one that the room shows, or one that somebody
// has filled in.
type Form struct {
	typ    string // form, result, submit, cancel
	fields []field
}

type field struct {
	name, typ string
	values    []string
	options   []string
}

// labels name the fields of the room's form for people.
var labels = map[string]string{
	"muc#roomconfig_roomname":       "Title",
	"muc#roomconfig_roomdesc":       "Description",
	"muc#roomconfig_lang":           "Language",
	"muc#roomconfig_persistentroom": "Keep the room when the last has left",
	"muc#roomconfig_publicroom":     "List the room publicly",
	"muc#roomconfig_membersonly":    "Members only",
	"muc#roomconfig_whois":          "Who sees real addresses",
	"muc#roomconfig_roomsecret":     "Password",
	"muc#roomconfig_moderatedroom":  "Newcomers may not speak",
	"muc#roomconfig_changesubject":  "Participants may change the subject",
	"muc#roominfo_meetingId":        "Id of the meeting",
}

// errForm is a form that makes no sense at all.
var errForm = errors.New("malformed data form")

// NewForm starts a form of a FORM_TYPE (XEP-0068).
func NewForm(typ, formType string) *Form {
	f := &Form{typ: typ}
	f.fields = append(f.fields, field{name: "FORM_TYPE", typ: "hidden", values: []string{formType}})
	return f
}

// Text adds a text-single field.
func (f *Form) Text(name, value string) {
	f.add(field{name: name, typ: "text-single", values: []string{value}})
}

// Bool adds a boolean field.
func (f *Form) Bool(name string, value bool) {
	v := "0"
	if value {
		v = "1"
	}
	f.add(field{name: name, typ: "boolean", values: []string{v}})
}

func (f *Form) add(x field) { f.fields = append(f.fields, x) }

// String encodes the form.
func (f *Form) String() string {
	var e xmpp.Enc
	e.Start("x", xmpp.NSDataForm).Attr("type", f.typ)
	for _, x := range f.fields {
		e.Start("field", "").Attr("var", x.name).Attr("type", x.typ)
		if f.typ == "form" { // XEP-0004 §3.2: what people see when they fill it in
			e.AttrIf("label", labels[x.name])
		}
		for _, v := range x.values {
			e.Leaf("value", "", v)
		}
		for _, o := range x.options {
			e.Start("option", "").Leaf("value", "", o).End()
		}
		e.End()
	}
	return e.End().String()
}

// parseForm reads a form. A field that comes twice counts once, the first.
func parseForm(el *xmpp.Element) (*Form, error) {
	if el == nil || el.Name != "x" || el.NS != xmpp.NSDataForm {
		return nil, errForm
	}
	f := &Form{typ: el.Get("type")}
	seen := map[string]bool{}
	for _, k := range el.Children(xmpp.NSDataForm, "field") {
		name := k.Get("var")
		if name == "" || seen[name] {
			continue
		}
		seen[name] = true
		x := field{name: name, typ: k.Get("type")}
		for _, v := range k.Children(xmpp.NSDataForm, "value") {
			x.values = append(x.values, v.Text)
		}
		f.fields = append(f.fields, x)
	}
	return f, nil
}

// Type is the FORM_TYPE, or "".
func (f *Form) Type() string { return f.Value("FORM_TYPE") }

// Has reports whether the form has a field.
func (f *Form) Has(name string) bool { return f.find(name) != nil }

// Value is the first value of a field, or "".
func (f *Form) Value(name string) string {
	if x := f.find(name); x != nil && len(x.values) > 0 {
		return x.values[0]
	}
	return ""
}

// Flag is the value of a boolean field; clients write true and false as well as
// 1 and 0.
func (f *Form) Flag(name string) (value, ok bool) {
	if !f.Has(name) {
		return false, false
	}
	switch strings.TrimSpace(f.Value(name)) {
	case "1", "true":
		return true, true
	case "0", "false", "":
		return false, true
	}
	return false, false
}

func (f *Form) find(name string) *field {
	for i := range f.fields {
		if f.fields[i].name == name {
			return &f.fields[i]
		}
	}
	return nil
}
