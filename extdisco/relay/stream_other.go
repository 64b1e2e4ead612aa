//go:build !linux

package relay

import (
	"errors"
	"net"
	"syscall"
)

func lowWater(net.Conn) {}

// reusable: TCP relays need Linux.
func reusable(_, _ string, _ syscall.RawConn) error { return errors.ErrUnsupported }
