package turn

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"confab/internal/meettest"
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

const inside = "CONFAB_TEST_TURN_INSIDE"

// unavailable says why there is no network to test in.
var unavailable error

// TestMain runs the tests in a network namespace: the program starts itself again.
func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" {
		if err := plumb(); err != nil {
			fmt.Fprintln(os.Stderr, "test/turn:", err)
			os.Exit(1)
		}
		flag.Parse()
		if err := flag.Set("test.parallel", "12"); err != nil { // the tools mostly wait
			panic(err)
		}
		os.Exit(meettest.Main(m))
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=yes")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 { // root of a namespace of users may do so as well
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		os.Exit(max(exit.ExitCode(), 1))
	}
	if err != nil {
		unavailable = fmt.Errorf("a network namespace: %w", err)
		fmt.Fprintln(os.Stderr, "test/turn: skipped:", unavailable)
		os.Exit(m.Run())
	}
	os.Exit(0)
}

// plumb makes the network.
func plumb() error {
	for _, line := range []string{
		"link set lo up",
		"addr add " + server4 + "/32 dev lo",
		"addr add " + other4 + "/32 dev lo",
		"route add local " + outside4 + " dev lo",
		"-6 addr add " + server6 + "/128 dev lo nodad",
		"-6 route add local " + outside6 + " dev lo",
	} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	// Of IPv4 a local route is enough to bind a socket there.
	if err := os.WriteFile("/proc/sys/net/ipv6/ip_nonlocal_bind", []byte("1"), 0); err != nil {
		return fmt.Errorf("addresses of clients and peers: %w", err)
	}
	return nil
}
