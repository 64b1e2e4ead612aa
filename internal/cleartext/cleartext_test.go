package cleartext

import (
	"testing"
	"time"
)

// record is one of DTLS 1.2.
func record(kind, epoch byte, payload ...byte) []byte {
	return append([]byte{kind, 0xFE, 0xFD, 0, epoch, 0, 0, 0, 0, 0, 9, 0, byte(len(payload))}, payload...)
}

func TestRecordsInClear(t *testing.T) {
	t.Parallel()
	sealed := record(23, 1, 1, 2, 3)
	repeated := append(append(record(22, 0, 11, 0, 0, 0), record(20, 0, 1)...), record(22, 1, 1, 2, 3, 4)...)
	for _, c := range []struct {
		what                  string
		datagram              []byte
		before, early, proved bool // is it dropped before the handshake's end, after it, and after keys were used
	}{
		{"encrypted", sealed, false, false, false},
		{"encrypted alert", record(21, 1, 9, 9), false, false, false},
		{"the client's last flight", repeated, false, false, true},
		{"alert", record(21, 0, 2, 40), false, true, true},
		{"alert behind what is encrypted", append(sealed[:len(sealed):len(sealed)], record(21, 0, 1, 0)...), false, true, true},
		{"alert behind a handshake", append(record(22, 0, 1), record(21, 0, 1, 0)...), false, true, true},
		{"data", record(23, 0, 1), false, true, true},
		{"malformed change of cipher", record(20, 0, 7), false, true, true},
		{"unknown kind", record(60, 0, 1), false, true, true},
		{"cut", sealed[:5], false, true, true},
		{"longer than it is", []byte{23, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 1, 0xFF, 0xFF, 1}, false, true, true},
		{"tail", append(sealed[:len(sealed):len(sealed)], 23), false, true, true},
	} {
		var h Filter
		if got := h.Drops(c.datagram, 5); got != c.before {
			t.Errorf("%s: dropped before the end of the handshake: %v", c.what, got)
		}
		h.Shaken(1)
		if got := h.Drops(c.datagram, 5); got != c.early {
			t.Errorf("%s: dropped after it: %v", c.what, got)
		}
		if got := h.Drops(c.datagram, int64(time.Minute)); got != c.proved {
			t.Errorf("%s: dropped a minute after it: %v", c.what, got)
		}
		h.Proved()
		if got := h.Drops(c.datagram, 5); got != c.proved {
			t.Errorf("%s: dropped when keys have been used: %v", c.what, got)
		}
	}
}

func FuzzRecords(f *testing.F) {
	f.Add(record(21, 0, 2, 40))
	f.Add(record(22, 0, 1, 2, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h Filter
		h.Shaken(1)
		_ = h.Drops(b, 2)
	})
}
