package process

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
)

// Twice the same start: what is there is taken as it is, with what clients have put into it and made of it.
func TestContainersAndTablesFromTheStart(t *testing.T) {
	ctx := context.Background()
	data := filepath.Join(t.TempDir(), "data")
	args := anyPorts(data, "--account", "second:"+account.DevKey, "--dev-account",
		"--container", "devstoreaccount1/docs", "--container", "devstoreaccount1/media=blob", "--container", "other=container",
		"--table", "People", "--table", "devstoreaccount1/People")
	anonymous := func(p *process, path string) int {
		res, err := http.Get(p.Blob + path)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return res.StatusCode
	}
	for round := range 2 {
		p := launch(t, args...)
		c := p.client(nil)
		if round == 0 {
			for _, container := range []string{"docs", "media"} {
				_, err := c.UploadBuffer(ctx, container, "a.txt", []byte("hello"), nil)
				require.NoError(t, err)
			}
		}
		require.Equal(t, http.StatusNotFound, anonymous(p, "/devstoreaccount1/docs/a.txt"), "private")
		require.Equal(t, http.StatusOK, anonymous(p, "/devstoreaccount1/media/a.txt"))
		require.Equal(t, http.StatusNotFound, anonymous(p, "/devstoreaccount1/media?restype=container&comp=list"))
		require.Equal(t, http.StatusOK, anonymous(p, "/second/other?restype=container&comp=list"), "the first account is meant where none is named")
		p.stop()
	}
}

func TestMistakesInWhatIsToBeThere(t *testing.T) {
	for _, c := range []struct{ args, words string }{
		{"--container Docs", "--container Docs: "},
		{"--container docs=everybody", "blob or container"},
		{"--container nobody/docs", "no account nobody"},
		{"--table 1st", "--table 1st: "},
		{"--table nobody/People", "no account nobody"},
	} {
		code, _, words := refuse(t, nil, append(anyPorts(t.TempDir()), strings.Fields(c.args)...)...)
		require.Equal(t, exitUsage, code, words)
		require.Contains(t, words, c.words)
		require.NotContains(t, words, "panic")
	}
}

func TestHealthCommand(t *testing.T) {
	p := launch(t, anyPorts(t.TempDir())...)
	addr := strings.TrimPrefix(p.Management, "http://")
	code, out, words := refuse(t, nil, "health", "--management-addr", addr)
	require.Zero(t, code, words)
	require.Equal(t, "serving\n", out)
	_, port, _ := strings.Cut(addr, ":")
	code, out, _ = refuse(t, []string{"BLOBD_MANAGEMENT_ADDR=0.0.0.0:" + port, "http_proxy=http://127.0.0.1:1"}, "health", "--json")
	require.Zero(t, code)
	require.Contains(t, out, `"writable":true`)

	code, _, words = refuse(t, nil, "health", "--management-addr", strings.TrimPrefix(p.Blob, "http://"))
	require.Equal(t, exitFailed, code)
	require.Contains(t, words, "is not blobd's management address")
	p.stop()
	code, _, words = refuse(t, nil, "health", "--management-addr", addr)
	require.Equal(t, exitFailed, code)
	require.Contains(t, words, "no server answers on the management address "+addr)
	code, _, words = refuse(t, nil, "health", "--management-addr", "off")
	require.Equal(t, exitUsage, code)
	require.Contains(t, words, "off")
}
