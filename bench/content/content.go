// Package content makes the bytes that the bench stores, so that every reader knows what it must get back without keeping it.
//
// All content is a window of one pseudo-random pool that the seed fixes: harness and ceilings make the same pool, item i of any
// length is Slice(i, length), and a comparison costs one memory compare. Neighbouring items differ and nothing compresses.
package content

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
)

// Max is the longest slice, in bytes.
const Max = 32 << 20

const (
	window = 16 << 20 // offsets lie in it
	align  = 64       // bytes; a cache line
)

var pool = sync.OnceValue(func() []byte {
	p := make([]byte, window+Max)
	_, _ = rand.NewChaCha8([32]byte{'b', 'l', 'o', 'b', 'd'}).Read(p) // it never fails
	return p
})

// Slice is the content of item i. It is shared: nobody writes to it.
func Slice(i uint64, length int) []byte {
	off := int(mix(i) % (window / align) * align)
	return pool()[off : off+length : off+length]
}

// mix spreads neighbouring numbers (the finalizer of splitmix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Checker compares a stream with what it should be.
type Checker struct{ want []byte }

// Expect starts a comparison with want.
func (c *Checker) Expect(want []byte) { c.want = want }

// Write compares the next bytes. An error names the first wrong one.
func (c *Checker) Write(p []byte) (int, error) {
	if len(p) > len(c.want) {
		return 0, fmt.Errorf("content is longer than it should be by at least %d bytes", len(p)-len(c.want))
	}
	if !bytes.Equal(p, c.want[:len(p)]) {
		for i := range p {
			if p[i] != c.want[i] {
				return i, fmt.Errorf("wrong byte, %d before the end of the content: %#02x instead of %#02x", len(c.want)-i, p[i], c.want[i])
			}
		}
	}
	c.want = c.want[len(p):]
	return len(p), nil
}

// Close reports content that ended early.
func (c *Checker) Close() error {
	if len(c.want) > 0 {
		return fmt.Errorf("content ended %d bytes early", len(c.want))
	}
	return nil
}
