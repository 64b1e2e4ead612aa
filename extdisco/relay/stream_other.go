//go:build !linux

package relay

import (
	"errors"
	"net"
	"syscall"
	"time"
)

func bound(net.Conn) {}

func patient(net.Conn, time.Duration) {}

// reusable: TCP relays need Linux.
func reusable(_, _ string, _ syscall.RawConn) error { return errors.ErrUnsupported }
