package relay

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"testing"
	"time"

	"confab/extdisco/credential"
	"confab/extdisco/stun"
)

// header is a STUN or ChannelData header with a length that may be a lie.
func header(first, second byte, length uint16) []byte {
	b := []byte{first, second, byte(length >> 8), byte(length)}
	return append(append(b, 0x21, 0x12, 0xa4, 0x42), []byte("transaction!")...)
}

func dialTCP(t *testing.T, s *Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.listeners[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// Lengths that wrap round in 16-bit arithmetic must not make a message of no bytes.
func TestStreamEndsAtWhatIsNoMessage(t *testing.T) {
	t.Parallel()
	s := start(t, netip.AddrPort{}, func(c *Config) { c.AuthTimeout = time.Minute })
	for _, b := range [][]byte{
		header(0x00, 0x01, 0xffec), // 20 + 65,516 = 0
		header(0x40, 0x00, 0xfffc), // 4 + 65,532 = 0
		header(0x40, 0x00, 5000),   // longer than a stranger may send
		header(0x00, 0x01, 3),      // RFC 8489 §5: a multiple of four
		[]byte("GET / HTTP/1.1\r\n\r\n"),
		bytes.Repeat([]byte{0xff}, 64),
	} {
		conn := dialTCP(t, s)
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
		if answer, err := io.ReadAll(conn); err != nil && !isReset(err) || len(answer) > 0 != (b[0] == 'G') {
			t.Errorf("% x: %q, %v; the connection should have ended", b[:4], answer, err)
		}
	}
	if got := s.Stats().Garbage; got != 6 {
		t.Errorf("%d counted", got)
	}
}

func isReset(err error) bool {
	var oe *net.OpError
	return errors.As(err, &oe) && !oe.Timeout()
}

// Messages come in pieces and several at a time.
func TestStreamIsCutIntoMessages(t *testing.T) {
	t.Parallel()
	s := start(t, netip.AddrPort{}, nil)
	conn := dialTCP(t, s)
	binding := header(0x00, 0x01, 0)
	for _, b := range binding {
		if _, err := conn.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.Write(bytes.Repeat(binding, 2)); err != nil {
		t.Fatal(err)
	}
	answers := make([]byte, 3*32) // 20, XOR-MAPPED-ADDRESS
	if _, err := io.ReadFull(conn, answers); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if a := answers[32*i:]; a[0] != 1 || a[1] != 1 {
			t.Errorf("answer %d: % x", i, a[:4])
		}
	}
}

// A connection without an allocation ends, also when it had one before.
func TestConnectionOutlivesItsAllocationByAuthTimeoutOnly(t *testing.T) {
	t.Parallel()
	w := serve(t, func(c *Config) { c.AuthTimeout = time.Hour })
	c := w.login("tcp")
	var served *stream
	w.listeners[0].mu.Lock()
	for served = range w.listeners[0].conns {
	}
	w.listeners[0].mu.Unlock()
	c.allocate()
	if served.timer.Stop() {
		t.Error("the time of a connection that has an allocation runs")
	}
	c.ask(stun.Refresh, 0, lifetime(0))
	w.ended("deleted")
	if !served.timer.Reset(0) { // the hour is over
		t.Error("the time of a connection that has none any more does not run")
	}
	c.gone()
}

// With a rotated secret the credentials of the older one are still out.
func TestAllSecretsVerify(t *testing.T) {
	t.Parallel()
	s := start(t, netip.AddrPort{}, func(c *Config) { c.Credentials = secrets{"new", "north", "older"} })
	for _, network := range []string{"udp", "tcp"} {
		for _, secret := range []string{"new", "north", "older", "foreign"} {
			_, err := dialOf(t, s, network, credential.Secrets{secret}, time.Hour)
			if (err == nil) != (secret != "foreign") {
				t.Errorf("%s, secret %s: %v", network, secret, err)
			}
		}
	}
}

// The plain port takes TLS as well.
func TestTLSOnThePlainPort(t *testing.T) {
	t.Parallel()
	certificate := selfSigned(t)
	s := start(t, netip.AddrPort{}, func(c *Config) { c.PlainTLS = &tls.Config{Certificates: []tls.Certificate{certificate}} })
	conn := tls.Client(dialTCP(t, s), &tls.Config{InsecureSkipVerify: true})
	for range 2 {
		if _, err := conn.Write(header(0x00, 0x01, 0)); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 32)
		if _, err := io.ReadFull(conn, answer); err != nil || answer[0] != 1 || answer[1] != 1 {
			t.Fatalf("% x %v", answer, err)
		}
	}
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
