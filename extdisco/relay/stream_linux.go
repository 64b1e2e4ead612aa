package relay

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// notSent is how much the kernel takes that is not yet on its way: media over TCP
// suffers from full buffers more than from loss.
const notSent = 32 << 10

// lowWater bounds what waits in the kernel, where nothing can be dropped any more.
func lowWater(c net.Conn) {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = t.NetConn()
	}
	t, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSent)
	})
}

// reusable lets connections to peers leave by a port that others are accepted on (RFC
// 6062 §5.2).
func reusable(_, _ string, c syscall.RawConn) (err error) {
	if e := c.Control(func(fd uintptr) {
		if err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err == nil {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}
	}); e != nil {
		return e
	}
	return err
}
