package local

import (
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
)

// TestZeroSumIsCompacted: a sum that comes to zero, merged by a compaction with a value that an earlier one made, is zero and
// neither shows its old value again nor ends the process.
func TestZeroSumIsCompacted(t *testing.T) {
	db, err := pebble.Open("", &pebble.Options{FS: vfs.NewMem(), FormatMajorVersion: pebble.FormatNewest, Merger: merger})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	key := append([]byte{byte(engine.SpaceSystem), sysRef}, make([]byte, 24)...)
	next := append([]byte{byte(engine.SpaceSystem), sysRef}, append(make([]byte, 23), 1)...)
	for _, v := range []int64{1, -1} {
		require.NoError(t, db.Merge(key, appendInt(nil, v), pebble.Sync))
		require.NoError(t, db.Merge(next, appendInt(nil, 1), pebble.Sync))
		require.NoError(t, db.Flush())
		require.NoError(t, db.Compact(t.Context(), key[:2], []byte{byte(engine.SpaceSystem), sysRef + 1}, false))
	}
	for k, want := range map[string]int64{string(key): 0, string(next): 2} {
		v, closer, err := db.Get([]byte(k))
		require.NoError(t, err)
		n, err := decodeInt(v)
		require.NoError(t, err)
		require.Equal(t, want, n)
		require.NoError(t, closer.Close())
	}
}
