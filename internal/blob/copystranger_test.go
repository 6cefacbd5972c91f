package blob

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/auth"
)

// TestSyncCopiesReadAsStrangers: the synchronous forms of a copy read a source by what its address says alone, Copy Blob by the caller's
// rights at the account too.
func TestSyncCopiesReadAsStrangers(t *testing.T) {
	h := build(t, func(auth.Resources) auth.Authorizer { return picky{} })
	const me, source = "x-let-me-in: please", "x-ms-copy-source: http://127.0.0.1/acct/box/src"
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v, me)
	h.must(t, 201, "PUT", "/acct/box/src", string(make([]byte, 512)), v, isBlock, me)
	h.must(t, 201, "PUT", "/acct/box/page", "", v, isPage, "x-ms-blob-content-length: 512", me)
	h.must(t, 201, "PUT", "/acct/box/app", "", v, isAppend, me)
	for target, header := range map[string][]string{
		"/acct/box/sync": {"x-ms-requires-sync: true"},
		"/acct/box/put":  {isBlock},
		"/acct/box/blocks?comp=block&blockid=QUFB": nil,
		"/acct/box/app?comp=appendblock":           nil,
		"/acct/box/page?comp=page&note=update":     {"x-ms-page-write: update", "x-ms-range: bytes=0-511", "x-ms-source-range: bytes=0-511"},
	} {
		r := h.Do("PUT", target, "", append(header, v, me, source)...)
		require.Equal(t, "CannotVerifyCopySource", r.Header.Get("x-ms-error-code"), "%s: %s", target, r)
	}
	h.must(t, 202, "PUT", "/acct/box/async", "", v, me, source)
}

// TestSyncCopyRefusals: what Copy Blob From URL and its kin answer for sources that do not fit.
func TestSyncCopyRefusals(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "")
	tag := h.must(t, 201, "PUT", "/acct/box/src", "content", v, isBlock).Header.Get("ETag")
	h.must(t, 201, "PUT", "/acct/box/page", "", v, isPage, "x-ms-blob-content-length: 512")
	h.must(t, 201, "PUT", "/acct/box/app", "", v, isAppend)
	const from, sync = "x-ms-copy-source: http://127.0.0.1/acct/box/", "x-ms-requires-sync: true"
	for _, kind := range []string{"page", "app"} {
		r := h.fails(t, 409, "CannotVerifyCopySource", "PUT", "/acct/box/to", "", v, sync, from+kind)
		require.Contains(t, string(r.Body), "The copy source must be a block blob.")
	}
	const later = "Fri, 01 Jan 2100 00:00:00 GMT"
	for _, unmet := range []string{"x-ms-source-if-none-match: " + tag, "x-ms-source-if-modified-since: " + later} {
		for _, form := range []string{sync, isBlock} {
			r := h.must(t, 304, "PUT", "/acct/box/to", "", v, form, from+"src", unmet)
			require.Equal(t, "CannotVerifyCopySource", r.Header.Get("x-ms-error-code"))
		}
		h.fails(t, 412, "SourceConditionNotMet", "PUT", "/acct/box/to", "", v, from+"src", unmet)
	}
	for _, form := range []string{sync, isBlock} {
		h.fails(t, 412, "SourceConditionNotMet", "PUT", "/acct/box/to", "", v, form, from+"src", `x-ms-source-if-match: "0x1"`)
		h.fails(t, 412, "SourceConditionNotMet", "PUT", "/acct/box/to", "", v, form, from+"src", "x-ms-source-if-tags: k='v'")
	}
	h.fails(t, 404, "BlobNotFound", "HEAD", "/acct/box/to", "", v)
}
