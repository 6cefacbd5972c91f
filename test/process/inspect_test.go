package process

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestInspect: every file of a stopped store is shown, in words and in JSON, and its keys; damage is told of by the exit status.
func TestInspect(t *testing.T) {
	root := t.TempDir()
	dirs := []string{filepath.Join(root, "a"), filepath.Join(root, "b")}
	p := launch(t, anyPorts(strings.Join(dirs, ","))...)
	fillForInspect(t, p)
	p.stop()
	files := 0
	require.NoError(t, filepath.WalkDir(dirs[1], func(path string, d fs.DirEntry, err error) error {
		base := filepath.Base(path)
		if err != nil || d.IsDir() || base == "LOCK" || base == "reserve" || base == "operator.sock" || strings.HasPrefix(base, "marker.") {
			return err
		}
		files++
		code, out, words := refuse(t, nil, "inspect", path)
		require.Zero(t, code, out+words)
		require.NotEmpty(t, out)
		code, out, words = refuse(t, nil, "inspect", "--json", path)
		require.Zero(t, code, out+words)
		for line := range strings.Lines(out) {
			require.True(t, json.Valid([]byte(line)), line)
		}
		return nil
	}))
	require.Greater(t, files, 8)
	code, out, words := refuse(t, nil, "inspect", "--data", strings.Join(dirs, ","), "blob/devstoreaccount1/docs/")
	require.Zero(t, code, out+words)
	require.Contains(t, out, "blob/devstoreaccount1/docs/large")
	require.Equal(t, 1, strings.Count(out, "\n"))

	columns, err := filepath.Glob(filepath.Join(dirs[0], "extents", "*.0?"))
	require.NoError(t, err)
	require.NotEmpty(t, columns)
	b, err := os.ReadFile(columns[0])
	require.NoError(t, err)
	at := bytes.Index(b, []byte("large content"))
	require.Positive(t, at)
	b[at] = 'L'
	require.NoError(t, os.WriteFile(columns[0], b, 0o600))
	code, out, words = refuse(t, nil, "inspect", columns[0])
	require.Equal(t, exitFailed, code)
	require.Contains(t, out, "WRONG: its content is not of its sum")
	require.Contains(t, words, "are not as they should be")

	code, _, words = refuse(t, nil, "inspect", filepath.Join(dirs[0], "reserve"))
	require.Equal(t, exitFailed, code)
	require.Contains(t, words, "no file of a store")
	code, _, _ = refuse(t, nil, "inspect")
	require.Equal(t, exitUsage, code)
}

func fillForInspect(t *testing.T, p *process) {
	c, ctx := p.client(nil), context.Background()
	_, err := c.CreateContainer(ctx, "docs", nil)
	require.NoError(t, err)
	_, err = c.UploadBuffer(ctx, "docs", "large", []byte(strings.Repeat("large content ", 20_000)), nil)
	require.NoError(t, err)
}
