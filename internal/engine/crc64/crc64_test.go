package crc64

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSumOfTheCheckString(t *testing.T) {
	// The check value of CRC-64/NVME in the catalogue of parametrised CRC algorithms.
	require.Equal(t, uint64(0xae8b14860a799888), Sum([]byte("123456789")))
	require.Zero(t, Sum(nil))
}

func TestCombineEqualsTheSumOfBoth(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 200<<10)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	check := func(a, b []byte) {
		t.Helper()
		whole := Update(Sum(a), b)
		require.Equal(t, whole, Combine(Sum(a), Sum(b), int64(len(b))), "%d + %d bytes", len(a), len(b))
	}
	for _, la := range []int{0, 1, 7, 64 << 10} {
		for _, lb := range []int{0, 1, 2, 3, 8, 63, 4096, 64<<10 - 1, 64 << 10, 64<<10 + 1} {
			check(data[:la], data[la:la+lb])
		}
	}
	for range 200 {
		la := rng.IntN(len(data))
		check(data[:la], data[la:la+rng.IntN(len(data)-la)])
	}
}

func TestCombineOverMoreThanMemoryHolds(t *testing.T) {
	// 2^40 zero bytes after one block, by doubling: the sum of 2n zeros is the sum of n zeros combined with itself.
	zeros, n := Sum([]byte{0}), int64(1)
	for n < 1<<40 {
		zeros, n = Combine(zeros, zeros, n), 2*n
	}
	a := Sum([]byte("blob"))
	// Two ways to the same sum: all zeros at once, or half of them twice.
	half, h := Sum([]byte{0}), int64(1)
	for h < 1<<39 {
		half, h = Combine(half, half, h), 2*h
	}
	require.Equal(t, Combine(a, zeros, n), Combine(Combine(a, half, h), half, h))
}

func BenchmarkCombine64K(b *testing.B) {
	var s uint64 = 1
	for b.Loop() {
		s = Combine(s, 0x1234, 64<<10)
	}
}

func BenchmarkCombineOdd(b *testing.B) {
	var s uint64 = 1
	for b.Loop() {
		s = Combine(s, 0x1234, 8<<20-1)
	}
}

func BenchmarkSum64K(b *testing.B) {
	p := make([]byte, 64<<10)
	b.SetBytes(64 << 10)
	for b.Loop() {
		Sum(p)
	}
}
