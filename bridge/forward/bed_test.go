package forward

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"confab/bridge/bwe"
	"confab/bridge/rtpx"
)

// Ids that the tests negotiate: those of a stock offer.
const (
	ptAV1, ptAV1RTX   = 41, 42
	ptVP8, ptVP8RTX   = 100, 96
	ptVP9, ptVP9RTX   = 101, 97
	ptH264, ptH264RTX = 107, 99
	ptOpus            = 111

	extLevel, extSendTime, extTCC, extMid, extDD, extCVO = 1, 3, 5, 10, 11, 13
)

// stock is what a stock client negotiates.
func stock() Media {
	m := Media{Extensions: Extensions{AudioLevel: extLevel, AbsSendTime: extSendTime, TransportCC: extTCC, Mid: extMid, Dependency: extDD, Orientation: extCVO}}
	for _, p := range []struct {
		pt, rtx uint8
		name    string
	}{{ptAV1, ptAV1RTX, "AV1"}, {ptVP8, ptVP8RTX, "VP8"}, {ptVP9, ptVP9RTX, "VP9"}, {ptH264, ptH264RTX, "H264"}} {
		m.Payloads = append(m.Payloads,
			Payload{PT: p.pt, Name: p.name, Kind: Video, NACK: true, PLI: true, FIR: true, TransportCC: true},
			Payload{PT: p.rtx, Name: "rtx", Kind: Video, RTX: true, Apt: p.pt})
	}
	m.Payloads = append(m.Payloads, Payload{PT: ptOpus, Name: "opus", Kind: Audio, TransportCC: true})
	return m
}

// bed is an engine with a clock of its own and no ticker.
type bed struct {
	t    testing.TB
	e    *Engine
	p    *Pipeline
	pool *rtpx.Pool
	now  atomic.Int64
}

func newBed(t testing.TB, change func(*Config)) *bed {
	t.Helper()
	b := &bed{t: t, pool: rtpx.NewPool()}
	b.now.Store(int64(1000 * time.Second))
	cfg := Config{Workers: 2, Tick: -1, Pool: b.pool, Now: b.now.Load, Bandwidth: bwe.DefaultConfig()}
	cfg.Bandwidth.Min = 800_000 // what is sent in the first second does not wait
	if change != nil {
		change(&cfg)
	}
	b.e = NewEngine(cfg)
	p, err := b.e.NewPipeline("test")
	if err != nil {
		t.Fatal(err)
	}
	b.p = p
	t.Cleanup(func() {
		if err := b.e.Close(); err != nil {
			t.Error(err)
		}
		if n := b.pool.Outstanding(); n != 0 {
			t.Errorf("%d packets leaked", n)
		}
		if n := b.e.Stats().Panics; n != 0 {
			t.Errorf("%d panics", n)
		}
	})
	return b
}

// pass lets time go on.
func (b *bed) pass(d time.Duration) { b.now.Add(int64(d)) }

// settle waits until the workers have done all they had.
func (b *bed) settle() {
	for _, w := range b.e.workers {
		for w.ring.len() > 0 {
			w.call(func() {})
		}
		w.call(func() {})
	}
	for _, w := range b.e.workers { // a worker may have given work to another
		if w.ring.len() > 0 {
			b.settle()
			return
		}
	}
}

// client is one endpoint of a test: it sends, and keeps what it is sent.
type client struct {
	*Endpoint
	b *bed

	mu   sync.Mutex
	rtp  [][]byte
	rtcp [][]byte
}

func (b *bed) join(id string, sources ...Source) *client {
	b.t.Helper()
	ep, err := b.p.Attach(EndpointConfig{ID: id, Media: stock(), FeedbackSSRC: 0xFEED})
	if err != nil {
		b.t.Fatal(err)
	}
	c := &client{Endpoint: ep, b: b}
	if err := ep.SetSources(sources); err != nil {
		b.t.Fatal(err)
	}
	ep.SetSender(c)
	return c
}

func (c *client) WriteRTP(_ Batch, p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rtp = append(c.rtp, append([]byte(nil), p...))
	return nil
}

func (c *client) WriteRTCP(_ Batch, p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rtcp = append(c.rtcp, append([]byte(nil), p...))
	return nil
}

// got takes the RTP that the client was sent since the last call.
func (c *client) got() []seen {
	c.b.settle()
	return c.gotNow()
}

// gotNow does not wait for what the workers have still to do.
func (c *client) gotNow() []seen {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []seen
	for _, b := range c.rtp {
		var s seen
		s.b = b
		if !s.h.Parse(b) {
			c.b.t.Fatalf("sent no RTP: %x", b)
		}
		s.seq, s.ts, s.ssrc, s.pt, s.marker = s.h.Seq, s.h.TS, s.h.SSRC, s.h.PT, s.h.Marker
		s.payload = s.h.Payload(b)
		out = append(out, s)
	}
	c.rtp = nil
	return out
}

// control takes the RTCP packets that the client was sent since the last call.
func (c *client) control() []rtpx.RTCP {
	c.b.settle()
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []rtpx.RTCP
	for _, b := range c.rtcp {
		for {
			p, rest, ok := rtpx.NextRTCP(b)
			if !ok {
				break
			}
			out, b = append(out, p), rest
		}
	}
	c.rtcp = nil
	return out
}

// plis counts the picture loss indications among what control returns.
func (c *client) plis() (n int) {
	for _, p := range c.control() {
		if p.Is(rtpx.TypePSFB, rtpx.FormatPLI) {
			n++
		}
	}
	return n
}

// seen is one packet as a receiver got it.
type seen struct {
	h        rtpx.Header
	b        []byte
	payload  []byte
	seq      uint16
	ts, ssrc uint32
	pt       uint8
	marker   bool
}

func (s *seen) ext(id uint8) []byte { e, _ := s.h.Ext(s.b, id); return e }

func (s *seen) vp8() rtpx.VP8 { var v rtpx.VP8; v.Parse(s.payload); return v }

// sent is one packet that a client sends.
type sent struct {
	pt      uint8
	marker  bool
	seq     uint16
	ts      uint32
	ssrc    uint32
	exts    map[uint8][]byte
	payload []byte
	pad     int
}

func (s sent) bytes() []byte {
	b := make([]byte, rtpx.BufferSize)
	rtpx.PutHeader(b, s.pt, s.marker, s.seq, s.ts, s.ssrc)
	var w rtpx.ExtWriter
	for id := range uint8(16) {
		if e, ok := s.exts[id]; ok {
			w.Add(id, e)
		}
	}
	n, _ := w.Put(b)
	n += copy(b[n:], s.payload)
	if s.pad > 0 {
		b[0] |= 0x20
		n += s.pad
		b[n-1] = byte(s.pad)
	}
	return b[:n]
}

// send delivers packets to the ingress as a socket reader does.
func (c *client) send(ps ...sent) {
	for _, s := range ps {
		pkt := c.b.pool.Get()
		pkt.SetLen(copy(pkt.Space(), s.bytes()))
		pkt.Arrived = c.b.now.Load()
		c.RTP(pkt)
		pkt.Release()
	}
}

func (c *client) sendRTCP(b []byte) {
	pkt := c.b.pool.Get()
	pkt.SetLen(copy(pkt.Space(), b))
	pkt.Arrived = c.b.now.Load()
	c.RTCP(pkt)
	pkt.Release()
}

// vp8 writes the packets of a VP8 sender with some encodings.
type vp8 struct {
	ssrc uint32
	rtx  uint32
	seq  uint16
	ts   uint32
	pid  uint16
	tl0  uint8
}

// frame makes the next frame of n packets in temporal layer tid.
func (v *vp8) frame(key bool, tid uint8, n int) []sent {
	v.ts += 3000
	v.pid = (v.pid + 1) & 0x7FFF
	if tid == 0 {
		v.tl0++
	}
	var ps []sent
	for i := range n {
		v.seq++
		d := []byte{0x80, 0xE0, 0x80 | byte(v.pid>>8), byte(v.pid), v.tl0, tid << 6}
		body := []byte{0x01, 0, 0, 0xAA, 0xBB, 0xCC, 0xDD, 0, 0, 0}
		if i == 0 {
			d[0] |= 0x10
			if key {
				body = []byte{0x00, 0, 0, 0x9D, 0x01, 0x2A, 0x80, 0x02, 0x68, 0x01}
			}
		}
		ps = append(ps, sent{pt: ptVP8, seq: v.seq, ts: v.ts, ssrc: v.ssrc, marker: i == n-1,
			payload: append(d, append(body, byte(v.seq>>8), byte(v.seq))...)})
	}
	return ps
}

// camera is a simulcast source of n encodings and their senders.
func camera(name string, base uint32, n int) (Source, []*vp8) {
	s := Source{Name: name, Kind: Video}
	var vs []*vp8
	for i := range n {
		e := Encoding{SSRC: base + uint32(i), RTX: base + 100 + uint32(i)}
		s.Encodings = append(s.Encodings, e)
		vs = append(vs, &vp8{ssrc: e.SSRC, rtx: e.RTX, seq: uint16(65000 + 100*i), ts: uint32(i) * 1e9, pid: uint16(i * 500), tl0: uint8(i * 90)})
	}
	return s, vs
}

func mic(name string, ssrc uint32) Source {
	return Source{Name: name, Kind: Audio, Encodings: []Encoding{{SSRC: ssrc}}}
}

func u16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }

// SetTarget sets the target of one source, of audio too, where NoLayer pauses it.
func (ep *Endpoint) SetTarget(source string, target rtpx.Layer) error {
	ep.p.mu.Lock()
	defer ep.p.mu.Unlock()
	if ep.closed {
		return ErrClosed
	}
	src := ep.p.sources[source]
	if src == nil || src.ep == ep {
		return fmt.Errorf("endpoint %s: no source %s to receive", ep.id, source)
	}
	ep.setTarget(src, target)
	return nil
}
