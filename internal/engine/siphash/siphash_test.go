package siphash

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestReferenceVectors: key 00 01 ... 0f, messages 00 01 02 ... of whole words, from the reference implementation's vectors.
func TestReferenceVectors(t *testing.T) {
	var key Key
	for i := range key {
		key[i] = byte(i)
	}
	words := []uint64{0x0706050403020100, 0x0f0e0d0c0b0a0908}
	for n, want := range []uint64{0x726fdb47dd0e0e31, 0x93f5f5799a932462, 0x3f2acc7f57c29bdb} {
		assert.Equal(t, want, Sum(&key, words[:n]...), "%d words", n)
	}
}

func TestSumAllocatesNothing(t *testing.T) {
	var key Key
	assert.Zero(t, testing.AllocsPerRun(100, func() { sink = Sum(&key, sink, 1, 2) }))
}

func BenchmarkSum(b *testing.B) {
	var key Key
	for b.Loop() {
		sink = Sum(&key, sink, 2)
	}
}

var sink uint64
