package blob

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/store"
)

func pattern(n, seed int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*31>>2 + i>>11 + seed)
	}
	return b
}

// A source elsewhere is read in the background; its destination is closed to writes until then.
func TestCopyFromElsewhere(t *testing.T) {
	body := pattern(9<<20, 3)
	release := make(chan struct{})
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/file" {
			http.Error(w, "no", 404)
			return
		}
		w.Header().Set("Content-Type", "text/z")
		http.ServeContent(held{w, release, r.Header.Get("Range") == ""}, r, "", time.Time{}, strings.NewReader(string(body)))
	}))
	defer other.Close()
	h := newHouse(t, func(h *house, _ *account.Account) { h.private = true })
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")

	started := h.must(t, 202, "PUT", "/acct/con/dst", "", "x-ms-copy-source: "+other.URL+"/file")
	require.Equal(t, "pending", started.Header.Get("x-ms-copy-status"))
	h.fails(t, 409, "PendingCopyOperation", "PUT", "/acct/con/dst", "x", "x-ms-blob-type: BlockBlob")
	h.fails(t, 409, "PendingCopyOperation", "PUT", "/acct/con/dst?comp=metadata", "")
	h.fails(t, 409, "CopyIdMismatch", "PUT", "/acct/con/dst?comp=copy&copyid=6a0a1d7e-8b2e-4f0f-9b59-111111111111", "", "x-ms-copy-action: abort")
	close(release)
	awaitCopies(h.svc)
	got := h.must(t, 200, "GET", "/acct/con/dst", "")
	require.Equal(t, string(body), string(got.Body))
	require.Equal(t, []string{"success", fmt.Sprintf("%d/%d", len(body), len(body)), "text/z"}, []string{got.Header.Get("x-ms-copy-status"), got.Header.Get("x-ms-copy-progress"), got.Header.Get("Content-Type")})

	release = make(chan struct{})
	started = h.must(t, 202, "PUT", "/acct/con/aborted", "", "x-ms-copy-source: "+other.URL+"/file")
	h.must(t, 204, "PUT", "/acct/con/aborted?comp=copy&copyid="+started.Header.Get("x-ms-copy-id"), "", "x-ms-copy-action: abort")
	close(release)
	awaitCopies(h.svc)
	got = h.must(t, 200, "GET", "/acct/con/aborted", "")
	require.Empty(t, got.Body)
	require.Equal(t, "aborted", got.Header.Get("x-ms-copy-status"))
	h.must(t, 201, "PUT", "/acct/con/aborted", "x", "x-ms-blob-type: BlockBlob")

	missing := h.fails(t, 404, "CannotVerifyCopySource", "PUT", "/acct/con/none", "", "x-ms-copy-source: "+other.URL+"/none")
	require.Equal(t, "404", missing.Header.Get("x-ms-copy-source-status-code"))
	h.fails(t, 404, "BlobNotFound", "HEAD", "/acct/con/none", "")

	h.must(t, 201, "PUT", "/acct/con/block?comp=block&blockid=QQ==", "", "x-ms-copy-source: "+other.URL+"/file", "x-ms-source-range: bytes=5-1000004")
	h.must(t, 201, "PUT", "/acct/con/block?comp=blocklist", "<BlockList><Latest>QQ==</Latest></BlockList>")
	require.Equal(t, string(body[5:1000005]), string(h.must(t, 200, "GET", "/acct/con/block", "").Body))
	h.must(t, 202, "PUT", "/acct/con/sync", "", "x-ms-copy-source: "+other.URL+"/file", "x-ms-requires-sync: true")
	require.Equal(t, string(body), string(h.must(t, 200, "GET", "/acct/con/sync", "").Body))
}

// held lets the head of an answer through and holds the body back.
type held struct {
	http.ResponseWriter
	release chan struct{}
	hold    bool
}

func (h held) Write(p []byte) (int, error) {
	if h.hold {
		h.ResponseWriter.(http.Flusher).Flush()
		<-h.release
	}
	return h.ResponseWriter.Write(p)
}

// A copy that a restart broke off begins again.
func TestCopyGoesOnAfterARestart(t *testing.T) {
	body := pattern(100<<10, 5)
	first := make(chan struct{})
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-first:
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(body)))
		default: // the head only
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
	}))
	defer other.Close()
	h := newHouse(t, func(h *house, _ *account.Account) { h.private = true })
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")
	h.must(t, 202, "PUT", "/acct/con/dst", "", "x-ms-copy-source: "+other.URL+"/file?sig=secret")
	require.NoError(t, h.svc.Close())
	close(first)
	again := New(store.Options{Store: h.store, Accounts: h.accounts, PrivateSources: true})
	require.NoError(t, again.blobs.Sweep(context.Background()))
	awaitCopies(again)
	require.NoError(t, again.Close())
	got := h.must(t, 200, "GET", "/acct/con/dst", "")
	require.Equal(t, string(body), string(got.Body))
	require.Equal(t, "success", got.Header.Get("x-ms-copy-status"))
	require.Equal(t, other.URL+"/file", got.Header.Get("x-ms-copy-source"))
	h.svc = New(store.Options{Store: h.store, Accounts: h.accounts}) // the house closes it
}

func TestCopyRefusals(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")
	h.must(t, 201, "PUT", "/acct/con/src", "data", "x-ms-blob-type: BlockBlob", "x-ms-tags: a=b")
	own := "x-ms-copy-source: http://" + h.Addr + "/acct/con/src"
	for _, bad := range []string{"nonsense", "ftp://x/y", "http://", "http://user:pw@127.0.0.1/x", "http://" + h.Addr + "/acct"} {
		h.fails(t, 400, "InvalidHeaderValue", "PUT", "/acct/con/dst", "", "x-ms-copy-source: "+bad)
	}
	// Private addresses are closed unless they were asked for.
	for _, closed := range []string{"http://127.0.0.1:1/x", "http://169.254.169.254/metadata", "http://[::1]:1/x", "http://10.0.0.1/x"} {
		h.fails(t, 500, "CannotVerifyCopySource", "PUT", "/acct/con/dst", "", "x-ms-copy-source: "+closed)
	}
	h.fails(t, 404, "CannotVerifyCopySource", "PUT", "/acct/con/dst", "", own+"x")
	h.fails(t, 404, "ContainerNotFound", "PUT", "/acct/nowhere/dst", "", own)
	h.fails(t, 400, "BothUserTagsAndSourceTagsCopyPresentException", "PUT", "/acct/con/dst", "", own, "x-ms-requires-sync: true", "x-ms-tags: a=b", "x-ms-copy-source-tag-option: COPY")
	h.fails(t, 412, "SourceConditionNotMet", "PUT", "/acct/con/dst", "", own, "x-ms-source-if-match: \"0x1\"")
	h.fails(t, 409, "BlobAlreadyExists", "PUT", "/acct/con/src", "", own, "If-None-Match: *")
	h.fails(t, 400, "MissingRequiredHeader", "PUT", "/acct/con/src?comp=copy&copyid=x", "")
	h.must(t, 202, "PUT", "/acct/con/tagged", "", own, "x-ms-requires-sync: true", "x-ms-copy-source-tag-option: COPY")
	require.Equal(t, "1", h.must(t, 200, "HEAD", "/acct/con/tagged", "").Header.Get("x-ms-tag-count"))
	h.must(t, 200, "PUT", "/acct/con/src?comp=tier", "", "x-ms-access-tier: Archive")
	h.fails(t, 409, "CannotVerifyCopySource", "PUT", "/acct/con/dst", "", own)
	for priority, after := range map[string]time.Duration{"High": time.Minute / 2, "Standard": time.Hour} {
		h.must(t, 202, "PUT", "/acct/con/dst", "", own, "x-ms-access-tier: Hot", "x-ms-rehydrate-priority: "+priority)
		rehydrating := h.must(t, 200, "HEAD", "/acct/con/dst", "").Header
		require.Equal(t, []string{"success", "Archive", "rehydrate-pending-to-hot", priority}, []string{rehydrating.Get("x-ms-copy-status"),
			rehydrating.Get("x-ms-access-tier"), rehydrating.Get("x-ms-archive-status"), rehydrating.Get("x-ms-rehydrate-priority")})
		h.fails(t, 409, "BlobBeingRehydrated", "GET", "/acct/con/dst", "")
		h.fails(t, 409, "BlobBeingRehydrated", "PUT", "/acct/con/dst", "", own, "x-ms-access-tier: Hot")
		h.ahead.Store(int64(after))
		require.Equal(t, "data", string(h.must(t, 200, "GET", "/acct/con/dst", "").Body))
		h.ahead.Store(0)
		h.must(t, 202, "DELETE", "/acct/con/dst", "")
	}
}

// A page blob is copied with its map: what was not written stays so, and the chunks are shared.
func TestCopyPageBlob(t *testing.T) {
	ctx := context.Background()
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")
	h.must(t, 201, "PUT", "/acct/con/src", "", "x-ms-blob-type: PageBlob", fmt.Sprint("x-ms-blob-content-length: ", 1<<40), "x-ms-blob-sequence-number: 7")
	big := string(pattern(1<<20, 1))
	put := func(at int64, data string) {
		h.must(t, 201, "PUT", "/acct/con/src?comp=page", data, "x-ms-page-write: update", fmt.Sprintf("x-ms-range: bytes=%d-%d", at, at+int64(len(data))-1))
	}
	put(512, big)
	put(1<<39, big[:512])
	own := "x-ms-copy-source: http://" + h.Addr + "/acct/con/src"
	h.must(t, 202, "PUT", "/acct/con/dst", "", own)
	ranges := func(name string) string {
		return string(h.must(t, 200, "GET", "/acct/con/"+name+"?comp=pagelist", "").Body)
	}
	require.Equal(t, ranges("src"), ranges("dst"))
	head := h.must(t, 200, "HEAD", "/acct/con/dst", "")
	require.Equal(t, []string{"7", fmt.Sprint(1 << 40), "success"}, []string{head.Header.Get("x-ms-blob-sequence-number"), head.Header.Get("Content-Length"), head.Header.Get("x-ms-copy-status")})
	put(0, strings.Repeat("x", 512)) // the copy does not follow its source
	h.must(t, 202, "DELETE", "/acct/con/src", "")
	require.NoError(t, h.svc.blobs.Sweep(ctx))
	got := h.must(t, 206, "GET", "/acct/con/dst", "", fmt.Sprintf("x-ms-range: bytes=0-%d", 512+len(big)+511))
	require.Equal(t, strings.Repeat("\x00", 512)+big+strings.Repeat("\x00", 512), string(got.Body))
	h.unpinned()

	// A page blob that cannot be put there leaves nothing behind.
	h.must(t, 201, "PUT", "/acct/con/block", "x", "x-ms-blob-type: BlockBlob")
	h.fails(t, 409, "InvalidBlobType", "PUT", "/acct/con/block", "", "x-ms-copy-source: http://"+h.Addr+"/acct/con/dst")

	// Its bytes can become those of any other blob.
	from := "x-ms-copy-source: http://" + h.Addr + "/acct/con/dst"
	h.must(t, 201, "PUT", "/acct/con/pages", "", "x-ms-blob-type: PageBlob", "x-ms-blob-content-length: 4096")
	h.must(t, 201, "PUT", "/acct/con/pages?comp=page", "", from, "x-ms-page-write: update", "x-ms-range: bytes=1024-2047", "x-ms-source-range: bytes=0-1023")
	require.Equal(t, strings.Repeat("\x00", 1536)+big[:512]+strings.Repeat("\x00", 2048), string(h.must(t, 200, "GET", "/acct/con/pages", "").Body))
	h.must(t, 201, "PUT", "/acct/con/app", "", "x-ms-blob-type: AppendBlob")
	appended := h.must(t, 201, "PUT", "/acct/con/app?comp=appendblock", "", from, "x-ms-source-range: bytes=500-1048575")
	require.Equal(t, []string{"0", "1"}, []string{appended.Header.Get("x-ms-blob-append-offset"), appended.Header.Get("x-ms-blob-committed-block-count")})
	h.must(t, 201, "PUT", "/acct/con/app?comp=appendblock", "", "x-ms-copy-source: http://"+h.Addr+"/acct/con/block")
	require.Equal(t, strings.Repeat("\x00", 12)+big[:1048576-512]+"x", string(h.must(t, 200, "GET", "/acct/con/app", "").Body))

	// An append blob keeps its blocks, and what is appended later is not the copy's.
	h.must(t, 202, "PUT", "/acct/con/app2", "", "x-ms-copy-source: http://"+h.Addr+"/acct/con/app")
	h.must(t, 201, "PUT", "/acct/con/app?comp=appendblock", "more")
	h.must(t, 201, "PUT", "/acct/con/app2?comp=appendblock", "other")
	require.Equal(t, strings.Repeat("\x00", 12)+big[:1048576-512]+"xother", string(h.must(t, 200, "GET", "/acct/con/app2", "").Body))
	require.Equal(t, strings.Repeat("\x00", 12)+big[:1048576-512]+"xmore", string(h.must(t, 200, "GET", "/acct/con/app", "").Body))
	h.fails(t, 416, "InvalidRange", "PUT", "/acct/con/app?comp=appendblock", "", from, fmt.Sprintf("x-ms-source-range: bytes=%d-", 1<<41))
}

// Before there were copies, or copies of that kind, a source makes no empty blob in the place of another.
func TestASourceOfAnOlderVersionMakesNoBlob(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")
	h.must(t, 201, "PUT", "/acct/con/kept", "precious", "x-ms-blob-type: BlockBlob")
	for kind, code := range map[string]string{"BlockBlob": "InvalidHeaderValue", "PageBlob": "UnsupportedHeader"} {
		h.fails(t, 400, code, "PUT", "/acct/con/kept", "", "x-ms-version: 2011-08-18", "x-ms-blob-type: "+kind,
			"x-ms-blob-content-length: 512", "x-ms-copy-source: http://"+h.Addr+"/acct/con/other")
	}
	require.Equal(t, "precious", string(h.must(t, 200, "GET", "/acct/con/kept", "").Body))
}

// TestPutFromURLHoldsItsSums: the sum that is to be stored, and those of the source, each are the content's or nothing is written.
func TestPutFromURLHoldsItsSums(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	r := h.must(t, 201, "PUT", "/acct/box/b", "content", v, isBlock)
	md5, crc := r.Header.Get("Content-MD5"), r.Header.Get("x-ms-content-crc64")
	from, public := "x-ms-copy-source: http://127.0.0.1/acct/box/b", "x-ms-blob-public-access: blob"
	h.must(t, 200, "PUT", "/acct/box?restype=container&comp=acl", "", v, public)
	const wrong, wrongCRC = "AAAAAAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAA="
	for _, c := range []struct {
		code   string
		header []string
	}{
		{"Md5Mismatch", []string{"x-ms-blob-content-md5: " + wrong}},
		{"Md5Mismatch", []string{"x-ms-source-content-md5: " + wrong}},
		{"Md5Mismatch", []string{"x-ms-blob-content-md5: " + wrong, "x-ms-source-content-md5: " + md5}},
		{"Md5Mismatch", []string{"x-ms-blob-content-md5: " + md5, "x-ms-source-content-md5: " + wrong}},
		{"Md5Mismatch", []string{"x-ms-blob-content-md5: " + wrong, "x-ms-source-content-crc64: " + crc}},
		{"Crc64Mismatch", []string{"x-ms-source-content-crc64: " + wrongCRC}},
		{"Crc64Mismatch", []string{"x-ms-blob-content-md5: " + md5, "x-ms-source-content-crc64: " + wrongCRC}},
		{"BothCrc64AndMd5HeaderPresent", []string{"x-ms-source-content-md5: " + md5, "x-ms-source-content-crc64: " + crc}},
		{"InvalidMd5", []string{"x-ms-blob-content-md5: AAAA"}},
	} {
		h.fails(t, 400, c.code, "PUT", "/acct/box/new", "", append([]string{v, isBlock, from}, c.header...)...)
	}
	h.fails(t, 404, "BlobNotFound", "HEAD", "/acct/box/new", "", v)
	r = h.must(t, 201, "PUT", "/acct/box/new", "", v, isBlock, from, "x-ms-blob-content-md5: "+md5)
	require.Empty(t, r.Header.Get("Content-MD5"), "told for x-ms-source-content-md5 only")
	r = h.must(t, 201, "PUT", "/acct/box/new", "", v, isBlock, from, "x-ms-blob-content-md5: "+md5, "x-ms-source-content-md5: "+md5)
	require.Equal(t, md5, r.Header.Get("Content-MD5"))
	require.Equal(t, md5, h.must(t, 200, "GET", "/acct/box/new", "", v).Header.Get("Content-MD5"))
}
