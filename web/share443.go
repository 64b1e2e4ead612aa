package web

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"

	"confab/internal/guard"
)

// ALPN names that share the HTTPS port (RFC 7443, XEP-0368).
const (
	alpnTURN      = "stun.turn"
	alpnDiscovery = "stun.nat-discovery"
	alpnXMPP      = "xmpp-client"
)

// share owns one TLS port: it does the handshake and sorts connections by the name that
// was asked for, by ALPN, or by their first byte when the client named no protocol
// (architecture.md §9.1).
type share struct {
	ln        net.Listener // already counted by limitListener
	tls       *tls.Config
	timeout   time.Duration
	log       *slog.Logger
	handshake chan struct{} // one slot per handshake under way
	perAddr   *connCount    // so that one address can't take them all

	http *connQueue
	turn *connQueue              // nil: nobody takes TURN
	name func(string) bool       // which names always mean TURN
	wrap func(net.Conn) net.Conn // of who takes TURN; may be nil
	xmpp *connQueue              // nil: nobody takes XMPP

	guard *guard.Guard
	wg    sync.WaitGroup
}

// run accepts until the listener is closed and waits for the handshakes under way.
func (s *share) run(ctx context.Context) error {
	defer s.wg.Wait()
	stop := context.AfterFunc(ctx, func() { s.ln.Close() })
	defer stop()
	for {
		c, err := s.ln.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				continue
			}
			// Out of descriptors or a connection gone before accept: both pass.
			s.log.Warn("accept", "err", err)
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				return nil
			}
			continue
		}
		addr := addrOf(c.RemoteAddr().String())
		if !s.perAddr.add(addr) {
			c.Close()
			continue
		}
		select {
		case s.handshake <- struct{}{}:
		default:
			s.perAddr.remove(addr)
			c.Close()
			continue
		}
		s.wg.Go(func() {
			defer func() {
				<-s.handshake
				s.perAddr.remove(addr)
			}()
			if !s.guard.Do(func() { s.sort(ctx, c) }) {
				c.Close()
			}
		})
	}
}

func (s *share) sort(ctx context.Context, raw net.Conn) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	// Covers the first byte as well as the handshake.
	raw.SetDeadline(time.Now().Add(s.timeout))
	if s.turn != nil && s.wrap != nil {
		raw = s.wrap(raw)
	}
	conn := tls.Server(raw, s.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		s.log.Debug("tls handshake", "remote", raw.RemoteAddr(), "err", err)
		raw.Close()
		return
	}
	q, out := s.http, net.Conn(conn)
	hello := conn.ConnectionState()
	switch p := hello.NegotiatedProtocol; {
	case p == acme.ALPNProto:
		// RFC 8737 §3: the handshake was the validation.
		conn.Close()
		return
	case p == alpnTURN, p == alpnDiscovery, s.means(hello.ServerName):
		q = s.turn
	case p == "h2", p == "http/1.1":
	case p == alpnXMPP:
		q = s.xmpp
	default:
		first := make([]byte, 1)
		if _, err := io.ReadFull(conn, first); err != nil {
			conn.Close()
			return
		}
		// RFC 8656 §12: STUN begins with two zero bits. A TURN client's first
		// message is always STUN, never ChannelData (0x40-0x4F, where the
		// letters of GET and HEAD lie as well).
		if s.turn != nil && first[0] < 0x04 {
			q = s.turn
		}
		out = &firstByteConn{Conn: conn, first: first}
	}
	raw.SetDeadline(time.Time{})
	if q == nil || !q.put(ctx, out) {
		conn.Close()
	}
}

// means reports whether whoever asks for a name wants TURN.
func (s *share) means(name string) bool {
	return s.turn != nil && s.name(strings.ToLower(strings.TrimSuffix(name, ".")))
}

// byName has a configuration speak no other protocol than TURN to those who ask for a name
// that means it. What else they offer by ALPN, such as a proxy's http/1.1, is not looked
// at: to refuse it would be to refuse them (RFC 7301 §3.2).
func (s *share) byName(certs *Certificates) {
	turn, bare := certs.TLSConfig(alpnTURN, alpnDiscovery, acme.ALPNProto), certs.TLSConfig()
	s.tls.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if !s.means(hello.ServerName) {
			return nil, nil
		}
		for _, p := range hello.SupportedProtos {
			if slices.Contains(turn.NextProtos, p) {
				return turn, nil
			}
		}
		return bare, nil
	}
}

// firstByteConn gives back the byte that was read to tell protocols apart.
type firstByteConn struct {
	*tls.Conn
	first []byte
}

func (c *firstByteConn) Read(p []byte) (int, error) {
	if len(c.first) > 0 && len(p) > 0 {
		n := copy(p, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// connQueue is the net.Listener handed to whoever takes a protocol.
type connQueue struct {
	addr net.Addr
	ch   chan net.Conn
	done chan struct{}
	once sync.Once
}

func newConnQueue(addr net.Addr) *connQueue {
	return &connQueue{addr: addr, ch: make(chan net.Conn), done: make(chan struct{})}
}

// put hands c to the next Accept; false when ctx or the queue ended first.
func (q *connQueue) put(ctx context.Context, c net.Conn) bool {
	select {
	case q.ch <- c:
		return true
	case <-q.done:
	case <-ctx.Done():
	}
	return false
}

func (q *connQueue) Accept() (net.Conn, error) {
	select {
	case <-q.done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-q.ch:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

func (q *connQueue) Close() error {
	q.once.Do(func() { close(q.done) })
	return nil
}

func (q *connQueue) Addr() net.Addr { return q.addr }
