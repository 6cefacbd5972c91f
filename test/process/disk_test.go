package process

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestADeadDiskIsReplaced: listed as missing, replaced by an empty directory, rebuilt while the server serves.
func TestADeadDiskIsReplaced(t *testing.T) {
	root := t.TempDir()
	var dirs []string
	for _, name := range []string{"a", "b", "c"} {
		dirs = append(dirs, filepath.Join(root, name))
	}
	data := strings.Join(dirs, ",")
	p := launch(t, anyPorts(data)...)
	c := p.client(nil)
	ctx := context.Background()
	_, err := c.CreateContainer(ctx, "docs", nil)
	require.NoError(t, err)
	body := strings.Repeat("content ", 40_000)
	_, err = c.UploadBuffer(ctx, "docs", "a", []byte(body), nil)
	require.NoError(t, err)
	code, out, words := refuse(t, nil, "disk", "list", "--data", data)
	require.Zero(t, code, words)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 4, out)
	name := strings.Fields(lines[2])[0]
	code, _, words = refuse(t, nil, "disk", "replace", name, "--data", data)
	require.Equal(t, 1, code)
	require.Contains(t, words, "in use by another process")
	p.stop()

	require.NoError(t, os.RemoveAll(dirs[1]))
	code, out, _ = refuse(t, nil, "disk", "list", "--data", data)
	require.Equal(t, 1, code)
	require.Contains(t, out, name+"  -")
	code, _, words = refuse(t, nil, "disk", "replace", name, "--data", data)
	require.Equal(t, 1, code)
	require.Contains(t, words, "no empty directory")
	require.NoError(t, os.Mkdir(dirs[1], 0o700))
	code, out, words = refuse(t, nil, "disk", "replace", name, "--data", data)
	require.Zero(t, code, words)
	require.Contains(t, out, "taken in")

	last := ""
	t.Cleanup(func() { t.Log(last, p.stderr()) }) // once the process has ended
	p = launch(t, anyPorts(data)...)
	require.Eventually(t, func() bool {
		_, out, words := refuse(t, nil, "health", "--management-addr", strings.TrimPrefix(p.Management, "http://"))
		last = out + words
		return out == "serving\n"
	}, time.Minute, 20*time.Millisecond)
	p.stop()
	require.NoError(t, os.RemoveAll(dirs[0]))
	require.NoError(t, os.Mkdir(dirs[0], 0o700))
	name = strings.Fields(lines[1])[0]
	code, out, words = refuse(t, nil, "disk", "replace", name, "--wait", "--data", data)
	require.Zero(t, code, words)
	require.Contains(t, out, "everything is rebuilt")

	require.NoError(t, os.RemoveAll(dirs[2]))
	p = launch(t, anyPorts(data)...)
	got := make([]byte, len(body))
	_, err = p.client(nil).DownloadBuffer(ctx, "docs", "a", got, nil)
	require.NoError(t, err)
	require.Equal(t, body, string(got))
}
