package srtp

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
)

// keystream is AES in counter mode from any start, without an allocation for
// each packet, which cipher.NewCTR has, and without going block by block, which
// takes twice as long: GCM encrypts with nothing else. It begins one block
// behind J0 = GHASH(nonce), and for nonces of 128 bits GHASH can be turned
// around: J0 = nonce·H² + L·H, with L the block of the lengths (NIST SP 800-38D
// §6.4, §7.1), so nonce = J0·H⁻² + L·H⁻¹. That is linear in the bits of J0, of
// which only those of SSRC and packet index change: ten bytes, two tables each.
// The tag that comes with it is thrown away.
type keystream struct {
	aead   cipher.AEAD
	fixed  element         // L·H⁻¹ and the bytes of J0 that never change
	tables [20][16]element // by half byte from byte 4 of J0 on
	nonce  [aes.BlockSize]byte
}

const streamTag = 16

// newKeystream makes it for a block cipher; the counters of packets begin with
// the first four bytes of salt.
func newKeystream(block cipher.Block, salt [16]byte) (*keystream, error) {
	aead, err := cipher.NewGCMWithNonceSize(block, aes.BlockSize)
	if err != nil {
		return nil, fmt.Errorf("AES counter mode: %w", err)
	}
	k := &keystream{aead: aead}
	var b [aes.BlockSize]byte
	block.Encrypt(b[:], b[:])
	inverse := load(&b).inverse()
	square := inverse.times(inverse)
	copy(b[:4], salt[:4])
	clear(b[4:14])
	b[14], b[15] = 0xFF, 0xFF // the block before counter 0
	k.fixed = load(&b).times(square).plus(element{0, 128}.times(inverse))
	for i := range k.tables {
		for v := range byte(16) {
			var b [aes.BlockSize]byte
			b[4+i/2] = v << (4 * (1 - i%2))
			k.tables[i][v] = load(&b).times(square)
		}
	}
	return k, nil
}

// xor encrypts or decrypts b under the key stream that begins with the counter
// made of the salt's first four bytes, mid, and high·2^16. What lies behind b, 16
// bytes of its capacity, is overwritten.
func (k *keystream) xor(b []byte, mid uint64, high uint16) {
	high-- // GCM counts in 32 bits; the lower ones of J0 are all set
	n := k.fixed
	for i := range 16 {
		n = n.plus(k.tables[i][mid>>(60-4*i)&15])
	}
	for i := range 4 {
		n = n.plus(k.tables[16+i][high>>(12-4*i)&15])
	}
	binary.BigEndian.PutUint64(k.nonce[:], n.hi)
	binary.BigEndian.PutUint64(k.nonce[8:], n.lo)
	if cap(b)-len(b) >= streamTag {
		k.aead.Seal(b[:0], k.nonce[:], b, nil)
	} else {
		copy(b, k.aead.Seal(nil, k.nonce[:], b, nil))
	}
}

// element is one of GF(2^128) as GCM has it: the first bit, the highest of hi, is
// the coefficient of x^0.
type element struct{ hi, lo uint64 }

func load(b *[aes.BlockSize]byte) element {
	return element{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])}
}

func (x element) plus(y element) element { return element{x.hi ^ y.hi, x.lo ^ y.lo} }

// times multiplies, bit by bit: it is for setting up only.
func (x element) times(y element) (z element) {
	for range 128 {
		if x.hi>>63 != 0 {
			z = z.plus(y)
		}
		x = element{x.hi<<1 | x.lo>>63, x.lo << 1}
		odd := y.lo & 1
		y = element{y.hi >> 1, y.hi<<63 | y.lo>>1}
		y.hi ^= -odd & (0xE1 << 56)
	}
	return z
}

// inverse is x^(2^128-2).
func (x element) inverse() element {
	z := element{hi: 1 << 63} // 1
	for range 127 {
		x = x.times(x)
		z = z.times(x)
	}
	return z
}
