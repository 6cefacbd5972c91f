package diskio

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// TestTimingBuckets: a duration is counted in the first bucket whose bound it is not over.
func TestTimingBuckets(t *testing.T) {
	all := Bounds()
	for i, bound := range all {
		for _, c := range []struct{ more, bucket int }{{-1, i}, {0, i}, {1, i + 1}} {
			var tm timing
			tm.add(time.Duration(bound*1e9)+time.Duration(c.more), nil)
			for b := range tm.counts {
				want := uint64(0)
				if b == c.bucket {
					want = 1
				}
				require.Equal(t, want, tm.counts[b].Load(), "%v%+d in bucket %d", bound, c.more, b)
			}
		}
	}
	var tm timing
	tm.add(0, nil)
	tm.add(time.Hour, errors.New("worn out"))
	require.EqualValues(t, 1, tm.counts[0].Load())
	require.EqualValues(t, 1, tm.counts[len(all)].Load())
	require.EqualValues(t, 1, tm.errors.Load())
}

// TestLoads: each operation is counted once, with its kind and its disk, and a file that is not there is no error of the disk.
func TestLoads(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	fs := New(vfs.Default, []string{a, b}, time.Hour)
	defer fs.Close()
	f, err := fs.Create(filepath.Join(a, "f"), vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write([]byte("content"))
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
	_, err = fs.Stat(filepath.Join(b, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Error(t, fs.Link(filepath.Join(a, "f"), filepath.Join(b, "none", "f")))
	require.NoError(t, os.WriteFile(filepath.Join(b, "file"), nil, 0o600))
	require.Error(t, fs.MkdirAll(filepath.Join(b, "file", "folder"), 0o700))

	sum := func(l Load, kind int) (n uint64) {
		for _, c := range l.Kinds[kind].Counts {
			n += c
		}
		return n
	}
	loads := fs.Loads()
	require.Len(t, loads, 2)
	require.Equal(t, a, loads[0].Dir)
	for kind, want := range []uint64{0, 1, 1, 2} { // create and close are others
		require.Equal(t, want, sum(loads[0], kind), Kinds[kind])
		require.Zero(t, loads[0].Kinds[kind].Errors)
	}
	require.EqualValues(t, 3, sum(loads[1], 3))
	require.EqualValues(t, 1, loads[1].Kinds[3].Errors)
	require.Zero(t, loads[0].Under+loads[0].Stuck)
	require.False(t, loads[0].Out)
}
