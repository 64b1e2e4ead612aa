package transport

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// memDrops is the place of the drop counter among what SO_MEMINFO tells
// (linux/sock_diag.h, SK_MEMINFO_DROPS).
const memDrops = 8

// overflows is how many datagrams found the socket's receive buffer full, ever. The
// kernel counts; asking costs nothing per packet.
func (s *socket) overflows() (n uint64) {
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
