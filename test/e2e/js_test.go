package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestJS runs the suites of the JS SDKs, each file of which is a test of its own for node's runner.
func TestJS(t *testing.T) {
	everywhere(t, func(t *testing.T, s *target) {
		files, err := filepath.Glob(filepath.Join(js, "blob", "*.test.mjs"))
		require.NoError(t, err)
		require.NotEmpty(t, files)
		c := exec.Command("node", append([]string{"--test"}, files...)...)
		c.Dir = js
		c.Env = append(os.Environ(), "BLOBD_BLOB_URL="+s.blob, "BLOBD_TABLE_URL="+s.table, "BLOBD_SERVER="+s.name)
		out, err := c.CombinedOutput()
		require.NoErrorf(t, err, "%s", out)
	})
}
