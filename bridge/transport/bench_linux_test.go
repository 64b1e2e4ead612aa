package transport

// What a packet costs, against what it must cost at least. All figures are
// processor time of the whole process, kernel included, divided by packets
// sent: other work on the machine hardly shows in it. Compare figures of one
// run only.

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/bits"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/pion/srtp/v3"
	"golang.org/x/sys/unix"

	"confab/bridge/forward"
	"confab/bridge/rtpx"
	"confab/internal/datagram"
)

// receivers opens n sockets that nobody reads, with the smallest buffers: what
// arrives is thrown away by the kernel, at the same cost for all contestants.
func receivers(b *testing.B, n int) []netip.AddrPort {
	b.Helper()
	var out []netip.AddrPort
	for range n {
		// Not of package net, which would have its poller woken by every packet.
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { unix.Close(fd) })
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1); err != nil {
			b.Fatal(err)
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			b.Fatal(err)
		}
		sa, err := unix.Getsockname(fd)
		if err != nil {
			b.Fatal(err)
		}
		out = append(out, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(sa.(*unix.SockaddrInet4).Port)))
	}
	return out
}

// cpu is the processor time that the process has used.
func cpu() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// cpuPerPacket reports the processor time per packet of a measured stretch.
func cpuPerPacket(b *testing.B, since time.Duration, packets int) {
	b.ReportMetric(float64(cpu()-since)/float64(packets), "cpu-ns/packet")
	b.ReportMetric(0, "ns/op")
}

func benchSockets(b *testing.B) *Sockets {
	cfg := testConfig()
	cfg.Sockets = 1
	cfg.MaxIngress, cfg.MaxIngressPackets, cfg.SocketBuffer = 9e9, 1e9, 4<<20
	s, err := Listen(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

var benchKey, benchSalt = make([]byte, 16), make([]byte, 12)

func benchContext(b *testing.B) *srtp.Context {
	c, err := srtp.CreateContext(benchKey, benchSalt, srtp.ProtectionProfileAeadAes128Gcm)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// benchTransport is a transport as it is after ICE and DTLS.
func benchTransport(b *testing.B, s *Sockets, to netip.AddrPort, h Handler) *Transport {
	t := &Transport{s: s, h: h, log: s.log}
	way := &path{local: s.locals[0], remote: to, dest: datagram.NewDestination(to)}
	t.path.Store(way)
	keys, err := newKeys(srtp.ProtectionProfileAeadAes128Gcm, &srtp.SessionKeys{
		LocalMasterKey: benchKey, LocalMasterSalt: benchSalt, RemoteMasterKey: benchKey, RemoteMasterSalt: benchSalt,
	}, 10)
	if err != nil {
		b.Fatal(err)
	}
	t.in.open(keys)
	t.out.open(keys)
	s.addrs.claim(to, t, true)
	return t
}

// BenchmarkCeiling is the least that forwarding may cost: AES-GCM over the
// packets and as few system calls as the kernel allows, run packets to each of
// 50 receivers at a time, without anything else.
func BenchmarkCeiling(b *testing.B) {
	for _, size := range []int{1200, 120} {
		for _, run := range []int{1, 8, 32} {
			b.Run(fmt.Sprintf("size=%d/run=%d", size, run), func(b *testing.B) { benchCeiling(b, size, run, 50) })
		}
	}
}

func benchCeiling(b *testing.B, size, run, n int) {
	to := receivers(b, n)
	block, _ := aes.NewCipher(benchKey)
	aead, _ := cipher.NewGCM(block)
	plain := make([]byte, size)
	out := make([]byte, 64*(size+16))
	nonce := make([]byte, 12)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		b.Fatal(err)
	}
	perCall := max(1, 64/run) // messages
	hdrs, iovs := make([]struct {
		hdr unix.Msghdr
		len uint32
	}, perCall), make([]unix.Iovec, perCall)
	ctls, dests := make([]struct {
		hdr  unix.Cmsghdr
		size uint16
		_    [6]byte
	}, perCall), make([]unix.RawSockaddrInet4, n)
	for i := range to {
		dests[i] = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: bits.ReverseBytes16(to[i].Port()), Addr: to[i].Addr().As4()}
	}
	b.ResetTimer()
	since, sent := cpu(), 0
	for r := 0; sent < b.N; {
		at := 0
		for m := range perCall {
			from := at
			for range run {
				copy(out[at:], plain[:32])
				binary.BigEndian.PutUint64(nonce[4:], uint64(sent))
				aead.Seal(out[at+32:at+32], nonce, plain[32:], out[at:at+32])
				at += size + 16
				sent++
			}
			iovs[m].Base = &out[from]
			iovs[m].SetLen(at - from)
			h := &hdrs[m].hdr
			h.Name, h.Namelen = (*byte)(unsafe.Pointer(&dests[r])), unix.SizeofSockaddrInet4
			h.Iov = &iovs[m]
			h.SetIovlen(1)
			if run > 1 {
				c := &ctls[m]
				c.hdr.Level, c.hdr.Type, c.size = unix.SOL_UDP, unix.UDP_SEGMENT, uint16(size+16)
				c.hdr.SetLen(unix.CmsgLen(2))
				h.Control = (*byte)(unsafe.Pointer(c))
				h.SetControllen(unix.CmsgSpace(2))
			}
			r = (r + 1) % n
		}
		for done := 0; done < perCall; {
			k, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&hdrs[done])), uintptr(perCall-done), 0, 0, 0)
			if errno != 0 {
				b.Fatal(errno)
			}
			done += int(k)
		}
	}
	cpuPerPacket(b, since, sent)
}

// BenchmarkBatch is the same through Batch: run packets for each of 50
// receivers, one receiver after the other.
func BenchmarkBatch(b *testing.B) {
	for _, size := range []int{1200, 120} {
		for _, run := range []int{1, 8, 32} {
			b.Run(fmt.Sprintf("size=%d/run=%d", size, run), func(b *testing.B) { benchBatch(b, size, run, 50) })
		}
	}
}

func benchBatch(b *testing.B, size, run, n int) {
	s := benchSockets(b)
	var ts []*Transport
	for _, to := range receivers(b, n) {
		ts = append(ts, benchTransport(b, s, to, nil))
	}
	batch := s.NewBatch(0)
	plain := rtpPacket(1, 0, string(make([]byte, size-20)))
	b.ReportAllocs()
	b.ResetTimer()
	since, sent := cpu(), 0
	for seq := uint16(0); sent < b.N; seq += uint16(run) {
		for _, t := range ts {
			for i := range run {
				rtpx.SetSeq(plain, seq+uint16(i))
				if err := batch.Add(t, plain); err != nil {
					b.Fatal(err)
				}
				sent++
			}
		}
	}
	batch.Flush()
	cpuPerPacket(b, since, sent)
}

// The way of a packet through everything: socket, decryption, ingress, worker,
// projection, encryption, sockets.

type benchSender struct{ t *Transport }

func (s benchSender) WriteRTP(b forward.Batch, p []byte) error {
	q := b.(*benchQueue)
	q.added++
	return q.Batch.Add(s.t, p)
}
func (s benchSender) WriteRTCP(forward.Batch, []byte) error { return nil }

// benchQueue says when so many packets have been sent.
type benchQueue struct {
	*Batch
	added, flushed int64
	awaited        atomic.Int64
	reached        chan struct{}
	late           *time.Timer
}

func (q *benchQueue) Flush() error {
	q.Batch.Flush()
	if a := q.awaited.Load(); q.flushed < a && q.added >= a {
		q.reached <- struct{}{}
	}
	q.flushed = q.added
	return nil
}

func (q *benchQueue) await() bool {
	select {
	case <-q.reached:
		return true
	case <-q.late.C:
		return false
	}
}

// benchHandler passes media to the packet path as the bridge does.
type benchHandler struct{ ep *forward.Endpoint }

func (h *benchHandler) RTP(p *rtpx.Packet)  { h.ep.RTP(p) }
func (h *benchHandler) RTCP(p *rtpx.Packet) { h.ep.RTCP(p) }
func (h *benchHandler) State(State)         {}
func (h *benchHandler) ChannelOpen()        {}
func (h *benchHandler) Message([]byte)      {}

// BenchmarkForwarding is one camera to some receivers, with so many packets of it
// under way at a time: 1 is an idle machine, 64 one that has no time to spare.
func BenchmarkForwarding(b *testing.B) {
	for _, size := range []int{1200, 120} {
		for _, receivers := range []int{9, 50} {
			for _, window := range []int{1, 8, 64} {
				b.Run(fmt.Sprintf("size=%d/receivers=%d/window=%d", size, receivers, window), func(b *testing.B) {
					benchForwarding(b, size, window, receivers)
				})
			}
		}
	}
}

func benchForwarding(b *testing.B, size, window, n int) {
	s := benchSockets(b)
	queue := &benchQueue{Batch: s.NewBatch(0), reached: make(chan struct{}, 1), late: time.NewTimer(time.Minute)}
	e := forward.NewEngine(forward.Config{
		Workers: 1, Pool: s.cfg.Pool,
		NewBatch: func() forward.Batch { return queue },
	})
	defer e.Close()
	p, err := e.NewPipeline("bench")
	if err != nil {
		b.Fatal(err)
	}
	// Without transport-wide feedback: nothing is estimated, held back or padded for
	// receivers who never answer.
	media := forward.Media{
		Payloads:   []forward.Payload{{PT: 100, Name: "VP8", Kind: forward.Video, NACK: true}},
		Extensions: forward.Extensions{TransportCC: 5, AbsSendTime: 3},
	}
	attach := func(id string) *forward.Endpoint {
		ep, err := p.Attach(forward.EndpointConfig{ID: id, Media: media, FeedbackSSRC: 1})
		if err != nil {
			b.Fatal(err)
		}
		return ep
	}
	sender := attach("sender")
	if err := sender.SetSources([]forward.Source{{Name: "sender-v0", Kind: forward.Video, Encodings: []forward.Encoding{{SSRC: 10}}}}); err != nil {
		b.Fatal(err)
	}
	for i, to := range receivers(b, n) {
		ep := attach(fmt.Sprint("receiver", i))
		ep.SetSender(benchSender{benchTransport(b, s, to, nil)})
		ep.SetTargets(map[string]rtpx.Layer{"sender-v0": rtpx.MakeLayer(0, 0, 0)})
	}
	// The socket on which the sender's packets come.
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(s.locals[0].addr))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	benchTransport(b, s, conn.LocalAddr().(*net.UDPAddr).AddrPort(), &benchHandler{sender})
	ctx := benchContext(b)

	plain := make([]byte, size)
	rtpx.PutHeader(plain, 100, true, 0, 0, 10)
	var x rtpx.ExtWriter
	x.Add(3, []byte{0, 0, 0})
	x.Add(5, []byte{0, 0})
	at, exts := x.Put(plain)
	buf := make([]byte, 0, 2048)
	var seq atomic.Uint32
	send := func() {
		i := seq.Add(1)
		rtpx.SetSeq(plain, uint16(i))
		rtpx.SetTS(plain, i*3000)
		binary.BigEndian.PutUint16(plain[exts[1]:], uint16(i))
		key := byte(1) // the bit says that it is none
		if i == 1 {
			key = 0
		}
		copy(plain[at:], []byte{0x90, 0xE0, 0x80 | byte(i>>8), byte(i), byte(i), 0, key, 0, 0, 0x9D, 0x01, 0x2A, 0x80, 0x02, 0x68, 0x01})
		out, err := ctx.EncryptRTP(buf, plain, nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := conn.Write(out); err != nil {
			b.Fatal(err)
		}
	}
	total := 0
	step := func(window int) {
		total += window * n
		queue.awaited.Store(int64(total))
		for range window {
			send()
		}
		if !queue.await() {
			b.Fatalf("not all were sent: %+v %+v", e.Stats(), s.Stats())
		}
	}
	step(1)
	b.ReportAllocs()
	b.ResetTimer()
	since, base := cpu(), total
	for total-base < b.N {
		step(window)
	}
	b.StopTimer()
	cpuPerPacket(b, since, total-base)
}
