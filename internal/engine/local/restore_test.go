package local_test

import (
	"context"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine/local"
)

// Directories that are not empty are not restored to, and are told apart: what a restore has left goes, a store does not.
func TestRestoreIsToEmptyDirectories(t *testing.T) {
	for _, dirs := range [][]string{{"one"}, {"one", "two", "three"}} {
		o := local.Options{Dirs: dirs, FS: vfs.NewMem(), CacheSize: 8 << 20, ScrubRate: -1, Restore: true}
		half, err := local.Open(o)
		require.NoError(t, err)
		require.NoError(t, half.Close())
		_, err = local.Open(o)
		require.ErrorContains(t, err, "was interrupted")

		o.FS = vfs.NewMem()
		whole, err := local.Open(o)
		require.NoError(t, err)
		require.NoError(t, whole.Finish(context.Background(), 1))
		require.NoError(t, whole.Close())
		for range 2 { // it is not touched
			_, err = local.Open(o)
			require.ErrorContains(t, err, "there is a store already in one")
		}
		o.Restore, o.Existing = false, true
		whole, err = local.Open(o)
		require.NoError(t, err)
		require.NoError(t, whole.Close())
	}
}
