package xmpp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// ServeTCP accepts clients on ln with STARTTLS (RFC 6120), which all but loopback
// must use. It returns nil when the server or the listener is closed.
func (s *Server) ServeTCP(ln net.Listener) error { return s.serveListener(ln, false) }

// ServeDirectTLS accepts clients on ln that begin with TLS (XEP-0368).
func (s *Server) ServeDirectTLS(ln net.Listener) error { return s.serveListener(ln, true) }

func (s *Server) serveListener(ln net.Listener, direct bool) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return ln.Close()
	}
	s.listeners[ln] = struct{}{}
	s.wg.Add(1)
	s.mu.Unlock()
	defer s.wg.Done()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, ln)
		s.mu.Unlock()
	}()
	for {
		conn, err := ln.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			s.log.Warn("accept failed", "err", err)
			if pause(s.ctx, 100*time.Millisecond) != nil { // out of file descriptors, most likely
				return nil
			}
			continue
		}
		s.wg.Go(func() { s.serveConn(conn, direct) })
	}
}

func (s *Server) serveConn(conn net.Conn, direct bool) {
	defer s.recovered(func() { _ = conn.Close() })
	remote := hostAddr(conn.RemoteAddr().String())
	f := &tcpFramer{raw: conn, conn: conn, timeout: s.cfg.WriteTimeout}
	st := &stream{fr: f, remote: remote}
	switch {
	case direct:
		// A handshake is a connection, too.
		leave, ok := s.gate.enter(remote)
		if !ok {
			f.release()
			return
		}
		state, err := f.startTLS(s.ctx, s.directTLS(), s.cfg.NegotiationTimeout)
		leave()
		if err != nil {
			s.log.Debug("tls handshake failed", "addr", remote.String(), "err", err)
			f.release()
			return
		}
		st.tls, st.secure = state, true
	case s.cfg.TLS != nil:
		st.startTLS = func() (*tls.ConnectionState, error) {
			return f.startTLS(s.ctx, s.cfg.TLS, s.cfg.NegotiationTimeout)
		}
	}
	st.needTLS = !st.secure && !remote.IsLoopback()
	if st.needTLS && st.startTLS == nil {
		s.log.Warn("client refused: no certificate for STARTTLS", "addr", remote.String())
		f.release()
		return
	}
	s.serveStream(st)
}

func (s *Server) directTLS() *tls.Config {
	c := &tls.Config{}
	if s.cfg.TLS != nil {
		c = s.cfg.TLS.Clone()
	}
	c.NextProtos = []string{"xmpp-client"}
	return c
}

// tcpFramer is a TCP connection with or without TLS: elements below one stream
// root in each direction.
type tcpFramer struct {
	raw     net.Conn // for deadlines, by anyone
	conn    net.Conn // raw, or TLS on it
	timeout time.Duration
	split   splitter
	in      [4096]byte
	out     []byte
	scope   Scope // of the peer's stream header
}

// flushSize is how much output is collected before it is written.
const flushSize = 32 << 10

// lingerTime is how long the rest of a peer's output is read after we ended the
// stream: closing at once would reset the connection, and the peer would never
// see why.
const lingerTime = time.Second

func (f *tcpFramer) transport() string { return TransportTCP }
func (f *tcpFramer) namespaced() bool  { return false }

func (f *tcpFramer) read(limit int) (inbound, error) {
	for {
		p, err := f.split.next(limit)
		if err != nil {
			return inbound{}, err
		}
		switch p.kind {
		case pieceHeader:
			return f.header(p.text)
		case pieceElement:
			return inbound{text: p.text, scope: f.scope}, nil
		case pieceEnd:
			return inbound{kind: inClose}, nil
		}
		n, err := f.conn.Read(f.in[:])
		if n == 0 && err != nil {
			return inbound{}, err
		}
		f.split.feed(f.in[:n])
		if len(f.split.buf) == n && n < 16 && isSpace(f.in[:n]) {
			return inbound{kind: inNothing}, nil // a keep-alive (RFC 6120 §4.6.1)
		}
	}
}

func isSpace(b []byte) bool {
	for _, c := range b {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return false
		}
	}
	return true
}

// header reads the start tag of the peer's stream and keeps its namespaces.
func (f *tcpFramer) header(text string) (inbound, error) {
	t := newTokenizer(text[:len(text)-1]+"/>", DefaultLimits, Scope{})
	defer t.release()
	if err := t.check(); err != nil {
		return inbound{}, err
	}
	var tok token
	if err := t.startTag(&tok); err != nil {
		return inbound{}, err
	}
	deflt := t.stack[0].deflt
	switch {
	case tok.ns != NSStream:
		return inbound{}, &StreamError{Cond: "invalid-namespace"}
	case tok.name != "stream":
		return inbound{}, &StreamError{Cond: "bad-format"}
	case deflt != NSClient && deflt != NSStream && deflt != "":
		return inbound{}, &StreamError{Cond: "invalid-namespace"}
	}
	f.scope = Scope{Default: deflt, Prefixes: append([]Binding(nil), t.binds...)}
	return inbound{kind: inOpen, to: attr(tok.attrs, "to")}, nil
}

func (f *tcpFramer) greet(from JID, id string) error {
	f.out = append(f.out, `<?xml version="1.0"?><stream:stream xmlns="`+NSClient+`" xmlns:stream="`+NSStream+`" from="`...)
	f.out = from.appendEscaped(f.out)
	f.out = append(f.out, `" id="`...)
	f.out = appendEscaped(f.out, id)
	f.out = append(f.out, `" version="1.0" xml:lang="en">`...)
	return nil
}

func (f *tcpFramer) restart() { f.split.restart() }

func (f *tcpFramer) put(b []byte) error {
	f.out = append(f.out, b...)
	if len(f.out) < flushSize {
		return nil
	}
	return f.flush()
}

func (f *tcpFramer) flush() error {
	if err := f.raw.SetWriteDeadline(time.Now().Add(f.timeout)); err != nil {
		return err
	}
	_, err := f.conn.Write(f.out)
	if f.out = f.out[:0]; cap(f.out) > 2*keepBuffer {
		f.out = nil
	}
	return err
}

func (f *tcpFramer) finish(e *StreamError) {
	if e != nil {
		f.out = append(f.out, streamErrorText(e)...)
	}
	f.out = append(f.out, "</stream:stream>"...)
	if f.flush() != nil {
		f.kill()
		return
	}
	if c, ok := f.conn.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
		_ = f.raw.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.Copy(io.Discard, f.conn)
	}
	f.kill()
}

// startTLS does the handshake. Input that came before it is an attempt to inject
// (RFC 6120 §5.4.3.3).
func (f *tcpFramer) startTLS(ctx context.Context, cfg *tls.Config, timeout time.Duration) (*tls.ConnectionState, error) {
	if len(f.split.buf) > 0 {
		return nil, &StreamError{Cond: "policy-violation"}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn := tls.Server(f.raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("tls handshake: %w", err)
	}
	f.conn = conn
	f.split = splitter{}
	state := conn.ConnectionState()
	return &state, nil
}

func (f *tcpFramer) kill()    { _ = f.raw.SetDeadline(longAgo) }
func (f *tcpFramer) release() { _ = f.raw.Close() }
