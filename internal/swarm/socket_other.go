//go:build !linux

package swarm

import (
	"errors"
	"net/netip"
	"time"
)

// socket needs what only Linux has: 127.0.0.0/8, recvmmsg, the kernel's times.
type socket struct {
	port    uint16
	refused uint64
}

type datagram struct {
	b       []byte
	from    netip.AddrPort
	to      [4]byte
	segment int
	at      int64
}

func listen(bool) (*socket, error) { return nil, errors.New("the load generator needs Linux") }

func (s *socket) close()                                      {}
func (s *socket) read(func(*datagram)) int                    { return 0 }
func (s *socket) room() []byte                                { return nil }
func (s *socket) commit(int, [4]byte, netip.AddrPort)         {}
func (s *socket) commitRun(int, int, [4]byte, netip.AddrPort) {}
func (s *socket) reserve(int)                                 {}
func (s *socket) flush()                                      {}
func (s *socket) write([]byte, [4]byte, netip.AddrPort) error { return nil }

func rest(d time.Duration) { time.Sleep(d) }

func punctual() {}

// Blast needs Linux, too.
func Blast([]netip.AddrPort, int, int, time.Duration) (uint64, error) {
	return 0, errors.New("the load generator needs Linux")
}
