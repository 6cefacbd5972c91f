package local

import (
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
)

// makeStore makes a store and closes it.
func makeStore(t *testing.T, fs vfs.FS, dirs ...string) {
	t.Helper()
	s, err := Open(Options{Dirs: dirs, FS: fs})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func TestOpenRefusesALockedDirectory(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"memory": vfs.NewMem(), "disk": vfs.Default} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, err := Open(Options{Dirs: []string{dir}, FS: fs})
			require.NoError(t, err)
			_, err = Open(Options{Dirs: []string{dir}, FS: fs})
			assert.ErrorContains(t, err, "in use by another process")
			assert.ErrorContains(t, err, dir)
			require.NoError(t, s.Close())
			makeStore(t, fs, dir)
		})
	}
}

func TestDirectoriesInAnyOrder(t *testing.T) {
	fs := vfs.NewMem()
	dirs := []string{"a", "b", "c"}
	makeStore(t, fs, dirs...)
	slices.Reverse(dirs)
	s, err := Open(Options{Dirs: dirs, FS: fs})
	require.NoError(t, err)
	assert.False(t, s.Health().Degraded)
	assert.Equal(t, "a", s.Health().Disks[0].Path)
	require.NoError(t, s.Close())
}

// TestTheNewestEpochDecides: metadata that went on without a disk is never read from that disk again.
func TestTheNewestEpochDecides(t *testing.T) {
	fs := vfs.NewMem()
	makeStore(t, fs, "a", "b", "c") // metadata on a and b
	put := func(dirs []string, value string) {
		s, err := Open(Options{Dirs: dirs, FS: fs})
		require.NoError(t, err)
		require.NoError(t, s.Update(t.Context(), []byte("k"), func(tx engine.Tx) error {
			tx.Set(engine.SpaceEntity, []byte("k"), []byte(value))
			return nil
		}))
		require.NoError(t, s.Close())
	}
	put([]string{"a", "b", "c"}, "old")
	put([]string{"b", "c"}, "new") // a is away
	// Without b nobody has current metadata, and c knows it.
	_, err := Open(Options{Dirs: []string{"a", "c"}, FS: fs})
	assert.ErrorIs(t, err, engine.ErrUnavailable)
	assert.ErrorContains(t, err, "no disk with current metadata")
	for _, dirs := range [][]string{{"a", "b", "c"}, {"a", "c"}} { // a is filled from b, and can stand in for it then
		s, err := Open(Options{Dirs: dirs, FS: fs})
		require.NoError(t, err)
		require.NoError(t, s.View(t.Context(), []byte("k"), func(r engine.Reader) error {
			v, err := r.Get(engine.SpaceEntity, []byte("k"))
			assert.Equal(t, "new", string(v))
			return err
		}))
		require.NoError(t, s.Close())
	}
}
