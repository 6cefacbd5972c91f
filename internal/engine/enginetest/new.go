// Package enginetest holds every implementation of engine.Store to its contract, and gives other packages' tests a real store.
package enginetest

import (
	"errors"
	"math/rand/v2"
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

// NewCutDisk returns an empty disk whose power can be cut.
func NewCutDisk() *Disk { return &Disk{vfs.NewCrashableMem()} }

// Cut returns the disk as it is if the power is cut now: some of what was not synced is lost. It goes on as if nothing had happened.
func (d *Disk) Cut(rng *rand.Rand) *Disk {
	return &Disk{d.fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})}
}

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
