package jitmeet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"confab/xmpp"
)

// JSON messages of the room's components that the focus consumes.

// JSONMessage is the text of a <json-message/> and the room it names, which may be
// "". ok is false when there is none.
func JSONMessage(s *xmpp.Stanza) (text, room string, ok bool) {
	el := s.Child(NS, "json-message")
	if el == nil {
		return "", "", false
	}
	return el.Text, el.Get("room"), true
}

// AVModeration is a message of the AV moderation service.
type AVModeration struct {
	Room       string
	MediaType  string              // audio, video, desktop; lower case
	Enabled    *bool               // nil: not said
	Actor      string              // occupant who switched
	Whitelists map[string][]string // by media type, of occupants; nil: not said
}

var errMessage = errors.New("not a message of that kind")

// ParseAVModeration reads such a message.
func ParseAVModeration(text string) (*AVModeration, error) {
	var in struct {
		Type       string          `json:"type"`
		Room       string          `json:"room"`
		MediaType  string          `json:"mediaType"`
		Enabled    *bool           `json:"enabled"`
		Actor      string          `json:"actor"`
		Whitelists json.RawMessage `json:"whitelists"`
	}
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return nil, fmt.Errorf("av_moderation: %w", err)
	}
	if in.Type != "av_moderation" || in.Room == "" {
		return nil, fmt.Errorf("av_moderation: %w", errMessage)
	}
	out := &AVModeration{Room: in.Room, MediaType: strings.ToLower(in.MediaType), Enabled: in.Enabled, Actor: in.Actor}
	lists := map[string][]string{}
	switch text := string(in.Whitelists); text {
	case "", "null":
		return out, nil
	case "[]": // how Lua writes an empty table
	default:
		if err := json.Unmarshal(in.Whitelists, &lists); err != nil {
			return nil, fmt.Errorf("av_moderation: %w", err)
		}
	}
	out.Whitelists = make(map[string][]string, len(lists))
	for media, list := range lists {
		out.Whitelists[strings.ToLower(media)] = list
	}
	return out, nil
}

// RoomMetadata is what the focus reads of a room's metadata. Every message is the
// full state; pointers are nil for what then stays as it was.
type RoomMetadata struct {
	LobbyEnabled          bool
	VisitorsEnabled       *bool
	ParticipantsSoftLimit *int
	VisitorsLive          bool
	StartMuted            *StartMuted
	Moderators            []string
	Participants          []string // nil: everybody
	Transcribing          bool     // recording.isTranscribingEnabled
	AsyncTranscription    bool
}

// StartMuted says who joins muted.
type StartMuted struct{ Audio, Video bool }

// ParseRoomMetadata reads a message of the room metadata service. A key of a form
// that nobody knows counts as absent: others may put there what they like.
func ParseRoomMetadata(text string) (*RoomMetadata, error) {
	var in struct {
		Type     string                     `json:"type"`
		Metadata map[string]json.RawMessage `json:"metadata"`
	}
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return nil, fmt.Errorf("room_metadata: %w", err)
	}
	if in.Type != "room_metadata" {
		return nil, fmt.Errorf("room_metadata: %w", errMessage)
	}
	out := &RoomMetadata{}
	read := func(key string, to any) bool {
		raw := in.Metadata[key]
		return len(raw) > 0 && !bytes.Equal(raw, []byte("null")) && json.Unmarshal(raw, to) == nil
	}
	var (
		flag      bool
		limit     int
		visitors  struct{ Live bool }
		muted     StartMuted
		recording struct{ IsTranscribingEnabled bool }
		list      []string
	)
	if read("lobbyEnabled", &flag) {
		out.LobbyEnabled = flag
	}
	if v := new(bool); read("visitorsEnabled", v) {
		out.VisitorsEnabled = v
	}
	if read("participantsSoftLimit", &limit) && limit >= 0 {
		out.ParticipantsSoftLimit = &limit
	}
	if read("visitors", &visitors) {
		out.VisitorsLive = visitors.Live
	}
	if read("startMuted", &muted) {
		out.StartMuted = &muted
	}
	if read("moderators", &list) {
		out.Moderators, list = list, nil
	}
	list = nil
	if read("participants", &list) {
		out.Participants = list
	}
	if read("recording", &recording) {
		out.Transcribing = recording.IsTranscribingEnabled
	}
	flag = false
	if read("asyncTranscription", &flag) {
		out.AsyncTranscription = flag
	}
	return out, nil
}
