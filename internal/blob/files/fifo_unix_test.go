//go:build unix

package files

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
)

// Nobody waits for who may write to a named pipe that lies in the place of a file.
func TestImportWaitsForNoPipe(t *testing.T) {
	from := service(t)
	require.NoError(t, from.Blobs.CreateContainer(background, "acct", "con", &record.Container{}))
	_, err := from.Blobs.Put(background, &store.Creation{Target: from.on("con", "a"), Blob: &record.Blob{Type: record.BlockBlob}}, &store.Upload{Body: strings.NewReader(""), Size: 0})
	require.NoError(t, err)
	for _, name := range []string{"con/a", "con.jsonl"} {
		from.Dir = filepath.Join(t.TempDir(), "out")
		_, err = Export(background, from)
		require.NoError(t, err)
		pipe := filepath.Join(from.Dir, filepath.FromSlash(name))
		require.NoError(t, os.Remove(pipe))
		require.NoError(t, syscall.Mkfifo(pipe, 0o600))
		to := service(t)
		to.Dir = from.Dir
		_, err = Import(background, to)
		require.ErrorContains(t, err, "no regular file")
	}
}
