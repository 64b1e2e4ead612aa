package relay

import (
	"bufio"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// gatedListener bounds what connections that have shown no credential can hold:
// their number per address and in all, and their time.
type gatedListener struct {
	net.Listener
	perIP, total int
	authTimeout  time.Duration
	in           *intake

	mu         sync.Mutex
	conns      map[string]*gatedListenerConn // by remote address
	perIPCount map[netip.Addr]int
	closed     bool
	wg         sync.WaitGroup
}

func newGatedListener(ln net.Listener, perIP, total int, authTimeout time.Duration, in *intake) *gatedListener {
	return &gatedListener{Listener: ln, perIP: perIP, total: total, authTimeout: authTimeout, in: in,
		conns: map[string]*gatedListenerConn{}, perIPCount: map[netip.Addr]int{}}
}

// gatedListenerConn ends itself unless it gets an allocation in time. Its Read
// returns one whole message at a time, so that pion's own cutting, in which
// lengths near 65,536 wrap round and stand still, has nothing left to do.
type gatedListenerConn struct {
	net.Conn
	owner    *gatedListener
	ip       netip.Addr
	messages *bufio.Reader
	timer    *time.Timer
	once     sync.Once
}

// maxMessage is the longest message that pion handles (its InboundMTU is 1600).
const maxMessage = 1599

var errNoMessage = errors.New("neither STUN nor ChannelData")

// Read returns the next message that is let in. What can be none, or is too
// long, ends the connection: on a stream there is no way to find the next one.
func (c *gatedListenerConn) Read(p []byte) (int, error) {
	for {
		head, err := c.messages.Peek(4)
		if err != nil {
			return 0, err
		}
		n := int(binary.BigEndian.Uint16(head[2:]))
		switch head[0] >> 6 {
		case 0:
			if n%4 != 0 {
				n = maxMessage
			}
			n += 20
		case 1:
			n = 4 + (n+3)&^3 // RFC 8656 §12.5: padded on a stream
		default:
			n = maxMessage + 1
		}
		if n > min(maxMessage, len(p)) {
			c.owner.in.counters.garbage.Add(1)
			return 0, errNoMessage
		}
		b, err := c.messages.Peek(n)
		if err != nil {
			return 0, err
		}
		if !plausible(b) {
			c.owner.in.counters.garbage.Add(1)
			return 0, errNoMessage
		}
		in := c.owner.in.admit(b, c.ip)
		copy(p, b)
		if _, err := c.messages.Discard(n); err != nil {
			return 0, err
		}
		if in {
			return n, nil
		}
	}
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
		l.in.counters.overBudget.Add(1)
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
	c := &gatedListenerConn{Conn: conn, owner: l, ip: ip, messages: bufio.NewReaderSize(conn, maxMessage)}
	c.timer = time.AfterFunc(l.authTimeout, func() { _ = c.Close() })
	l.conns[conn.RemoteAddr().String()] = c
	l.perIPCount[ip]++
	l.wg.Add(1)
	return c
}

// authorized lets the connection of an allocation live on; when the allocation
// is gone its time runs again.
func (l *gatedListener) authorized(remote string, yes bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch c, ok := l.conns[remote]; {
	case !ok:
	case yes:
		c.timer.Stop()
	default:
		c.timer.Reset(l.authTimeout)
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
