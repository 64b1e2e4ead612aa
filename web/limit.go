package web

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limitListener counts open connections per address and closes those above the
// limit. Behind a trusted proxy every connection is the proxy's, so trusted
// proxies are exempt.
type limitListener struct {
	net.Listener
	conns *connCount
}

func (l *limitListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		addr := addrOf(c.RemoteAddr().String())
		if !l.conns.add(addr) {
			c.Close()
			continue
		}
		return &countedConn{Conn: c, release: sync.OnceFunc(func() { l.conns.remove(addr) })}, nil
	}
}

type countedConn struct {
	net.Conn
	release func()
}

// NetConn is what was accepted.
func (c *countedConn) NetConn() net.Conn { return c.Conn }

func (c *countedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// connCount is the number of open connections of each address.
type connCount struct {
	limit func(netip.Addr) int // 0: no limit

	mu     sync.Mutex
	byAddr map[netip.Addr]int
	total  int
}

func newConnCount(limit func(netip.Addr) int) *connCount {
	return &connCount{limit: limit, byAddr: make(map[netip.Addr]int)}
}

func (c *connCount) add(a netip.Addr) bool {
	limit := c.limit(a)
	a = subject(a)
	c.mu.Lock()
	defer c.mu.Unlock()
	if limit > 0 && c.byAddr[a] >= limit {
		return false
	}
	c.byAddr[a]++
	c.total++
	return true
}

func (c *connCount) remove(a netip.Addr) {
	a = subject(a)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byAddr[a]--; c.byAddr[a] <= 0 {
		delete(c.byAddr, a)
	}
	c.total--
}

func (c *connCount) open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total
}

// requestRate is the token bucket of each address for requests that cost more
// than a file. At most maxBuckets are kept; a full table is emptied, which only
// gives everybody a fresh burst.
type requestRate struct {
	mu      sync.Mutex
	buckets map[netip.Addr]*rate.Limiter
}

const maxBuckets = 65536

func (r *requestRate) allow(a netip.Addr, perSecond float64, burst int, now time.Time) bool {
	if perSecond <= 0 {
		return true
	}
	a = subject(a)
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.buckets[a]
	if b == nil || b.Burst() != burst || b.Limit() != rate.Limit(perSecond) {
		if r.buckets == nil || len(r.buckets) >= maxBuckets {
			r.buckets = make(map[netip.Addr]*rate.Limiter)
		}
		b = rate.NewLimiter(rate.Limit(perSecond), burst)
		r.buckets[a] = b
	}
	return b.AllowN(now, 1)
}

// MayAsk counts a conference request of an address, by HTTP or on another way, and
// reports whether it may have another one.
func (s *Server) MayAsk(a netip.Addr) bool {
	st := s.state.Load()
	lim := &st.cfg.Limits
	return st.exempt(a) || s.requests.allow(a, lim.RequestsPerIP, lim.RequestsBurst, time.Now())
}

// subject is what a limit counts: an IPv4 address, or an IPv6 /64, all of which
// one subscriber usually has.
func subject(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if a.Is6() {
		p, err := a.WithZone("").Prefix(64)
		if err == nil {
			return p.Addr()
		}
	}
	return a
}

// addrOf is the address of a "host:port" or bare host; the zero Addr if it is neither.
func addrOf(hostport string) netip.Addr {
	if ap, err := netip.ParseAddrPort(hostport); err == nil {
		return ap.Addr().Unmap()
	}
	a, err := netip.ParseAddr(hostport)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap()
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	if !a.IsValid() {
		return false
	}
	a = a.Unmap().WithZone("")
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
