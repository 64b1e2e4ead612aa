package bridge

import (
	"slices"

	"confab/bridge/channel"
	"confab/bridge/forward"
)

// listen hands the audio levels that arrived to the speaker detection and
// announces a new dominant speaker (bridge.md §16.2).
func (c *Conference) listen() {
	if len(c.order) == 0 {
		return
	}
	c.pipe.DrainLevels(func(id string, level uint8, at int64) {
		if ep := c.endpoints[id]; ep != nil && !ep.visitor {
			c.speakers.Level(id, level, at)
		}
	})
	c.mapVoices()
	at := c.s.sockets.Now()
	c.speakers.Idle(at)
	if at-c.decided < forward.DecisionInterval {
		return
	}
	c.decided = at
	if c.speakers.Decide(at) {
		c.speakersChanged()
	}
}

func (c *Conference) speakersChanged() {
	order := c.speakers.Order()
	if len(order) == 0 {
		return
	}
	c.pipe.SetDominant(order[0])
	c.s.counters.dominantChanges.Add(1)
	b := channel.DominantSpeaker(order[0], order[1:])
	for _, ep := range c.order {
		ep.send(b)
	}
	c.allDirty = true // the order of sources changed
}

// silence forgets who left. The next in order of speech becomes dominant.
func (c *Conference) silence(id string) {
	was := c.speakers.Dominant()
	if c.speakers.Remove(id) && was == id {
		c.speakersChanged()
	}
}

// recent reports whether the endpoint is among the recent speakers.
func (c *Conference) recent(id string) bool {
	return slices.Contains(c.speakers.Order(), id)
}
