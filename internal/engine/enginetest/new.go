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
	return NewDisk().Open(tb)
}

// Disk is what outlives a store, in memory.
type Disk struct{ fs vfs.FS }

// NewDisk returns an empty disk.
func NewDisk() *Disk { return &Disk{vfs.NewMem()} }

// Open returns the store on the disk, closed when the test ends. At most one is open at a time.
func (d *Disk) Open(tb testing.TB) engine.Store {
	tb.Helper()
	s, err := local.Open(local.Options{Dirs: []string{"data"}, FS: d.fs, CacheSize: 8 << 20, MemTableSize: 4 << 20})
	require.NoError(tb, err)
	tb.Cleanup(func() {
		if err := s.Close(); !errors.Is(err, engine.ErrClosed) {
			require.NoError(tb, err)
		}
	})
	return s
}
