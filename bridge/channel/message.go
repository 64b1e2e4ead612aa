// Package channel speaks the bridge channel: JSON objects between a client and
// the bridge, over an SCTP data channel or a WebSocket (bridge.md §6, §7).
//
// Rules of this package:
//   - Reading is tolerant: unknown fields and classes are skipped, because clients
//     of five years meet here. What can't be understood is an error that the
//     caller counts; the channel stays open.
//   - What a client sends for another client is passed on with its fields as they
//     were, and with a sender that the bridge wrote.
//   - Messages to many are encoded once.
package channel

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"confab/bridge/alloc"
)

// Classes, the values of colibriClass.
const (
	classClientHello           = "ClientHello"
	classServerHello           = "ServerHello"
	classReceiverConstraints   = "ReceiverVideoConstraints"
	classReceiverConstraint    = "ReceiverVideoConstraint"       // December 2021, old allocation strategy
	classSelectedEndpoints     = "SelectedEndpointsChangedEvent" // likewise
	classLastN                 = "LastNChangedEvent"
	classSourceVideoType       = "SourceVideoTypeMessage"
	classVideoType             = "VideoTypeMessage" // December 2021: of <endpoint>-v0
	classEndpointMessage       = "EndpointMessage"
	classEndpointStats         = "EndpointStats"
	classAudioSubscription     = "ReceiverAudioSubscription"
	classSenderSource          = "SenderSourceConstraints"
	classSenderVideo           = "SenderVideoConstraints" // December 2021
	classForwardedSources      = "ForwardedSources"
	classLastNEndpoints        = "LastNEndpointsChangeEvent" // December 2021
	classDominantSpeaker       = "DominantSpeakerEndpointChangeEvent"
	classConnectivity          = "EndpointConnectivityStatusChangeEvent"
	classConnectionStats       = "ConnectionStats"
	classSyntheticSending      = "SyntheticSourceSendingChangeEvent"
	classVideoSources          = "VideoSourcesMap"
	classAudioSources          = "AudioSourcesMap"
	maxNames, maxNameLength    = 500, 256
	unlimited                  = -1
	errTooMany                 = "more than 500 names"
	errBadHeight, errBadLength = "maxHeight below -1", "name longer than 256 bytes"
)

// Incoming is a message of a client: one of the types below.
type Incoming any

// Hello asks for a ServerHello.
type Hello struct{}

// ReceiverConstraints says what a receiver wants. Names are source names; the
// endpoint ids of old clients have been translated.
type ReceiverConstraints struct {
	alloc.Message
	// Endpoints says that the client speaks of endpoints: it wants the answers of
	// December 2021 as well.
	Endpoints bool
}

// SelectedHeight is the old way to say how large the selected videos are.
type SelectedHeight struct{ MaxHeight int }

// VideoType says what a source shows. Source is "" for the first video source of
// the endpoint.
type VideoType struct {
	Source string
	Type   alloc.VideoType
}

// AudioSubscription says which audio a receiver wants: of the names that are in
// Include but not in Exclude, and with All of all others that are not in Exclude.
type AudioSubscription struct {
	All              bool
	Include, Exclude []string
}

// Relayed is a message for other clients (EndpointMessage, EndpointStats).
type Relayed struct {
	To     string // endpoint id; "" for everybody
	Stats  bool   // EndpointStats
	Size   int    // bytes as it came
	fields map[string]json.RawMessage
}

// Encode is the message with its true sender, and of the class as which it was
// read: Go takes COLIBRICLASS for colibriClass, where clients see another one.
func (r Relayed) Encode(from string) []byte {
	class := classEndpointMessage
	if r.Stats {
		class = classEndpointStats
	}
	r.fields["colibriClass"], _ = json.Marshal(class)
	r.fields["from"], _ = json.Marshal(from)
	b, _ := json.Marshal(r.fields) // what was parsed can be written
	return b
}

// ErrUnknown is a class that the bridge does not read.
var ErrUnknown = errors.New("unknown colibriClass")

// sourceName tells a source name from an endpoint id.
var sourceName = regexp.MustCompile(`-[av]\d+$`)

// videoSource translates what old clients call an endpoint.
func videoSource(id string) (name string, wasEndpoint bool) {
	if sourceName.MatchString(id) {
		return id, false
	}
	return id + "-v0", true
}

// Parse reads one message.
func Parse(b []byte) (Incoming, error) {
	var head struct {
		Class string `json:"colibriClass"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("bridge channel message: %w", err)
	}
	switch head.Class {
	case classClientHello:
		return Hello{}, nil
	case classReceiverConstraints:
		return parseConstraints(b)
	case classLastN:
		var m struct{ LastN *int }
		if err := json.Unmarshal(b, &m); err != nil {
			return nil, fmt.Errorf("%s: %w", head.Class, err)
		}
		return ReceiverConstraints{Message: alloc.Message{LastN: m.LastN}}, nil
	case classSelectedEndpoints:
		var m struct{ SelectedEndpoints []string }
		if err := json.Unmarshal(b, &m); err != nil {
			return nil, fmt.Errorf("%s: %w", head.Class, err)
		}
		return selected(m.SelectedEndpoints)
	case classReceiverConstraint:
		var m struct{ MaxFrameHeight int }
		if err := json.Unmarshal(b, &m); err != nil {
			return nil, fmt.Errorf("%s: %w", head.Class, err)
		}
		return SelectedHeight{max(m.MaxFrameHeight, unlimited)}, nil
	case classSourceVideoType, classVideoType:
		var m struct{ SourceName, VideoType string }
		if err := json.Unmarshal(b, &m); err != nil {
			return nil, fmt.Errorf("%s: %w", head.Class, err)
		}
		if len(m.SourceName) > maxNameLength || head.Class == classSourceVideoType && m.SourceName == "" {
			return nil, fmt.Errorf("%s: source name of %d bytes", head.Class, len(m.SourceName))
		}
		return VideoType{m.SourceName, alloc.ParseVideoType(m.VideoType)}, nil
	case classAudioSubscription:
		return parseSubscription(b)
	case classEndpointMessage, classEndpointStats:
		r := Relayed{Stats: head.Class == classEndpointStats, Size: len(b)}
		if err := json.Unmarshal(b, &r.fields); err != nil {
			return nil, fmt.Errorf("%s: %w", head.Class, err)
		}
		if to, ok := r.fields["to"]; ok && !r.Stats {
			if err := json.Unmarshal(to, &r.To); err != nil {
				return nil, fmt.Errorf("%s: to: %w", head.Class, err)
			}
		}
		return r, nil
	}
	return nil, fmt.Errorf("%w %.40q", ErrUnknown, head.Class)
}

type rawConstraint struct {
	MaxHeight    *int
	MaxFrameRate *float64
}

func (r rawConstraint) constraint() (alloc.Constraint, error) {
	c := alloc.Constraint{MaxHeight: unlimited, MaxFrameRate: unlimited}
	if r.MaxHeight != nil {
		if *r.MaxHeight < unlimited {
			return c, errors.New(errBadHeight)
		}
		c.MaxHeight = *r.MaxHeight
	}
	if r.MaxFrameRate != nil {
		c.MaxFrameRate = *r.MaxFrameRate
	}
	return c, nil
}

func parseConstraints(b []byte) (Incoming, error) {
	var m struct {
		LastN                               *int
		SelectedSources, OnStageSources     *[]string
		SelectedEndpoints, OnStageEndpoints *[]string
		DefaultConstraints                  *rawConstraint
		Constraints                         *map[string]rawConstraint
		AssumedBandwidthBps                 *alloc.Bitrate
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", classReceiverConstraints, err)
	}
	out := ReceiverConstraints{Message: alloc.Message{LastN: m.LastN, AssumedBandwidth: m.AssumedBandwidthBps}}
	fail := func(err error) (Incoming, error) { return nil, fmt.Errorf("%s: %w", classReceiverConstraints, err) }
	if m.DefaultConstraints != nil {
		c, err := m.DefaultConstraints.constraint()
		if err != nil {
			return fail(err)
		}
		out.Default = &c
	}
	if m.Constraints != nil {
		if len(*m.Constraints) > maxNames {
			return fail(errors.New(errTooMany))
		}
		all := make(map[string]alloc.Constraint, len(*m.Constraints))
		for id, raw := range *m.Constraints {
			c, err := raw.constraint()
			if err != nil {
				return fail(err)
			}
			name, old := videoSource(id)
			out.Endpoints = out.Endpoints || old
			all[name] = c
		}
		out.PerSource = all
	}
	var err error
	if out.Selected, err = out.names(m.SelectedSources, m.SelectedEndpoints); err != nil {
		return fail(err)
	}
	if out.OnStage, err = out.names(m.OnStageSources, m.OnStageEndpoints); err != nil {
		return fail(err)
	}
	return out, nil
}

// parseSubscription reads both forms: of today, and the one with a mode and a list.
func parseSubscription(b []byte) (Incoming, error) {
	var m struct {
		All              *bool
		Include, Exclude []string
		Mode             *string
		List             []string
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", classAudioSubscription, err)
	}
	s := AudioSubscription{All: m.All == nil || *m.All, Include: m.Include, Exclude: m.Exclude}
	if m.Mode != nil {
		switch strings.ToLower(*m.Mode) {
		case "all":
			s = AudioSubscription{All: true}
		case "none":
			s = AudioSubscription{}
		case "include":
			s = AudioSubscription{Include: m.List}
		case "exclude":
			s = AudioSubscription{All: true, Exclude: m.List}
		default:
			return nil, fmt.Errorf("%s: unknown mode %.40q", classAudioSubscription, *m.Mode)
		}
	}
	for _, names := range [][]string{s.Include, s.Exclude} {
		if len(names) > maxNames {
			return nil, fmt.Errorf("%s: %s", classAudioSubscription, errTooMany)
		}
		for _, n := range names {
			if len(n) > maxNameLength {
				return nil, fmt.Errorf("%s: %s", classAudioSubscription, errBadLength)
			}
		}
	}
	return s, nil
}

// names takes the newer of the two forms that is present; nil means neither.
func (rc *ReceiverConstraints) names(sources, endpoints *[]string) ([]string, error) {
	from := sources
	if from == nil {
		from = endpoints
		rc.Endpoints = rc.Endpoints || from != nil
	}
	if from == nil {
		return nil, nil
	}
	if len(*from) > maxNames {
		return nil, errors.New(errTooMany)
	}
	out := make([]string, len(*from))
	for i, id := range *from {
		if len(id) > maxNameLength {
			return nil, errors.New(errBadLength)
		}
		out[i], _ = videoSource(id)
	}
	return out, nil
}

// selected maps the event of December 2021: one selected endpoint is on stage,
// several are selected.
func selected(ids []string) (Incoming, error) {
	var rc ReceiverConstraints
	names, err := rc.names(nil, &ids)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", classSelectedEndpoints, err)
	}
	if len(names) == 1 {
		rc.OnStage, rc.Selected = names, []string{}
	} else {
		rc.OnStage, rc.Selected = []string{}, names
	}
	return rc, nil
}
