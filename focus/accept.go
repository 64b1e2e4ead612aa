package focus

import (
	"confab/focus/sources"
	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
	"confab/xmpp/xep/jingle"
)

// What clients announce: session-accept, source-add, source-remove.

// announced reads the sources of a client's action, in XML or in JSON.
func announced(m *Member, j *jingle.Jingle) (sources.Set, *xmpp.StanzaError) {
	var set sources.Set
	if j.BadSources {
		return set, xmpp.BadRequest("Invalid JSON sources")
	}
	for i := range j.Contents {
		ct := &j.Contents[i]
		media, ok := sources.MediaOf(ct.Media())
		if !ok || ct.Description == nil {
			continue
		}
		set.Append(m.nick, media, ct.Description.Sources, ct.Description.Groups)
	}
	for owner, es := range j.Sources {
		if owner != m.nick {
			return set, xmpp.BadRequest("Sources of another endpoint")
		}
		set.Append(m.nick, sources.Video, es.Video, es.VideoGroups)
		set.Append(m.nick, sources.Audio, es.Audio, es.AudioGroups)
	}
	return set, nil
}

// onAccept takes session-accept. The session becomes active before its sources
// are taken, so that what the others announce meanwhile can flow.
func (c *Conference) onAccept(m *Member, s *xmpp.Stanza, j *jingle.Jingle) *xmpp.StanzaError {
	if m.state != memberOffered {
		// XEP-0166 §7.2.1: out of order.
		se := &xmpp.StanzaError{Type: "wait", Cond: xmpp.CondUnexpectedRequest}
		se.App = `<out-of-order xmlns="` + jingle.NSErrors + `"/>`
		return se
	}
	tr := j.FirstTransport()
	set, se := announced(m, j)
	switch {
	case se != nil:
	case tr == nil || tr.Ufrag == "" || tr.Pwd == "" || len(tr.Fingerprints) == 0:
		se = xmpp.BadRequest("missing transport")
	case m.role == "visitor" && !set.Empty():
		se = xmpp.Forbidden("visitors have no sources")
	default:
		if err := c.book.Add(m.nick, set); err != nil {
			se = xmpp.BadRequest(err.Error())
		}
	}
	if se != nil {
		// The client gives up the conference and reloads.
		c.s.stats.sourceRefusals.Add(1)
		c.log.Warn("session-accept refused", "endpoint", m.nick, "err", se)
		c.endSession(m, true)
		m.settled = true
		return se
	}
	c.setState(m, memberActive)
	c.s.stats.accepts.Add(1)
	if !set.Empty() {
		c.changed(m.nick)
	}
	t := *tr
	t.RTCPMux, t.SCTP, t.WebSockets = true, nil, nil
	m.bs.update(colibri2.Endpoint{
		ID: m.nick, StatsID: m.statsID, Transport: &colibri2.Transport{ICE: &t},
		Sources: c.bridgeSources(m), InitialLastN: j.InitialLastN(),
	})
	c.ack(s)
	return nil
}

func (c *Conference) onSourceAdd(m *Member, s *xmpp.Stanza, j *jingle.Jingle) *xmpp.StanzaError {
	set, se := announced(m, j)
	if se == nil && m.role == "visitor" {
		se = xmpp.Forbidden("visitors have no sources")
	}
	if se == nil {
		se = c.tooMany(m, set)
	}
	if se == nil {
		if err := c.book.Add(m.nick, set); err != nil {
			se = xmpp.BadRequest(err.Error())
		}
	}
	if se != nil {
		c.s.stats.sourceRefusals.Add(1)
		c.log.Warn("source-add refused", "endpoint", m.nick, "err", se)
		return se
	}
	c.s.stats.sourceAdds.Add(1)
	c.ack(s)
	c.sourcesChanged(m, set)
	return nil
}

func (c *Conference) onSourceRemove(m *Member, s *xmpp.Stanza, j *jingle.Jingle) *xmpp.StanzaError {
	set, se := announced(m, j)
	if se != nil {
		return se
	}
	removed, err := c.book.Remove(m.nick, set)
	if err != nil {
		return xmpp.BadRequest(err.Error())
	}
	c.ack(s)
	c.sourcesChanged(m, removed)
	return nil
}

func (c *Conference) sourcesChanged(m *Member, what sources.Set) {
	if what.Empty() {
		return
	}
	c.changed(m.nick)
	m.bs.update(colibri2.Endpoint{ID: m.nick, Sources: c.bridgeSources(m)})
}
