package bridge

import (
	"slices"

	"confab/bridge/alloc"
	"confab/bridge/channel"
	"confab/bridge/forward"
)

// Telling clients that take part in SSRC rewriting which source they get under
// which SSRC (bridge.md §7.7, §12). Nothing is mapped while no channel is open:
// the client would not know whom it hears.

// mapped is what was last given slots, or tried to.
type mapped struct {
	names   []string
	need    int
	sources uint64 // Conference.sourcesSet of then
}

// reachable reports whether a channel is open.
func (ep *endpoint) reachable() bool { return ep.ws != nil || ep.sctp }

// mapVideo gives slots to what the receiver may get of video. What it wants comes
// first; with what is left it hears of cameras that it may scroll to.
func (c *Conference) mapVideo(ep *endpoint, ds []alloc.Decision) {
	if !ep.rewriting || !ep.reachable() {
		return
	}
	names := c.names[:0]
	for _, d := range ds {
		if d.Effective.MaxHeight != 0 {
			names = append(names, d.Source)
		}
	}
	need := len(names)
	for _, d := range ds {
		if d.Effective.MaxHeight == 0 && c.isOn(d.Endpoint, d.Source) {
			names = append(names, d.Source)
		}
	}
	c.names = names
	// What was wanted last is taken from first, so it is of interest only when what is
	// wanted changes.
	m := &ep.mapped
	if !ep.unmapped && m.need == need && m.sources == c.sourcesSet && slices.Equal(m.names, names) {
		return
	}
	m.names, m.need, m.sources = append(m.names[:0], names...), need, c.sourcesSet
	ep.unmapped = !ep.fwd.Assign(forward.Video, names, need, func(ms []forward.Mapping) { ep.send(channel.VideoSources(c.mapped(ms))) })
}

// mapAudio gives slots to voices; those that are silent take none from others.
func (c *Conference) mapAudio(ep *endpoint, heard, silent []string) {
	if !ep.rewriting || !ep.reachable() || len(heard)+len(silent) == 0 {
		return
	}
	names := append(heard[:len(heard):len(heard)], silent...)
	ep.fwd.Assign(forward.Audio, names, len(heard), func(ms []forward.Mapping) { ep.send(channel.AudioSources(c.mapped(ms))) })
}

// mapVoices looks for voices that found no slot. It runs with every look at audio
// levels, so that several that begin together are told together: each map makes
// clients negotiate.
func (c *Conference) mapVoices() {
	heard, silent := c.pipe.TakeVoices()
	if len(heard)+len(silent) == 0 {
		return
	}
	for _, ep := range c.order {
		c.mapAudio(ep, heard, silent)
	}
}

// sendMaps tells all that is mapped.
func (c *Conference) sendMaps(ep *endpoint) {
	if ms := ep.fwd.Mappings(forward.Video); len(ms) > 0 {
		ep.send(channel.VideoSources(c.mapped(ms)))
	}
	if ms := ep.fwd.Mappings(forward.Audio); len(ms) > 0 {
		ep.send(channel.AudioSources(c.mapped(ms)))
	}
}

func (c *Conference) mapped(ms []forward.Mapping) []channel.Mapped {
	out := make([]channel.Mapped, len(ms))
	for i, m := range ms {
		out[i] = channel.Mapped{Source: m.Source, Owner: m.Owner, SSRC: m.SSRC, RTX: m.RTX, Mid: m.Mid}
		if m.RTX != 0 {
			out[i].VideoType = c.shows(m.Owner, m.Source).String()
		}
	}
	return out
}

// shows is what a video source shows, or would if it were on.
func (c *Conference) shows(owner, name string) alloc.VideoType {
	if ep := c.endpoints[owner]; ep != nil {
		for _, s := range ep.sources {
			if t := ep.videoType(s); s.Name == name && t.Enabled() {
				return t
			} else if s.Name == name && s.videoType.Enabled() {
				return s.videoType
			}
		}
	}
	return alloc.Camera
}

// isOn reports whether a video source has a picture.
func (c *Conference) isOn(owner, name string) bool {
	ep := c.endpoints[owner]
	return ep != nil && slices.ContainsFunc(ep.sources, func(s source) bool { return s.Name == name && ep.videoType(s).Enabled() })
}
