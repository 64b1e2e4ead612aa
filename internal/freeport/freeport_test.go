package freeport

import (
	"net"
	"strconv"
	"sync"
	"testing"
)

// Many tests at once get ports of their own, which nobody has.
func TestPairsAreDistinct(t *testing.T) {
	t.Parallel()
	const tests = 50
	var mu sync.Mutex
	owner := map[int]int{}
	var all sync.WaitGroup
	for i := range tests {
		all.Go(func() {
			port := Pair(t)
			mu.Lock()
			defer mu.Unlock()
			if other, taken := owner[port]; taken {
				t.Errorf("%d goes to test %d and test %d", port, other, i)
			}
			owner[port] = i
			for _, p := range []int{port, port + 1} {
				if ln, err := net.Listen("tcp", ":"+strconv.Itoa(p)); err != nil {
					t.Error(err)
				} else {
					t.Cleanup(func() { _ = ln.Close() })
				}
			}
		})
	}
	all.Wait()
}

// Other processes see by the key that a pair is somebody's.
func TestPairHasKey(t *testing.T) {
	t.Parallel()
	key := keys + (Pair(t)-first)/2
	if ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(key))); err == nil {
		_ = ln.Close()
		t.Error("somebody else could have the pair as well")
	}
}

// What another program has, on whatever address, is not given.
func TestTakenPortsAreSeen(t *testing.T) {
	t.Parallel()
	port := Pair(t)
	if err := free(port); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"127.0.0.1", ""} {
		udp, err := net.ListenPacket("udp", net.JoinHostPort(at, strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		if free(port) == nil {
			t.Errorf("UDP port of %q is taken, and is given", at)
		}
		_ = udp.Close()
		tcp, err := net.Listen("tcp", net.JoinHostPort(at, strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		if free(port) == nil {
			t.Errorf("TCP port of %q is taken, and is given", at)
		}
		_ = tcp.Close()
	}
}
