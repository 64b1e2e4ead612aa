package relay

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
)

func listenDTLS(t *testing.T, change func(*DTLSConfig)) *dtlsListener {
	t.Helper()
	cert := certificate(t)
	cfg := DTLSConfig{Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil },
		PendingPerAddress: 1000, Pending: 1000, Timeout: patience}
	if change != nil {
		change(&cfg)
	}
	ln, err := ListenDTLS(netip.AddrPortFrom(local4, 0), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln.(*dtlsListener)
}

func dialDTLS(t *testing.T, to net.Addr) net.Conn {
	t.Helper()
	conn, err := dtls.DialWithOptions("udp4", to.(*net.UDPAddr), dtls.WithInsecureSkipVerify(true), dtls.WithLoggerFactory(quietLoggers{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		t.Fatal(err)
	}
	return conn
}

// firstHello is the first message of a DTLS client: its ClientHello without a cookie.
func firstHello(t *testing.T) []byte {
	t.Helper()
	silent, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local4, 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	conn, err := dtls.DialWithOptions("udp4", silent.LocalAddr().(*net.UDPAddr), dtls.WithInsecureSkipVerify(true), dtls.WithLoggerFactory(quietLoggers{}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = conn.HandshakeContext(ctx)
	}()
	b := make([]byte, 2000)
	_ = silent.SetReadDeadline(time.Now().Add(patience))
	n, _, err := silent.ReadFromUDPAddrPort(b)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-done
	_ = conn.Close()
	return b[:n]
}

// Ten thousand clients that never return their cookie are kept for no longer than it takes
// others to come; who returns it gets in while they come.
func TestDTLSStrangers(t *testing.T) {
	const pending = 2 * maxStrangers
	ln := listenDTLS(t, func(c *DTLSConfig) { c.Pending = pending })
	first := firstHello(t)
	if h, ok := clientHello(first); !ok || h.sequence != 0 || len(h.cookie) != 0 {
		t.Fatalf("%+v, %v of % x", h, ok, clip(first))
	}
	goroutines := runtime.NumGoroutine()
	source := func(i int) netip.AddrPort {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 0x0b000000+uint32(i))
		return netip.AddrPortFrom(netip.AddrFrom4(a), 5000)
	}
	const flood = 3000
	for i := range flood { // as if they had come: this machine has not so many addresses
		if f := ln.flow(source(i), first); f != nil {
			_, _ = f.buffer.Write(first)
		}
	}
	ln.mu.Lock()
	flows, strangers := len(ln.flows), ln.strangers.Len()
	ln.mu.Unlock()
	if flows > maxStrangers || strangers > maxStrangers {
		t.Errorf("%d flows, %d strangers", flows, strangers)
	}
	if n := runtime.NumGoroutine() - goroutines; n > 6*pending {
		t.Errorf("%d goroutines more", n)
	}
	if ln.Refused() == 0 {
		t.Error("none counted")
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { // a trickle goes on
		defer close(done)
		for i := flood; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				if f := ln.flow(source(i), first); f != nil {
					_, _ = f.buffer.Write(first)
				}
			}
		}
	}()
	conn := dialDTLS(t, ln.Addr())
	close(stop)
	<-done
	got, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	if n, err := got.Read(b); err != nil || string(b[:n]) != "hello" {
		t.Fatalf("%q, %v", b[:n], err)
	}
	if addrPort(got.RemoteAddr()).Port() != addrPort(conn.LocalAddr()).Port() {
		t.Errorf("%s has come from %s", conn.LocalAddr(), got.RemoteAddr())
	}
}

// Only a whole first ClientHello begins anything.
func TestDTLSWhatBeginsNothing(t *testing.T) {
	t.Parallel()
	ln := listenDTLS(t, nil)
	first := firstHello(t)
	from := netip.MustParseAddrPort("192.0.2.1:5000")
	change := func(at int, to byte) []byte {
		b := bytes.Clone(first)
		b[at] = to
		return b
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "a part": first[:30], "data": change(0, 23), "TLS": change(1, 3), "encrypted": change(4, 1),
		"another message": change(13, 2), "the second": change(18, 1), "a later fragment": change(21, 1), "a long session": change(13+12+34, 255),
	} {
		if ln.flow(from, b) != nil {
			t.Errorf("%s: something is kept", name)
		}
	}
	if ln.lobby.size() != 0 {
		t.Error("something is counted")
	}
}

// Handshakes of one address, and in all.
func TestDTLSPending(t *testing.T) {
	t.Parallel()
	ln := listenDTLS(t, func(c *DTLSConfig) { c.PendingPerAddress, c.Pending = 2, 3 })
	first := firstHello(t)
	take := func(ap string) bool { return ln.flow(netip.MustParseAddrPort(ap), first) != nil }
	if !take("192.0.2.1:1000") || !take("192.0.2.1:1001") || take("192.0.2.1:1002") || !take("192.0.2.2:1000") || take("192.0.2.3:1000") {
		t.Error("other bounds than 2 and 3")
	}
	if !take("192.0.2.1:1000") {
		t.Error("one that is there is not known")
	}
	if ln.Refused() != 2 {
		t.Errorf("%d refused", ln.Refused())
	}
}

func FuzzDTLSHello(f *testing.F) {
	hello := append([]byte{22, 254, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 60, 1, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0, 48, 254, 253}, make([]byte, 60)...)
	f.Add(hello)
	hello = bytes.Clone(hello)
	hello[13] = 3
	f.Add(hello)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := clientHello(b)
		if ok && len(h.cookie) > 255 {
			t.Errorf("a cookie of %d bytes", len(h.cookie))
		}
		if cookie, ok := helloVerify(b); ok && !bytes.Contains(b, cookie) {
			t.Error("a cookie from nowhere")
		}
	})
}

// Whoever can put a client's address on a packet does not end its connection by an alert
// in clear.
func TestForgedDTLSAlert(t *testing.T) {
	t.Parallel()
	ln := listenDTLS(t, nil)
	socket, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local4, 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	client, err := dtls.ClientWithOptions(socket, ln.Addr(), dtls.WithInsecureSkipVerify(true), dtls.WithLoggerFactory(quietLoggers{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := client.HandshakeContext(ctx); err != nil {
		t.Fatal(err)
	}
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	for _, forged := range [][]byte{
		{21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 7, 0, 2, 2, 40}, // fatal: handshake_failure
		{21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 8, 0, 2, 1, 0},  // close_notify
		{20, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 7},
	} {
		if _, err := socket.WriteTo(forged, ln.Addr()); err != nil {
			t.Fatal(err)
		}
		for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
			b := make([]byte, 100)
			_ = way[1].SetReadDeadline(time.Now().Add(patience))
			if _, err := way[0].Write([]byte("on it goes")); err != nil {
				t.Fatalf("%v: %v", forged, err)
			}
			if n, err := way[1].Read(b); err != nil || string(b[:n]) != "on it goes" {
				t.Fatalf("%v: %q, %v", forged, b[:n], err)
			}
		}
	}
}
