//go:build unix

package local_test

import (
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

// TestAFileWhereADirectoryIsToBe: a file is no data directory, and that is what is said.
func TestAFileWhereADirectoryIsToBe(t *testing.T) {
	for _, n := range []int{1, 3} {
		root := t.TempDir()
		o := small(n)
		o.FS = nil
		for i, dir := range o.Dirs {
			o.Dirs[i] = filepath.Join(root, dir)
		}
		require.NoError(t, os.WriteFile(o.Dirs[0], []byte("a file"), 0o600))
		_, err := local.Open(o)
		require.ErrorContains(t, err, o.Dirs[0]+": not a directory")
		require.NotErrorIs(t, err, engine.ErrCorrupt)
	}
}
