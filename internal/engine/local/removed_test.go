//go:build unix

package local_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
)

// TestOneServerOnADirectory: a directory is one server's, also when somebody has removed the file that it locked.
func TestOneServerOnADirectory(t *testing.T) {
	for _, remove := range []bool{false, true} {
		o := small(1)
		o.FS, o.Dirs = nil, []string{filepath.Join(t.TempDir(), "d0")}
		s, err := local.Open(o)
		require.NoError(t, err)
		if remove {
			require.NoError(t, os.Remove(filepath.Join(o.Dirs[0], "LOCK")))
		}
		_, err = local.Open(o)
		require.Error(t, err)
		if remove { // within one process the lock of the file itself is told of in other words
			require.ErrorContains(t, err, "in use by another process")
		}
		writeMore(t, s)
		require.NoError(t, s.Close())
		s, err = local.Open(o)
		require.NoError(t, err)
		require.NoError(t, s.Close())
	}
}

// TestADirectoryThatIsRemoved: what is written to files without a name is not acknowledged. With redundancy the disk is out of use at once.
func TestADirectoryThatIsRemoved(t *testing.T) {
	for _, n := range []int{1, 3} {
		for _, sub := range []string{"", "meta", "extents"} {
			root := t.TempDir()
			o := smallIn(root, n)
			s, err := local.Open(o)
			require.NoError(t, err)
			writeMore(t, s)
			require.NoError(t, os.RemoveAll(filepath.Join(o.Dirs[0], sub)))
			obj := object{seed: 1, sizes: [3]int{300_000}}
			err = put(s, &obj)
			switch {
			case n == 1 && sub != "meta":
				require.ErrorIs(t, err, engine.ErrUnavailable, sub)
			case n == 1 && err != nil: // a flush has met it already
				require.ErrorIs(t, err, engine.ErrUnavailable, sub)
			default:
				require.NoError(t, err, sub)
			}
			if n == 1 && sub == "extents" { // what has no content elsewhere goes on
				require.NoError(t, s.Close())
				continue
			}
			obj = object{seed: 1, sizes: [3]int{300}}
			err = store(s, "after/", &obj)
			h := s.Health()
			if n == 1 {
				require.ErrorIs(t, err, engine.ErrUnavailable, sub)
				require.ErrorContains(t, err, "was removed while it was in use", sub)
				require.False(t, h.Writable, sub)
				_ = s.Close() // it has nowhere to write to
				continue
			}
			require.NoError(t, err, sub)
			require.True(t, h.Writable, sub)
			require.True(t, h.Degraded, sub)
			if sub != "meta" {
				require.False(t, h.Disks[0].OK, "%q: %+v", sub, h)
			}
			require.NoError(t, s.Close())
		}
	}
}

// TestAFileWhereADirectoryIsToBe: a file is no data directory, and that is what is said.
func TestAFileWhereADirectoryIsToBe(t *testing.T) {
	for _, n := range []int{1, 3} {
		root := t.TempDir()
		o := smallIn(root, n)
		require.NoError(t, os.WriteFile(o.Dirs[0], []byte("a file"), 0o600))
		_, err := local.Open(o)
		require.ErrorContains(t, err, o.Dirs[0]+": not a directory")
		require.NotErrorIs(t, err, engine.ErrCorrupt)
	}
}

// TestDisksThatChangePlaces: two disks are mounted in each other's place under the server. Neither gets the record of the other, which does not
// have what it has: whatever was acknowledged is there after a start, wherever they are then.
func TestDisksThatChangePlaces(t *testing.T) {
	for _, tt := range []struct{ disks, one, other int }{{2, 0, 1}, {3, 0, 1}, {3, 1, 0}, {3, 0, 2}, {4, 0, 1}, {4, 2, 0}} {
		for _, back := range []bool{false, true} {
			root := t.TempDir()
			o := smallIn(root, tt.disks)
			swap := func() {
				t.Helper()
				aside := filepath.Join(root, "aside")
				require.NoError(t, os.Rename(o.Dirs[tt.one], aside))
				require.NoError(t, os.Rename(o.Dirs[tt.other], o.Dirs[tt.one]))
				require.NoError(t, os.Rename(aside, o.Dirs[tt.other]))
			}
			s, err := local.Open(o)
			require.NoError(t, err)
			want := keepMany(t, s, 4, 1, 20_000)
			swap()
			for i := range 40 {
				if i == 20 {
					s.LookAtDisk(tt.one)
					s.LookAtDisk(tt.other)
				}
				name := fmt.Sprintf("after%d/", i)
				obj := object{seed: uint64(i + 1), sizes: [3]int{100}}
				if store(s, name, &obj) == nil {
					want[name] = obj
				}
			}
			_ = s.Close() // what it has to say of the disks is not asked
			if back {
				swap()
			}
			s, err = local.Open(o)
			require.NoError(t, err, "%+v, %v", tt, back)
			requireKept(t, s, want, fmt.Sprintf("%+v, %v", tt, back))
			require.NoError(t, s.Close())
		}
	}
}
