package relay

import (
	"bytes"
	"errors"

	"confab/internal/datagram"
)

// spool is the messages of a flight that go to streams of event loops, by stream: what
// one gets goes down to the kernel together.
type spool struct {
	messages []queued
	of       map[*stream]int // index in list
	list     []line

	// Room to put together what is written, one message, and what comes from a queue.
	out, message, late []byte
}

// queued is a message for a stream; next is that which follows it there.
type queued struct {
	head, body []byte
	next       int
}

type line struct {
	stream      *stream
	first, last int
}

func newSpool() spool { return spool{of: map[*stream]int{}} }

// toStream adds a message. It must stay as it is until flush.
func (f *flight) toStream(s *stream, head, body []byte) {
	x := &f.spool
	i := len(x.messages)
	x.messages = append(x.messages, queued{head, body, -1})
	n := len(x.list)
	if n == 0 || x.list[n-1].stream != s {
		at, ok := x.of[s]
		if !ok {
			x.of[s] = n
			x.list = append(x.list, line{s, i, i})
			return
		}
		n = at + 1
	}
	l := &x.list[n-1]
	x.messages[l.last].next = i
	l.last = i
}

// flush writes all that was added.
func (x *spool) flush() {
	if len(x.list) == 0 {
		return
	}
	for i := range x.list {
		l := &x.list[i]
		l.stream.deliver(x, l.first)
		l.stream = nil
	}
	clear(x.of)
	clear(x.messages)
	x.messages, x.list = x.messages[:0], x.list[:0]
}

// writing is the state of who writes a stream of an event loop. There is one at a time,
// who holds no lock while he writes: others leave what they have in the queue, and he
// takes it along.
type writing struct {
	busy    bool
	idle    chan struct{} // to be closed when busy ends; may be nil
	waits   bool          // for room in the kernel
	watched bool          // the poller tells when there is
	rest    []byte        // what can't be dropped any more: cut off, or encrypted
}

// zeros pad ChannelData (RFC 8656 §12.5).
var zeros [3]byte

// deliver writes the messages of x from at on, or queues what there is no room for.
func (s *stream) deliver(x *spool, at int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mine := !s.busy && !s.waits && !s.closed
	if mine {
		s.busy = true
		s.rest = append(x.out[:0], s.rest...)
		for at >= 0 && !s.waits && !s.closed {
			for at >= 0 && len(s.rest) < recordSize {
				m := &x.messages[at]
				s.seal(x, m.head, m.body)
				at = m.next
			}
			s.push(x)
		}
	}
	for ; at >= 0; at = x.messages[at].next {
		s.queue(x.messages[at].head, x.messages[at].body)
	}
	if mine {
		s.settle(x)
	}
}

// resume goes on writing when there may be room again.
func (s *stream) resume(x *spool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watched && !s.busy && !s.closed {
		s.waits = false
		s.finish(x)
	}
}

// settleRest writes what TLS has written by itself: alerts, new keys.
func (s *stream) settleRest(x *spool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.rest) > 0 && !s.busy && !s.waits && !s.closed {
		s.finish(x)
	}
}

func (s *stream) finish(x *spool) {
	s.busy = true
	s.push(x)
	s.settle(x)
}

// seal adds a message to what is written next. A message to a record: over TLS, too,
// coturn's client takes what one read returns for one message.
func (s *stream) seal(x *spool, head, body []byte) {
	pad := zeros[:-(len(head)+len(body))&3]
	if s.kind == "tcp" {
		s.rest = append(append(append(s.rest, head...), body...), pad...)
		return
	}
	x.message = append(append(append(x.message[:0], head...), body...), pad...)
	s.mu.Unlock()
	_, err := s.conn.Write(x.message)
	s.mu.Lock()
	if err != nil {
		s.closed = true
		s.hangUp()
	}
}

// sealed takes what TLS writes.
func (s *stream) sealed(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.rest = append(s.rest, b...)
	}
	return len(b), nil
}

// push writes what has been sealed.
func (s *stream) push(x *spool) {
	if cap(s.rest) > cap(x.out) {
		x.out = s.rest[:0]
	}
	for len(s.rest) > 0 && !s.closed {
		b := s.rest
		s.mu.Unlock()
		n, err := s.wire.fd.Load().Write(b)
		s.mu.Lock()
		if s.closed {
			break
		}
		s.rest = s.rest[n:]
		if errors.Is(err, datagram.ErrLater) {
			s.waits = true
			return
		}
		if err != nil {
			s.closed = true
			s.hangUp()
		}
	}
	s.rest = x.out[:0]
}

// settle writes what others have queued meanwhile, and ends the turn of who writes.
func (s *stream) settle(x *spool) {
	for !s.waits && !s.closed {
		x.late = s.next(x.late[:0])
		if len(x.late) == 0 {
			break
		}
		for b := x.late; len(b) > 0; {
			n := len(b)
			if s.kind != "tcp" {
				n = s.frame(b)
			}
			s.seal(x, nil, b[:n])
			b = b[n:]
		}
		s.push(x)
	}
	s.busy = false
	if s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
	if s.closed {
		s.control, s.media, s.start, s.rest = nil, nil, 0, nil
		return
	}
	// Nothing of x is left here, and no more than a slow client needs.
	s.rest = bytes.Clone(s.rest[:len(s.rest):len(s.rest)])
	if len(s.rest) == 0 {
		s.rest = nil
	}
	if len(s.media) == 0 && cap(s.media) > recordSize {
		s.media = nil
	}
	if cap(s.control) > firstBuffer && len(s.control) == 0 {
		s.control = nil
	}
	if s.waits != s.watched {
		s.watched = s.waits
		s.loop.poller.Writable(s.wire.fd.Load(), s.waits)
	}
}
