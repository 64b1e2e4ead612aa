package services

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"

	"confab/muc"
	"confab/xmpp"
)

// MetadataName is the service, its identity and the type of its messages.
const MetadataName = "room_metadata"

// blocked are the keys that only the server sets (room-services.md §6.6).
var blocked = []string{
	"allownersEnabled", "asyncTranscription", "audioTranslationAvailable", "conferencePresetsServiceEnabled",
	"dialinEnabled", "lobbyEnabled", "moderators", "participants", "participantsSoftLimit", "services",
	"transcriberType", "transcription", "visitorsEnabled",
}

// ICEServers tells a user its STUN and TURN servers, with fresh credentials; nil
// for none. The first metadata is the only place where a client that knows this
// component looks for them.
type ICEServers interface {
	Metadata(user xmpp.JID) []map[string]string
}

// MetadataConfig is what room metadata needs to know.
type MetadataConfig struct {
	Domain string         // of the component: metadata.DOMAIN
	ICE    ICEServers     // nil: clients learn servers elsewhere
	Max    int            // bytes of all metadata of a room (rooms.metadata_max); 0 is 64 KiB
	Flags  map[string]any // what every room says of the server, such as allownersEnabled
}

func (c MetadataConfig) max() int {
	if c.Max > 0 {
		return c.Max
	}
	return 64 << 10
}

// Metadata is a JSON object about one room, which every occupant has a copy of.
type Metadata struct {
	cfg  MetadataConfig
	from xmpp.JID
	data map[string]json.RawMessage
	size int
}

// NewMetadata makes the service of one room; it fits muc.Config.Services.
func NewMetadata(cfg MetadataConfig) func(*muc.Room) muc.RoomService {
	return func(*muc.Room) muc.RoomService {
		m := &Metadata{cfg: cfg, from: xmpp.JID{Domain: cfg.Domain}, data: map[string]json.RawMessage{}}
		for k, v := range cfg.Flags {
			if b, err := json.Marshal(v); err == nil {
				m.put(k, b)
			}
		}
		return m
	}
}

// NewMetadataComponent takes the commands for the rooms of a MUC.
func NewMetadataComponent(cfg MetadataConfig, rooms *muc.Service, router *xmpp.Router) *Component {
	return &Component{
		jid: xmpp.JID{Domain: cfg.Domain}, name: MetadataName, muc: rooms, router: router,
		room: func(s *xmpp.Stanza) (xmpp.JID, error) {
			el := s.Child(nsJitsi, MetadataName)
			if el == nil {
				return xmpp.JID{}, xmpp.BadRequest("")
			}
			j, err := xmpp.ParseJID(el.Get("room"))
			if err != nil || j.Local == "" {
				return xmpp.JID{}, xmpp.JIDMalformed("")
			}
			return j, nil
		},
	}
}

// Name implements muc.RoomService.
func (*Metadata) Name() string { return MetadataName }

func (m *Metadata) put(key string, v json.RawMessage) {
	m.size += len(key) + len(v) - len(m.data[key])
	if _, known := m.data[key]; known {
		m.size -= len(key)
	}
	m.data[key] = v
}

// message encodes the whole object; clients replace what they have.
func (m *Metadata) message(r *muc.Room, extra map[string]any) *xmpp.Stanza {
	all := make(map[string]any, len(m.data)+len(extra))
	for k, v := range m.data {
		all[k] = v
	}
	for k, v := range extra {
		all[k] = v
	}
	b, err := json.Marshal(struct {
		Type     string         `json:"type"`
		Metadata map[string]any `json:"metadata"`
	}{MetadataName, all})
	if err != nil {
		b = []byte(`{"type":"room_metadata","metadata":{}}`) // all values are JSON already
	}
	return xmpp.NewStanza(xmpp.Message, "", "", m.from, xmpp.JID{}, jsonMessage(r.JID().String(), b))
}

// Joining sends a session everything before it sees anybody; only here the
// credentials of the TURN servers are included.
func (m *Metadata) Joining(r *muc.Room, o *muc.Occupant, t *muc.Seat) {
	extra := map[string]any{}
	switch {
	case o.Admin():
		extra["moderators"] = []string{} // JICOFO RoomMetadata: an array, maybe empty
	case m.cfg.ICE != nil:
		if list := m.cfg.ICE.Metadata(t.Real); list != nil {
			extra["services"] = list
		}
	}
	r.Deliver(t, m.message(r, extra))
}

var errCommand = errors.New("malformed room_metadata command")

// parseCommand reads what a client wants to set.
func parseCommand(text string) (key string, data json.RawMessage, err error) {
	var in struct {
		Key  *string         `json:"key"`
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return "", nil, err
	}
	if in.Key == nil || *in.Key == "" || len(*in.Key) > 256 || len(in.Data) == 0 || string(in.Data) == "null" {
		return "", nil, errCommand
	}
	var b bytes.Buffer
	if err := json.Compact(&b, in.Data); err != nil {
		return "", nil, err
	}
	return *in.Key, b.Bytes(), nil
}

// Command sets a key. Moderators may, except for what is the server's.
func (m *Metadata) Command(r *muc.Room, o *muc.Occupant, s *xmpp.Stanza) error {
	el := s.Child(nsJitsi, MetadataName)
	if el == nil {
		return xmpp.BadRequest("")
	}
	key, data, err := parseCommand(el.Text)
	switch {
	case err != nil:
		return xmpp.BadRequest("")
	case o.Role != muc.RoleModerator, slices.Contains(blocked, key):
		return xmpp.Forbidden("")
	}
	return m.set(r, key, data)
}

func (m *Metadata) set(r *muc.Room, key string, data json.RawMessage) error {
	old := m.data[key]
	if bytes.Equal(old, data) {
		return nil
	}
	if m.size-len(old)+len(data)+len(key) > m.cfg.max() {
		return xmpp.ResourceConstraint("metadata too big")
	}
	m.put(key, data)
	r.Broadcast(m.message(r, nil), func(o *muc.Occupant) bool { return !o.Admin() })
	r.Broadcast(m.message(r, map[string]any{"moderators": []string{}}), (*muc.Occupant).Admin)
	return nil
}

// Filter keeps the chat to those who may write, and takes the older way of
// setting startMuted: a moderator's presence.
func (m *Metadata) Filter(r *muc.Room, o *muc.Occupant, s *xmpp.Stanza) (*xmpp.Stanza, error) {
	if s.Kind == xmpp.Message {
		if s.Has(xmpp.NSClient, "body") && m.restricted() && o.Role != muc.RoleModerator && !o.Feature("send-groupchat") {
			return nil, xmpp.NotAllowed("Sending group messages not allowed") // LJM: CHAT_ERROR
		}
		return s, nil
	}
	if el := s.Child("http://jitsi.org/jitmeet/start-muted", "startmuted"); el != nil && o.Role == muc.RoleModerator {
		b, err := json.Marshal(map[string]bool{"audio": el.Get("audio") == "true", "video": el.Get("video") == "true"})
		if err == nil {
			err = m.set(r, "startMuted", b)
		}
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// restricted reports whether only some may write to all.
func (m *Metadata) restricted() bool {
	raw, ok := m.data["permissions"]
	if !ok {
		return false
	}
	var p struct {
		GroupChatRestricted bool `json:"groupChatRestricted"`
	}
	return json.Unmarshal(raw, &p) == nil && p.GroupChatRestricted
}
