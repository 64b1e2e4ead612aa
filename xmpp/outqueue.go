package xmpp

import (
	"errors"
	"fmt"
	"sync"
)

// deque is a ring that grows.
type deque[T any] struct {
	buf  []T
	head int
	n    int
}

func (d *deque[T]) len() int { return d.n }

func (d *deque[T]) push(v T) {
	if d.n == len(d.buf) {
		next := make([]T, max(8, 2*len(d.buf)))
		copied := copy(next, d.buf[d.head:])
		copy(next[copied:], d.buf[:d.head])
		d.buf, d.head = next, 0
	}
	d.buf[(d.head+d.n)%len(d.buf)] = v
	d.n++
}

func (d *deque[T]) pop() T {
	var zero T
	v := d.buf[d.head]
	d.buf[d.head] = zero
	d.head = (d.head + 1) % len(d.buf)
	if d.n--; d.n == 0 && len(d.buf) > 256 {
		*d = deque[T]{} // don't keep the memory of one flood
	}
	return v
}

// outItem is one thing to write: a stanza, other markup, or the end.
type outItem struct {
	s   *Stanza
	raw string
	// mark is markCount where acknowledged delivery begins, or markEnd.
	mark outMark
	err  *StreamError // of markEnd; nil is a normal close
}

type outMark uint8

const (
	markCount outMark = iota + 1
	markEnd
)

// stanzaOverhead is what a stanza's envelope is taken to cost in a queue.
const stanzaOverhead = 192

func (i outItem) cost() int {
	if i.s != nil {
		return len(i.s.Inner) + stanzaOverhead
	}
	return len(i.raw)
}

// maxBatch bounds how much the writer takes at once.
const maxBatch = 64

var (
	errReplaced = errors.New("connection replaced")
	errDetached = errors.New("connection detached")
	errUnacked  = errors.New("too much is not acknowledged")
	errOverflow = errors.New("queue overflow")
)

// outQueue is what waits to be written to one client, and what it has not
// acknowledged (XEP-0198). It outlives the connection: at any time at most one
// writer, named by its token, is attached.
type outQueue struct {
	limit, limitBytes, ackEvery int

	mu           sync.Mutex
	pending      deque[outItem]
	pendingBytes int
	unacked      deque[*Stanza]
	unackedBytes int
	counting     bool   // what is written is kept until acknowledged
	acked        uint32 // the client's last h
	unasked      int    // stanzas written since the last <r/>
	catchingUp   bool   // a resumed client has more to read than the limit
	closed       bool
	closeErr     *StreamError // that it was closed with
	writer       *outToken
}

// outToken is a writer's right to take from a queue.
type outToken struct {
	ready    chan struct{} // one slot
	replaced bool          // by another connection
}

func newOutQueue(c *Config) *outQueue {
	return &outQueue{limit: c.QueuedStanzas, limitBytes: c.QueuedBytes, ackEvery: c.AckEvery}
}

// put appends an item. errOverflow means that the client is too slow: the item
// is in the queue, but the connection, or without one the session, must end. A
// detached session has the double room, so that the overflow that detached it
// does not end it, too.
func (q *outQueue) put(it outItem) error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return ErrGone
	}
	q.pending.push(it)
	q.pendingBytes += it.cost()
	factor := 1
	if q.writer == nil || q.catchingUp {
		factor = 2
	}
	over := q.pending.len() > factor*q.limit || q.pendingBytes > factor*q.limitBytes
	q.wake()
	q.mu.Unlock()
	if over {
		return errOverflow
	}
	return nil
}

func (q *outQueue) wake() {
	if q.writer != nil {
		select {
		case q.writer.ready <- struct{}{}:
		default:
		}
	}
}

// close lets nothing more in. What is queued is still written, then the end.
func (q *outQueue) close(err *StreamError) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.closed, q.closeErr = true, err
	q.unacked, q.unackedBytes = deque[*Stanza]{}, 0
	q.counting = false
	if q.writer == nil {
		q.pending, q.pendingBytes = deque[outItem]{}, 0
		return
	}
	q.pending.push(outItem{mark: markEnd, err: err})
	q.wake()
}

// attach makes a new writer the only one. That of a closed queue writes the end.
func (q *outQueue) attach() *outToken {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := q.attachLocked()
	if q.closed {
		q.pending.push(outItem{mark: markEnd, err: q.closeErr})
	}
	return t
}

func (q *outQueue) attachLocked() *outToken {
	t := &outToken{ready: make(chan struct{}, 1)}
	if q.writer != nil {
		q.writer.replaced = true
		q.wake()
	}
	q.writer = t
	q.wake()
	return t
}

// detach takes the right to write from t.
func (q *outQueue) detach(t *outToken) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.writer == t {
		q.wake()
		q.writer = nil
	}
}

// take moves what is pending into batch, as far as it may be written now. An
// empty batch means: wait for the token; with errUnacked, not for ever.
func (q *outQueue) take(t *outToken, batch []outItem) ([]outItem, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case t.replaced:
		return batch, errReplaced
	case q.writer != t:
		return batch, errDetached
	}
	stalled := q.stalled()
	for q.pending.len() > 0 && len(batch) < maxBatch && !stalled {
		it := q.pending.pop()
		q.pendingBytes -= it.cost()
		batch = append(batch, it)
		switch {
		case it.mark == markCount:
			q.counting = true
		case it.s != nil && q.counting:
			q.unacked.push(it.s)
			q.unackedBytes += it.cost()
			q.unasked++
		}
		stalled = q.stalled()
	}
	if stalled && q.unasked > 0 {
		q.unasked = q.ackEvery // it must answer now
	}
	if q.unasked >= q.ackEvery && (len(batch) == 0 || batch[len(batch)-1].mark != markEnd) {
		q.unasked = 0
		batch = append(batch, outItem{raw: ackRequest})
	}
	if stalled && len(batch) == 0 {
		return batch, errUnacked
	}
	return batch, nil
}

// stalled reports whether the client must acknowledge before more is written. A
// client that is only slow has this much in the sockets' buffers.
func (q *outQueue) stalled() bool {
	return q.counting && (q.unacked.len() >= q.limit || q.unackedBytes >= q.limitBytes)
}

// handledError is an acknowledgement of more than was sent.
type handledError struct{ h, sent uint32 }

func (e *handledError) Error() string {
	return fmt.Sprintf("client acknowledges %d of %d stanzas", e.h, e.sent)
}

// ack drops what the client has handled. Counters wrap at 2^32 (XEP-0198 §4).
func (q *outQueue) ack(h uint32) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ackLocked(h)
}

func (q *outQueue) ackLocked(h uint32) error {
	n := h - q.acked
	if uint64(n) > uint64(q.unacked.len()) {
		return &handledError{h: h, sent: q.acked + uint32(q.unacked.len())}
	}
	for range n {
		q.unackedBytes -= outItem{s: q.unacked.pop()}.cost()
	}
	q.acked = h
	q.catchingUp = q.catchingUp && q.beyondLimit()
	q.wake()
	return nil
}

func (q *outQueue) beyondLimit() bool {
	return q.pending.len()+q.unacked.len() > q.limit || q.pendingBytes+q.unackedBytes > q.limitBytes
}

// resume gives the queue to a new connection whose client has handled h stanzas:
// first goes out what resumed(the old counter) says, then what was sent and not
// handled, then what has come in meanwhile (XEP-0198 §5).
func (q *outQueue) resume(h uint32, resumed string) (*outToken, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil, ErrGone
	}
	if err := q.ackLocked(h); err != nil {
		return nil, err
	}
	var next deque[outItem]
	bytes := 0
	add := func(it outItem) {
		next.push(it)
		bytes += it.cost()
	}
	add(outItem{raw: resumed})
	for q.unacked.len() > 0 {
		add(outItem{s: q.unacked.pop()})
	}
	for q.pending.len() > 0 {
		if it := q.pending.pop(); it.s != nil { // acks and probes belonged to the old connection
			add(it)
		}
	}
	q.pending, q.pendingBytes = next, bytes
	q.unacked, q.unackedBytes = deque[*Stanza]{}, 0
	q.counting, q.unasked = true, 0
	q.catchingUp = q.beyondLimit()
	return q.attachLocked(), nil
}
