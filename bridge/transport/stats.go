package transport

import (
	"sync/atomic"

	"confab/internal/datagram"
)

// SocketStats are the totals of Sockets.
type SocketStats struct {
	Transports int // open now
	Addresses  int // validated client addresses now
	// Datagrams that reached no transport since Listen.
	Oversize        uint64 // longer than rtpx.BufferSize, or empty
	Garbage         uint64 // no known first byte, or malformed STUN
	Strangers       uint64 // media, DTLS or a STUN response that nobody awaits
	UnknownUfrag    uint64 // binding requests for no agent of ours
	Unauthenticated uint64 // binding requests without our password, or from too many sources; DTLS in clear after the handshake
	QueueFull       uint64 // STUN or DTLS beyond a queue's limit
	Overflows       uint64 // found the receive buffer of their socket full

	ToRelay, FromRelay uint64 // packets of media to, and all packets from clients of our own relay, in memory

	Panics uint64 // of handlers, each the end of one transport

	ChannelsRejected uint64 // data channels beyond the one, or that could not be opened

	Unsent   uint64           // packets that the kernel did not take
	Runs     [RunSizes]uint64 // system's sends by how many packets went in one: up to 1, 2, 4, ... 64
	Restarts Restarts
}

// Restarts counts ICE restarts by how they came out.
type Restarts struct {
	Started    uint64
	Succeeded  uint64
	Failed     uint64 // abandoned, or no check came through; the old way stays
	Superseded uint64 // another was asked for meanwhile
	Unmade     uint64 // there was no agent to be had
}

type restartCounters struct{ started, succeeded, failed, superseded, unmade atomic.Uint64 }

// RunSizes is how many classes of run lengths are counted.
const RunSizes = datagram.RunSizes

// Stats returns the totals now.
func (s *Sockets) Stats() SocketStats {
	st := SocketStats{
		Addresses:       s.addrs.size(),
		Oversize:        s.drops.oversize.Load(),
		Garbage:         s.drops.garbage.Load(),
		Strangers:       s.drops.strangers.Load(),
		UnknownUfrag:    s.drops.unknownUfrag.Load(),
		Unauthenticated: s.drops.unauthenticated.Load(),
		QueueFull:       s.drops.queueFull.Load(),
		FromRelay:       s.fromRelay.Load(),
		Panics:          s.panics.Load(),

		ChannelsRejected: s.channelsRejected.Load(),
		Restarts: Restarts{
			Started: s.restarts.started.Load(), Succeeded: s.restarts.succeeded.Load(),
			Failed: s.restarts.failed.Load(), Superseded: s.restarts.superseded.Load(), Unmade: s.restarts.unmade.Load(),
		},
	}
	for _, l := range s.locals {
		for _, k := range l.sockets {
			st.Overflows += k.Overflows()
		}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	st.Transports = len(s.transports)
	for _, b := range s.batches {
		st.Unsent += b.dropped.Load()
		st.ToRelay += b.shortcut.Load()
		for i := range b.outs {
			for j, n := range b.outs[i].w.Runs() {
				st.Runs[j] += n
			}
		}
	}
	return st
}
