package local_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine/local"
)

// TestFilesPerDisk: the folders and locks that a store keeps open on a disk for as long as it runs are no more than it says.
func TestFilesPerDisk(t *testing.T) {
	for _, n := range []int{1, 3} {
		o := smallIn(t.TempDir(), n)
		s, err := local.Open(o)
		require.NoError(t, err)
		writeMore(t, s)
		entries, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		held := map[string]int{}
		for _, e := range entries {
			path, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name()))
			if err != nil {
				continue // it was closed meanwhile
			}
			info, err := os.Stat(path)
			for _, dir := range o.Dirs {
				if strings.HasPrefix(path, dir) && err == nil && (info.IsDir() || filepath.Base(path) == "LOCK") {
					held[dir]++
				}
			}
		}
		most := 0
		for _, c := range held {
			most = max(most, c)
		}
		require.NotZero(t, most)
		require.LessOrEqual(t, most, local.FilesPerDisk, "%v", held)
		require.NoError(t, s.Close())
	}
}
