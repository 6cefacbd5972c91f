package blob

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store/storetest"
	"github.com/blobd/blobd/internal/engine"
)

// elsewhere is another server with sources of copies, behind a proxy that can be told what to do with a request.
type elsewhere struct {
	*house
	url  string
	with atomic.Pointer[func(*http.Request)] // sees each request before it is passed on
	asks atomic.Int64
}

func newElsewhere(t *testing.T) *elsewhere {
	e := &elsewhere{house: newHouse(t)}
	to, err := url.Parse("http://" + e.Addr)
	require.NoError(t, err)
	proxy := &httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		if r.In.URL.Query().Get("comp") == "pagelist" {
			r.Out.URL.RawQuery += "&maxresults=3"
		}
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.asks.Add(1)
		if with := e.with.Load(); with != nil {
			(*with)(r)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	e.url = server.URL
	e.must(t, 201, "PUT", "/acct/far?restype=container", "")
	return e
}

func (e *elsewhere) on(with func(*http.Request)) { e.with.Store(&with) }

// disk makes a page blob with runs of pages, by offset.
func (e *elsewhere) disk(t *testing.T, size int64, runs map[int64]string) {
	e.must(t, 201, "PUT", "/acct/far/disk", "", isPage, fmt.Sprint("x-ms-blob-content-length: ", size), "x-ms-blob-sequence-number: 7", "x-ms-meta-m: 1", "x-ms-blob-content-type: text/x")
	for at, text := range runs {
		e.write(t, at, text)
	}
}

func (e *elsewhere) write(t *testing.T, at int64, text string) {
	for len(text) > 0 {
		n := min(len(text), maxPutPage)
		e.must(t, 201, "PUT", "/acct/far/disk?comp=page", text[:n], "x-ms-page-write: update", ranges(at, at+int64(n)))
		at, text = at+int64(n), text[n:]
	}
}

func private(h *house, _ *account.Account) { h.private = true }

// settled waits for the background copies and returns how the destination stands.
func (h *house) settled(t *testing.T, target string) (status, progress, description string, size string) {
	require.NoError(t, h.svc.blobs.Sweep(context.Background()))
	awaitCopies(h.svc)
	r := h.must(t, 200, "HEAD", target, "")
	return r.Header.Get("x-ms-copy-status"), r.Header.Get("x-ms-copy-progress"), r.Header.Get("x-ms-copy-status-description"), r.Header.Get("Content-Length")
}

// awaitCopies returns when no copy is under way. The service's wait group is for its end: the sweeper may begin one meanwhile.
func awaitCopies(s *Service) {
	for s.blobs.Copying() > 0 {
		runtime.Gosched()
	}
}

func isPageList(r *http.Request) bool { return r.URL.Query().Get("comp") == "pagelist" }

// A page blob from elsewhere is copied range by range: a terabyte of zeros costs nothing.
func TestCopyPageBlobFromElsewhere(t *testing.T) {
	far := newElsewhere(t)
	const size = 1 << 40
	big := string(pattern(9<<20, 1))
	runs := map[int64]string{0: big[:512], 1536: big[512:1024], 1 << 20: big, 1 << 30: big[:65536], 1<<30 + 65536 + 512: big[100 : 100+512], 1 << 39: big[:1024], size - 512: big[:512]}
	far.disk(t, size, runs)
	source := "x-ms-copy-source: " + far.url + "/acct/far/disk?sig=secret"
	h := newHouse(t, private)
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")

	held := make(chan struct{})
	far.on(func(r *http.Request) {
		if isPageList(r) {
			<-held
		}
	})
	started := h.must(t, 202, "PUT", "/acct/con/dst", "", source)
	require.Equal(t, "pending", started.Header.Get("x-ms-copy-status"))
	pending := h.must(t, 200, "HEAD", "/acct/con/dst", "")
	require.Equal(t, []string{fmt.Sprint(size), "PageBlob", "7", "0/" + fmt.Sprint(size)}, []string{pending.Header.Get("Content-Length"),
		pending.Header.Get("x-ms-blob-type"), pending.Header.Get("x-ms-blob-sequence-number"), pending.Header.Get("x-ms-copy-progress")})
	require.NotContains(t, string(h.must(t, 200, "GET", "/acct/con/dst?comp=pagelist", "").Body), "PageRange")
	h.fails(t, 409, "PendingCopyOperation", "PUT", "/acct/con/dst?comp=page", big[:512], "x-ms-page-write: update", ranges(0, 512))
	close(held)
	status, progress, _, _ := h.settled(t, "/acct/con/dst")
	require.Equal(t, []string{"success", fmt.Sprintf("%d/%d", int64(size), int64(size))}, []string{status, progress})
	require.Equal(t, string(far.must(t, 200, "GET", "/acct/far/disk?comp=pagelist", "").Body), string(h.must(t, 200, "GET", "/acct/con/dst?comp=pagelist", "").Body))
	for at, text := range runs {
		got := h.must(t, 206, "GET", "/acct/con/dst", "", ranges(at, at+int64(len(text))))
		require.True(t, text == string(got.Body), "pages at %d", at)
	}
	head := h.must(t, 200, "HEAD", "/acct/con/dst", "")
	require.Equal(t, []string{"1", "text/x", far.url + "/acct/far/disk"}, []string{head.Header.Get("x-ms-meta-m"), head.Header.Get("Content-Type"), head.Header.Get("x-ms-copy-source")})
	require.Less(t, far.asks.Load(), int64(20)) // neighbours are read together

	// A source that changes meanwhile fails the copy, which leaves nothing.
	once := atomic.Bool{}
	far.on(func(r *http.Request) {
		if r.URL.Query().Get("marker") != "" && once.CompareAndSwap(false, true) {
			far.write(t, 1<<35, big[:512])
		}
	})
	h.must(t, 202, "PUT", "/acct/con/changed", "", source)
	status, _, description, length := h.settled(t, "/acct/con/changed")
	require.Equal(t, []string{"failed", `412 SourceConditionNotMet "Copy failed."`, "0"}, []string{status, description, length})

	// An abort leaves a page blob of zero length.
	held = make(chan struct{})
	far.on(func(r *http.Request) {
		if isPageList(r) {
			<-held
		}
	})
	started = h.must(t, 202, "PUT", "/acct/con/aborted", "", source)
	h.must(t, 204, "PUT", "/acct/con/aborted?comp=copy&copyid="+started.Header.Get("x-ms-copy-id"), "", "x-ms-copy-action: abort")
	close(held)
	status, _, _, length = h.settled(t, "/acct/con/aborted")
	require.Equal(t, []string{"aborted", "0"}, []string{status, length})
	h.must(t, 200, "PUT", "/acct/con/aborted?comp=properties", "", "x-ms-blob-content-length: 512")
	h.must(t, 201, "PUT", "/acct/con/aborted?comp=page", big[:512], "x-ms-page-write: update", ranges(0, 512))

	for _, name := range []string{"dst", "changed", "aborted"} {
		h.must(t, 202, "DELETE", "/acct/con/"+name, "")
	}
	h.empty(t)
}

// A page list that makes no sense fails the copy.
func TestCopyOfBadPageLists(t *testing.T) {
	var list string
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("x-ms-blob-type", "PageBlob")
		if isPageList(r) {
			_, _ = w.Write([]byte(list))
			return
		}
		w.Header().Set("Content-Length", "4096")
		_, _ = w.Write(make([]byte, 4096))
	}))
	defer far.Close()
	h := newHouse(t, private)
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")
	page := func(from, to int) string {
		return fmt.Sprintf("<PageRange><Start>%d</Start><End>%d</End></PageRange>", from, to)
	}
	for _, list = range []string{"", "<x/>", "<PageList>", "<PageList>" + page(1, 512) + "</PageList>", "<PageList>" + page(512, 4607) + "</PageList>", "<PageList>" + page(512, 511) + "</PageList>",
		"<PageList>" + page(512, 1023) + page(0, 511) + "</PageList>", "<PageList><PageRange><Start>x</Start></PageRange></PageList>", "<PageList><NextMarker>a</NextMarker></PageList>"} {
		h.must(t, 202, "PUT", "/acct/con/dst", "", "x-ms-copy-source: "+far.URL+"/disk")
		status, _, description, _ := h.settled(t, "/acct/con/dst")
		require.Equal(t, []string{"failed", `500 CannotVerifyCopySource "Copy failed."`}, []string{status, description}, list)
	}
	h.must(t, 202, "DELETE", "/acct/con/dst", "")
	h.empty(t)
}

// A source that stops sending fails the copy.
func TestCopyFromASourceThatStalls(t *testing.T) {
	over := make(chan struct{})
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100000")
		_, _ = w.Write(make([]byte, 50000))
		w.(http.Flusher).Flush()
		<-over
	}))
	defer far.Close()
	defer close(over)
	h := newHouse(t, private, func(h *house, _ *account.Account) { h.stall = 10 * time.Millisecond })
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")
	h.fails(t, 500, "CannotVerifyCopySource", "PUT", "/acct/con/dst", "", "x-ms-copy-source: "+far.URL+"/file", "x-ms-requires-sync: true")
}

// An append blob from elsewhere is one that can be appended to.
func TestCopyAppendBlobFromElsewhere(t *testing.T) {
	far := newElsewhere(t)
	far.must(t, 201, "PUT", "/acct/far/log", "", isAppend)
	far.must(t, 201, "PUT", "/acct/far/log?comp=appendblock", "one,")
	far.must(t, 201, "PUT", "/acct/far/log?comp=appendblock", "two,")
	h := newHouse(t, private)
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")
	h.must(t, 202, "PUT", "/acct/con/log", "", "x-ms-copy-source: "+far.url+"/acct/far/log")
	status, progress, _, _ := h.settled(t, "/acct/con/log")
	require.Equal(t, []string{"success", "8/8"}, []string{status, progress})
	appended := h.must(t, 201, "PUT", "/acct/con/log?comp=appendblock", "three")
	require.Equal(t, []string{"8", "3"}, []string{appended.Header.Get("x-ms-blob-append-offset"), appended.Header.Get("x-ms-blob-committed-block-count")})
	require.Equal(t, "one,two,three", string(h.must(t, 200, "GET", "/acct/con/log", "").Body))

	far.must(t, 200, "PUT", "/acct/far/log?comp=seal", "")
	h.must(t, 202, "PUT", "/acct/con/sealed", "", "x-ms-copy-source: "+far.url+"/acct/far/log")
	status, _, _, _ = h.settled(t, "/acct/con/sealed")
	require.Equal(t, "success", status)
	require.Equal(t, "true", h.must(t, 200, "HEAD", "/acct/con/sealed", "").Header.Get("x-ms-blob-sealed"))
}

// A list that comes from elsewhere may be longer than one transaction takes.
func TestCopyLongBlobFromElsewhere(t *testing.T) {
	body := string(pattern(50<<20, 3))
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write([]byte(body))
	}))
	defer far.Close()
	h := newHouse(t, private, func(h *house, _ *account.Account) { h.atOnce = 2 })
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")
	h.must(t, 202, "PUT", "/acct/con/dst", "", "x-ms-copy-source: "+far.URL+"/file")
	status, _, _, _ := h.settled(t, "/acct/con/dst")
	require.Equal(t, "success", status)
	require.True(t, body == string(h.must(t, 200, "GET", "/acct/con/dst", "").Body))
	require.Equal(t, 7, storetest.OwnedChunks(t, h.store))
	h.must(t, 202, "DELETE", "/acct/con/dst", "")
	h.empty(t)
}

// holdCopies has the source hold a copy's page list until the test lets go of it.
func (e *elsewhere) holdCopies(wrong *atomic.Int64) (release func()) {
	held := make(chan struct{})
	e.on(func(r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer token" {
			wrong.Add(1)
		}
		r.Header.Del("Authorization")
		if isPageList(r) {
			select {
			case <-held:
			case <-r.Context().Done():
			}
		}
	})
	return sync.OnceFunc(func() { close(held) })
}

// After a restart a copy begins again, with the credentials of its source, which lie nowhere in plain, master key or not. Where the
// account's secret was replaced meanwhile they are lost, and the copy says so.
func TestCopyWithAuthorizationAfterARestart(t *testing.T) {
	for _, c := range []struct {
		name   string
		master []byte
		lost   bool
	}{{"no master key", nil, false}, {"a master key", []byte(strings.Repeat("k", account.MasterSize)), false}, {"a new secret", nil, true}} {
		t.Run(c.name, func(t *testing.T) {
			far := newElsewhere(t)
			far.disk(t, 1<<20, map[int64]string{512: pagesOf('x', 2)})
			refused := atomic.Int64{}
			release := far.holdCopies(&refused)
			defer release()
			h := newHouse(t, private, func(h *house, _ *account.Account) { h.master = c.master })
			h.must(t, 201, "PUT", "/acct/con?restype=container", "")
			h.must(t, 202, "PUT", "/acct/con/dst", "", "x-ms-copy-source: "+far.url+"/acct/far/disk?sig=secret", "x-ms-copy-source-authorization: Bearer token")
			for _, secret := range []string{"Bearer token", "sig=secret"} {
				require.False(t, h.kept(t, secret), secret)
			}
			if c.lost {
				require.NoError(t, h.accounts.Change(t.Context(), "acct", func(a *account.Account) error { a.Delegation = account.GenerateKey(); return nil }))
			}
			h.restart(t)
			release()
			status, _, description, length := h.settled(t, "/acct/con/dst")
			if c.lost {
				require.Equal(t, []string{"failed", "0"}, []string{status, length})
				require.Contains(t, description, "401 CannotVerifyCopySource")
				require.Contains(t, description, "restarted")
			} else {
				require.Equal(t, []string{"success", fmt.Sprint(1 << 20)}, []string{status, length})
				require.Equal(t, pagesOf('x', 2), string(h.must(t, 206, "GET", "/acct/con/dst", "", ranges(512, 1536)).Body))
			}
			require.Zero(t, refused.Load())
			require.Zero(t, h.copiesQueued(t))
			h.must(t, 202, "DELETE", "/acct/con/dst", "")
			h.empty(t)
		})
	}
}

// The work item of a copy, which has the secrets of its source, goes in the transaction that aborts it.
func TestTheSecretsOfACopyGoWithIt(t *testing.T) {
	far := newElsewhere(t)
	far.disk(t, 1<<20, nil)
	defer far.holdCopies(new(atomic.Int64))()
	h := newHouse(t, private)
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")
	r := h.must(t, 202, "PUT", "/acct/con/dst", "", "x-ms-copy-source: "+far.url+"/acct/far/disk?sig=secret", "x-ms-copy-source-authorization: Bearer token")
	require.Equal(t, 1, h.copiesQueued(t))
	h.must(t, 204, "PUT", "/acct/con/dst?comp=copy&copyid="+r.Header.Get("x-ms-copy-id"), "", "x-ms-copy-action: abort")
	require.Zero(t, h.copiesQueued(t))
}

// copiesQueued counts the work items of copies.
func (h *house) copiesQueued(t *testing.T) (n int) {
	require.NoError(t, h.store.View(context.Background(), nil, func(r engine.Reader) error {
		it := r.Scan(engine.SpaceBlobQueue, nil, nil)
		defer it.Close()
		for it.Next() {
			v, err := it.Value()
			require.NoError(t, err)
			if w, ok := record.ParseWork(it.Key(), v); ok && w.Kind == record.WorkCopy {
				n++
			}
		}
		return it.Close()
	}))
	return n
}

// kept tells whether a text stands in the work for the sweeper.
func (h *house) kept(t *testing.T, text string) (found bool) {
	require.NoError(t, h.store.View(context.Background(), nil, func(r engine.Reader) error {
		it := r.Scan(engine.SpaceBlobQueue, nil, nil)
		defer it.Close()
		for it.Next() {
			v, err := it.Value()
			require.NoError(t, err)
			found = found || strings.Contains(string(v), text)
		}
		return it.Close()
	}))
	return found
}
