package relay

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"time"
)

// nonces makes and checks nonces without keeping any: the time and a MAC of it and of
// the client's address (turn.md §7.7). One that was harvested elsewhere is worth
// nothing, and a restart invalidates none if the key is kept.
type nonces struct{ key []byte }

const (
	nonceMAC  = 8                  // bytes
	nonceSize = 2 * (4 + nonceMAC) // in hex
	clockSkew = 5 * time.Second
)

func newNonces(key []byte) *nonces {
	if len(key) == 0 {
		key = make([]byte, 32)
		_, _ = rand.Read(key) // it never fails
	}
	return &nonces{key}
}

func (n *nonces) sum(src netip.AddrPort, stamp uint32) (out [4 + nonceMAC]byte) {
	binary.BigEndian.PutUint32(out[:], stamp)
	var in [4 + 16 + 2]byte
	copy(in[:], out[:4])
	ip := src.Addr().As16()
	copy(in[4:], ip[:])
	binary.BigEndian.PutUint16(in[20:], src.Port())
	mac := hmac.New(sha256.New, n.key)
	mac.Write(in[:])
	var sum [sha256.Size]byte
	copy(out[4:], mac.Sum(sum[:0]))
	return out
}

// make returns a nonce for a client.
func (n *nonces) make(src netip.AddrPort, now time.Time) []byte {
	s := n.sum(src, uint32(now.Unix()))
	return hex.AppendEncode(nil, s[:])
}

// valid reports whether a nonce was made for the client and is not stale: no older than
// lifetime, unless that is 0.
func (n *nonces) valid(nonce []byte, src netip.AddrPort, now time.Time, lifetime time.Duration) bool {
	var b [4 + nonceMAC]byte
	if len(nonce) != nonceSize {
		return false
	}
	if _, err := hex.Decode(b[:], nonce); err != nil {
		return false
	}
	stamp := binary.BigEndian.Uint32(b[:])
	age := now.Sub(time.Unix(int64(stamp), 0))
	if age < -clockSkew || lifetime > 0 && age > lifetime {
		return false
	}
	want := n.sum(src, stamp)
	return hmac.Equal(b[:], want[:])
}
