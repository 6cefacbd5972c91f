package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestJSTables runs the table suites: the SDK of today and its predecessor. Azurite is no cross-check here, as it knows neither
// key ranges nor half of the errors.
func TestJSTables(t *testing.T) {
	s := startBlobd(t)
	files, err := filepath.Glob(filepath.Join(js, "table", "*.test.mjs"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	c := exec.Command("node", append([]string{"--test"}, files...)...)
	c.Dir = js
	c.Env = append(os.Environ(), "BLOBD_TABLE_URL="+s.table)
	out, err := c.CombinedOutput()
	require.NoErrorf(t, err, "%s", out)
}
