package bridge

import (
	"time"

	"confab/bridge/channel"
	"confab/bridge/forward"
)

const (
	// disobeyed is after how long a sender that does something else than it was
	// told is told again: the library of December 2021 loses the second of two
	// changes at once.
	disobeyed = 2 * time.Second
	// maxTold bounds how often it is told the same.
	maxTold = 4
)

// told is a SenderSourceConstraints message that was sent.
type told struct {
	height int
	at     time.Time
	times  int
}

// heights counts for how many receivers a source counts with which height (-1:
// without a limit). There are few different ones.
type heights struct {
	counts []heightCount
}

type heightCount struct{ height, n int }

// change moves one receiver from one height to another.
func (h *heights) change(from, to int) {
	for i := range h.counts {
		if k := &h.counts[i]; from != 0 && k.height == from {
			if k.n--; k.n == 0 {
				h.counts[i] = h.counts[len(h.counts)-1]
				h.counts = h.counts[:len(h.counts)-1]
			}
			break
		}
	}
	if to == 0 {
		return
	}
	for i := range h.counts {
		if k := &h.counts[i]; k.height == to {
			k.n++
			return
		}
	}
	h.counts = append(h.counts, heightCount{to, 1})
}

// max is the greatest height that somebody wants, 0 for nobody.
func (h *heights) max() (top int) {
	for _, k := range h.counts {
		if k.height < 0 {
			return -1
		}
		top = max(top, k.height)
	}
	return top
}

// wants notes that a receiver wants a source of an endpoint in another height than
// before.
func (c *Conference) wants(source, owner string, from, to int) {
	if from == to {
		return
	}
	h := c.heights[source]
	if h == nil {
		h = &heights{}
		c.heights[source] = h
	}
	before := h.max()
	h.change(from, to)
	if len(h.counts) == 0 {
		delete(c.heights, source)
	}
	if ep := c.endpoints[owner]; ep != nil && h.max() != before {
		c.toConstrain[ep] = true
	}
}

// forgetWishes takes back all that a receiver wanted.
func (c *Conference) forgetWishes(ep *endpoint) {
	for name, height := range ep.alloc.effective {
		owner := ""
		if c.table != nil {
			owner = c.table.Owner(name)
		}
		c.wants(name, owner, height, 0)
	}
	ep.alloc.effective = nil
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
		if h := c.heights[s.Name]; h != nil {
			height = h.max()
		}
		last, known := ep.told[s.Name]
		if known && last.height == height || height != 0 {
			delete(ep.unwanted, s.Name)
		}
		if known && last.height == height {
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
		c.tell(ep, s.Name, told{height: height})
	}
}

// tell sends the message, the first time or once more.
func (c *Conference) tell(ep *endpoint, source string, t told) {
	t.at = now()
	t.times++
	ep.told[source] = t
	ep.send(channel.SenderConstraints(source, t.height))
	if ep.endpoints && source == ep.id+"-v0" {
		ep.send(channel.SenderVideoConstraints(t.height))
	}
}

// remind tells a sender again that does not do what it was told.
func (c *Conference) remind(ep *endpoint, at time.Time) {
	for name, t := range ep.told {
		if t.times >= maxTold || at.Sub(t.at) < disobeyed {
			continue
		}
		layers, ok := c.pipe.Layers(name)
		if !ok {
			continue
		}
		lowest, tallest, active := 0, 0, 0
		for _, l := range layers {
			if lowest == 0 || l.Height < lowest {
				lowest = l.Height
			}
			tallest = max(tallest, l.Height)
			if l.Bitrate > 0 {
				active = max(active, l.Height)
			}
		}
		obeys := active == 0
		if t.height != 0 {
			want := tallest
			if t.height > 0 {
				want = max(lowest, min(t.height, tallest))
			}
			// Less than allowed is the sender's affair, nothing at all is not.
			obeys = active > 0 && active <= want
		}
		if obeys {
			t.times = maxTold // and so it stays
			ep.told[name] = t
			continue
		}
		c.tell(ep, name, t)
	}
}
