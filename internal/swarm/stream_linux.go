package swarm

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/pion/stun/v4"
	"golang.org/x/sys/unix"
)

// stream is a client's connection to a TURN server, by TCP or TLS, outside of Go's
// poller: while it is set up it blocks; then reading and writing never wait.
type stream struct {
	fd  int
	tls *tls.Conn // nil: plain

	out  []byte // what the kernel has not taken yet
	in   []byte // the beginning of a message, up to n
	n    int
	fail error

	frame [sendSize]byte
}

const (
	streamBuffer = 1 << 16
	// streamRoom is what may wait in a stream before packets are given up.
	streamRoom = 1 << 18
)

// errLater is temporary to crypto/tls, which then reads on where it has stopped.
type errLater struct{}

func (errLater) Error() string   { return "nothing to read" }
func (errLater) Timeout() bool   { return true }
func (errLater) Temporary() bool { return true }

func dialStream(from, to netip.AddrPort, secure bool) (*stream, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	c := &stream{fd: fd, in: make([]byte, 2*streamBuffer)}
	fail := func(what string, err error) (*stream, error) {
		c.close()
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	limit := unix.NsecToTimeval(int64(patience))
	for _, o := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, o, &limit); err != nil {
			return fail("timeout", err)
		}
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return fail("TCP_NODELAY", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: from.Addr().As4()}); err != nil {
		return fail("bind", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
		return fail("connect", err)
	}
	if secure {
		c.tls = tls.Client(c, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}) //nolint:gosec // a load, no secret
		if err := c.tls.Handshake(); err != nil {
			return fail("handshake", err)
		}
	}
	return c, nil
}

func (c *stream) close() { _ = unix.Close(c.fd) }

// cipher is the suite in use, "" without TLS.
func (c *stream) cipher() string {
	if c.tls == nil {
		return ""
	}
	return tls.CipherSuiteName(c.tls.ConnectionState().CipherSuite)
}

// Read, Write and what follows are the net.Conn below TLS.
func (c *stream) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(c.fd, b)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return 0, errLater{}
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// Write takes everything: what the kernel does not take waits for push.
func (c *stream) Write(b []byte) (int, error) {
	if len(c.out) == 0 {
		n := c.put(b)
		b, c.out = b[n:], append(c.out[:0], b[n:]...)
		return n + len(b), c.fail
	}
	c.out = append(c.out, b...)
	return len(b), c.fail
}

func (c *stream) put(b []byte) (n int) {
	for n < len(b) && c.fail == nil {
		m, err := unix.Write(c.fd, b[n:])
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return n
		case err != nil:
			c.fail = os.NewSyscallError("write", err)
		default:
			n += m
		}
	}
	return n
}

// push writes what waits; full is whether something still does.
func (c *stream) push()      { c.out = c.out[:copy(c.out, c.out[c.put(c.out):])] }
func (c *stream) full() bool { return len(c.out) > 0 }

// failed is why the connection is of no use any more.
func (c *stream) failed() error { return c.fail }

func (c *stream) Close() error                     { return nil }
func (c *stream) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *stream) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *stream) SetDeadline(time.Time) error      { return nil }
func (c *stream) SetReadDeadline(time.Time) error  { return nil }
func (c *stream) SetWriteDeadline(time.Time) error { return nil }

// conn is what messages are written to and read from.
func (c *stream) conn() io.ReadWriter {
	if c.tls != nil {
		return c.tls
	}
	return c
}

// transact sends a request and waits for the answer; packets that come before it are
// forgotten.
func (c *stream) transact(m *stun.Message, d time.Duration) (res *stun.Message, err error) {
	if _, err := c.conn().Write(m.Raw); err != nil {
		return nil, err
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
		c.push()
		err := c.fill(func(b []byte) {
			got := &stun.Message{Raw: append([]byte(nil), b...)}
			if stun.IsMessage(b) && got.Decode() == nil && got.TransactionID == m.TransactionID {
				res = got
			}
		})
		if res != nil {
			return res, nil
		}
		if _, later := errors.AsType[errLater](err); err != nil && !later {
			return nil, err
		} else if later {
			rest(idle)
		}
	}
	return nil, errSilent
}

// fill reads once and hands over the messages that are whole then.
func (c *stream) fill(f func([]byte)) error {
	n, err := c.conn().Read(c.in[c.n:])
	c.n += n
	b := c.in[:c.n]
	for len(b) >= channelHeader {
		size := int(binary.BigEndian.Uint16(b[2:]))
		if b[0] < 0x40 {
			size += stunHeader
		} else {
			size += channelHeader
		}
		padded := size + padding(size)
		if padded > streamBuffer {
			return fmt.Errorf("a message of %d bytes", size)
		}
		if padded > len(b) {
			break
		}
		f(b[:size])
		b = b[padded:]
	}
	c.n = copy(c.in, b)
	return err
}

// sendStream writes a packet as a browser does, each by itself.
func (r *Relays) sendStream(l *lane) {
	c := l.a.stream
	if len(c.out) > streamRoom || c.fail != nil {
		r.flow.Refused++
		return
	}
	was := c.full()
	b := c.frame[:]
	size := r.write(b, l, time.Now().UnixNano())
	if _, err := c.conn().Write(b[:size+padding(size)]); err != nil {
		c.fail = err
	}
	if c.full() && !was {
		r.stuck = append(r.stuck, c)
	}
	r.sentOne(l)
}

// readable reads what a client's connection has.
func (r *Relays) readable(i int) {
	a := r.allocs[i]
	c := a.stream
	for c.fail == nil {
		err := c.fill(func(b []byte) { r.unwrap(a, b, time.Now().UnixNano()) })
		if _, later := errors.AsType[errLater](err); later {
			return
		}
		c.fail = err
		if c.tls == nil {
			return // there will be another event; TLS may have read ahead
		}
	}
}

// poller tells which connections have something to read.
type poller struct {
	fd     int
	events [64]unix.EpollEvent
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return &poller{fd: fd}, nil
}

// add takes a connection that is set up: nothing waits for it from here on.
func (p *poller) add(c *stream, index int) error {
	if err := unix.SetNonblock(c.fd, true); err != nil {
		return fmt.Errorf("nonblocking: %w", err)
	}
	if err := unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, c.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(index)}); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

func (p *poller) ready(f func(index int)) int {
	n, err := unix.EpollWait(p.fd, p.events[:], 0)
	if err != nil {
		return 0
	}
	for _, e := range p.events[:n] {
		f(int(e.Fd))
	}
	return n
}

func (p *poller) close() { _ = unix.Close(p.fd) }
