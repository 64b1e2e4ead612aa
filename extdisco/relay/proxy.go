package relay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

const (
	// proxyTime is how long a proxy may take to say for whom it has come.
	proxyTime = 5 * time.Second
	// maxProxyHeader is the longest of version 2 with what may be appended to the addresses:
	// certificates of clients, mostly.
	maxProxyHeader = 4 << 10
	// maxProxyLine is that of version 1.
	maxProxyLine = 107
	// maxProxied is how many connections of proxies may wait for their header.
	maxProxied = 1024
)

// proxySignature begins a header of version 2.
var proxySignature = []byte("\r\n\r\n\x00\r\nQUIT\n")

var errProxyHeader = errors.New("no PROXY header")

// ProxiedListener takes the connections of proxies in front for those of their clients:
// they begin with a header of the PROXY protocol, version 1 or 2, that names them
// (haproxy.org/download/3.0/doc/proxy-protocol.txt). That is believed of proxies that the
// configuration names, and of nobody else; and they must send one.
type ProxiedListener struct {
	net.Listener
	door    // for connections whose RemoteAddr is that of the client
	from    func(netip.Addr) bool
	running sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	waiting map[net.Conn]struct{}
}

// ListenProxied makes one. from says which addresses are proxies; it may change its mind.
func ListenProxied(ln net.Listener, from func(netip.Addr) bool) *ProxiedListener {
	l := &ProxiedListener{Listener: ln, from: from, door: newDoor(), waiting: map[net.Conn]struct{}{}}
	l.running.Go(l.take)
	return l
}

// Accept implements net.Listener.
func (l *ProxiedListener) Accept() (net.Conn, error) { return l.door.Accept() }

// Close implements net.Listener.
func (l *ProxiedListener) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return net.ErrClosed
	}
	l.closed = true
	close(l.done)
	for c := range l.waiting {
		_ = c.Close()
	}
	l.mu.Unlock()
	err := l.Listener.Close()
	l.running.Wait()
	return err
}

func (l *ProxiedListener) take() {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			if l.fail(err) {
				continue
			}
			return
		}
		if !l.from(addrPort(conn.RemoteAddr()).Addr()) {
			l.hand(conn)
			continue
		}
		if l.wait(conn) {
			l.running.Go(func() { l.read(conn) })
		} else {
			_ = conn.Close()
		}
	}
}

func (l *ProxiedListener) wait(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.waiting) >= maxProxied {
		return false
	}
	l.waiting[conn] = struct{}{}
	return true
}

// read reads the header.
func (l *ProxiedListener) read(conn net.Conn) {
	_ = conn.SetReadDeadline(time.Now().Add(proxyTime))
	remote, local, err := readProxyHeader(conn)
	l.mu.Lock()
	delete(l.waiting, conn)
	l.mu.Unlock()
	if err != nil {
		_ = conn.Close()
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	if !remote.IsValid() { // the proxy itself, to see whether we are there
		l.hand(conn)
		return
	}
	l.hand(&proxied{conn, net.TCPAddrFromAddrPort(remote), net.TCPAddrFromAddrPort(local)})
}

// proxied is a connection of a client that comes through a proxy.
type proxied struct {
	net.Conn
	remote, local net.Addr
}

// RemoteAddr is the client's address, LocalAddr what it has connected to.
func (c *proxied) RemoteAddr() net.Addr { return c.remote }

// LocalAddr is what the client has connected to.
func (c *proxied) LocalAddr() net.Addr { return c.local }

// NetConn is the proxy's connection.
func (c *proxied) NetConn() net.Conn { return c.Conn }

// readProxyHeader reads a header and nothing behind it. The addresses are invalid if it
// names none.
func readProxyHeader(r io.Reader) (remote, local netip.AddrPort, err error) {
	var head [16]byte
	if _, err = io.ReadFull(r, head[:8]); err != nil { // no header is shorter
		return remote, local, fmt.Errorf("read PROXY header: %w", err)
	}
	if !bytes.Equal(head[:8], proxySignature[:8]) {
		return readProxyLine(r, head[:8])
	}
	if _, err = io.ReadFull(r, head[8:]); err != nil {
		return remote, local, fmt.Errorf("read PROXY header: %w", err)
	}
	n := int(binary.BigEndian.Uint16(head[14:]))
	if !bytes.Equal(head[:12], proxySignature) || head[12]>>4 != 2 || n > maxProxyHeader {
		return remote, local, errProxyHeader
	}
	body := make([]byte, n)
	if _, err = io.ReadFull(r, body); err != nil {
		return remote, local, fmt.Errorf("read PROXY header: %w", err)
	}
	switch command := head[12] & 15; {
	case command == 0: // LOCAL
		return remote, local, nil
	case command != 1:
		return remote, local, errProxyHeader
	}
	switch {
	case head[13] == 0x11 && n >= 12: // TCP over IPv4
		remote = netip.AddrPortFrom(netip.AddrFrom4([4]byte(body)), binary.BigEndian.Uint16(body[8:]))
		local = netip.AddrPortFrom(netip.AddrFrom4([4]byte(body[4:])), binary.BigEndian.Uint16(body[10:]))
	case head[13] == 0x21 && n >= 36: // TCP over IPv6
		remote = netip.AddrPortFrom(netip.AddrFrom16([16]byte(body)).Unmap(), binary.BigEndian.Uint16(body[32:]))
		local = netip.AddrPortFrom(netip.AddrFrom16([16]byte(body[16:])).Unmap(), binary.BigEndian.Uint16(body[34:]))
	case head[13] == 0: // UNSPEC: the real addresses are to be used
	default:
		return remote, local, errProxyHeader
	}
	return remote, local, nil
}

// readProxyLine reads the rest of a header of version 1, byte by byte: what follows is
// the client's.
func readProxyLine(r io.Reader, line []byte) (remote, local netip.AddrPort, err error) {
	line = append(make([]byte, 0, maxProxyLine), line...)
	for !bytes.HasSuffix(line, []byte("\r\n")) {
		if len(line) == maxProxyLine || !bytes.HasPrefix(line, []byte("PROXY ")) {
			return remote, local, errProxyHeader
		}
		line = line[:len(line)+1]
		if _, err := io.ReadFull(r, line[len(line)-1:]); err != nil {
			return remote, local, fmt.Errorf("read PROXY header: %w", err)
		}
	}
	f := strings.Split(strings.TrimSuffix(string(line), "\r\n"), " ")
	if len(f) >= 2 && f[1] == "UNKNOWN" {
		return remote, local, nil
	}
	if len(f) != 6 || f[1] != "TCP4" && f[1] != "TCP6" {
		return remote, local, errProxyHeader
	}
	for i, ap := range []*netip.AddrPort{&remote, &local} {
		if *ap, err = netip.ParseAddrPort(net.JoinHostPort(f[2+i], f[4+i])); err != nil || ap.Addr().Zone() != "" || ap.Addr().Is4() != (f[1] == "TCP4") {
			return netip.AddrPort{}, netip.AddrPort{}, errProxyHeader
		}
	}
	return remote, local, nil
}
