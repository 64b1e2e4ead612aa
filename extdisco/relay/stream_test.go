package relay

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"confab/extdisco/credential"

	"github.com/pion/turn/v5"
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
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// Lengths that wrap round in pion's 16-bit arithmetic make a message of no bytes,
// which it would read for ever.
func TestStreamEndsAtWhatIsNoMessage(t *testing.T) {
	t.Parallel()
	s := start(t, netip.AddrPort{}, func(c *Config) { c.AuthTimeout = time.Minute })
	for _, b := range [][]byte{
		header(0x00, 0x01, 0xffec), // 20 + 65,516 = 0
		header(0x40, 0x00, 0xfffc), // 4 + 65,532 = 0
		header(0x40, 0x00, 1600),   // longer than pion takes
		header(0x00, 0x01, 3),      // RFC 8489 §5: a multiple of four
		[]byte("GET / HTTP/1.1\r\n\r\n"),
		bytes.Repeat([]byte{0xff}, 64),
	} {
		conn := dialTCP(t, s)
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 100)); !errors.Is(err, io.EOF) && !isReset(err) {
			t.Errorf("% x: %d bytes, %v; the connection should have ended", b[:4], n, err)
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
	answers := make([]byte, 3*40) // 20, XOR-MAPPED-ADDRESS, FINGERPRINT
	if _, err := io.ReadFull(conn, answers); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if a := answers[40*i:]; a[0] != 1 || a[1] != 1 {
			t.Errorf("answer %d: % x", i, a[:4])
		}
	}
}

// A connection without an allocation ends, also when it had one before.
func TestConnectionOutlivesItsAllocationByAuthTimeoutOnly(t *testing.T) {
	t.Parallel()
	s := start(t, netip.AddrPort{}, func(c *Config) { c.AuthTimeout = 300 * time.Millisecond })
	raw := dialTCP(t, s)
	cred, err := s.cfg.Secrets.Mint(time.Now(), time.Hour, "k3v9")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	c, err := turn.NewClient(&turn.ClientConfig{TURNServerAddr: raw.RemoteAddr().String(), Conn: &watched{STUNConn: turn.NewSTUNConn(raw), ended: ended},
		Username: cred.Username, Password: cred.Password, Realm: "meet.example", LoggerFactory: quietLoggers{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.Listen(); err != nil {
		t.Fatal(err)
	}
	relayed, err := c.Allocate()
	if err != nil {
		t.Fatal(err)
	}
	if err := relayed.Close(); err != nil { // a refresh with lifetime 0
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the connection is still there")
	}
}

// watched tells when reading ends.
type watched struct {
	*turn.STUNConn
	ended chan struct{}
}

func (w *watched) ReadFrom(p []byte) (int, net.Addr, error) {
	n, a, err := w.STUNConn.ReadFrom(p)
	if err != nil {
		close(w.ended)
	}
	return n, a, err
}

// With a rotated secret the credentials of the older one are still out.
func TestAllSecretsVerify(t *testing.T) {
	t.Parallel()
	s := start(t, netip.AddrPort{}, func(c *Config) { c.Secrets = credential.Secrets{"new", "north", "older"} })
	for _, network := range []string{"udp", "tcp"} {
		for _, secret := range []string{"new", "north", "older", "foreign"} {
			_, err := clientOf(t, s, network, credential.Secrets{secret}, time.Hour)
			if (err == nil) != (secret != "foreign") {
				t.Errorf("%s, secret %s: %v", network, secret, err)
			}
		}
	}
}

func TestKeyringIsBounded(t *testing.T) {
	t.Parallel()
	k := newKeyring(credential.Secrets{"new", "old"}, "meet.example")
	for i := range maxOlder {
		k.older[string(rune(i))] = 1
	}
	cred, err := credential.Secrets{"old"}.Mint(time.Now(), time.Hour, "x")
	if err != nil {
		t.Fatal(err)
	}
	k.learn(signed(t, cred, "meet.example"))
	if len(k.older) != 1 || !bytes.Equal(k.key(cred.Username), turn.GenerateAuthKey(cred.Username, "meet.example", cred.Password)) {
		t.Fatalf("%d names", len(k.older))
	}
}

// The TCP port of a client's UDP port number has bounds of its own, and its end
// does not lift those of the other.
func TestPeersAreCountedByTransport(t *testing.T) {
	t.Parallel()
	s := start(t, netip.AddrPort{}, func(c *Config) { c.PeersPerAllocation = 1 })
	udp, tcp := &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 5000}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 5000}
	a, b := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("192.0.2.8")
	for _, src := range []net.Addr{udp, tcp} {
		s.created(src, nil, "", "k3v9", "", udp, 0)
	}
	s.permitted(udp, net.IP(a.AsSlice()), true)
	s.deleted(tcp, nil, "", "k3v9", "")
	if !s.room(udp, a) || s.room(udp, b) || s.room(tcp, a) {
		t.Error("the bounds are not those of the UDP port")
	}
	s.permitted(udp, net.IP(a.AsSlice()), false)
	if !s.room(udp, b) {
		t.Error("a permission that ran out still counts")
	}
	s.deleted(udp, nil, "", "k3v9", "")
	if len(s.live) != 0 || s.total != 0 {
		t.Errorf("%v %d are left", s.live, s.total)
	}
}

func TestReservedPortStaysInTheRange(t *testing.T) {
	t.Parallel()
	s := start(t, netip.AddrPort{}, nil)
	if conn, _, err := s.sockets.AllocatePacketConn(turn.AllocateListenerConfig{Network: "udp4", RequestedPort: int(s.cfg.MinPort) - 1}); err == nil {
		_ = conn.Close()
		t.Fatal("a port outside of the range was opened")
	}
}

// bytesConn is a connection that delivers some bytes, at most three at a time.
type bytesConn struct {
	net.Conn
	rest []byte
}

func (c *bytesConn) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), 3)], c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *bytesConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

// Whatever a stream holds: pion gets whole messages that it can take, in order
// and without a byte invented, and the stream comes to an end.
func FuzzStream(f *testing.F) {
	f.Add(header(0x00, 0x01, 0))
	f.Add(header(0x00, 0x01, 0xffec))
	f.Add(append(header(0x40, 0x00, 13), header(0x00, 0x01, 0)...))
	f.Add(append(header(0x40, 0x00, 0xfffc), 1, 2, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := &intake{gate: newGate(0), keys: newKeyring(credential.Secrets{"new", "old"}, "meet.example"), counters: &counters{}}
		l := newGatedListener(nil, 1, 1, time.Minute, in)
		conn := l.admit(&bytesConn{rest: b}).(*gatedListenerConn)
		defer conn.timer.Stop()
		rest, buf := b, make([]byte, 1600)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			if n < 4 || n > maxMessage || n > len(rest) || !plausible(buf[:n]) || !bytes.Equal(buf[:n], rest[:n]) {
				t.Fatalf("%d bytes of %d: % x", n, len(rest), buf[:n])
			}
			rest = rest[n:]
		}
	})
}
