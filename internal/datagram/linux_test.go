//go:build linux && !portable

package datagram

import (
	"bytes"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A run that was sent as one is read as one, with the length of its datagrams.
func TestRunIsReadAsOne(t *testing.T) {
	t.Parallel()
	for _, addr := range []netip.AddrPort{loopback, netip.MustParseAddrPort("[::1]:0")} {
		from, err := Open(addr, Options{})
		if err != nil {
			t.Skip(err)
		}
		defer from.Close()
		s := open(t, addr, Options{GRO: true, Timestamps: true})
		p, r, w := poller(t, s), newTestReader(t, 8, 1<<16), NewWriter(64)
		to := NewDestination(s.Local())
		var sent []byte
		for i := range 11 {
			n := 1000
			if i == 10 {
				n = 300
			}
			b := bytes.Repeat([]byte{byte(i)}, n)
			w.Add(b[:4], b[4:], to)
			sent = append(sent, b...)
		}
		if n := w.Flush(from); n != 11 {
			t.Fatalf("sent %d", n)
		}
		fill(t, p, r, s, 1)
		b, src, segment := r.Datagram(0)
		if !bytes.Equal(b, sent) || src != from.Local() || segment != 1000 {
			t.Errorf("%d bytes from %v, segment %d", len(b), src, segment)
		}
		if age := r.Age(0); age <= 0 {
			t.Errorf("age %d ns", age)
		}
		r.Reset()

		// A single datagram is no run, whatever was in its slot before.
		w.Add(nil, sent[:1000], to)
		w.Flush(from)
		fill(t, p, r, s, 1)
		if b, _, segment := r.Datagram(0); len(b) != 1000 || segment != 0 {
			t.Errorf("%d bytes, segment %d", len(b), segment)
		}
		r.Reset()

		// A socket that did not ask for runs gets the datagrams.
		plain := open(t, addr, Options{})
		p2 := poller(t, plain)
		to = NewDestination(plain.Local())
		for range 5 {
			w.Add(nil, sent[:1000], to)
		}
		w.Flush(from)
		fill(t, p2, r, plain, 5)
		for i := range 5 {
			if b, _, segment := r.Datagram(i); len(b) != 1000 || segment != 0 {
				t.Errorf("datagram %d: %d bytes, segment %d", i, len(b), segment)
			}
		}
		if age := r.Age(0); age != 0 {
			t.Errorf("age %d ns without timestamps", age)
		}
	}
}

// Datagrams read together have the ages with which the kernel got them, not one.
func TestAges(t *testing.T) {
	s := open(t, loopback, Options{Timestamps: true})
	c, _ := peer(t, loopback)
	p, r := poller(t, s), newTestReader(t, 4, 16)
	limit := int64(time.Minute)
	for n := 0; n != 2 || limit >= maxAge; { // loopback delivers within the write, if the machine is not too busy
		r.Reset()
		began := time.Now()
		send(t, c, s, "one")
		send(t, c, s, "two")
		if _, n = r.Read(s, 4); n < 2 {
			fill(t, p, r, s, 2-n)
		}
		limit = int64(time.Since(began))
	}
	if first, second := r.Age(0), r.Age(1); second <= 0 || first <= second || first > limit {
		t.Errorf("ages %d and %d ns, want a falling pair within %d", first, second, limit)
	}
}

// Each peer reaches one socket of a group, always the same; what only sends has the
// address of the group and takes nothing away from it.
func TestGroup(t *testing.T) {
	t.Parallel()
	group, err := OpenGroup(loopback, 3, Options{Buffer: 1 << 18})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range group {
		defer s.Close()
	}
	if received, sent := group[0].Buffers(); received < 1<<16 || sent < 1<<16 {
		t.Errorf("buffers of %d and %d bytes", received, sent)
	}
	w := NewWriter(1)
	c, addr := peer(t, loopback)
	for range 8 {
		out := open(t, group[0].Local(), Options{Share: true, SendOnly: true})
		w.Add(nil, []byte("hello"), NewDestination(addr))
		if w.Flush(out) != 1 {
			t.Fatal("not sent")
		}
		buf := make([]byte, 16)
		if n, src, err := c.ReadFromUDPAddrPort(buf); string(buf[:n]) != "hello" || src != group[0].Local() || err != nil {
			t.Fatal(n, src, err)
		}
	}
	const clients = 64
	for range clients {
		c, _ := peer(t, loopback)
		send(t, c, group[0], "one")
		send(t, c, group[0], "two")
	}
	p := poller(t, group...)
	r := newTestReader(t, 2*clients, 16)
	heard := map[netip.AddrPort]*Socket{}
	for got := 0; got < 2*clients; {
		for _, v := range readable(t, p) {
			s := v.(*Socket)
			from, to := r.Read(s, 2*clients)
			got += to - from
			for i := from; i < to; i++ {
				_, src, _ := r.Datagram(i)
				if was := heard[src]; was != nil && was != s {
					t.Errorf("%v reached two sockets", src)
				}
				heard[src] = s
			}
		}
	}
	if len(heard) != clients {
		t.Errorf("%d of %d clients were heard", len(heard), clients)
	}
}

// Datagrams that found the buffer full are counted.
func TestOverflows(t *testing.T) {
	t.Parallel()
	s := open(t, loopback, Options{Buffer: 1 << 12})
	c, _ := peer(t, loopback)
	for range 64 {
		if _, err := c.WriteToUDPAddrPort(make([]byte, 1400), s.Local()); err != nil {
			t.Fatal(err)
		}
	}
	r := newTestReader(t, 128, 1500)
	got := 0
	for {
		from, to := r.Read(s, 64)
		if from == to {
			break
		}
		got += to - from
	}
	if n := s.Overflows(); n == 0 || got+int(n) != 64 {
		t.Errorf("%d read, %d overflows of 64", got, n)
	}
}

func TestDontFragment(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		addr                netip.AddrPort
		level, option, want int
	}{
		{loopback, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE},
		{netip.MustParseAddrPort("[::1]:0"), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE},
	} {
		s, err := Open(test.addr, Options{DontFragment: true})
		if err != nil {
			t.Skip(err)
		}
		defer s.Close()
		_ = s.raw.Control(func(fd uintptr) {
			if got, err := unix.GetsockoptInt(int(fd), test.level, test.option); got != test.want || err != nil {
				t.Errorf("%v: %d, %v", test.addr, got, err)
			}
		})
	}
}

// What is marked arrives so, in runs of one mark each, and what follows it is not.
func TestTOS(t *testing.T) {
	t.Parallel()
	for _, addr := range []netip.AddrPort{loopback, netip.MustParseAddrPort("[::1]:0")} {
		from, err := Open(addr, Options{})
		if err != nil {
			t.Skip(err)
		}
		defer from.Close()
		s, deaf := open(t, addr, Options{GRO: true, TOS: true}), open(t, addr, Options{})
		p, r, w := poller(t, s), newTestReader(t, 8, 1<<16), NewWriter(8)
		to := NewDestination(s.Local())
		const ef, ect0 = 46 << 2, 2
		for i, tos := range []byte{ef | ect0, ef | ect0, ef | ect0, ect0, 0, 0} {
			w.AddMarked(nil, bytes.Repeat([]byte{byte(i)}, 1000), to, tos)
		}
		if n := w.Flush(from); n != 6 {
			t.Fatalf("%v: sent %d", addr, n)
		}
		fill(t, p, r, s, 3)
		for i, want := range []struct {
			size, segment int
			tos           byte
		}{{3000, 1000, ef | ect0}, {1000, 0, ect0}, {2000, 1000, 0}} {
			if b, _, segment := r.Datagram(i); len(b) != want.size || segment != want.segment || r.TOS(i) != want.tos {
				t.Errorf("%v: read %d is of %d bytes in datagrams of %d, marked %#x; want %+v", addr, i, len(b), segment, r.TOS(i), want)
			}
		}
		r.Reset()

		p2 := poller(t, deaf)
		w.AddMarked(nil, []byte("not asked"), NewDestination(deaf.Local()), ef)
		w.Flush(from)
		fill(t, p2, r, deaf, 1)
		if tos := r.TOS(0); tos != 0 {
			t.Errorf("%v: marked %#x on a socket that does not listen to it", addr, tos)
		}
	}
}

// A destination that takes no runs, as one with a small MTU, gets its datagrams one
// by one; all others still get runs. Where the very first try fails, nobody does.
func TestDestinationWithoutRuns(t *testing.T) {
	t.Parallel()
	s := open(t, loopback, Options{})
	sink, remote := peer(t, loopback)
	for _, test := range []struct {
		name  string
		to    string // n: narrow, g: good
		runs  []int  // of each flush
		plain bool
	}{
		{"one narrow path", "gngn", []int{1, 4, 1, 4}, false},
		{"no segmentation at all", "ng", []int{4, 4}, true},
	} {
		good, narrow := NewDestination(remote), NewDestination(remote)
		w := NewWriter(8)
		send, tries := w.fn, 0
		w.fn = func(fd uintptr) {
			if h := &w.hdrs[w.first].hdr; h.Control != nil && h.Name == (*byte)(unsafe.Pointer(&narrow.sa)) {
				tries++
				w.sent, w.errno = 0, unix.EIO
				return
			}
			send(fd)
		}
		for i, which := range test.to {
			to := good
			if which == 'n' {
				to = narrow
			}
			for k := range byte(4) {
				w.Add([]byte{byte(i)}, []byte{k}, to)
			}
			if n := w.Flush(s); n != 4 {
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
		for i := range test.to {
			for k := range byte(4) {
				if n, err := sink.Read(buf); n != 2 || err != nil || buf[0] != byte(i) || buf[1] != k {
					t.Fatalf("%s: datagram %d of flush %d is %x, %v", test.name, k, i, buf[:n], err)
				}
			}
		}
	}
}

// An address that can't be sent to costs its own datagrams, not the segmentation of
// everybody else's.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	s := open(t, loopback, Options{})
	sink, remote := peer(t, loopback)
	w := NewWriter(6)
	// An IPv4 socket refuses the address of the other family.
	for _, to := range []netip.AddrPort{netip.MustParseAddrPort("[::1]:9"), remote} {
		to := NewDestination(to)
		for range 3 {
			w.Add(nil, make([]byte, 100), to)
		}
	}
	if n := w.Flush(s); n != 3 || w.plain {
		t.Errorf("sent %d, segmentation given up: %v", n, w.plain)
	}
	for range 3 {
		if n, err := sink.Read(make([]byte, 200)); n != 100 || err != nil {
			t.Fatal(n, err)
		}
	}
}

// Polling, reading and writing allocate nothing.
func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("allocation counts mean nothing under the race detector")
	}
	s, back := open(t, loopback, Options{GRO: true, Timestamps: true}), open(t, loopback, Options{})
	p := poller(t, s)
	r, w := newTestReader(t, 64, 1<<16), NewWriter(64)
	to, head, body := NewDestination(s.Local()), make([]byte, 4), make([]byte, 1000)
	var ready []any
	sent, got := 0, 0
	if n := testing.AllocsPerRun(200, func() {
		for i := range 32 {
			w.Add(head, body[:900+i/8], to)
		}
		sent += w.Flush(back)
		p.Wake()
		for got < sent {
			var err error
			if ready, err = p.Wait(1000, ready); err != nil {
				t.Fatal(err)
			}
			for _, v := range ready {
				from, to := r.Read(v.(*Socket), 64)
				for i := from; i < to; i++ {
					b, src, segment := r.Datagram(i)
					if got++; segment > 0 {
						got += (len(b) - 1) / segment
					}
					if src != back.Local() || r.Age(i) < 0 {
						t.Fatal(src)
					}
				}
			}
			r.Reset()
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if sent != 201*32 {
		t.Errorf("sent %d", sent)
	}
}

// The beginnings of the buffers spread over all places of a first-level cache.
func TestStride(t *testing.T) {
	t.Parallel()
	for _, size := range []int{100, 1600, 2048, 1 << 16} {
		step, lines := stride(size), map[int]bool{}
		if step < size || step > 2*size+64*64 {
			t.Errorf("buffers of %d bytes lie %d apart", size, step)
		}
		for i := range 64 {
			lines[i*step/64%64] = true
		}
		if len(lines) != 64 {
			t.Errorf("buffers of %d bytes begin at %d places", size, len(lines))
		}
	}
}

// What reading and writing cost at least: bursts of 32 datagrams, of one length (a
// run) or of many, over loopback.
func BenchmarkBurst(b *testing.B) {
	for _, bench := range []struct {
		name string
		vary int
		gro  bool
		tos  bool
	}{{"single", 1, false, false}, {"single, tos", 1, false, true}, {"run", 0, false, false}, {"gro", 0, true, false}, {"gro, tos", 0, true, true}} {
		b.Run(bench.name, func(b *testing.B) {
			s, back := open(b, loopback, Options{GRO: bench.gro, TOS: bench.tos, Buffer: 4 << 20}), open(b, loopback, Options{Buffer: 4 << 20})
			p := poller(b, s)
			r, w := newTestReader(b, 64, 1<<16), NewWriter(64)
			to, body := NewDestination(s.Local()), make([]byte, 1100)
			var ready []any
			b.ReportAllocs()
			sent, got := 0, 0
			for sent < b.N {
				for i := range 32 {
					w.Add(nil, body[:1000+i*bench.vary], to)
				}
				sent += w.Flush(back)
				for got < sent {
					ready, _ = p.Wait(1000, ready)
					for range ready {
						from, to := r.Read(s, 64)
						for i := from; i < to; i++ {
							b, _, segment := r.Datagram(i)
							if got++; segment > 0 {
								got += (len(b) - 1) / segment
							}
							if bench.tos {
								got += int(r.TOS(i)) // 0
							}
						}
					}
					r.Reset()
				}
			}
		})
	}
}
