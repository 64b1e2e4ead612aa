package relay

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"confab/extdisco/credential"

	"github.com/pion/turn/v5"
)

// clientOf is pion's client over UDP with an allocation.
func clientOf(t *testing.T, s *Server, c credential.Credential) (*turn.Client, error) {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := s.UDPAddrs()[0].String()
	client, err := turn.NewClient(&turn.ClientConfig{TURNServerAddr: server, STUNServerAddr: server, Conn: conn,
		Username: c.Username, Password: c.Password, LoggerFactory: quietLoggers{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); conn.Close() })
	relayed, err := client.Allocate()
	if err == nil {
		t.Cleanup(func() { relayed.Close() })
	}
	return client, err
}

// Who is no longer among the long-term users loses what is allocated with the next
// request, and so does one whose password changes: nothing else would ever end it.
func TestRemovedUserLosesItsAllocation(t *testing.T) {
	t.Parallel()
	peer := netip.MustParseAddrPort("127.0.0.1:9999")
	var ring credential.Keyring
	users := func(passwords ...string) {
		var list []credential.User
		for _, p := range passwords {
			list = append(list, credential.User{Name: "anna", Realm: "meet.example", Key: credential.Key("anna", "meet.example", p)})
		}
		ring.Set([]credential.Secret{{Value: "north"}}, list)
	}
	s := start(t, peer, func(c *Config) { c.Credentials = &ring })
	for what, after := range map[string][]string{"removed": nil, "another password": {"secret 2"}} {
		users("secret 1")
		client, err := clientOf(t, s, credential.Credential{Username: "anna", Password: "secret 1"})
		if err != nil {
			t.Fatal(err)
		}
		if err := client.CreatePermission(net.UDPAddrFromAddrPort(peer)); err != nil {
			t.Fatal(err)
		}
		users(after...)
		if err := client.CreatePermission(net.UDPAddrFromAddrPort(peer)); err == nil {
			t.Errorf("%s, and its requests are still answered", what)
		}
	}
}

// A time-limited credential opens allocations until it expires; what it has opened goes
// on for MaxSession, whatever becomes of its secret meanwhile.
func TestAllocationOutlivesItsCredential(t *testing.T) {
	t.Parallel()
	peer := netip.MustParseAddrPort("127.0.0.1:9999")
	var ring credential.Keyring
	ring.Set([]credential.Secret{{Value: "north"}}, nil)
	var ahead atomic.Int64
	began := time.Now()
	now := func() time.Time { return began.Add(time.Duration(ahead.Load())) }
	s := start(t, peer, func(c *Config) { c.Credentials, c.MaxSession, c.Now = &ring, 2*time.Minute, now }) // less than an allocation lives without a refresh
	c, err := ring.Mint(now(), time.Minute, "k3v9")
	if err != nil {
		t.Fatal(err)
	}
	client, err := clientOf(t, s, c)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		ahead      time.Duration
		live, anew bool
	}{{55 * time.Second, true, true}, {65 * time.Second, true, false}, {175 * time.Second, true, false}, {185 * time.Second, false, false}} {
		ahead.Store(int64(step.ahead))
		if step.ahead > time.Minute {
			ring.Set([]credential.Secret{{Value: "south"}}, nil)
		}
		if err := client.CreatePermission(net.UDPAddrFromAddrPort(peer)); (err == nil) != step.live {
			t.Errorf("after %v, a request for what is allocated: %v", step.ahead, err)
		}
		if _, err := clientOf(t, s, c); (err == nil) != step.anew {
			t.Errorf("after %v, another allocation: %v", step.ahead, err)
		}
	}
}
