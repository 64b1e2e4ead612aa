// Package freeport gives tests the numbers of ports for servers that must know theirs
// before they listen, so that no two get the same, in whatever process they are.
//
// A port that was free a moment ago is not enough: the system hands it to the next
// connection that asks for any, and another test finds it as free. So the ports lie below
// those that the system hands out (from 32768 on Linux, from 49152 elsewhere), and
// each pair has a key: the one that listens on the key's port of loopback has the pair. The
// system takes the key back from a process that has died.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

const (
	first = 20000           // the lowest port that is given
	pairs = 3000            // to 25999
	keys  = first + 2*pairs // to 28999; test/e2e takes those above
)

// Pair is a port that is free for TCP and UDP on all addresses until the test ends, as is
// the port behind it, which servers take for TLS.
func Pair(tb testing.TB) int {
	tb.Helper()
	start := rand.IntN(pairs)
	for i := range pairs {
		n := (start + i) % pairs
		key, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(keys+n)))
		if err != nil {
			continue
		}
		port := first + 2*n
		if errors.Join(free(port), free(port+1)) != nil { // some other program has it
			_ = key.Close()
			continue
		}
		tb.Cleanup(func() { _ = key.Close() })
		return port
	}
	tb.Fatal("no ports are free")
	return 0
}

// free reports whether somebody has a port, on any address.
func free(port int) error {
	for _, ip := range []string{"", "127.0.0.1"} { // some systems let one bind the one beside the other
		at := net.JoinHostPort(ip, strconv.Itoa(port))
		ln, err := net.Listen("tcp", at)
		if err != nil {
			return fmt.Errorf("tcp: %w", err)
		}
		_ = ln.Close()
		udp, err := net.ListenPacket("udp", at)
		if err != nil {
			return fmt.Errorf("udp: %w", err)
		}
		_ = udp.Close()
	}
	return nil
}
