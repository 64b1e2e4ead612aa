package turn

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"

	"confab/internal/meettest"
	"confab/internal/netns"
)

// The network: the server's addresses, two of IPv4 for NAT discovery, and networks
// of which all addresses are local without being on an interface, so that they are
// none of the server's own.
const (
	server4, other4 = "203.0.113.1", "203.0.113.2"
	server6         = "2001:db8::1"
	outside4        = "198.51.100.0/24"
	client4, peer4  = "198.51.100.7", "198.51.100.9"
	other           = "198.51.100.8" // of the same client
	outside6        = "2001:db8:1::/64"
	client6, peer6  = "2001:db8:1::7", "2001:db8:1::9"
)

// unavailable says why there is no network to test in.
var unavailable error

// TestMain runs the tests in a network namespace.
func TestMain(m *testing.M) {
	unavailable = netns.Enter(
		"link set lo up",
		"addr add "+server4+"/32 dev lo",
		"addr add "+other4+"/32 dev lo",
		"route add local "+outside4+" dev lo",
		"-6 addr add "+server6+"/128 dev lo nodad",
		"-6 route add local "+outside6+" dev lo",
	)
	if unavailable == nil {
		// Of IPv4 a local route is enough to bind a socket there.
		if err := os.WriteFile("/proc/sys/net/ipv6/ip_nonlocal_bind", []byte("1"), 0); err != nil {
			unavailable = fmt.Errorf("%w: addresses of clients and peers: %w", netns.ErrNetwork, err)
		}
	}
	switch {
	case errors.Is(unavailable, netns.ErrNetwork):
		fmt.Fprintln(os.Stderr, "test/turn:", unavailable)
		os.Exit(1)
	case unavailable != nil:
		fmt.Fprintln(os.Stderr, "test/turn: skipped:", unavailable)
		os.Exit(m.Run())
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "12"); err != nil { // the tools mostly wait
		panic(err)
	}
	os.Exit(meettest.Main(m))
}
