package rtpx

import "testing"

func TestVLA(t *testing.T) {
	t.Parallel()
	var v VLA
	// Two of three simulcast streams, three temporal layers each, seen on stream 1:
	// masks apart because the third is off.
	if !v.Parse(unhex(t, "60 1100 A0 32 50 64 C801 AC02 9003 013F 00B3 1E 027F 0167 1E")) {
		t.Fatal("not parsed")
	}
	a, b := v.Layers[0], v.Layers[1]
	if v.Stream != 1 || v.Streams != 3 || v.N != 2 ||
		a != (VLALayer{Stream: 0, Temporal: 3, Bitrate: [4]int64{50_000, 80_000, 100_000}, Width: 320, Height: 180, FPS: 30}) ||
		b != (VLALayer{Stream: 1, Temporal: 3, Bitrate: [4]int64{200_000, 300_000, 400_000}, Width: 640, Height: 360, FPS: 30}) {
		t.Errorf("%+v", v)
	}
	// One stream with three spatial layers, without sizes.
	if !v.Parse(unhex(t, "07 00 0A 14 1E")) || v.N != 3 || v.Layers[2] != (VLALayer{Spatial: 2, Temporal: 1, Bitrate: [4]int64{30_000}}) {
		t.Errorf("%+v", v)
	}
	if !v.Parse(unhex(t, "00")) || v.N != 0 {
		t.Error("a source that is off")
	}
	for _, s := range []string{"", "30", "3011", "01", "01 40 0A", "01 00 80", "01 00 8080808080"} {
		if v.Parse(unhex(t, s)) {
			t.Errorf("%q parsed: %+v", s, v)
		}
	}
}

func FuzzVLA(f *testing.F) {
	for _, s := range []string{"601100A03250 64C801AC029003013F00B31E027F01671E", "07000A141E", "00"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, e []byte) {
		var v VLA
		if v.Parse(e) && (v.N > maxVLALayers || v.Streams > maxVLAStreams || v.Stream > 3) {
			t.Fatalf("%+v", v)
		}
	})
}
