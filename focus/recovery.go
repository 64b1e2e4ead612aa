package focus

import (
	"errors"
	"time"

	"confab/focus/sources"
	"confab/xmpp"
	"confab/xmpp/xep/colibri2"
)

// What happens when bridges fail (focus.md §13.8), with one change: what may be
// one participant's fault is that participant's alone.

var (
	errNoTransport = errors.New("the bridge gave no transport")
	errNoSCTP      = errors.New("the bridge gave no SCTP port")
)

// allocationFailed handles the refusal of an endpoint.
func (c *Conference) allocationFailed(m *Member, bs *bridgeSession, err error) {
	c.log.Warn("endpoint not allocated", "endpoint", m.nick, "bridge", bs.bridge.String(), "err", err)
	ce := colibri2.ReadError(err)
	switch {
	case errors.Is(err, xmpp.ErrGone):
		return // the focus itself is ending
	case errors.Is(err, xmpp.ErrTimeout):
		c.s.bridgeFailed(bs.bridge)
		c.lose(bs)
		return
	case ce != nil && (ce.Reason == colibri2.ReasonConferenceNotFound || ce.Reason == colibri2.ReasonConferenceAlreadyExists):
		c.lose(bs)
		return
	case ce != nil && ce.Reason == colibri2.ReasonGracefulShutdown:
		c.s.bridgeClosing(bs.bridge)
		c.lose(bs)
		return
	case ce != nil && ce.FromBridge() && (ce.Stanza.Cond == xmpp.CondInternalServerError || ce.Stanza.Cond == xmpp.CondServiceUnavailable):
		if bs.faults++; bs.faults > 1 {
			c.s.bridgeFailed(bs.bridge)
			c.lose(bs)
			return
		}
	}
	c.endSession(m, true)
	c.retryLater(m)
}

// updateFailed handles the refusal of any other request.
func (c *Conference) updateFailed(bs *bridgeSession, op *bridgeOp, err error) {
	ce := colibri2.ReadError(err)
	c.log.Warn("bridge refuses an update", "bridge", bs.bridge.String(), "endpoint", op.ep.ID, "err", err)
	switch {
	case op.kind == opExpire:
		// There is nothing to lose.
	case ce != nil && ce.Reason == colibri2.ReasonUnknownEndpoint && ce.Endpoint != "":
		if m := c.members[ce.Endpoint]; m != nil && m.bs == bs {
			delete(bs.remote, m.nick)
			c.reinvite(m)
		}
	case ce != nil && (op.done == nil || ce.Reason == colibri2.ReasonConferenceNotFound):
		c.lose(bs)
	case op.done != nil:
		op.done(nil, err) // a refused ICE restart is one participant's matter
	}
	// A time-out of an update is ignored.
}

// bridgeLost handles the loss of a bridge.
func (c *Conference) bridgeLost(bridge xmpp.JID) {
	if bs := c.sessions[bridge]; bs != nil {
		c.lose(bs)
	}
}

// lose drops a bridge session and invites its participants anew. When that
// happens often the invitations wait: a bridge that refuses at once must not be
// asked at once again.
func (c *Conference) lose(bs *bridgeSession) {
	if bs.dead {
		return
	}
	var moving []*Member
	for _, m := range c.order {
		if m.bs == bs {
			moving = append(moving, m)
		}
	}
	c.s.stats.bridgesRemoved.Add(1)
	bs.expire()
	delete(c.sessions, bs.bridge)
	if len(c.sessions) == 0 {
		c.book.Drop(sources.Bridge) // the next bridge has its own
	}
	for _, m := range moving {
		c.terminate(m, "success", "moving", true)
		m.settled = false
		c.s.stats.moved.Add(1)
	}
	now := time.Now()
	if now.Sub(c.lastBack) > time.Minute {
		c.setbacks = 0
	}
	c.lastBack = now
	c.setbacks++
	for _, m := range moving {
		if c.setbacks > 1 {
			m.failed = c.setbacks - 2
			c.retryLater(m)
		} else {
			c.invite(m)
		}
	}
	c.publish()
}

// dropSessions ends all bridge sessions: nobody is left on them.
func (c *Conference) dropSessions() {
	for jid, bs := range c.sessions {
		bs.expire()
		delete(c.sessions, jid)
	}
	c.book.Drop(sources.Bridge)
	c.publish()
}

// withoutBridge waits a while for a bridge before it tells the clients that
// there is none: for them that is final.
func (c *Conference) withoutBridge() {
	if c.grace != nil || c.noBridge {
		return
	}
	c.log.Warn("no bridge")
	var t *time.Timer
	t = c.after(c.s.cfg.BridgeGrace, func() {
		if c.grace != t {
			return
		}
		c.grace = nil
		if c.inviteAll(); c.grace == nil {
			return // there was one
		}
		stop(c.grace)
		c.grace, c.noBridge = nil, true
		c.publish()
	})
	c.grace = t
}

// bridgeFound ends that.
func (c *Conference) bridgeFound() {
	stop(c.grace)
	c.grace = nil
	if c.noBridge {
		c.noBridge = false
		c.publish()
	}
}

// bridgeAppeared invites those who have waited.
func (c *Conference) bridgeAppeared() {
	if c.state == stateJoined {
		c.inviteAll()
	}
}
