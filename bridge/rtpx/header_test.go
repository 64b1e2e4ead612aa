package rtpx

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/pion/rtp"
)

// unhex reads bytes written with spaces.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestHeaderOneByteExtensions(t *testing.T) {
	t.Parallel()
	// RFC 8285 §4.2 figure: elements of 1, 2 and 4 bytes, padding in between.
	b := unhex(t, "91 EF 1234 00000102 DEADBEEF  CAFEBABE"+
		"BEDE 0003  10 AA  21 BBBB  00 00  33 CCCCCCCC"+" 11223344")
	var h Header
	if !h.Parse(b) {
		t.Fatal("not parsed")
	}
	if h.SSRC != 0xDEADBEEF || h.TS != 0x102 || h.Seq != 0x1234 || h.PT != 111 || !h.Marker || h.CSRCs != 1 {
		t.Fatalf("%+v", h)
	}
	for id, want := range map[uint8]string{1: "aa", 2: "bbbb", 3: "cccccccc"} {
		if e, ok := h.Ext(b, id); !ok || hex.EncodeToString(e) != want {
			t.Errorf("extension %d: %x %v", id, e, ok)
		}
	}
	if _, ok := h.Ext(b, 4); ok {
		t.Error("extension 4 invented")
	}
	if got := hex.EncodeToString(h.Payload(b)); got != "11223344" {
		t.Errorf("payload %s", got)
	}
}

func TestHeaderTwoByteExtensions(t *testing.T) {
	t.Parallel()
	// RFC 8285 §4.3 figure: an empty element, one of 1 and one of 4 bytes.
	b := unhex(t, "90 6F 0001 00000000 00000001"+"1000 0003  01 00  02 01 AA  00  03 04 CCCCCCCC"+" 55")
	var h Header
	if !h.Parse(b) {
		t.Fatal("not parsed")
	}
	if e, ok := h.Ext(b, 1); !ok || len(e) != 0 {
		t.Error("empty element")
	}
	if e, ok := h.Ext(b, 3); !ok || hex.EncodeToString(e) != "cccccccc" {
		t.Errorf("element 3: %x", e)
	}
}

func TestHeaderPaddingAndDamage(t *testing.T) {
	t.Parallel()
	var h Header
	b := unhex(t, "A0 60 0001 00000000 00000001  AABB 000003")
	if !h.Parse(b) || h.Padding != 3 || h.PayloadLen() != 2 {
		t.Fatalf("padding %d, payload %d", h.Padding, h.PayloadLen())
	}
	for name, s := range map[string]string{
		"short":               "80 60 0001 00000000 000000",
		"version 1":           "40 60 0001 00000000 00000001",
		"csrc beyond the end": "8F 60 0001 00000000 00000001 00000000",
		"ext beyond the end":  "90 60 0001 00000000 00000001 BEDE 0004 10AA0000",
		"ext header cut":      "90 60 0001 00000000 00000001 BEDE",
		"padding 0":           "A0 60 0001 00000000 00000001 AA00",
		"padding too long":    "A0 60 0001 00000000 00000001 AA03",
	} {
		if h.Parse(unhex(t, s)) {
			t.Errorf("%s: parsed", name)
		}
	}
	// An element that runs over the block ends the walk.
	b = unhex(t, "90 60 0001 00000000 00000001 BEDE 0001 1FAAAAAA")
	if !h.Parse(b) {
		t.Fatal("not parsed")
	}
	if _, ok := h.Ext(b, 1); ok {
		t.Error("broken element found")
	}
}

func TestExtWriter(t *testing.T) {
	t.Parallel()
	var w ExtWriter
	b := make([]byte, 200)
	for _, long := range []bool{false, true} {
		n := PutHeader(b, 100, true, 7, 8, 9)
		w.Reset()
		w.Add(0, []byte{1}) // not negotiated
		w.Add(5, []byte{0x12, 0x34})
		w.Add(3, []byte{1, 2, 3})
		dd := []byte{9, 9, 9}
		if long {
			dd = bytes.Repeat([]byte{7}, 40) // needs the two-byte form
		}
		w.Add(11, dd)
		end, at := w.Put(b)
		if end != n+w.Len() || end%4 != 0 {
			t.Fatalf("length %d, said %d", end, w.Len())
		}
		if b[at[0]] != 0x12 || !bytes.Equal(b[at[2]:int(at[2])+len(dd)], dd) {
			t.Error("offsets")
		}
		b[end] = 0xEE
		var h Header
		if !h.Parse(b[:end+1]) || h.PayloadLen() != 1 {
			t.Fatal("not parsed")
		}
		// pion/rtp is the judge.
		var p rtp.Packet
		if err := p.Unmarshal(b[:end+1]); err != nil {
			t.Fatal(err)
		}
		for id, want := range map[uint8][]byte{5: {0x12, 0x34}, 3: {1, 2, 3}, 11: dd} {
			if e, ok := h.Ext(b, id); !ok || !bytes.Equal(e, want) || !bytes.Equal(p.GetExtension(id), want) {
				t.Errorf("long %v, extension %d: %x, pion %x", long, id, e, p.GetExtension(id))
			}
		}
	}
}

func TestUnwrapRetransmission(t *testing.T) {
	t.Parallel()
	pool := NewPool()
	p := pool.Get()
	defer p.Release()
	b := unhex(t, "B0 E0 00FF 00000005 0000AAAA  BEDE 0001 51000100"+"1234 C0FFEE 00 02")
	p.SetLen(copy(p.Space(), b))
	var h Header
	if !h.Parse(p.Bytes()) || !p.Unwrap(&h, 0xBBBB, 100) {
		t.Fatal("not unwrapped")
	}
	if h.Seq != 0x1234 || h.SSRC != 0xBBBB || h.PT != 100 || !h.Marker || h.Padding != 0 {
		t.Errorf("%+v", h)
	}
	if got := hex.EncodeToString(h.Payload(p.Bytes())); got != "c0ffee" {
		t.Errorf("payload %s", got)
	}
	p.SetLen(copy(p.Space(), unhex(t, "80 60 00FF 00000005 0000AAAA 12")))
	if h.Parse(p.Bytes()); p.Unwrap(&h, 1, 1) {
		t.Error("one byte unwrapped")
	}
}

func TestSeqHelpers(t *testing.T) {
	t.Parallel()
	if !SeqNewer(0, 65535) || SeqNewer(65535, 0) || SeqNewer(5, 5) || !TSNewer(1, 0xFFFFFFF0) {
		t.Error("comparison in the circle")
	}
	var u Unwrapper
	for i, c := range []struct {
		seq  uint16
		want int64
	}{{65534, 131070}, {65535, 131071}, {1, 131073}, {0, 131072}, {65533, 131069}, {2, 131074}} {
		if got := u.Unwrap(c.seq); got != c.want {
			t.Errorf("%d: %d is %d, want %d", i, c.seq, got, c.want)
		}
	}
	if l, ok := u.Last(); l != 131074 || !ok {
		t.Error("last", l)
	}
}

func FuzzHeader(f *testing.F) {
	f.Add(unhex(f, "91EF123400000102DEADBEEFCAFEBABEBEDE000310AA21BBBB000033CCCCCCCC11223344"))
	f.Add(unhex(f, "906F00010000000000000001100000030100020 1AA000304CCCCCCCC55"))
	f.Add(unhex(f, "A060000100000000 00000001AABB000003"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > BufferSize {
			return
		}
		p := NewPool().Get()
		p.SetLen(copy(p.Space(), b))
		var h Header
		if !h.Parse(p.Bytes()) {
			return
		}
		it := h.Exts(p.Bytes())
		for it.Next() {
			if it.ID == 0 {
				t.Fatal("id 0")
			}
		}
		if len(h.Payload(p.Bytes())) != h.PayloadLen() {
			t.Fatal("payload")
		}
		n := h.PayloadLen()
		if p.Unwrap(&h, 1, 2) && (h.SSRC != 1 || h.PT != 2 || h.PayloadLen() != n-2) {
			t.Fatal("unwrap")
		}
	})
}
