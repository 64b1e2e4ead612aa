package xmpp

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"
)

// Session is a bound resource of a client: the Port behind its full address. It
// may outlive its connection (XEP-0198).
type Session struct {
	srv     *Server
	host    *LoginHost
	jid     JID
	account Account // but for the claims, which a resuming connection may bring
	q       *outQueue
	rates   *stanzaRates // nil without limits
	ctx     context.Context
	cancel  context.CancelFunc

	// inMu is held while one inbound stanza is handled, so that a connection
	// that takes the session over goes on exactly where the old one stopped.
	inMu    sync.Mutex
	counted bool   // XEP-0198 is enabled
	h       uint32 // stanzas handled since then

	mu        sync.Mutex
	attrs     Attrs
	claims    *Claims
	remote    netip.Addr
	stream    *stream // nil while detached
	token     *outToken
	smID      string      // not empty: can be resumed
	timer     *time.Timer // of a detached session
	directed  map[JID]JID
	available bool
	priority  int
	closed    bool
}

// JID implements Port.
func (s *Session) JID() JID { return s.jid }

// Account is who is logged in, with the claims of the latest token.
func (s *Session) Account() Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.account
	a.Claims = s.claims
	return a
}

// Attrs is what the URL of the latest connection said.
func (s *Session) Attrs() Attrs {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.attrs
}

// Remote is the client's address as of its latest connection.
func (s *Session) Remote() netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.remote
}

// In are the bare addresses that the session has shown itself to and not left
// yet: rooms that it is in, among others.
func (s *Session) In() []JID {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []JID
	for _, to := range s.directed {
		if to.Resource != "" {
			out = append(out, to.Bare())
		}
	}
	return out
}

// Transport is how the client is connected, "" while it is detached.
func (s *Session) Transport() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream == nil {
		return ""
	}
	return s.stream.fr.transport()
}

// Priority implements Resource.
func (s *Session) Priority() (int, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.priority, s.available
}

// Deliver implements Port.
func (s *Session) Deliver(x *Stanza) error { return s.send(outItem{s: x}) }

// send queues an item. A client that is too slow loses its connection and may
// resume; a detached one that collects too much ends.
func (s *Session) send(it outItem) error {
	err := s.q.put(it)
	if !errors.Is(err, errOverflow) {
		return err
	}
	s.srv.stats.overflows.Add(1)
	s.mu.Lock()
	st := s.stream
	s.mu.Unlock()
	s.srv.log.Info("client too slow", "jid", s.jid.String(), "detached", st == nil)
	if st == nil {
		s.close(nil)
		return ErrFull
	}
	s.detach(st)
	st.fr.kill()
	return nil
}

// attach makes a first writer.
func (s *Session) attach() *outToken {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = s.q.attach()
	return s.token
}

// detach takes the connection away; the session waits to be resumed, or ends.
func (s *Session) detach(st *stream) {
	s.mu.Lock()
	if s.closed || s.stream != st {
		s.mu.Unlock()
		return
	}
	s.q.detach(s.token)
	s.stream, s.token = nil, nil
	if s.smID == "" {
		s.mu.Unlock()
		s.close(nil)
		return
	}
	s.timer = time.AfterFunc(s.srv.cfg.ResumeTimeout, s.lapse)
	s.mu.Unlock()
	s.srv.log.Debug("session detached", "jid", s.jid.String())
}

// lapse ends a session that nobody resumed.
func (s *Session) lapse() {
	defer s.srv.recovered(func() {}) // of a timer
	s.endedBy(nil, nil)
}

// endedBy ends the session because its connection st did, cleanly or not, or
// because it has had none for too long; not when another connection has taken it
// over.
func (s *Session) endedBy(st *stream, err *StreamError) {
	s.closeIf(err, func() bool { return s.stream == st })
}

// close ends the session for good: the writer sends what is queued and the end,
// the address is free, and whoever saw the presence is told (RFC 6121 §4.6.3).
func (s *Session) close(err *StreamError) { s.closeIf(err, func() bool { return true }) }

// closeIf is close under a condition that is looked at with mu held.
func (s *Session) closeIf(err *StreamError, cond func() bool) {
	s.mu.Lock()
	if s.closed || !cond() {
		s.mu.Unlock()
		return
	}
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
	smID := s.smID
	s.mu.Unlock()

	// The address is free before the client can see the end and come back.
	s.cancel()
	s.host.Host.unbind(s)
	s.srv.forget(s, smID)
	s.q.close(err)
	s.unavailable(NewStanza(Presence, TypeUnavailable, "", s.jid, JID{}, ""))
	s.srv.log.Debug("session ended", "jid", s.jid.String())
}

// ended reports whether the session is closed. What closes it forgets it after
// that, so what is made known before this is asked is forgotten, too.
func (s *Session) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// unavailable sends x, an unavailable presence, to all who have seen the session
// available: its account's other sessions and those it showed itself to.
func (s *Session) unavailable(x *Stanza) {
	s.mu.Lock()
	directed, available := s.directed, s.available
	s.directed, s.available = nil, false
	s.mu.Unlock()
	if available {
		s.toOwn(x)
	}
	for _, to := range directed {
		s.srv.router.RouteNow(x.With(s.jid, to))
	}
}

// toOwn sends a presence to the account's available sessions (RFC 6121 §4.2.2).
func (s *Session) toOwn(x *Stanza) {
	for _, r := range s.host.Host.Resources(s.jid.Local) {
		if _, ok := r.Priority(); ok {
			_ = r.Deliver(x)
		}
	}
}

// probe asks a silent client for a sign of life.
func (s *Session) probe() {
	s.inMu.Lock()
	counted := s.counted
	s.inMu.Unlock()
	if counted {
		_ = s.send(outItem{raw: ackRequest})
		return
	}
	_ = s.Deliver(NewStanza(IQ, TypeGet, "ping-"+randomID(6), s.host.Host.JID(), s.jid,
		new(Enc).Start("ping", NSPing).End().String()))
}
