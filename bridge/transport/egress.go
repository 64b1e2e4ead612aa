package transport

import (
	"fmt"
	"sync/atomic"

	"github.com/pion/rtcp"
	pionsrtp "github.com/pion/srtp/v3"

	"confab/bridge/rtpx"
	"confab/bridge/srtp"
	"confab/internal/datagram"
)

// egress is the sending half. It belongs to the one egress worker that the
// receiver is pinned to.
type egress struct {
	rtp    atomic.Pointer[srtp.Encrypter]
	rtcp   atomic.Pointer[pionsrtp.Context]
	header rtcp.Header

	packets, bytes atomic.Uint64 // written by the worker only
}

func (e *egress) open(k *srtpKeys) {
	e.rtp.Store(k.rtpOut)
	e.rtcp.Store(k.rtcpOut)
}

func (e *egress) close() {
	e.rtp.Store(nil)
	e.rtcp.Store(nil)
}

// sent counts a packet of n bytes.
func (e *egress) sent(n int) {
	// One writer, so a load and a store do, without a locked instruction.
	e.packets.Store(e.packets.Load() + 1)
	e.bytes.Store(e.bytes.Load() + uint64(n))
}

// Batch collects RTP and RTCP packets for any number of transports and sends them
// in few system calls. It belongs to one goroutine, and all packets of a transport
// must go through the batches of one goroutine at a time: the transport's
// encryption state has no lock. (When a receiver moves to another worker, the
// hand-over must be ordered, for instance by a channel.)
type Batch struct {
	outs []batchOut // by local address
	buf  []byte     // encrypted packets, one behind the other
	used int
	n    int

	relay   RelayOutlet // once it is needed
	relayed int         // of n, packets that it has

	dropped, shortcut atomic.Uint64
}

// batchOut is a batch's way out from one local address.
type batchOut struct {
	w   *datagram.Writer
	way *datagram.Socket
}

// slotSize is the room that a packet may need.
const slotSize = rtpx.BufferSize + Overhead

// NewBatch makes a batch with sockets of its own, which Close of s closes. index
// numbers the workers: where the system has no more sockets, each sends on one
// of those that read.
func (s *Sockets) NewBatch(index int) *Batch {
	b := &Batch{buf: make([]byte, sendSize*slotSize)}
	for _, l := range s.locals {
		o, err := s.outlet(l)
		if err != nil {
			s.log.Warn("no socket of its own for a worker: sending costs more", "err", err)
			o = l.sockets[max(0, index)%len(l.sockets)]
		}
		b.outs = append(b.outs, batchOut{datagram.NewWriter(sendSize), o})
	}
	s.mu.Lock()
	s.batches = append(s.batches, b)
	s.mu.Unlock()
	return b
}

// Len is the number of packets waiting.
func (b *Batch) Len() int { return b.n }

// Space is room for one packet of up to rtpx.BufferSize bytes. A packet that was
// put together there is encrypted where it is. It is good until the next call of
// another method.
func (b *Batch) Space() []byte {
	if b.n == sendSize {
		b.Flush()
	}
	return b.buf[b.used : b.used+rtpx.BufferSize : b.used+slotSize]
}

// Add encrypts plaintext, a whole RTP packet of at most rtpx.BufferSize bytes,
// for t. Unless it lies in Space, plaintext is only read and may be reused at
// once. A full batch is flushed first. ErrNotConnected means that t has no keys
// or no address (yet, or any more); the packet is not kept.
func (b *Batch) Add(t *Transport, plaintext []byte) error {
	keys, way := t.out.rtp.Load(), t.path.Load()
	if keys == nil || way == nil {
		return ErrNotConnected
	}
	if len(plaintext) == 0 || len(plaintext) > rtpx.BufferSize {
		return fmt.Errorf("rtp packet of %d bytes", len(plaintext))
	}
	if b.n == sendSize {
		b.Flush()
	}
	slot := b.buf[b.used : b.used+len(plaintext) : b.used+slotSize]
	if &slot[0] != &plaintext[0] {
		copy(slot, plaintext)
	}
	out, err := keys.Encrypt(slot)
	if err != nil {
		return fmt.Errorf("encrypt rtp: %w", err)
	}
	b.put(t, out, way)
	return nil
}

// put queues a packet that was encrypted at the end of the buffer.
func (b *Batch) put(t *Transport, out []byte, way *path) {
	if way.relay == nil || !b.toRelay(out, way) {
		b.outs[way.local.index].w.Add(nil, out, way.dest)
	}
	b.used += len(out)
	b.n++
	t.out.sent(len(out))
}

// AddRTCP does the same with a compound packet of RTCP.
func (b *Batch) AddRTCP(t *Transport, plaintext []byte) error {
	keys, way := t.out.rtcp.Load(), t.path.Load()
	if keys == nil || way == nil {
		return ErrNotConnected
	}
	if len(plaintext) < 8 || len(plaintext) > rtpx.BufferSize {
		return fmt.Errorf("rtcp packet of %d bytes", len(plaintext))
	}
	if b.n == sendSize {
		b.Flush()
	}
	out, err := keys.EncryptRTCP(b.buf[b.used:b.used:b.used+slotSize], plaintext, &t.out.header)
	if err != nil {
		return fmt.Errorf("encrypt rtcp: %w", err)
	}
	b.put(t, out, way)
	return nil
}

// Flush sends what was added, in order for each receiver, and returns how many
// packets the kernel, or our own relay, took. Equally long packets added in a row for one receiver
// cost much less than others: keep the length of added header extensions
// constant. It never waits: what the kernel has no room for is dropped and
// counted.
func (b *Batch) Flush() int {
	if b.n == 0 {
		return 0
	}
	sent := 0
	if b.relayed > 0 {
		b.relay.Flush()
		b.shortcut.Add(uint64(b.relayed))
		sent, b.relayed = b.relayed, 0
	}
	for _, out := range b.outs {
		if out.w.Len() > 0 {
			sent += out.w.Flush(out.way)
		}
	}
	if sent < b.n {
		b.dropped.Add(uint64(b.n - sent))
	}
	b.n, b.used = 0, 0
	return sent
}
