package blob

import (
	"crypto/md5"
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/require"
)

// writesOver are the ways to make a blob of a type, or to write towards one, where another may be already.
func writesOver(source string) map[string][]func(h *house, t *testing.T, target string) (status int, code string) {
	send := func(query, body string, header ...string) func(*house, *testing.T, string) (int, string) {
		return func(h *house, t *testing.T, target string) (int, string) {
			r := h.Dial().Do("PUT", target+query, body, append(header, v)...)
			return r.Status, r.Header.Get("x-ms-error-code")
		}
	}
	copied := "x-ms-copy-source: " + source
	return map[string][]func(*house, *testing.T, string) (int, string){
		"BlockBlob": {
			send("", "new", isBlock),
			send("", string(make([]byte, 20<<10)), isBlock),
			send("?comp=block&blockid=QUFB", "new"),
			send("?comp=blocklist", "<BlockList/>"),
			send("", "", copied),
			send("", "", copied, "x-ms-requires-sync: true"),
			send("", "", copied, isBlock),
			send("?comp=block&blockid=QUFB", "", copied),
		},
		"PageBlob":   {send("", "", isPage, "x-ms-blob-content-length: 512")},
		"AppendBlob": {send("", "", isAppend)},
	}
}

// TestABlobKeepsItsType: whatever would make a blob of another type in a blob's place is refused and leaves the old one.
func TestABlobKeepsItsType(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")
	h.must(t, 201, "PUT", "/acct/con/src", "source", isBlock, v)
	made := map[string][]string{"BlockBlob": {isBlock}, "PageBlob": {isPage, "x-ms-blob-content-length: 1024"}, "AppendBlob": {isAppend}}
	for old, header := range made {
		h.must(t, 201, "PUT", "/acct/con/"+old, "", append(header, v)...)
		before := h.must(t, 200, "HEAD", "/acct/con/"+old, "", v)
		for kind, ways := range writesOver("http://127.0.0.1/acct/con/src") {
			if kind == old {
				continue
			}
			for i, way := range ways {
				status, code := way(h, t, "/acct/con/"+old)
				require.Equal(t, 409, status, "%s over %s, way %d: %s", kind, old, i, code)
				require.Equal(t, "InvalidBlobType", code, "%s over %s, way %d", kind, old, i)
			}
		}
		after := h.must(t, 200, "HEAD", "/acct/con/"+old, "", v)
		for _, name := range []string{"x-ms-blob-type", "ETag", "Content-Length"} {
			require.Equal(t, before.Header.Get(name), after.Header.Get(name), name)
		}
	}
}

// TestAnArchivedBlobIsNotWrittenOver: nothing is written over, or staged for, a blob in the archive tier or on its way out of it.
func TestAnArchivedBlobIsNotWrittenOver(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")
	h.must(t, 201, "PUT", "/acct/con/src", "source", isBlock, v)
	h.must(t, 201, "PUT", "/acct/con/b", "keep", isBlock, v, "x-ms-access-tier: Archive")
	for _, want := range []string{"BlobArchived", "BlobBeingRehydrated"} {
		for i, way := range writesOver("http://127.0.0.1/acct/con/src")["BlockBlob"] {
			status, code := way(h, t, "/acct/con/b")
			require.Equal(t, 409, status, "way %d: %s", i, code)
			require.Equal(t, want, code, "way %d", i)
		}
		if want == "BlobArchived" {
			h.must(t, 202, "PUT", "/acct/con/b?comp=tier", "", v, "x-ms-access-tier: Hot")
		}
	}
	h.must(t, 202, "DELETE", "/acct/con/b", "", v)
	h.must(t, 201, "PUT", "/acct/con/b", "new", isBlock, v)
}

// TestStoredMD5: the sum that Put Blob is to store must be the content's and wins over Content-MD5; the ones of Put Block List and Set
// Blob Properties are stored as they come.
func TestStoredMD5(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")
	sum := func(text string) string {
		s := md5.Sum([]byte(text))
		return base64.StdEncoding.EncodeToString(s[:])
	}
	for _, body := range []string{"sent bytes", string(make([]byte, 40<<10))} {
		h.fails(t, 400, "Md5Mismatch", "PUT", "/acct/con/b", body, isBlock, v, "x-ms-blob-content-md5: "+sum("other"))
		h.fails(t, 400, "Md5Mismatch", "PUT", "/acct/con/b", body, isBlock, v, "x-ms-blob-content-md5: "+sum("other"), "Content-MD5: "+sum(body))
		h.fails(t, 404, "BlobNotFound", "HEAD", "/acct/con/b", "", v)
		h.must(t, 201, "PUT", "/acct/con/b", body, isBlock, v, "x-ms-blob-content-md5: "+sum(body), "Content-MD5: "+sum("other"))
		require.Equal(t, sum(body), h.must(t, 200, "GET", "/acct/con/b", "", v).Header.Get("Content-MD5"))
		h.must(t, 202, "DELETE", "/acct/con/b", "", v)
	}
	h.must(t, 201, "PUT", "/acct/con/b?comp=blocklist", "<BlockList/>", v, "x-ms-blob-content-md5: "+sum("other"))
	require.Equal(t, sum("other"), h.must(t, 200, "HEAD", "/acct/con/b", "", v).Header.Get("Content-MD5"))
	for _, text := range []string{"", "QQ==", sum("x"), base64.StdEncoding.EncodeToString(make([]byte, maxAnyMD5))} {
		h.must(t, 200, "PUT", "/acct/con/b?comp=properties", "", v, "x-ms-blob-content-md5: "+text)
		r := h.must(t, 200, "HEAD", "/acct/con/b", "", v)
		require.Equal(t, text, r.Header.Get("Content-MD5"))
		require.Empty(t, r.Header.Values("Content-Type"), "cleared with the rest")
		want := "<Content-MD5>" + text + "</Content-MD5>"
		if text == "" {
			want = "<Content-MD5 />"
		}
		require.Contains(t, h.text(t, "/acct/con?restype=container&comp=list"), want)
	}
	for _, text := range []string{"QQ", base64.StdEncoding.EncodeToString(make([]byte, maxAnyMD5+1))} {
		h.fails(t, 400, "InvalidHeaderValue", "PUT", "/acct/con/b?comp=properties", "", v, "x-ms-blob-content-md5: "+text)
	}
}
