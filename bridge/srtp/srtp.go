// Package srtp encrypts and decrypts RTP in place under the keys of a DTLS
// handshake: AEAD_AES_128_GCM and AEAD_AES_256_GCM (RFC 7714) and
// AES_CM_128_HMAC_SHA1_80 (RFC 3711). SRTCP is not here: pion/srtp is fast
// enough for it, and the oracle of the tests.
//
// Rules of this package:
//   - Nothing allocates per packet, only the first packet of an SSRC.
//   - A packet index is used once for sending, except to send the very same
//     bytes again: other bytes under the same nonce would give the
//     authentication key of GCM away (RFC 7714 §8.4). The caller sees to it.
//   - What does not authenticate leaves no state behind.
//   - An Encrypter or Decrypter belongs to one goroutine at a time.
package srtp

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
)

// Profile is a protection profile by its number in the use_srtp extension.
type Profile uint16

// Profiles (RFC 5764 §4.1.2, RFC 7714 §14.2).
const (
	AES128CMSHA1 Profile = 0x0001
	AES128GCM    Profile = 0x0007
	AES256GCM    Profile = 0x0008
)

// Overhead is the most that encryption adds to an RTP packet: the tag of GCM.
const Overhead = gcmTag

// Errors.
var (
	ErrMalformed = errors.New("srtp: no RTP packet")
	ErrIndex     = errors.New("srtp: packet index before the first or beyond the last")
	ErrRoom      = errors.New("srtp: no room for the tag")
)

// Labels of session keys (RFC 3711 §4.3.1).
const (
	labelKey  = 0
	labelAuth = 1
	labelSalt = 2
)

// crypt is what both directions have.
type crypt struct {
	aead  cipher.AEAD // nil for AES-CM
	cm    *counterMode
	salt  [16]byte // the session salt, and zeros
	nonce [12]byte // scratch
}

// sizes of a profile's master key and salt.
func (p Profile) sizes() (key, salt int, ok bool) {
	switch p {
	case AES128CMSHA1:
		return 16, 14, true
	case AES128GCM:
		return 16, 12, true
	case AES256GCM:
		return 32, 12, true
	}
	return 0, 0, false
}

func newCrypt(p Profile, key, salt []byte) (*crypt, error) {
	k, s, ok := p.sizes()
	if !ok {
		return nil, fmt.Errorf("srtp: unknown profile %#04x", uint16(p))
	}
	if len(key) != k || len(salt) != s {
		return nil, fmt.Errorf("srtp: key of %d and salt of %d bytes for profile %#04x", len(key), len(salt), uint16(p))
	}
	master, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("srtp: master key: %w", err)
	}
	c := &crypt{}
	derive(c.salt[:s], master, salt, labelSalt)
	session := make([]byte, k)
	derive(session, master, salt, labelKey)
	block, err := aes.NewCipher(session)
	if err != nil {
		return nil, fmt.Errorf("srtp: session key: %w", err)
	}
	if p == AES128CMSHA1 {
		auth := make([]byte, 20)
		derive(auth, master, salt, labelAuth)
		c.cm, err = newCounterMode(block, c.salt, auth)
	} else {
		c.aead, err = cipher.NewGCM(block)
	}
	if err != nil {
		return nil, fmt.Errorf("srtp: %w", err)
	}
	return c, nil
}

// derive fills out with a session key (RFC 3711 §4.3.1, key derivation rate 0,
// with the AES-CM generator of §4.3.3). The salt of GCM, 96 bits, counts as one
// of 112 that ends in zeros (RFC 7714 §11).
func derive(out []byte, master cipher.Block, salt []byte, label byte) {
	var in, block [aes.BlockSize]byte
	copy(in[:], salt)
	in[7] ^= label
	for n := uint16(0); len(out) > 0; n++ {
		binary.BigEndian.PutUint16(in[14:], n)
		master.Encrypt(block[:], in[:])
		out = out[copy(out, block[:]):]
	}
}

// headerLen is where the payload of an RTP packet begins: behind the CSRCs and
// the header extension, none of which are encrypted.
func headerLen(b []byte) (int, bool) {
	if len(b) < 12 || b[0]>>6 != 2 {
		return 0, false
	}
	n := 12 + 4*int(b[0]&0x0F)
	if b[0]&0x10 != 0 {
		if len(b) < n+4 {
			return 0, false
		}
		n += 4 + 4*int(binary.BigEndian.Uint16(b[n+2:]))
	}
	return n, n <= len(b)
}

const gcmTag = 16

// setNonce makes the nonce of a packet (RFC 7714 §8.1).
func (c *crypt) setNonce(ssrc uint32, index uint64) {
	// 16 zero bits, the SSRC, the packet index, all XOR the salt.
	hi := binary.BigEndian.Uint64(c.salt[:]) ^ uint64(ssrc)<<16 ^ index>>32
	lo := binary.BigEndian.Uint32(c.salt[8:]) ^ uint32(index)
	binary.BigEndian.PutUint64(c.nonce[:], hi)
	binary.BigEndian.PutUint32(c.nonce[8:], lo)
}

// seal encrypts b, which has room behind it, from byte n on.
func (c *crypt) seal(b []byte, n int, ssrc uint32, index uint64) []byte {
	if c.aead == nil {
		return c.cm.seal(b, n, ssrc, index)
	}
	c.setNonce(ssrc, index)
	return c.aead.Seal(b[:n], c.nonce[:], b[n:], b[:n])
}

// open decrypts b from byte n on. ok is false when it does not authenticate;
// then b is no good any more.
func (c *crypt) open(b []byte, n int, ssrc uint32, index uint64) (plain []byte, ok bool) {
	if c.aead == nil {
		return c.cm.open(b, n, ssrc, index)
	}
	if len(b) < n+gcmTag {
		return nil, false
	}
	c.setNonce(ssrc, index)
	plain, err := c.aead.Open(b[:n], c.nonce[:], b[n:], b[:n])
	return plain, err == nil
}
