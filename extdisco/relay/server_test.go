package relay

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"confab/extdisco/credential"
	"confab/internal/netns"

	"github.com/pion/logging"
	"github.com/pion/turn/v5"
	"go.uber.org/goleak"
)

// TestMain gives the tests a network of their own where this machine has nothing but
// loopback, to which TCP is never relayed.
func TestMain(m *testing.M) {
	if _, ok := beyondLoopback(); !ok {
		if err := netns.Enter("link set lo up", "addr add 198.51.100.1/32 dev lo"); err != nil {
			fmt.Fprintln(os.Stderr, "the tests of RFC 6062 are skipped:", err)
		}
	}
	goleak.VerifyTestMain(m)
}

// secrets are the credentials of shared secrets.
type secrets credential.Secrets

func (s secrets) Lookup(username, realm string, now time.Time) (credential.Identity, bool) {
	var ring credential.Keyring
	list := make([]credential.Secret, len(s))
	for i, value := range s {
		list[i].Value = value
	}
	ring.Set(list, nil)
	return ring.Lookup(username, realm, now)
}

// keyOf is what somebody who knows the secret signs with.
func keyOf(secret, username, realm string) []byte {
	id, _ := secrets{secret}.Lookup(username, realm, time.Time{})
	return id.Keys[0]
}

// quietLoggers keeps pion's client quiet.
type quietLoggers struct{}

func (quietLoggers) NewLogger(string) logging.LeveledLogger {
	return logging.NewDefaultLeveledLoggerForScope("", logging.LogLevelDisabled, nil)
}

var loopback = netip.MustParseAddr("127.0.0.1")

// start runs a relay on ephemeral ports that may reach peer and nothing else.
func start(t *testing.T, peer netip.AddrPort, change func(*Config)) *Server {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Realm = "meet.example"
	cfg.Credentials = secrets{"north"}
	cfg.Loops = 2
	cfg.UDP = []netip.AddrPort{netip.AddrPortFrom(loopback, 0)}
	cfg.TCP = []netip.AddrPort{netip.AddrPortFrom(loopback, 0)}
	cfg.Relays = []Address{{Bind: loopback, Public: loopback}}
	cfg.Peers.Announced = func(ap netip.AddrPort) bool {
		return ap.Addr() == peer.Addr() && (ap.Port() == 0 || ap.Port() == peer.Port())
	}
	if change != nil {
		change(&cfg)
	}
	s, err := Listen(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// dial allocates; network is udp or tcp.
func dial(t *testing.T, s *Server, network string, ttl time.Duration) (net.PacketConn, error) {
	t.Helper()
	return dialOf(t, s, network, credential.Secrets(s.cfg.Credentials.(secrets)), ttl)
}

// dialOf allocates with a credential of other secrets than the relay's.
func dialOf(t *testing.T, s *Server, network string, secrets credential.Secrets, ttl time.Duration) (net.PacketConn, error) {
	t.Helper()
	var conn net.PacketConn
	server := s.UDPAddrs()[0].String()
	if network == "tcp" {
		server = s.listeners[0].Addr().String()
		c, err := net.Dial("tcp", server)
		if err != nil {
			t.Fatal(err)
		}
		conn = turn.NewSTUNConn(c)
	} else {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		conn = c
	}
	cred, err := secrets.Mint(time.Now(), ttl, "k3v9")
	if err != nil {
		t.Fatal(err)
	}
	c, err := turn.NewClient(&turn.ClientConfig{STUNServerAddr: server, TURNServerAddr: server, Conn: conn,
		Username: cred.Username, Password: cred.Password, Realm: "meet.example", LoggerFactory: quietLoggers{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); _ = conn.Close() })
	if err := c.Listen(); err != nil {
		t.Fatal(err)
	}
	relayed, err := c.Allocate()
	if err == nil {
		t.Cleanup(func() { _ = relayed.Close() })
	}
	return relayed, err
}

// echo is a peer that sends back what it gets.
func echo(t *testing.T) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 2000)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = conn.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

func TestRelaysToAnAnnouncedPeer(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			peer := echo(t)
			s := start(t, peer, nil)
			relayed, err := dial(t, s, network, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			msg := bytes.Repeat([]byte("x"), 1200)
			if _, err := relayed.WriteTo(msg, net.UDPAddrFromAddrPort(peer)); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 2000)
			n, from, err := relayed.ReadFrom(buf)
			if err != nil || !bytes.Equal(buf[:n], msg) || from.String() != peer.String() {
				t.Fatalf("%d bytes from %v: %v", n, from, err)
			}
			if st := s.Stats(); st.Allocations != 1 || st.BytesToPeers < 1200 || st.BytesFromPeers != 1200 {
				t.Fatalf("%+v", st)
			}
		})
	}
}

// A permission names no port, so one for the bridge's address opens its port only.
func TestRefusesPortThatNobodyAnnounced(t *testing.T) {
	bridge, other := echo(t), echo(t)
	s := start(t, bridge, nil)
	relayed, err := dial(t, s, "udp", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []netip.AddrPort{other, bridge} {
		if _, err := relayed.WriteTo([]byte(to.String()), net.UDPAddrFromAddrPort(to)); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 100)
	n, from, err := relayed.ReadFrom(buf)
	if err != nil || string(buf[:n]) != bridge.String() || from.String() != bridge.String() {
		t.Fatalf("%q from %v: %v", buf[:n], from, err)
	}
	if got := s.Stats().RefusedPeer; got != 1 {
		t.Fatalf("%d packets refused", got)
	}
}

func TestRefusesPermissions(t *testing.T) {
	s := start(t, netip.AddrPort{}, nil)
	relayed, err := dial(t, s, "udp", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, ip := range []string{"169.254.169.254", "10.0.0.1", "0.0.0.0", "127.0.0.2"} {
		if _, err := relayed.WriteTo([]byte("x"), &net.UDPAddr{IP: net.ParseIP(ip), Port: 8080}); err == nil {
			t.Errorf("a permission for %s was granted", ip)
		}
	}
}

func TestTwoAllocationsReachEachOther(t *testing.T) {
	s := start(t, netip.MustParseAddrPort("198.51.100.1:1"), nil)
	a, err := dial(t, s, "udp", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	b, err := dial(t, s, "udp", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.WriteTo([]byte("open"), a.LocalAddr()); err != nil { // permits a
		t.Fatal(err)
	}
	if _, err := a.WriteTo([]byte("hello"), b.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if n, from, err := b.ReadFrom(buf); err != nil || string(buf[:n]) != "hello" || from.String() != a.LocalAddr().String() {
		t.Fatalf("%q from %v: %v", buf[:n], from, err)
	}
}

func TestCredentials(t *testing.T) {
	s := start(t, netip.AddrPort{}, nil)
	if _, err := dial(t, s, "udp", -time.Minute); err == nil {
		t.Fatal("an expired credential opened an allocation")
	}
	if _, err := dialOf(t, s, "udp", credential.Secrets{"forged"}, time.Hour); err == nil {
		t.Fatal("a credential of another secret opened an allocation")
	}
	if st := s.Stats(); st.BadCredential != 2 || st.Refused[401] != 4 {
		t.Fatalf("%+v", st)
	}
}

func TestQuota(t *testing.T) {
	s := start(t, netip.AddrPort{}, func(c *Config) { c.QuotaUser = 2 })
	for i := range 3 {
		_, err := dial(t, s, "udp", time.Hour)
		if (err == nil) != (i < 2) {
			t.Fatalf("allocation %d: %v", i, err)
		}
	}
	if s.Stats().OverQuota == 0 {
		t.Fatal("not counted")
	}
}

func TestGate(t *testing.T) {
	g := newGate(3, 0)
	at := time.Unix(1000, 0)
	ip := netip.MustParseAddr("8.8.8.8")
	for i := range 5 {
		if got := g.admit(ip, at); got != (i < 3) {
			t.Fatalf("request %d: %v", i, got)
		}
	}
	if !g.admit(ip, at.Add(time.Second)) {
		t.Fatal("a new second has a new budget")
	}
	if n := testing.AllocsPerRun(100, func() { g.admit(ip, at) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestGarbageIsDroppedUnanswered(t *testing.T) {
	s := start(t, netip.AddrPort{}, nil)
	conn, err := net.Dial("udp", s.UDPAddrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, b := range [][]byte{{0}, {0, 1, 0, 0}, bytes.Repeat([]byte{0xff}, 100), make([]byte, 20), append([]byte{0, 1, 0, 4, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...)} {
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	// A Binding request after them is answered, so they have been read.
	binding := append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, []byte("transaction!")...)
	if _, err := conn.Write(binding); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 200)
	n, err := conn.Read(buf)
	if err != nil || buf[0] != 1 || buf[1] != 1 || !bytes.Equal(buf[8:20], []byte("transaction!")) {
		t.Fatalf("%x %v", buf[:n], err)
	}
	if got := s.Stats().Garbage; got != 5 {
		t.Fatalf("%d dropped", got)
	}
}

// One allocation can't make the server remember peers without end.
func TestPeersOfOneAllocationAreBounded(t *testing.T) {
	s := start(t, echo(t), func(c *Config) {
		c.Permissions = 2
		c.Peers.Announced = func(netip.AddrPort) bool { return true }
	})
	relayed, err := dial(t, s, "udp", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	send := func(host string) error {
		_, err := relayed.WriteTo([]byte("x"), &net.UDPAddr{IP: net.ParseIP(host), Port: 9})
		return err
	}
	for _, c := range []struct {
		host string
		ok   bool
	}{{"127.0.0.2", true}, {"127.0.0.3", true}, {"127.0.0.4", false}, {"127.0.0.2", true}} {
		if err := send(c.host); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.host, err)
		}
	}
	if n := s.Stats().Refused[508]; n == 0 {
		t.Error("the refusal is not counted")
	}
}
