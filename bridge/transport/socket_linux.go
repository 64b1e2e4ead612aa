package transport

// recvmmsg and sendmmsg through RawConn. x/net's ReadBatch would allocate an
// address per packet.

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"confab/bridge/rtpx"
)

// reusePort says that several sockets can share one address.
const reusePort = true

func shareAddress(c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); e != nil {
		return e
	}
	return err
}

// setBuffers asks for size bytes each way and returns what the kernel granted.
func setBuffers(s *socket, size int) (received, sent int) {
	received = setBuffer(s.raw, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, size)
	return received, setSendBuffer(s.raw, size)
}

func setSendBuffer(c syscall.RawConn, size int) int {
	return setBuffer(c, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, size)
}

func setBuffer(c syscall.RawConn, force, plain, size int) (granted int) {
	_ = c.Control(func(fd uintptr) {
		// Only CAP_NET_ADMIN may pass the sysctl limit.
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, force, size) != nil {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, plain, size)
		}
		// socket(7): the kernel reports twice the value set.
		granted, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, plain)
	})
	return granted / 2
}

type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// arrivalControl is the control message with the kernel's time of arrival
// (SO_TIMESTAMPNS, socket(7)).
type arrivalControl struct {
	hdr unix.Cmsghdr
	at  unix.Timespec
}

// maxAge is how much waiting in the socket buffer is believed: the kernel's
// stamps are wall clock, which may be set meanwhile.
const maxAge = int64(time.Second)

// reader reads batches of datagrams into pooled packets.
type reader struct {
	s     *socket
	pool  *rtpx.Pool
	pkts  [batchSize]*rtpx.Packet
	hdrs  [batchSize]mmsghdr
	iovs  [batchSize]unix.Iovec
	names [batchSize]unix.RawSockaddrInet6
	ctls  [batchSize]arrivalControl
	wall  int64 // Unix ns at the return of the last read
	fn    func(fd uintptr) bool
	n     int
	errno syscall.Errno
}

func newReader(s *socket, pool *rtpx.Pool) *reader {
	r := &reader{s: s, pool: pool}
	for i := range r.hdrs {
		r.hdrs[i].hdr.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		r.hdrs[i].hdr.Iov = &r.iovs[i]
		r.hdrs[i].hdr.SetIovlen(1)
		r.hdrs[i].hdr.Control = (*byte)(unsafe.Pointer(&r.ctls[i]))
		r.fill(i)
	}
	// A kernel without it has every datagram arrive when it is read.
	_ = s.raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	})
	r.fn = func(fd uintptr) bool {
		// It never waits, so the scheduler need not know of it.
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd,
			uintptr(unsafe.Pointer(&r.hdrs[0])), batchSize, unix.MSG_DONTWAIT, 0, 0)
		r.n, r.errno = int(n), errno
		return errno != unix.EAGAIN
	}
	return r
}

func (r *reader) fill(i int) {
	p := r.pool.Get()
	r.pkts[i] = p
	space := p.Space()
	r.iovs[i].Base = &space[0]
	r.iovs[i].SetLen(len(space))
}

// read waits for at least one datagram and returns how many came. An error
// means that the socket is closed.
func (r *reader) read() (int, error) {
	for {
		for i := range r.hdrs {
			r.hdrs[i].hdr.Namelen = unix.SizeofSockaddrInet6
			r.hdrs[i].hdr.SetControllen(int(unsafe.Sizeof(r.ctls[i])))
		}
		r.n, r.errno = 0, 0
		if err := r.s.raw.Read(r.fn); err != nil {
			return 0, err
		}
		if r.errno == 0 && r.n > 0 {
			r.wall = time.Now().UnixNano()
			return r.n, nil
		}
		// Errors of datagrams we sent (ICMP) surface here; the socket lives on.
	}
}

// take returns datagram i of the last read, whose slot is filled anew. The
// packet is nil if the datagram did not fit or has no usable source.
func (r *reader) take(i int) (*rtpx.Packet, netip.AddrPort) {
	h := &r.hdrs[i]
	src := sockaddr(&r.names[i])
	if h.hdr.Flags&unix.MSG_TRUNC != 0 || h.len == 0 || !src.IsValid() {
		return nil, src
	}
	p := r.pkts[i]
	p.SetLen(int(h.len))
	r.fill(i)
	return p, src
}

// age is for how many ns datagram i of the last read had waited for it. The
// senders' bandwidth estimation measures the network with arrival times; how
// busy this process is and how it batches must not show in them.
func (r *reader) age(i int) int64 {
	c := &r.ctls[i]
	if int(r.hdrs[i].hdr.Controllen) < unix.CmsgLen(int(unsafe.Sizeof(c.at))) ||
		c.hdr.Level != unix.SOL_SOCKET || c.hdr.Type != unix.SCM_TIMESTAMPNS {
		return 0
	}
	return min(max(r.wall-c.at.Nano(), 0), maxAge)
}

func (r *reader) close() {
	for i, p := range r.pkts {
		p.Release()
		r.pkts[i] = nil
	}
}

func sockaddr(sa *unix.RawSockaddrInet6) netip.AddrPort {
	switch sa.Family {
	case unix.AF_INET:
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), ntohs(v4.Port))
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), ntohs(sa.Port))
	}
	return netip.AddrPort{}
}

func ntohs(port uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], port)
	return binary.BigEndian.Uint16(b[:])
}

// destination is a socket address as the kernel wants it.
type destination struct {
	sa  unix.RawSockaddrInet6
	len uint32
}

func newDestination(to netip.AddrPort) destination {
	d := destination{}
	if to.Addr().Is4() {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&d.sa))
		v4.Family, v4.Port, v4.Addr = unix.AF_INET, ntohs(to.Port()), to.Addr().As4()
		d.len = unix.SizeofSockaddrInet4
	} else {
		d.sa.Family, d.sa.Port, d.sa.Addr = unix.AF_INET6, ntohs(to.Port()), to.Addr().As16()
		d.len = unix.SizeofSockaddrInet6
	}
	return d
}
