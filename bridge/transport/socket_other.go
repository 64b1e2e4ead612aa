//go:build !linux

package transport

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"confab/bridge/rtpx"
)

// reusePort says that several sockets can share one address.
const reusePort = false

// outlet is a socket that sends; here it is one that also reads.
type outlet struct{ conn *net.UDPConn }

func (s *socket) outlet() outlet { return outlet{s.conn} }

func (l *local) openOutlet(int) (outlet, error) { return l.sockets[0].outlet(), nil }

func (outlet) close() error { return nil }

func shareAddress(syscall.RawConn) error {
	return errors.New("sharing an address between sockets needs Linux")
}

// setBuffers asks for size bytes each way; the grant can't be read portably.
func setBuffers(s *socket, size int) (received, sent int) {
	if s.conn.SetReadBuffer(size) == nil {
		received = size
	}
	if s.conn.SetWriteBuffer(size) == nil {
		sent = size
	}
	return received, sent
}

// reader reads one datagram at a time.
type reader struct {
	s    *socket
	pool *rtpx.Pool
	p    *rtpx.Packet
	n    int
	src  netip.AddrPort
}

func newReader(s *socket, pool *rtpx.Pool) *reader {
	return &reader{s: s, pool: pool, p: pool.Get()}
}

func (r *reader) read() (int, error) {
	for {
		var err error
		r.n, r.src, err = r.s.conn.ReadFromUDPAddrPort(r.p.Space())
		if err == nil {
			return 1, nil
		}
		if errors.Is(err, net.ErrClosed) {
			return 0, err
		}
	}
}

func (r *reader) take(int) (*rtpx.Packet, netip.AddrPort) {
	src := netip.AddrPortFrom(r.src.Addr().Unmap().WithZone(""), r.src.Port())
	if r.n == 0 || r.n == rtpx.BufferSize || !src.IsValid() {
		return nil, src
	}
	p := r.p
	p.SetLen(r.n)
	r.p = r.pool.Get()
	return p, src
}

// age is how long datagram i of the last read had waited; unknown here.
func (r *reader) age(int) int64 { return 0 }

func (r *reader) close() { r.p.Release() }

type destination struct{}

func newDestination(netip.AddrPort) destination { return destination{} }

// writer sends one datagram at a time.
type writer struct {
	bufs  [sendSize][]byte
	to    [sendSize]*path
	n     int
	plain bool // there is no other way here
	sizes runSizes
}

func newWriter() *writer { return &writer{} }

func (w *writer) add(b []byte, to *path) {
	w.bufs[w.n], w.to[w.n] = b, to
	w.n++
}

func (w *writer) flush(o outlet) (sent int) {
	for i := range w.n {
		if _, err := o.conn.WriteToUDPAddrPort(w.bufs[i], w.to[i].remote); err == nil {
			sent++
			w.sizes.add(1)
		}
		w.bufs[i], w.to[i] = nil, nil
	}
	w.n = 0
	return sent
}
