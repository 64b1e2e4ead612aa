package rtpx

import (
	"encoding/hex"
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

func FuzzRED(f *testing.F) {
	f.Add(unhex(f, "EF0F00026FAABBC0FFEE"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, d, ok := REDPrimary(b); ok && (len(d) == 0 || len(d) >= len(b)) {
			t.Fatal("primary")
		}
	})
}
