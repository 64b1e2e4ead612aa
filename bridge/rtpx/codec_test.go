package rtpx

import (
	"encoding/hex"
	"testing"
)

func TestVP8(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, in string
		want     VP8
	}{
		{"key frame, 640x360", "90 E0 8123 45 20 10 0200 9D012A 8002 6801",
			VP8{PictureID: 0x123, TL0: 0x45, TID: 0, Len: 6, Start: true, HasPictureID: true, LongID: true, HasTL0: true, HasTID: true, Sync: true}},
		{"short picture id, no layers", "90 80 11 01 00",
			VP8{PictureID: 0x11, Len: 3, Start: true, HasPictureID: true}},
		{"second packet of a frame", "80 F0 8124 46 62 AA",
			VP8{PictureID: 0x124, TL0: 0x46, TID: 1, Sync: true, KeyIdx: 2, Len: 6, HasPictureID: true, LongID: true, HasTL0: true, HasTID: true}},
		{"other partition", "11 01", VP8{Len: 1}},
		{"no extension, delta", "10 01 02 03", VP8{Len: 1, Start: true}},
	} {
		var v VP8
		if !v.Parse(unhex(t, c.in)) {
			t.Errorf("%s: not parsed", c.name)
			continue
		}
		got := v
		got.picOff, got.tl0Off = 0, 0
		if c.name == "key frame, 640x360" {
			c.want.Key, c.want.Width, c.want.Height = true, 640, 360
		}
		if got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, got, c.want)
		}
	}
	for _, s := range []string{"", "90", "90 80", "90 80 81", "90 C0 8123", "90 E0 8123 45", "90 E0 8123 45 20"} {
		var v VP8
		if v.Parse(unhex(t, s)) {
			t.Errorf("%q parsed", s)
		}
	}
}

func TestVP8Rewrite(t *testing.T) {
	t.Parallel()
	var v VP8
	b := unhex(t, "90 E0 8123 45 20 01")
	v.Parse(b)
	v.Rewrite(b, 0x7FFF, 9)
	if got := hex.EncodeToString(b); got != "90e0ffff092001" {
		t.Error(got)
	}
	b = unhex(t, "90 80 11 01 00")
	v.Parse(b)
	v.Rewrite(b, 0x1FF, 9)
	if got := hex.EncodeToString(b); got != "90807f0100" {
		t.Error(got)
	}
}

func TestVP9(t *testing.T) {
	t.Parallel()
	// Key picture, base layer, structure with three resolutions and a group of one.
	b := unhex(t, "AA 8007 00 2A"+"58 0140 00B4 0280 0168 0500 02D0 01 14 01"+"DE AD")
	var v VP9
	if !v.Parse(b) {
		t.Fatal("not parsed")
	}
	if !v.Key() || !v.Start || v.End || v.PictureID != 7 || v.TL0 != 0x2A || v.Layers != 3 ||
		v.Heights[0] != 180 || v.Heights[1] != 360 || v.Heights[2] != 720 || int(v.Len) != len(b)-2 {
		t.Errorf("%+v", v)
	}
	// Spatial layer 2, inter-layer, end of the picture, flexible with two references.
	b = unhex(t, "F4 8545 45 03 02 AA")
	if !v.Parse(b) || v.SID != 2 || v.TID != 2 || !v.InterLayer || !v.InterPicture || !v.Flexible || !v.End || v.HasTL0 || v.PictureID != 0x545 {
		t.Errorf("%+v", v)
	}
	v.Rewrite(b, 0x7ABC, 1)
	if got := hex.EncodeToString(b); got != "f4fabc450302aa" {
		t.Error(got)
	}
	for _, s := range []string{"", "80", "80 81", "A0 01", "A0 01 00", "F0 01 00 01 01 01 01 AA", "8A 01 58 0140", "8A 01 08", "8A 01 08 02 0C"} {
		if v.Parse(unhex(t, s)) {
			t.Errorf("%q parsed", s)
		}
	}
}

func TestH264(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]H264{
		"65 88":                               {IDR: true},
		"67 42 E0 1F":                         {SPS: true},
		"41 9A":                               {}, // slice
		"68 CE":                               {}, // PPS alone
		"78 0003 67 42E0 0002 68CE":           {SPS: true},
		"78 0003 67 42E0 0002 68CE 0002 6588": {SPS: true, IDR: true}, // STAP-A
		"78 0002 419A 0002 6588":              {IDR: true},
		"78 0002 419A 0002 419A":              {},
		"78 0009 67":                          {},          // cut
		"7C 85 88":                            {IDR: true}, // FU-A, start
		"7C 05 88":                            {},          // FU-A, middle of an IDR
		"7C 81 88":                            {},
		"7C":                                  {},
		"79 0001 0002 6588":                   {IDR: true}, // STAP-B
	} {
		var h H264
		if !h.Parse(unhex(t, s)) || h != want {
			t.Errorf("%s: %+v", s, h)
		}
	}
	if (&H264{}).Parse(nil) {
		t.Error("nothing was parsed")
	}
}

func TestAV1Aggregation(t *testing.T) {
	t.Parallel()
	// W=2: a sequence header of 3 bytes with its length, then a frame.
	b := unhex(t, "28 03 0A0102 32AABB")
	var a AV1
	if !a.Parse(b) || !a.Key || a.Continues {
		t.Errorf("%+v", a)
	}
	if b = unhex(t, "90 32AABB"); !a.Parse(b) || a.Key || !a.Continues {
		t.Errorf("%+v", a)
	}
}

func TestCodecNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]Codec{"VP8": CodecVP8, "vp9": CodecVP9, "H264": CodecH264, "AV1": CodecAV1, "opus": CodecOpus, "red": CodecOther} {
		if CodecNamed(name) != want {
			t.Error(name)
		}
	}
	if l := MakeLayer(1, 2, 2); l.String() != "E1S2T2" || l.Encoding() != 1 || l.Spatial() != 2 || l.Temporal() != 2 || NoLayer.String() != "none" {
		t.Error(l)
	}
}

func FuzzCodecs(f *testing.F) {
	for _, s := range []string{"90E0812345201002009D012A80026801", "AA8007002A580140 00B4028001680500 02D0011401DEAD",
		"78000367 42E0000268CE", "28030A010232AABB", "F4854503 02AA"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var v8 VP8
		if v8.Parse(b) {
			if int(v8.Len) >= len(b) {
				t.Fatal("vp8 length")
			}
			v8.Rewrite(b, 1, 2)
		}
		var v9 VP9
		if v9.Parse(b) {
			if int(v9.Len) >= len(b) {
				t.Fatal("vp9 length")
			}
			v9.Rewrite(b, 1, 2)
		}
		var h H264
		h.Parse(b)
		var a AV1
		a.Parse(b)
	})
}
