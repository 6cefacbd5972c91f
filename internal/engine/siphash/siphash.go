// Package siphash is SipHash-2-4 (Aumasson and Bernstein, 2012), a keyed hash of short messages: who does not have the key cannot
// make the sum of a message, however many sums of others he has seen. It marks structures on the disks as the store's own, where
// bytes that clients chose lie beside them.
package siphash

import (
	"encoding/binary"
	"math/bits"
)

// Key is a secret of 128 bits.
type Key [16]byte

// Sum returns the sum of the words, each as 8 little-endian bytes.
func Sum(key *Key, words ...uint64) uint64 {
	k0, k1 := binary.LittleEndian.Uint64(key[:]), binary.LittleEndian.Uint64(key[8:])
	a, b, c, d := k0^0x736f6d6570736575, k1^0x646f72616e646f6d, k0^0x6c7967656e657261, k1^0x7465646279746573
	for _, w := range words {
		d ^= w
		a, b, c, d = round(a, b, c, d)
		a, b, c, d = round(a, b, c, d)
		a ^= w
	}
	end := uint64(len(words)) * 8 << 56 // the last block: no bytes left over, and the length modulo 256
	d ^= end
	a, b, c, d = round(a, b, c, d)
	a, b, c, d = round(a, b, c, d)
	a ^= end
	c ^= 0xff
	for range 4 {
		a, b, c, d = round(a, b, c, d)
	}
	return a ^ b ^ c ^ d
}

func round(a, b, c, d uint64) (uint64, uint64, uint64, uint64) {
	a += b
	b = bits.RotateLeft64(b, 13) ^ a
	a = bits.RotateLeft64(a, 32)
	c += d
	d = bits.RotateLeft64(d, 16) ^ c
	a += d
	d = bits.RotateLeft64(d, 21) ^ a
	c += b
	b = bits.RotateLeft64(b, 17) ^ c
	return a, b, bits.RotateLeft64(c, 32), d
}
