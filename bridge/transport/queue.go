package transport

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/pion/transport/v4/deadline"

	"confab/bridge/rtpx"
)

// queue hands packets from the socket readers to one pion goroutine. When it is
// full the newest packet is dropped: STUN and DTLS both retransmit.
type queue struct {
	ready    chan struct{}
	done     chan struct{}
	deadline *deadline.Deadline

	mu      sync.Mutex
	limit   int
	waiting []queued // from head on; empty queues keep no memory to speak of
	head    int
	closed  bool
}

type queued struct {
	p   *rtpx.Packet
	src netip.AddrPort
}

func newQueue(limit int) *queue {
	return &queue{
		ready:    make(chan struct{}, 1),
		done:     make(chan struct{}),
		deadline: deadline.New(),
		limit:    limit,
	}
}

// push retains p if there is room and reports whether there was.
func (q *queue) push(p *rtpx.Packet, src netip.AddrPort) bool {
	q.mu.Lock()
	if q.closed || len(q.waiting)-q.head >= q.limit {
		q.mu.Unlock()
		return false
	}
	p.Retain()
	if len(q.waiting) == cap(q.waiting) && q.head > 0 {
		n := copy(q.waiting, q.waiting[q.head:])
		clear(q.waiting[n:])
		q.waiting, q.head = q.waiting[:n], 0
	}
	q.waiting = append(q.waiting, queued{p, src})
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default:
	}
	return true
}

// read copies the oldest packet into b and waits for one if there is none.
// It returns net.ErrClosed after close and os.ErrDeadlineExceeded after the deadline.
func (q *queue) read(b []byte) (int, netip.AddrPort, error) {
	for {
		select {
		case <-q.deadline.Done():
			return 0, netip.AddrPort{}, os.ErrDeadlineExceeded
		default:
		}
		q.mu.Lock()
		if q.closed {
			q.mu.Unlock()
			return 0, netip.AddrPort{}, net.ErrClosed
		}
		if q.head < len(q.waiting) {
			e := q.waiting[q.head]
			q.waiting[q.head] = queued{}
			if q.head++; q.head == len(q.waiting) {
				q.waiting, q.head = q.waiting[:0], 0
			}
			q.mu.Unlock()
			n := copy(b, e.p.Bytes())
			e.p.Release()
			return n, e.src, nil
		}
		q.mu.Unlock()
		select {
		case <-q.ready:
		case <-q.done:
		case <-q.deadline.Done():
		}
	}
}

func (q *queue) setDeadline(t time.Time) { q.deadline.Set(t) }

// close wakes the reader and gives the waiting packets back.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.closed = true
	for _, e := range q.waiting[q.head:] {
		e.p.Release()
	}
	q.waiting, q.head = nil, 0
	close(q.done)
	q.deadline.Set(time.Time{})
}
