//go:build !portable

package datagram

import (
	"net/netip"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Destination is an address to send to, as the kernel wants it.
type Destination struct {
	addr   netip.AddrPort
	sa     unix.RawSockaddrInet6
	len    uint32
	single atomic.Bool // the way there takes no runs of datagrams
}

// NewDestination makes one. Keep it: only datagrams to the same Destination go in
// runs, and it remembers whether they may.
func NewDestination(to netip.AddrPort) *Destination {
	d := &Destination{addr: unmap(to)}
	if ip := d.addr.Addr(); ip.Is4() {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&d.sa))
		v4.Family, v4.Port, v4.Addr = unix.AF_INET, ntohs(to.Port()), ip.As4()
		d.len = unix.SizeofSockaddrInet4
	} else {
		d.sa.Family, d.sa.Port, d.sa.Addr = unix.AF_INET6, ntohs(to.Port()), ip.As16()
		d.len = unix.SizeofSockaddrInet6
	}
	return d
}

// Addr is the address.
func (d *Destination) Addr() netip.AddrPort { return d.addr }

// Writer sends batches of datagrams that leave by one socket. Datagrams of one
// size to one Destination that were added in a row go down as one, for the kernel
// or the card to cut (UDP_SEGMENT, udp(7)).
type Writer struct {
	parts [][2][]byte // the datagrams, each as head and body
	sizes runSizes
	to    []*Destination
	tos   []byte // how they are marked
	n     int
	hdrs  []mmsghdr    // one per run
	iovs  []unix.Iovec // of the runs; parts that lie behind each other share one
	count []int        // datagrams of each run
	ctls  []segmentControl
	cuts  bool // segmentation has worked
	plain bool // the first try failed: never again on this writer

	fn          func(fd uintptr)
	first, last int // runs to send
	sent        int
	errno       syscall.Errno
}

// segmentControl is the control message that asks for segmentation, and behind it the one
// that marks the packets: as few of them as are needed are used.
type segmentControl struct {
	hdr  unix.Cmsghdr
	size uint16
	_    [6]byte // up to CMSG_SPACE(2)
	mark unix.Cmsghdr
	tos  int32
	_    [4]byte // up to CMSG_SPACE(4)
}

// ask puts into h what is wanted for a run of datagrams of a size; 0: there is only one.
func (c *segmentControl) ask(h *unix.Msghdr, size int, to *Destination, tos byte) {
	h.Control = nil
	n := 0
	if tos != 0 {
		c.mark.Level, c.mark.Type = unix.IPPROTO_IP, unix.IP_TOS
		if to.addr.Addr().Is6() {
			c.mark.Level, c.mark.Type = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
		}
		c.tos = int32(tos)
		h.Control = (*byte)(unsafe.Pointer(&c.mark))
		n = unix.CmsgSpace(4)
	}
	if size > 0 {
		c.size = uint16(size)
		h.Control = (*byte)(unsafe.Pointer(&c.hdr))
		n += unix.CmsgSpace(2)
	}
	h.SetControllen(n)
}

const (
	maxRun      = 65000 // bytes of a run: an IP packet's length has 16 bits
	maxSegments = 64    // datagrams of a run (UDP_MAX_SEGMENTS)
	maxSegment  = 1452  // longer datagrams may exceed the MTU, which segmentation refuses
)

// NewWriter makes a writer of batches of up to n datagrams.
func NewWriter(n int) *Writer {
	w := &Writer{
		parts: make([][2][]byte, n), to: make([]*Destination, n), tos: make([]byte, n), hdrs: make([]mmsghdr, n),
		iovs: make([]unix.Iovec, 2*n), count: make([]int, n), ctls: make([]segmentControl, n),
	}
	for i := range w.ctls {
		c := &w.ctls[i]
		c.hdr.Level, c.hdr.Type = unix.SOL_UDP, unix.UDP_SEGMENT
		c.hdr.SetLen(unix.CmsgLen(2))
		c.mark.SetLen(unix.CmsgLen(4))
	}
	w.fn = func(fd uintptr) {
		if h := &w.hdrs[w.first].hdr; w.last-w.first == 1 && h.Iovlen == 1 && h.Controllen == 0 {
			// One alone: the kernel has less to copy in.
			_, _, w.errno = unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(h.Iov.Base)), uintptr(h.Iov.Len),
				unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(h.Name)), uintptr(h.Namelen))
			w.sent = 1
			return
		}
		// It never waits, so the scheduler need not know of it.
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd,
			uintptr(unsafe.Pointer(&w.hdrs[w.first])), uintptr(w.last-w.first), unix.MSG_DONTWAIT, 0, 0)
		w.sent, w.errno = int(n), errno
	}
	return w
}

// Len is how many datagrams wait for Flush.
func (w *Writer) Len() int { return w.n }

// Full says that Flush must come before the next Add.
func (w *Writer) Full() bool { return w.n == len(w.parts) }

// Add appends the datagram that is head and body together; either may be empty.
// Both and to must stay as they are until Flush.
func (w *Writer) Add(head, body []byte, to *Destination) { w.AddMarked(head, body, to, 0) }

// AddMarked is Add for one that goes out with a type of service or traffic class (DSCP
// and ECN, Reader.TOS).
func (w *Writer) AddMarked(head, body []byte, to *Destination, tos byte) {
	w.parts[w.n], w.to[w.n], w.tos[w.n] = [2][]byte{head, body}, to, tos
	w.n++
}

func (w *Writer) size(i int) int { return len(w.parts[i][0]) + len(w.parts[i][1]) }

// lay puts datagram i into iovecs, of which the run's first is from and the next
// free one is at; it returns the next free one.
func (w *Writer) lay(i, from, at int) int {
	for _, p := range &w.parts[i] {
		if len(p) == 0 {
			continue
		}
		if at > from {
			v := &w.iovs[at-1]
			if n := int(v.Len); uintptr(unsafe.Pointer(&p[0])) == uintptr(unsafe.Pointer(v.Base))+uintptr(n) {
				v.SetLen(n + len(p))
				continue
			}
		}
		v := &w.iovs[at]
		v.Base = &p[0]
		v.SetLen(len(p))
		at++
	}
	return at
}

// runs lays out the datagrams from index i on as messages of one run each.
func (w *Writer) runs(i int) {
	w.first, w.last = 0, 0
	iov := 0
	for i < w.n {
		to, size := w.to[i], w.size(i)
		total, k, from := size, 1, iov
		iov = w.lay(i, from, iov)
		if !w.plain && size <= maxSegment && !to.single.Load() {
			for i+k < w.n && k < maxSegments && w.to[i+k] == to && w.tos[i+k] == w.tos[i] {
				next := w.size(i + k)
				if next > size || next == 0 || total+next > maxRun {
					break
				}
				iov = w.lay(i+k, from, iov)
				total += next
				k++
				if next < size {
					break // only the last of a run may be shorter
				}
			}
		}
		h := &w.hdrs[w.last].hdr
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&to.sa)), to.len
		h.Iov = nil
		if iov > from {
			h.Iov = &w.iovs[from]
		}
		h.SetIovlen(iov - from)
		if k == 1 {
			size = 0
		}
		w.ctls[w.last].ask(h, size, to, w.tos[i])
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

// Flush sends what was added, in order, and returns how many datagrams the kernel
// took. It never waits: when the send buffer is full the rest is dropped.
func (w *Writer) Flush(s *Socket) (sent int) {
	done := 0      // datagrams dealt with
	reported := -1 // the datagram at which ICMP's word on an earlier one came up
	for w.runs(0); w.first < w.last; {
		w.sent, w.errno = 0, 0
		if s.raw.Control(w.fn) != nil {
			break // closed
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
			if s.faults && reported != done {
				reported = done
				continue // it is about another datagram, and the kernel has taken none
			}
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
	clear(w.parts[:w.n])
	w.n = 0
	return sent
}
