package meettest

import (
	"context"
	"errors"
	"fmt"

	"confab/xmpp"
	"confab/xmpp/xep/jingle"
)

// session is the Jingle session with the focus, guarded by Client.mu where it is
// replaced; its fields are set before it is.
type session struct {
	c             *Client
	sid           string
	peer          string // room/focus
	bridgeSession string
	offer         *jingle.Jingle
	formats       Formats
	transport     *transport
	channel       *bridgeChannel
	sender        *sender
	receiver      *receiver
	generation    int // of the last ICE restart applied; worker only
}

func (s *session) close() {
	s.sender.stop()
	s.channel.shut()
	s.transport.close()
	s.sender.wait()
}

// jingle answers at once, as LJM does, and leaves the rest to the worker.
func (c *Client) jingle(s *xmpp.Stanza, raw string) {
	j, err := jingle.Parse(s.Child(jingle.NS, "jingle"))
	if err != nil {
		c.fault("an action in Jingle", raw)
		return
	}
	c.mu.Lock()
	focus := ""
	if c.room != nil {
		focus = c.room.jid.WithResource("focus").String()
	}
	sess := c.session
	c.mu.Unlock()
	if s.From.String() != focus {
		c.reply(s, xmpp.ServiceUnavailable("")) // no peer-to-peer
		return
	}
	known := sess != nil && sess.sid == j.SID
	if j.Action != jingle.SessionInitiate && !known && !c.opt.Silent {
		c.reply(s, jingle.UnknownSession())
		return
	}
	if j.BadSources {
		c.fault("the JSON of sources", raw)
		return
	}
	_ = c.Send(xmpp.IQ, xmpp.TypeResult, s.ID, s.From.String(), "")
	if c.opt.Silent {
		return
	}
	switch j.Action {
	case jingle.SessionInitiate:
		c.do(func() {
			if err := c.accept(focus, j); err != nil {
				c.end(err)
			}
		})
	case jingle.SourceAdd, jingle.SourceRemove:
		// On the reader: packets of a new source may be behind it.
		if rule := sess.receiver.signalled(j, j.Action == jingle.SourceAdd); rule != "" {
			c.fault(rule, raw)
		}
	case jingle.TransportInfo:
		c.do(func() {
			if err := sess.restarted(j); err != nil {
				c.end(err)
			}
		})
	case jingle.SessionTerminate:
		c.mu.Lock()
		c.session = nil
		c.mu.Unlock()
		c.do(sess.close)
	}
}

func (c *Client) reply(s *xmpp.Stanza, e *xmpp.StanzaError) {
	_ = c.Send(xmpp.IQ, xmpp.TypeError, s.ID, s.From.String(), e.Inner())
}

// accept takes an offer: transport, channel, session-accept, then the presence
// with the sources.
func (c *Client) accept(focus string, j *jingle.Jingle) error {
	f, err := readOffer(j)
	if err != nil {
		return &Fault{err.Error(), j.String()}
	}
	remote := j.FirstTransport()
	if remote == nil || remote.Ufrag == "" || len(remote.Fingerprints) == 0 {
		return &Fault{"a transport with ufrag, pwd and fingerprint in an offer", j.String()}
	}
	tr, err := newTransport(c)
	if err != nil {
		return err
	}
	sess := &session{
		c: c, sid: j.SID, peer: focus, offer: j, formats: f, transport: tr,
		channel: &bridgeChannel{c: c}, generation: remote.Generation,
	}
	if j.BridgeSession != nil {
		sess.bridgeSession = j.BridgeSession.ID
	}
	sess.sender = newSender(c.local, tr, f)
	sess.receiver = newReceiver(tr, f, c.changes)
	tr.onRTP, tr.onRTCP = sess.receiver.rtp, sess.rtcp
	if rule := sess.receiver.signalled(j, true); rule != "" {
		return &Fault{rule, j.String()}
	}
	c.mu.Lock()
	old := c.session
	c.session = sess
	c.mu.Unlock()
	if old != nil {
		old.close()
	}
	local, err := tr.start(remote)
	if err != nil {
		return err
	}
	if !f.Data || c.opt.WebSocket {
		if len(remote.WebSockets) == 0 && c.opt.WebSocket {
			return &Fault{"a web-socket in the transport for a client that prefers it", j.String()}
		}
		if len(remote.WebSockets) > 0 {
			url := remote.WebSockets[0]
			tr.run(func() { sess.channel.ended(sess.channel.dialWebSocket(tr.ctx, url)) })
		}
	}
	tr.run(sess.receiver.feedback)
	ctx, cancel := context.WithTimeout(c.ctx, iqPatience)
	defer cancel()
	if _, err := c.IQ(ctx, xmpp.TypeSet, focus, f.Answer(j, focus, c.jid.String(), local, c.local.signal).String()); err != nil {
		if tr.ctx.Err() != nil {
			return nil // terminated or left meanwhile
		}
		return fmt.Errorf("session-accept: %w", err)
	}
	c.updatePresence()
	sess.sender.start()
	return nil
}

// RestartICE asks for an ICE restart in place and returns when the new path
// carries media (bridge.md §4.5).
func (c *Client) RestartICE(ctx context.Context) error {
	s := c.currentSession()
	if s == nil {
		return errors.New("no session")
	}
	before := s.transport.conn.Load()
	if err := c.askICERestart(ctx, s); err != nil {
		return err
	}
	return c.Until(ctx, "the path after an ICE restart", func() bool { return s.transport.conn.Load() != before })
}

// askICERestart asks for an ICE restart in place.
func (c *Client) askICERestart(ctx context.Context, s *session) error {
	j := jingle.Jingle{
		Action: jingle.SessionInfo, SID: s.sid, Initiator: s.peer,
		BridgeSession: &jingle.BridgeSession{ID: s.bridgeSession, ICERestart: true},
	}
	if _, err := c.IQ(ctx, xmpp.TypeSet, s.peer, j.String()); err != nil {
		return fmt.Errorf("ice restart: %w", err)
	}
	return nil
}

// restarted applies the transport-info of an ICE restart.
func (s *session) restarted(j *jingle.Jingle) error {
	remote := j.FirstTransport()
	if remote == nil || remote.Generation == 0 {
		return nil
	}
	if remote.Generation <= s.generation {
		return &Fault{fmt.Sprintf("an ice-generation above %d", s.generation), j.String()}
	}
	s.generation = remote.Generation
	local, err := s.transport.start(remote)
	if err != nil {
		return err
	}
	answer := jingle.Jingle{Action: jingle.TransportInfo, SID: s.sid, Initiator: s.peer}
	for _, c := range s.offer.Contents {
		answer.Contents = append(answer.Contents, jingle.Content{Creator: "responder", Name: c.Name, Transport: local})
	}
	ctx, cancel := context.WithTimeout(s.c.ctx, iqPatience)
	defer cancel()
	if _, err := s.c.IQ(ctx, xmpp.TypeSet, s.peer, answer.String()); err != nil {
		return fmt.Errorf("transport-info: %w", err)
	}
	return nil
}

// Connected reports whether ICE and DTLS are up.
func (c *Client) Connected() bool {
	s := c.currentSession()
	return s != nil && s.transport.connected()
}

// Lost reports whether the bridge leaves ICE checks unanswered.
func (c *Client) Lost() bool {
	s := c.currentSession()
	return s != nil && s.transport.lost.Load()
}

// Path is the type of the local ICE candidate in use: host, srflx, prflx, relay,
// or "".
func (c *Client) Path() string {
	s := c.currentSession()
	if s == nil {
		return ""
	}
	if kind := s.transport.pair.Load(); kind != nil {
		return *kind
	}
	return ""
}

func (c *Client) currentSession() *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// Media waits until media can flow and the bridge channel is open.
func (c *Client) Media(ctx context.Context) error {
	return c.Until(ctx, "its media connection and bridge channel", func() bool { return c.Connected() && c.ChannelOpen() })
}

// RestartSession ends the session and asks for another, as LJM does when ICE has failed
// and can't be restarted in place, and returns when that one carries media: with new
// credentials, a new certificate of ours and new keys.
func (c *Client) RestartSession(ctx context.Context) error {
	s := c.currentSession()
	if s == nil {
		return errors.New("no session")
	}
	j := jingle.Jingle{
		Action: jingle.SessionTerminate, SID: s.sid, Initiator: s.peer,
		Reason:        &jingle.Reason{Cond: "connectivity-error", Text: "ICE FAILED"},
		BridgeSession: &jingle.BridgeSession{ID: s.bridgeSession, Restart: true},
	}
	if _, err := c.IQ(ctx, xmpp.TypeSet, s.peer, j.String()); err != nil {
		return fmt.Errorf("session restart: %w", err)
	}
	return c.another(ctx, s)
}

// another waits for a session in place of s.
func (c *Client) another(ctx context.Context, s *session) error {
	return c.Until(ctx, "another session", func() bool {
		now := c.currentSession()
		return now != nil && now != s && c.Connected() && c.ChannelOpen()
	})
}

// EndDTLS says goodbye to the bridge on the connection from which the keys are. What is
// left is a session with a way and without keys.
func (c *Client) EndDTLS() error {
	s := c.currentSession()
	if s == nil {
		return errors.New("no session")
	}
	s.channel.shut() // with it ends the connection that it is on
	return nil
}

// RestartICEInVain asks for an ICE restart in place and returns when the focus has made
// another session instead.
func (c *Client) RestartICEInVain(ctx context.Context) error {
	s := c.currentSession()
	if s == nil {
		return errors.New("no session")
	}
	if err := c.askICERestart(ctx, s); err != nil {
		return err
	}
	return c.another(ctx, s)
}
