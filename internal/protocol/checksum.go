package protocol

import (
	"encoding/base64"
	"encoding/binary"
	"math/bits"
)

// ParseMD5 reads a Content-MD5; InvalidMd5 if it is not 16 bytes in base64.
func ParseMD5(header, s string) (sum [16]byte, err error) {
	var buf [18]byte
	if len(s) != 24 {
		if _, err := base64.StdEncoding.DecodeString(s); err != nil {
			return sum, InvalidHeader(header, s)
		}
		return sum, ErrInvalidMd5
	}
	n, err := base64.StdEncoding.Decode(buf[:], []byte(s))
	switch {
	case err != nil:
		return sum, InvalidHeader(header, s)
	case n != 16:
		return sum, ErrInvalidMd5
	}
	copy(sum[:], buf[:16])
	return sum, nil
}

// ParseCRC64 reads an x-ms-content-crc64: the sum's 8 bytes, little-endian, in base64.
func ParseCRC64(header, s string) (uint64, error) {
	var buf [9]byte
	if len(s) != 12 {
		return 0, InvalidHeader(header, s)
	}
	n, err := base64.StdEncoding.Decode(buf[:], []byte(s))
	if err != nil || n != 8 {
		return 0, InvalidHeader(header, s)
	}
	return binary.LittleEndian.Uint64(buf[:8]), nil
}

// CRC64 returns a sum as it goes into x-ms-content-crc64.
func CRC64(sum uint64) string {
	var raw [8]byte
	var text [12]byte
	binary.LittleEndian.PutUint64(raw[:], sum)
	base64.StdEncoding.Encode(text[:], raw[:])
	return string(text[:])
}

// MD5 returns the 16 bytes of a sum as they go into Content-MD5.
func MD5[T string | []byte](sum T) string { return base64.StdEncoding.EncodeToString([]byte(sum)) }

// MD5Mismatch and CRC64Mismatch name both sums, as Azure does.
func MD5Mismatch(sent, computed [16]byte) *Error {
	return ErrMd5Mismatch.With("UserSpecifiedMd5", MD5(sent[:])).With("ServerCalculatedMd5", MD5(computed[:]))
}

// CRC64Mismatch is the refusal of a body whose CRC-64 is not the one sent.
func CRC64Mismatch(sent, computed uint64) *Error {
	return ErrCrc64Mismatch.With("UserSpecifiedCrc", CRC64(sent)).With("ServerCalculatedCrc", CRC64(computed))
}

// nvme is the polynomial of CRC-64/NVME, lowest power first.
const nvme = 0x9A6C9329AC4BC9B5

// powers[k] is x^(8·2^k) modulo the polynomial.
var powers = func() (p [61]uint64) {
	p[0] = 1 << (63 - 8)
	for k := 1; k < len(p); k++ {
		p[k] = multiply(p[k-1], p[k-1])
	}
	return p
}()

// multiply multiplies two polynomials, highest bit the lowest power, modulo nvme.
func multiply(a, b uint64) (product uint64) {
	for ; a != 0; a <<= 1 {
		if a>>63 != 0 {
			product ^= b
		}
		b = b>>1 ^ nvme&-(b&1)
	}
	return product
}

// CombineCRC64 returns the CRC-64/NVME of two runs of bytes one behind the other, of which the second is n bytes long.
func CombineCRC64(first, second uint64, n int64) uint64 {
	for v := uint64(n); v != 0; v &= v - 1 {
		first = multiply(powers[bits.TrailingZeros64(v)], first)
	}
	return first ^ second
}
