package transport

import (
	"net/netip"
	"sync"
)

// transactionsPerAgent bounds the binding requests of one agent whose answer is
// still awaited; the oldest gives way.
const transactionsPerAgent = 64

// transactions remembers which agent sent which binding request to whom.
type transactions struct {
	mu sync.Mutex
	m  map[transactionID]transaction
}

type transaction struct {
	agent *agent
	to    netip.AddrPort
}

// transactionRing is the memory of one agent, guarded by transactions.mu.
type transactionRing struct {
	ids    [transactionsPerAgent]transactionID
	next   int
	closed bool
}

func (x *transactions) begin(id transactionID, a *agent, to netip.AddrPort) {
	x.mu.Lock()
	defer x.mu.Unlock()
	ring := &a.sent
	if ring.closed {
		return
	}
	if old := ring.ids[ring.next]; x.m[old].agent == a {
		delete(x.m, old)
	}
	ring.ids[ring.next] = id
	ring.next = (ring.next + 1) % len(ring.ids)
	x.m[id] = transaction{a, to}
}

// finish returns the agent that waits for this answer, or nil. RFC 8445
// §7.2.5.2.1: the answer must come from where the request went.
func (x *transactions) finish(id transactionID, from netip.AddrPort) *agent {
	x.mu.Lock()
	defer x.mu.Unlock()
	t := x.m[id]
	if t.agent == nil || t.to != from {
		return nil
	}
	delete(x.m, id)
	return t.agent
}

func (x *transactions) forget(a *agent) {
	x.mu.Lock()
	defer x.mu.Unlock()
	a.sent.closed = true
	for _, id := range a.sent.ids {
		if x.m[id].agent == a {
			delete(x.m, id)
		}
	}
}
