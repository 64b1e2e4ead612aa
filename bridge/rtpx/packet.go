// Package rtpx parses and rewrites RTP and RTCP in place: headers, header
// extensions, codec payload descriptors, feedback.
//
// Rules of this package:
//   - Nothing allocates on the path of a packet.
//   - Every parser takes hostile bytes: it returns false or an error, never panics.
//   - A Packet is written by its socket reader only; after it is handed on it is
//     immutable, and whoever keeps it retains it.
package rtpx

import (
	"sync"
	"sync/atomic"
)

// BufferSize holds an Ethernet-sized datagram; longer ones are dropped by the reader.
const BufferSize = 1600

// Packet is one received RTP or RTCP packet in a pooled buffer.
type Packet struct {
	buf  [BufferSize]byte
	n    int
	refs atomic.Int32
	pool *Pool

	// Arrived is the monotonic time of the read, in nanoseconds of Now.
	Arrived int64

	// Info is filled by ingress before the packet is handed on.
	Info Info
}

// Space is the whole buffer, for the reader to fill.
func (p *Packet) Space() []byte { return p.buf[:] }

// SetLen says how many bytes of the buffer are the packet.
func (p *Packet) SetLen(n int) { p.n = n }

// Bytes is the packet: header and payload after decryption.
func (p *Packet) Bytes() []byte { return p.buf[:p.n] }

// Retain adds a reference. Whoever stores a Packet beyond its call retains it.
func (p *Packet) Retain() { p.refs.Add(1) }

// Release drops a reference; the last one returns the buffer to its pool.
func (p *Packet) Release() {
	if p.refs.Add(-1) == 0 {
		p.pool.out.Add(-1)
		p.pool.p.Put(p)
	}
}

// Pool recycles packets and counts those that are out, so that tests find leaks.
type Pool struct {
	p   sync.Pool
	out atomic.Int64
}

// NewPool returns an empty pool.
func NewPool() *Pool {
	pool := &Pool{}
	pool.p.New = func() any { return &Packet{pool: pool} }
	return pool
}

// Get returns a packet with one reference and undefined content.
func (pool *Pool) Get() *Packet {
	p := pool.p.Get().(*Packet)
	p.n = 0
	p.Arrived = 0
	p.refs.Store(1)
	pool.out.Add(1)
	return p
}

// Outstanding is the number of packets not yet released.
func (pool *Pool) Outstanding() int64 { return pool.out.Load() }
