//go:build !portable

package datagram

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// CanStream says that TCP connections can be taken from the runtime's poller.
const CanStream = true

// Stream is a TCP connection that a Poller watches beside sockets. The runtime's
// poller does not know of it: no goroutine is woken for what arrives. Its calls never
// wait, and like those of a Socket may be made by any goroutine at any time.
type Stream struct {
	fd  int
	use atomic.Int32 // twice the calls under way; an odd number once it is closed
}

// TakeStream takes a connection from the runtime. c is closed, the connection lives on.
func TakeStream(c *net.TCPConn) (*Stream, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("take tcp connection: %w", err)
	}
	fd := -1
	closed := raw.Control(func(from uintptr) { fd, err = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(closed, err); err != nil {
		return nil, fmt.Errorf("take tcp connection: %w", err)
	}
	if err := c.Close(); err != nil { // or the runtime went on watching
		_ = unix.Close(fd)
		return nil, fmt.Errorf("take tcp connection: %w", err)
	}
	return &Stream{fd: fd}, nil
}

// enter keeps the descriptor until leave; false: it has been given back.
func (s *Stream) enter() bool {
	for {
		n := s.use.Load()
		if n&1 != 0 {
			return false
		}
		if s.use.CompareAndSwap(n, n+2) {
			return true
		}
	}
}

func (s *Stream) leave() {
	if s.use.Add(-2) == 1 {
		_ = unix.Close(s.fd)
	}
}

// Close closes the connection. Calls that are under way end first. A Poller that
// watches it forgets it without a word: Remove it before.
func (s *Stream) Close() error {
	if s.use.Or(1) != 0 {
		return nil // closed, or the last call closes it
	}
	if err := unix.Close(s.fd); err != nil {
		return os.NewSyscallError("close", err)
	}
	return nil
}

// Shutdown ends both directions: the Poller then tells that there is something to read.
func (s *Stream) Shutdown() {
	if s.enter() {
		_ = unix.Shutdown(s.fd, unix.SHUT_RDWR)
		s.leave()
	}
}

// Read reads what is there. The error is ErrLater if that is nothing, io.EOF at the end.
func (s *Stream) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, errno := s.call(unix.SYS_RECVFROM, b, unix.MSG_DONTWAIT)
	if errno == 0 && n == 0 {
		return 0, io.EOF
	}
	return n, failure(errno)
}

// Write writes as much of b as there is room for; the error is ErrLater if that is not
// all of it.
func (s *Stream) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, errno := s.call(unix.SYS_SENDTO, b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	if errno == 0 && n < len(b) {
		return n, ErrLater
	}
	return n, failure(errno)
}

// DelayAcks has the kernel acknowledge every second segment, and a single one only after
// a while or with what is written (RFC 1122 §4.2.3.2), not each that was read
// (TCP_QUICKACK, tcp(7)). It holds until nothing has been written for that while.
func (s *Stream) DelayAcks() {
	if s.enter() {
		_ = unix.SetsockoptInt(s.fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0)
		s.leave()
	}
}

func (s *Stream) call(number uintptr, b []byte, flags uintptr) (int, syscall.Errno) {
	if !s.enter() {
		return 0, unix.EBADF
	}
	defer s.leave()
	for {
		// It never waits, so the scheduler need not know of it.
		n, _, errno := unix.RawSyscall6(number, uintptr(s.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), flags, 0, 0)
		switch errno {
		case 0:
			return int(n), 0
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

func failure(errno syscall.Errno) error {
	switch errno {
	case 0:
		return nil
	case unix.EAGAIN:
		return ErrLater
	case unix.EBADF:
		return net.ErrClosed
	}
	return errno
}

// Conn gives the connection back to the runtime; s is closed.
func (s *Stream) Conn() (net.Conn, error) {
	if !s.enter() {
		return nil, net.ErrClosed
	}
	fd, err := unix.FcntlInt(uintptr(s.fd), unix.F_DUPFD_CLOEXEC, 0)
	s.leave()
	if e := s.Close(); err == nil && e != nil {
		_ = unix.Close(fd)
		err = e
	}
	if err != nil {
		return nil, fmt.Errorf("give tcp connection back: %w", err)
	}
	f := os.NewFile(uintptr(fd), "tcp")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("give tcp connection back: %w", err)
	}
	return c, nil
}

// AddStream has Wait return v when s can be read, as Add does.
func (p *Poller) AddStream(s *Stream, v any) error {
	if err := p.add(s, v, s.control); err != nil {
		return fmt.Errorf("poll tcp: %w", err)
	}
	return nil
}

// RemoveStream undoes AddStream.
func (p *Poller) RemoveStream(s *Stream) { p.remove(s, s.control) }

// Writable has Wait return the value of s also when there is room to write, or no
// longer.
func (p *Poller) Writable(s *Stream, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	slot, known := p.slots[s]
	if !known || p.closed {
		return
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: slot, Pad: p.table[slot].turn}
	if on {
		event.Events |= unix.EPOLLOUT
	}
	_ = s.control(func(fd uintptr) { _ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_MOD, int(fd), &event) })
}

func (s *Stream) control(f func(fd uintptr)) error {
	if !s.enter() {
		return net.ErrClosed
	}
	defer s.leave()
	f(uintptr(s.fd))
	return nil
}
