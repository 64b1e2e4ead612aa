package bridge

import (
	"slices"

	"confab/bridge/channel"
)

// Messages of clients to clients (bridge.md §7.8, §7.9). What goes to everybody
// costs the bridge as often as there are receivers, so it is weighed and rationed;
// what is above waits for its turn, as far as there is room for it.

const (
	// maxHeld and maxHeldBytes bound the messages of one endpoint that wait: one of
	// the longest that are read, or some of a size that apps send.
	maxHeld      = 16
	maxHeldBytes = 64 << 10
)

// held are messages to everybody that wait for their turn.
type held struct {
	list  []heldMessage
	bytes int
}

type heldMessage struct {
	b    []byte // as it goes out
	size int    // as it came
}

// relay passes a message on, encoded once. Visitors are not heard. Nobody can flood
// the channels of the others: what is too slow for them ends them.
func (c *Conference) relay(from *endpoint, m channel.Relayed) {
	switch {
	case from.visitor:
	case m.To != "":
		if to := c.endpoints[m.To]; to != nil && to != from {
			to.send(m.Encode(from.id))
		}
	case len(from.held.list) == 0 && c.mayBroadcast(from, m.Size):
		c.broadcast(from, m.Encode(from.id), m.Stats)
	case !m.Stats && len(from.held.list) < maxHeld && from.held.bytes+m.Size <= maxHeldBytes:
		from.held.list = append(from.held.list, heldMessage{m.Encode(from.id), m.Size})
		from.held.bytes += m.Size
	default: // of statistics the next are as good
		c.s.counters.messagesDropped.Add(1)
	}
}

// mayBroadcast takes the weight of a message of so many bytes out of its sender's
// ration.
func (c *Conference) mayBroadcast(from *endpoint, size int) bool {
	return from.broadcasts.AllowN(now(), min(broadcastWeight(size, len(c.order)), from.broadcasts.Burst()))
}

// broadcastWeight is what a message of n bytes to so many counts for: one for every
// 4 KiB begun, as often as there are 100 receivers begun. No message counts for more
// than the whole ration, or it would never pass.
func broadcastWeight(n, receivers int) int { return (1 + n>>12) * (1 + receivers/100) }

// release sends the messages of an endpoint whose turn has come.
func (c *Conference) release(from *endpoint) {
	h := &from.held
	n := 0
	for n < len(h.list) && c.mayBroadcast(from, h.list[n].size) {
		c.broadcast(from, h.list[n].b, false)
		h.bytes -= h.list[n].size
		n++
	}
	h.list = slices.Delete(h.list, 0, n)
}

func (c *Conference) broadcast(from *endpoint, b []byte, stats bool) {
	for _, ep := range c.order {
		if ep != from && (!stats || c.wantsStats(ep, from)) {
			ep.send(b)
		}
	}
}

// statsThreshold is the size up to which everybody gets everybody's statistics.
const statsThreshold = 20

// wantsStats thins out statistics in a large conference: those of recent speakers
// and of whom the receiver watches are passed on (bridge.md §7.9).
func (c *Conference) wantsStats(to, from *endpoint) bool {
	if len(c.order) <= statsThreshold || c.recent(from.id) {
		return true
	}
	for _, s := range from.sources {
		if to.alloc.effective[s.Name] != 0 || slices.Contains(to.want.OnStage, s.Name) || slices.Contains(to.want.Selected, s.Name) {
			return true
		}
	}
	return false
}
