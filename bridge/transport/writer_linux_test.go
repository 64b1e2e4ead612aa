package transport

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A path that takes no runs, as one with a small MTU, gets its datagrams one by
// one; all others still get runs. Where the very first try fails, nobody does.
func TestWriterPathWithoutRuns(t *testing.T) {
	t.Parallel()
	l, err := openLocal(0, netip.MustParseAddrPort("127.0.0.1:0"), 1, 0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	o, err := l.openOutlet(0)
	if err != nil {
		t.Fatal(err)
	}
	defer o.close()
	sink, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	remote := sink.LocalAddr().(*net.UDPAddr).AddrPort()
	good := &path{local: l, remote: remote, dest: newDestination(remote)}
	narrow := &path{local: l, remote: remote, dest: newDestination(remote)}

	for _, test := range []struct {
		name  string
		to    []*path
		runs  []int // of each flush
		plain bool
	}{
		{"one narrow path", []*path{good, narrow, good, narrow}, []int{1, 4, 1, 4}, false},
		{"no segmentation at all", []*path{narrow, good}, []int{4, 4}, true},
	} {
		narrow.single.Store(false)
		w := newWriter()
		send, tries := w.fn, 0
		w.fn = func(fd uintptr) bool {
			if h := &w.hdrs[w.first].hdr; h.Control != nil && h.Name == (*byte)(unsafe.Pointer(&narrow.dest.sa)) {
				tries++
				w.sent, w.errno = 0, unix.EIO
				return true
			}
			return send(fd)
		}
		for i, to := range test.to {
			for k := range byte(4) {
				w.add([]byte{byte(i), k}, to)
			}
			if n := w.flush(o); n != 4 {
				t.Errorf("%s: flush %d sent %d", test.name, i, n)
			}
			if runs := w.last; runs != test.runs[i] {
				t.Errorf("%s: flush %d sent %d runs", test.name, i, runs)
			}
		}
		if w.plain != test.plain || tries != 1 {
			t.Errorf("%s: segmentation given up: %v after %d tries", test.name, w.plain, tries)
		}
		buf := make([]byte, 10)
		_ = sink.SetReadDeadline(time.Now().Add(patience))
		for i := range test.to {
			for k := range byte(4) {
				if n, err := sink.Read(buf); n != 2 || err != nil || buf[0] != byte(i) || buf[1] != k {
					t.Fatalf("%s: datagram %d of flush %d is %x, %v", test.name, k, i, buf[:n], err)
				}
			}
		}
	}
}
