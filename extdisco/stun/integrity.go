package stun

import (
	"crypto/sha1"
	"encoding/binary"
	"hash"
)

// integrity computes HMAC-SHA1 (RFC 2104) with one key after the other: package hmac
// would allocate for each.
type integrity struct {
	hash hash.Hash
	pad  [sha1.BlockSize]byte
	head [HeaderSize]byte
	out  [integritySize]byte
}

// sum is the HMAC of a message as far as MESSAGE-INTEGRITY, with a length in the header
// as if it ended with that attribute (RFC 8489 §14.5). It is good until the next.
func (i *integrity) sum(key, m []byte) []byte {
	if i.hash == nil {
		i.hash = sha1.New()
	}
	if len(key) > len(i.pad) {
		i.hash.Reset()
		i.hash.Write(key)
		key = i.hash.Sum(i.out[:0])
	}
	copy(i.head[:], m)
	binary.BigEndian.PutUint16(i.head[2:], uint16(len(m)-HeaderSize+attributeSize+integritySize))
	clear(i.pad[:])
	copy(i.pad[:], key)
	i.start(0x36)
	i.hash.Write(i.head[:])
	i.hash.Write(m[HeaderSize:])
	inner := i.hash.Sum(i.out[:0])
	i.start(0x36 ^ 0x5c)
	i.hash.Write(inner)
	return i.hash.Sum(i.out[:0])
}

// start begins a hash with the key, which is XORed with mask on top of what it was
// before.
func (i *integrity) start(mask byte) {
	for j := range i.pad {
		i.pad[j] ^= mask
	}
	i.hash.Reset()
	i.hash.Write(i.pad[:])
}
