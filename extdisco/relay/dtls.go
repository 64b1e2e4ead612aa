package relay

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/logging"
	"github.com/pion/transport/v4/packetio"

	"confab/internal/cleartext"
)

const (
	// maxStrangers is how many DTLS clients may be about to return their cookie. One more
	// puts out the one that has taken longest: who has forged its address never returns
	// it, and whoever is there does so within a round trip (turn.md §7.11).
	maxStrangers = 256
	// cookieTime is how long that may take.
	cookieTime = 5 * time.Second
	// flowBuffer is what waits of a client to be read.
	flowBuffer = 256 << 10
	// maxDatagram is the longest that is read.
	maxDatagram = 64 << 10
)

// DTLSConfig is what TURN over DTLS takes.
type DTLSConfig struct {
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// PendingPerAddress and Pending bound the handshakes under way, Timeout their time.
	PendingPerAddress, Pending int
	Timeout                    time.Duration
}

// dtlsListener takes TURN over DTLS (RFC 8656 §3.1) at one UDP socket. Its connections
// have shaken hands. pion keeps a client from its first message on, with a cookie of its
// own in it, so how many there are before they have returned it is bounded here.
type dtlsListener struct {
	door    // for clients that have shaken hands
	cfg     DTLSConfig
	options []dtls.ServerOption
	socket  *net.UDPConn
	local   net.Addr
	opened  time.Time
	reading sync.WaitGroup
	shaking sync.WaitGroup
	lobby   *lobby
	refused atomic.Uint64

	mu        sync.Mutex
	closed    bool
	flows     map[netip.AddrPort]*flow
	strangers list.List // of *flow, the eldest first
}

// ListenDTLS opens a listener for TURN over DTLS.
func ListenDTLS(ap netip.AddrPort, cfg DTLSConfig) (net.Listener, error) {
	socket, err := net.ListenUDP(family("udp", ap), net.UDPAddrFromAddrPort(ap))
	if err != nil {
		return nil, fmt.Errorf("TURN over DTLS on %s: %w", ap, err)
	}
	l := &dtlsListener{cfg: cfg, socket: socket, local: socket.LocalAddr(), opened: time.Now(), door: newDoor(),
		lobby: newLobby(cfg.PendingPerAddress, cfg.Pending), flows: map[netip.AddrPort]*flow{}}
	l.options = []dtls.ServerOption{
		dtls.WithGetCertificate(func(hello *dtls.ClientHelloInfo) (*tls.Certificate, error) {
			return cfg.Certificate(&tls.ClientHelloInfo{ServerName: hello.ServerName,
				SupportedVersions: []uint16{tls.VersionTLS12}, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
				SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256, tls.PKCS1WithSHA256}})
		}),
		dtls.WithLoggerFactory(silence{}),
	}
	l.reading.Go(l.read)
	return l, nil
}

// Addr is where it listens.
func (l *dtlsListener) Addr() net.Addr { return l.local }

// Refused is how many handshakes found no room.
func (l *dtlsListener) Refused() uint64 { return l.refused.Load() }

// Close ends it; connections that were accepted should be closed before.
func (l *dtlsListener) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return net.ErrClosed
	}
	l.closed = true
	close(l.done)
	for _, f := range l.flows {
		_ = f.buffer.Close()
	}
	l.mu.Unlock()
	l.shaking.Wait()
	err := l.socket.Close()
	l.reading.Wait()
	return err
}

func (l *dtlsListener) read() {
	buf := make([]byte, maxDatagram)
	for {
		n, src, err := l.socket.ReadFromUDPAddrPort(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			continue // what ICMP says of a client that has gone
		}
		src = netip.AddrPortFrom(src.Addr().Unmap(), src.Port())
		if f := l.flow(src, buf[:n]); f != nil {
			if !f.clear.Drops(buf[:n], time.Since(l.opened).Nanoseconds()) {
				_, _ = f.buffer.Write(buf[:n]) // what is too much is lost
			}
		}
	}
}

// flow is the client that has sent b, which may be its first message.
func (l *dtlsListener) flow(src netip.AddrPort, b []byte) *flow {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.flows[src]; f != nil {
		if f.stranger != nil && f.returned(b) {
			l.known(f)
		}
		return f
	}
	if hello, ok := clientHello(b); !ok || hello.sequence != 0 || l.closed {
		return nil
	}
	if !l.lobby.enter(src.Addr()) {
		l.refused.Add(1)
		return nil
	}
	if l.strangers.Len() >= maxStrangers {
		l.refused.Add(1)
		eldest := l.strangers.Front().Value.(*flow)
		l.known(eldest)
		_ = eldest.buffer.Close()
		delete(l.flows, eldest.remote)
	}
	f := &flow{listener: l, remote: src, buffer: packetio.NewBuffer()}
	f.buffer.SetLimitSize(flowBuffer)
	f.stranger = l.strangers.PushBack(f)
	l.flows[src] = f
	l.shaking.Go(func() { l.shake(f) })
	return f
}

// known takes one off the list of strangers. l.mu is held.
func (l *dtlsListener) known(f *flow) {
	if f.stranger != nil {
		l.strangers.Remove(f.stranger)
		f.stranger = nil
	}
}

// shake shakes hands.
func (l *dtlsListener) shake(f *flow) {
	defer l.lobby.leave(f.remote.Addr())
	ctx, cancel := context.WithTimeout(context.Background(), l.cfg.Timeout)
	defer cancel()
	late := time.AfterFunc(cookieTime, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if f.stranger != nil {
			_ = f.buffer.Close()
		}
	})
	defer late.Stop()
	conn, err := dtls.ServerWithOptions(f, net.UDPAddrFromAddrPort(f.remote), l.options...)
	if err != nil {
		_ = f.Close()
		return
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		_ = f.Close()
		return
	}
	f.clear.Shaken(max(time.Since(l.opened).Nanoseconds(), 1))
	l.hand(&shaken{conn, f})
}

// shaken is a connection whose client has the keys.
type shaken struct {
	net.Conn
	flow *flow
}

// Read implements net.Conn.
func (s *shaken) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if err == nil {
		s.flow.clear.Proved()
	}
	return n, err
}

// flow is the datagrams of one client, as pion wants them.
type flow struct {
	listener *dtlsListener
	remote   netip.AddrPort
	buffer   *packetio.Buffer
	clear    cleartext.Filter

	// Guarded by listener.mu, until it is nil.
	stranger *list.Element
	cookie   []byte // that the client was given
}

// returned reports whether b shows the cookie.
func (f *flow) returned(b []byte) bool {
	hello, ok := clientHello(b)
	return ok && len(f.cookie) > 0 && string(hello.cookie) == string(f.cookie)
}

// ReadFrom implements net.PacketConn.
func (f *flow) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := f.buffer.Read(b)
	return n, net.UDPAddrFromAddrPort(f.remote), err
}

// WriteTo implements net.PacketConn.
func (f *flow) WriteTo(b []byte, _ net.Addr) (int, error) {
	if cookie, ok := helloVerify(b); ok {
		f.listener.mu.Lock()
		f.cookie = append([]byte(nil), cookie...)
		f.listener.mu.Unlock()
	}
	return f.listener.socket.WriteToUDPAddrPort(b, f.remote)
}

// Close implements net.PacketConn.
func (f *flow) Close() error {
	l := f.listener
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known(f)
	if l.flows[f.remote] == f {
		delete(l.flows, f.remote)
	}
	return f.buffer.Close()
}

// LocalAddr implements net.PacketConn.
func (f *flow) LocalAddr() net.Addr { return f.listener.local }

// SetDeadline implements net.PacketConn.
func (f *flow) SetDeadline(t time.Time) error { return f.buffer.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (f *flow) SetReadDeadline(t time.Time) error { return f.buffer.SetReadDeadline(t) }

// SetWriteDeadline implements net.PacketConn: nothing waits for a UDP socket long.
func (f *flow) SetWriteDeadline(time.Time) error { return nil }

var _ net.PacketConn = (*flow)(nil)

// hello is what matters here of a ClientHello.
type hello struct {
	sequence uint16 // message_seq
	cookie   []byte
}

const (
	recordHandshake      = 22 // RFC 5246 §6.2.1
	messageClientHello   = 1  // RFC 6347 §4.3.2
	messageHelloVerify   = 3
	recordHeader         = 13 // RFC 6347 §4.1
	handshakeHeader      = 12 // RFC 6347 §4.2.2
	helloVersion, random = 2, 32
)

// firstFragment is the body of a handshake message of a kind that a datagram begins with,
// or of its first fragment.
func firstFragment(b []byte, kind byte) (body []byte, sequence uint16, ok bool) {
	if len(b) < recordHeader+handshakeHeader || b[0] != recordHandshake || b[1] != 254 || b[3] != 0 || b[4] != 0 {
		return nil, 0, false // not of DTLS 1.x, or encrypted
	}
	m := b[recordHeader:]
	if m[0] != kind || m[6]|m[7]|m[8] != 0 {
		return nil, 0, false
	}
	return m[handshakeHeader:], uint16(m[4])<<8 | uint16(m[5]), true
}

// clientHello reads RFC 6347 §4.2.1's.
func clientHello(b []byte) (h hello, ok bool) {
	body, sequence, ok := firstFragment(b, messageClientHello)
	if !ok || len(body) < helloVersion+random+1 {
		return h, false
	}
	body = body[helloVersion+random:]
	if n := 1 + int(body[0]); len(body) > n { // session_id
		body = body[n:]
	} else {
		return h, false
	}
	n := 1 + int(body[0])
	if len(body) < n {
		return h, false
	}
	return hello{sequence, body[1:n]}, true
}

// helloVerify is the cookie of a HelloVerifyRequest.
func helloVerify(b []byte) ([]byte, bool) {
	body, _, ok := firstFragment(b, messageHelloVerify)
	if !ok || len(body) < helloVersion+1 || len(body) < helloVersion+1+int(body[helloVersion]) {
		return nil, false
	}
	return body[helloVersion+1:][:body[helloVersion]], true
}

// silence keeps the library's log out: it speaks at the rate of what strangers send.
type silence struct{}

func (silence) NewLogger(string) logging.LeveledLogger {
	return logging.NewDefaultLeveledLoggerForScope("", logging.LogLevelDisabled, nil)
}
