//go:build unix

package local_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine/local"
)

// TestOnlyTheOwnerCanRead: whatever the umask, and whatever the modes were before.
func TestOnlyTheOwnerCanRead(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	for _, n := range []int{1, 3} {
		root := t.TempDir()
		o := smallIn(root, n)
		check := func(when string) {
			for _, dir := range o.Dirs {
				require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
					require.NoError(t, err)
					info, err := d.Info()
					require.NoError(t, err)
					want := fs.FileMode(0o600)
					if d.IsDir() {
						want = 0o700
					}
					assert.Equal(t, want, info.Mode().Perm(), "%s: %s", when, path)
					return nil
				}))
			}
		}
		s, err := local.Open(o)
		require.NoError(t, err)
		writeMore(t, s)
		require.NoError(t, s.Heal(background))
		check("in use")
		require.NoError(t, s.Close())
		check("closed")
		for _, dir := range o.Dirs {
			require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				require.NoError(t, err)
				mode := fs.FileMode(0o644)
				if d.IsDir() {
					mode = 0o755
				}
				return os.Chmod(path, mode)
			}))
		}
		s, err = local.Open(o)
		require.NoError(t, err)
		check("made by an earlier build")
		require.NoError(t, s.Close())
	}
}
