package datagram

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"
)

// patience bounds every wait of the tests.
const patience = 30 * time.Second

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

func open(t testing.TB, addr netip.AddrPort, o Options) *Socket {
	t.Helper()
	s, err := Open(addr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// peer is a socket of package net that the tests talk to.
func peer(t testing.TB, addr netip.AddrPort) (*net.UDPConn, netip.AddrPort) {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr.Addr(), 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c, c.LocalAddr().(*net.UDPAddr).AddrPort()
}

func poller(t testing.TB, sockets ...*Socket) *Poller {
	t.Helper()
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, s := range sockets {
		if err := p.Add(s, s); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func newTestReader(t testing.TB, slots, size int) *Reader {
	r := NewReader(slots, size)
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// readable waits until the poller has sockets to read.
func readable(t testing.TB, p *Poller) []any {
	t.Helper()
	for began := time.Now(); time.Since(began) < patience; {
		ready, err := p.Wait(1000, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(ready) > 0 {
			return ready
		}
	}
	t.Fatal("nothing to read")
	return nil
}

// fill reads s until n slots of r hold something.
func fill(t testing.TB, p *Poller, r *Reader, s *Socket, n int) {
	t.Helper()
	for got := 0; got < n; {
		if ready := readable(t, p); !slices.Contains(ready, any(s)) {
			t.Fatalf("%v is ready in place of %v", ready, s.Local())
		}
		from, to := r.Read(s, 64)
		got += to - from
	}
}

func send(t testing.TB, c *net.UDPConn, to *Socket, b string) {
	t.Helper()
	if _, err := c.WriteToUDPAddrPort([]byte(b), to.Local()); err != nil {
		t.Fatal(err)
	}
}

// A datagram comes in and is echoed, with a head before it.
func TestEcho(t *testing.T) {
	t.Parallel()
	for _, addr := range []netip.AddrPort{loopback, netip.MustParseAddrPort("[::1]:0")} {
		t.Run(addr.Addr().String(), func(t *testing.T) {
			t.Parallel()
			if c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr)); err != nil {
				t.Skip(err)
			} else {
				_ = c.Close()
			}
			s := open(t, addr, Options{Buffer: 1 << 16})
			if s.Local().Addr() != addr.Addr() || s.Local().Port() == 0 {
				t.Errorf("local address %v", s.Local())
			}
			c, from := peer(t, addr)
			p, r, w := poller(t, s), newTestReader(t, 4, 100), NewWriter(4)
			send(t, c, s, "hello")
			fill(t, p, r, s, 1)
			b, src, segment := r.Datagram(0)
			if string(b) != "hello" || src != from || segment != 0 {
				t.Fatalf("%q from %v, segment %d", b, src, segment)
			}
			to := NewDestination(src)
			if to.Addr() != from {
				t.Errorf("destination %v", to.Addr())
			}
			w.Add([]byte("> "), b, to)
			if n := w.Flush(s); n != 1 {
				t.Fatalf("sent %d", n)
			}
			buf := make([]byte, 100)
			n, src, err := c.ReadFromUDPAddrPort(buf)
			if string(buf[:n]) != "> hello" || src != s.Local() || err != nil {
				t.Fatalf("%q from %v, %v", buf[:n], src, err)
			}
			if err := s.Send([]byte("now and then"), from); err != nil {
				t.Fatal(err)
			}
			if n, err := c.Read(buf); string(buf[:n]) != "now and then" || err != nil {
				t.Fatalf("%q, %v", buf[:n], err)
			}
		})
	}
}

// Runs of equal and unequal datagrams, of one part or two, for two receivers arrive
// whole and in order.
func TestRuns(t *testing.T) {
	t.Parallel()
	s := open(t, loopback, Options{})
	w := NewWriter(64)
	sizes := []int{100, 100, 100, 40, 40, 100, 1400, 1, 1400, 0, 0, 7, 7, 7, 0, 3}
	var to []*Destination
	var sinks []*net.UDPConn
	for range 2 {
		c, addr := peer(t, loopback)
		sinks, to = append(sinks, c), append(to, NewDestination(addr))
	}
	content := func(i int) []byte { return bytes.Repeat([]byte{byte(i + 1)}, sizes[i]) }
	for range 3 {
		for _, to := range to {
			buf := make([]byte, 0, 1<<13)
			for i := range sizes {
				at := len(buf)
				buf = append(buf, content(i)...)
				switch b := buf[at:]; i % 3 {
				case 0: // close behind the one before
					w.Add(nil, b, to)
				case 1: // in two parts that lie behind each other
					w.Add(b[:len(b)/4], b[len(b)/4:], to)
				case 2:
					w.Add(slices.Clone(b[:len(b)/4]), b[len(b)/4:], to)
				}
			}
		}
		if n := w.Len(); n != 2*len(sizes) {
			t.Errorf("%d wait", n)
		}
		if n := w.Flush(s); n != 2*len(sizes) || w.Len() != 0 {
			t.Errorf("sent %d, %d are left", n, w.Len())
		}
		buf := make([]byte, 2000)
		for _, c := range sinks {
			for i := range sizes {
				if n, err := c.Read(buf); err != nil || !bytes.Equal(buf[:n], content(i)) {
					t.Fatalf("datagram %d: %d bytes, %v", i, n, err)
				}
			}
		}
	}
	var sends, datagrams uint64
	for i, n := range w.Runs() {
		sends, datagrams = sends+n, datagrams+n<<i
	}
	if sends == 0 || datagrams < uint64(6*len(sizes)) {
		t.Errorf("%d sends, room for %d datagrams: %v", sends, datagrams, w.Runs())
	}
}

// A datagram that does not fit its buffer is told from the rest, and so is an empty
// one.
func TestTruncated(t *testing.T) {
	t.Parallel()
	s := open(t, loopback, Options{})
	c, from := peer(t, loopback)
	p, r := poller(t, s), newTestReader(t, 8, 16)
	for _, n := range []int{17, 16, 0, 3} {
		if _, err := c.WriteToUDPAddrPort(make([]byte, n), s.Local()); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, p, r, s, 4)
	for i, want := range []int{-1, 16, 0, 3} {
		b, src, _ := r.Datagram(i)
		if want < 0 && b != nil || want >= 0 && (b == nil || len(b) != want) || src != from {
			t.Errorf("datagram %d: %v from %v, want %d bytes", i, b, src, want)
		}
	}
}

// Slots fill up over several sockets, and are free after Reset.
func TestSlots(t *testing.T) {
	t.Parallel()
	a, b := open(t, loopback, Options{}), open(t, loopback, Options{})
	c, _ := peer(t, loopback)
	r := newTestReader(t, 3, 16)
	if from, to := r.Read(a, 64); from != to {
		t.Errorf("read %d to %d from an empty socket", from, to)
	}
	pa, pb := poller(t, a), poller(t, b)
	for i := range 4 {
		send(t, c, a, fmt.Sprint("a", i))
		send(t, c, b, fmt.Sprint("b", i))
	}
	readable(t, pa)
	if from, to := r.Read(a, 1); from != 0 || to != 1 {
		t.Errorf("read %d to %d", from, to)
	}
	readable(t, pb)
	if from, to := r.Read(b, 1); from != 1 || to != 2 {
		t.Errorf("read %d to %d", from, to)
	}
	readable(t, pa)
	if from, to := r.Read(a, 64); from != 2 || to != 3 || r.Free() != 0 {
		t.Errorf("read %d to %d, %d free", from, to, r.Free())
	}
	if from, to := r.Read(a, 64); from != to {
		t.Errorf("read %d to %d without a free slot", from, to)
	}
	for i, want := range []string{"a0", "b0", "a1"} {
		if b, _, _ := r.Datagram(i); string(b) != want {
			t.Errorf("slot %d holds %q", i, b)
		}
	}
	r.Reset()
	if r.Free() != 3 {
		t.Errorf("%d slots are free", r.Free())
	}
	fill(t, pb, r, b, 3)
	for i, want := range []string{"b1", "b2", "b3"} {
		if b, _, _ := r.Datagram(i); string(b) != want {
			t.Errorf("slot %d holds %q", i, b)
		}
	}
}

// What was not read is ready again; what was removed is not, and can be added anew
// with another value.
func TestPoller(t *testing.T) {
	t.Parallel()
	s, quiet := open(t, loopback, Options{}), open(t, loopback, Options{})
	c, _ := peer(t, loopback)
	p, r := poller(t, s, quiet), newTestReader(t, 4, 16)
	if err := p.Add(s, "again"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("added twice: %v", err)
	}
	if ready, err := p.Wait(0, []any{"stale"}); len(ready) != 0 || err != nil {
		t.Errorf("ready %v, %v", ready, err)
	}
	send(t, c, s, "one")
	for range 3 {
		if ready := readable(t, p); len(ready) != 1 || ready[0] != any(s) {
			t.Fatalf("ready %v", ready)
		}
	}
	p.Remove(s)
	p.Remove(s)
	if ready, err := p.Wait(0, nil); len(ready) != 0 || err != nil {
		t.Errorf("ready after Remove: %v, %v", ready, err)
	}
	if err := p.Add(s, "anew"); err != nil {
		t.Fatal(err)
	}
	if ready := readable(t, p); len(ready) != 1 || ready[0] != any("anew") {
		t.Fatalf("ready %v", ready)
	}
	if from, to := r.Read(s, 1); to-from != 1 {
		t.Errorf("read %d", to-from)
	}
	if ready, err := p.Wait(0, nil); len(ready) != 0 || err != nil {
		t.Errorf("ready after Read: %v, %v", ready, err)
	}
	_ = s.Close()
	p.Remove(s)
	if err := p.Add(s, s); err == nil {
		t.Error("a closed socket was added")
	}
}

// Wake ends a Wait, whichever of them comes first, and often; Close ends it for good.
func TestWake(t *testing.T) {
	t.Parallel()
	p := poller(t)
	for range 3 {
		p.Wake()
		p.Wake()
		if ready, err := p.Wait(-1, nil); len(ready) != 0 || err != nil {
			t.Fatal(ready, err)
		}
	}
	const wakes = 1000
	next, over := make(chan struct{}), make(chan error)
	go func() {
		for range wakes {
			if _, err := p.Wait(-1, nil); err != nil {
				over <- err
				return
			}
			next <- struct{}{}
		}
		for {
			if _, err := p.Wait(-1, nil); err != nil {
				over <- err
				return
			}
		}
	}()
	for i := range wakes {
		p.Wake()
		select {
		case <-next:
		case <-time.After(patience):
			t.Fatalf("wake %d was lost", i)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-over:
		if !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("Close did not end Wait")
	}
	p.Wake()
	p.Remove(nil)
	if _, err := p.Wait(-1, nil); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// Sockets come and go, and are closed, while another goroutine polls and reads them
// all.
func TestCloseDuringRead(t *testing.T) {
	t.Parallel()
	p := poller(t)
	var mu sync.Mutex
	live := map[*Socket]bool{}
	over := make(chan struct{})
	go func() {
		defer close(over)
		r := NewReader(8, 16)
		defer r.Close()
		var ready []any
		for {
			var err error
			if ready, err = p.Wait(-1, ready); err != nil {
				return
			}
			for _, v := range ready {
				from, to := r.Read(v.(*Socket), 8)
				for i := from; i < to; i++ {
					if b, _, _ := r.Datagram(i); string(b) != "noise" {
						t.Errorf("read %q", b)
					}
				}
			}
			r.Reset()
		}
	}()
	var noise sync.WaitGroup
	c, _ := peer(t, loopback)
	stop := make(chan struct{})
	noise.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			mu.Lock()
			for s := range live {
				_, _ = c.WriteToUDPAddrPort([]byte("noise"), s.Local())
			}
			mu.Unlock()
		}
	})
	for i := range 300 {
		s, err := Open(loopback, Options{})
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		live[s] = true
		mu.Unlock()
		if err := p.Add(s, s); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		_, _ = c.WriteToUDPAddrPort([]byte("noise"), s.Local())
		delete(live, s)
		mu.Unlock()
		if i%2 == 0 {
			p.Remove(s)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		p.Remove(s)
	}
	close(stop)
	noise.Wait()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	<-over
}

// A reader that waits for one socket is woken by a datagram, and by Close.
func TestReaderWait(t *testing.T) {
	t.Parallel()
	s := open(t, loopback, Options{Waits: true})
	c, from := peer(t, loopback)
	r := NewReaderInto(2)
	for i := range 2 {
		r.SetBuffer(i, make([]byte, 16))
	}
	type result struct {
		n   int
		err error
	}
	got := make(chan result)
	go func() {
		for {
			from, to, err := r.Wait(s, 64)
			got <- result{to - from, err}
			if err != nil {
				return
			}
		}
	}()
	send(t, c, s, "hello")
	if g := <-got; g.n != 1 || g.err != nil {
		t.Fatal(g)
	}
	if b, src, _ := r.Datagram(0); string(b) != "hello" || src != from {
		t.Errorf("%q from %v", b, src)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if g := <-got; g.n != 0 || g.err == nil {
		t.Errorf("%d read from a closed socket, %v", g.n, g.err)
	}
	if from, to := r.Read(s, 1); from != to {
		t.Errorf("read %d to %d from a closed socket", from, to)
	}
	w := NewWriter(1)
	w.Add(nil, []byte("too late"), NewDestination(from))
	if !w.Full() || w.Flush(s) != 0 || w.Full() {
		t.Error("sent on a closed socket")
	}
	if s.Send([]byte("too late"), from) == nil {
		t.Error("sent on a closed socket")
	}
}

// An address that another program uses is refused even if that program shares it.
func TestGroupTaken(t *testing.T) {
	t.Parallel()
	n := 1
	if CanShare {
		n = 3
	}
	group, err := OpenGroup(loopback, n, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range group {
		defer s.Close()
		if s.Local() != group[0].Local() {
			t.Errorf("%v and %v", s.Local(), group[0].Local())
		}
	}
	if _, err := OpenGroup(group[0].Local(), n, Options{}); err == nil {
		t.Error("a group was opened on an address in use")
	}
	if _, err := Open(group[0].Local(), Options{}); err == nil {
		t.Error("a socket was opened on an address in use")
	}
	if _, err := OpenGroup(netip.MustParseAddrPort("192.0.2.1:0"), n, Options{}); err == nil {
		t.Error("a group was opened on an address that is not ours")
	}
}
