package rtpx

import (
	"encoding/hex"
	"strings"
	"testing"
)

func TestREDPrimary(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"6F 0102":                               "0102",   // no redundancy
		"EF 0F00 02 6F AABB C0FFEE":             "c0ffee", // one block of 2 bytes, 960 ticks back
		"EF 1E00 01 EF 0F00 02 6F AA BBBB 0102": "0102",   // two blocks
		"EF 0F00 02 6F AABB":                    "",       // nothing left for the primary
		"EF 0F00":                               "",       // header cut
		"":                                      "",
		"6F":                                    "",
		"EF 0F03 FF 6F AABB":                    "", // block longer than the packet
	} {
		pt, data, ok := REDPrimary(unhex(t, s))
		if hex.EncodeToString(data) != want || ok != (want != "") || ok && pt != 111 {
			t.Errorf("%s: %d %x %v", s, pt, data, ok)
		}
	}
}

func TestREDRedundant(t *testing.T) {
	t.Parallel()
	var r RED
	if !r.Parse(unhex(t, "EF 1E00 01 EF 0F00 02 6F AA BBBB 0102")) {
		t.Fatal("not read")
	}
	for back, want := range map[int]REDBlock{1: {111, 960, []byte{0xBB, 0xBB}}, 2: {111, 1920, []byte{0xAA}}} {
		if b, ok := r.Redundant(back); !ok || b.PT != want.PT || b.Offset != want.Offset || string(b.Data) != string(want.Data) {
			t.Errorf("%d packets ago: %+v %v", back, b, ok)
		}
	}
	for _, back := range []int{0, 3} {
		if b, ok := r.Redundant(back); ok {
			t.Errorf("%d packets ago: %+v", back, b)
		}
	}
	if !r.Parse(unhex(t, "EF 0F00 00 6F 0102")) {
		t.Fatal("an empty block")
	}
	if _, ok := r.Redundant(1); ok {
		t.Error("an empty block is nothing")
	}
	if r.Parse(unhex(t, strings.Repeat("EF 0F00 00", maxRED+1)+"6F 01")) {
		t.Error("more blocks than anybody sends")
	}
}

func FuzzRED(f *testing.F) {
	f.Add(unhex(f, "EF0F00026FAABBC0FFEE"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r RED
		ok := r.Parse(b)
		if ok && (len(r.Primary.Data) == 0 || len(r.Primary.Data) >= len(b)) {
			t.Fatal("primary")
		}
		sum := len(r.Primary.Data)
		for back := 1; ok; back++ {
			d, some := r.Redundant(back)
			if back > maxRED {
				break
			}
			if some {
				sum += len(d.Data)
			}
		}
		if ok && sum >= len(b) {
			t.Fatal("more than there is")
		}
	})
}
