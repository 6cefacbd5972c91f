package rowcache

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
)

func hashOf(c *Cache, n int) uint64 {
	return c.Hash(binary.BigEndian.AppendUint64([]byte{byte(engine.SpaceBlob)}, uint64(n)))
}

// TestFilter: what was added is never said to be lacking, and little else is not, as long as there are bits enough.
func TestFilter(t *testing.T) {
	const size, keys = 64 << 10, (64 << 10) * 8 / bitsPerKey
	c := New(1<<20, size)
	for n := range keys {
		c.Filter.Add(hashOf(c, n))
	}
	require.False(t, c.Filter.Lacks(hashOf(c, keys), math.MaxUint64), "nothing is known before all is learnt")
	c.Filter.Learnt(7)
	require.False(t, c.Filter.Lacks(hashOf(c, keys), 7), "a snapshot may be older")
	vain := 0
	for n := range keys {
		require.False(t, c.Filter.Lacks(hashOf(c, n), 8))
		if !c.Filter.Lacks(hashOf(c, keys+n), 8) {
			vain++
		}
	}
	require.Less(t, vain, keys/10)
}
