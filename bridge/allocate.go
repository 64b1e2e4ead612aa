package bridge

import (
	"maps"
	"slices"

	"confab/bridge/alloc"
	"confab/bridge/channel"
	"confab/bridge/forward"
	"confab/bridge/rtpx"
)

// allocate decides anew for the receivers for which something changed.
func (c *Conference) allocate() {
	if !c.allDirty && len(c.dirty) == 0 {
		return
	}
	req := alloc.Request{Available: alloc.Unlimited, Speakers: c.speakers.Order(), Sources: c.videoSources()}
	for _, ep := range c.order {
		if c.allDirty || c.dirty[ep] {
			c.allocateFor(ep, req)
		}
	}
	if c.allDirty {
		c.allocated = now()
	}
	c.allDirty = false
	clear(c.dirty)
	for _, ep := range c.order {
		c.constrainSender(ep)
	}
}

// videoSources lists the sources of all endpoints in order of joining.
func (c *Conference) videoSources() []alloc.Source {
	var out []alloc.Source
	for _, ep := range c.order {
		for _, s := range ep.sources {
			if s.Kind != forward.Video {
				continue
			}
			if layers, ok := c.pipe.Layers(s.Name); ok {
				out = append(out, alloc.Source{Name: s.Name, Endpoint: ep.id, Type: ep.videoType(s), Layers: layers})
			}
		}
	}
	return out
}

func (c *Conference) allocateFor(ep *endpoint, req alloc.Request) {
	req.Receiver = ep.id
	req.Constraints = ep.want
	if ep.oldHeight != 0 {
		req.Constraints = withSelectedHeight(ep.want, ep.oldHeight)
	}
	res := c.s.cfg.Alloc.Allocate(req)
	targets := make(map[string]rtpx.Layer, len(res.Decisions))
	ep.effective = make(map[string]int, len(res.Decisions))
	for _, d := range res.Decisions {
		targets[d.Source] = d.Target
		ep.effective[d.Source] = d.Effective.MaxHeight
	}
	ep.fwd.SetTargets(targets)
	if slices.Equal(res.Forwarded, ep.forwarded) {
		return
	}
	ep.forwarded = res.Forwarded
	ep.send(channel.ForwardedSources(ep.forwarded))
	if ep.endpoints {
		ep.send(channel.LastNEndpoints(c.owners(ep.forwarded)))
	}
}

// withSelectedHeight gives what is on stage or selected the height that an old
// client names apart.
func withSelectedHeight(want alloc.Constraints, height int) alloc.Constraints {
	per := maps.Clone(want.PerSource)
	if per == nil {
		per = map[string]alloc.Constraint{}
	}
	for _, names := range [][]string{want.OnStage, want.Selected} {
		for _, name := range names {
			per[name] = alloc.Height(height)
		}
	}
	want.PerSource = per
	return want
}

// owners are the endpoints of sources, each once, in order.
func (c *Conference) owners(sources []string) []string {
	var out []string
	for _, name := range sources {
		for _, ep := range c.order {
			if hasSource(ep.sources, name) && !slices.Contains(out, ep.id) {
				out = append(out, ep.id)
			}
		}
	}
	return out
}

// constrainSender tells a sender how large each of its sources is wanted at most,
// so that nobody encodes what nobody watches (bridge.md §15). That nobody watches
// it at all is told when it has stayed so for a while: often somebody does a moment
// later, when the channel of a receiver opens or the speaker changes, and clients
// that are told both at once may keep to the first.
func (c *Conference) constrainSender(ep *endpoint) {
	for _, s := range ep.sources {
		if s.Kind != forward.Video {
			continue
		}
		height := 0
		for _, r := range c.order {
			if h := r.effective[s.Name]; r != ep && height >= 0 && (h < 0 || h > height) {
				height = h
			}
		}
		last, told := ep.sent[s.Name]
		if told && last == height || height != 0 {
			delete(ep.unwanted, s.Name)
		}
		if told && last == height {
			continue
		}
		if ep.ws == nil && !ep.sctp {
			continue // told when a channel opens
		}
		if height == 0 {
			since, waiting := ep.unwanted[s.Name]
			if !waiting {
				ep.unwanted[s.Name] = now()
				continue
			}
			if now().Sub(since) < c.s.cfg.SuspendAfter {
				continue
			}
			delete(ep.unwanted, s.Name)
		}
		ep.sent[s.Name] = height
		ep.send(channel.SenderConstraints(s.Name, height))
		if ep.endpoints && s.Name == ep.id+"-v0" {
			ep.send(channel.SenderVideoConstraints(height))
		}
	}
}

// takeLayers looks at what the packet path found out about layers.
func (c *Conference) takeLayers() {
	c.layersAt, c.layersLater = now(), false
	for _, name := range c.pipe.TakeEvents().Layers {
		c.layersChanged(name)
	}
}

// layersChanged allocates for those who may want the source.
func (c *Conference) layersChanged(name string) {
	for _, ep := range c.order {
		if !hasSource(ep.sources, name) {
			c.dirty[ep] = true
		}
	}
}
