package transport

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/pion/stun/v4"

	"confab/bridge/rtpx"
)

func buildSTUN(t testing.TB, setters ...stun.Setter) []byte {
	t.Helper()
	m, err := stun.Build(append([]stun.Setter{stun.TransactionID}, setters...)...)
	if err != nil {
		t.Fatal(err)
	}
	return m.Raw
}

// Ten thousand datagrams of strangers, of every kind: nothing is kept, and a
// meeting that is under way notices nothing.
func TestFlood(t *testing.T) {
	t.Parallel()
	s := listen(t, nil)
	tr, h, c := connect(t, s, nil)
	ufrag := tr.Local().Ufrag
	before := s.Stats()

	deliver := func(src netip.AddrPort, b []byte) {
		p := s.cfg.Pool.Get()
		p.SetLen(copy(p.Space(), b))
		if nobody := s.dispatch(p, src, s.locals[0]); nobody != nil {
			nobody.Add(1)
		}
		p.Release()
	}
	unknown := buildSTUN(t, stun.BindingRequest, stun.NewUsername("nobody:x"), stun.NewShortTermIntegrity("guess"), stun.Fingerprint)
	known := buildSTUN(t, stun.BindingRequest, stun.NewUsername(ufrag+":x"), stun.NewShortTermIntegrity("guess"), stun.Fingerprint)
	bare := buildSTUN(t, stun.BindingRequest)
	forged := buildSTUN(t, stun.BindingSuccess, stun.NewShortTermIntegrity("guess"))
	allocate := buildSTUN(t, stun.NewType(stun.MethodAllocate, stun.ClassRequest))
	rubbish := [][]byte{
		unknown, known, bare, forged, allocate, unknown[:19], unknown[:30],
		{0}, {1, 2, 3}, {20}, {22, 254, 253}, {63}, {64, 65}, {80}, {127}, {128}, {192}, {255},
		rtpPacket(1, 1, "clear"), receiverReport(1), bytes.Repeat([]byte{0x80}, rtpx.BufferSize),
	}
	src := netip.AddrFrom4([4]byte{203, 0, 113, 9})
	for i := range 10_000 {
		deliver(netip.AddrPortFrom(src, uint16(i)), rubbish[i%len(rubbish)])
	}

	after := s.Stats()
	if after.Addresses != before.Addresses || after.Transports != before.Transports {
		t.Errorf("state grew from %+v to %+v", before, after)
	}
	if after.UnknownUfrag == 0 || after.Unauthenticated == 0 || after.Strangers == 0 || after.Garbage == 0 {
		t.Errorf("not counted: %+v", after)
	}
	tr.cur.mu.Lock()
	sources := len(tr.cur.sources)
	tr.cur.mu.Unlock()
	if sources != 1 {
		t.Errorf("the agent knows %d sources, want its client alone", sources)
	}
	exchange(t, s, tr, h, c, 1)
}

// An endpoint that forges its neighbour's address in an authentic request does
// not get the neighbour's media.
func TestForgedSource(t *testing.T) {
	t.Parallel()
	s := listen(t, nil)
	tr, h, c := connect(t, s, nil)
	mallory, err := s.New(TransportConfig{}, newHeard())
	if err != nil {
		t.Fatal(err)
	}
	d := mallory.Local()
	b := buildSTUN(t, stun.BindingRequest, stun.NewUsername(d.Ufrag+":mallory"), stun.NewShortTermIntegrity(d.Pwd), stun.Fingerprint)
	p := s.cfg.Pool.Get()
	p.SetLen(copy(p.Space(), b))
	s.dispatch(p, c.nat.addr(), s.locals[0])
	p.Release()
	if s.addrs.get(c.nat.addr()) != tr {
		t.Error("the address changed hands")
	}
	exchange(t, s, tr, h, c, 1)
}

// The sources of one agent are bounded even for a client that knows the password.
func TestSourceLimit(t *testing.T) {
	t.Parallel()
	s := listen(t, func(c *Config) { c.MaxSources = 5 })
	tr, err := s.New(TransportConfig{}, newHeard())
	if err != nil {
		t.Fatal(err)
	}
	d := tr.Local()
	b := buildSTUN(t, stun.BindingRequest, stun.NewUsername(d.Ufrag+":x"), stun.NewShortTermIntegrity(d.Pwd), stun.Fingerprint)
	for i := range 20 {
		p := s.cfg.Pool.Get()
		p.SetLen(copy(p.Space(), b))
		s.dispatch(p, netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, 9}), uint16(1000+i)), s.locals[0])
		p.Release()
	}
	if st := s.Stats(); st.Addresses != 5 || st.Unauthenticated != 15 {
		t.Errorf("%+v", st)
	}
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Addresses != 0 {
		t.Errorf("after close: %+v", st)
	}
}

func TestSTUNUfrag(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("u", maxUfrag)
	for name, want := range map[string]string{
		"abcd:efgh": "abcd", "abcd:": "abcd", ":efgh": "", "abcd": "", "a:b:c": "a",
		long + ":x": long, long + "u:x": "",
	} {
		b := buildSTUN(t, stun.BindingRequest, stun.NewSoftware("odd"), stun.RawAttribute{Type: stun.AttrUsername, Value: []byte(name)})
		if got := stunUfrag(b); string(got) != want {
			t.Errorf("%.20s: %q, want %q", name, got, want)
		}
	}
}

// FuzzSTUN: any datagram is routed or dropped without panic, and never to an
// agent that its USERNAME does not name.
func FuzzSTUN(f *testing.F) {
	f.Add(buildSTUN(f, stun.BindingRequest, stun.NewUsername("abcd:efgh"), stun.Fingerprint))
	f.Add(buildSTUN(f, stun.BindingRequest))
	f.Add(buildSTUN(f, stun.BindingSuccess, stun.NewSoftware("x")))
	f.Add(buildSTUN(f, stun.BindingRequest, stun.NewSoftware("x"), stun.NewUsername(":")))
	f.Add([]byte{0, 1, 0, 4, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, ok := stunType(b)
		ufrag := stunUfrag(b)
		if !ok {
			return
		}
		_ = stunTransaction(b)
		stunAuthentic(b, "0123456789012345678901")
		m := stun.Message{Raw: append([]byte(nil), b...)}
		if err := m.Decode(); err != nil {
			return
		}
		name, err := m.Get(stun.AttrUsername)
		want, _, colon := bytes.Cut(name, []byte{':'})
		if err != nil || !colon || len(want) == 0 || len(want) > maxUfrag {
			if ufrag != nil {
				t.Errorf("ufrag %q of username %q", ufrag, name)
			}
			return
		}
		if !bytes.Equal(ufrag, want) {
			t.Errorf("ufrag %q, want %q", ufrag, want)
		}
	})
}

// FuzzDecrypt: bytes from a validated address never panic and never pass.
func FuzzDecrypt(f *testing.F) {
	f.Add(rtpPacket(1, 1, "x"))
	f.Add(receiverReport(1))
	f.Add([]byte{0x80})
	f.Add([]byte{0x9f, 0x6f, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0xbe, 0xde, 0xff, 0xff})
	s, tr, h, c := secured(f, "GCM-128")
	_ = tr
	in := &received{s: s, src: c.nat.addr()}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 2 || len(b) > rtpx.BufferSize {
			return
		}
		b[0] = b[0]&0x3f | 0x80
		before := h.n
		in.dispatch(b)
		if h.n != before {
			t.Errorf("%x passed", b)
		}
	})
}

func TestLimiter(t *testing.T) {
	t.Parallel()
	var l limiter
	const bits, packets = 80_000, 100
	now := int64(5)
	passed := 0
	for range 300 {
		if l.allow(now, 10, bits, packets) {
			passed++
		}
	}
	if passed != packets {
		t.Errorf("burst of %d packets, want %d", passed, packets)
	}
	// At twice the rate half comes through, however the time is cut.
	passed = 0
	for range 2000 {
		now += int64(1e9) / (2 * packets)
		if l.allow(now, 10, bits, packets) {
			passed++
		}
	}
	if passed < 995 || passed > 1005 {
		t.Errorf("%d of 2000 passed at twice the packet rate", passed)
	}
	now += 10e9
	passed = 0
	for l.allow(now, 1000, bits, packets) {
		passed++
	}
	if passed != bits/8000 {
		t.Errorf("%d packets of 1000 bytes in a burst, want %d", passed, bits/8000)
	}
}

func (x *transactions) size() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.m)
}

func TestTransactionsAreBounded(t *testing.T) {
	t.Parallel()
	x := transactions{m: map[transactionID]transaction{}}
	a, to := &agent{}, netip.MustParseAddrPort("203.0.113.1:5")
	id := func(i int) (id transactionID) {
		binary.BigEndian.PutUint32(id[:], uint32(i+1))
		return id
	}
	for i := range 1000 {
		x.begin(id(i), a, to)
	}
	if x.size() != transactionsPerAgent {
		t.Errorf("%d transactions kept", x.size())
	}
	if x.finish(id(0), to) != nil || x.finish(id(999), netip.MustParseAddrPort("203.0.113.1:6")) != nil {
		t.Error("an answer too late or from elsewhere was taken")
	}
	if x.finish(id(999), to) != a || x.finish(id(999), to) != nil {
		t.Error("an answer is taken once")
	}
	x.forget(a)
	x.begin(id(5), a, to)
	if x.size() != 0 {
		t.Errorf("%d transactions left of a closed agent", x.size())
	}
}
