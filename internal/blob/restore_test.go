package blob

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
)

func TestRestoreContainer(t *testing.T) {
	h := newHouse(t, func(_ *house, a *account.Account) { a.ContainerRetentionDays = 3 })
	now := time.Now()
	h.now = func() time.Time { return now }
	box, undelete := "/acct/box?restype=container", "/acct/box?restype=container&comp=undelete"
	var versions []string
	for _, content := range []string{"first", "second"} {
		h.must(t, 201, "PUT", box, "", v, "x-ms-meta-a: "+content)
		h.must(t, 201, "PUT", "/acct/box/b", content, v, isBlock, "x-ms-tags: k=v")
		h.must(t, 202, "DELETE", box, "", v)
		h.fails(t, 404, "ContainerNotFound", "GET", "/acct/box/b", "", v)
	}
	require.NoError(t, h.svc.blobs.Sweep(context.Background()))
	require.NotContains(t, h.text(t, "/acct?comp=list"), "<Container>")
	require.NotContains(t, h.text(t, "/acct?comp=blobs&where=k%3D%27v%27"), "<Blob>")
	page := h.text(t, "/acct?comp=list&include=deleted,metadata")
	require.Equal(t, 2, strings.Count(page, "<Deleted>true</Deleted>"))
	require.Contains(t, page, "<RemainingRetentionDays>2</RemainingRetentionDays>")
	for _, part := range strings.Split(page, "<Version>")[1:] {
		version, _, _ := strings.Cut(part, "<")
		require.Regexp(t, "^[0-9A-F]{16}$", version)
		versions = append(versions, version)
	}
	name := "x-ms-deleted-container-name: box"
	h.fails(t, 400, "MissingRequiredHeader", "PUT", undelete, "", v, name)
	h.fails(t, 400, "MissingRequiredHeader", "PUT", undelete, "", v, "x-ms-deleted-container-version: "+versions[0])
	h.fails(t, 400, "InvalidHeaderValue", "PUT", undelete, "", v, "x-ms-deleted-container-name: other", "x-ms-deleted-container-version: "+versions[0])
	h.fails(t, 404, "ContainerNotFound", "PUT", undelete, "", v, name, "x-ms-deleted-container-version: 0000000000000000")
	h.must(t, 201, "PUT", undelete, "", v, name, "x-ms-deleted-container-version: "+versions[0])
	require.Equal(t, "first", h.text(t, "/acct/box/b"))
	require.Equal(t, "first", h.must(t, 200, "GET", box, "", v).Header.Get("x-ms-meta-a"))
	require.Contains(t, h.text(t, "/acct?comp=blobs&where=k%3D%27v%27"), "<Name>b</Name>")
	h.fails(t, 409, "ContainerAlreadyExists", "PUT", undelete, "", v, name, "x-ms-deleted-container-version: "+versions[1])

	h.must(t, 202, "DELETE", box, "", v)
	now = now.Add(73 * time.Hour)
	for range 2 { // the end of the retention, then of what was in it
		require.NoError(t, h.svc.blobs.Sweep(context.Background()))
	}
	h.fails(t, 404, "ContainerNotFound", "PUT", undelete, "", v, name, "x-ms-deleted-container-version: "+versions[1])
	now = now.Add(2 * time.Hour) // no late write can be under way any more
	h.empty(t)
}

// TestLaterWork: what there is not yet says so, and does nothing.
func TestLaterWork(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	h.must(t, 201, "PUT", "/acct/box/b", "x", v, isBlock)
	for _, op := range [][2]string{{"POST", "query"}, {"PUT", "immutabilityPolicies"}, {"DELETE", "immutabilityPolicies"}, {"PUT", "legalhold"}, {"PUT", "expiry"}} {
		h.fails(t, 409, "BlobOperationNotSupported", op[0], "/acct/box/b?comp="+op[1], "", v)
		h.fails(t, 404, "BlobNotFound", op[0], "/acct/box/none?comp="+op[1], "", v)
	}
	h.fails(t, 409, "BlobOperationNotSupported", "PUT", "/acct/box?restype=container&comp=rename", "", v)
	for _, header := range []string{"x-ms-encryption-key: a", "x-ms-immutability-policy-mode: locked", "x-ms-legal-hold: true"} {
		h.fails(t, 400, "UnsupportedHeader", "PUT", "/acct/box/new", "x", v, isBlock, header)
	}
	require.Equal(t, "x", h.text(t, "/acct/box/b"))
}
