package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
)

const (
	// batchSize is how many datagrams one system call reads at most.
	batchSize = 64
	// sendSize is how many one writes at most: long runs, which still lie in the
	// cache of the CPU that has encrypted them.
	sendSize = 128
)

// local is one local address with the sockets that share it. The kernel
// spreads client addresses over the sockets (SO_REUSEPORT) by 4-tuple.
type local struct {
	index   int
	addr    netip.AddrPort
	sockets []*socket
}

// socket is one UDP socket and the reader goroutine that belongs to it.
type socket struct {
	local *local
	conn  *net.UDPConn
	raw   syscall.RawConn
}

// write sends one datagram. It may be called from any goroutine.
func (l *local) write(b []byte, to netip.AddrPort) (int, error) {
	return l.sockets[int(to.Port())%len(l.sockets)].conn.WriteToUDPAddrPort(b, to)
}

func (l *local) close() error {
	var errs []error
	for _, s := range l.sockets {
		errs = append(errs, s.conn.Close())
	}
	return errors.Join(errs...)
}

// openLocal opens n sockets on addr; its port may be 0.
func openLocal(index int, addr netip.AddrPort, n, buffer int, log *slog.Logger) (*local, error) {
	l := &local{index: index, addr: addr}
	for i := range n {
		// The first socket is bound alone: an address that another program
		// uses is refused even if that program shares it. The others join it.
		conn, err := listenUDP(l.addr, i > 0)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen on udp %s: %w", l.addr, err), l.close())
		}
		s := &socket{local: l, conn: conn}
		l.sockets = append(l.sockets, s)
		l.addr = netip.AddrPortFrom(addr.Addr(), uint16(conn.LocalAddr().(*net.UDPAddr).Port))
		if s.raw, err = conn.SyscallConn(); err != nil {
			return nil, errors.Join(fmt.Errorf("udp %s: %w", l.addr, err), l.close())
		}
		if i == 0 && reusePort { // with the other readers and the outlets
			if err := shareAddress(s.raw); err != nil {
				return nil, errors.Join(fmt.Errorf("share udp %s between sockets: %w", l.addr, err), l.close())
			}
		}
		if buffer <= 0 {
			continue
		}
		if received, sent := setBuffers(s, buffer); i == 0 && (received < buffer || sent < buffer) {
			log.Warn("the kernel limits the udp buffers; raise net.core.rmem_max and net.core.wmem_max",
				"local", l.addr, "wanted", buffer, "receive", received, "send", sent)
		}
	}
	return l, nil
}

func listenUDP(addr netip.AddrPort, share bool) (*net.UDPConn, error) {
	lc := net.ListenConfig{}
	if share {
		lc.Control = func(_, _ string, c syscall.RawConn) error { return shareAddress(c) }
	}
	network := "udp4"
	if addr.Addr().Is6() {
		network = "udp6"
	}
	pc, err := lc.ListenPacket(context.Background(), network, addr.String())
	if err != nil {
		return nil, err
	}
	return pc.(*net.UDPConn), nil
}
