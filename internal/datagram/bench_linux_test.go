//go:build linux && !portable

package datagram

import "testing"

// BenchmarkSingles is the least that a relay pays for a packet whose neighbours belong
// to others: one system call through a socket of its own. What it sends nobody reads.
func BenchmarkSingles(b *testing.B) {
	const sockets = 500
	sink, err := Open(loopback, Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer sink.Close()
	var list [sockets]*Socket
	for i := range list {
		if list[i], err = Open(loopback, Options{Buffer: 1 << 20}); err != nil {
			b.Fatal(err)
		}
		defer list[i].Close()
	}
	w, to, packet := NewWriter(1), NewDestination(sink.Local()), make([]byte, 1200)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		w.Add(nil, packet, to)
		w.Flush(list[i%sockets])
	}
}
