package blob

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/blob/store"
)

func pagesOf(c byte, n int) string { return strings.Repeat(string(c), n*512) }

func ranges(from, to int64) string { return fmt.Sprintf("x-ms-range: bytes=%d-%d", from, to-1) }

const bom = "\xEF\xBB\xBF" + `<?xml version="1.0" encoding="utf-8"?>`

func TestPageBlob(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	h.fails(t, 400, "MissingRequiredHeader", "PUT", "/acct/box/d", "", v, isPage)
	h.fails(t, 400, "InvalidHeaderValue", "PUT", "/acct/box/d", "", v, isPage, "x-ms-blob-content-length: 513")
	h.fails(t, 400, "InvalidHeaderValue", "PUT", "/acct/box/d", "", v, isPage, "x-ms-blob-content-length: 8796093022720")
	h.fails(t, 400, "InvalidHeaderValue", "PUT", "/acct/box/d", "", v, isPage, "x-ms-blob-content-length: 512", "x-ms-blob-sequence-number: -1")
	h.must(t, 201, "PUT", "/acct/box/d", "", v, isPage, "x-ms-blob-content-length: 8796093022208", "x-ms-blob-sequence-number: 7")
	r := h.must(t, 200, "HEAD", "/acct/box/d", "", v)
	require.Equal(t, "7", r.Header.Get("x-ms-blob-sequence-number"))
	require.Equal(t, "8796093022208", r.Header.Get("Content-Length"))

	page, list := "/acct/box/d?comp=page", "/acct/box/d?comp=pagelist"
	update, clean := "x-ms-page-write: update", "x-ms-page-write: clear"
	require.Equal(t, bom+"<PageList><NextMarker /></PageList>", string(h.must(t, 200, "GET", list, "", v).Body))
	r = h.must(t, 201, "PUT", page, pagesOf('a', 2), v, update, ranges(512, 1536), "x-ms-if-sequence-number-le: 7", "x-ms-if-sequence-number-lt: 8", "x-ms-if-sequence-number-eq: 7")
	require.Equal(t, "7", r.Header.Get("x-ms-blob-sequence-number"))
	require.NotEmpty(t, r.Header.Get("x-ms-content-crc64"))
	require.Equal(t, "true", r.Header.Get("x-ms-request-server-encrypted"))
	h.must(t, 201, "PUT", page, pagesOf('z', 100), v, update, ranges(8796093022208-51200, 8796093022208))
	r = h.must(t, 201, "PUT", page, "", v, clean, ranges(1024, 8796093022208-512))
	require.Empty(t, r.Header.Get("x-ms-content-crc64"))
	r = h.must(t, 200, "GET", list, "", v)
	require.Equal(t, bom+"<PageList><PageRange><Start>512</Start><End>1023</End></PageRange><PageRange><Start>8796093021696</Start><End>8796093022207</End></PageRange><NextMarker /></PageList>", string(r.Body))
	require.Equal(t, "8796093022208", r.Header.Get("x-ms-blob-content-length"))
	require.Equal(t, strings.Repeat("\x00", 500)+strings.Repeat("\x00", 12)+pagesOf('a', 1)+strings.Repeat("\x00", 100),
		string(h.must(t, 206, "GET", "/acct/box/d", "", v, ranges(0, 1124)).Body))
	require.Equal(t, "zz", string(h.must(t, 206, "GET", "/acct/box/d", "", v, "x-ms-range: bytes=8796093022206-").Body))

	// One range an answer, in the order of offsets.
	r = h.must(t, 200, "GET", list+"&maxresults=1", "", v)
	require.Equal(t, bom+"<PageList><PageRange><Start>512</Start><End>1023</End></PageRange><NextMarker>8796093021696</NextMarker></PageList>", string(r.Body))
	r = h.must(t, 200, "GET", list+"&maxresults=1&marker=8796093021696", "", v)
	require.Equal(t, bom+"<PageList><PageRange><Start>8796093021696</Start><End>8796093022207</End></PageRange><NextMarker /></PageList>", string(r.Body))
	require.Equal(t, bom+"<PageList></PageList>", string(h.must(t, 200, "GET", list, "", "x-ms-version: 2020-04-08", ranges(2048, 4096)).Body))
	h.fails(t, 400, "InvalidQueryParameterValue", "GET", list+"&marker=x", "", v)
	h.fails(t, 416, "InvalidPageRange", "GET", list, "", v, "x-ms-range: bytes=8796093022208-")

	h.fails(t, 400, "MissingRequiredHeader", "PUT", page, "", v, ranges(0, 512))
	h.fails(t, 400, "InvalidHeaderValue", "PUT", page, "", v, ranges(0, 512), "x-ms-page-write: erase")
	h.fails(t, 400, "MissingRequiredHeader", "PUT", page, pagesOf('x', 1), v, update)
	for _, rng := range []string{"x-ms-range: bytes=0-510", "x-ms-range: bytes=1-512", "x-ms-range: bytes=512-", "x-ms-range: bytes=8796093022208-8796093022719"} {
		h.fails(t, 416, "InvalidPageRange", "PUT", page, pagesOf('x', 1), v, update, rng)
		h.fails(t, 416, "InvalidPageRange", "PUT", page, "", v, clean, rng)
	}
	h.fails(t, 400, "InvalidHeaderValue", "PUT", page, pagesOf('x', 2), v, update, ranges(0, 512))
	h.fails(t, 400, "InvalidHeaderValue", "PUT", page, pagesOf('x', 1), v, clean, ranges(0, 512))
	h.fails(t, 413, "RequestBodyTooLarge", "PUT", page, pagesOf('x', 8193), v, update, ranges(0, 8193*512))
	h.fails(t, 412, "SequenceNumberConditionNotMet", "PUT", page, pagesOf('x', 1), v, update, ranges(0, 512), "x-ms-if-sequence-number-le: 6")
	h.fails(t, 412, "SequenceNumberConditionNotMet", "PUT", page, pagesOf('x', 1), v, update, ranges(0, 512), "x-ms-if-sequence-number-lt: 7")
	h.fails(t, 412, "SequenceNumberConditionNotMet", "PUT", page, "", v, clean, ranges(0, 512), "x-ms-if-sequence-number-eq: 8")
	h.fails(t, 400, "Md5Mismatch", "PUT", page, pagesOf('x', 1), v, update, ranges(0, 512), "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==")
	h.fails(t, 404, "BlobNotFound", "PUT", "/acct/box/none?comp=page", pagesOf('x', 1), v, update, ranges(0, 512))
	h.must(t, 201, "PUT", "/acct/box/block", "x", v, isBlock)
	h.fails(t, 409, "InvalidBlobType", "PUT", "/acct/box/block?comp=page", pagesOf('x', 1), v, update, ranges(0, 512))
	h.fails(t, 409, "InvalidBlobType", "GET", "/acct/box/block?comp=pagelist", "", v)
	h.fails(t, 409, "InvalidBlobType", "PUT", "/acct/box/block?comp=properties", "", v, "x-ms-blob-content-length: 512")
	require.Equal(t, 2, strings.Count(string(h.must(t, 200, "GET", list, "", v).Body), "<PageRange>"), "what failed changed nothing")
}

func TestPageBlobProperties(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	h.must(t, 201, "PUT", "/acct/box/d", "", v, isPage, "x-ms-blob-content-length: 2048", "x-ms-blob-content-type: a/b")
	h.must(t, 201, "PUT", "/acct/box/d?comp=page", pagesOf('a', 4), v, "x-ms-page-write: update", ranges(0, 2048))
	props := "/acct/box/d?comp=properties"
	h.must(t, 200, "PUT", props, "", v, "x-ms-blob-content-length: 1024")
	h.must(t, 200, "PUT", props, "", v, "x-ms-blob-content-length: 4096")
	r := h.must(t, 200, "GET", "/acct/box/d", "", v)
	require.Equal(t, pagesOf('a', 2)+pagesOf(0, 6), string(r.Body), "what was cut off comes back as zeros")
	require.Equal(t, "a/b", r.Header.Get("Content-Type"))
	for _, step := range []struct {
		action, number string
		want           string
	}{{"update", "5", "5"}, {"max", "3", "5"}, {"max", "9", "9"}, {"increment", "", "10"}, {"update", "9223372036854775807", "9223372036854775807"}} {
		header := []string{v, "x-ms-sequence-number-action: " + step.action}
		if step.number != "" {
			header = append(header, "x-ms-blob-sequence-number: "+step.number)
		}
		require.Equal(t, step.want, h.must(t, 200, "PUT", props, "", header...).Header.Get("x-ms-blob-sequence-number"))
	}
	h.fails(t, 409, "SequenceNumberIncrementTooLarge", "PUT", props, "", v, "x-ms-sequence-number-action: increment")
	h.fails(t, 400, "MissingRequiredHeader", "PUT", props, "", v, "x-ms-sequence-number-action: max")
	h.fails(t, 400, "InvalidHeaderValue", "PUT", props, "", v, "x-ms-sequence-number-action: increment", "x-ms-blob-sequence-number: 1")
	h.fails(t, 400, "InvalidHeaderValue", "PUT", props, "", v, "x-ms-sequence-number-action: less")
	h.fails(t, 400, "InvalidHeaderValue", "PUT", props, "", v, "x-ms-blob-content-length: 511")
}

func TestPageRangesDiff(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	h.must(t, 201, "PUT", "/acct/box/d", "", v, isPage, "x-ms-blob-content-length: 10240")
	put := func(page int, c byte) {
		t.Helper()
		h.must(t, 201, "PUT", "/acct/box/d?comp=page", pagesOf(c, 1), v, "x-ms-page-write: update", ranges(int64(page)*512, int64(page+1)*512))
	}
	snap := func() string {
		return h.must(t, 201, "PUT", "/acct/box/d?comp=snapshot", "", v).Header.Get("x-ms-snapshot")
	}
	for i := range 6 {
		put(i, 'a')
	}
	s1 := snap()
	put(1, 'b')
	put(2, 'a') // the same bytes
	h.must(t, 201, "PUT", "/acct/box/d?comp=page", "", v, "x-ms-page-write: clear", ranges(4*512, 7*512))
	s2 := snap()
	put(9, 'c')
	list := "/acct/box/d?comp=pagelist"
	const changed = "<PageRange><Start>512</Start><End>1023</End></PageRange><ClearRange><Start>2048</Start><End>3583</End></ClearRange>"
	require.Equal(t, bom+"<PageList>"+changed+"<PageRange><Start>4608</Start><End>5119</End></PageRange><NextMarker /></PageList>",
		string(h.must(t, 200, "GET", list+"&prevsnapshot="+s1, "", v).Body))
	require.Equal(t, bom+"<PageList>"+changed+"<NextMarker /></PageList>", string(h.must(t, 200, "GET", list+"&prevsnapshot="+s1+"&snapshot="+s2, "", v).Body))
	require.Equal(t, bom+"<PageList><PageRange><Start>4608</Start><End>5119</End></PageRange><NextMarker /></PageList>",
		string(h.must(t, 200, "GET", list, "", v, "x-ms-previous-snapshot-url: http://host/acct/box/d?snapshot="+strings.ReplaceAll(s2, ":", "%3a")).Body))
	require.Equal(t, bom+"<PageList><PageRange><Start>512</Start><End>1023</End></PageRange><NextMarker>2048</NextMarker></PageList>",
		string(h.must(t, 200, "GET", list+"&maxresults=1&prevsnapshot="+s1, "", v).Body))
	require.Equal(t, bom+"<PageList><NextMarker /></PageList>", string(h.must(t, 200, "GET", list+"&snapshot="+s1+"&prevsnapshot="+s1, "", v).Body))
	// What was empty, written and cleared since is told as cleared, whether a snapshot lies between or not; as recorded of the service.
	put(8, 'd')
	s3 := snap()
	h.must(t, 201, "PUT", "/acct/box/d?comp=page", "", v, "x-ms-page-write: clear", ranges(8*512, 9*512))
	put(7, 'e')
	h.must(t, 201, "PUT", "/acct/box/d?comp=page", "", v, "x-ms-page-write: clear", ranges(7*512, 8*512))
	const cleared, ninth = "<ClearRange><Start>3584</Start><End>4607</End></ClearRange>", "<PageRange><Start>4608</Start><End>5119</End></PageRange>"
	require.Equal(t, bom+"<PageList>"+strings.Replace(changed, "3583", "4607", 1)+ninth+"<NextMarker /></PageList>", string(h.must(t, 200, "GET", list+"&prevsnapshot="+s1, "", v).Body))
	require.Equal(t, bom+"<PageList>"+cleared+"<NextMarker /></PageList>", string(h.must(t, 200, "GET", list+"&prevsnapshot="+s3, "", v).Body))
	h.fails(t, 409, "PreviousSnapshotNotFound", "GET", list+"&prevsnapshot=2020-01-01T00:00:00.0000000Z", "", v)
	h.fails(t, 400, "PreviousSnapshotCannotBeNewer", "GET", list+"&prevsnapshot="+s2+"&snapshot="+s1, "", v)
	h.fails(t, 400, "InvalidQueryParameterValue", "GET", list+"&prevsnapshot=yesterday", "", v)
	h.must(t, 202, "DELETE", "/acct/box/d?snapshot="+s1, "", v)
	h.fails(t, 409, "PreviousSnapshotNotFound", "GET", list+"&prevsnapshot="+s1, "", v)
	h.must(t, 201, "PUT", "/acct/box/d", "", v, isPage, "x-ms-blob-content-length: 10240")
	h.fails(t, 409, "BlobOverwritten", "GET", list+"&prevsnapshot="+s2, "", v)
}

// TestReadWhileWriting: an answer that is under way is of one state of the blob, whatever is written meanwhile.
func TestReadWhileWriting(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	const size = 3*store.PageSpans*512 + 512
	h.must(t, 201, "PUT", "/acct/box/d", "", v, isPage, fmt.Sprintf("x-ms-blob-content-length: %d", size))
	at := store.Target{Account: h.registry.Lookup("acct"), Container: "box", Name: "d"}
	ctx := context.Background()
	fill := func(c byte, step int) {
		for from := 0; from < size; from += step {
			_, _, err := h.svc.blobs.WritePages(ctx, &store.PageRequest{Target: at, LE: -1, LT: -1, EQ: -1}, int64(from), &store.Upload{Body: strings.NewReader(pagesOf(c, 1)), Size: 512})
			require.NoError(t, err)
		}
	}
	fill('o', 1024)
	want := h.must(t, 200, "GET", "/acct/box/d", "", v).Body
	rd, err := h.svc.blobs.Open(ctx, &store.ReadRequest{Target: at})
	require.NoError(t, err)
	require.Equal(t, int64(size), rd.Length)
	fill('n', 512)
	require.NoError(t, h.svc.blobs.Sweep(ctx))
	got, err := io.ReadAll(rd.Body)
	require.NoError(t, err)
	require.NoError(t, rd.Body.Close())
	require.True(t, bytes.Equal(want, got))
	require.Equal(t, strings.Repeat("n", size), string(h.must(t, 200, "GET", "/acct/box/d", "", v).Body))
	h.unpinned()
}

// TestReadWhileOverwritten: the same for block and append blobs, however they are stored.
func TestReadWhileOverwritten(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	ctx := context.Background()
	big := strings.Repeat("0123456789abcdef", 20<<16) // 20 MiB: three chunks
	h.must(t, 201, "PUT", "/acct/box/chunks", big, v, isBlock)
	h.must(t, 201, "PUT", "/acct/box/list", "", v, isAppend)
	for range 3 {
		h.must(t, 201, "PUT", "/acct/box/list?comp=appendblock", big[:1<<20], v)
	}
	for name, want := range map[string]string{"chunks": big, "list": big[:3<<20]} {
		rd, err := h.svc.blobs.Open(ctx, &store.ReadRequest{Target: store.Target{Account: h.registry.Lookup("acct"), Container: "box", Name: name}})
		require.NoError(t, err)
		abandoned, err := h.svc.blobs.Open(ctx, &store.ReadRequest{Target: store.Target{Account: h.registry.Lookup("acct"), Container: "box", Name: name}})
		require.NoError(t, err)
		require.NoError(t, abandoned.Body.Close())
		h.must(t, 202, "DELETE", "/acct/box/"+name, "", v)
		require.NoError(t, h.svc.blobs.Sweep(ctx))
		got, err := io.ReadAll(rd.Body)
		require.NoError(t, err, name)
		require.NoError(t, rd.Body.Close())
		require.True(t, want == string(got), name)
	}
	h.unpinned()
	h.empty(t)
}
