//go:build !portable

package datagram

// recvmmsg through RawConn. x/net's ReadBatch would allocate an address per
// datagram.

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// control is room for the control messages of one datagram: its time of arrival
// (SCM_TIMESTAMPNS, socket(7)), the length of the datagrams of a run (UDP_GRO), how they
// are marked (IP_TOS); not for all three.
type control [8]uint64

// Reader reads batches of datagrams.
type Reader struct {
	memory []byte // mapped, of the buffers
	bufs   [][]byte
	hdrs   []mmsghdr
	iovs   []unix.Iovec
	names  []unix.RawSockaddrInet6
	ctls   []control
	walls  []int64 // Unix ns at which each datagram was read, if its socket stamps
	used   int     // slots filled

	now    func(fd uintptr)
	wait   func(fd uintptr) bool
	max, n int
	errno  syscall.Errno
}

// NewReader makes a reader with slots buffers of size bytes. Room of theirs that
// never holds anything takes no memory. Close gives it back.
func NewReader(slots, size int) *Reader {
	r := newReader(slots)
	stride := stride(size)
	memory, err := unix.Mmap(-1, 0, slots*stride, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err == nil {
		r.memory = memory
	} else {
		memory = make([]byte, slots*stride)
	}
	for i := range slots {
		r.SetBuffer(i, memory[i*stride:][:size:size])
	}
	return r
}

// stride is the distance between buffers: an odd number of cache lines, so that
// their beginnings, which are what is mostly used of them, don't compete for the
// same places of a cache. Large ones lie about a datagram apart in this respect.
func stride(size int) int {
	const (
		line = 64
		sets = 64 // of a first-level cache
		odd  = 21
	)
	lines := (size + line - 1) / line
	if lines < sets {
		return (lines | 1) * line
	}
	return (lines + (odd+sets-lines%sets)%sets) * line
}

// NewReaderInto makes a reader with slots that get their buffers by SetBuffer.
func NewReaderInto(slots int) *Reader { return newReader(slots) }

func newReader(slots int) *Reader {
	r := &Reader{
		bufs: make([][]byte, slots), hdrs: make([]mmsghdr, slots), iovs: make([]unix.Iovec, slots),
		names: make([]unix.RawSockaddrInet6, slots), ctls: make([]control, slots), walls: make([]int64, slots),
	}
	for i := range r.hdrs {
		h := &r.hdrs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Iov = &r.iovs[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&r.ctls[i]))
	}
	r.used = slots
	r.Reset()
	r.now = func(fd uintptr) {
		// It never waits, so the scheduler need not know of it.
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd,
			uintptr(unsafe.Pointer(&r.hdrs[r.used])), uintptr(r.max), unix.MSG_DONTWAIT, 0, 0)
		r.n, r.errno = int(n), errno
	}
	r.wait = func(fd uintptr) bool {
		r.now(fd)
		return r.errno != unix.EAGAIN
	}
	return r
}

// SetBuffer has slot i read into b from now on.
func (r *Reader) SetBuffer(i int, b []byte) {
	r.bufs[i] = b
	r.iovs[i].Base = &b[0]
	r.iovs[i].SetLen(len(b))
}

// readTries is how often a read is tried again that got an error in place of
// datagrams: those that ICMP reports of what we sent surface here, one at a time.
const readTries = 4

// Read reads what waits in s, at most max datagrams, into the next free slots:
// from up to to, without it. They are equal if nothing waits, no slot is free or s
// is closed.
func (r *Reader) Read(s *Socket, max int) (from, to int) {
	if r.max = min(max, r.Free()); r.max <= 0 {
		return r.used, r.used
	}
	for range readTries {
		r.n, r.errno = 0, 0
		if s.raw.Control(r.now) != nil || r.errno == unix.EAGAIN {
			return r.used, r.used
		}
		if r.errno == 0 {
			return r.took(s)
		}
	}
	return r.used, r.used
}

// Wait is Read for a socket that was opened with Waits: it waits for a datagram.
// The error says that s is closed.
func (r *Reader) Wait(s *Socket, max int) (from, to int, err error) {
	if r.max = min(max, r.Free()); r.max <= 0 {
		return r.used, r.used, nil
	}
	for {
		r.n, r.errno = 0, 0
		if err := s.raw.Read(r.wait); err != nil {
			return r.used, r.used, err
		}
		if r.errno == 0 && r.n > 0 {
			from, to = r.took(s)
			return from, to, nil
		}
	}
}

func (r *Reader) took(s *Socket) (from, to int) {
	from, to = r.used, r.used+r.n
	if s.stamp {
		wall := time.Now().UnixNano()
		for i := from; i < to; i++ {
			r.walls[i] = wall
		}
	}
	r.used = to
	return from, to
}

// Datagram returns what slot i holds and where it came from; b is nil if it did not
// fit its buffer. With a segment above zero it is a run of datagrams of that length,
// of which the last may be shorter. b is good until Reset.
func (r *Reader) Datagram(i int) (b []byte, src netip.AddrPort, segment int) {
	h := &r.hdrs[i]
	src = addrOf(&r.names[i])
	n := int(h.len)
	if h.hdr.Flags&unix.MSG_TRUNC != 0 || !src.IsValid() {
		return nil, src, 0
	}
	if data := r.message(i, unix.SOL_UDP, unix.UDP_GRO); len(data) >= 4 {
		segment = int(binary.NativeEndian.Uint32(data))
	} else if len(data) >= 2 { // kernels before 6.2
		segment = int(binary.NativeEndian.Uint16(data))
	}
	if segment >= n {
		segment = 0
	}
	return r.bufs[i][:n], src, segment
}

// message finds a control message of slot i.
func (r *Reader) message(i int, level, kind int32) []byte {
	left := unsafe.Slice((*byte)(unsafe.Pointer(&r.ctls[i])), min(int(r.hdrs[i].hdr.Controllen), int(unsafe.Sizeof(r.ctls[i]))))
	for len(left) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&left[0]))
		n := int(h.Len)
		if n < unix.SizeofCmsghdr || n > len(left) {
			break
		}
		if h.Level == level && h.Type == kind {
			return left[unix.SizeofCmsghdr:n]
		}
		left = left[min(len(left), aligned(n)):]
	}
	return nil
}

// maxAge is how much waiting in the socket buffer is believed: the kernel's
// stamps are wall clock, which may be set meanwhile.
const maxAge = int64(time.Second)

// Age is for how many ns the datagram of slot i had waited to be read; 0 unless its
// socket was opened with Timestamps. Whoever estimates a network by arrival times
// must not see in them how busy this process is and how it batches.
func (r *Reader) Age(i int) int64 {
	var at unix.Timespec
	data := r.message(i, unix.SOL_SOCKET, unix.SCM_TIMESTAMPNS)
	if len(data) < int(unsafe.Sizeof(at)) {
		return 0
	}
	at = *(*unix.Timespec)(unsafe.Pointer(&data[0]))
	return min(max(r.walls[i]-at.Nano(), 0), maxAge)
}

// TOS is how the datagrams of slot i are marked: the type of service of IPv4, the traffic
// class of IPv6; 0 unless their socket was opened with TOS.
func (r *Reader) TOS(i int) byte {
	if data := r.message(i, unix.IPPROTO_IP, unix.IP_TOS); len(data) > 0 {
		return data[0]
	}
	if data := r.message(i, unix.IPPROTO_IPV6, unix.IPV6_TCLASS); len(data) >= 4 {
		return byte(binary.NativeEndian.Uint32(data))
	}
	return 0
}

// Free is how many slots can be read into.
func (r *Reader) Free() int { return len(r.hdrs) - r.used }

// Reset forgets all datagrams; what they were in is written over from now on.
func (r *Reader) Reset() {
	for i := range r.hdrs[:r.used] {
		h := &r.hdrs[i].hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(int(unsafe.Sizeof(r.ctls[i])))
	}
	r.used = 0
}

// Close gives the memory of NewReader back. Nothing that Datagram returned may be
// touched any more, and the Reader may not be used.
func (r *Reader) Close() error {
	memory := r.memory
	r.memory, r.bufs, r.hdrs = nil, nil, nil
	r.used = 0
	if memory == nil {
		return nil
	}
	return unix.Munmap(memory)
}
