package transport

// sendmmsg and UDP_SEGMENT on sockets that only send.

import (
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// outlet is a socket on a local address that only sends. The sockets that
// read are known to the runtime's poller, which the kernel wakes for every
// single datagram that has left (EPOLLOUT): for small runs that costs more
// than all the rest. A blocking descriptor is left alone by the poller.
type outlet struct {
	file *os.File // nil when it is that of a reader
	raw  syscall.RawConn
}

// outlet sends on a socket that reads.
func (s *socket) outlet() outlet { return outlet{raw: s.raw} }

// openOutlet opens one beside the sockets that share the address. It is
// connected to itself: what arrives goes past it to the others.
func (l *local) openOutlet(buffer int) (outlet, error) {
	family := unix.AF_INET
	if l.addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return outlet{}, fmt.Errorf("socket to send from %s: %w", l.addr, err)
	}
	sa := sockaddrOf(l.addr)
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	if err == nil && family == unix.AF_INET6 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if err == nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
		err = unix.Bind(fd, sa)
	}
	if err == nil {
		err = unix.Connect(fd, sa)
	}
	if err != nil {
		_ = unix.Close(fd)
		return outlet{}, fmt.Errorf("socket to send from %s: %w", l.addr, err)
	}
	o := outlet{file: os.NewFile(uintptr(fd), "udp "+l.addr.String())}
	if o.raw, err = o.file.SyscallConn(); err != nil {
		_ = o.file.Close()
		return outlet{}, fmt.Errorf("socket to send from %s: %w", l.addr, err)
	}
	if buffer > 0 {
		setSendBuffer(o.raw, buffer)
	}
	return o, nil
}

func (o outlet) close() error { return o.file.Close() }

func sockaddrOf(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// writer sends batches of datagrams that leave by one socket. Datagrams of one
// size to one address that were added in a row go down as one, for the kernel
// or the card to cut (UDP_SEGMENT, udp(7)): the dearest part of sending is the
// way through the network stack, and so it is gone only once.
type writer struct {
	bufs  [sendSize][]byte // the datagrams
	to    [sendSize]*path
	n     int
	hdrs  [sendSize]mmsghdr    // one per run
	iovs  [sendSize]unix.Iovec // of the runs; datagrams that lie behind each other share one
	count [sendSize]int        // datagrams of each run
	ctls  [sendSize]segmentControl
	cuts  bool // segmentation has worked
	plain bool // the first try failed: never again on this writer
	sizes runSizes

	fn          func(fd uintptr) bool
	first, last int // runs to send
	sent        int
	errno       syscall.Errno
}

// segmentControl is the control message that asks for segmentation.
type segmentControl struct {
	hdr  unix.Cmsghdr
	size uint16
	_    [6]byte // up to CMSG_SPACE(2)
}

const (
	maxRun      = 65000 // bytes of a run: an IP packet's length has 16 bits
	maxSegments = 64    // datagrams of a run (UDP_MAX_SEGMENTS)
	maxSegment  = 1452  // longer datagrams may exceed the MTU, which segmentation refuses
)

func newWriter() *writer {
	w := &writer{}
	for i := range w.ctls {
		c := &w.ctls[i].hdr
		c.Level, c.Type = unix.SOL_UDP, unix.UDP_SEGMENT
		c.SetLen(unix.CmsgLen(2))
	}
	w.fn = func(fd uintptr) bool {
		// It never waits, so the scheduler need not know of it.
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd,
			uintptr(unsafe.Pointer(&w.hdrs[w.first])), uintptr(w.last-w.first), unix.MSG_DONTWAIT, 0, 0)
		w.sent, w.errno = int(n), errno
		return true
	}
	return w
}

// add appends a datagram; b and to must stay as they are until flush.
func (w *writer) add(b []byte, to *path) {
	w.bufs[w.n], w.to[w.n] = b, to
	w.n++
}

// runs lays out the datagrams from index i on as messages of one run each.
func (w *writer) runs(i int) {
	w.first, w.last = 0, 0
	iov := 0
	for i < w.n {
		size := len(w.bufs[i])
		total, k, from := size, 1, iov
		v := &w.iovs[iov]
		v.Base = &w.bufs[i][0]
		v.SetLen(size)
		iov++
		for !w.plain && !w.to[i].single.Load() && size <= maxSegment && i+k < w.n && k < maxSegments && w.to[i+k] == w.to[i] {
			next := w.bufs[i+k]
			if len(next) > size || total+len(next) > maxRun {
				break
			}
			if uintptr(unsafe.Pointer(&next[0])) == uintptr(unsafe.Pointer(v.Base))+uintptr(v.Len) {
				v.Len += uint64(len(next))
			} else {
				v = &w.iovs[iov]
				v.Base = &next[0]
				v.SetLen(len(next))
				iov++
			}
			total += len(next)
			k++
			if len(next) < size {
				break // only the last of a run may be shorter
			}
		}
		h, dest := &w.hdrs[w.last].hdr, &w.to[i].dest
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&dest.sa)), dest.len
		h.Iov = &w.iovs[from]
		h.SetIovlen(iov - from)
		h.Control = nil
		h.SetControllen(0)
		if k > 1 {
			w.ctls[w.last].size = uint16(size)
			h.Control = (*byte)(unsafe.Pointer(&w.ctls[w.last]))
			h.SetControllen(unix.CmsgSpace(2))
		}
		w.count[w.last] = k
		w.last++
		i += k
	}
}

// cannotSegment tells a kernel, card or path that cannot segment from one that
// cannot send to this address at all.
func cannotSegment(e syscall.Errno) bool {
	switch e {
	case unix.EIO, unix.EINVAL, unix.EMSGSIZE, unix.EOPNOTSUPP:
		return true
	}
	return false
}

// flush sends what was added and returns how many datagrams the kernel took.
// It never waits: when the send buffer is full the rest is dropped.
func (w *writer) flush(o outlet) (sent int) {
	done := 0 // datagrams dealt with
	for w.runs(0); w.first < w.last; {
		w.sent, w.errno = 0, 0
		if err := o.raw.Write(w.fn); err != nil {
			break
		}
		switch w.errno {
		case 0:
			for range w.sent {
				k := w.count[w.first]
				w.cuts = w.cuts || k > 1
				done += k
				sent += k
				w.sizes.add(k)
				w.first++
			}
		case unix.EINTR:
		case unix.EAGAIN, unix.ENOBUFS:
			w.first = w.last
		default:
			k := w.count[w.first]
			if k > 1 && cannotSegment(w.errno) {
				// Either nothing here can segment, or only this path has an MTU
				// that is too small.
				w.plain = !w.cuts
				w.to[done].single.Store(true)
				w.runs(done)
				continue
			}
			done += k // these cannot be sent: no route, refused by a filter
			w.first++
		}
	}
	clear(w.to[:w.n])
	clear(w.bufs[:w.n])
	w.n = 0
	return sent
}
