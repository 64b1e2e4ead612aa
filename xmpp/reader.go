package xmpp

import (
	"errors"
	"strconv"
)

// inbound handles one element of a bound client.
func (st *stream) inbound(in inbound) error {
	x, err := ParseStanza(in.text, st.limits(), in.scope)
	var bad *JIDError
	switch {
	case err == nil:
		st.srv.stats.in.Add(1)
		// Held back before the session is locked: a resuming connection would
		// have to wait, too.
		if err := st.session.rates.wait(st.session.ctx, x, len(in.text)); err != nil {
			return err
		}
		return st.session.stanza(st, x)
	case errors.As(err, &bad):
		return st.session.malformed(st, bad)
	case IsStanza(err):
		return err
	}
	el, err := ParseElement(in.text, st.limits(), in.scope)
	if err != nil {
		return err
	}
	if el.NS != NSSM || st.fr.transport() == TransportBOSH {
		return &StreamError{Cond: "unsupported-stanza-type"}
	}
	s := st.session
	s.inMu.Lock()
	defer s.inMu.Unlock()
	if !s.current(st) {
		return errReplaced
	}
	return s.handleSM(el)
}

// current reports whether st is still the session's connection.
func (s *Session) current(st *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream == st && !s.closed
}

// count counts a stanza that st has brought (XEP-0198), unless another connection has
// taken the session over. Called with inMu held.
func (s *Session) count(st *stream) error {
	if !s.current(st) {
		return errReplaced
	}
	if s.counted {
		s.h++
	}
	return nil
}

// stanza handles one stanza to its end, so that it may wait for a full room:
// back-pressure on this client alone.
func (s *Session) stanza(st *stream, x *Stanza) error {
	s.inMu.Lock()
	defer s.inMu.Unlock()
	if err := s.count(st); err != nil {
		return err
	}
	// RFC 6120 §8.1.2.1: a from must be the client's own address.
	if !x.From.IsZero() && x.From != s.jid && x.From != s.jid.Bare() {
		s.srv.log.Info("forged from", "jid", s.jid.String(), "from", x.From.String())
		return &StreamError{Cond: "invalid-from"}
	}
	x.From = s.jid // x was made by the parser for us alone
	if err := x.checkIQ(); err != nil {
		if x.Type != TypeError && x.Type != TypeResult {
			return s.Deliver(err.Reply(x))
		}
		return nil
	}
	if x.To.IsZero() {
		return s.toServer(x)
	}
	if x.Kind == Presence && !s.track(x) {
		return s.Deliver(ResourceConstraint("Too many directed presences").Reply(x))
	}
	s.srv.router.Route(s.ctx, x)
	return nil
}

// checkIQ checks what RFC 6120 §8.2.3 asks of an IQ.
func (x *Stanza) checkIQ() *StanzaError {
	if x.Kind != IQ {
		return nil
	}
	switch x.Type {
	case TypeGet, TypeSet:
		if x.ID == "" || len(x.kids) != 1 {
			return BadRequest("")
		}
	case TypeResult, TypeError:
		if x.ID == "" {
			return BadRequest("")
		}
	default:
		return BadRequest("")
	}
	return nil
}

// toServer handles a stanza without to (RFC 6120 §10.3).
func (s *Session) toServer(x *Stanza) error {
	switch x.Kind {
	case Presence:
		s.broadcast(x)
		return nil
	case IQ:
		if ns, _ := x.PayloadName(); x.Type == TypeSet && ns == NSSession {
			return s.Deliver(NewStanza(IQ, TypeResult, x.ID, JID{}, s.jid, ""))
		}
	}
	x.To = s.jid.Bare()
	s.srv.router.Route(s.ctx, x)
	return nil
}

// broadcast is presence to nobody in particular: there are no subscriptions, so
// it goes to the account's own sessions.
func (s *Session) broadcast(x *Stanza) {
	switch x.Type {
	case "":
		priority, _ := strconv.Atoi(priorityText(x))
		s.mu.Lock()
		s.available, s.priority = true, max(-128, min(127, priority))
		s.mu.Unlock()
		s.toOwn(x)
	case TypeUnavailable:
		s.unavailable(x)
		s.mu.Lock()
		if !s.closed {
			s.directed = map[JID]JID{}
		}
		s.mu.Unlock()
	}
}

func priorityText(x *Stanza) string {
	if el := x.Child(NSClient, "priority"); el != nil {
		return el.Text
	}
	return ""
}

// track remembers whom the session has shown its presence to. One entry a room:
// a change of nick replaces it. It refuses presence beyond the bound.
func (s *Session) track(x *Stanza) bool {
	key := x.To
	if s.srv.host(x.To.Domain) == nil {
		key = x.To.Bare()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch x.Type {
	case "":
		if _, known := s.directed[key]; !known && len(s.directed) >= s.srv.cfg.DirectedPresences {
			return false
		}
		if !s.closed {
			s.directed[key] = x.To
		}
	case TypeUnavailable:
		delete(s.directed, key)
	}
	return true
}

// malformed answers a stanza whose to is no address (RFC 6120 §8.3.3.8).
func (s *Session) malformed(st *stream, bad *JIDError) error {
	s.inMu.Lock()
	defer s.inMu.Unlock()
	if err := s.count(st); err != nil {
		return err
	}
	if bad.Attr == "from" {
		return &StreamError{Cond: "invalid-from"}
	}
	if bad.Type == TypeError || bad.Kind == IQ && bad.Type == TypeResult {
		return nil
	}
	return s.Deliver(NewStanza(bad.Kind, TypeError, bad.ID, s.host.Host.JID(), s.jid, JIDMalformed("").Inner()))
}
