package meettest

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"confab/xmpp"
	"confab/xmpp/xep/jingle"
	"confab/xmpp/xep/jitmeet"
)

const (
	nsMUC      = "http://jabber.org/protocol/muc"
	nsMUCUser  = "http://jabber.org/protocol/muc#user"
	nsMUCAdmin = "http://jabber.org/protocol/muc#admin"
	nsDisco    = "http://jabber.org/protocol/disco#info"
	nsExtdisco = "urn:xmpp:extdisco:2"
	nsCaps     = "http://jabber.org/protocol/caps"
	nsNick     = "http://jabber.org/protocol/nick"
)

// reader handles frames until its stream ends.
func (c *Client) reader(s *stream) {
	for {
		raw, err := s.read(c.ctx)
		if err == nil && c.hears(s) {
			err = c.frame(s, raw)
		}
		if err == nil {
			continue
		}
		c.out.mu.Lock()
		wanted := c.out.cut
		if c.out.stream == s {
			c.out.stream = nil
		}
		c.out.mu.Unlock()
		_ = s.ws.CloseNow()
		var f *Fault
		if !wanted || errors.As(err, &f) {
			c.end(err)
		}
		return
	}
}

// hears reports whether s is the stream in use: what still comes on an old one
// after a resume has begun comes again on the new one.
func (c *Client) hears(s *stream) bool {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.stream == s
}

// ErrStreamClosed is the end of the stream by the server.
var ErrStreamClosed = errors.New("stream closed by the server")

func (c *Client) frame(s *stream, raw string) error {
	st, err := xmpp.ParseStanza(raw, xmpp.DefaultLimits, xmpp.Scope{})
	if err == nil {
		c.mu.Lock()
		c.received++
		c.mu.Unlock()
		c.stanza(st, raw)
		if c.opt.Observe != nil {
			c.opt.Observe(st)
		} else {
			c.stanzas.add(st)
		}
		c.changes.changed()
		return nil
	}
	if xmpp.IsStanza(err) {
		return &Fault{"one well-formed element of jabber:client in each frame: " + err.Error(), raw}
	}
	el, err := xmpp.ParseElement(raw, xmpp.DefaultLimits, xmpp.Scope{})
	if err != nil {
		return &Fault{"one well-formed element in each frame: " + err.Error(), raw}
	}
	switch {
	case el.NS == nsSM && el.Name == "r":
		c.mu.Lock()
		h := c.received
		c.mu.Unlock()
		return s.write(c.ctx, `<a h="`+strconv.FormatUint(uint64(h), 10)+`" xmlns="`+nsSM+`"/>`)
	case el.NS == nsSM && el.Name == "a":
		h, err := strconv.ParseUint(el.Get("h"), 10, 32)
		if err != nil {
			return &Fault{"h of <a/>", raw}
		}
		c.out.mu.Lock()
		defer c.out.mu.Unlock()
		return c.out.acknowledged(uint32(h))
	case el.NS == nsFraming && el.Name == "close":
		// strophe compares the whole frame; any other form is taken for a stanza.
		if raw != `<close xmlns="urn:ietf:params:xml:ns:xmpp-framing" />` {
			return &Fault{"the exact close frame", raw}
		}
		return ErrStreamClosed
	case el.NS == nsStream && el.Name == "error":
		for _, k := range el.Kids {
			if k.NS == "urn:ietf:params:xml:ns:xmpp-streams" && k.Name != "text" {
				return &xmpp.StreamError{Cond: k.Name, Text: el.ChildText("", "text")}
			}
		}
		return &Fault{"a stream error with a condition of its namespace", raw}
	}
	return &Fault{"a stanza or an element of stream management", raw}
}

// systemMessage takes what comes before the bind result: the push message.
func (c *Client) systemMessage(s *xmpp.Stanza) {
	if s.Kind != xmpp.Message || s.From.String() != c.opt.Domain && s.From.String() != c.opt.Login {
		return
	}
	if q := s.Child(nsDisco, "query"); q != nil {
		c.pushed.Store(parseDisco(q))
	}
	if sv := s.Child(nsExtdisco, "services"); sv != nil {
		c.readServices(sv)
	}
}

func (c *Client) stanza(s *xmpp.Stanza, raw string) {
	switch s.Kind {
	case xmpp.IQ:
		if s.Type == xmpp.TypeResult || s.Type == xmpp.TypeError {
			c.answer(s)
			return
		}
		c.request(s, raw)
	case xmpp.Presence:
		c.presence(s, raw)
		if sess := c.currentSession(); sess != nil && s.Type == xmpp.TypeUnavailable && s.From.Bare().String() == c.roomJID() {
			// No source-remove follows when somebody leaves: LJM takes the tracks
			// off by itself. Who leaves the lobby is in the room.
			sess.receiver.forget(s.From.Resource)
		}
	case xmpp.Message:
		c.message(s, raw)
	}
}

func (c *Client) answer(s *xmpp.Stanza) {
	c.mu.Lock()
	p, ok := c.pending[s.ID]
	delete(c.pending, s.ID)
	c.mu.Unlock()
	if !ok {
		return // given up, or of a fire-and-forget request
	}
	// RFC 6120 §8.1.2.1; strophe drops replies of others as spoofed.
	if p.to != s.From.String() && (p.to != "" || !s.From.IsZero() && s.From != c.jid.Bare()) {
		c.fault("answers come from the address that was asked, "+p.to, s.String())
		return
	}
	p.reply <- s
}

// request answers IQs as LJM does: a disco query, Jingle from the focus, mutes
// without any answer, everything else with an error that has no to.
func (c *Client) request(s *xmpp.Stanza, raw string) {
	switch {
	case s.Type == xmpp.TypeGet && s.Has(nsDisco, "query"):
		var e xmpp.Enc
		e.Start("query", "").AttrIf("node", s.Child(nsDisco, "query").Get("node")).Attr("xmlns", nsDisco)
		for _, f := range c.opt.Features {
			e.Start("feature", "").Attr("var", f).End()
		}
		_ = c.Send(xmpp.IQ, xmpp.TypeResult, s.ID, s.From.String(), e.End().String())
	case s.Type == xmpp.TypeSet && s.Has(jingle.NS, "jingle"):
		c.jingle(s, raw)
	case s.Type == xmpp.TypeSet && (s.Has(jitmeet.NSAudio, "mute") || s.Has(jitmeet.NSVideo, "mute")):
		c.muted(s)
	default:
		_ = c.SendXML(`<iq id="` + xmpp.Escape(s.ID) + `" type="error" xmlns="jabber:client"><error type="cancel">` +
			`<service-unavailable xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/></error></iq>`)
	}
}

func (c *Client) message(s *xmpp.Stanza, raw string) {
	el := s.Child(jitmeet.NS, "json-message")
	if el == nil || s.Type == xmpp.TypeGroupchat || s.Type == xmpp.TypeError {
		return
	}
	var msg struct {
		Type     string `json:"type"`
		Metadata struct {
			Services json.RawMessage `json:"services"`
		} `json:"metadata"`
	}
	if json.Unmarshal([]byte(el.Text), &msg) != nil || msg.Type == "" {
		c.fault("json-messages are objects with a type", raw)
		return
	}
	// Outside of rooms only announced components are heard, by their bare address.
	if !strings.Contains(s.From.String(), "@") {
		known := false
		if d := c.pushed.Load(); d != nil {
			for _, id := range d.Identities {
				known = known || id.Name == s.From.String()
			}
		}
		if !known {
			return
		}
	}
	if msg.Type != "room_metadata" || len(msg.Metadata.Services) == 0 {
		return
	}
	// An empty Lua table would be {}; LJM throws on it at every join.
	var services []ICEService
	if err := json.Unmarshal(msg.Metadata.Services, &services); err != nil {
		c.fault("services of the metadata are an array of objects with text values: "+err.Error(), raw)
		return
	}
	c.mu.Lock()
	c.services = services
	c.mu.Unlock()
}
