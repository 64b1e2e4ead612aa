// Package cleartext keeps DTLS connections from what is not encrypted.
//
// Records that nobody has encrypted (epoch 0) are good for a handshake. After it
// anybody could have written them who puts the client's address on a packet, and an alert
// among them, or something malformed, would end the connection: pion tells the epochs
// apart only where it decrypts. RFC 6347 §4.1.2.7: what is invalid is dropped in silence.
package cleartext

import (
	"encoding/binary"
	"sync/atomic"
	"time"
)

// recordHeader is the length of that of a record (RFC 6347 §4.1), without connection ids.
const recordHeader = 13

// Content types (RFC 5246 §6.2.1).
const (
	recordChangeCipher = 20
	recordHandshake    = 22
)

// repeatFor is how long a client that has not got our last flight may repeat its own.
const repeatFor = 30 * time.Second

// Filter is what is known of the handshake of one connection. Its zero value lets
// everything pass.
type Filter struct {
	at     atomic.Int64
	proved atomic.Bool
}

// Shaken says that the handshake is over. now is in ns of any clock, and not 0.
func (f *Filter) Shaken(now int64) { f.at.Store(now) }

// Proved says that the client has used its keys, so that it needs no record of the
// handshake any more.
func (f *Filter) Proved() {
	if !f.proved.Load() {
		f.proved.Store(true)
	}
}

// Drops reports whether a datagram of DTLS is not to be looked at.
func (f *Filter) Drops(b []byte, now int64) bool {
	at := f.at.Load()
	if at == 0 {
		return false
	}
	late := f.proved.Load() || now-at > int64(repeatFor)
	for len(b) > 0 {
		if len(b) < recordHeader {
			return true
		}
		kind, epoch, end := b[0], binary.BigEndian.Uint16(b[3:]), recordHeader+int(binary.BigEndian.Uint16(b[11:]))
		if len(b) < end {
			return true
		}
		if epoch == 0 && (late || kind != recordHandshake && (kind != recordChangeCipher || end != recordHeader+1 || b[recordHeader] != 1)) {
			return true
		}
		b = b[end:]
	}
	return false
}
