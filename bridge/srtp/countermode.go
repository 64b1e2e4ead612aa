package srtp

import (
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1"
	"encoding"
	"encoding/binary"
	"fmt"
	"hash"
)

// counterMode is AES_CM_128_HMAC_SHA1_80 (RFC 3711 §4.1.1, §4.2.1).
type counterMode struct {
	*keystream
	salt [16]byte

	// HMAC (RFC 2104) from the states of SHA-1 after the padded keys. The
	// standard library's costs two more blocks, and an allocation.
	h            hash.Hash
	load         encoding.BinaryUnmarshaler // the same hash
	inner, outer []byte
	sum          [sha1.Size]byte
}

// cmTag is the length of a tag: SHA-1 cut to 80 bits.
const cmTag = 10

func newCounterMode(block cipher.Block, salt [16]byte, auth []byte) (*counterMode, error) {
	m := &counterMode{salt: salt, h: sha1.New()}
	var ok bool
	if m.load, ok = m.h.(encoding.BinaryUnmarshaler); !ok {
		return nil, fmt.Errorf("SHA-1 has no state that can be set")
	}
	var err error
	if m.inner, err = m.padded(auth, 0x36); err == nil {
		m.outer, err = m.padded(auth, 0x5C)
	}
	if err == nil {
		m.keystream, err = newKeystream(block, salt)
	}
	return m, err
}

// padded is the state of SHA-1 after the key.
func (m *counterMode) padded(key []byte, pad byte) ([]byte, error) {
	var k [sha1.BlockSize]byte
	copy(k[:], key)
	for i := range k {
		k[i] ^= pad
	}
	m.h.Reset()
	m.h.Write(k[:])
	return m.h.(encoding.BinaryMarshaler).MarshalBinary()
}

// tag is the authentication tag of b, which has 4 bytes of capacity behind it.
func (m *counterMode) tag(b []byte, roc uint32) []byte {
	b = binary.BigEndian.AppendUint32(b, roc)
	// What MarshalBinary has made, UnmarshalBinary takes.
	_ = m.load.UnmarshalBinary(m.inner)
	m.h.Write(b)
	sum := m.h.Sum(m.sum[:0])
	_ = m.load.UnmarshalBinary(m.outer)
	m.h.Write(sum)
	return m.h.Sum(m.sum[:0])[:cmTag]
}

// xor encrypts or decrypts b: AES over a counter that starts at
// salt·2^16 XOR SSRC·2^64 XOR index·2^16.
func (m *counterMode) xor(b []byte, ssrc uint32, index uint64) {
	mid := binary.BigEndian.Uint64(m.salt[4:]) ^ uint64(ssrc)<<32 ^ index>>16
	high := binary.BigEndian.Uint16(m.salt[12:]) ^ uint16(index)
	m.keystream.xor(b, mid, high)
}

func (m *counterMode) seal(b []byte, n int, ssrc uint32, index uint64) []byte {
	m.xor(b[n:], ssrc, index)
	return append(b, m.tag(b, uint32(index>>16))...)
}

func (m *counterMode) open(b []byte, n int, ssrc uint32, index uint64) ([]byte, bool) {
	end := len(b) - cmTag
	if end < n {
		return nil, false
	}
	var tag [cmTag]byte
	copy(tag[:], b[end:]) // the roll-over counter takes its place
	b = b[:end]
	if !hmac.Equal(tag[:], m.tag(b, uint32(index>>16))) {
		return nil, false
	}
	m.xor(b[n:], ssrc, index)
	return b, true
}
