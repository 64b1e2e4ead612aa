package relay

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// notSent is how much the kernel takes that is not yet on its way: media over TCP
// suffers from full buffers more than from loss.
const notSent = 32 << 10

// bound bounds what waits in the kernel, where nothing can be dropped any more, and for
// how long: who takes nothing for that time is given up.
func bound(c net.Conn) { option(c, unix.TCP_NOTSENT_LOWAT, notSent); patient(c, writeTimeout) }

// patient sets how long a connection may take nothing of what is written; 0 is the
// system's default.
func patient(c net.Conn, d time.Duration) { option(c, unix.TCP_USER_TIMEOUT, int(d/time.Millisecond)) }

func option(c net.Conn, name, value int) {
	t := bottom(c)
	if t == nil {
		return
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, name, value) })
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
