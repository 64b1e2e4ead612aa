package credential

import (
	"encoding/hex"
	"testing"
	"time"
)

// The vector was computed with coturn's algorithm.
func TestVector(t *testing.T) {
	s := Secrets{"north", "old"}
	expires := time.Date(2026, 11, 22, 20, 40, 0, 0, time.UTC)
	c, err := s.Mint(expires.Add(-24*time.Hour), 24*time.Hour, "k3v9")
	if err != nil {
		t.Fatal(err)
	}
	if c.Username != "1795380000:k3v9" || c.Password != "lUjX43rrbsM3zTIuckgU6x7fjfs=" || !c.Expires.Equal(expires) {
		t.Fatalf("%+v", c)
	}
	var ring Keyring
	ring.Set([]Secret{{Value: "north"}, {Value: "old"}}, nil)
	id, _ := ring.Lookup(c.Username, "meet.example.org", expires)
	if got := hex.EncodeToString(id.Keys[0]); len(id.Keys) != 2 || got != "01616f63150d284725a95889e3691d4a" {
		t.Fatalf("key %s of %d", got, len(id.Keys))
	}
}

func TestParse(t *testing.T) {
	for in, want := range map[string]struct {
		sec int64
		id  string
		ok  bool
	}{
		"1795380000:k3v9": {1795380000, "k3v9", true},
		"1795380000":      {1795380000, "", true},
		"k3v9:1795380000": {1795380000, "k3v9", true},
		"k3v9":            {},
		"":                {},
		":":               {},
		"-5:x":            {},
	} {
		exp, id, ok := Parse(in)
		if ok != want.ok || ok && (exp.Unix() != want.sec || id != want.id) {
			t.Errorf("%q: %v %q %v", in, exp, id, ok)
		}
	}
	if _, err := (Secrets{}).Mint(time.Now(), time.Hour, ""); err == nil {
		t.Error("minted without a secret")
	}
}
