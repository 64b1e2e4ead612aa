package focus

import (
	"errors"
	"slices"
	"strings"

	"confab/focus/gateways"
	"confab/xmpp"
	"confab/xmpp/xep/jitmeet"
)

// Calls to telephones and for transcribers by gateways (Jigasi), focus.md §17.1.

// dialTries is how many gateways a call is tried with.
const dialTries = 3

// call is a request to dial on its way.
type call struct {
	request *xmpp.Stanza
	dial    *jitmeet.Dial
	want    gateways.Want
	done    func(answer *xmpp.Stanza) // in place of sending it
}

// onDial handles a client's request to call somebody.
func (c *Conference) onDial(m *Member, s *xmpp.Stanza, el *xmpp.Element) *xmpp.StanzaError {
	se := c.dial(m, s, el)
	if se != nil {
		c.s.stats.callsRefused.Add(1)
	} else {
		c.s.stats.callsAsked.Add(1)
	}
	return se
}

func (c *Conference) dial(m *Member, s *xmpp.Stanza, el *xmpp.Element) *xmpp.StanzaError {
	d := jitmeet.ParseDial(el)
	if !m.moderator() {
		return xmpp.Forbidden("")
	}
	// The gateway goes where this header says.
	if room, ok := d.Header(jitmeet.HeaderRoom); ok {
		if j, err := xmpp.ParseJID(room); err != nil || j != c.room {
			return xmpp.Forbidden("")
		}
	}
	k := &call{request: s, dial: d}
	if k.want.Transcriber = strings.EqualFold(d.To, jitmeet.DialTranscriber); k.want.Transcriber {
		d.To = jitmeet.DialTranscriber // the gateway looks at the case
	}
	switch {
	case d.To == "":
		return xmpp.BadRequest("")
	case k.want.Transcriber && c.transcribed():
		return xmpp.Conflict("") // JICOFO means to answer so, and doesn't: LJM would wait for ever
	case k.want.Transcriber:
		c.transcriberComes = true
	}
	c.near(k)
	c.call(k)
	return nil
}

// near prefers gateways where the meeting's bridges are.
func (c *Conference) near(k *call) {
	for _, bs := range c.sessions {
		if bs.region != "" && !slices.Contains(k.want.Regions, bs.region) {
			k.want.Regions = append(k.want.Regions, bs.region)
		}
	}
}

// transcribed reports whether a transcriber is here or about to be.
func (c *Conference) transcribed() bool {
	return c.transcriberComes || slices.ContainsFunc(c.order, func(m *Member) bool { return m.transcriber })
}

// call tries the next gateway.
func (c *Conference) call(k *call) {
	jid, ok := c.s.takeGateway(k.want)
	if !ok {
		c.called(k, xmpp.ServiceUnavailable("").Reply(k.request))
		return
	}
	c.log.Info("gateway asked", "jid", jid.String(), "transcriber", k.want.Transcriber)
	k.want.Exclude = append(k.want.Exclude, jid)
	set := xmpp.NewStanza(xmpp.IQ, xmpp.TypeSet, "", xmpp.JID{}, jid, k.dial.String())
	c.s.port.Go(set, c.s.cfg.ReplyTimeout, func(reply *xmpp.Stanza, err error) {
		c.post(func() { c.gatewayAnswered(k, jid, reply, err) })
	})
}

func (c *Conference) gatewayAnswered(k *call, jid xmpp.JID, reply *xmpp.Stanza, err error) {
	var uri string
	if err == nil {
		uri = jitmeet.ParseRef(reply.Payload())
	}
	switch {
	case strings.HasPrefix(uri, "xmpp:"): // else it names an error (JIGASI CallControl.handleDialIq)
		c.s.stats.calls.Add(1)
		c.called(k, k.request.Result(jitmeet.EncodeRef(uri)))
		return
	case errors.Is(err, xmpp.ErrTimeout):
		c.s.stats.callTimeouts.Add(1)
	default:
		c.s.stats.callErrors.Add(1)
	}
	if len(k.want.Exclude) < dialTries {
		c.s.stats.callRetries.Add(1)
		c.log.Warn("gateway does not call", "jid", jid.String(), "err", err)
		c.call(k)
		return
	}
	c.log.Warn("no gateway calls", "jid", jid.String(), "err", err)
	se := &xmpp.StanzaError{Type: "cancel", Cond: "undefined-condition"}
	if errors.Is(err, xmpp.ErrTimeout) {
		se = xmpp.RemoteServerTimeout("")
	}
	c.called(k, se.Reply(k.request))
}

// called answers who asked for the call.
func (c *Conference) called(k *call, answer *xmpp.Stanza) {
	if answer.Type == xmpp.TypeError {
		c.s.stats.callFailures.Add(1)
		c.transcriberComes = c.transcriberComes && !k.want.Transcriber
	} else if k.want.Transcriber {
		// Until it has come; if it never does somebody may ask for another.
		c.after(c.s.cfg.ReplyTimeout, func() { c.transcriberComes = false })
	}
	if k.done != nil {
		k.done(answer)
		return
	}
	c.s.port.Send(answer)
}
