package focus

import (
	"time"

	"confab/focus/sources"
	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
	"confab/xmpp/xep/jingle"
)

// Telling members about each other's sources. Each member has what it has been
// told (signalled); what it should know follows from the book. The difference
// for the endpoints that changed is sent, removals first, one IQ each. So a
// source is never told twice, and one that comes and goes in between never.

// receiver is what m can be told about.
func (m *Member) receiver() sources.Receiver {
	return sources.Receiver{Audio: m.features.audio, Video: m.features.video}
}

// offerSources puts all that m should know into its offer, and begins its book
// anew.
func (c *Conference) offerSources(m *Member, j *jingle.Jingle) {
	m.signalled, m.dirty = map[string]sources.Set{}, map[string]bool{}
	owners := []string{sources.Bridge}
	if !m.rewriting {
		for _, owner := range c.book.Owners() {
			if owner != sources.Bridge && owner != m.nick {
				owners = append(owners, owner)
			}
		}
	}
	all := map[string]sources.Set{}
	for _, owner := range owners {
		if set := c.book.Get(owner).For(m.receiver()); !set.Empty() {
			m.signalled[owner] = set
			all[owner] = set
		}
	}
	putSources(j, owners, all, m.features.json)
}

// putSources writes sources into j, as JSON or into the contents' descriptions;
// contents that are missing are added.
func putSources(j *jingle.Jingle, owners []string, sets map[string]sources.Set, asJSON bool) {
	if asJSON {
		j.Sources = jingle.CompactSources{}
		for owner, set := range sets {
			j.Sources[owner] = set.Compact()
		}
		return
	}
	for _, m := range []sources.Media{sources.Audio, sources.Video} {
		var srcs []jingle.Source
		var groups []jingle.SSRCGroup
		for _, owner := range owners {
			s, g := sets[owner].Media(m, owner)
			srcs, groups = append(srcs, s...), append(groups, g...)
		}
		if len(srcs)+len(groups) == 0 {
			continue
		}
		var d *jingle.Description
		for i := range j.Contents {
			if j.Contents[i].Name == m.String() {
				d = j.Contents[i].Description
			}
		}
		if d == nil {
			d = &jingle.Description{Media: m.String()}
			j.Contents = append(j.Contents, jingle.Content{Name: m.String(), Description: d})
		}
		d.Sources, d.Groups = append(d.Sources, srcs...), append(d.Groups, groups...)
	}
}

// changed notes that the sources of an endpoint are not what they were, and
// tells its bridge.
func (c *Conference) changed(owner string) { c.dirty[owner] = true }

// flushSources tells all members what has changed. It runs after each batch of
// events, so that changes that arrive together are told together.
func (c *Conference) flushSources() {
	if len(c.dirty) > 0 {
		for _, m := range c.order {
			if m.rewriting {
				continue // its bridge tells it
			}
			for owner := range c.dirty {
				if owner != m.nick && c.members[owner] != nil {
					m.dirty[owner] = true
				}
			}
		}
		clear(c.dirty)
	}
	delay := c.s.cfg.delay(len(c.members))
	for _, m := range c.order {
		if len(m.dirty) == 0 || m.state != memberActive || m.flush != nil {
			continue
		}
		if delay == 0 {
			c.tell(m)
			continue
		}
		var t *time.Timer
		t = c.after(delay, func() {
			if m.flush == t {
				m.flush = nil
				if m.state == memberActive && c.members[m.nick] == m {
					c.tell(m)
				}
			}
		})
		m.flush = t
	}
}

// tell sends m the difference between what it should know and what it knows.
func (c *Conference) tell(m *Member) {
	gone, added := map[string]sources.Set{}, map[string]sources.Set{}
	var owners []string
	for owner := range m.dirty {
		owners = append(owners, owner)
		want, have := c.book.Get(owner).For(m.receiver()), m.signalled[owner]
		if d := have.Minus(want); !d.Empty() {
			gone[owner] = d
		}
		if d := want.Minus(have); !d.Empty() {
			added[owner] = d
		}
		if m.signalled[owner] = want; want.Empty() {
			delete(m.signalled, owner)
		}
	}
	clear(m.dirty)
	c.sendSources(m, jingle.SourceRemove, owners, gone)
	c.sendSources(m, jingle.SourceAdd, owners, added)
}

// sendSources is fire and forget: a client whose connection is cut off gets it
// after its resumption, and answers then.
func (c *Conference) sendSources(m *Member, action string, owners []string, sets map[string]sources.Set) {
	if len(sets) == 0 {
		return
	}
	j := &jingle.Jingle{Action: action, SID: m.sid}
	putSources(j, owners, sets, m.features.json)
	c.sendJingle(m, j)
}

func (c *Conference) sendJingle(m *Member, j *jingle.Jingle) {
	c.s.stats.sent.note(j.Action)
	set := xmpp.NewStanza(xmpp.IQ, xmpp.TypeSet, "", xmpp.JID{}, m.jid, j.String())
	c.s.port.Go(set, c.s.cfg.ReplyTimeout, func(_ *xmpp.Stanza, err error) {
		if se := stanzaError(err); se != nil {
			c.log.Debug("client refuses", "endpoint", m.nick, "action", j.Action, "err", se)
		}
	})
}

// bridgeSources is the complete set of an endpoint, as its bridge gets it.
func (c *Conference) bridgeSources(m *Member) *[]colibri2.MediaSource {
	out := []colibri2.MediaSource{}
	for _, n := range c.book.Get(m.nick).BySource() {
		out = append(out, colibri2.MediaSource{Type: n.Media.String(), ID: n.Name, Sources: n.Sources, Groups: n.Groups})
	}
	return &out
}

// dropSources forgets what m sends; the others are told.
func (c *Conference) dropSources(m *Member) {
	if set := c.book.Drop(m.nick); !set.Empty() {
		c.changed(m.nick)
	}
}
