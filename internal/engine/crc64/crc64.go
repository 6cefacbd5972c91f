// Package crc64 is CRC-64/NVME: the sum that guards every block on the disks and that the wire calls x-ms-content-crc64.
//
// Sums of neighbours combine into the sum of both without their bytes being read again, so that what was summed once, block by
// block on its way in, gives the sum of a chunk, of a block list and of a range.
package crc64

import "github.com/minio/crc64nvme"

// poly is the polynomial of CRC-64/NVME with its bits reflected: bit 63 is the coefficient of x^0.
const poly = 0x9a6c9329ac4bc9b5

// one is the polynomial 1, and x the polynomial x, in that order of bits.
const (
	one = 1 << 63
	x   = 1 << 62
)

// squares[n] is x^(2^n) modulo the polynomial.
var squares = func() (s [64]uint64) {
	s[0] = x
	for n := 1; n < len(s); n++ {
		s[n] = multiply(s[n-1], s[n-1])
	}
	return s
}()

// by64K is what a sum becomes when a whole block of 64 KiB follows, the commonest length: by64K[n][b] is that of a sum whose n-th byte
// is b and whose others are 0.
var by64K = func() (t [8][256]uint64) {
	by := shift(64 << 10)
	for n := range t {
		for bit := range 8 {
			one := multiply(by, 1<<(8*n+bit))
			for b := range 1 << bit {
				t[n][1<<bit|b] = t[n][b] ^ one
			}
		}
	}
	return t
}()

// Sum returns the sum of p. The sum of nothing is 0.
func Sum(p []byte) uint64 { return crc64nvme.Checksum(p) }

// Update returns the sum of what sum covers followed by p.
func Update(sum uint64, p []byte) uint64 { return crc64nvme.Update(sum, p) }

// Combine returns the sum of a followed by b, from their sums and the length of b in bytes.
func Combine(a, b uint64, lenB int64) uint64 {
	switch {
	case lenB <= 0:
		return a
	case a == 0:
		return b
	}
	if lenB == 64<<10 {
		for n := range by64K {
			b ^= by64K[n][byte(a>>(8*n))]
		}
		return b
	}
	return multiply(shift(lenB), a) ^ b
}

// shift returns x^(8n): what a sum is multiplied by when n bytes follow. The sum starts and ends with all bits inverted, and in
// the combination of two sums both inversions cancel, as in zlib's crc32_combine.
func shift(n int64) uint64 {
	p := uint64(one)
	for i := 3; n > 0; i++ {
		if n&1 != 0 {
			p = multiply(squares[i&63], p)
		}
		n >>= 1
	}
	return p
}

// multiply returns a·b modulo the polynomial.
func multiply(a, b uint64) uint64 {
	var p uint64
	for ; a != 0; a <<= 1 {
		// The two masks replace branches that would be mispredicted half of the time.
		p ^= b & -(a >> 63)
		b = b>>1 ^ poly&-(b&1)
	}
	return p
}
