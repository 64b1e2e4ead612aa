package relay

import (
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"

	"confab/internal/datagram"
)

// Switchable makes of what a listener accepts connections that the relay can have its
// event loops read and write, also below TLS. Without it, or where they are no TCP
// connections, each gets goroutines of its own.
func Switchable(ln net.Listener) net.Listener { return switchable{ln} }

type switchable struct{ net.Listener }

func (l switchable) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return Switch(c), nil
}

// Switch does that with one connection.
func Switch(c net.Conn) net.Conn {
	if tcp := bottom(c); tcp != nil && datagram.CanStream {
		return &wire{accepted: c, Conn: c, tcp: tcp}
	}
	return c
}

// bottom is the TCP connection that others have been put around.
func bottom(c net.Conn) *net.TCPConn {
	for {
		switch v := c.(type) {
		case *net.TCPConn:
			return v
		case interface{ NetConn() net.Conn }:
			c = v.NetConn()
		default:
			return nil
		}
	}
}

// wireOf is the wire that c is or runs over.
func wireOf(c net.Conn) *wire {
	for {
		switch v := c.(type) {
		case *wire:
			return v
		case interface{ NetConn() net.Conn }:
			c = v.NetConn()
		default:
			return nil
		}
	}
}

// wire is a TCP connection that belongs to the runtime while goroutines wait for it (a
// TLS handshake, the bytes of RFC 6062), and to an event loop in between. Then it takes
// what TLS writes to the stream above it, and TLS reads what the loop has read.
type wire struct {
	net.Conn          // of the runtime, or what it was
	accepted net.Conn // closed at the end, with all that counts it

	mu     sync.Mutex
	tcp    *net.TCPConn
	closed bool

	above atomic.Pointer[stream]          // that sends for TLS, while the loop has it
	fd    atomic.Pointer[datagram.Stream] // while the loop has it
	in    []byte                          // was read, but not by TLS

	// Where the records of TLS end (RFC 8446 §5.1): how many whole ones TLS has been
	// given since it was last out of them, and what comes of the next.
	whole, left, heads int
	head               [5]byte
}

// NetConn is the connection as the runtime has it.
func (w *wire) NetConn() net.Conn { return w.Conn }

// take takes the connection from the runtime for s.
func (w *wire) take(s *stream) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return net.ErrClosed
	}
	fd, err := datagram.TakeStream(w.tcp)
	if err != nil {
		return err
	}
	w.above.Store(s)
	w.fd.Store(fd)
	return nil
}

// giveBack returns it to the runtime.
func (w *wire) giveBack() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return net.ErrClosed
	}
	c, err := w.fd.Load().Conn()
	if err != nil {
		return err
	}
	w.Conn, w.tcp = c, bottom(c)
	w.above.Store(nil)
	w.fd.Store(nil)
	return nil
}

// hangUp has whoever waits for the connection find that it has ended.
func (w *wire) hangUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if fd := w.fd.Load(); fd != nil {
		fd.Shutdown()
		return
	}
	w.closed = true
	_ = w.Conn.Close()
}

func (w *wire) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if fd := w.fd.Load(); fd != nil {
		_ = fd.Close()
	}
	if w.Conn != w.accepted {
		_ = w.Conn.Close()
	}
	return w.accepted.Close()
}

// Read gives TLS what the loop has read; of the runtime's connection it waits for more.
func (w *wire) Read(b []byte) (n int, err error) {
	switch {
	case len(w.in) > 0:
		n = copy(b, w.in)
		w.in = w.in[n:]
	case w.fd.Load() != nil:
		w.whole = 0
		return 0, datagram.ErrLater
	default:
		n, err = w.Conn.Read(b)
	}
	w.count(b[:n])
	return n, err
}

// count follows the records in b.
func (w *wire) count(b []byte) {
	for len(b) > 0 {
		if w.left == 0 {
			n := copy(w.head[w.heads:], b)
			b = b[n:]
			if w.heads += n; w.heads < len(w.head) {
				return
			}
			w.heads = 0
			w.left = int(binary.BigEndian.Uint16(w.head[3:]))
		}
		n := min(w.left, len(b))
		b = b[n:]
		if w.left -= n; w.left == 0 {
			w.whole++
		}
	}
}

// Write takes what TLS has to send.
func (w *wire) Write(b []byte) (int, error) {
	if s := w.above.Load(); s != nil {
		return s.sealed(b)
	}
	return w.Conn.Write(b)
}
