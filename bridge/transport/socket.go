package transport

import (
	"errors"
	"log/slog"
	"net/netip"

	"confab/bridge/rtpx"
	"confab/internal/datagram"
)

const (
	// batchSize is how many datagrams one system call reads at most.
	batchSize = 64
	// sendSize is how many one writes at most: long runs, which still lie in the
	// cache of the CPU that has encrypted them.
	sendSize = 128
)

// local is one local address with the sockets that share it, each with a reader
// goroutine. The kernel spreads client addresses over the sockets by 4-tuple.
type local struct {
	index   int
	addr    netip.AddrPort
	sockets []*datagram.Socket
	as      netip.AddrPort // as a client knows it, if its packet came through our own relay
}

// write sends one datagram. It may be called from any goroutine.
func (l *local) write(b []byte, to netip.AddrPort) (int, error) {
	if err := l.sockets[int(to.Port())%len(l.sockets)].Send(b, to); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (l *local) close() error {
	var errs []error
	for _, s := range l.sockets {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// openLocal opens n sockets on addr; its port may be 0. The readers wait for them
// with the runtime's poller.
func openLocal(index int, addr netip.AddrPort, n, buffer int, log *slog.Logger) (*local, error) {
	sockets, err := datagram.OpenGroup(addr, n, datagram.Options{Buffer: buffer, Timestamps: true, Waits: true})
	if err != nil {
		return nil, err
	}
	l := &local{index: index, addr: sockets[0].Local(), sockets: sockets}
	if received, sent := sockets[0].Buffers(); received < buffer || sent < buffer {
		log.Warn("the kernel limits the udp buffers; raise net.core.rmem_max and net.core.wmem_max",
			"local", l.addr, "wanted", buffer, "receive", received, "send", sent)
	}
	return l, nil
}

// openOutlet opens a socket beside those that share the address. It only sends:
// one that reads would have the runtime woken by every packet that has left.
func (l *local) openOutlet(buffer int) (*datagram.Socket, error) {
	return datagram.Open(l.addr, datagram.Options{Share: true, SendOnly: true, Buffer: buffer})
}

// reader reads batches of datagrams into pooled packets.
type reader struct {
	s    *datagram.Socket
	r    *datagram.Reader
	pool *rtpx.Pool
	pkts [batchSize]*rtpx.Packet
}

func newReader(s *datagram.Socket, pool *rtpx.Pool) *reader {
	r := &reader{s: s, r: datagram.NewReaderInto(batchSize), pool: pool}
	for i := range r.pkts {
		r.fill(i)
	}
	return r
}

func (r *reader) fill(i int) {
	r.pkts[i] = r.pool.Get()
	r.r.SetBuffer(i, r.pkts[i].Space())
}

// read waits for at least one datagram and returns how many came. An error
// means that the socket is closed.
func (r *reader) read() (int, error) {
	r.r.Reset()
	_, n, err := r.r.Wait(r.s, batchSize)
	return n, err
}

// take returns datagram i of the last read, whose slot is filled anew. The
// packet is nil if the datagram did not fit or has no usable source.
func (r *reader) take(i int) (*rtpx.Packet, netip.AddrPort) {
	b, src, _ := r.r.Datagram(i)
	if len(b) == 0 {
		return nil, src
	}
	p := r.pkts[i]
	p.SetLen(len(b))
	r.fill(i)
	return p, src
}

// age is for how many ns datagram i of the last read had waited for it. The
// senders' bandwidth estimation measures the network with arrival times; how
// busy this process is and how it batches must not show in them.
func (r *reader) age(i int) int64 { return r.r.Age(i) }

func (r *reader) close() {
	for i, p := range r.pkts {
		p.Release()
		r.pkts[i] = nil
	}
	_ = r.r.Close() // has no memory of its own
}
