//go:build !linux || portable

package datagram

// What there is elsewhere than on Linux: one datagram at a time, through package
// net. The build tag has its tests run on Linux too.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// CanShare says that several sockets can share one address.
const CanShare = false

// CanForbidFragments says that Options.DontFragment is to be had.
const CanForbidFragments = false

// Socket is a UDP socket.
type Socket struct {
	conn     *net.UDPConn
	local    netip.AddrPort
	received int // of the buffers asked for: what is granted cannot be read portably
	sent     int

	taken chan struct{} // Read took what was in the box
	done  chan struct{} // closed by Close

	mu     sync.Mutex
	closed bool
	full   bool // the box holds what the next Read takes
	box    datagram
}

// datagram is one that was read, whole.
type datagram struct {
	b   []byte
	src netip.AddrPort
}

// Open opens a socket on addr; a port of 0 becomes a free one.
func Open(addr netip.AddrPort, o Options) (*Socket, error) {
	switch {
	case o.Share:
		return nil, openError(addr, ErrNoSharing)
	case o.DontFragment:
		return nil, openError(addr, fmt.Errorf("the DF bit: %w", errors.ErrUnsupported))
	}
	addr = unmap(addr)
	network := "udp4"
	if addr.Addr().Is6() {
		network = "udp6"
	}
	pc, err := (&net.ListenConfig{}).ListenPacket(context.Background(), network, addr.String())
	if err != nil {
		return nil, openError(addr, err)
	}
	conn := pc.(*net.UDPConn)
	s := &Socket{conn: conn, taken: make(chan struct{}, 1), done: make(chan struct{}),
		local: netip.AddrPortFrom(addr.Addr(), uint16(conn.LocalAddr().(*net.UDPAddr).Port))}
	if o.Buffer > 0 && conn.SetReadBuffer(o.Buffer) == nil {
		s.received = o.Buffer
	}
	if o.Buffer > 0 && conn.SetWriteBuffer(o.Buffer) == nil {
		s.sent = o.Buffer
	}
	return s, nil
}

// Local is the address that the socket is bound to.
func (s *Socket) Local() netip.AddrPort { return s.local }

// Close closes the socket. Calls on it that are under way end first or fail.
func (s *Socket) Close() error {
	err := s.conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed, s.full = true, false
		close(s.done)
	}
	return err
}

func (s *Socket) share() error { return openError(s.local, ErrNoSharing) }

// Buffers is how many bytes of kernel buffer the socket has.
func (s *Socket) Buffers() (received, sent int) { return s.received, s.sent }

// Overflows is how many datagrams found the socket's receive buffer full: not
// known here.
func (s *Socket) Overflows() uint64 { return 0 }

// Send sends one datagram.
func (s *Socket) Send(b []byte, to netip.AddrPort) error {
	_, err := s.conn.WriteToUDPAddrPort(b, to)
	return err
}

// maxDatagram is more than a datagram can be.
const maxDatagram = 1 << 16

// read waits for a datagram, which is then in the buffer that b begins.
func (s *Socket) read(b []byte) (datagram, error) {
	for {
		n, src, err := s.conn.ReadFromUDPAddrPort(b[:maxDatagram])
		if err == nil {
			return datagram{b[:n], unmap(src)}, nil
		}
		var timeout net.Error
		if errors.Is(err, net.ErrClosed) || errors.As(err, &timeout) && timeout.Timeout() {
			return datagram{}, err
		}
	}
}

// Reader reads datagrams.
type Reader struct {
	bufs [][]byte
	got  []datagram // in them
	used int
	wait []byte // of Wait
}

// NewReader makes a reader with slots buffers of size bytes.
func NewReader(slots, size int) *Reader {
	r := NewReaderInto(slots)
	for i := range r.bufs {
		r.bufs[i] = make([]byte, size)
	}
	return r
}

// NewReaderInto makes a reader with slots that get their buffers by SetBuffer.
func NewReaderInto(slots int) *Reader {
	return &Reader{bufs: make([][]byte, slots), got: make([]datagram, slots)}
}

// SetBuffer has slot i read into b from now on.
func (r *Reader) SetBuffer(i int, b []byte) { r.bufs[i] = b }

// Read reads what a Poller found in s, at most max datagrams, into the next free
// slots: from up to to, without it. They are equal if nothing waits, no slot is
// free or s is closed.
func (r *Reader) Read(s *Socket, max int) (from, to int) {
	if min(max, r.Free()) <= 0 {
		return r.used, r.used
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.full {
		return r.used, r.used
	}
	r.put(s.box)
	s.full = false
	select {
	case s.taken <- struct{}{}:
	default: // nobody has looked since the last
	}
	return r.used - 1, r.used
}

func (r *Reader) put(d datagram) {
	i := r.used
	r.used++
	r.got[i].src, r.got[i].b = d.src, nil
	if len(d.b) <= len(r.bufs[i]) {
		r.got[i].b = r.bufs[i][:copy(r.bufs[i], d.b)]
	}
}

// Wait is Read for a socket that no Poller has: it waits for a datagram. The error
// says that s is closed.
func (r *Reader) Wait(s *Socket, max int) (from, to int, err error) {
	if min(max, r.Free()) <= 0 {
		return r.used, r.used, nil
	}
	if r.wait == nil {
		r.wait = make([]byte, maxDatagram)
	}
	d, err := s.read(r.wait)
	if err != nil {
		return r.used, r.used, err
	}
	r.put(d)
	return r.used - 1, r.used, nil
}

// Datagram returns what slot i holds and where it came from; b is nil if it did not
// fit its buffer. With a segment above zero, which does not happen here, it is a
// run of datagrams of that length. b is good until Reset.
func (r *Reader) Datagram(i int) (b []byte, src netip.AddrPort, segment int) {
	return r.got[i].b, r.got[i].src, 0
}

// Age is for how many ns the datagram of slot i had waited to be read; unknown here.
func (r *Reader) Age(int) int64 { return 0 }

// TOS is how the datagrams of slot i are marked; it is not known here.
func (r *Reader) TOS(int) byte { return 0 }

// Free is how many slots can be read into.
func (r *Reader) Free() int { return len(r.bufs) - r.used }

// Reset forgets all datagrams; what they were in is written over from now on.
func (r *Reader) Reset() { r.used = 0 }

// Close gives the memory of NewReader back.
func (r *Reader) Close() error {
	r.bufs, r.got, r.used = nil, nil, 0
	return nil
}

// Destination is an address to send to.
type Destination struct{ addr netip.AddrPort }

// NewDestination makes one.
func NewDestination(to netip.AddrPort) *Destination { return &Destination{unmap(to)} }

// Addr is the address.
func (d *Destination) Addr() netip.AddrPort { return d.addr }

// Writer sends one datagram at a time.
type Writer struct {
	parts [][2][]byte
	sizes runSizes
	to    []*Destination
	n     int
	whole []byte // a datagram put together
}

// NewWriter makes a writer of batches of up to n datagrams.
func NewWriter(n int) *Writer {
	return &Writer{parts: make([][2][]byte, n), to: make([]*Destination, n)}
}

// Len is how many datagrams wait for Flush.
func (w *Writer) Len() int { return w.n }

// Full says that Flush must come before the next Add.
func (w *Writer) Full() bool { return w.n == len(w.parts) }

// Add appends the datagram that is head and body together; either may be empty.
// Both and to must stay as they are until Flush.
func (w *Writer) Add(head, body []byte, to *Destination) {
	w.parts[w.n], w.to[w.n] = [2][]byte{head, body}, to
	w.n++
}

// AddMarked is Add: how it is marked goes for nothing here.
func (w *Writer) AddMarked(head, body []byte, to *Destination, _ byte) { w.Add(head, body, to) }

// Flush sends what was added, in order, and returns how many datagrams the system
// took.
func (w *Writer) Flush(s *Socket) (sent int) {
	for i := range w.n {
		b := w.parts[i][1]
		if head := w.parts[i][0]; len(head) > 0 {
			w.whole = append(append(w.whole[:0], head...), b...)
			b = w.whole
		}
		if s.Send(b, w.to[i].addr) == nil {
			sent++
			w.sizes.add(1)
		}
	}
	clear(w.to[:w.n])
	clear(w.parts[:w.n])
	w.n = 0
	return sent
}
