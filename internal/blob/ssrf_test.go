package blob

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// Copies are no way to reach what stands beside the server: a source on loopback is not even connected to unless the switch is
// on, a redirect is not followed, and a source on this server is read without the network.
func TestSourcesBesideTheServerHearNothing(t *testing.T) {
	var heard atomic.Int32
	secret := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		heard.Add(1)
		_, _ = w.Write([]byte("secret"))
	}))
	defer secret.Close()
	redirect := httptest.NewServer(http.RedirectHandler(secret.URL+"/file", http.StatusFound))
	defer redirect.Close()
	ways := map[string][]string{
		"Copy Blob":             {"/acct/con/dst"},
		"Copy Blob From URL":    {"/acct/con/dst", "x-ms-requires-sync: true"},
		"Put Blob From URL":     {"/acct/con/dst", "x-ms-blob-type: BlockBlob"},
		"Put Block From URL":    {"/acct/con/dst?comp=block&blockid=QQ=="},
		"Append Block From URL": {"/acct/con/log?comp=appendblock"},
		"Put Page From URL":     {"/acct/con/disk?comp=page", "x-ms-page-write: update", "x-ms-range: bytes=0-511", "x-ms-source-range: bytes=0-511"},
	}
	for name, c := range map[string]struct {
		options []option
		sources []string
	}{
		"loopback":   {nil, []string{secret.URL, strings.Replace(secret.URL, "127.0.0.1", "localhost", 1), strings.Replace(secret.URL, "127.0.0.1", "[::ffff:127.0.0.1]", 1), redirect.URL}},
		"redirected": {[]option{private}, []string{redirect.URL}},
	} {
		h := newHouse(t, c.options...)
		h.must(t, 201, "PUT", "/acct/con?restype=container", "")
		h.must(t, 201, "PUT", "/acct/con/log", "", "x-ms-blob-type: AppendBlob")
		h.must(t, 201, "PUT", "/acct/con/disk", "", "x-ms-blob-type: PageBlob", "x-ms-blob-content-length: 512")
		for way, request := range ways {
			for _, source := range c.sources {
				answer := h.Do("PUT", request[0], "", append(request[1:], "x-ms-copy-source: "+source+"/file")...)
				require.GreaterOrEqual(t, answer.Status, 300, "%s: %s from %s", name, way, source)
				require.Equal(t, "CannotVerifyCopySource", answer.Code(), "%s: %s from %s: %s", name, way, source, answer)
				require.NotContains(t, string(answer.Body), "secret")
			}
		}
		h.fails(t, 404, "BlobNotFound", "HEAD", "/acct/con/dst", "")
		h.must(t, 201, "PUT", "/acct/con/source", "mine", "x-ms-blob-type: BlockBlob")
		h.must(t, 202, "PUT", "/acct/con/dst", "", "x-ms-copy-source: http://"+h.Addr+"/acct/con/source")
		require.Equal(t, "mine", h.text(t, "/acct/con/dst"))
	}
	require.Zero(t, heard.Load())
}
