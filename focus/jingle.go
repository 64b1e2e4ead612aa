package focus

import (
	"errors"
	"slices"
	"time"

	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
	"confab/xmpp/xep/jingle"
	"confab/xmpp/xep/jitmeet"
)

// onIQ handles a request to the occupant "focus". A nil return means answered.
func (c *Conference) onIQ(s *xmpp.Stanza) *xmpp.StanzaError {
	el := s.Payload()
	if el == nil {
		return xmpp.BadRequest("")
	}
	m := c.member(s.From)
	switch {
	case el.NS == xmpp.NSInfo, el.NS == xmpp.NSPing:
		if err := c.s.handleOwnIQ(s); err != nil {
			return stanzaError(err)
		}
		return nil
	case m == nil:
		return xmpp.ItemNotFound("")
	case s.Type != xmpp.TypeSet:
		return xmpp.ServiceUnavailable("")
	case el.NS == jingle.NS && el.Name == "jingle":
		return c.onJingle(m, s, el)
	case el.Name == "mute" && jitmeet.MuteNamespace(el.NS):
		return c.onMute(m, s, el)
	case el.Name == "jibri" && el.NS == jitmeet.NSJibri:
		return c.onJibri(m, s, el)
	case el.Name == "dial" && el.NS == jitmeet.NSRayo:
		return c.onDial(m, s, el)
	}
	return xmpp.ServiceUnavailable("")
}

// stanzaError is err as an answer of a peer, or nil.
func stanzaError(err error) *xmpp.StanzaError {
	var se *xmpp.StanzaError
	if errors.As(err, &se) {
		return se
	}
	return nil
}

func (c *Conference) ack(s *xmpp.Stanza) { c.s.port.Send(s.Result("")) }

// onJingle handles a Jingle action of a member.
func (c *Conference) onJingle(m *Member, s *xmpp.Stanza, el *xmpp.Element) *xmpp.StanzaError {
	j, err := jingle.Parse(el)
	if err != nil {
		return xmpp.BadRequest(err.Error())
	}
	c.s.stats.received.note(j.Action)
	if m.state != memberOffered && m.state != memberActive || j.SID != m.sid {
		return c.onOldSession(m, s, j)
	}
	switch j.Action {
	case jingle.SessionAccept, jingle.TransportAccept:
		return c.onAccept(m, s, j)
	case jingle.TransportInfo:
		return c.onTransportInfo(m, s, j)
	case jingle.TransportReject:
		c.log.Warn("transport rejected", "endpoint", m.nick)
		c.ack(s)
	case jingle.SourceAdd:
		return c.onSourceAdd(m, s, j)
	case jingle.SourceRemove:
		return c.onSourceRemove(m, s, j)
	case jingle.SessionInfo:
		return c.onSessionInfo(m, s, j)
	case jingle.SessionTerminate:
		return c.onTerminate(m, s, j)
	default:
		return xmpp.FeatureNotImplemented("")
	}
	return nil
}

// onOldSession handles an action for a session that has ended or never was.
func (c *Conference) onOldSession(m *Member, s *xmpp.Stanza, j *jingle.Jingle) *xmpp.StanzaError {
	if !slices.Contains(m.old, j.SID) {
		return jingle.UnknownSession()
	}
	switch j.Action {
	case jingle.SessionAccept, jingle.TransportAccept:
		return &xmpp.StanzaError{Type: "cancel", Cond: xmpp.CondGone, Text: "session ended"}
	case jingle.SessionTerminate:
		c.ack(s) // both ended it; if there is another, it has been offered
		return nil
	}
	return jingle.UnknownSession()
}

// onTransportInfo: the client of December 2021 sends its candidates, a client
// that restarts ICE its credentials.
func (c *Conference) onTransportInfo(m *Member, s *xmpp.Stanza, j *jingle.Jingle) *xmpp.StanzaError {
	tr := j.FirstTransport()
	if tr == nil {
		return xmpp.BadRequest("missing transport")
	}
	c.ack(s)
	if tr.Generation != m.iceGen && tr.Generation != 0 {
		return nil // of an earlier restart
	}
	if tr.Generation == 0 && len(tr.Candidates) == 0 && m.state == memberActive {
		return nil // nothing new
	}
	t := *tr
	t.SCTP, t.WebSockets, t.RTCPMux = nil, nil, true
	if m.state == memberActive && t.Generation == 0 {
		t.Fingerprints = nil // as accepted; that of 2021 has no setup
	}
	m.bs.update(colibri2.Endpoint{ID: m.nick, Transport: &colibri2.Transport{ICE: &t}})
	return nil
}

// onSessionInfo: ICE has failed, or is to be restarted in place.
func (c *Conference) onSessionInfo(m *Member, s *xmpp.Stanza, j *jingle.Jingle) *xmpp.StanzaError {
	b := j.BridgeSession
	switch {
	case b != nil && b.ICERestart:
		return c.onICERestart(m, s, b)
	case j.ICEState == "failed" && b != nil && b.ID == m.bs.id:
		c.s.stats.iceFailed.Add(1)
		c.s.place(m.bs.bridge, 0, 1)
		c.ack(s)
		if m.restarts.allow(time.Now(), c.s.cfg.RestartInterval, c.s.cfg.RestartsPerMin) {
			c.reinvite(m)
		}
		return nil
	}
	c.ack(s)
	return nil
}

func (c *Conference) onICERestart(m *Member, s *xmpp.Stanza, b *jingle.BridgeSession) *xmpp.StanzaError {
	c.s.stats.iceRestartsAsked.Add(1)
	refuse := func(se *xmpp.StanzaError) *xmpp.StanzaError {
		c.s.stats.iceRestartsFailed.Add(1)
		return se
	}
	switch {
	case !c.s.cfg.ICERestart:
		return refuse(xmpp.FeatureNotImplemented(""))
	case b.ID != m.bs.id || m.state != memberActive:
		return refuse(xmpp.ItemNotFound(""))
	case !m.iceRestarts.allow(time.Now(), c.s.cfg.RestartInterval, c.s.cfg.RestartsPerMin):
		return refuse(xmpp.ResourceConstraint("rate-limited"))
	}
	c.ack(s)
	sid, bs := m.sid, m.bs
	bs.restartICE(m.nick, func(ep *colibri2.Endpoint, _ error) {
		if c.members[m.nick] != m || m.sid != sid || m.state != memberActive {
			c.s.stats.iceRestartsFailed.Add(1)
			return
		}
		switch {
		case ep == nil || ep.Transport == nil || ep.Transport.ICE == nil:
			c.s.stats.iceRestartsFailed.Add(1)
			c.reinvite(m) // the bridge refuses
		case ep.Transport.ICE.Generation == 0:
			c.s.stats.iceRestartsNotNeeded.Add(1) // it was not connected yet and keeps its agent
		case ep.Transport.ICE.Generation > m.iceGen:
			c.s.stats.iceRestarts.Add(1)
			tr := *ep.Transport.ICE
			m.iceGen = tr.Generation
			tr.RTCPMux, tr.SCTP, tr.WebSockets = true, nil, nil
			c.sendJingle(m, &jingle.Jingle{Action: jingle.TransportInfo, SID: m.sid, Contents: []jingle.Content{
				{Creator: "initiator", Name: c.firstContent(m), Transport: &tr},
			}})
		}
	})
	return nil
}

func (c *Conference) firstContent(m *Member) string {
	if m.features.audio {
		return jingle.Audio
	}
	return jingle.Video
}

// onTerminate ends the session of a client, and makes another when it wants one.
// The id of the bridge session is not compared: the sid is current, so whatever
// the client thinks of the bridge, it has ended this session. LJM swallows
// item-not-found here and would sit without media for ever.
func (c *Conference) onTerminate(m *Member, s *xmpp.Stanza, j *jingle.Jingle) *xmpp.StanzaError {
	restart := j.BridgeSession != nil && j.BridgeSession.Restart
	if restart {
		c.s.stats.restarts.Add(1)
		c.s.place(m.bs.bridge, 0, 1)
	}
	c.endSession(m, true)
	m.settled = true
	if !restart {
		c.ack(s)
		c.publish()
		return nil
	}
	if !m.restarts.allow(time.Now(), c.s.cfg.RestartInterval, c.s.cfg.RestartsPerMin) {
		return xmpp.ResourceConstraint("rate-limited")
	}
	c.ack(s)
	m.settled = false
	c.invite(m)
	return nil
}

// terminate ends a member's session from our side.
func (c *Conference) terminate(m *Member, cond, text string, tellOthers bool) {
	if m.state == memberOffered || m.state == memberActive {
		c.sendJingle(m, &jingle.Jingle{Action: jingle.SessionTerminate, SID: m.sid, Reason: &jingle.Reason{Cond: cond, Text: text}})
	}
	c.endSession(m, tellOthers)
}

// endSession cleans up after a member's session, in whatever state it is.
func (c *Conference) endSession(m *Member, tellOthers bool) {
	m.stopTimers()
	if m.state == memberIdle {
		return
	}
	m.attempt++
	if m.sid != "" {
		m.old = append(m.old, m.sid)
		if len(m.old) > 8 {
			m.old = m.old[1:]
		}
		m.sid = ""
	}
	if tellOthers {
		c.dropSources(m)
	} else {
		c.book.Drop(m.nick)
	}
	if !m.bs.dead {
		m.bs.remove(m.nick)
	}
	c.setState(m, memberIdle)
	m.bs = nil
}

// reinvite replaces a member's session by another.
func (c *Conference) reinvite(m *Member) {
	c.terminate(m, "success", "moving", true)
	m.settled = false
	c.invite(m)
}
