package relay

import (
	"encoding/binary"
	"hash/maphash"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

func now() time.Time { return time.Now() }

const (
	stunCookie      = 0x2112A442 // RFC 8489 §5
	bindingRequest  = 0x0001
	allocateRequest = 0x0003
)

// gate limits what a source can make the server answer before it has shown a
// credential. It is a fixed table: no memory grows with the number of spoofed
// sources (turn.md §8.2). Sources whose hashes collide share a budget.
type gate struct {
	seed    maphash.Seed
	perSec  uint32
	buckets [4096]atomic.Uint64 // window in the high half, count in the low
}

func newGate(perSec int) *gate {
	return &gate{seed: maphash.MakeSeed(), perSec: uint32(perSec)}
}

// admit counts one request of ip in the present second.
func (g *gate) admit(ip netip.Addr, t time.Time) bool {
	if g.perSec == 0 || ip.IsLoopback() {
		return true
	}
	if ip.Is6() { // a site has a /64
		p, _ := ip.Prefix(64)
		ip = p.Addr()
	}
	b := &g.buckets[maphash.Comparable(g.seed, ip)%uint64(len(g.buckets))]
	window := uint64(uint32(t.Unix())) << 32
	for {
		old := b.Load()
		next := old + 1
		if old&^0xffffffff != window {
			next = window | 1
		}
		if uint32(next) > g.perSec {
			return false
		}
		if b.CompareAndSwap(old, next) {
			return true
		}
	}
}

// gatedConn is the UDP listener that pion reads: it drops what is neither STUN
// nor ChannelData, and what is over a source's budget, before any state or answer.
type gatedConn struct {
	*net.UDPConn
	gate     *gate
	counters *counters
}

func (c *gatedConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, ap, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return n, nil, err
		}
		if !plausible(b[:n]) {
			c.counters.garbage.Add(1)
			continue
		}
		ap = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
		if b[0]&0xc0 == 0 {
			switch binary.BigEndian.Uint16(b) {
			case bindingRequest, allocateRequest:
				if !c.gate.admit(ap.Addr(), now()) {
					c.counters.overBudget.Add(1)
					continue
				}
			}
		}
		return n, net.UDPAddrFromAddrPort(ap), nil
	}
}

// plausible reports whether b can be STUN with a cookie and a true length
// (RFC 8489 §5; RFC 3489 clients are gone) or ChannelData (RFC 8656 §12.4).
func plausible(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	length := int(binary.BigEndian.Uint16(b[2:]))
	switch b[0] >> 6 {
	case 0:
		return len(b) >= 20 && length%4 == 0 && len(b) == 20+length && binary.BigEndian.Uint32(b[4:]) == stunCookie
	case 1:
		return len(b) >= 4+length
	}
	return false
}

// gatedListener bounds what connections that have shown no credential can hold:
// their number per address and in all, and their time.
type gatedListener struct {
	net.Listener
	perIP, total int
	authTimeout  time.Duration
	counters     *counters

	mu         sync.Mutex
	conns      map[string]*gatedListenerConn // by remote address
	perIPCount map[netip.Addr]int
	closed     bool
	wg         sync.WaitGroup
}

func newGatedListener(ln net.Listener, perIP, total int, authTimeout time.Duration, c *counters) *gatedListener {
	return &gatedListener{Listener: ln, perIP: perIP, total: total, authTimeout: authTimeout, counters: c,
		conns: map[string]*gatedListenerConn{}, perIPCount: map[netip.Addr]int{}}
}

// gatedListenerConn ends itself unless it gets an allocation in time.
type gatedListenerConn struct {
	net.Conn
	owner *gatedListener
	ip    netip.Addr
	timer *time.Timer
	once  sync.Once
}

func (l *gatedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.admit(conn); c != nil {
			return c, nil
		}
		l.counters.overBudget.Add(1)
		_ = conn.Close()
	}
}

func (l *gatedListener) admit(conn net.Conn) net.Conn {
	var ip netip.Addr
	if ta, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		ip = ta.AddrPort().Addr().Unmap()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.conns) >= l.total || l.perIPCount[ip] >= l.perIP {
		return nil
	}
	c := &gatedListenerConn{Conn: conn, owner: l, ip: ip}
	c.timer = time.AfterFunc(l.authTimeout, func() { _ = c.Close() })
	l.conns[conn.RemoteAddr().String()] = c
	l.perIPCount[ip]++
	l.wg.Add(1)
	return c
}

// authenticated lets the connection of an allocation live on.
func (l *gatedListener) authenticated(remote string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c, ok := l.conns[remote]; ok {
		c.timer.Stop()
	}
}

func (c *gatedListenerConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		c.timer.Stop()
		c.owner.mu.Lock()
		delete(c.owner.conns, c.RemoteAddr().String())
		if c.owner.perIPCount[c.ip]--; c.owner.perIPCount[c.ip] <= 0 {
			delete(c.owner.perIPCount, c.ip)
		}
		c.owner.mu.Unlock()
		c.owner.wg.Done()
	})
	return err
}

// Close ends the listener and all its connections.
func (l *gatedListener) Close() error {
	err := l.Listener.Close()
	l.mu.Lock()
	l.closed = true
	conns := make([]*gatedListenerConn, 0, len(l.conns))
	for _, c := range l.conns {
		conns = append(conns, c)
	}
	l.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
	l.wg.Wait()
	return err
}
