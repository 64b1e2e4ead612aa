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

const nsStartMuted = "http://jitsi.org/jitmeet/start-muted"

// blocked are the keys that only the server sets (room-services.md §6.6).
var blocked = []string{
	"allownersEnabled", "asyncTranscription", "audioTranslationAvailable", "audioTranslationRequests",
	"conferencePresetsServiceEnabled", "dialinEnabled", "lobbyEnabled", "moderators", "participants",
	"participantsSoftLimit", "services", "transcriberType", "transcription", "visitorsEnabled",
	"__proto__", // no key for who copies the object in JavaScript
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
	Max    int            // bytes that clients may set in a room (rooms.metadata_max); 0 is 64 KiB
	Flags  map[string]any // what every room says of the server, such as visitorsEnabled
	// Room adds flags that depend on the room; nil adds none.
	Room func(*muc.Room) map[string]any
	// Focus adds what only the focus learns, such as the headers of a transcription
	// service; nil adds nothing.
	Focus func(*muc.Room) map[string]any
	// Watch is told what a key is set to, and nil when the room ends, on the room's
	// goroutine.
	Watch map[string]func(r *muc.Room, data json.RawMessage)
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
	return func(r *muc.Room) muc.RoomService {
		m := &Metadata{cfg: cfg, from: xmpp.JID{Domain: cfg.Domain}, data: map[string]json.RawMessage{}}
		m.flags(cfg.Flags)
		if cfg.Room != nil {
			m.flags(cfg.Room(r))
		}
		return m
	}
}

func (m *Metadata) flags(flags map[string]any) {
	for k, v := range flags {
		if b, err := json.Marshal(v); err == nil {
			m.put(k, b)
		}
	}
}

// NewMetadataComponent takes the commands for the rooms of a MUC. It finds them by
// the room that they name: each room of a meeting has metadata of its own.
func NewMetadataComponent(cfg MetadataConfig, rooms *muc.Service, router *xmpp.Router) *Component {
	return &Component{
		jid: xmpp.JID{Domain: cfg.Domain}, name: MetadataName, muc: rooms, router: router,
		room: func(s *xmpp.Stanza) (xmpp.JID, error) {
			return namedRoom(rooms, s.Child(nsJitsi, MetadataName))
		},
	}
}

// MetadataOf is the metadata of a room, nil if it has none. A nil *Metadata is
// empty and takes nothing.
func MetadataOf(r *muc.Room) *Metadata {
	m, _ := r.Service(MetadataName).(*Metadata)
	return m
}

// Value is what a key holds, or nil.
func (m *Metadata) Value(key string) json.RawMessage {
	if m == nil {
		return nil
	}
	return m.data[key]
}

// Set is the server's own word: it needs nobody's leave, and everybody is told.
func (m *Metadata) Set(r *muc.Room, key string, v any) {
	if m == nil {
		return
	}
	b, err := json.Marshal(v)
	if err != nil || bytes.Equal(b, m.data[key]) {
		return // what can't be encoded is a mistake of the program, and said by a test
	}
	m.put(key, b)
	m.changed(r, key, b)
	m.tell(r)
}

// changed tells who watches a key.
func (m *Metadata) changed(r *muc.Room, key string, data json.RawMessage) {
	if watch := m.cfg.Watch[key]; watch != nil {
		watch(r, data)
	}
}

// Ended implements muc.Ended.
func (m *Metadata) Ended(r *muc.Room) {
	for key := range m.cfg.Watch {
		if m.data[key] != nil {
			m.changed(r, key, nil)
		}
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
		extra = m.focusOnly(r)
	case m.cfg.ICE != nil:
		if list := m.cfg.ICE.Metadata(t.Real); list != nil {
			extra["services"] = list
		}
	}
	r.Deliver(t, m.message(r, extra))
}

// Visiting implements muc.Visiting: visitors see the main room's metadata.
func (m *Metadata) Visiting(r *muc.Room, o *muc.Occupant, t *muc.Seat) { m.Joining(r, o, t) }

// focusOnly is what the focus learns beside the rest: who was invited as what
// (room-services.md §6.6).
func (m *Metadata) focusOnly(r *muc.Room) map[string]any {
	p := r.Main().Policy()
	extra := map[string]any{"moderators": append([]string{}, p.Moderators...)} // JICOFO RoomMetadata: an array, maybe empty
	if len(p.Members) > 0 {
		extra["participants"] = p.Members
	}
	if m.cfg.Focus != nil {
		for k, v := range m.cfg.Focus(r) {
			extra[k] = v
		}
	}
	return extra
}

// tell sends the whole object to everybody.
func (m *Metadata) tell(r *muc.Room) {
	r.BroadcastMeeting(m.message(r, nil), func(o *muc.Occupant) bool { return !o.Admin() })
	r.Broadcast(m.message(r, m.focusOnly(r)), (*muc.Occupant).Admin)
}

var errCommand = errors.New("malformed room_metadata command")

// maxDepth is how deep what clients set may be nested: readers of today have limits
// of their own, and one that gives up would miss everything.
const maxDepth = 64

// parseCommand reads what a client wants to set.
func parseCommand(text string) (key string, data json.RawMessage, err error) {
	var in struct {
		Key  *string         `json:"key"`
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return "", nil, err
	}
	if in.Key == nil || *in.Key == "" || len(*in.Key) > 256 || len(in.Data) == 0 || string(in.Data) == "null" || depth(in.Data) > maxDepth {
		return "", nil, errCommand
	}
	var b bytes.Buffer
	if err := json.Compact(&b, in.Data); err != nil {
		return "", nil, err
	}
	return *in.Key, b.Bytes(), nil
}

// depth is how deep valid JSON is nested.
func depth(b []byte) (deepest int) {
	open, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			open++
			deepest = max(deepest, open)
		case c == ']' || c == '}':
			open--
		}
	}
	return deepest
}

// Command sets a key of the room that the sender is in. Moderators may, except for
// what is the server's.
func (m *Metadata) Command(r *muc.Room, o *muc.Occupant, s *xmpp.Stanza) error {
	el := s.Child(nsJitsi, MetadataName)
	if named, err := xmpp.ParseJID(el.Get("room")); err != nil || named != r.JID() {
		return xmpp.Forbidden("") // it is in another room of the meeting
	}
	key, data, err := parseCommand(el.Text)
	if err != nil {
		return xmpp.BadRequest("")
	}
	if slices.Contains(blocked, key) {
		return xmpp.Forbidden("")
	}
	if key == "recording" {
		data, err = recording(o, data)
	} else if o.Role != muc.RoleModerator {
		err = xmpp.Forbidden("")
	}
	if err != nil {
		return err
	}
	return m.set(r, key, data)
}

// recording is what an occupant may say of recording: who has the feature of
// transcription just its two requests, a moderator without a token's features
// anything (mod_filter_iq_rayo).
func recording(o *muc.Occupant, data json.RawMessage) (json.RawMessage, error) {
	var want map[string]json.RawMessage
	if err := json.Unmarshal(data, &want); err != nil {
		return nil, xmpp.BadRequest("")
	}
	requests := map[string]json.RawMessage{}
	for _, k := range []string{"isTranscribingEnabled", "isRecordingRequested"} {
		if v, ok := want[k]; ok && string(v) != "null" {
			requests[k] = v
		}
	}
	switch {
	case len(requests) == 0 && o.Role == muc.RoleModerator, !o.HasFeatures() && o.Role == muc.RoleModerator:
		return data, nil
	case len(requests) == 0, !o.HasFeatures(), !o.Allowed("transcription"):
		return nil, xmpp.Forbidden("")
	}
	return json.Marshal(requests)
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
	m.changed(r, key, data)
	m.tell(r)
	return nil
}

// setMetadata sets a key in the server's name; tell says whether everybody is told.
func setMetadata(r *muc.Room, key string, value any, tell bool) {
	m, ok := r.Service(MetadataName).(*Metadata)
	b, err := json.Marshal(value)
	switch {
	case !ok || err != nil:
	case tell:
		_ = m.set(r, key, b) // the flags of the server are short
	default:
		m.put(key, b)
	}
}

// Filter keeps the chat to those who may write, and takes the older way of
// setting startMuted: a moderator's presence.
func (m *Metadata) Filter(r *muc.Room, o *muc.Occupant, s *xmpp.Stanza) (*xmpp.Stanza, error) {
	if s.Kind == xmpp.Message {
		if s.Has("", "body") && m.restricted("groupChatRestricted") && !o.Allowed("send-groupchat") {
			return nil, xmpp.NotAllowed("Sending group messages not allowed") // LJM: CHAT_ERROR
		}
		return s, nil
	}
	// Clients repeat it in all their presences: only what is new is meant.
	if el := s.Child(nsStartMuted, "startmuted"); el != nil && o.Role == muc.RoleModerator && !o.Said(el) {
		m.muteStarters(r, map[string]bool{"audio": el.Get("audio") == "true", "video": el.Get("video") == "true"})
	}
	return s, nil
}

// Private implements muc.Private: the moderators may keep that to some, too
// (mod_filter_messages).
func (m *Metadata) Private(_ *muc.Room, from, _ *muc.Occupant, s *xmpp.Stanza) error {
	if s.Has("", "body") && m.restricted("privateChatRestricted") && !from.Allowed("send-private-message") {
		return xmpp.NotAllowed("Sending private messages not allowed")
	}
	return nil
}

// startMuted is who joins muted, by media type.
func (m *Metadata) startMuted() map[string]bool {
	var all map[string]json.RawMessage
	_ = json.Unmarshal(m.Value("startMuted"), &all) // what moderators put there may be anything
	out := map[string]bool{}
	for _, media := range mediaTypes {
		if v := string(all[media]); v == "true" || v == "false" {
			out[media] = v == "true"
		}
	}
	return out
}

// muteStarters changes that and leaves the media types that it doesn't name.
func (m *Metadata) muteStarters(r *muc.Room, change map[string]bool) {
	all := m.startMuted()
	for k, v := range change {
		all[k] = v
	}
	m.Set(r, "startMuted", all)
}

// restricted reports whether the moderators have reserved something.
func (m *Metadata) restricted(what string) bool {
	var p map[string]json.RawMessage
	return json.Unmarshal(m.Value("permissions"), &p) == nil && string(p[what]) == "true"
}
