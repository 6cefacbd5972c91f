package process

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestCheckAndScrubNameABlob: a healthy store passes; once a blob's content is damaged on the only disk, both tell which blob it is.
func TestCheckAndScrubNameABlob(t *testing.T) {
	data := t.TempDir()
	p := launch(t, anyPorts(data)...)
	c, ctx := p.client(nil), context.Background()
	_, err := c.CreateContainer(ctx, "docs", nil)
	require.NoError(t, err)
	for _, name := range []string{"good", "bad"} {
		_, err = c.UploadBuffer(ctx, "docs", name, []byte(strings.Repeat(name+" content ", 20_000)), nil)
		require.NoError(t, err)
	}
	ask := func(args ...string) (int, string, string) {
		return refuse(t, nil, append(args, "--management-addr", strings.TrimPrefix(p.Management, "http://"))...)
	}
	code, out, words := ask("check", "--deep")
	require.Zero(t, code, out+words)
	require.Contains(t, out, "nothing is wrong")
	columns, err := filepath.Glob(filepath.Join(data, "extents", "*.00"))
	require.NoError(t, err)
	hurt := false
	for _, column := range columns {
		b, err := os.ReadFile(column)
		require.NoError(t, err)
		if at := strings.Index(string(b), "bad content"); at >= 0 {
			f, err := os.OpenFile(column, os.O_WRONLY, 0)
			require.NoError(t, err)
			_, err = f.WriteAt([]byte("B"), int64(at))
			require.NoError(t, err)
			require.NoError(t, f.Close())
			hurt = true
		}
	}
	require.True(t, hurt)
	code, out, _ = ask("check")
	require.Zero(t, code, out)
	code, out, _ = ask("check", "--deep")
	require.Equal(t, 1, code)
	require.Contains(t, out, "content: devstoreaccount1/docs/bad: chunk")
	require.NotContains(t, out, "docs/good")
	code, out, _ = ask("check", "--deep", "--json")
	require.Equal(t, 1, code)
	require.Contains(t, out, `"found":1`)

	code, out, words = refuse(t, nil, "backup", filepath.Join(t.TempDir(), "backups"), "--data", data)
	require.Equal(t, 1, code, out)
	require.Contains(t, words, "content of devstoreaccount1/docs/bad cannot be read")
	require.Contains(t, words, "incomplete")
	require.NotContains(t, words, "docs/good")

	code, _, words = ask("scrub", "start")
	require.Zero(t, code, words)
	require.Eventually(t, func() bool { _, out, _ := ask("scrub"); return strings.Contains(out, "last full pass: ") }, time.Minute, 50*time.Millisecond)
	_, out, _ = ask("scrub")
	require.Contains(t, out, "damaged for good: 1")
	require.Contains(t, out, "devstoreaccount1/docs/bad")

	code, _, words = refuse(t, nil, "check", "--offline", "--data", data)
	require.Equal(t, 1, code)
	require.Contains(t, words, "in use by another process")
	p.stop()
	before := everyFile(t, data)
	code, out, words = refuse(t, nil, "check", "--offline", "--deep", "--data", data)
	require.Equal(t, 1, code, words)
	require.Contains(t, out, "content: devstoreaccount1/docs/bad: chunk")
	require.Contains(t, words, "2 things are not as they should be", "the content, and what the scrub noted of it")
	require.Equal(t, before, everyFile(t, data), "a check changes nothing")
}

// everyFile reads all files below a directory.
func everyFile(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "LOCK" {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = fmt.Sprintf("%v %x", info.ModTime(), sha256.Sum256(b))
		return err
	}))
	return all
}
