package transport

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"confab/internal/datagram"
)

// foreigner notes what is passed to it.
type foreigner struct {
	got     chan foreignPacket
	flushed chan int
}

type foreignPacket struct {
	reader     int
	b          []byte
	src, local netip.AddrPort
}

func newForeigner() *foreigner {
	return &foreigner{make(chan foreignPacket, 64), make(chan int, 64)}
}

func (f *foreigner) Datagram(reader int, b []byte, src, local netip.AddrPort) {
	f.got <- foreignPacket{reader, bytes.Clone(b), src, local}
}

func (f *foreigner) Flush(reader int) { f.flushed <- reader }

// A TURN server on the media port gets what is its, and nothing that is ours; it
// answers from the same port.
func TestShareMediaPort(t *testing.T) {
	t.Parallel()
	s := listen(t, nil)
	f := newForeigner()
	s.SetForeign(f)
	tr, h, c := connect(t, s, nil)
	exchange(t, s, tr, h, c, 1)
	if n := len(f.got); n != 0 {
		t.Errorf("%d datagrams of a participant were passed on", n)
	}

	media, before := s.Locals()[0], s.Stats()
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(media))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	src := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	foreign := [][]byte{
		buildSTUN(t, stun.BindingRequest),
		buildSTUN(t, stun.BindingRequest, stun.NewUsername("nobody:x")),
		buildSTUN(t, stun.NewType(stun.MethodBinding, stun.ClassIndication)),
		buildSTUN(t, stun.NewType(stun.MethodAllocate, stun.ClassRequest)),
		buildSTUN(t, stun.NewType(stun.MethodRefresh, stun.ClassRequest), stun.NewUsername(tr.Local().Ufrag+":x")),
		buildSTUN(t, stun.NewType(stun.MethodSend, stun.ClassIndication)),
		append([]byte{0x40, 0, 0, 4}, "data"...),
		append([]byte{0x4F, 0xFF, 0, 4}, "data"...),
	}
	ours := [][]byte{
		buildSTUN(t, stun.BindingRequest, stun.NewUsername(tr.Local().Ufrag+":x")),
		buildSTUN(t, stun.BindingSuccess),
		buildSTUN(t, stun.NewType(stun.MethodAllocate, stun.ClassErrorResponse)),
		rtpPacket(1, 1, "a stranger's"), {22, 254, 253}, {0xC0, 0, 0, 0}, {0x3F}, {0, 1, 0, 0},
	}
	reader := -1
	for i, b := range foreign {
		for _, b := range [][]byte{ours[i], b} {
			if _, err := conn.Write(b); err != nil {
				t.Fatal(err)
			}
		}
		got := wait(t, f.got, "foreign datagram")
		if !bytes.Equal(got.b, b) || got.src != src || got.local != media {
			t.Errorf("datagram %d: %x from %v to %v", i, got.b, got.src, got.local)
		}
		if reader < 0 {
			reader = got.reader
		}
		if got.reader != reader || reader < 0 || reader >= s.Readers() {
			t.Errorf("datagram %d came by reader %d of %d, those before by %d", i, got.reader, s.Readers(), reader)
		}
		if by := wait(t, f.flushed, "flush"); by != reader {
			t.Errorf("flush of reader %d", by)
		}
	}
	if n := len(f.got); n != 0 {
		t.Errorf("%d datagrams too many were passed on", n)
	}
	after := s.Stats()
	if after.UnknownUfrag != before.UnknownUfrag || after.Unauthenticated-before.Unauthenticated != 1 ||
		after.Garbage-before.Garbage != 3 || after.Strangers-before.Strangers != 4 {
		t.Errorf("before %+v, after %+v", before, after)
	}

	outlets, err := s.Outlets(2)
	if err != nil || len(outlets) != len(s.Locals()) || len(outlets[media]) != 2 {
		t.Fatalf("%v %v", outlets, err)
	}
	out := outlets[media][1]
	w, to := datagram.NewWriter(2), datagram.NewDestination(src)
	w.Add([]byte("an "), []byte("answer"), to)
	if w.Flush(out) != 1 {
		t.Fatal("not sent")
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if n, err := conn.Read(buf); string(buf[:n]) != "an answer" || err != nil { // connected: from the media port
		t.Fatalf("%q, %v", buf[:n], err)
	}
	exchange(t, s, tr, h, c, 2)
}
