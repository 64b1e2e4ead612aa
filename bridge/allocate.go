package bridge

import (
	"maps"
	"slices"
	"time"

	"confab/bridge/alloc"
	"confab/bridge/channel"
	"confab/bridge/forward"
	"confab/bridge/rtpx"
)

// tableAge is how old measured bitrates may be that are allocated with, when
// nothing is known to have changed.
const tableAge = 200 * time.Millisecond

// starving is how long the first source is kept in its least layer over a network
// that carries less than half of it.
const starving = 3 * time.Second

// allocation is what was decided for one receiver.
type allocation struct {
	at        time.Time
	targets   map[string]rtpx.Layer
	effective map[string]int // source: the height it counts for at its sender
	forwarded []string       // the last ForwardedSources
	climb     climb
	starved   time.Time // since when even the least of the first source is far too much
	resend    bool      // the packet path may have lost targets

	// For those who look.
	available, sending, ideal, next alloc.Bitrate
	ideals                          map[string]rtpx.Layer
	oversending                     bool
	suspended                       int
}

// allocate decides anew for the receivers for which something changed.
func (c *Conference) allocate() {
	if !c.allDirty && len(c.dirty) == 0 && len(c.toConstrain) == 0 {
		return
	}
	if c.allDirty || len(c.dirty) > 0 {
		c.tableStale = c.tableStale || c.allDirty
		at := now()
		c.refreshTable(at)
		for _, ep := range c.order {
			if c.allDirty || c.dirty[ep] {
				c.allocateFor(ep, at)
			}
		}
		c.allDirty = false
		clear(c.dirty)
	}
	for ep := range c.toConstrain {
		if c.endpoints[ep.id] == ep {
			c.constrainSender(ep)
		}
	}
	clear(c.toConstrain)
}

// refreshTable looks at all sources again, unless that was done just now: it takes
// the lock of every sender.
func (c *Conference) refreshTable(at time.Time) {
	if !c.tableStale && c.table != nil && at.Sub(c.tableAt) < tableAge {
		return
	}
	c.table = alloc.NewTable(c.videoSources(), c.speakers.Order())
	c.tableAt, c.tableStale = at, false
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

// available is what an endpoint's network has for video, out of which estimate.
// Audio is not in the estimate (forward: link). Repair comes first: what is sent
// again would be missing for what is sent.
func (c *Conference) available(ep *endpoint) (bps alloc.Bitrate, estimate, repair int64) {
	estimate, trusted := ep.fwd.Estimate()
	if !trusted || !c.s.cfg.TrustBWE {
		return alloc.Unlimited, estimate, 0
	}
	repair = min(ep.fwd.Bandwidth().Retransmission, estimate/4)
	return alloc.Bitrate(estimate - repair), estimate, repair
}

func (c *Conference) allocateFor(ep *endpoint, at time.Time) {
	a := &ep.alloc
	available, estimate, repair := c.available(ep)
	req := alloc.Request{Receiver: ep.id, Constraints: ep.want, Available: available, Table: c.table, Last: a.targets, UpgradeLimit: a.climb.limit(available, at),
		Floor: a.starved.IsZero() || at.Sub(a.starved) < starving}
	if ep.oldHeight != 0 {
		req.Constraints = withSelectedHeight(ep.want, ep.oldHeight)
	}
	req.Constraints.LastN = c.boundLastN(req.Constraints.LastN, c.table.Len())
	c.allocator.VideoLimit = c.s.cfg.Alloc.VideoLimit
	if ep.rewriting {
		c.allocator.VideoLimit = c.s.cfg.VideoSlots
	}
	res := c.allocator.Allocate(&req)

	if a.targets == nil {
		a.targets, a.ideals, a.effective = map[string]rtpx.Layer{}, map[string]rtpx.Layer{}, map[string]int{}
	}
	changed, up, down, thin := false, false, false, true
	for i := range res.Decisions {
		d := &res.Decisions[i]
		was, wanted := a.effective[d.Source], d.Effective.MaxHeight
		if was != wanted {
			a.effective[d.Source] = wanted
			c.wants(d.Source, d.Endpoint, was, wanted)
		}
		last, known := a.targets[d.Source]
		if !known || last != d.Target {
			a.targets[d.Source] = d.Target
			changed = true
			up = up || known && was == wanted && d.Target > last
			if known && was == wanted && d.Target < last && d.Ideal >= last {
				down = true
				thin = thin && d.Target.SameSize(last)
			}
		}
		if ideal, known := a.ideals[d.Source]; !known || ideal != d.Ideal {
			a.ideals[d.Source] = d.Ideal
		}
	}
	if len(a.targets) > len(res.Decisions) {
		changed = true
		for name := range a.targets {
			if !c.table.Has(name) {
				c.wants(name, "", a.effective[name], 0)
				delete(a.targets, name)
				delete(a.ideals, name)
				delete(a.effective, name)
			}
		}
	}
	a.at, a.available, a.sending, a.ideal, a.next = at, available, res.Sending, res.Ideal, res.Next
	a.oversending, a.suspended = res.Oversending, res.Suspended
	if res.Sending <= 2*min(available, alloc.Unlimited/2) {
		a.starved = time.Time{}
	} else if a.starved.IsZero() {
		a.starved = at
	}
	if available != alloc.Unlimited {
		a.climb.decided(up, down, thin, res.Sending, at)
	}
	next := int64(res.Next)
	if l := req.UpgradeLimit; next > 0 && l != 0 && res.Next > l {
		next = 0 // it would not be taken now
	} else if next > 0 {
		next += repair
	}
	ep.fwd.SetDemand(forward.Demand{Acted: estimate, Sending: int64(res.Sending) + repair, Next: next, Ideal: int64(res.Ideal)})
	c.mapVideo(ep, res.Decisions)
	if changed || a.resend {
		a.resend = false
		ep.fwd.SetTargets(a.targets)
	}
	if slices.Equal(res.Forwarded, a.forwarded) {
		return
	}
	a.forwarded = slices.Clone(res.Forwarded)
	ep.send(channel.ForwardedSources(a.forwarded))
	if ep.endpoints {
		ep.send(channel.LastNEndpoints(c.owners(a.forwarded)))
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

// takeLayers looks at what the packet path found out about layers and networks.
func (c *Conference) takeLayers() {
	c.layersAt, c.layersLater = now(), false
	ev := c.pipe.TakeEvents()
	for _, name := range ev.Layers {
		c.layersChanged(name)
	}
	for _, id := range ev.Estimates {
		if ep := c.endpoints[id]; ep != nil {
			c.dirty[ep] = true
		}
	}
}

// layersChanged allocates for those who want the source.
func (c *Conference) layersChanged(name string) {
	c.tableStale = true
	for _, ep := range c.order {
		if ep.alloc.effective[name] != 0 {
			c.dirty[ep] = true
		}
	}
}
