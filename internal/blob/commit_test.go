package blob

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/minio/crc64nvme"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/store/storetest"
	"github.com/blobd/blobd/internal/protocol"
)

// A list of more chunks than one transaction takes is laid in several, and copied so.
func TestLongLists(t *testing.T) {
	ctx := context.Background()
	h := newHouse(t, func(h *house, _ *account.Account) { h.atOnce = 8 })
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")
	id := func(i int) string { return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%04d", i)) }
	stage := func(name string, i int, text string) string {
		h.must(t, 201, "PUT", "/acct/con/"+name+"?comp=block&blockid="+url.QueryEscape(id(i)), text)
		return text
	}
	commit := func(status int, name string, entries ...string) {
		h.must(t, status, "PUT", "/acct/con/"+name+"?comp=blocklist", "<BlockList>"+strings.Join(entries, "")+"</BlockList>", "x-ms-meta-m: 1")
	}
	latest := func(i int) string { return "<Latest>" + id(i) + "</Latest>" }
	committed := func(i int) string { return "<Committed>" + id(i) + "</Committed>" }
	read := func(name string) string { return string(h.must(t, 200, "GET", "/acct/con/"+name, "").Body) }

	var want string
	var entries []string
	for i := range 100 {
		want += stage("a", i, fmt.Sprintf("block %d;", i))
		entries = append(entries, latest(i))
	}
	commit(201, "a", entries...)
	require.Equal(t, want, read("a"))
	require.Equal(t, int64(len(want)), used(t, h))
	got := h.must(t, 206, "GET", "/acct/con/a", "", "x-ms-range: bytes=500-599")
	require.Equal(t, want[500:600], string(got.Body))

	// Again, of committed and uncommitted blocks and one of them twice; what is left out goes.
	fresh := stage("a", 500, "fresh;")
	stage("a", 501, "never;")
	entries = append(entries[:0], latest(500))
	want = fresh
	for i := 99; i >= 0; i -= 2 {
		entries = append(entries, committed(i), latest(500))
		want += fmt.Sprintf("block %d;", i) + fresh
	}
	commit(400, "a", append(entries, latest(777))...)
	commit(201, "a", entries...)
	require.Equal(t, want, read("a"))
	list := string(h.must(t, 200, "GET", "/acct/con/a?comp=blocklist&blocklisttype=all", "").Body)
	require.Equal(t, 101, strings.Count(list, "<Block>"))
	require.Contains(t, list, "<UncommittedBlocks />")
	h.unpinned()
	require.NoError(t, h.svc.blobs.Sweep(ctx))
	require.Equal(t, 51, storetest.OwnedChunks(t, h.store))
	require.Equal(t, int64(len(want)), used(t, h))

	// A copy shares the chunks, a snapshot the list.
	h.must(t, 202, "PUT", "/acct/con/b", "", "x-ms-copy-source: http://"+h.Addr+"/acct/con/a")
	h.must(t, 201, "PUT", "/acct/con/b?comp=snapshot", "")
	require.Equal(t, want, read("b"))
	require.Equal(t, h.must(t, 200, "GET", "/acct/con/a", "").Header.Get("Content-MD5"), h.must(t, 200, "GET", "/acct/con/b", "").Header.Get("Content-MD5"))
	require.Equal(t, 51, storetest.OwnedChunks(t, h.store))
	synced := h.must(t, 202, "PUT", "/acct/con/c", "", "x-ms-copy-source: http://"+h.Addr+"/acct/con/b", "x-ms-requires-sync: true")
	require.Equal(t, protocol.CRC64(crc64nvme.Checksum([]byte(want))), synced.Header.Get("x-ms-content-crc64"))
	h.must(t, 202, "DELETE", "/acct/con/a", "")
	require.NoError(t, h.svc.blobs.Sweep(ctx))
	require.Equal(t, want, read("c"))
	h.must(t, 201, "PUT", "/acct/con/d", "", "x-ms-copy-source: http://"+h.Addr+"/acct/con/b", "x-ms-blob-type: BlockBlob")
	require.Equal(t, want, read("d"))

	for _, name := range []string{"b", "c", "d"} {
		h.must(t, 202, "DELETE", "/acct/con/"+name, "", "x-ms-delete-snapshots: include")
	}
	h.empty(t)
}

// Whoever stages and commits at once, a list that is laid in several steps is of blocks as they were at one moment.
func TestLongListsAtOnce(t *testing.T) {
	h := newHouse(t, func(h *house, _ *account.Account) { h.atOnce = 2 })
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")
	list := "<BlockList>" + strings.Repeat("<Latest>AAAA</Latest>", 7) + "</BlockList>"
	var wg sync.WaitGroup
	committed := make([]int, 4)
	for w := range committed {
		wg.Go(func() {
			conn := h.Dial()
			for i := range 25 {
				conn.Do("PUT", "/acct/con/a?comp=block&blockid=AAAA", fmt.Sprintf("<%d.%d>", w, i))
				switch r := conn.Do("PUT", "/acct/con/a?comp=blocklist", list); r.Status {
				case 201:
					committed[w]++
				case 503: // blocks came all the time
				default:
					t.Errorf("commit: %s", r)
				}
				got := conn.Do("GET", "/acct/con/a", "")
				if body := string(got.Body); got.Status == 200 && body != strings.Repeat(body[:len(body)/7], 7) {
					t.Errorf("a blob of blocks of different times: %q", body)
				}
			}
		})
	}
	wg.Wait()
	n := 0
	for _, c := range committed {
		n += c
	}
	require.NotZero(t, n)
	h.must(t, 202, "DELETE", "/acct/con/a", "")
	h.empty(t)
}
