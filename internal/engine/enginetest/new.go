// Package enginetest holds every implementation of engine.Store to its contract, and gives other packages' tests a real store.
package enginetest

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
)

// New returns an empty store in memory, closed when the test ends.
func New(tb testing.TB) engine.Store {
	tb.Helper()
	s, err := local.Open(local.Options{Dirs: []string{"data"}, FS: vfs.NewMem(), CacheSize: 8 << 20, MemTableSize: 4 << 20})
	require.NoError(tb, err)
	tb.Cleanup(func() {
		if err := s.Close(); !errors.Is(err, engine.ErrClosed) {
			require.NoError(tb, err)
		}
	})
	return s
}
