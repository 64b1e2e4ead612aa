package swarm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	readBatch = 64
	// readStride keeps the beginnings of the buffers out of each other's cache sets.
	readStride = 1<<16 + 21*64
	// socketBuffer is for all endpoints together: some 100 ms at 500,000 packets/s.
	socketBuffer = 128 << 20
)

type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   uint32
}

// socket is one UDP socket for all addresses of 127.0.0.0/8. It is not one of
// internal/datagram: each datagram has an own address of ours on both ways
// (IP_PKTINFO), and the kernel's time of arrival is what latencies are made of. What
// measures a server also does well not to share its sockets with it.
type socket struct {
	fd   int
	port uint16

	in      []byte
	rhdrs   [readBatch]mmsghdr
	riovs   [readBatch]unix.Iovec
	rnames  [readBatch]unix.RawSockaddrInet4
	control [readBatch][128]byte

	out   []byte
	n     int // datagrams in out
	runs  int // messages they make: a run goes down as one
	shdrs [sendBatch]mmsghdr
	siovs [sendBatch]unix.Iovec
	names [sendBatch]unix.RawSockaddrInet4
	infos [sendBatch]sendControl
	// refused counts datagrams that the kernel did not take.
	refused uint64

	mu sync.Mutex // of write
}

// sendControl says whose a datagram is, and of what size each is in a run of them.
type sendControl struct {
	hdr  unix.Cmsghdr
	info unix.Inet4Pktinfo
	_    [4]byte
	run  segments
}

// listen opens the socket. With gro, what a server hands the kernel as one run
// arrives as one.
func listen(gro bool) (*socket, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	s := &socket{fd: fd}
	fail := func(what string, err error) (*socket, error) {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1); err != nil {
		return fail("IP_PKTINFO", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fail("SO_TIMESTAMPNS", err)
	}
	// Without GRO the kernel would cut up, at the server's expense, what the server
	// sends as one; a network card does that for nothing.
	if gro {
		_ = unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1)
	}
	for _, o := range [][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[0], socketBuffer) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[1], socketBuffer)
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{}); err != nil {
		return fail("bind", err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return fail("getsockname", err)
	}
	s.port = uint16(sa.(*unix.SockaddrInet4).Port)
	s.in = make([]byte, readBatch*readStride)
	for i := range s.rhdrs {
		s.riovs[i].Base = &s.in[i*readStride]
		s.riovs[i].SetLen(1 << 16)
		h := &s.rhdrs[i].hdr
		h.Iov = &s.riovs[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&s.rnames[i]))
		h.Control = &s.control[i][0]
	}
	s.out = make([]byte, sendBatch*sendSize)
	for i := range s.shdrs {
		s.siovs[i].Base = &s.out[i*sendSize]
		c := &s.infos[i]
		c.hdr.Level, c.hdr.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
		c.hdr.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
		c.run.hdr.Level, c.run.hdr.Type = unix.SOL_UDP, unix.UDP_SEGMENT
		c.run.hdr.SetLen(unix.CmsgLen(2))
		h := &s.shdrs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&s.names[i]))
		h.Namelen = unix.SizeofSockaddrInet4
		h.Control = (*byte)(unsafe.Pointer(c))
	}
	return s, nil
}

// close ends it: nothing may be read or flushed any more. A handshake that still writes
// must not find the number, which is somebody else's soon.
func (s *socket) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = unix.Close(s.fd)
	s.fd = -1
}

// datagram is what arrived: one, or several of equal size but the last (GRO).
type datagram struct {
	b       []byte
	from    netip.AddrPort
	to      [4]byte
	segment int   // size of each, 0: only one
	at      int64 // Unix ns of arrival in the kernel
}

// read takes what waits, up to a batch, and hands each datagram to f.
func (s *socket) read(f func(*datagram)) (n int) {
	for i := range s.rhdrs {
		h := &s.rhdrs[i].hdr
		h.Namelen = unix.SizeofSockaddrInet4
		h.SetControllen(len(s.control[i]))
	}
	got, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.rhdrs[0])), readBatch, unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0
	}
	var d datagram
	for i := range int(got) {
		h := &s.rhdrs[i]
		off := i * readStride
		d = datagram{b: s.in[off : off+int(h.len) : off+readStride]}
		d.from = netip.AddrPortFrom(netip.AddrFrom4(s.rnames[i].Addr), swap(s.rnames[i].Port))
		d.control(s.control[i][:h.hdr.Controllen])
		f(&d)
	}
	return int(got)
}

func (d *datagram) control(c []byte) {
	for len(c) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&c[0]))
		n := int(h.Len)
		if n < unix.SizeofCmsghdr || n > len(c) {
			return
		}
		data := c[unix.CmsgLen(0):n]
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			d.to = (*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0])).Addr
		case h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			d.segment = int(binary.NativeEndian.Uint32(data))
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_TIMESTAMPNS && len(data) >= 16:
			d.at = (*unix.Timespec)(unsafe.Pointer(&data[0])).Nano()
		}
		c = c[min(unix.CmsgSpace(n-unix.CmsgLen(0)), len(c)):]
	}
}

// room is space for the next datagram; commit sends its first n bytes with the
// next flush.
func (s *socket) room() []byte {
	if s.n == sendBatch {
		s.flush()
	}
	return s.out[s.n*sendSize : s.n*sendSize : (s.n+1)*sendSize]
}

func (s *socket) commit(n int, from [4]byte, to netip.AddrPort) {
	s.siovs[s.n].SetLen(n)
	h := &s.shdrs[s.runs].hdr
	h.Iov = &s.siovs[s.n]
	h.SetIovlen(1)
	h.SetControllen(unix.CmsgSpace(unix.SizeofInet4Pktinfo))
	s.infos[s.runs].info.Spec_dst = from
	s.names[s.runs] = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: swap(to.Port()), Addr: to.Addr().As4()}
	s.n++
	s.runs++
}

// commitRun is commit of one more datagram of a run: k-th of those to one address,
// all of n bytes, which go down as one (UDP_SEGMENT). The room for all must have been
// had without a flush in between (reserve).
func (s *socket) commitRun(k, n int, from [4]byte, to netip.AddrPort) {
	if k == 0 {
		s.commit(n, from, to)
		return
	}
	s.siovs[s.n].SetLen(n)
	h := &s.shdrs[s.runs-1].hdr
	h.SetIovlen(k + 1)
	h.SetControllen(unix.CmsgSpace(unix.SizeofInet4Pktinfo) + unix.CmsgSpace(2))
	s.infos[s.runs-1].run.size = uint16(n)
	s.n++
}

// reserve makes room for n datagrams in a row.
func (s *socket) reserve(n int) {
	if s.n+n > sendBatch {
		s.flush()
	}
}

func (s *socket) flush() {
	for done := 0; done < s.runs; {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.shdrs[done])), uintptr(s.runs-done), 0, 0, 0)
		switch {
		case errno == 0:
			done += int(n)
		case errno == syscall.EINTR:
		default:
			s.refused += uint64(s.shdrs[done].hdr.Iovlen)
			done++
		}
	}
	s.n, s.runs = 0, 0
}

// write sends one datagram at once; any goroutine may.
func (s *socket) write(b []byte, from [4]byte, to netip.AddrPort) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return net.ErrClosed
	}
	info := unix.Inet4Pktinfo{Spec_dst: from}
	_, err := unix.SendmsgN(s.fd, b, unix.PktInfo4(&info), &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}, 0)
	if errors.Is(err, unix.EAGAIN) {
		return nil // lost, as datagrams may be
	}
	return err
}

// rest waits for d without the runtime's timers, which are no finer than 1 ms on
// an idle machine.
func rest(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil)
}

// punctual has the calling thread woken when it asked for it; by default the kernel
// takes 50 µs of liberty.
func punctual() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) }

func swap(port uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], port)
	return binary.BigEndian.Uint16(b[:])
}
