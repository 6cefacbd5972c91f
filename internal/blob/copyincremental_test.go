package blob

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
)

// The destination follows the snapshots of its source, each with a snapshot of its own.
func TestIncrementalCopy(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/con?restype=container", "")
	h.must(t, 201, "PUT", "/acct/con/disk", "", "x-ms-blob-type: PageBlob", "x-ms-blob-content-length: 65536")
	write := func(at, text string) {
		h.must(t, 201, "PUT", "/acct/con/disk?comp=page", strings.Repeat(text, 512), "x-ms-page-write: update", "x-ms-range: bytes="+at)
	}
	snapshot := func() string {
		return h.must(t, 201, "PUT", "/acct/con/disk?comp=snapshot", "").Header.Get("x-ms-snapshot")
	}
	url := "x-ms-copy-source: http://" + h.Addr + "/acct/con/"
	write("0-511", "a")
	first := snapshot()
	write("512-1023", "b")
	second := snapshot()
	write("0-511", "c")

	h.fails(t, 409, "InvalidSourceBlobUrl", "PUT", "/acct/con/copy?comp=incrementalcopy", "", "x-ms-copy-source: http://203.0.113.1/acct/con/disk?snapshot="+first)
	h.fails(t, 409, "IncrementalCopySourceMustBeSnapshot", "PUT", "/acct/con/copy?comp=incrementalcopy", "", url+"disk")
	done := h.must(t, 202, "PUT", "/acct/con/copy?comp=incrementalcopy", "", url+"disk?snapshot="+first)
	require.Equal(t, "success", done.Header.Get("x-ms-copy-status"))
	head := h.must(t, 200, "HEAD", "/acct/con/copy", "")
	require.Equal(t, "true", head.Header.Get("x-ms-incremental-copy"))
	one := head.Header.Get("x-ms-copy-destination-snapshot")
	h.must(t, 202, "PUT", "/acct/con/copy?comp=incrementalcopy", "", url+"disk?snapshot="+second)
	two := h.must(t, 200, "HEAD", "/acct/con/copy", "").Header.Get("x-ms-copy-destination-snapshot")
	require.Less(t, one, two)

	read := func(snapshot string) string {
		return string(h.must(t, 206, "GET", "/acct/con/copy?snapshot="+snapshot, "", "x-ms-range: bytes=0-1023").Body)
	}
	require.Equal(t, strings.Repeat("a", 512)+strings.Repeat("\x00", 512), read(one))
	require.Equal(t, strings.Repeat("a", 512)+strings.Repeat("b", 512), read(two))

	h.fails(t, 409, "OperationNotAllowedOnIncrementalCopyBlob", "GET", "/acct/con/copy", "")
	h.fails(t, 409, "OperationNotAllowedOnIncrementalCopyBlob", "PUT", "/acct/con/copy?comp=page", strings.Repeat("x", 512), "x-ms-page-write: update", "x-ms-range: bytes=0-511")
	h.fails(t, 409, "IncrementalCopyOfEralierVersionSnapshotNotAllowed", "PUT", "/acct/con/copy?comp=incrementalcopy", "", url+"disk?snapshot="+first)
	h.must(t, 201, "PUT", "/acct/con/other", "", "x-ms-blob-type: PageBlob", "x-ms-blob-content-length: 512")
	other := h.must(t, 201, "PUT", "/acct/con/other?comp=snapshot", "").Header.Get("x-ms-snapshot")
	h.fails(t, 409, "IncrementalCopyBlobMismatch", "PUT", "/acct/con/copy?comp=incrementalcopy", "", url+"other?snapshot="+other)
	h.fails(t, 409, "IncrementalCopyBlobMismatch", "PUT", "/acct/con/other?comp=incrementalcopy", "", url+"disk?snapshot="+first)

	h.must(t, 202, "DELETE", "/acct/con/copy", "", "x-ms-delete-snapshots: include")
	h.must(t, 202, "DELETE", "/acct/con/disk", "", "x-ms-delete-snapshots: include")
	h.must(t, 202, "DELETE", "/acct/con/other", "", "x-ms-delete-snapshots: include")
	for range 3 {
		require.NoError(t, h.svc.blobs.Sweep(context.Background()))
	}
	require.Zero(t, used(t, h))
	require.Zero(t, count(t, h, engine.SpacePage))
}
