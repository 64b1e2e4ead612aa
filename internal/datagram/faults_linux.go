//go:build !portable

package datagram

import (
	"encoding/binary"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Failed reports whether a Poller has found since the last call that there are faults to
// be read. It is never so unless the socket was opened with Faults.
func (s *Socket) Failed() bool { return s.failed.Load() && s.failed.Swap(false) }

// FaultReader reads what ICMP says of datagrams that sockets have sent. It belongs to one
// goroutine.
type FaultReader struct {
	name  unix.RawSockaddrInet6
	data  [1]byte // of the datagram; nobody wants it
	iov   unix.Iovec
	ctl   control
	hdr   unix.Msghdr
	fn    func(fd uintptr)
	errno syscall.Errno
}

// NewFaultReader makes one.
func NewFaultReader() *FaultReader {
	r := &FaultReader{}
	r.iov.Base = &r.data[0]
	r.iov.SetLen(len(r.data))
	r.hdr.Name, r.hdr.Iov, r.hdr.Control = (*byte)(unsafe.Pointer(&r.name)), &r.iov, (*byte)(unsafe.Pointer(&r.ctl))
	r.hdr.SetIovlen(1)
	r.fn = func(fd uintptr) {
		r.hdr.Namelen, r.hdr.Flags = unix.SizeofSockaddrInet6, 0
		r.hdr.SetControllen(int(unsafe.Sizeof(r.ctl)))
		_, _, r.errno = unix.RawSyscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&r.hdr)), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	}
	return r
}

// extended is struct sock_extended_err (linux/errqueue.h).
type extended struct {
	errno              uint32
	origin, kind, code uint8
	_                  uint8
	info               uint32
	_                  uint32
}

// Origins of it.
const (
	originICMP  = 2
	originICMP6 = 3
)

// Next reads the next fault of a socket; ok is false if there is no other. The address of
// a fault that is none of ICMP's is invalid.
func (r *FaultReader) Next(s *Socket) (f Fault, ok bool) {
	if s.raw.Control(r.fn) != nil || r.errno != 0 {
		return f, false
	}
	to := addrOf(&r.name)
	left := unsafe.Slice((*byte)(unsafe.Pointer(&r.ctl)), min(int(r.hdr.Controllen), int(unsafe.Sizeof(r.ctl))))
	for len(left) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&left[0]))
		n := int(h.Len)
		if n < unix.SizeofCmsghdr || n > len(left) {
			break
		}
		b := left[unix.SizeofCmsghdr:n]
		if (h.Level == unix.IPPROTO_IP && h.Type == unix.IP_RECVERR || h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_RECVERR) &&
			len(b) >= int(unsafe.Sizeof(extended{})) {
			e := extended{binary.NativeEndian.Uint32(b), b[4], b[5], b[6], 0, binary.NativeEndian.Uint32(b[8:]), 0}
			if e.origin == originICMP || e.origin == originICMP6 {
				return Fault{to, e.kind, e.code, tooBig(e)}, true
			}
		}
		left = left[min(len(left), aligned(n)):]
	}
	return Fault{}, true
}

// tooBig is the MTU that a fault tells of, if it does.
func tooBig(e extended) uint32 {
	if e.errno == uint32(unix.EMSGSIZE) {
		return e.info
	}
	return 0
}

func aligned(n int) int {
	const word = int(unsafe.Sizeof(uintptr(0)))
	return (n + word - 1) &^ (word - 1)
}
