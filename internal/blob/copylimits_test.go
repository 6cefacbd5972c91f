package blob

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/source"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/protocol"
)

// Of many copies of an account from a slow source some run at a time, and each has its turn.
func TestCopiesWaitForEachOther(t *testing.T) {
	const copies = 2*store.MaxAccountCopies + 3
	release := make(chan struct{})
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "5")
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, "hello")
	}))
	defer other.Close()
	h := newHouse(t, private)
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")
	for i := range copies {
		h.must(t, 202, "PUT", fmt.Sprintf("/acct/con/%d", i), "", "x-ms-copy-source: "+other.URL+"/f")
	}
	require.Equal(t, store.MaxAccountCopies, h.svc.blobs.Copying())
	close(release)
	for i := range copies {
		for h.must(t, 200, "HEAD", fmt.Sprintf("/acct/con/%d", i), "").Header.Get("x-ms-copy-status") == "pending" {
			require.NoError(t, h.svc.blobs.Sweep(t.Context()))
		}
		require.Equal(t, "hello", h.text(t, fmt.Sprintf("/acct/con/%d", i)))
	}
}

// A page list that does not come to an end fails the copy.
func TestEndlessPageLists(t *testing.T) {
	for name, pages := range map[string]string{
		"no ranges":      "",
		"the same range": "<PageRange><Start>0</Start><End>511</End></PageRange>",
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("x-ms-blob-type", "PageBlob")
				if r.URL.Query().Get("comp") == "pagelist" {
					fmt.Fprintf(w, "<PageList>%s<NextMarker>%d</NextMarker></PageList>", pages, asked.Add(1))
					return
				}
				if r.Header.Get("Range") != "" {
					w.Header().Set("Content-Length", "512")
					w.WriteHeader(206)
					_, _ = w.Write(make([]byte, 512))
					return
				}
				w.Header().Set("Content-Length", "1048576")
				_, _ = w.Write(make([]byte, 1<<20))
			}))
			defer other.Close()
			h := newHouse(t, private)
			h.must(t, 201, "PUT", "/acct/con?restype=container", "")
			h.must(t, 202, "PUT", "/acct/con/dst", "", "x-ms-copy-source: "+other.URL+"/f")
			status := ""
			for status == "" || status == "pending" {
				status = h.must(t, 200, "HEAD", "/acct/con/dst", "").Header.Get("x-ms-copy-status")
			}
			require.Equal(t, "failed", status)
			require.LessOrEqual(t, int(asked.Load()), 3)
		})
	}
}

// A copy that has not come to its end in two weeks fails, whether it is still read or is taken up after a restart.
func TestTheLifeOfACopy(t *testing.T) {
	far := newElsewhere(t)
	far.disk(t, 1<<20, map[int64]string{512: pagesOf('x', 2)})
	release := far.holdCopies(new(atomic.Int64))
	defer release()
	ahead := new(atomic.Int64)
	h := newHouse(t, private, func(h *house, _ *account.Account) {
		h.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")
	status := func() (string, string) {
		r := h.must(t, 200, "HEAD", "/acct/con/dst", "")
		return r.Header.Get("x-ms-copy-status"), r.Header.Get("x-ms-copy-status-description")
	}
	h.must(t, 202, "PUT", "/acct/con/dst", "", "x-ms-copy-source: "+far.url+"/acct/far/disk", "x-ms-copy-source-authorization: Bearer token")
	ahead.Store(int64(store.MaxCopyLife - time.Hour))
	h.restart(t)
	require.NoError(t, h.svc.blobs.Sweep(t.Context()))
	require.Equal(t, 1, h.svc.blobs.Copying(), "it has an hour left")
	ahead.Store(int64(store.MaxCopyLife + time.Second))
	h.restart(t)
	require.NoError(t, h.svc.blobs.Sweep(t.Context()))
	awaitCopies(h.svc)
	how, why := status()
	require.Equal(t, "failed", how)
	require.Contains(t, why, "500 OperationTimedOut")
	require.Zero(t, h.copiesQueued(t))
}

// clocked is a connection that notes what deadlines it is given, and reads n bytes at a time.
type clocked struct {
	net.Conn
	n        int
	extended int
	deadline time.Time
}

func (c *clocked) SetReadDeadline(t time.Time) error { c.extended++; c.deadline = t; return nil }
func (c *clocked) Write(p []byte) (int, error)       { return len(p), nil }
func (c *clocked) Read([]byte) (int, error) {
	if c.n == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	return c.n, nil
}

// A source gets another while for so much progress, and not for a byte.
func TestALeastRate(t *testing.T) {
	peer := &clocked{n: 1}
	c := &source.Stalling{Conn: peer, After: time.Hour}
	_, err := c.Write(nil)
	require.NoError(t, err)
	first := peer.deadline
	for range 100 {
		_, err := c.Read(nil)
		require.NoError(t, err)
	}
	require.Equal(t, first, peer.deadline, "bytes that trickle win no time")
	peer.n = source.LeastProgress
	for range 3 {
		_, err := c.Read(nil)
		require.NoError(t, err)
	}
	require.Equal(t, 3, peer.extended)
	peer.n = 0
	_, err = c.Read(nil)
	require.True(t, errors.Is(err, os.ErrDeadlineExceeded))
}

// What every reader of a blob is told of its source opens nothing.
func TestShownSources(t *testing.T) {
	for text, want := range map[string]string{
		"http://h/c/b?sv=1&sig=SECRET&snapshot=2026-01-01T00:00:00.0000000Z": "http://h/c/b?snapshot=2026-01-01T00:00:00.0000000Z",
		"https://b.s3.example/k?X-Amz-Signature=SECRET":                      "https://b.s3.example/k",
		"https://f.example/api?code=SECRET#sig=SECRET":                       "https://f.example/api",
		"https://h/c/b%3Fsig=SECRET":                                         "https://h/c/b%3Fsig=REDACTED",
		"https://h/c/b?snapshot=x%26sig%3DSECRET":                            "https://h/c/b",
		"https://h/c/b": "https://h/c/b",
	} {
		u, err := url.Parse(text)
		require.NoError(t, err)
		src := &source.URL{Text: text}
		for name, values := range u.Query() {
			src.Query = append(src.Query, protocol.Pair{Name: name, Value: values[0]})
		}
		require.Equal(t, want, src.Shown())
		require.NotContains(t, strings.ToUpper(src.Shown()), "SECRET")
	}
}
