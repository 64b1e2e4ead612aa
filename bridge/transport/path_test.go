package transport

// The packet path: what it costs, and that it allocates nothing.

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"confab/bridge/rtpx"
	"confab/internal/datagram"
)

// silent is a Handler for measurements.
type silent struct {
	*heard
	n int
}

func (s *silent) RTP(*rtpx.Packet)  { s.n++ }
func (s *silent) RTCP(*rtpx.Packet) { s.n++ }

// secured is a connected transport without readers' noise, and its client.
func secured(t testing.TB, profile string) (*Sockets, *Transport, *silent, *client) {
	s := listen(t, func(c *Config) {
		c.SRTPProfiles = []string{profile}
		c.MaxIngress, c.MaxIngressPackets = 1<<30, 1<<30
		c.SocketBuffer = 4 << 20
	})
	h, c := &silent{heard: newHeard()}, newClient(t)
	tr, err := s.New(TransportConfig{}, h)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.SetRemote(c.dial(tr.Local())); err != nil {
		t.Fatal(err)
	}
	if err := c.secure(); err != nil {
		t.Fatal(err)
	}
	h.waitState(t, StateConnected)
	return s, tr, h, c
}

// received is what a reader would hand to dispatch.
type received struct {
	s   *Sockets
	src netip.AddrPort
	now int64
}

func (r *received) dispatch(wire []byte) {
	p := r.s.cfg.Pool.Get()
	p.SetLen(copy(p.Space(), wire))
	r.now += 10_000
	p.Arrived = r.now
	r.s.dispatch(p, r.src, r.s.locals[0])
	p.Release()
}

// sink sends what t sends to a socket that nobody reads: a reading client
// would be measured too.
func sink(tb testing.TB, t *Transport) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	t.mu.Lock()
	t.setPath(c.LocalAddr().(*net.UDPAddr).AddrPort(), t.s.locals[0], 0)
	t.mu.Unlock()
}

// leastAllocs is testing.AllocsPerRun without what the goroutines of ICE and SCTP
// allocate meanwhile on a busy machine: the least of some measurements.
func leastAllocs(runs int, f func()) float64 {
	least := testing.AllocsPerRun(runs, f)
	for range 4 {
		if least == 0 {
			break
		}
		least = min(least, testing.AllocsPerRun(runs, f))
	}
	return least
}

func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("allocation counts mean nothing under the race detector")
	}
	const runs = 2000
	for _, profile := range []string{"GCM-128", "CM-SHA1-80"} {
		s, tr, h, c := secured(t, profile)
		payload := strings.Repeat("x", 1000)

		wire := make([][]byte, runs+10)
		for i := range wire {
			wire[i] = c.encrypt(rtpPacket(0x1111, uint16(i), payload))
		}
		in, i, before := &received{s: s, src: c.nat.addr(), now: s.Now()}, 0, h.n
		if n := testing.AllocsPerRun(runs, func() { in.dispatch(wire[i]); i++ }); n != 0 {
			t.Errorf("%s: receiving allocates %v times per packet", profile, n)
		}
		if h.n-before != i {
			t.Errorf("%s: %d of %d packets came through", profile, h.n-before, i)
		}

		_ = c.nat.Close()
		sink(t, tr)
		b, plain := s.NewBatch(0), rtpPacket(0x2222, 0, payload)
		seq := 0
		if n := leastAllocs(100, func() {
			for range batchSize {
				seq++
				plain[2], plain[3] = byte(seq>>8), byte(seq)
				if err := b.Add(tr, plain); err != nil {
					t.Fatal(err)
				}
			}
			b.Flush()
		}); n != 0 {
			t.Errorf("%s: sending a batch allocates %v times", profile, n)
		}
		report := receiverReport(0x2222)
		// One is pion's own, for the authenticated data of an SRTCP packet.
		if n := leastAllocs(100, func() {
			if err := b.AddRTCP(tr, report); err != nil {
				t.Fatal(err)
			}
			b.Flush()
		}); n > 1 {
			t.Errorf("%s: sending RTCP allocates %v times", profile, n)
		}
	}
}

// reading opens a socket with its reader but without the reader's goroutine.
func reading(t testing.TB) (*reader, *net.UDPConn, netip.AddrPort) {
	l, err := openLocal(0, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), 0), 1, 1<<20, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	pool := rtpx.NewPool()
	r := newReader(l.sockets[0], pool)
	from, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.close()
		_ = l.close()
		_ = from.Close()
		if pool.Outstanding() != 0 {
			t.Errorf("%d packets were not released", pool.Outstanding())
		}
	})
	return r, from, l.addr
}

// Datagrams read together have the ages with which the kernel got them, not one.
func TestReaderAges(t *testing.T) {
	if !datagram.CanShare {
		t.Skip("the kernel's time of arrival is only read on Linux")
	}
	r, from, to := reading(t)
	limit := int64(time.Minute)
	for n := 0; n != 2 || limit >= int64(time.Second); { // loopback delivers within the write, if the machine is not too busy
		began := time.Now()
		for range 2 {
			if _, err := from.WriteToUDPAddrPort([]byte("a datagram"), to); err != nil {
				t.Fatal(err)
			}
		}
		for got := 0; got < 2; got += n {
			var err error
			if n, err = r.read(); err != nil {
				t.Fatal(err)
			}
		}
		limit = int64(time.Since(began))
	}
	if first, second := r.age(0), r.age(1); second <= 0 || first <= second || first > limit {
		t.Errorf("ages %d and %d ns, want a falling pair within %d", first, second, limit)
	}
}

func TestReaderAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("allocation counts mean nothing under the race detector")
	}
	r, from, to := reading(t)
	want := from.LocalAddr().(*net.UDPAddr).AddrPort()
	msg := []byte("a datagram")
	if n := testing.AllocsPerRun(200, func() {
		for range 16 {
			if _, err := from.WriteToUDPAddrPort(msg, to); err != nil {
				t.Fatal(err)
			}
		}
		for got := 0; got < 16; {
			k, err := r.read()
			if err != nil {
				t.Fatal(err)
			}
			for i := range k {
				p, src := r.take(i)
				if src != want || string(p.Bytes()) != string(msg) {
					t.Fatalf("read %q from %v", p.Bytes(), src)
				}
				p.Release()
			}
			got += k
		}
	}); n != 0 {
		t.Errorf("reading allocates %v times", n)
	}
}

// Datagrams that fill no packet or overflow one are told apart from the rest.
func TestReaderOversize(t *testing.T) {
	t.Parallel()
	r, from, to := reading(t)
	for _, size := range []int{rtpx.BufferSize + 1, 0, 12} {
		if _, err := from.WriteToUDPAddrPort(make([]byte, size), to); err != nil {
			t.Fatal(err)
		}
	}
	var kept []int
	for seen := 0; seen < 3; {
		n, err := r.read()
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if p, _ := r.take(i); p != nil {
				kept = append(kept, len(p.Bytes()))
				p.Release()
			}
		}
		seen += n
	}
	if len(kept) != 1 || kept[0] != 12 {
		t.Errorf("kept %v", kept)
	}
}

func BenchmarkReceive(b *testing.B) {
	for _, profile := range []string{"GCM-128", "CM-SHA1-80"} {
		b.Run(profile, func(b *testing.B) {
			s, _, h, c := secured(b, profile)
			const n = 1 << 14
			payload := strings.Repeat("x", 1100)
			in := &received{s: s, src: c.nat.addr(), now: s.Now()}
			wire := make([][]byte, n)
			seq := 0
			b.ReportAllocs()
			b.SetBytes(1100)
			before, i := h.n, n
			for b.Loop() {
				if i == n {
					b.StopTimer()
					for i = range wire {
						wire[i] = c.encrypt(rtpPacket(0x1111, uint16(seq), payload))
						seq++
					}
					i = 0
					b.StartTimer()
				}
				in.dispatch(wire[i])
				i++
			}
			if h.n-before != b.N {
				b.Errorf("%d of %d packets came through", h.n-before, b.N)
			}
		})
	}
}

// BenchmarkSendBatch sends bursts of equal packets (a key frame) and packets of
// changing length, where segmentation can't help.
func BenchmarkSendBatch(b *testing.B) {
	for _, c := range []struct {
		profile string
		vary    int
	}{{"GCM-128", 0}, {"GCM-128", 1}, {"CM-SHA1-80", 0}} {
		b.Run(fmt.Sprintf("%s/vary=%d", c.profile, c.vary), func(b *testing.B) {
			s, tr, _, _ := secured(b, c.profile)
			sink(b, tr)
			batch, packet := s.NewBatch(0), rtpPacket(0x2222, 0, strings.Repeat("x", 1100))
			b.ReportAllocs()
			b.SetBytes(1100)
			seq := 0
			for b.Loop() {
				seq++
				plain := packet[:len(packet)-(batchSize-batch.Len())*c.vary]
				plain[2], plain[3] = byte(seq>>8), byte(seq)
				if batch.Len() == batchSize {
					batch.Flush()
				}
				if err := batch.Add(tr, plain); err != nil {
					b.Fatal(err)
				}
			}
			batch.Flush()
		})
	}
}

// BenchmarkReadSocket is recvmmsg alone, with the sender's cost.
func BenchmarkReadSocket(b *testing.B) {
	r, from, to := reading(b)
	msg := make([]byte, 1100)
	b.ReportAllocs()
	sent := 0
	for b.Loop() {
		if _, err := from.WriteToUDPAddrPort(msg, to); err != nil {
			b.Fatal(err)
		}
		if sent++; sent < 32 {
			continue
		}
		for sent > 0 {
			n, err := r.read()
			if err != nil {
				b.Fatal(err)
			}
			for i := range n {
				if p, _ := r.take(i); p != nil {
					p.Release()
				}
			}
			sent -= n
		}
	}
	for sent > 0 {
		n, err := r.read()
		if err != nil {
			b.Fatal(err)
		}
		for i := range n {
			if p, _ := r.take(i); p != nil {
				p.Release()
			}
		}
		sent -= n
	}
}

// BenchmarkNew is what an endpoint costs before its client appears.
func BenchmarkNew(b *testing.B) {
	s := listen(b, nil)
	b.ReportAllocs()
	for b.Loop() {
		tr, err := s.New(TransportConfig{}, newHeard())
		if err != nil {
			b.Fatal(err)
		}
		if err := tr.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
