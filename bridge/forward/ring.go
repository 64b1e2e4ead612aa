package forward

import (
	"sync/atomic"

	"confab/bridge/rtpx"
)

// jobKind says what a worker is to do.
type jobKind uint8

const (
	jobRTP      jobKind = iota // forward pkt, which came on st, to the worker's receivers of it
	jobSR                      // a sender report came on st: sr
	jobFeedback                // pkt is RTCP that the receiver eg sent
	jobRTCP                    // write pkt, RTCP of our own, to eg
)

// job is one entry of a worker's ring. A job with a packet holds a reference.
type job struct {
	kind jobKind
	pkt  *rtpx.Packet
	st   *stream
	ep   *Endpoint
	sr   senderReport
}

// ring is a bounded queue with many producers and one consumer, without locks
// (after Vyukov's bounded queue: each cell carries the turn it is in).
type ring struct {
	mask  uint64
	cells []cell
	_     [64]byte
	tail  atomic.Uint64
	_     [64]byte
	head  atomic.Uint64
}

type cell struct {
	turn atomic.Uint64
	job  job
}

// newRing makes a ring of at least size entries.
func newRing(size int) *ring {
	n := 1
	for n < size {
		n <<= 1
	}
	r := &ring{mask: uint64(n - 1), cells: make([]cell, n)}
	for i := range r.cells {
		r.cells[i].turn.Store(uint64(i))
	}
	return r
}

// push appends j; false when the ring is full. It never waits.
func (r *ring) push(j job) bool {
	pos := r.tail.Load()
	for {
		c := &r.cells[pos&r.mask]
		switch turn := c.turn.Load(); {
		case turn == pos:
			if r.tail.CompareAndSwap(pos, pos+1) {
				c.job = j
				c.turn.Store(pos + 1)
				return true
			}
			pos = r.tail.Load()
		case turn < pos:
			return false
		default:
			pos = r.tail.Load()
		}
	}
}

// pop takes the oldest entry. Only the owner of the ring calls it.
func (r *ring) pop(j *job) bool {
	pos := r.head.Load()
	c := &r.cells[pos&r.mask]
	if c.turn.Load() != pos+1 {
		return false
	}
	*j = c.job
	c.job = job{}
	c.turn.Store(pos + r.mask + 1)
	r.head.Store(pos + 1)
	return true
}

// len is about how many entries wait.
func (r *ring) len() int {
	h := r.head.Load() // first, so that the difference is never negative
	return int(r.tail.Load() - h)
}

// size is how many entries fit.
func (r *ring) size() int { return len(r.cells) }
