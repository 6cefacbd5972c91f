package blob

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
)

// A source elsewhere is no longer read for a client that has gone.
func TestCopyEndsWithItsClient(t *testing.T) {
	asked, ended := make(chan struct{}), make(chan struct{})
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		asked <- struct{}{}
		<-r.Context().Done()
		ended <- struct{}{}
	}))
	defer other.Close()
	h := newHouse(t, func(h *house, _ *account.Account) { h.private = true })
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")
	for _, header := range []string{"x-ms-blob-type: BlockBlob", "x-ms-requires-sync: true"} {
		c := h.Dial()
		c.Write("PUT /acct/con/dst HTTP/1.1\r\nHost: h\r\nx-ms-version: 2021-12-02\r\nContent-Length: 0\r\n" + header + "\r\nx-ms-copy-source: " + other.URL + "/file\r\n\r\n")
		<-asked
		require.NoError(t, c.Close())
		<-ended
	}
	h.fails(t, 404, "BlobNotFound", "GET", "/acct/con/dst", "")
}
