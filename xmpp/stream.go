package xmpp

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// streamState is how far a connection has come.
type streamState uint8

const (
	stateNew           streamState = iota // waits for the client's stream header
	stateOpened                           // may log in
	stateAuthenticated                    // must open the stream anew
	stateReopened                         // may bind or resume
	stateBound
)

// maxNegotiation bounds the elements of a client that has not bound a resource.
const maxNegotiation = 40

// stream is one connection. Its reader goroutine runs it and owns its fields; a
// second goroutine, the writer, exists once a session is attached.
type stream struct {
	srv    *Server
	fr     framer
	remote netip.Addr
	secure bool
	tls    *tls.ConnectionState
	attrs  Attrs
	ctx    context.Context // of the server
	// needTLS says that nothing but STARTTLS may come before it (TCP).
	needTLS  bool
	startTLS func() (*tls.ConnectionState, error) // of TCP, while it may be used

	state    streamState
	greeted  bool // our stream header has gone out
	host     *LoginHost
	account  Account
	exchange Exchange
	tried    func() // of the exchange: it is over
	tries    int
	elements int
	session  *Session
	writing  sync.WaitGroup

	lastRead atomic.Int64 // unix nanoseconds
	busy     atomic.Bool  // the reader handles something, or is held back

	mu    sync.Mutex
	timer *time.Timer  // negotiation, then silence
	cause *StreamError // set by expire
	bound bool         // a session's writer says good-bye
	ended bool
}

// serveStream runs a connection until it ends, on the caller's goroutine.
func (s *Server) serveStream(st *stream) {
	st.srv, st.ctx = s, s.ctx
	if !s.start(st) {
		st.fr.release()
		return
	}
	defer s.stopped(st)
	leave, ok := s.gate.enter(st.remote)
	if !ok {
		s.log.Info("connection refused", "addr", st.remote.String(), "reason", "too many from one address")
		st.end(&StreamError{Cond: "policy-violation", Text: "Too many connections"})
		return
	}
	defer leave()
	st.setTimer(s.cfg.NegotiationTimeout, func() { st.expire(&StreamError{Cond: "connection-timeout"}) })
	st.end(st.run())
}

func (st *stream) run() (err error) {
	defer st.srv.recovered(func() { err = &StreamError{Cond: "internal-server-error"} })
	if err := pause(st.ctx, st.srv.gate.loginDelay(st.remote)); err != nil {
		return err
	}
	for {
		in, err := st.fr.read(st.readLimit())
		if err != nil {
			return err
		}
		st.busy.Store(true)
		err = st.handle(in)
		st.lastRead.Store(time.Now().UnixNano())
		st.busy.Store(false)
		if err != nil {
			return err
		}
	}
}

// errClosed means that the client ended the stream.
var errClosed = errors.New("closed by the client")

func (st *stream) readLimit() int {
	if st.state >= stateAuthenticated {
		return st.srv.cfg.Stanza.Bytes
	}
	return st.srv.cfg.StanzaUnauthenticated
}

func (st *stream) limits() Limits {
	l := st.srv.cfg.Stanza
	l.Bytes = st.readLimit()
	return l
}

func (st *stream) handle(in inbound) error {
	switch {
	case in.kind == inNothing:
		return nil
	case in.kind == inClose:
		return errClosed
	case in.kind == inOpen:
		return st.open(in.to)
	case st.state == stateBound:
		return st.inbound(in)
	}
	// Before bind everything is small and rare: it is parsed as a tree.
	if st.elements++; st.elements > maxNegotiation {
		return &StreamError{Cond: "policy-violation"}
	}
	el, err := ParseElement(in.text, st.limits(), in.scope)
	if err != nil {
		return err
	}
	switch {
	case st.state == stateNew:
		return &StreamError{Cond: "not-authorized"}
	case el.NS == NSTLS && el.Name == "starttls":
		return st.upgrade()
	case el.NS == NSSASL && st.state == stateOpened:
		return st.handleSASL(el)
	case el.NS == NSSASL:
		return &StreamError{Cond: "not-authorized"}
	case el.NS == NSSM && st.state == stateReopened:
		return st.negotiateSM(el)
	case el.NS == NSClient && el.Name == "iq" && st.state == stateReopened:
		return st.bind(in)
	case el.NS == NSClient && el.Name == "iq" && el.Child(nsIQAuth, "query") != nil:
		// LJM tries XEP-0078 when it can't use what is offered; without an answer
		// its login dialog hangs (client-signaling.md §4.1).
		return st.writeNow(NewStanza(IQ, TypeError, el.Get("id"), st.host.Host.JID(), JID{},
			ServiceUnavailable("").Inner()).String())
	}
	return &StreamError{Cond: "not-authorized"} // RFC 6120 §4.9.3.12
}

const nsIQAuth = "jabber:iq:auth"

// open answers a stream header: ours, and the features of this stage.
func (st *stream) open(to string) error {
	j, err := ParseJID(to)
	host := st.srv.host(j.Domain)
	if st.state != stateNew && st.state != stateAuthenticated {
		return &StreamError{Cond: "invalid-xml"}
	}
	if err != nil || host == nil || st.host != nil && host != st.host {
		st.greeted = false
		return &StreamError{Cond: "host-unknown"}
	}
	st.host = host
	if err := st.greet(host); err != nil {
		return err
	}
	var e Enc
	e.Start("stream:features", "")
	if st.fr.transport() != TransportTCP {
		e.Attr("xmlns:stream", NSStream)
	}
	switch st.state {
	case stateNew:
		st.state = stateOpened
		if st.startTLS != nil {
			e.Start("starttls", NSTLS)
			if st.needTLS {
				e.Start("required", "").End()
			}
			e.End()
		}
		e.Raw(st.mechanismsFeature())
	default:
		st.state = stateReopened
		// LJM asks for a session, and waits for the answer, if the feature is
		// there at all: it is not announced, only answered.
		e.Start("bind", NSBind).Start("required", "").End().End()
		if st.fr.transport() != TransportBOSH { // LJM resumes on WebSockets only
			e.Start("sm", NSSM).End()
		}
	}
	return st.writeNow(e.End().String())
}

// greet writes our stream header.
func (st *stream) greet(host *LoginHost) error {
	st.greeted = true
	return st.fr.greet(host.Host.JID(), randomID(12))
}

func (st *stream) tlsRequired() bool { return st.needTLS }

// upgrade is STARTTLS (RFC 6120 §5.4).
func (st *stream) upgrade() error {
	if st.startTLS == nil || st.state != stateOpened {
		return st.writeNow(new(Enc).Start("failure", NSTLS).End().String())
	}
	if err := st.writeNow(new(Enc).Start("proceed", NSTLS).End().String()); err != nil {
		return err
	}
	state, err := st.startTLS()
	if err != nil {
		return err
	}
	st.tls, st.secure, st.needTLS, st.startTLS = state, true, false, nil
	st.endExchange()
	st.state, st.host, st.greeted = stateNew, nil, false
	return nil
}

// writeNow writes one element from the reader, before a writer exists.
func (st *stream) writeNow(text string) error {
	if err := st.fr.put([]byte(text)); err != nil {
		return err
	}
	return st.fr.flush()
}

// expire ends the connection from outside: the reader fails and says why.
func (st *stream) expire(cause *StreamError) {
	st.mu.Lock()
	if st.cause == nil {
		st.cause = cause
	}
	st.mu.Unlock()
	st.fr.kill()
}

// shutdown is expire for a connection that has no session to do it.
func (st *stream) shutdown(cause *StreamError) {
	st.mu.Lock()
	bound := st.bound
	st.mu.Unlock()
	if !bound {
		st.expire(cause)
	}
}

// idle probes a silent client and gives it up when it stays silent.
func (st *stream) idle() {
	timeout := st.srv.cfg.IdleTimeout
	quiet := time.Since(time.Unix(0, st.lastRead.Load()))
	if st.busy.Load() {
		quiet = 0
	}
	next := timeout/2 - quiet
	switch {
	case quiet >= timeout:
		st.srv.log.Debug("connection silent", "addr", st.remote.String())
		st.fr.kill()
		return
	case quiet >= timeout/2:
		st.session.probe()
		next = timeout - quiet
	}
	st.setTimer(next, st.idle)
}

// setTimer replaces the stream's timer; f must not wait.
func (st *stream) setTimer(d time.Duration, f func()) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.timer != nil {
		st.timer.Stop()
		st.timer = nil
	}
	if !st.ended && f != nil {
		st.timer = time.AfterFunc(d, f)
	}
}

// end closes the connection after run, and with it or without it the session.
func (st *stream) end(err error) {
	defer st.srv.recovered(func() {})
	defer st.fr.release()
	st.endExchange()
	st.mu.Lock()
	st.ended = true
	cause := st.cause
	st.mu.Unlock()
	st.setTimer(0, nil)

	se := asStreamError(err)
	if se == nil {
		se = cause
	}
	if se != nil {
		st.srv.stats.streamErrors.Add(1)
		st.srv.log.Debug("stream error", "addr", st.remote.String(), "transport", st.fr.transport(), "cond", se.Cond)
	}
	clean := errors.Is(err, errClosed)
	switch {
	case st.session == nil && (se != nil || clean):
		if !st.greeted { // RFC 6120 §4.9.1.2: an error comes after a header
			_ = st.greet(&st.srv.cfg.Hosts[0])
		}
		st.fr.finish(se)
	case st.session == nil:
	case se != nil || clean:
		st.session.endedBy(st, se)
	default:
		st.session.detach(st)
		st.fr.kill()
	}
	st.writing.Wait()
}

// asStreamError is what to tell the peer about err, nil when the connection is
// simply gone.
func asStreamError(err error) *StreamError {
	var se *StreamError
	switch {
	case errors.As(err, &se):
		return se
	case errors.Is(err, ErrNotWellFormed):
		return &StreamError{Cond: "not-well-formed"}
	case errors.Is(err, ErrRestrictedXML):
		return &StreamError{Cond: "restricted-xml"}
	case errors.Is(err, ErrNamespace):
		return &StreamError{Cond: "bad-namespace-prefix"}
	case errors.Is(err, ErrTooBig):
		return &StreamError{Cond: "policy-violation", Text: "Element too big"}
	}
	return nil
}
