package blob

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/store/storetest"
)

func versioned(_ *house, a *account.Account) { a.Versioning = true }

func (h *house) softDelete(t testing.TB, days string, extra string) {
	t.Helper()
	h.must(t, 202, "PUT", "/acct?restype=service&comp=properties", "<StorageServiceProperties><DeleteRetentionPolicy><Enabled>true</Enabled><Days>"+days+"</Days>"+extra+
		"</DeleteRetentionPolicy></StorageServiceProperties>", v)
}

func (h *house) text(t testing.TB, target string) string {
	t.Helper()
	return string(h.must(t, 200, "GET", target, "", v).Body)
}

func TestSnapshots(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	big := strings.Repeat("large content ", 5000)
	for name, content := range map[string]string{"small": "one", "large": big} {
		b := "/acct/box/" + name
		h.fails(t, 404, "BlobNotFound", "PUT", b+"?comp=snapshot", "", v)
		tag := h.must(t, 201, "PUT", b, content, v, isBlock, "x-ms-meta-a: 1", "x-ms-tags: k=v").Header.Get("ETag")
		r := h.must(t, 201, "PUT", b+"?comp=snapshot", "", v)
		require.Equal(t, tag, r.Header.Get("ETag"))
		require.Equal(t, "false", r.Header.Get("x-ms-request-server-encrypted"))
		s1 := r.Header.Get("x-ms-snapshot")
		require.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z$`, s1)
		r = h.must(t, 201, "PUT", b+"?comp=snapshot", "", v, "x-ms-meta-b: 2")
		s2 := r.Header.Get("x-ms-snapshot")
		require.NotEqual(t, tag, r.Header.Get("ETag"), "other metadata, other ETag")
		require.Greater(t, s2, s1)
		h.must(t, 201, "PUT", b, "overwritten", v, isBlock)
		require.Equal(t, content, h.text(t, b+"?snapshot="+s1))
		require.Equal(t, content, h.text(t, b+"?snapshot="+s2))
		require.Equal(t, "1", h.must(t, 200, "HEAD", b+"?snapshot="+s1, "", v).Header.Get("x-ms-meta-a"))
		require.Equal(t, "2", h.must(t, 200, "HEAD", b+"?snapshot="+s2, "", v).Header.Get("x-ms-meta-b"))
		require.Empty(t, h.must(t, 200, "HEAD", b+"?snapshot="+s1, "", v).Header.Get("x-ms-lease-state"))
		for _, comp := range []string{"metadata", "properties", "snapshot", "lease"} {
			h.fails(t, 400, "InvalidQueryParameterValue", "PUT", b+"?comp="+comp+"&snapshot="+s1, "", v)
		}
		h.fails(t, 404, "BlobNotFound", "GET", b+"?snapshot=2020-01-01T00:00:00.0000000Z", "", v)
		h.fails(t, 400, "InvalidQueryParameterValue", "GET", b+"?snapshot=x", "", v)

		h.fails(t, 409, "SnapshotsPresent", "DELETE", b, "", v)
		h.fails(t, 400, "InvalidQueryParameterValue", "DELETE", b+"?snapshot="+s1, "", v, "x-ms-delete-snapshots: include")
		h.fails(t, 400, "InvalidHeaderValue", "DELETE", b, "", v, "x-ms-delete-snapshots: all")
		r = h.must(t, 202, "DELETE", b+"?snapshot="+s1, "", v)
		require.Equal(t, "true", r.Header.Get("x-ms-delete-type-permanent"))
		h.fails(t, 404, "BlobNotFound", "GET", b+"?snapshot="+s1, "", v)
		h.must(t, 202, "DELETE", b, "", v, "x-ms-delete-snapshots: only")
		h.fails(t, 404, "BlobNotFound", "GET", b+"?snapshot="+s2, "", v)
		require.Equal(t, "overwritten", h.text(t, b))
		h.must(t, 201, "PUT", b+"?comp=snapshot", "", v)
		h.must(t, 202, "DELETE", b, "", v, "x-ms-delete-snapshots: include")
		h.fails(t, 404, "BlobNotFound", "GET", b, "", v)
		h.fails(t, 404, "BlobNotFound", "DELETE", b, "", v)
		h.fails(t, 404, "BlobNotFound", "PUT", b+"?comp=undelete", "", v)
	}
	h.empty(t)
}

// empty checks that nothing is left of the blobs that were.
func (h *house) empty(t testing.TB) {
	t.Helper()
	h.unpinned()
	require.NoError(t, h.svc.blobs.Sweep(context.Background()))
	require.NoError(t, storetest.NothingKept(h.store))
	require.Zero(t, storetest.OwnedChunks(t, h.store), "chunks with an owner")
}

func TestVersions(t *testing.T) {
	h := newHouse(t, versioned)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	b := "/acct/box/b"
	r := h.must(t, 201, "PUT", b, "first", v, isBlock, "x-ms-meta-a: 1")
	v1 := r.Header.Get("x-ms-version-id")
	require.NotEmpty(t, v1)
	big := strings.Repeat("second ", 10_000)
	v2 := h.must(t, 201, "PUT", b, big, v, isBlock).Header.Get("x-ms-version-id")
	v3 := h.must(t, 200, "PUT", b+"?comp=metadata", "", v, "x-ms-meta-b: 2").Header.Get("x-ms-version-id")
	require.Less(t, v1, v2)
	require.Less(t, v2, v3)
	r = h.must(t, 200, "HEAD", b, "", v)
	require.Equal(t, []string{v3, "true", "2"}, []string{r.Header.Get("x-ms-version-id"), r.Header.Get("x-ms-is-current-version"), r.Header.Get("x-ms-meta-b")})
	r = h.must(t, 200, "GET", b+"?versionid="+v1, "", v)
	require.Equal(t, []string{"first", v1, "", "1"}, []string{string(r.Body), r.Header.Get("x-ms-version-id"), r.Header.Get("x-ms-is-current-version"), r.Header.Get("x-ms-meta-a")})
	require.Equal(t, big, h.text(t, b+"?versionid="+v2))
	require.Equal(t, big, h.text(t, b+"?versionid="+v3))
	require.Equal(t, 3, strings.Count(h.text(t, "/acct/box?restype=container&comp=list&include=versions"), "<VersionId>"))
	require.Equal(t, 1, strings.Count(h.text(t, "/acct/box?restype=container&comp=list"), "<Blob>"))

	h.fails(t, 403, "OperationNotAllowedOnRootBlob", "DELETE", b+"?versionid="+v3, "", v)
	r = h.fails(t, 400, "InvalidQueryParameterValue", "DELETE", b+"?versionid="+v1, "", v, "x-ms-delete-snapshots: include")
	require.Contains(t, string(r.Body), "<QueryParameterName>versionid</QueryParameterName>")
	require.Contains(t, string(r.Body), "<Reason>This operation is only allowed on the root blob. Version id should not be provided.</Reason>")
	h.fails(t, 404, "BlobNotFound", "DELETE", b+"?versionid=2020-01-01T00:00:00.0000000Z", "", v)
	h.must(t, 202, "DELETE", b+"?versionid="+v1, "", v)
	h.fails(t, 404, "BlobNotFound", "GET", b+"?versionid="+v1, "", v)
	r = h.must(t, 202, "DELETE", b, "", v)
	require.Equal(t, "false", r.Header.Get("x-ms-delete-type-permanent"))
	h.fails(t, 404, "BlobNotFound", "GET", b, "", v)
	require.Equal(t, big, h.text(t, b+"?versionid="+v3))
	h.must(t, 202, "DELETE", b+"?versionid="+v2, "", v)
	h.must(t, 202, "DELETE", b+"?versionid="+v3, "", v)

	// Appends and pages change the current version.
	id := h.must(t, 201, "PUT", "/acct/box/a", "", v, isAppend).Header.Get("x-ms-version-id")
	h.must(t, 201, "PUT", "/acct/box/a?comp=appendblock", "x", v)
	require.Equal(t, id, h.must(t, 200, "HEAD", "/acct/box/a", "", v).Header.Get("x-ms-version-id"))
	h.must(t, 202, "DELETE", "/acct/box/a", "", v)
	h.must(t, 202, "DELETE", "/acct/box/a?versionid="+id, "", v)
	h.empty(t)
}

func TestSoftDelete(t *testing.T) {
	h := newHouse(t)
	now := time.Now()
	h.now = func() time.Time { return now }
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	h.softDelete(t, "2", "")
	b := "/acct/box/b"
	h.must(t, 201, "PUT", b, "one", v, isBlock, "x-ms-tags: k=1")
	s1 := h.must(t, 201, "PUT", b+"?comp=snapshot", "", v).Header.Get("x-ms-snapshot")
	h.must(t, 201, "PUT", b, "two", v, isBlock, "x-ms-tags: k=2") // pushes "one" aside
	r := h.must(t, 202, "DELETE", b, "", v, "x-ms-delete-snapshots: include")
	require.Equal(t, "false", r.Header.Get("x-ms-delete-type-permanent"))
	h.fails(t, 404, "BlobNotFound", "GET", b, "", v)
	require.Equal(t, "true", h.fails(t, 404, "BlobNotFound", "HEAD", b+"?snapshot="+s1, "", v).Header.Get("x-ms-is-soft-deleted"))
	for _, comp := range []string{"metadata", "properties", "snapshot"} {
		h.fails(t, 404, "BlobNotFound", "PUT", b+"?comp="+comp, "", v)
	}
	list := "/acct/box?restype=container&comp=list&include=deleted,snapshots"
	require.NotContains(t, h.text(t, "/acct/box?restype=container&comp=list"), "<Blob>")
	page := h.text(t, list)
	require.Equal(t, 3, strings.Count(page, "<Deleted>true</Deleted>"), page)
	require.Contains(t, page, "<RemainingRetentionDays>1</RemainingRetentionDays>")
	where := "/acct?comp=blobs&where=k%3D%272%27"
	require.NotContains(t, h.text(t, where), "<Blob>")

	h.must(t, 200, "PUT", b+"?comp=undelete", "", v)
	require.Equal(t, "two", h.text(t, b))
	require.Equal(t, "one", h.text(t, b+"?snapshot="+s1))
	require.Contains(t, h.text(t, where), "<Name>b</Name>")
	page = h.text(t, list)
	require.NotContains(t, page, "<Deleted>")
	require.Equal(t, 2, strings.Count(page, "<Snapshot>"), "what was pushed aside is a snapshot now: "+page)
	h.must(t, 200, "PUT", b+"?comp=undelete", "", v)
	h.fails(t, 404, "BlobNotFound", "PUT", "/acct/box/none?comp=undelete", "", v)
	h.fails(t, 400, "InvalidQueryParameterValue", "DELETE", b+"?deletetype=permanent", "", v)
	h.must(t, 202, "DELETE", b+"?snapshot="+s1, "", v)
	h.fails(t, 409, "BlobOperationNotSupported", "DELETE", b+"?deletetype=permanent&snapshot="+s1, "", v)

	h.softDelete(t, "2", "<AllowPermanentDelete>true</AllowPermanentDelete>")
	r = h.must(t, 202, "DELETE", b+"?deletetype=permanent&snapshot="+s1, "", v)
	require.Equal(t, "true", r.Header.Get("x-ms-delete-type-permanent"))
	h.fails(t, 404, "BlobNotFound", "DELETE", b+"?deletetype=permanent&snapshot="+s1, "", v)

	// When the retention has ended nothing is left.
	h.must(t, 202, "DELETE", b, "", v, "x-ms-delete-snapshots: include")
	require.NoError(t, h.svc.blobs.Sweep(context.Background()))
	require.Contains(t, h.text(t, list), "<Deleted>")
	now = now.Add(49 * time.Hour)
	h.empty(t)
	h.fails(t, 404, "BlobNotFound", "PUT", b+"?comp=undelete", "", v)
}

func TestSoftDeleteOfVersions(t *testing.T) {
	h := newHouse(t, versioned)
	now := time.Now()
	h.now = func() time.Time { return now }
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	h.softDelete(t, "1", "")
	b := "/acct/box/b"
	v1 := h.must(t, 201, "PUT", b, "one", v, isBlock).Header.Get("x-ms-version-id")
	v2 := h.must(t, 201, "PUT", b, "two", v, isBlock).Header.Get("x-ms-version-id")
	r := h.must(t, 202, "DELETE", b+"?versionid="+v1, "", v)
	require.Equal(t, "false", r.Header.Get("x-ms-delete-type-permanent"))
	r = h.fails(t, 404, "BlobNotFound", "HEAD", b+"?versionid="+v1, "", v)
	require.Equal(t, "true", r.Header.Get("x-ms-is-soft-deleted"))
	h.must(t, 200, "PUT", b+"?comp=undelete", "", v)
	require.Equal(t, "one", h.text(t, b+"?versionid="+v1))
	h.must(t, 202, "DELETE", b, "", v)
	h.must(t, 200, "PUT", b+"?comp=undelete", "", v)
	h.fails(t, 404, "BlobNotFound", "GET", b, "", v)
	require.Equal(t, "two", h.text(t, b+"?versionid="+v2))
	h.must(t, 202, "DELETE", b+"?versionid="+v1, "", v)
	h.must(t, 202, "DELETE", b+"?versionid="+v2, "", v)
	now = now.Add(25 * time.Hour)
	h.empty(t)
}
