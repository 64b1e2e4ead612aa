package colibri2

import (
	"errors"
	"fmt"
	"strconv"

	"confab/xmpp"
	"confab/xmpp/xep/jingle"
)

// Modify is <conference-modify/>.
type Modify struct {
	MeetingID string
	Name      string // room JID
	Create    bool
	Expire    bool
	NoRTCStat bool // rtcstats-enabled='false'
	Endpoints []Endpoint
	Relays    []string  // ids of relays: no relay is understood yet, but their presence is refused, not ignored
	Connects  []Connect // what has changed of them; nil = element absent
}

// Endpoint is one endpoint of a request or of an answer.
type Endpoint struct {
	ID           string
	Create       bool
	Expire       bool
	StatsID      string
	MUCRole      string
	Diarize      bool
	Capabilities []string
	Media        []Media
	Transport    *Transport
	Sources      *[]MediaSource // the complete set; nil = unchanged
	ForceMute    *ForceMute
	InitialLastN *int
}

// Media is what an endpoint may send and receive of one media type.
type Media struct {
	Type             string // audio, video
	PayloadTypes     []jingle.PayloadType
	HdrExts          []jingle.HdrExt
	ExtmapAllowMixed bool
}

// Transport is the colibri2 wrapper; ICE is the ice-udp transport in it.
type Transport struct {
	ICEControlling bool // the bridge's role
	UseUniquePort  bool
	ICERestart     bool
	ICE            *jingle.Transport
	SCTP           *SCTP
}

// SCTP asks for a data channel. Port 0 and role "" mean "not said".
type SCTP struct {
	Role string // client, server
	Port int
}

// ForceMute always carries both states.
type ForceMute struct{ Audio, Video bool }

// MediaSource is one microphone, camera or screen.
type MediaSource struct {
	Type      string
	ID        string
	Synthetic bool
	Sources   []jingle.Source
	Groups    []jingle.SSRCGroup
}

// Modified is <conference-modified/>.
type Modified struct {
	Endpoints []Endpoint
	Feedback  []MediaSource // the bridge's own sources; nil = element absent
}

// Errors of Parse; the texts are public.
var (
	ErrNoMeetingID = errors.New("missing meeting-id")
	ErrNoID        = errors.New("missing id")
)

// Has reports whether the endpoint has a capability.
func (ep *Endpoint) Has(capability string) bool {
	for _, c := range ep.Capabilities {
		if c == capability {
			return true
		}
	}
	return false
}

// ParseModify reads a conference-modify.
func ParseModify(el *xmpp.Element) (*Modify, error) {
	m := &Modify{
		MeetingID: el.Get("meeting-id"), Name: el.Get("name"), Create: el.Get("create") == "true",
		Expire: el.Get("expire") == "true", NoRTCStat: el.Get("rtcstats-enabled") == "false",
	}
	if m.MeetingID == "" {
		return nil, ErrNoMeetingID
	}
	for _, k := range el.Kids {
		switch k.Name {
		case "endpoint":
			ep, err := parseEndpoint(k)
			if err != nil {
				return nil, err
			}
			m.Endpoints = append(m.Endpoints, ep)
		case "relay":
			if k.Get("id") == "" {
				return nil, fmt.Errorf("relay: %w", ErrNoID)
			}
			m.Relays = append(m.Relays, k.Get("id"))
		case "connects":
			list, err := parseConnects(k)
			if err != nil {
				return nil, err
			}
			m.Connects = list
		}
	}
	return m, nil
}

// ParseModified reads a conference-modified.
func ParseModified(el *xmpp.Element) (*Modified, error) {
	m := &Modified{}
	for _, k := range el.Kids {
		switch k.Name {
		case "endpoint":
			ep, err := parseEndpoint(k)
			if err != nil {
				return nil, err
			}
			m.Endpoints = append(m.Endpoints, ep)
		case "sources":
			m.Feedback = parseMediaSources(k)
		}
	}
	return m, nil
}

// Endpoint is the answer's part for one endpoint, or nil.
func (m *Modified) Endpoint(id string) *Endpoint {
	for i := range m.Endpoints {
		if m.Endpoints[i].ID == id {
			return &m.Endpoints[i]
		}
	}
	return nil
}

func parseEndpoint(el *xmpp.Element) (Endpoint, error) {
	ep := Endpoint{
		ID: el.Get("id"), Create: el.Get("create") == "true", Expire: el.Get("expire") == "true",
		StatsID: el.Get("stats-id"), MUCRole: el.Get("muc-role"), Diarize: el.Get("diarize") == "true",
	}
	if ep.ID == "" {
		return ep, fmt.Errorf("endpoint: %w", ErrNoID)
	}
	for _, k := range el.Kids {
		switch k.Name {
		case "capability":
			ep.Capabilities = append(ep.Capabilities, k.Get("name"))
		case "media":
			md := Media{Type: k.Get("type")}
			md.PayloadTypes, md.HdrExts, md.ExtmapAllowMixed = jingle.ParseRTP(k)
			ep.Media = append(ep.Media, md)
		case "transport":
			ep.Transport = parseTransport(k)
		case "sources":
			srcs := parseMediaSources(k)
			ep.Sources = &srcs
		case "force-mute":
			ep.ForceMute = &ForceMute{Audio: k.Get("audio") == "true", Video: k.Get("video") == "true"}
		case "initial-last-n":
			if n, err := strconv.ParseInt(k.Get("value"), 10, 32); err == nil {
				v := int(n)
				ep.InitialLastN = &v
			}
		}
	}
	return ep, nil
}

func parseTransport(el *xmpp.Element) *Transport {
	t := &Transport{
		ICEControlling: el.Get("ice-controlling") == "true",
		UseUniquePort:  el.Get("use-unique-port") == "true",
		ICERestart:     el.Get("ice-restart") == "true",
	}
	for _, k := range el.Kids {
		switch k.Name {
		case "transport":
			t.ICE = jingle.ParseTransport(k)
		case "sctp":
			t.SCTP = &SCTP{Role: k.Get("role")}
			if n, err := strconv.ParseUint(k.Get("port"), 10, 16); err == nil {
				t.SCTP.Port = int(n)
			}
		}
	}
	return t
}

func parseMediaSources(el *xmpp.Element) []MediaSource {
	out := []MediaSource{}
	for _, k := range el.Children("", "media-source") {
		ms := MediaSource{Type: k.Get("type"), ID: k.Get("id"), Synthetic: k.Get("synthetic") == "true"}
		ms.Sources, ms.Groups = jingle.ParseSources(k)
		out = append(out, ms)
	}
	return out
}
