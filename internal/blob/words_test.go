package blob

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBackslashIsSlash: in the names of blobs, in what copies read from, and in the root container.
func TestBackslashIsSlash(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	h.must(t, 201, "PUT", "/acct/box/d%5Cf.txt", "x", v, isBlock)
	h.must(t, 200, "HEAD", "/acct/box/d/f.txt", "", v)
	require.Contains(t, string(h.must(t, 200, "GET", "/acct/box?restype=container&comp=list&prefix=d/", "", v).Body), "<Name>d/f.txt</Name>")
	h.must(t, 202, "PUT", "/acct/box/copy", "", v, "x-ms-copy-source: http://"+h.Addr+"/acct/box/d%5Cf.txt")
	require.Equal(t, "x", string(h.must(t, 200, "GET", "/acct/box%5Ccopy", "", v).Body))
}

// TestStatusLineOfErrors: it carries the message, which for a HEAD is all that there is.
func TestStatusLineOfErrors(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	etag := h.must(t, 201, "PUT", "/acct/box/b", "", v, isBlock).Header.Get("ETag")
	for _, c := range []struct{ method, target, header, want string }{
		{"GET", "/acct/box/b", "x-ms-range: bytes=0-0", "416 The range specified is invalid for the current size of the resource."},
		{"HEAD", "/acct/box/none", "a: b", "404 The specified blob does not exist."},
		{"GET", "/acct/none/b", "a: b", "404 The specified container does not exist."},
		{"GET", "/acct/box/b", "If-None-Match: " + etag, "304 The condition specified using HTTP conditional header(s) is not met."},
		{"GET", "/acct/box/b", "a: b", "200 OK"},
	} {
		r := h.Do(c.method, c.target, "", v, c.header)
		line, _, _ := strings.Cut(r.Raw, "\r\n")
		require.Equal(t, "HTTP/1.1 "+c.want, line)
	}
}

// TestWordsWithoutCase: enumerations and booleans mean the same in any case, in headers and in queries.
func TestWordsWithoutCase(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=Container", "", v, "x-ms-deny-encryption-scope-override: True", "x-ms-default-encryption-scope: s", "x-ms-blob-public-access: Container")
	h.must(t, 201, "PUT", "/acct/box/b", "content", v, "x-ms-blob-type: blockblob", "x-ms-access-tier: COOL")
	for _, kind := range []string{"COMMITTED", "Committed", "Uncommitted", "All"} {
		h.must(t, 200, "GET", "/acct/box/b?comp=BlockList&blocklisttype="+kind, "", v)
	}
	r := h.must(t, 206, "GET", "/acct/box/b", "", v, "x-ms-range: bytes=0-3", "x-ms-range-get-content-md5: True")
	require.NotEmpty(t, r.Header.Get("Content-MD5"))
	r = h.must(t, 206, "GET", "/acct/box/b", "", v, "x-ms-range: bytes=0-3", "x-ms-range-get-content-crc64: TRUE", "x-ms-range-get-content-md5: False")
	require.NotEmpty(t, r.Header.Get("x-ms-content-crc64"))
	h.fails(t, 400, "InvalidHeaderValue", "GET", "/acct/box/b", "", v, "x-ms-range: bytes=0-3", "x-ms-range-get-content-md5: yes")
	require.Contains(t, string(h.must(t, 200, "GET", "/acct/box?restype=container&comp=List&include=Metadata&showonly=Files", "", v).Body), "<Name>b</Name>")

	h.must(t, 201, "PUT", "/acct/box/a", "", v, "x-ms-blob-type: appendblob")
	h.must(t, 202, "PUT", "/acct/box/sealed", "", v, "x-ms-copy-source: http://"+h.Addr+"/acct/box/a", "x-ms-seal-blob: True")
	require.Equal(t, "true", h.must(t, 200, "HEAD", "/acct/box/sealed", "", v).Header.Get("x-ms-blob-sealed"))
	h.fails(t, 400, "InvalidHeaderValue", "PUT", "/acct/box/other", "", v, "x-ms-copy-source: http://"+h.Addr+"/acct/box/a", "x-ms-seal-blob: maybe")

	h.must(t, 201, "PUT", "/acct/box/p", "", v, "x-ms-blob-type: PAGEBLOB", "x-ms-blob-content-length: 512")
	h.must(t, 201, "PUT", "/acct/box/p?comp=Page", strings.Repeat("x", 512), v, "x-ms-page-write: Update", "x-ms-range: bytes=0-511")
	h.must(t, 200, "PUT", "/acct/box/p?comp=properties", "", v, "x-ms-sequence-number-action: Increment")
	h.must(t, 201, "PUT", "/acct/box/b?comp=lease", "", v, "x-ms-lease-action: Acquire", "x-ms-lease-duration: 60")
	h.must(t, 202, "PUT", "/acct/box/b?comp=lease", "", v, "x-ms-lease-action: BREAK", "x-ms-lease-break-period: 0")
	h.must(t, 202, "DELETE", "/acct/box/b", "", v, "x-ms-delete-snapshots: Include")
}

// TestWordsThatAreNone: every header that is a Boolean or one of some words refuses all else, and the refusal names the header as the
// service writes it.
func TestWordsThatAreNone(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	h.must(t, 201, "PUT", "/acct/box/b", "content", v, isBlock)
	h.must(t, 201, "PUT", "/acct/box/p", "", v, "x-ms-blob-type: PageBlob", "x-ms-blob-content-length: 512")
	from := "x-ms-copy-source: http://127.0.0.1/acct/box/b"
	for _, c := range []struct {
		method, target, header string
		more                   []string
	}{
		// Booleans
		{"PUT", "/acct/new?restype=container", "x-ms-deny-encryption-scope-override", nil},
		{"GET", "/acct/box/b", "x-ms-range-get-content-md5", []string{"x-ms-range: bytes=0-1"}},
		{"GET", "/acct/box/b", "x-ms-range-get-content-crc64", []string{"x-ms-range: bytes=0-1"}},
		{"PUT", "/acct/box/c", "x-ms-legal-hold", []string{isBlock}},
		{"PUT", "/acct/box/c", "x-ms-seal-blob", []string{from}},
		{"PUT", "/acct/box/c", "x-ms-requires-sync", []string{from}},
		{"PUT", "/acct/box/c", "x-ms-copy-source-blob-properties", []string{from, isBlock}},
		// enumerations
		{"PUT", "/acct/new?restype=container", "x-ms-blob-public-access", nil},
		{"PUT", "/acct/box/c", "x-ms-blob-type", nil},
		{"PUT", "/acct/box/c", "x-ms-access-tier", []string{isBlock}},
		{"PUT", "/acct/box/c", "x-ms-access-tier", []string{from}},
		{"PUT", "/acct/box/c", "x-ms-rehydrate-priority", []string{from}},
		{"PUT", "/acct/box/c", "x-ms-copy-source-tag-option", []string{from}},
		{"PUT", "/acct/box/c", "x-ms-structured-body", []string{isBlock}},
		{"PUT", "/acct/box/b?comp=copy&copyid=6a0a1d7e-8b2e-4f0f-9b59-111111111111", "x-ms-copy-action", nil},
		{"PUT", "/acct/box/b?comp=tier", "x-ms-access-tier", nil},
		{"PUT", "/acct/box/b?comp=tier", "x-ms-rehydrate-priority", []string{"x-ms-access-tier: Hot"}},
		{"PUT", "/acct/box/b?comp=lease", "x-ms-lease-action", nil},
		{"PUT", "/acct/box?restype=container&comp=lease", "x-ms-lease-action", nil},
		{"DELETE", "/acct/box/b", "x-ms-delete-snapshots", nil},
		{"PUT", "/acct/box/p?comp=page", "x-ms-page-write", []string{"x-ms-range: bytes=0-511"}},
		{"PUT", "/acct/box/p?comp=page", "x-ms-page-write", []string{"x-ms-range: bytes=0-511", "x-ms-source-range: bytes=0-511", from}},
		{"PUT", "/acct/box/p?comp=properties", "x-ms-sequence-number-action", nil},
		// what is neither, in the case of its standard
		{"PUT", "/acct/box/c", "Content-MD5", []string{isBlock}},
		{"GET", "/acct/box/b", "If-Modified-Since", nil},
		{"GET", "/acct/box/b", "If-Unmodified-Since", nil},
		{"PUT", "/acct/box/c", "x-ms-content-crc64", []string{isBlock}},
		{"PUT", "/acct/box/c", "x-ms-blob-content-md5", []string{isBlock}},
	} {
		for _, sent := range []string{c.header, strings.ToUpper(c.header), strings.ToLower(c.header)} {
			r := h.fails(t, 400, "InvalidHeaderValue", c.method, c.target, "", append([]string{v, sent + ": no-word!"}, c.more...)...)
			require.Contains(t, string(r.Body), "<HeaderName>"+c.header+"</HeaderName><HeaderValue>no-word!</HeaderValue>", c.target)
		}
	}
	h.fails(t, 404, "BlobNotFound", "HEAD", "/acct/box/c", "", v)
}
