package bridge

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"confab/bridge/alloc"
	"confab/bridge/forward"
	"confab/bridge/rtpx"
)

// ConferenceDebug is the state of one conference, for support and plots. Rates are
// in bits per second.
type ConferenceDebug struct {
	MeetingID, Dominant string
	Endpoints           []EndpointDebug
}

// EndpointDebug is the state of one participant.
type EndpointDebug struct {
	ID, State, Profile, Remote string
	Channel                    string
	Sources                    []SourceDebug // what it sends
	Wants                      any           // what it asked for
	Forwarded                  []string
	PacketsIn, PacketsOut      uint64

	// What it gets. Available is what was divided last, -1 for no limit.
	Network                         forward.Bandwidth
	Available, Sending, Ideal, Next int64
	Oversending                     bool
	Suspended                       int // sources that would be sent if they fitted
	Receives                        []ReceivedDebug
}

// SourceDebug is a source as it arrives. Told is the height that its sender was
// asked for (-1: any).
type SourceDebug struct {
	Name, Kind, VideoType string
	Told                  *int `json:",omitempty"`
	Layers                []LayerDebug
}

// LayerDebug is a layer as it arrives.
type LayerDebug struct {
	ID      string
	Height  int
	FPS     float64
	Bitrate int64
}

// ReceivedDebug is a source as it goes to a receiver: MaxHeight is what counts for
// its sender, Target what is to be forwarded, Ideal what would be if it fitted.
type ReceivedDebug struct {
	Source        string
	MaxHeight     int
	Target, Ideal string
}

// Debug is the state of all conferences.
func (s *Service) Debug(ctx context.Context) []any {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.conferences))
	s.mu.Unlock()
	out := []any{}
	for _, c := range all {
		reply := make(chan any, 1)
		if c.put(evDebug{reply}) != nil {
			continue // it is ending
		}
		select {
		case v := <-reply:
			out = append(out, v)
		case <-time.After(time.Second): // it ended with the question in its mailbox
		case <-ctx.Done():
			return out
		}
	}
	return out
}

func (c *Conference) debug() any {
	out := ConferenceDebug{MeetingID: c.meetingID, Dominant: c.speakers.Dominant()}
	for _, ep := range c.order {
		st, a := ep.transport.Stats(), &ep.alloc
		e := EndpointDebug{ID: ep.id, State: st.State.String(), Profile: st.Profile, Remote: st.Remote.String(),
			Forwarded: a.forwarded, Wants: ep.want, PacketsIn: st.PacketsIn, PacketsOut: st.PacketsOut,
			Network: ep.fwd.Bandwidth(), Available: int64(a.available), Sending: int64(a.sending), Ideal: int64(a.ideal), Next: int64(a.next),
			Oversending: a.oversending, Suspended: a.suspended}
		if a.available == alloc.Unlimited {
			e.Available = -1
		}
		for _, s := range ep.sources {
			e.Sources = append(e.Sources, c.debugSource(ep, s))
		}
		for name, t := range a.targets {
			e.Receives = append(e.Receives, ReceivedDebug{Source: name, MaxHeight: a.effective[name], Target: t.String(), Ideal: a.ideals[name].String()})
		}
		slices.SortFunc(e.Receives, func(a, b ReceivedDebug) int { return cmp.Compare(a.Source, b.Source) })
		switch {
		case ep.ws != nil:
			e.Channel = "websocket"
		case ep.sctp:
			e.Channel = "datachannel"
		}
		out.Endpoints = append(out.Endpoints, e)
	}
	return out
}

func (c *Conference) debugSource(ep *endpoint, s source) SourceDebug {
	out := SourceDebug{Name: s.Name, Kind: s.Kind.String()}
	if s.Kind != forward.Video {
		return out
	}
	out.VideoType = ep.videoType(s).String()
	if t, ok := ep.told[s.Name]; ok {
		out.Told = &t.height
	}
	layers, _ := c.pipe.Layers(s.Name)
	for _, l := range layers {
		out.Layers = append(out.Layers, LayerDebug{ID: rtpx.Layer(l.ID).String(), Height: l.Height, FPS: l.FPS, Bitrate: l.Bitrate})
	}
	return out
}
