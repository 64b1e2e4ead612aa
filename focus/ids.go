package focus

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/hex"
)

// newUUID is a random UUID (RFC 9562 §5.4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

var sidEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// newSID is a Jingle session id: 64 random bits in base 32.
func newSID() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return sidEncoding.EncodeToString(b[:])
}
