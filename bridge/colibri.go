package bridge

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"confab/bridge/alloc"
	"confab/bridge/forward"
	"confab/bridge/transport"
	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
	"confab/xmpp/xep/jingle"

	"golang.org/x/time/rate"
)

// sctpPort is the only SCTP port of a bridge channel (bridge.md §6.1).
const sctpPort = 5000

func notFound() *xmpp.StanzaError {
	return colibri2.Refuse(xmpp.ItemNotFound("Conference not found"), colibri2.ReasonConferenceNotFound, "")
}

func refused(se *xmpp.StanzaError) *xmpp.StanzaError {
	return colibri2.Refuse(se, colibri2.ReasonUnspecified, "")
}

func unsupported(text string) *xmpp.StanzaError {
	return colibri2.Refuse(xmpp.FeatureNotImplemented(text), colibri2.ReasonFeatureNotImplemented, "")
}

func (c *Conference) refuse(iq *xmpp.Stanza, se *xmpp.StanzaError) {
	c.s.port.Send(se.Reply(iq))
}

// modify carries out one request and answers it (bridge.md §3).
func (c *Conference) modify(iq *xmpp.Stanza, m *colibri2.Modify) {
	answer, err := c.carryOut(m)
	// A request that leaves nobody ends the conference. It is forgotten before the
	// answer, after which the focus may create it anew.
	if len(c.endpoints) == 0 {
		c.expired = true
	}
	if c.expired {
		c.s.forget(c)
	}
	if err != nil {
		var se *xmpp.StanzaError
		if !errors.As(err, &se) {
			c.log.Error("colibri request failed", "stanza_id", iq.ID, "err", err)
			se = refused(xmpp.InternalServerError(""))
		}
		c.refuse(iq, se)
	} else {
		c.s.port.Send(iq.Result(answer.String()))
	}
}

func (c *Conference) carryOut(m *colibri2.Modify) (*colibri2.Modified, error) {
	answer := &colibri2.Modified{}
	if m.Expire {
		c.expired = true
		return answer, nil
	}
	if len(m.Relays) > 0 {
		return nil, unsupported("Relays are not supported")
	}
	if err := c.checkConnects(m.Connects); err != nil {
		return nil, err
	}
	simple := true // nothing but expire and force-mute
	for i := range m.Endpoints {
		ep := &m.Endpoints[i]
		simple = simple && !ep.Create && ep.Transport == nil && ep.Sources == nil && len(ep.Media) == 0
	}
	if len(m.Endpoints) > 1 && !simple {
		return nil, unsupported("Creating or updating several endpoints at once")
	}
	created := m.Create
	for i := range m.Endpoints {
		req := &m.Endpoints[i]
		created = created || req.Create
		res, err := c.modifyEndpoint(req, simple)
		if err != nil {
			return nil, err
		}
		answer.Endpoints = append(answer.Endpoints, *res)
	}
	c.applyConnects(m.Connects)
	if created {
		// Every creation repeats them: answers may be handled out of order
		// (bridge.md §3.5).
		answer.Feedback = []colibri2.MediaSource{
			{Type: "audio", ID: "jvb-a0", Sources: []jingle.Source{{SSRC: c.feedback.audio, Name: "jvb-a0"}}},
			{Type: "video", ID: "jvb-v0", Sources: []jingle.Source{{SSRC: c.feedback.video, Name: "jvb-v0"}}},
		}
	}
	return answer, nil
}

func (c *Conference) modifyEndpoint(req *colibri2.Endpoint, simple bool) (*colibri2.Endpoint, error) {
	ep := c.endpoints[req.ID]
	switch {
	case req.Expire:
		if ep != nil {
			c.remove(ep)
		}
		return &colibri2.Endpoint{ID: req.ID, Expire: true}, nil
	case req.Create:
		return c.create(req)
	case ep == nil && simple:
		return &colibri2.Endpoint{ID: req.ID}, nil
	case ep == nil:
		return nil, colibri2.Refuse(xmpp.ItemNotFound("Endpoint not found for ID: "+req.ID), colibri2.ReasonUnknownEndpoint, req.ID)
	}
	return c.update(ep, req), nil
}

func (c *Conference) create(req *colibri2.Endpoint) (*colibri2.Endpoint, error) {
	switch {
	case c.endpoints[req.ID] != nil:
		return nil, refused(xmpp.Conflict("Endpoint exists: " + req.ID))
	case req.Transport == nil:
		return nil, refused(xmpp.BadRequest("Attempt to create endpoint " + req.ID + " with no transport"))
	case !req.Has(colibri2.CapSourceNames):
		return nil, refused(xmpp.BadRequest("Source names are required"))
	case len(c.endpoints) >= c.s.cfg.MaxEndpoints:
		return nil, refused(xmpp.ResourceConstraint("Too many endpoints"))
	}
	if sctp := req.Transport.SCTP; sctp != nil {
		if sctp.Role != "" && sctp.Role != "server" {
			return nil, unsupported("SCTP client role")
		}
		if sctp.Port != 0 && sctp.Port != sctpPort {
			return nil, refused(xmpp.BadRequest(fmt.Sprintf("SCTP port %d", sctp.Port)))
		}
	}
	ep := &endpoint{
		c: c, id: req.ID, visitor: req.MUCRole == colibri2.RoleVisitor, created: now(), password: randomHex(12),
		videoTypes: map[string]alloc.VideoType{}, told: map[string]told{}, unwanted: map[string]time.Time{}, want: c.s.cfg.Alloc.Initial(-1),
		messages:   rate.NewLimiter(rate.Limit(c.s.cfg.MessageRate), 2*c.s.cfg.MessageRate),
		broadcasts: rate.NewLimiter(rate.Limit(c.s.cfg.BroadcastRate), 5*c.s.cfg.BroadcastRate),
	}
	if ep.visitor && req.Sources != nil && len(*req.Sources) > 0 {
		return nil, refused(xmpp.BadRequest("A visitor has no sources"))
	}
	fc := forward.EndpointConfig{ID: req.ID, FeedbackSSRC: c.feedback.video}
	if ep.rewriting = req.Has(colibri2.CapSSRCRewriting); ep.rewriting {
		fc.Slots = &forward.Slots{Audio: c.s.cfg.AudioSlots, Video: c.s.cfg.VideoSlots, Mids: req.Has(colibri2.CapMidDemux)}
	}
	fwd, err := c.pipe.Attach(fc)
	if err != nil {
		return nil, fmt.Errorf("attach endpoint %s: %w", req.ID, err)
	}
	ep.fwd = fwd
	t, err := c.s.sockets.New(transport.TransportConfig{
		Controlled: !req.Transport.ICEControlling,
		Data:       req.Transport.SCTP != nil,
		Private:    req.Has(colibri2.CapPrivateAddress),
		Moved:      fwd.Moved,
		Log:        c.log.With("endpoint", req.ID),
	}, ep)
	if err != nil {
		fwd.Detach()
		c.s.elsewhere(fwd.Close)
		return nil, fmt.Errorf("transport of endpoint %s: %w", req.ID, err)
	}
	ep.transport = t
	c.endpoints[ep.id] = ep
	if req.Diarize {
		c.diarized.Store(ep.id, true)
	}
	c.order = append(c.order, ep)
	c.size.Store(int32(len(c.order)))
	c.passwords.Lock()
	c.passwords.by[ep.id] = ep
	c.passwords.Unlock()
	c.s.counters.endpointsCreated.Add(1)
	if ep.visitor {
		c.s.counters.visitorsCreated.Add(1)
	}
	c.log.Debug("endpoint created", "endpoint", ep.id)

	c.update(ep, req)
	out := &colibri2.Endpoint{ID: ep.id, Transport: &colibri2.Transport{ICE: c.local(ep)}}
	if req.Transport.SCTP != nil {
		out.Transport.SCTP = &colibri2.SCTP{Role: "server", Port: sctpPort}
	}
	return out, nil
}

// update applies what a request says of a known endpoint. It knows no errors: any
// would make a focus move everybody to another bridge (bridge.md §3.6).
func (c *Conference) update(ep *endpoint, req *colibri2.Endpoint) *colibri2.Endpoint {
	out := &colibri2.Endpoint{ID: ep.id}
	ep.setMedia(req.Media)
	if t := req.Transport; t != nil && !req.Create && t.ICERestart {
		// bridge.md §4.5: one that can't be started is answered without a transport,
		// on which the focus offers a whole new session; one that comes too early
		// with the present transport, which has no generation.
		if d, err := ep.transport.Restart(); err != nil {
			c.s.counters.restartsRejected.Add(1)
			c.log.Debug("ICE restart not started", "endpoint", ep.id, "err", err)
		} else {
			if d.Generation == 0 {
				c.s.counters.restartsEarly.Add(1)
			}
			out.Transport = &colibri2.Transport{ICE: c.local(ep)}
		}
	}
	if t := req.Transport; t != nil && t.ICE != nil {
		if err := ep.transport.SetRemote(remote(t.ICE)); err != nil {
			c.log.Warn("remote transport not usable", "endpoint", ep.id, "err", err)
		}
	}
	if req.Sources != nil && !ep.visitor {
		c.setSources(ep, describe(*req.Sources))
	}
	if m := req.ForceMute; m != nil {
		ep.fwd.SetMuted(m.Audio, m.Video)
	}
	if n := req.InitialLastN; n != nil && !ep.heard {
		ep.want.LastN = max(*n, -1)
		c.dirty[ep] = true
	}
	return out
}

func (c *Conference) setSources(ep *endpoint, list []source) {
	ds := make([]forward.Source, len(list))
	for i, s := range list {
		ds[i] = s.Source
	}
	if err := ep.fwd.SetSources(ds); err != nil {
		// Those that were refused stay unknown: their packets are dropped.
		c.log.Warn("sources not accepted", "endpoint", ep.id, "err", err)
	}
	ep.sources = list
	c.sourcesSet++
	for name := range ep.told {
		if !hasSource(list, name) {
			delete(ep.told, name)
		}
	}
	for _, o := range c.order {
		o.alloc.resend = true
	}
	c.toConstrain[ep] = true
	c.allDirty = true
}

func hasSource(list []source, name string) bool {
	for _, s := range list {
		if s.Name == name {
			return true
		}
	}
	return false
}

// local describes our side of the transport, with the URL of the bridge channel.
func (c *Conference) local(ep *endpoint) *jingle.Transport {
	d := ep.transport.Local()
	t := &jingle.Transport{Ufrag: d.Ufrag, Pwd: d.Pwd, Generation: d.Generation, RTCPMux: true}
	for _, f := range d.Fingerprints {
		t.Fingerprints = append(t.Fingerprints, jingle.Fingerprint{Hash: f.Hash, Setup: f.Setup, Value: f.Value})
	}
	for i, cand := range d.Candidates {
		jc := jingle.Candidate{
			ID: fmt.Sprintf("%s%d", ep.id, i+1), Foundation: cand.Foundation, Component: cand.Component, Protocol: cand.Protocol,
			Priority: cand.Priority, IP: cand.Addr.Addr().String(), Port: cand.Addr.Port(), Type: cand.Type, Generation: cand.Generation,
		}
		if cand.Related.IsValid() {
			jc.RelAddr, jc.RelPort = cand.Related.Addr().String(), cand.Related.Port()
		}
		t.Candidates = append(t.Candidates, jc)
	}
	if base := c.s.cfg.ChannelURL; base != "" {
		t.WebSockets = []string{base + "/" + url.PathEscape(c.s.cfg.ID) + "/" + c.key + "/" + url.PathEscape(ep.id) + "?pwd=" + ep.password}
	}
	return t
}

// remote translates the client's side.
func remote(t *jingle.Transport) transport.Description {
	d := transport.Description{Ufrag: t.Ufrag, Pwd: t.Pwd, Generation: t.Generation}
	for _, f := range t.Fingerprints {
		d.Fingerprints = append(d.Fingerprints, transport.Fingerprint{Hash: f.Hash, Setup: f.Setup, Value: f.Value})
	}
	for _, c := range t.Candidates {
		ip, err := netip.ParseAddr(c.IP)
		if err != nil {
			continue // a .local name of RFC 8828's mDNS: the address is learnt from the checks
		}
		cand := transport.Candidate{Foundation: c.Foundation, Component: c.Component, Protocol: c.Protocol, Priority: c.Priority,
			Addr: netip.AddrPortFrom(ip, c.Port), Type: c.Type, Generation: c.Generation}
		if rel, err := netip.ParseAddr(c.RelAddr); err == nil {
			cand.Related = netip.AddrPortFrom(rel, c.RelPort)
		}
		d.Candidates = append(d.Candidates, cand)
	}
	return d
}
