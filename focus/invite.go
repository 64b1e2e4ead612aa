package focus

import (
	"time"

	"confab/focus/bridges"
	"confab/focus/sources"
	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
	"confab/xmpp/xep/jingle"
)

// From a member without a session to an offer: choose a bridge, have an endpoint
// made, send session-initiate.

func (c *Conference) inviteAll() {
	if len(c.members) < c.minParticipants() {
		return
	}
	for _, m := range c.order {
		c.invite(m)
	}
}

// invite starts an invitation unless there is nothing to invite or no reason to.
func (c *Conference) invite(m *Member) {
	if c.state != stateJoined || c.members[m.nick] != m || len(c.members) < c.minParticipants() ||
		m.state != memberIdle || !m.known || !m.media() || m.settled || m.retry != nil || m.role == "visitor" && !m.visitor {
		return
	}
	c.allocate(m)
}

// media reports whether m takes part in the media. Who is known for a Jitsi
// client by its presence needs no feature of Jitsi's to be one. In a room that
// lets somebody in under the name of the bridge, its sources would be mixed with
// the placeholders, and go with it.
func (m *Member) media() bool {
	f := m.features
	f.jitsi = f.jitsi || m.jitsi
	return f.media() && m.nick != sources.Bridge
}

func (c *Conference) allocate(m *Member) {
	bs := c.sessionFor(m)
	if bs == nil {
		c.withoutBridge()
		return
	}
	c.bridgeFound()
	m.bs = bs
	c.setState(m, memberAllocating)
	m.attempt++
	attempt := m.attempt
	m.rewriting = c.s.rewriting.Load() && m.features.rewriting
	m.mids = m.rewriting && c.s.mids.Load() && m.features.mids
	bs.allocate(c.endpoint(m), func(ep *colibri2.Endpoint, err error) {
		// Somebody who left, or is being invited anew, has had its endpoint removed.
		if c.members[m.nick] != m || m.attempt != attempt || m.bs != bs || m.state != memberAllocating {
			return
		}
		if err != nil {
			c.allocationFailed(m, bs, err)
			return
		}
		c.offer(m, ep)
	})
}

// SetRewriting changes whether those who are invited from now on take part in SSRC
// rewriting and are told mids, if they can.
func (s *Service) SetRewriting(on, mids bool) {
	s.rewriting.Store(on)
	s.mids.Store(mids)
}

// setState keeps the count of participants.
func (c *Conference) setState(m *Member, st memberState) {
	switch {
	case m.state == memberIdle && st != memberIdle:
		c.s.stats.participants.Add(1)
		c.heads.sessions.Add(1)
		c.s.place(m.bs.bridge, 1, 0)
		if m.began.IsZero() {
			m.began = time.Now()
			c.s.stats.participantsTotal.Add(1)
		}
	case m.state != memberIdle && st == memberIdle:
		c.s.stats.participants.Add(-1)
		c.heads.sessions.Add(-1)
		c.s.place(m.bs.bridge, -1, 0)
	}
	m.state = st
}

// countTime notes how long somebody who is leaving has taken part.
func (c *Conference) countTime(m *Member) {
	if !m.began.IsZero() {
		c.s.stats.participantTime.Add(int64(time.Since(m.began)))
	}
}

// sessionFor finds the bridge session for a member, and makes it when needed.
func (c *Conference) sessionFor(m *Member) *bridgeSession {
	load := bridges.ConfLoad{Version: c.bridgeVersion(), On: map[xmpp.JID]int{}}
	for jid, bs := range c.sessions {
		load.On[jid] = max(1, len(bs.remote))
	}
	b, ok := c.s.pick(load, bridges.Want{Region: m.region})
	if !ok {
		return nil
	}
	bs := c.sessions[b.JID]
	if bs == nil {
		bs = newBridgeSession(c, b.JID, b.Region)
		bs.version = b.Version
		c.sessions[b.JID] = bs
		c.publish()
	}
	return bs
}

func (c *Conference) bridgeVersion() string {
	for _, bs := range c.sessions {
		return bs.version
	}
	return ""
}

// wantsData reports whether m is offered the data channel, and the URL of the
// WebSocket (bridge.channel).
func (c *Conference) wantsData(m *Member) (data, url bool) {
	switch c.s.cfg.Channel {
	case ChannelData:
		return m.features.sctp, false
	case ChannelWebSocket:
		return false, true
	case ChannelBoth:
		return m.features.sctp, true
	}
	return m.features.sctp, !m.features.sctp
}

// endpoint is the request to create m's endpoint.
func (c *Conference) endpoint(m *Member) colibri2.Endpoint {
	ep := colibri2.Endpoint{
		ID: m.nick, Create: true, StatsID: m.statsID, Diarize: m.diarize,
		Capabilities: []string{colibri2.CapSourceNames},
		// The focus offers, so the client is controlled and the bridge controls.
		Transport: &colibri2.Transport{ICEControlling: true},
		Sources:   &[]colibri2.MediaSource{},
	}
	if m.visitor {
		ep.MUCRole = colibri2.RoleVisitor
	}
	if m.rewriting {
		ep.Capabilities = append(ep.Capabilities, colibri2.CapSSRCRewriting)
	}
	if m.mids {
		ep.Capabilities = append(ep.Capabilities, colibri2.CapMidDemux)
	}
	if m.service {
		ep.Capabilities = append(ep.Capabilities, colibri2.CapPrivateAddress)
	}
	if force := c.forceMute(m); force != (colibri2.ForceMute{}) {
		ep.ForceMute = &force
		m.forced = force
	} else {
		m.forced = colibri2.ForceMute{}
	}
	for _, ct := range c.contents(m) {
		if d := ct.Description; d.Media != jingle.Application {
			ep.Media = append(ep.Media, colibri2.Media{
				Type: d.Media, PayloadTypes: d.PayloadTypes, HdrExts: d.HdrExts, ExtmapAllowMixed: d.ExtmapAllowMixed,
			})
		}
	}
	if data, _ := c.wantsData(m); data {
		ep.Transport.SCTP = &colibri2.SCTP{}
	}
	return ep
}

// placeholders keeps the bridge's own sources of its first answer, and those of a
// conference made anew on the only bridge. They are in every offer: without them
// LJM renegotiates without end.
func (c *Conference) placeholders(feedback []colibri2.MediaSource, anew bool) {
	if !c.book.Get(sources.Bridge).Empty() && (!anew || len(c.sessions) > 1) {
		return
	}
	var set sources.Set
	for _, ms := range feedback {
		m, ok := sources.MediaOf(ms.Type)
		if !ok {
			continue
		}
		for _, src := range ms.Sources {
			set.Sources = append(set.Sources, sources.Source{
				SSRC: src.SSRC, Media: m, Name: ms.ID, MSID: "mixedmslabel mixedlabel" + ms.Type + "0",
			})
		}
	}
	c.book.Put(sources.Bridge, set)
}

// offer sends session-initiate.
func (c *Conference) offer(m *Member, ep *colibri2.Endpoint) {
	if ep == nil || ep.Transport == nil || ep.Transport.ICE == nil {
		c.allocationFailed(m, m.bs, errNoTransport)
		return
	}
	data, url := c.wantsData(m)
	tr := *ep.Transport.ICE
	tr.RTCPMux, tr.SCTP = true, nil
	if !url {
		tr.WebSockets = nil
	}
	var sctp *jingle.SCTPMap
	if data {
		if ep.Transport.SCTP == nil || ep.Transport.SCTP.Port == 0 {
			c.allocationFailed(m, m.bs, errNoSCTP)
			return
		}
		sctp = &jingle.SCTPMap{Number: ep.Transport.SCTP.Port, Protocol: "webrtc-datachannel", Streams: 1024}
	}
	m.failed = 0
	m.sid = newSID()
	m.iceGen = 0
	j := &jingle.Jingle{
		Action: jingle.SessionInitiate, SID: m.sid, Initiator: c.s.cfg.JID.String(),
		Group:         &jingle.Group{Semantics: "BUNDLE"},
		BridgeSession: &jingle.BridgeSession{ID: m.bs.id, Region: m.bs.region},
		StartMuted:    c.startMuted(m),
	}
	for _, ct := range c.contents(m) {
		t := tr // every content has the same transport
		if ct.Name == jingle.Data {
			t.SCTP = sctp
		}
		ct.Transport = &t
		j.Contents = append(j.Contents, ct)
		j.Group.Contents = append(j.Group.Contents, ct.Name)
	}
	c.offerSources(m, j)
	c.setState(m, memberOffered)
	c.s.stats.offers.Add(1)
	c.s.stats.sent.note(j.Action)
	sid := m.sid
	set := xmpp.NewStanza(xmpp.IQ, xmpp.TypeSet, "", xmpp.JID{}, m.jid, j.String())
	c.s.port.Go(set, c.s.cfg.ReplyTimeout, func(_ *xmpp.Stanza, err error) {
		if se := stanzaError(err); se != nil { // a time-out counts as success
			c.post(func() { c.offerRefused(m, sid, se) })
		}
	})
	m.fresh = false
	c.log.Debug("offered", "endpoint", m.nick, "session", m.sid)
}

// offerRefused: no retry, for the client would refuse again.
func (c *Conference) offerRefused(m *Member, sid string, se *xmpp.StanzaError) {
	if c.members[m.nick] != m || m.sid != sid {
		return
	}
	c.log.Warn("offer refused", "endpoint", m.nick, "err", se)
	c.terminate(m, "general-error", "jingle session failed", true)
	m.settled = true
}

// startMuted is for clients of 2021, which take it from the offer; later ones do
// what the room's metadata say.
func (c *Conference) startMuted(m *Member) *jingle.StartMuted {
	force := c.forceMute(m)
	sm := jingle.StartMuted{Audio: force.Audio, Video: force.Video}
	if m.fresh {
		over := func(name string, limit int) bool {
			n := c.first.threshold(name)
			return n >= 0 && len(c.members) > n || limit > 0 && len(c.members) > limit
		}
		sm.Audio = sm.Audio || over("startAudioMuted", c.s.cfg.MaxAudioSenders)
		sm.Video = sm.Video || over("startVideoMuted", c.s.cfg.MaxVideoSenders)
		if p := c.metadata.StartMuted; p != nil {
			sm.Audio, sm.Video = sm.Audio || p.Audio, sm.Video || p.Video
		}
	}
	if !sm.Audio && !sm.Video {
		return nil
	}
	return &sm
}

// retryLater invites m again after a time that grows with each failure.
func (c *Conference) retryLater(m *Member) {
	delays := [...]time.Duration{time.Second, 5 * time.Second, 15 * time.Second, time.Minute}
	d := delays[min(m.failed, len(delays)-1)]
	m.failed++
	stop(m.retry)
	var t *time.Timer
	t = c.after(d, func() {
		if m.retry == t {
			m.retry = nil
			c.invite(m)
		}
	})
	m.retry = t
}
