package relay

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"sync/atomic"
	"time"

	"confab/extdisco/stun"
	"confab/internal/datagram"
)

const (
	// readSize is how much is read of a connection before the others have their turn.
	readSize = 64 << 10
	// inboxSize is room for what a loop reads of connections in one round; it must hold
	// two reads of the longest message and more.
	inboxSize = 512 << 10
	// ackTime is how often the kernel is told to hold acknowledgements back. It has its
	// own mind: where little goes the other way it sends one for each message that is
	// read, at a quarter of all CPU time.
	ackTime = 500 * time.Millisecond
)

// inbox is where a loop reads connections to. Messages stay in it until the flight that
// takes them on has been sent.
type inbox struct {
	buf, sealed []byte // made when the first connection comes
	used        int
}

// polled is what of a stream only its loop uses.
type polled struct {
	over  atomic.Bool // it has been hung up
	left  bool        // and ended
	known bool        // what it speaks; over TLS: TLS holds nothing that was read before
	part  []byte      // the beginning of a message
	acked int64       // when the kernel was told of acknowledgements
}

// enter has the loop serve the connection.
func (s *stream) enter() {
	// At once, if TLS has read more than the handshake.
	sealed := s.kind == "tls"
	s.watched = sealed
	if err := s.wire.take(s); err == nil {
		fd := s.wire.fd.Load()
		if err = s.loop.poller.AddStream(fd, s); err == nil {
			if sealed { // the loop may have gone on with s
				s.loop.poller.Writable(fd, true)
			}
			return
		}
	}
	s.leave()
}

// secure is the goroutine of a TLS handshake.
func (s *stream) secure() {
	ok := false
	s.guard("handshake", func() {
		t, is := s.conn.(interface{ HandshakeContext(context.Context) error })
		ok = !is || t.HandshakeContext(context.Background()) == nil // s.timer ends it
	})
	if ok {
		s.enter()
	} else {
		s.leave()
	}
}

// leave ends the connection. Nobody reads it any more, and who writes notices.
func (s *stream) leave() {
	if s.left {
		return
	}
	s.left = true
	defer s.listener.open.Done()
	if fd := s.wire.fd.Load(); fd != nil {
		s.loop.poller.RemoveStream(fd)
	}
	s.mu.Lock()
	s.closed = true
	s.control, s.media, s.start, s.rest = nil, nil, 0, nil
	s.mu.Unlock()
	s.part = nil
	_ = s.wire.Close()
	s.end()
}

// fromStream serves a connection that has something to read, or room for what waits.
// What makes it panic costs this connection.
func (l *loop) fromStream(s *stream) {
	defer func() {
		if err := recover(); err != nil {
			l.server.panicked("connection reading", err)
			l.flight.discard()
			s.leave()
		}
	}()
	s.resume(&l.flight.spool)
	if s.over.Load() || !l.receive(s) {
		s.leave()
	}
}

// receive reads what there is, up to a bound. It is false if the connection has ended.
func (l *loop) receive(s *stream) bool {
	if l.inbox.buf == nil {
		l.inbox.buf, l.inbox.sealed = make([]byte, inboxSize), make([]byte, readSize)
	}
	room := firstBuffer
	if s.member.Load() {
		room = readSize
		if now := l.flight.now; now-s.acked >= int64(ackTime) {
			s.acked = now
			s.wire.fd.Load().DelayAcks()
		}
	}
	if s.kind == "tls" {
		return l.receiveSealed(s, room)
	}
	b, have := l.room(s, room)
	n, err := s.wire.fd.Load().Read(b[have:])
	if err != nil {
		return errors.Is(err, datagram.ErrLater)
	}
	if !s.known {
		s.known = true
		if config := l.server.cfg.PlainTLS; b[0] == tlsRecord && config != nil {
			return l.handshake(s, config, b[:n])
		}
	}
	return l.messages(s, b[:have+n])
}

// handshake has TLS begin on the plain port; first was read of it.
func (l *loop) handshake(s *stream, config *tls.Config, first []byte) bool {
	l.poller.RemoveStream(s.wire.fd.Load())
	s.wire.in = bytes.Clone(first)
	if err := s.wire.giveBack(); err != nil {
		return false
	}
	s.kind, s.conn, s.known = "tls", tls.Server(s.wire, config), false
	go s.secure()
	return true
}

// receiveSealed reads once from the kernel, and what comes of that from TLS.
func (l *loop) receiveSealed(s *stream, room int) bool {
	w := s.wire
	n, err := w.fd.Load().Read(l.inbox.sealed[:room])
	if err != nil && !errors.Is(err, datagram.ErrLater) {
		return false
	}
	w.in = l.inbox.sealed[:n]
	defer s.settleRest(&l.flight.spool) // TLS may have answered by itself
	for {
		b, have := l.room(s, recordSize)
		n, err := s.conn.Read(b[have:])
		if n > 0 {
			w.whole--
			if !l.messages(s, b[:have+n]) {
				return false
			}
		}
		switch {
		case s.peer != nil:
			return true
		case errors.Is(err, datagram.ErrLater):
			s.known = true
			return true
		case err != nil:
			return false
		case s.known && w.whole <= 0 && len(w.in) == 0 && len(b)-have >= recordSize:
			return true // and not ask TLS once more, which costs it memory each time
		}
	}
}

// room is where the next read of n bytes goes; what there is of a message comes first,
// have bytes of it. A long message is put together where it is: it would be copied for
// each of its pieces.
func (l *loop) room(s *stream, n int) (b []byte, have int) {
	have = len(s.part)
	if have >= 4 {
		if size := stun.FrameSize(s.part); size > firstBuffer {
			if cap(s.part) < size {
				s.part = append(make([]byte, 0, size), s.part...)
			}
			return s.part[:size], have
		}
	}
	if l.inbox.used+have+n > len(l.inbox.buf) {
		l.send()
	}
	b = l.inbox.buf[l.inbox.used:][:have+n]
	copy(b, s.part)
	return b, have
}

// messages takes the messages in b. It is false if the connection has to end.
func (l *loop) messages(s *stream, b []byte) bool {
	used, _ := s.frames(l.flight, b)
	if used < 0 {
		l.server.counters.garbage.Add(1)
		return false // on a stream there is no way to find the next message
	}
	rest := b[used:]
	own := len(s.part) > 0 && &b[0] == &s.part[0] // put together where it was
	switch {
	case s.peer != nil:
		l.handOver(s, bytes.Clone(rest))
		return true
	case own && used > 0:
		s.part = nil // in the flight
	case own:
		s.part = b
		return true
	case len(rest) == 0 && cap(s.part) > firstBuffer:
		s.part = nil
	default:
		s.part = append(s.part[:0], rest...)
	}
	if !own {
		l.inbox.used += used
	}
	return true
}

// handOver makes the connection one with a peer's (RFC 6062 §5.4); first came behind.
func (l *loop) handOver(s *stream, first []byte) {
	l.flight.flush() // the answer goes before
	l.poller.RemoveStream(s.wire.fd.Load())
	s.wire.in = bytes.Clone(s.wire.in)
	go func() {
		defer s.leave()
		s.guard("relaying", func() {
			if s.claim() {
				s.pipe(first)
			}
		})
	}()
}

// claim takes the connection from the loop and writes what waits.
func (s *stream) claim() bool {
	s.mu.Lock()
	for s.busy {
		idle := make(chan struct{})
		s.idle = idle
		s.mu.Unlock()
		<-idle
		s.mu.Lock()
	}
	s.closed = true
	rest := s.rest
	var queued []byte
	for b := s.next(nil); len(b) > 0; b = s.next(nil) {
		queued = append(queued, b...)
	}
	s.rest = nil
	s.mu.Unlock()
	if err := s.wire.giveBack(); err != nil {
		return false
	}
	if _, err := s.wire.Conn.Write(rest); err != nil {
		return false
	}
	if len(queued) == 0 {
		return true
	}
	_, err := s.conn.Write(queued)
	return err == nil
}
