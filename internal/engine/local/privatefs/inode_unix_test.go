//go:build unix

package privatefs

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestInodeOf: however it is asked for, an open file is the one that has its name, until another one has it.
func TestInodeOf(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	f, err := os.Create(name)
	require.NoError(t, err)
	defer f.Close()
	for _, of := range []func(int, string) (inode, error){inodeOf, inodeByStat} {
		is, err := of(int(f.Fd()), "")
		require.NoError(t, err)
		for _, by := range []func(int, string) (inode, error){inodeOf, inodeByStat} {
			found, err := by(0, name)
			require.NoError(t, err)
			require.Equal(t, is, found)
		}
		_, err = of(0, name+"2")
		require.ErrorIs(t, err, syscall.ENOENT)
		found, err := of(0, filepath.Dir(name))
		require.NoError(t, err)
		require.NotEqual(t, is, found)
	}
}
