//go:build unix

package local_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
)

// everything is the content of all files in a directory.
func everything(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = string(b)
		return err
	}))
	return all
}

// TestACopyInPlaceOfADisk: a copy of a disk, or of a folder on it, comes to lie at its path while the store is open. It says of itself to be the
// same disk. What is acknowledged from then on is where it was before, no file of the copy is touched, and health tells.
func TestACopyInPlaceOfADisk(t *testing.T) {
	for _, n := range []int{1, 3} {
		for _, sub := range []string{"", "meta", "extents"} {
			for _, looked := range []bool{false, true} {
				what := fmt.Sprintf("%d disks, %q, looked at: %v", n, sub, looked)
				root := t.TempDir()
				o := smallIn(root, n)
				s, err := local.Open(o)
				require.NoError(t, err)
				want := keepMany(t, s, 4, 1, 20_000)
				place := filepath.Join(o.Dirs[0], sub)
				own, other := filepath.Join(root, "own"), filepath.Join(root, "copy")
				require.NoError(t, os.CopyFS(other, os.DirFS(place)))
				require.NoError(t, os.Rename(place, own))
				require.NoError(t, os.Rename(other, place))
				before := everything(t, place)
				if looked {
					s.LookAtDisk(0)
					h := s.Health()
					require.False(t, h.Disks[0].OK, what)
					require.Contains(t, h.Detail, "another disk, or a copy of this one, is in its place", what)
				}
				for i := range 40 { // logs, tables and extents are full in between
					name := fmt.Sprintf("after%d/", i)
					obj := object{seed: uint64(i + 100), sizes: [3]int{100}}
					if i%2 == 1 {
						obj.sizes[0] = 100_000
					}
					if err = write(s, name, &obj); err == nil {
						want[name] = obj
					} else {
						require.ErrorIs(t, err, engine.ErrUnavailable, what)
					}
					if n > 1 {
						require.NoError(t, err, what)
					}
					err = nil
				}
				_ = s.Close() // it may have nowhere to write to
				after := everything(t, place)
				require.Equal(t, len(before), len(after), what)
				for path, b := range before {
					require.True(t, after[path] == b, "%s: %s was changed", what, path)
				}
				require.NoError(t, os.Rename(place, other))
				require.NoError(t, os.Rename(own, place))
				s, err = local.Open(o)
				require.NoError(t, err, what)
				requireKept(t, s, want, what)
				require.NoError(t, s.Close())
			}
		}
	}
}
