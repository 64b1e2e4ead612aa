package services

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"

	"confab/muc"
	"confab/xmpp"
)

// What hosts do to rooms from outside, by the HTTP interface.

// Object is a copy of the room's metadata, as clients see it.
func (m *Metadata) Object() map[string]json.RawMessage { return maps.Clone(m.data) }

// Change sets keys, and removes those that are null, all of them or none. Keys that
// are the server's can't be changed from outside, either.
func (m *Metadata) Change(r *muc.Room, change map[string]json.RawMessage) error {
	next, size := maps.Clone(m.data), m.size
	for key, v := range change {
		if slices.Contains(blocked, key) {
			return xmpp.Forbidden(key + " is set by the server")
		}
		if old, known := next[key]; known {
			size -= len(key) + len(old)
			delete(next, key)
		}
		if string(v) == "null" {
			continue
		}
		var b bytes.Buffer
		if err := json.Compact(&b, v); err != nil || depth(v) > maxDepth {
			return xmpp.BadRequest(key + " is nested too deep")
		}
		size += len(key) + b.Len()
		next[key] = b.Bytes()
	}
	if size > m.size && size > m.cfg.max() {
		return xmpp.ResourceConstraint("metadata too big")
	}
	if maps.EqualFunc(next, m.data, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
		return nil
	}
	old := m.data
	m.data, m.size = next, size
	for key := range change {
		if !bytes.Equal(old[key], next[key]) {
			m.changed(r, key, next[key])
		}
	}
	m.tell(r)
	return nil
}

// SystemMessage shows a line in the chat of some occupants that comes from the
// server (LJM ChatRoom: SYSTEM_CHAT_MESSAGE). An empty name leaves it to clients.
func SystemMessage(r *muc.Room, to []*muc.Occupant, text, displayName string) error {
	b, err := json.Marshal(struct {
		Type        string `json:"type"`
		Message     string `json:"message"`
		DisplayName string `json:"displayName,omitempty"`
	}{"system_chat_message", text, displayName})
	if err != nil {
		return err
	}
	s := xmpp.NewStanza(xmpp.Message, "", "", r.JID(), xmpp.JID{}, jsonMessage("", b))
	for _, o := range to {
		r.Tell(o, s)
	}
	return nil
}
