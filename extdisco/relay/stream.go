package relay

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"confab/extdisco/stun"
	"confab/internal/datagram"
)

const (
	// firstBuffer is the longest message of a connection that has no allocation,
	// maxFrame the longest of all.
	firstBuffer = 4 << 10
	maxFrame    = stun.HeaderSize + 64<<10
	// recordSize is how much is written at a time: a TLS record.
	recordSize = 16 << 10
	// maxControl bounds the answers that a client does not read.
	maxControl = 64 << 10
	// writeTimeout is how long one write may take until the client is given up.
	writeTimeout = 30 * time.Second
)

// listener takes TCP, TLS or DTLS connections. It bounds what those that have shown
// no credential can hold: their number per address and in all, and their time.
type listener struct {
	net.Listener
	server *Server
	kind   string

	mu     sync.Mutex
	conns  map[*stream]struct{}
	perIP  map[netip.Addr]int
	closed bool
	open   sync.WaitGroup
}

func newListener(s *Server, ln net.Listener, kind string) *listener {
	return &listener{Listener: ln, server: s, kind: kind, conns: map[*stream]struct{}{}, perIP: map[netip.Addr]int{}}
}

func (l *listener) accept() {
	var said time.Time
	for delay := 5 * time.Millisecond; ; {
		conn, err := l.Accept()
		switch {
		case err == nil:
			delay = 5 * time.Millisecond
			l.take(conn)
		case errors.Is(err, net.ErrClosed) || l.isClosed():
			return
		default: // out of descriptors, for example
			if time.Since(said) >= summaryTime {
				said = time.Now()
				l.server.log.Warn("turn connections not accepted", "transport", l.kind, "err", err)
			}
			time.Sleep(delay)
			delay = min(2*delay, time.Second)
		}
	}
}

func (l *listener) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

func (l *listener) take(conn net.Conn) {
	if s := l.admit(conn); s == nil {
		l.server.counters.overBudget.Add(1)
		_ = conn.Close()
	} else {
		s.begin()
	}
}

// admit makes the stream of a connection, nil if there is no room for it. Whoever ends
// it calls open.Done.
func (l *listener) admit(conn net.Conn) *stream {
	cfg := &l.server.cfg
	remote := addrPort(conn.RemoteAddr())
	ip := site(remote.Addr())
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.conns) >= cfg.Conns || l.perIP[ip] >= cfg.ConnsPerAddress || !l.server.lobby.enter(ip) {
		return nil
	}
	s := &stream{listener: l, kind: l.kind, raw: conn, conn: conn, at: addrPort(conn.LocalAddr())}
	switch conn.(type) {
	case *net.TCPConn, *proxied:
		s.raw = Switch(conn)
		s.conn = s.raw
	}
	if s.wire = wireOf(s.conn); s.wire != nil {
		s.loop = l.server.anyLoop()
	} else {
		s.kick = make(chan struct{}, 1)
	}
	bound(conn)
	s.client = &client{leg: s, addr: remote}
	s.timer = time.AfterFunc(cfg.AuthTimeout, s.hangUp)
	l.conns[s] = struct{}{}
	l.perIP[ip]++
	l.open.Add(1)
	return s
}

func (l *listener) gone(s *stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !s.member.Load() {
		l.server.lobby.leave(s.client.addr.Addr())
	}
	delete(l.conns, s)
	decrement(l.perIP, site(s.client.addr.Addr()))
}

// close ends the listener and all its connections.
func (l *listener) close() error {
	l.mu.Lock()
	l.closed = true
	for s := range l.conns {
		s.hangUp()
	}
	l.mu.Unlock()
	err := l.Listener.Close()
	l.open.Wait()
	return err
}

func addrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		ap = a.AddrPort()
	case *net.UDPAddr:
		ap = a.AddrPort()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// stream is a connection. TCP connections belong to an event loop, which reads and
// writes them between datagrams (polled.go); of others, a goroutine reads and another
// writes.
type stream struct {
	listener *listener
	kind     string   // tcp, tls or dtls
	raw      net.Conn // as accepted
	conn     net.Conn // what carries messages
	at       netip.AddrPort
	client   *client
	timer    *time.Timer // ends it unless it has an allocation
	member   atomic.Bool // it has one
	peer     *peerConn   // RFC 6062: it carries the bytes of that

	loop *loop // nil: it has goroutines
	wire *wire // below conn
	polled

	kick    chan struct{}
	mu      sync.Mutex
	control []byte // answers
	media   []byte // frames of data, from start on
	start   int
	closed  bool
	writing
}

// begin has it served.
func (s *stream) begin() {
	switch {
	case s.loop == nil:
		go func() {
			defer s.listener.open.Done()
			s.run()
		}()
	case s.kind == "tcp":
		s.enter()
	default:
		go s.secure()
	}
}

// hangUp ends the connection: whoever serves it finds out.
func (s *stream) hangUp() {
	if s.loop == nil {
		_ = s.raw.Close()
		return
	}
	s.over.Store(true)
	s.wire.hangUp()
}

func (s *stream) network() string       { return s.kind }
func (s *stream) local() netip.AddrPort { return s.at }

func (s *stream) run() {
	defer s.end()
	if !s.recognize() {
		_ = s.conn.Close()
		return
	}
	var writing sync.WaitGroup
	writing.Go(func() { s.guard("writing", s.write) })
	var rest []byte
	s.guard("reading", func() { rest = s.read() })
	s.mu.Lock()
	s.closed = true
	close(s.kick)
	s.mu.Unlock()
	if s.peer != nil {
		writing.Wait() // the answer goes before
		s.guard("relaying", func() { s.pipe(rest) })
	}
	_ = s.conn.Close()
	writing.Wait()
}

// tlsRecord is the first byte of a TLS connection: a handshake record (RFC 8446 §5.1).
const tlsRecord = 22

// recognize looks at the first byte on the plain port: clients may speak TLS there as
// well, as with coturn.
func (s *stream) recognize() bool {
	config := s.listener.server.cfg.PlainTLS
	if s.kind != "tcp" || config == nil {
		return true
	}
	first := make([]byte, 1)
	if _, err := s.conn.Read(first); err != nil {
		return false
	}
	s.conn = &replayed{Conn: s.conn, first: first}
	if first[0] == tlsRecord {
		s.kind, s.conn = "tls", tls.Server(s.conn, config)
	}
	return true
}

// replayed is a connection of which something has been read already.
type replayed struct {
	net.Conn
	first []byte
}

func (r *replayed) Read(b []byte) (int, error) {
	if len(r.first) > 0 {
		n := copy(b, r.first)
		r.first = r.first[n:]
		return n, nil
	}
	return r.Conn.Read(b)
}

// guard runs a half of the connection. What makes it panic costs this connection.
func (s *stream) guard(half string, f func()) {
	defer func() {
		if err := recover(); err != nil {
			s.listener.server.panicked("connection "+half, err)
			_ = s.conn.Close()
		}
	}()
	f()
}

// end ends the allocation as well: nobody else can use it, unless it can move
// (RFC 8016).
func (s *stream) end() {
	defer s.timer.Stop() // it runs again when an allocation ends
	if a := s.client.held.Load(); a != nil {
		a.mu.Lock()
		if a.ticket == (ticket{}) && a.client.Load() == s.client {
			s.listener.server.end(a, "connection closed")
		}
		a.mu.Unlock()
	}
	s.listener.gone(s)
}

// authorized lets a connection that has an allocation live on; without one its time
// runs again.
func (s *stream) authorized(yes bool) {
	if s.member.Swap(yes) == yes {
		return
	}
	lobby, ip := s.listener.server.lobby, s.client.addr.Addr()
	if yes {
		s.timer.Stop()
		lobby.leave(ip)
	} else {
		lobby.comeBack(ip)
		s.timer.Reset(s.listener.server.cfg.AuthTimeout)
	}
}

// read takes messages until the connection ends, or becomes one with a peer's: then it
// returns what came behind.
func (s *stream) read() (rest []byte) {
	server := s.listener.server
	size := firstBuffer
	if s.kind == "dtls" {
		size = recordSize // what one read returns is one message
	}
	buf := make([]byte, size)
	have := 0
	for {
		n, err := s.conn.Read(buf[have:])
		if err != nil {
			return nil
		}
		have += n
		f := server.flights.Get().(*flight)
		f.now = server.clock()
		used, need := have, 0
		if s.kind == "dtls" {
			s.take(f, buf[:have])
		} else {
			used, need = s.frames(f, buf[:have])
		}
		f.flush()
		server.flights.Put(f)
		if used < 0 {
			server.counters.garbage.Add(1)
			return nil // on a stream there is no way to find the next message
		}
		if s.peer != nil {
			return buf[used:have]
		}
		have = copy(buf, buf[used:have])
		if need > len(buf) {
			buf = append(make([]byte, 0, need), buf[:have]...)[:need]
		} else if s.member.Load() && len(buf) < recordSize {
			buf = append(make([]byte, 0, recordSize), buf[:have]...)[:recordSize]
		}
	}
}

// frames takes the whole messages at the beginning of b. used is their length, or -1
// if there is none and can be none; need is that of the message that has begun.
func (s *stream) frames(f *flight, b []byte) (used, need int) {
	for len(b)-used >= 4 {
		size := stun.FrameSize(b[used:])
		if size == 0 || size > maxFrame || size > firstBuffer && !s.member.Load() {
			s.explain(b)
			return -1, 0
		}
		if len(b)-used < size {
			return used, size
		}
		s.take(f, b[used:used+size])
		used += size
		if s.peer != nil {
			break
		}
	}
	return used, 0
}

// explain tells somebody who has opened the port in a browser.
func (s *stream) explain(b []byte) {
	if s.kind == "tcp" && (bytes.HasPrefix(b, []byte("GET ")) || bytes.HasPrefix(b, []byte("HEAD"))) {
		answer := []byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		if s.loop != nil {
			_, _ = s.wire.fd.Load().Write(answer)
			return
		}
		_ = s.conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = s.conn.Write(answer)
	}
}

func (s *stream) take(f *flight, b []byte) {
	server := s.listener.server
	f.taken++
	if len(b) == 0 { // a record may be empty
		return
	}
	if b[0]>>6 == 1 {
		server.channelData(f, s.client, b)
		return
	}
	server.message(f, arrival{leg: s, from: s.client.addr, client: s.client, loop: s.loop}, b)
}

// send sends a message with the flight.
func (s *stream) send(f *flight, head, body []byte, _ *datagram.Destination) {
	if s.loop != nil {
		f.toStream(s, head, body)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue(head, body)
	if n := len(f.streams); n == 0 || f.streams[n-1] != s {
		f.streams = append(f.streams, s)
	}
}

// queue keeps a message until it can be written. Of media that a client does not read
// in time the oldest is dropped: late media is worth nothing, and nobody else waits for
// it. s.mu is held.
func (s *stream) queue(head, body []byte) {
	if s.closed {
		return
	}
	if head == nil && binary.BigEndian.Uint16(body) != stun.Data|stun.Indication {
		if len(s.control)+len(body) > maxControl {
			s.hangUp() // it asks and does not read
			return
		}
		s.control = append(s.control, body...)
	} else {
		s.makeRoom(len(head) + len(body) + 3)
		s.media = append(append(s.media, head...), body...)
		if s.kind != "dtls" {
			var zeros [3]byte // RFC 8656 §12.5
			s.media = append(s.media, zeros[:-(len(head)+len(body))&3]...)
		}
	}
}

func (s *stream) makeRoom(n int) {
	for len(s.media)-s.start+n > s.listener.server.cfg.Queue && s.start < len(s.media) {
		s.start += s.frame(s.media[s.start:])
		s.listener.server.counters.queueDrops.Add(1)
	}
	if s.start > len(s.media)/2 {
		s.media = s.media[:copy(s.media, s.media[s.start:])]
		s.start = 0
	}
}

// frame is the length of the queued message that b begins with.
func (s *stream) frame(b []byte) int {
	n := stun.FrameSize(b)
	if s.kind == "dtls" && b[0]>>6 == 1 { // not padded
		n = stun.ChannelHeaderSize + int(binary.BigEndian.Uint16(b[2:]))
	}
	return n
}

func (s *stream) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// write writes what is queued, answers first, then as many whole messages as fit a
// record.
func (s *stream) write() {
	out := make([]byte, 0, recordSize)
	for range s.kick {
		for {
			s.mu.Lock()
			out = s.next(out[:0])
			s.mu.Unlock()
			if len(out) == 0 {
				break
			}
			_ = s.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
			if !s.put(out) {
				s.hangUp()
				break
			}
		}
	}
}

// next moves what is to be written next from the queues to out. s.mu is held.
func (s *stream) next(out []byte) []byte {
	out = append(out, s.control...)
	s.control = s.control[:0]
	for s.start < len(s.media) {
		n := s.frame(s.media[s.start:])
		if len(out) > 0 && len(out)+n > recordSize {
			break
		}
		out = append(out, s.media[s.start:s.start+n]...)
		s.start += n
	}
	if s.start == len(s.media) {
		s.media, s.start = s.media[:0], 0
	}
	return out
}

func (s *stream) put(b []byte) bool {
	if s.kind == "tcp" {
		_, err := s.conn.Write(b)
		return err == nil
	}
	// A message to a record: over TLS, too, coturn's client takes what one read returns
	// for one message.
	for len(b) > 0 {
		n := s.frame(b)
		if _, err := s.conn.Write(b[:n]); err != nil {
			return false
		}
		b = b[n:]
	}
	return true
}
