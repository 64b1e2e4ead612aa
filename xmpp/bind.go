package xmpp

import (
	"context"
	"errors"
)

// maxTakeovers bounds how often a bind evicts the holder of its address.
const maxTakeovers = 3

// bind is RFC 6120 §7: it makes the session and starts its writer.
func (st *stream) bind(in inbound) error {
	req, err := ParseStanza(in.text, st.limits(), in.scope)
	if err != nil {
		return err
	}
	el := req.Child(NSBind, "bind")
	if el == nil || req.Type != TypeSet {
		return &StreamError{Cond: "not-authorized"}
	}
	resource := randomID(9)
	if want := el.ChildText(NSBind, "resource"); want != "" {
		if resource, err = PrepareResource(want); err != nil {
			return st.refuseBind(req, BadRequest(""))
		}
	}
	s, err := st.newSession(resource)
	var se *StanzaError
	switch {
	case errors.As(err, &se):
		return st.refuseBind(req, se)
	case err != nil:
		return err
	}
	token := s.attach()
	// LJM drops its handler for the push when it is connected: the push comes
	// before the result (client-signaling.md §5.2).
	if push := st.push(s.jid); push != nil {
		_ = s.Deliver(push)
	}
	inner := new(Enc).Start("bind", NSBind).Leaf("jid", "", s.jid.String()).End().String()
	_ = s.Deliver(NewStanza(IQ, TypeResult, req.ID, JID{}, JID{}, inner))
	st.srv.stats.logins.Add(1)
	st.srv.log.Debug("session bound", "jid", s.jid.String(), "transport", st.fr.transport(), "addr", st.remote.String())
	st.attached(s, token)
	return nil
}

func (st *stream) refuseBind(req *Stanza, se *StanzaError) error {
	return st.writeNow(NewStanza(IQ, TypeError, req.ID, JID{}, JID{}, se.Inner()).String())
}

// attached makes s the stream's session; from now on only the writer writes.
func (st *stream) attached(s *Session, token *outToken) {
	st.session, st.state = s, stateBound
	st.mu.Lock()
	st.bound = true
	st.mu.Unlock()
	st.startWriter(s, token)
	if st.fr.transport() == TransportBOSH {
		st.setTimer(0, nil) // BOSH watches its client itself
		return
	}
	st.setTimer(st.srv.cfg.IdleTimeout/2, st.idle)
}

// newSession binds the address. An older session that holds it is ended: it is
// the same user, who has most likely lost it.
func (st *stream) newSession(resource string) (*Session, error) {
	s := &Session{
		srv: st.srv, host: st.host, account: st.account, claims: st.account.Claims, attrs: st.attrs, remote: st.remote, stream: st,
		jid:      JID{st.account.Name, st.host.Host.JID().Domain, resource},
		q:        newOutQueue(&st.srv.cfg),
		directed: map[JID]JID{},
	}
	s.ctx, s.cancel = context.WithCancel(st.srv.ctx)
	if !st.srv.gate.exempt(st.remote) {
		s.rates = newStanzaRates(&st.srv.cfg)
	}
	for range maxTakeovers {
		if st.host.Host.bind(s) == nil {
			if !st.srv.add(s) {
				s.close(nil)
				return nil, &StreamError{Cond: "system-shutdown"}
			}
			return s, nil
		}
		holder, _ := st.srv.router.Port(s.jid)
		old, ok := holder.(*Session)
		if !ok && holder != nil {
			break
		}
		if old != nil {
			old.close(&StreamError{Cond: "conflict", Text: "Replaced by new connection"})
		}
	}
	s.cancel()
	return nil, Conflict("")
}

// push is the message that spares web clients their first round trips, or nil.
// Plain clients don't expect anything before the result of bind.
func (st *stream) push(user JID) *Stanza {
	if !st.srv.cfg.PushServices || st.fr.transport() == TransportTCP {
		return nil
	}
	from := st.srv.cfg.Hosts[0]
	if st.host.Own {
		from = *st.host
	}
	d := from.Host.Disco()
	if from.Tailor != nil {
		d = from.Tailor(user, d)
	}
	inner := d.Inner("")
	if st.host.Services != nil {
		inner += st.host.Services(user)
	}
	return NewStanza(Message, "", "", st.host.Host.JID(), user, inner)
}
