// Package datagram moves UDP datagrams in batches: many with one system call
// (recvmmsg, sendmmsg), and runs of equally long ones to one address as one, for
// the kernel or the card to cut (UDP_SEGMENT, UDP_GRO, udp(7)). The dearest part
// of a datagram is its way through the network stack; a run goes it once. TCP
// connections can be watched by the same Poller.
//
// Rules of this package:
//   - Only Poller.Wait, Reader.Wait and Send on a socket opened with Waits wait.
//   - What is called per datagram or per batch allocates nothing and takes no lock
//     that another caller holds for long.
//   - A Reader or a Writer belongs to one goroutine. Sockets and Pollers may be
//     used and closed by any goroutine at any time: a descriptor is given back
//     only after the last call on it has returned.
//   - Linux does all of it. Elsewhere the same calls move one datagram at a time.
package datagram

import (
	"errors"
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"sync/atomic"
)

// Options are what a socket is opened with.
type Options struct {
	// Share joins the sockets that share the address already (SO_REUSEPORT):
	// see OpenGroup for the first one.
	Share bool
	// Buffer is how many bytes of kernel buffer are asked for in each direction; 0
	// leaves the system's default.
	Buffer int
	// GRO has runs of datagrams read as one where they come as one. The reader's
	// buffers must be of 64 KiB: a run that does not fit is lost.
	GRO bool
	// Timestamps has Reader.Age tell how long a datagram waited to be read.
	Timestamps bool
	// TOS has Reader.TOS tell how datagrams are marked (DSCP and ECN). Beside Timestamps and
	// GRO there is no room for it.
	TOS bool
	// DontFragment sends with the DF bit and without regard to what the kernel
	// believes of the path (IP_PMTUDISC_PROBE, ip(7)).
	DontFragment bool
	// Faults has Socket.Failed and a FaultReader tell what ICMP says of what was sent. The
	// socket must be in a Poller and its faults be read, or it is ready for ever.
	Faults bool
	// SendOnly takes no datagrams: with Share, those for the address go to the others.
	SendOnly bool
	// Waits lets Reader.Wait wait for the socket. Such a socket is known to the
	// runtime's poller, which the kernel then wakes for every datagram that has
	// left by it; it should not send much. A Poller needs none of this.
	Waits bool
}

// Fault is what ICMP says of a datagram that was sent.
type Fault struct {
	To         netip.AddrPort // where it was sent
	Type, Code uint8          // of ICMP, of ICMPv6 if To is IPv6
	MTU        uint32         // of the next hop, if the datagram was too big
}

// ErrNoSharing says that the system has no SO_REUSEPORT that spreads clients.
var ErrNoSharing = errors.New("sharing an address between sockets needs Linux")

// OpenGroup opens n sockets that share addr, over which the kernel spreads the
// peers by 4-tuple. The first is bound alone, so that an address which another
// program uses is refused even if that program shares it; the others join it, and
// so may later ones that are opened with Share. A port of 0 becomes a free one.
func OpenGroup(addr netip.AddrPort, n int, o Options) ([]*Socket, error) {
	var group []*Socket
	for i := range n {
		o.Share = i > 0
		s, err := Open(addr, o)
		if err == nil {
			group, addr = append(group, s), s.Local()
			if i == 0 && CanShare {
				err = s.share()
			}
		}
		if err != nil {
			for _, s := range group {
				err = errors.Join(err, s.Close())
			}
			return nil, err
		}
	}
	return group, nil
}

// ErrLater says that nothing can be read, or no more be written, now. It is temporary
// to crypto/tls, which goes on where it has stopped.
var ErrLater net.Error = later{}

type later struct{}

func (later) Error() string   { return "nothing to be done now" }
func (later) Timeout() bool   { return true }
func (later) Temporary() bool { return true }

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

func openError(addr netip.AddrPort, err error) error {
	return fmt.Errorf("open udp %s: %w", addr, err)
}

// RunSizes is how many classes of run lengths a Writer counts: of up to 1, 2, 4,
// ... 64 datagrams.
const RunSizes = 7

// runSizes counts runs by length. One goroutine adds.
type runSizes [RunSizes]atomic.Uint64

func (r *runSizes) add(k int) {
	c := &r[min(bits.Len(uint(k-1)), RunSizes-1)]
	c.Store(c.Load() + 1) // one writer needs no locked instruction
}

// Runs is how many sends of the system there have been, by how many datagrams went
// in one. Any goroutine may ask.
func (w *Writer) Runs() (n [RunSizes]uint64) {
	for i := range w.sizes {
		n[i] = w.sizes[i].Load()
	}
	return n
}
