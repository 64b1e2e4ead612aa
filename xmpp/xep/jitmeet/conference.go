package jitmeet

import (
	"encoding/json"
	"fmt"

	"confab/xmpp"
)

// Property is a name and its value; values are always text on the wire of XMPP.
type Property struct{ Name, Value string }

// ConferenceRequest asks for a room with the focus in it.
type ConferenceRequest struct {
	Room       string // bare room JID, not yet parsed
	MachineUID string
	SessionID  string
	Token      string // raw JWT, never trusted here
	Properties []Property
}

// ConferenceResponse is the answer.
type ConferenceResponse struct {
	Room       string
	Ready      bool
	FocusJID   string // bare
	SessionID  string
	Identity   string
	VNode      string
	Properties []Property
}

// Get is the last value of a property: with duplicates the last wins.
func (r *ConferenceRequest) Get(name string) string {
	for i := len(r.Properties) - 1; i >= 0; i-- {
		if r.Properties[i].Name == name {
			return r.Properties[i].Value
		}
	}
	return ""
}

// ParseConferenceRequest reads <conference/>.
func ParseConferenceRequest(el *xmpp.Element) *ConferenceRequest {
	return &ConferenceRequest{
		Room: el.Get("room"), MachineUID: el.Get("machine-uid"), SessionID: el.Get("session-id"),
		Token: el.Get("token"), Properties: parseProperties(el),
	}
}

// ParseConferenceResponse reads the <conference/> of a result.
func ParseConferenceResponse(el *xmpp.Element) *ConferenceResponse {
	return &ConferenceResponse{
		Room: el.Get("room"), Ready: el.Get("ready") == "true", FocusJID: el.Get("focusjid"),
		SessionID: el.Get("session-id"), Identity: el.Get("identity"), VNode: el.Get("vnode"),
		Properties: parseProperties(el),
	}
}

func parseProperties(el *xmpp.Element) []Property {
	var out []Property
	for _, k := range el.Children("", "property") {
		out = append(out, Property{k.Get("name"), k.Get("value")})
	}
	return out
}

// String is the request as XML.
func (r *ConferenceRequest) String() string {
	var e xmpp.Enc
	e.Start("conference", NSFocus).AttrIf("room", r.Room).AttrIf("machine-uid", r.MachineUID).
		AttrIf("session-id", r.SessionID).AttrIf("token", r.Token)
	encodeProperties(&e, r.Properties)
	return e.End().String()
}

// String is the response as XML.
func (r *ConferenceResponse) String() string {
	var e xmpp.Enc
	e.Start("conference", NSFocus).Attr("room", r.Room).AttrIf("focusjid", r.FocusJID).
		Attr("ready", boolText(r.Ready)).AttrIf("session-id", r.SessionID).
		AttrIf("identity", r.Identity).AttrIf("vnode", r.VNode)
	encodeProperties(&e, r.Properties)
	return e.End().String()
}

func encodeProperties(e *xmpp.Enc, props []Property) {
	for _, p := range props {
		e.Start("property", "").Attr("name", p.Name).Attr("value", p.Value).End()
	}
}

// UnmarshalJSON reads the HTTP form, whose properties may be strings, numbers or
// booleans (stock clients send all three).
func (r *ConferenceRequest) UnmarshalJSON(b []byte) error {
	var in struct {
		Room       string                     `json:"room"`
		MachineUID string                     `json:"machineUid"`
		SessionID  string                     `json:"sessionId"`
		Properties map[string]json.RawMessage `json:"properties"`
	}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	*r = ConferenceRequest{Room: in.Room, MachineUID: in.MachineUID, SessionID: in.SessionID}
	for name, raw := range in.Properties {
		var s string
		switch {
		case len(raw) == 0 || string(raw) == "null":
			continue
		case raw[0] == '"':
			if err := json.Unmarshal(raw, &s); err != nil {
				return fmt.Errorf("property %.40q: %w", name, err)
			}
		case raw[0] == '{' || raw[0] == '[':
			continue // no property has such a value
		default:
			s = string(raw)
		}
		r.Properties = append(r.Properties, Property{name, s})
	}
	return nil
}

// MarshalJSON writes the HTTP form. Property values are the strings "true" and
// "false": LJM compares with ===.
func (r *ConferenceResponse) MarshalJSON() ([]byte, error) {
	props := make(map[string]string, len(r.Properties))
	for _, p := range r.Properties {
		props[p.Name] = p.Value
	}
	return json.Marshal(struct {
		Room       string            `json:"room"`
		Ready      bool              `json:"ready"`
		FocusJID   string            `json:"focusJid,omitempty"`
		SessionID  string            `json:"sessionId,omitempty"`
		Identity   string            `json:"identity,omitempty"`
		VNode      string            `json:"vnode,omitempty"`
		Properties map[string]string `json:"properties"`
	}{r.Room, r.Ready, r.FocusJID, r.SessionID, r.Identity, r.VNode, props})
}

// SessionInvalid is the refusal of an unknown session-id; the client forgets its
// id and tries again.
func SessionInvalid() *xmpp.StanzaError {
	se := xmpp.NotAcceptable("")
	se.App = `<session-invalid xmlns="` + NSFocus + `"/>`
	return se
}

func boolText(b bool) string {
	if b {
		return "true"
	}
	return "false"
}
