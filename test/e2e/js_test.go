package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestJS runs the suites of the JS SDK for blobs. What blobd was asked and answered is what test/coverage.txt says.
func TestJS(t *testing.T) {
	t.Run("blobd", func(t *testing.T) {
		n := startNeighbours(t)
		runJS(t, "blob", n.environment(t)...)
		n.stop()
		asClaimed(t, "js", n.seen(t, "azsdk-js-azure-storage-blob"))
	})
	t.Run("azurite", func(t *testing.T) {
		s := startAzurite(t)
		runJS(t, "blob", "BLOBD_BLOB_URL="+s.blob, "BLOBD_TABLE_URL="+s.table, "BLOBD_SERVER="+s.name)
	})
}

// TestJSTables runs the table suites: the SDK of today and its predecessor. Azurite is no cross-check here, as it knows neither
// key ranges nor half of the errors.
func TestJSTables(t *testing.T) {
	runJS(t, "table", "BLOBD_TABLE_URL="+startBlobd(t).table)
}

// runJS runs the suites in a folder of test/js, each file of which is a test of its own for node's runner.
func runJS(t *testing.T, folder string, environment ...string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(js, folder, "*.test.mjs"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	c := exec.Command("node", append([]string{"--test"}, files...)...)
	c.Dir = js
	c.Env = append(os.Environ(), environment...)
	out, err := c.CombinedOutput()
	require.NoErrorf(t, err, "%s", out)
}
