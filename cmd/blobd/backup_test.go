package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine/local"
)

func TestBackupsLieOutsideStores(t *testing.T) {
	dir := t.TempDir()
	data, other := filepath.Join(dir, "data"), filepath.Join(dir, "other")
	store, err := local.Open(local.Options{Dirs: []string{data}})
	require.NoError(t, err)
	require.NoError(t, store.Close())
	require.NoError(t, os.Mkdir(other, 0o700))
	require.NoError(t, os.Symlink(data, filepath.Join(other, "link")))
	for _, in := range []string{data, filepath.Join(data, "backups"), filepath.Join(data, "extents", "a", "b"), filepath.Join(other, "link", "backups")} {
		require.ErrorContains(t, outsideStores(in), "data directory of a store", in)
	}
	for _, out := range []string{other, dir, filepath.Join(other, "new", "backups"), filepath.Join(dir, "data-backups")} {
		require.NoError(t, outsideStores(out), out)
	}
}
