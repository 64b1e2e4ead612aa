package stun

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(t testing.TB, b []byte) Message {
	t.Helper()
	m, ok := Parse(b)
	if !ok {
		t.Fatalf("no message: % x", b)
	}
	return m
}

// The messages of RFC 5769: §2.1, a request with short-term credentials.
const sampleRequest = `
	0001 0058 2112a442 b7e7a701bc34d686fa87dfae
	8022 0010 5354554e207465737420636c69656e74
	0024 0004 6e0001ff
	8029 0008 932ff9b151263b36
	0006 0009 6576746a3a68367659 202020
	0008 0014 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2
	8028 0004 e57a3bcf`

// §2.2 and §2.3, answers with addresses of both families.
const (
	sampleIPv4 = `
	0101 003c 2112a442 b7e7a701bc34d686fa87dfae
	8022 000b 7465737420766563746f72 20
	0020 0008 0001a147e112a643
	0008 0014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7
	8028 0004 c07d4c96`
	sampleIPv6 = `
	0101 0048 2112a442 b7e7a701bc34d686fa87dfae
	8022 000b 7465737420766563746f72 20
	0020 0014 0002a1470113a9faa5d3f179bc25f4b5bed2b9d9
	0008 0014 a382954e4be67bf11784c97c8292c275bfe3ed41
	8028 0004 c8fb0b4c`
)

// §2.4, a request with long-term credentials.
const sampleLongTerm = `
	0001 0060 2112a442 78ad3433c6ad72c029da412e
	0006 0012 e3839ee38388e383aae38383e382afe382b9 0000
	0015 001c 662f2f3439396b39353464364f4c33346f4c394653547679363473 41
	0014 000b 6578616d706c652e6f7267 00
	0008 0014 f67024656dd64a3e02b8e0712e85c9a28ca89666`

const samplePassword = "VOkJxbRl1RmTxUk/WvJxBt"

func TestRFC5769(t *testing.T) {
	t.Parallel()
	var w Builder
	m := parse(t, unhex(t, sampleRequest))
	if m.Method() != Binding || m.Class() != Request {
		t.Errorf("type %#x", m.Type())
	}
	if v, ok := m.Get(AttrSoftware); !ok || string(v) != "STUN test client" {
		t.Errorf("SOFTWARE %q", v)
	}
	if v, ok := m.Get(AttrUsername); !ok || string(v) != "evtj:h6vY" {
		t.Errorf("USERNAME %q", v)
	}
	if v, ok := m.Uint32(AttrPriority); !ok || v != 0x6e0001ff {
		t.Errorf("PRIORITY %#x", v)
	}
	for name, sample := range map[string]string{"192.0.2.1:32853": sampleIPv4, "[2001:db8:1234:5678:11:2233:4455:6677]:32853": sampleIPv6} {
		m := parse(t, unhex(t, sample))
		v, _ := m.Get(AttrXORMappedAddress)
		if ap, ok := m.Address(v); !ok || ap.String() != name {
			t.Errorf("XOR-MAPPED-ADDRESS %v, want %s", ap, name)
		}
		if m.Class() != Success {
			t.Errorf("type %#x", m.Type())
		}
	}
	for i, sample := range []string{sampleRequest, sampleIPv4, sampleIPv6} {
		m := parse(t, unhex(t, sample))
		if !m.Signed([]byte(samplePassword), &w) || m.Signed([]byte(samplePassword+"."), &w) {
			t.Errorf("sample %d: MESSAGE-INTEGRITY", i)
		}
		if present, valid := m.Fingerprinted(); !present || !valid {
			t.Errorf("sample %d: FINGERPRINT", i)
		}
	}
	m = parse(t, unhex(t, sampleLongTerm))
	key := md5.Sum([]byte("マトリックス:example.org:TheMatrIX"))
	if !m.Signed(key[:], &w) {
		t.Error("MESSAGE-INTEGRITY with a long-term key")
	}
	if present, valid := m.Fingerprinted(); present || !valid {
		t.Error("there is no FINGERPRINT")
	}
}

// A builder makes the very bytes of RFC 5769 §2.2, but for the padding, of which the
// sample has spaces.
func TestBuilderMakesRFC5769(t *testing.T) {
	t.Parallel()
	var w Builder
	for _, c := range []struct{ want, addr string }{{sampleIPv4, "192.0.2.1:32853"}, {sampleIPv6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"}} {
		want := unhex(t, c.want)
		w.Start(Binding|Success, ID(want[8:20]))
		w.AddString(AttrSoftware, "test vector")
		w.b[len(w.b)-1] = ' '
		w.AddXORAddress(AttrXORMappedAddress, netip.MustParseAddrPort(c.addr))
		w.Sign([]byte(samplePassword))
		w.Fingerprint()
		if !bytes.Equal(w.Bytes(), want) {
			t.Errorf("\n% x, want\n% x", w.Bytes(), want)
		}
	}
}

// Keys longer than a block of SHA-1 are hashed first (RFC 2104 §2, RFC 2202 §3).
func TestLongKey(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 63, 64, 65, 500} {
		key := bytes.Repeat([]byte{0xaa}, n)
		var w Builder
		w.Start(Binding, ID{1})
		w.Sign(key)
		m := parse(t, w.Bytes())
		if got, _ := m.Get(AttrMessageIntegrity); !bytes.Equal(got, theirs(t, m, key)) {
			t.Errorf("key of %d bytes: % x", n, got)
		}
	}
}

func TestBuilderRoundTrip(t *testing.T) {
	t.Parallel()
	var w Builder
	id := ID([]byte("transaction!"))
	for range 2 { // the second overwrites the first
		w.Start(Allocate|Error, id)
		w.AddError(CodeStaleNonce)
		w.AddUnknown([]uint16{0x7001, 0x7002, 0x7003})
		w.Add(AttrNonce, []byte("abcde"))
		w.AddUint32(AttrLifetime, 600)
		w.AddZeros(AttrPadding, 7)
		w.AddAddress(AttrResponseOrigin, netip.MustParseAddrPort("192.0.2.7:3478"))
		w.AddAddress(AttrOtherAddress, netip.MustParseAddrPort("[2001:db8::7]:3479"))
		w.AddXORAddress(AttrXORPeerAddress, netip.MustParseAddrPort("[::ffff:192.0.2.7]:3478"))
		w.Sign([]byte("key"))
		w.Fingerprint()
	}
	m := parse(t, w.Bytes())
	if m.Method() != Allocate || m.Class() != Error || m.ID() != id || m.ErrorCode() != 438 {
		t.Errorf("type %#x, id %x, code %d", m.Type(), m.ID(), m.ErrorCode())
	}
	for _, c := range []struct {
		kind uint16
		want string
	}{
		{AttrErrorCode, "\x00\x00\x04\x26Stale Nonce"},
		{AttrUnknownAttributes, "\x70\x01\x70\x02\x70\x03"},
		{AttrNonce, "abcde"},
		{AttrLifetime, "\x00\x00\x02\x58"},
		{AttrPadding, "\x00\x00\x00\x00\x00\x00\x00"},
		{AttrResponseOrigin, "\x00\x01\x0d\x96\xc0\x00\x02\x07"},
		{AttrOtherAddress, "\x00\x02\x0d\x97\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07"},
	} {
		if v, ok := m.Get(c.kind); !ok || string(v) != c.want {
			t.Errorf("%#x: %q, want %q", c.kind, v, c.want)
		}
	}
	v, _ := m.Get(AttrXORPeerAddress)
	if ap, ok := m.Address(v); !ok || ap != netip.MustParseAddrPort("192.0.2.7:3478") {
		t.Errorf("an IPv4 address in IPv6 form: %v", ap)
	}
	if _, valid := m.Fingerprinted(); !valid || !m.Signed([]byte("key"), &w) {
		t.Error("signature or fingerprint")
	}
	m[len(m)-1] ^= 1
	if present, valid := m.Fingerprinted(); !present || valid {
		t.Error("a wrong FINGERPRINT is taken for right")
	}
}

// Whoever is on the way can put something behind the signature.
func TestBehindTheSignature(t *testing.T) {
	t.Parallel()
	var w Builder
	w.Start(Allocate, ID{})
	w.AddUint32(AttrLifetime, 60)
	w.Sign([]byte("key"))
	w.AddUint32(AttrEvenPort, 1)
	w.AddUint32(0x7fff, 1)
	w.AddUint32(AttrFingerprint, 1)
	m := parse(t, w.Bytes())
	if m.Has(AttrEvenPort) || len(m.Unknown(nil)) != 0 || !m.Has(AttrLifetime) || !m.Has(AttrMessageIntegrity) || !m.Has(AttrFingerprint) {
		t.Error("what is signed is found and nothing else")
	}
	var seen []uint16
	m.Each(func(kind uint16, _ []byte) bool { seen = append(seen, kind); return true })
	if !slices.Equal(seen, []uint16{AttrLifetime}) {
		t.Errorf("%#x", seen)
	}
	if !m.Signed([]byte("key"), &w) {
		t.Error("the length that is signed ends with MESSAGE-INTEGRITY")
	}
}

func TestFingerprintIsLast(t *testing.T) {
	t.Parallel()
	var w Builder
	w.Start(Binding, ID{})
	w.Fingerprint()
	w.AddUint32(AttrPriority, 1)
	if present, valid := parse(t, w.Bytes()).Fingerprinted(); !present || valid {
		t.Error("FINGERPRINT before something else")
	}
}

func TestFirstOfSeveralCounts(t *testing.T) {
	t.Parallel()
	var w Builder
	w.Start(Refresh, ID{})
	w.AddUint32(AttrLifetime, 1)
	w.AddUint32(AttrLifetime, 2) // RFC 8489 §14: may be ignored
	if v, _ := parse(t, w.Bytes()).Uint32(AttrLifetime); v != 1 {
		t.Errorf("%d", v)
	}
}

func TestUnknown(t *testing.T) {
	t.Parallel()
	var w Builder
	w.Start(Allocate, ID{})
	w.AddUint32(0x8fff, 0) // may be ignored
	w.AddUint32(AttrLifetime, 0)
	for i := range uint16(maxUnknown + 5) {
		w.AddUint32(0x7000+i, 0)
	}
	if got := parse(t, w.Bytes()).Unknown(nil); len(got) != maxUnknown || got[0] != 0x7000 {
		t.Errorf("%#x", got)
	}
}

func TestFrames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		b    string
		ok   bool
	}{
		{"header only", "0001 0000 2112a442 000000000000000000000000", true},
		{"too short", "0001 0000 2112a442 0000000000000000000000", false},
		{"no cookie", "0001 0000 2112a443 000000000000000000000000", false},
		{"channel data", "4001 0000 2112a442 000000000000000000000000", false},
		{"longer than it says", "0001 0000 2112a442 000000000000000000000000 00000000", false},
		{"shorter than it says", "0001 0004 2112a442 000000000000000000000000", false},
		{"attribute without a header", "0001 0002 2112a442 000000000000000000000000 0006", false},
		{"empty attribute", "0001 0004 2112a442 000000000000000000000000 00060000", true},
		{"padding is missing", "0001 0005 2112a442 000000000000000000000000 00060001 61", false},
		{"padded", "0001 0008 2112a442 000000000000000000000000 00060001 61000000", true},
		{"attribute beyond the end", "0001 0008 2112a442 000000000000000000000000 00060005 61000000", false},
		{"attribute that wraps", "0001 0008 2112a442 000000000000000000000000 0006ffff 61000000", false},
	} {
		if _, ok := Parse(unhex(t, c.b)); ok != c.ok {
			t.Errorf("%s: %v", c.name, ok)
		}
	}
	if _, ok := Parse(nil); ok {
		t.Error("nothing is no message")
	}
	for _, c := range []struct {
		head string
		size int
	}{
		{"00010000", 20}, {"00010008", 28}, {"00010003", 0}, {"0001fffc", 20 + 0xfffc},
		{"40000000", 4}, {"40000001", 8}, {"40000004", 8}, {"4000ffff", 4 + 0x10000}, {"7fff0005", 12},
		{"80000000", 0}, {"ffffffff", 0}, {hex.EncodeToString([]byte("GET ")), 4 + 0x5420},
	} {
		if got := FrameSize(unhex(t, c.head)); got != c.size {
			t.Errorf("%s: %d, want %d", c.head, got, c.size)
		}
	}
}

func TestChannelData(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		b      string
		number uint16
		data   string
		ok     bool
	}{
		{"4001 0003 616263", 0x4001, "abc", true},
		{"4001 0003 616263 00", 0x4001, "abc", true}, // padded
		{"7fff 0000", 0x7fff, "", true},
		{"4001 0004 616263", 0, "", false},
		{"0001 0000", 0, "", false},
		{"8001 0000", 0, "", false},
		{"4001 00", 0, "", false},
		{"", 0, "", false},
	} {
		number, data, ok := ParseChannelData(unhex(t, c.b))
		if number != c.number || string(data) != c.data || ok != c.ok {
			t.Errorf("%s: %#x %q %v", c.b, number, data, ok)
		}
	}
	b := append(AppendChannelHeader(nil, 0x4abc, 3), "abc"...)
	if number, data, ok := ParseChannelData(b); !ok || number != 0x4abc || string(data) != "abc" {
		t.Errorf("% x", b)
	}
}

func TestDataIndication(t *testing.T) {
	t.Parallel()
	var w Builder
	for _, c := range []struct {
		peer string
		n    int
		ok   bool
	}{
		{"192.0.2.1:5000", 0, true}, {"192.0.2.1:5000", 5, true}, {"[2001:db8::1]:5000", 1200, true},
		{"192.0.2.1:5000", 65516, true}, {"192.0.2.1:5000", 65517, false},
		{"[2001:db8::1]:5000", 65504, true}, {"[2001:db8::1]:5000", 65505, false}, {"[2001:db8::1]:5000", 65535, false},
	} {
		peer := netip.MustParseAddrPort(c.peer)
		if ok := w.DataIndication(ID{1}, peer, c.n); ok != c.ok {
			t.Errorf("%d bytes of %s: %v", c.n, peer, ok)
		} else if ok {
			m := parse(t, append(bytes.Clone(w.Bytes()), make([]byte, padded(c.n))...))
			v, _ := m.Get(AttrXORPeerAddress)
			ap, _ := m.Address(v)
			if data, _ := m.Get(AttrData); len(data) != c.n || ap != peer || m.Type() != Data|Indication {
				t.Errorf("%d bytes of %s, type %#x", len(data), ap, m.Type())
			}
		}
	}
}

// What a server does with every message of a stranger.
func TestNothingAllocates(t *testing.T) {
	var w Builder
	b := unhex(t, sampleLongTerm)
	key := md5.Sum([]byte("マトリックス:example.org:TheMatrIX"))
	mapped := netip.MustParseAddrPort("192.0.2.1:5000")
	work := func() {
		m, ok := Parse(b)
		_, valid := m.Fingerprinted()
		if !ok || !valid || !m.Signed(key[:], &w) || len(m.Unknown(nil)) != 0 || !m.Has(AttrNonce) {
			t.Fatal("it is a good message")
		}
		w.Start(m.Method()|Success, m.ID())
		w.AddXORAddress(AttrXORMappedAddress, mapped)
		w.AddError(CodeForbidden)
		w.Sign(key[:])
		w.Fingerprint()
		w.DataIndication(ID{}, mapped, 100)
	}
	work() // the buffer grows once
	if n := testing.AllocsPerRun(100, work); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSigned(b *testing.B) {
	var w Builder
	raw := unhex(b, sampleLongTerm)
	key := md5.Sum([]byte("マトリックス:example.org:TheMatrIX"))
	b.ReportAllocs()
	for b.Loop() {
		if m, _ := Parse(raw); !m.Signed(key[:], &w) {
			b.Fatal("not signed")
		}
	}
}
