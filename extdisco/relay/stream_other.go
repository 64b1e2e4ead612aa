//go:build !linux

package relay

import "net"

func lowWater(net.Conn) {}
