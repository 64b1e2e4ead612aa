//go:build !portable

package datagram

import (
	"encoding/binary"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// CanShare says that several sockets can share one address.
const CanShare = true

// CanForbidFragments says that Options.DontFragment is to be had.
const CanForbidFragments = true

// Socket is a UDP socket. Unless it was opened with Waits its descriptor is a
// blocking one, which the runtime's poller leaves alone: that is woken by the
// kernel for every single datagram that has left (EPOLLOUT), and for small runs
// that costs more than all the rest. Calls on it ask not to wait, one by one.
type Socket struct {
	file  *os.File // its lock keeps the descriptor until the last call is over
	raw   syscall.RawConn
	local netip.AddrPort
	stamp bool
	waits bool

	faults bool
	failed atomic.Bool // a Poller has found faults
}

// Open opens a socket on addr; a port of 0 becomes a free one.
func Open(addr netip.AddrPort, o Options) (*Socket, error) {
	addr = unmap(addr)
	family, kind := unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC
	if addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	if o.Waits {
		kind |= unix.SOCK_NONBLOCK
	}
	fd, err := unix.Socket(family, kind, 0)
	if err != nil {
		return nil, openError(addr, err)
	}
	if addr, err = o.bind(fd, addr); err != nil {
		_ = unix.Close(fd)
		return nil, openError(addr, err)
	}
	s := &Socket{file: os.NewFile(uintptr(fd), "udp "+addr.String()), local: addr, stamp: o.Timestamps, waits: o.Waits, faults: o.Faults}
	if s.raw, err = s.file.SyscallConn(); err != nil {
		_ = s.file.Close()
		return nil, openError(addr, err)
	}
	return s, nil
}

// bind sets the options that come before, binds, and sets those that come after.
func (o *Options) bind(fd int, addr netip.AddrPort) (netip.AddrPort, error) {
	six := addr.Addr().Is6()
	set := func(level, option, value int) error { return unix.SetsockoptInt(fd, level, option, value) }
	if o.Share {
		if err := set(unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return addr, err
		}
	}
	if six {
		if err := set(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return addr, err
		}
	}
	if o.DontFragment {
		err := error(nil)
		if six {
			err = set(unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
		} else {
			err = set(unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
		}
		if err != nil {
			return addr, err
		}
	}
	if o.Faults {
		if six {
			_ = set(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
		} else {
			_ = set(unix.IPPROTO_IP, unix.IP_RECVERR, 1)
		}
	}
	if o.TOS {
		if six {
			_ = set(unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1)
		} else {
			_ = set(unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
		}
	}
	if o.Buffer > 0 {
		setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, o.Buffer)
	}
	switch {
	case o.SendOnly:
		_ = set(unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
	case o.Buffer > 0:
		setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, o.Buffer)
	}
	// A kernel without these delivers datagrams one by one, and as if they had
	// arrived when they are read.
	if o.GRO {
		_ = set(unix.SOL_UDP, unix.UDP_GRO, 1)
	}
	if o.Timestamps {
		_ = set(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	}
	if err := unix.Bind(fd, sockaddrOf(addr)); err != nil {
		return addr, err
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return addr, err
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		addr = netip.AddrPortFrom(addr.Addr(), uint16(sa.Port))
	case *unix.SockaddrInet6:
		addr = netip.AddrPortFrom(addr.Addr(), uint16(sa.Port))
	}
	if o.SendOnly {
		// Connected to itself: what arrives goes past it to the others.
		return addr, unix.Connect(fd, sockaddrOf(addr))
	}
	return addr, nil
}

// setBuffer asks for size bytes; Buffers tells what the kernel granted.
func setBuffer(fd, force, plain, size int) {
	// Only CAP_NET_ADMIN may pass the sysctl limit.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, size)
	}
}

// Local is the address that the socket is bound to.
func (s *Socket) Local() netip.AddrPort { return s.local }

// Close closes the socket. Calls on it that are under way end first or fail.
func (s *Socket) Close() error { return s.file.Close() }

// share lets other sockets join. A group begins with a socket that is bound
// already: the kernel makes one of it when the second comes.
func (s *Socket) share() error {
	var err error
	if e := s.raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); e != nil {
		err = e
	}
	if err != nil {
		return openError(s.local, err)
	}
	return nil
}

// Buffers is how many bytes of kernel buffer the socket has.
func (s *Socket) Buffers() (received, sent int) {
	_ = s.raw.Control(func(fd uintptr) {
		received, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
		sent, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
	})
	// socket(7): the kernel reports twice the value set.
	return received / 2, sent / 2
}

// memDrops is the place of the drop counter among what SO_MEMINFO tells
// (linux/sock_diag.h, SK_MEMINFO_DROPS).
const memDrops = 8

// Overflows is how many datagrams found the socket's receive buffer full, ever. The
// kernel counts; asking costs nothing per datagram.
func (s *Socket) Overflows() (n uint64) {
	_ = s.raw.Control(func(fd uintptr) {
		var info [memDrops + 1]uint32
		size := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		if errno == 0 && size >= uint32(unsafe.Sizeof(info)) {
			n = uint64(info[memDrops])
		}
	})
	return n
}

// Send sends one datagram. It is for what goes out now and then: it allocates. It
// waits for room in the send buffer only if the socket was opened with Waits.
func (s *Socket) Send(b []byte, to netip.AddrPort) error {
	d := NewDestination(to)
	var errno syscall.Errno
	err := s.raw.Write(func(fd uintptr) bool {
		for {
			_, _, errno = unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
				unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(&d.sa)), uintptr(d.len))
			if errno != unix.EINTR {
				return errno != unix.EAGAIN || !s.waits
			}
		}
	})
	if err == nil && errno != 0 {
		err = errno
	}
	return err
}

type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

func sockaddrOf(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

func addrOf(sa *unix.RawSockaddrInet6) netip.AddrPort {
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
