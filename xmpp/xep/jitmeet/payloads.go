package jitmeet

import (
	"encoding/json"
	"strings"

	"confab/xmpp"
)

// Mute is <mute/> in one of NSAudio, NSVideo, NSDesktop.
type Mute struct {
	NS    string
	JID   string // occupant to mute, in requests; not yet parsed
	Actor string // occupant who asked, in what the focus forwards
	Mute  bool
	Valid bool // read only: the text was true or false
}

// MuteNamespace reports whether ns is that of a mute.
func MuteNamespace(ns string) bool { return ns == NSAudio || ns == NSVideo || ns == NSDesktop }

// ParseMute reads a mute element.
func ParseMute(el *xmpp.Element) *Mute {
	text := strings.TrimSpace(el.Text)
	return &Mute{NS: el.NS, JID: el.Get("jid"), Actor: el.Get("actor"), Mute: text == "true", Valid: text == "true" || text == "false"}
}

// String is m as XML.
func (m *Mute) String() string {
	var e xmpp.Enc
	return e.Start("mute", m.NS).AttrIf("jid", m.JID).AttrIf("actor", m.Actor).Text(boolText(m.Mute)).End().String()
}

// Logout is <logout/>; the reply may have a logout-url.
type Logout struct{ SessionID, LogoutURL string }

// ParseLogout reads a logout element.
func ParseLogout(el *xmpp.Element) *Logout {
	return &Logout{SessionID: el.Get("session-id"), LogoutURL: el.Get("logout-url")}
}

// String is l as XML.
func (l *Logout) String() string {
	var e xmpp.Enc
	return e.Start("logout", NSFocus).AttrIf("session-id", l.SessionID).AttrIf("logout-url", l.LogoutURL).End().String()
}

// EncodeConferenceProperties writes <conference-properties/>, the complete list:
// clients replace what they had.
func EncodeConferenceProperties(e *xmpp.Enc, props []Property) {
	e.Start("conference-properties", NSFocus)
	for _, p := range props {
		e.Start("property", NSFocus).Attr("key", p.Name).Attr("value", p.Value).End()
	}
	e.End()
}

// EncodeVersions writes <versions/> with one component.
func EncodeVersions(e *xmpp.Enc, component, version string) {
	e.Start("versions", NS).Start("component", NS).Attr("name", component).Text(version).End().End()
}

// SourceState is the state of one source in an occupant's presence.
type SourceState struct {
	Muted     bool
	VideoType string // camera, desktop or ""
	Audio     bool   // else video
}

// ParseSourceInfo reads the text of <SourceInfo/>: name → state. A missing
// "muted" means muted; what is no source of a known medium is skipped.
func ParseSourceInfo(text string) (map[string]SourceState, error) {
	var in map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return nil, err
	}
	out := make(map[string]SourceState, len(in))
	for name, raw := range in {
		var v struct {
			Muted     any `json:"muted"`
			VideoType any `json:"videoType"`
			MediaType any `json:"mediaType"`
		}
		if err := json.Unmarshal(raw, &v); err != nil {
			return nil, err
		}
		media, _ := v.MediaType.(string)
		media = strings.ToLower(media)
		if media == "" {
			// The letter after the first dash: abcd1234-v0.
			if _, rest, ok := strings.Cut(name, "-"); ok && rest != "" {
				switch rest[0] {
				case 'a':
					media = "audio"
				case 'v':
					media = "video"
				}
			}
		}
		if media != "audio" && media != "video" {
			continue
		}
		st := SourceState{Muted: true, Audio: media == "audio"}
		if m, ok := v.Muted.(bool); ok {
			st.Muted = m
		}
		st.VideoType, _ = v.VideoType.(string)
		out[name] = st
	}
	return out, nil
}
