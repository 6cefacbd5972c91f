package blob

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/protocol"
)

const (
	v        = "x-ms-version: 2026-02-06"
	isAppend = "x-ms-blob-type: AppendBlob"
	isPage   = "x-ms-blob-type: PageBlob"
	isBlock  = "x-ms-blob-type: BlockBlob"
)

func TestAppendBlob(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	h.fails(t, 400, "InvalidHeaderValue", "PUT", "/acct/box/a", "x", v, isAppend)
	h.fails(t, 400, "AccessTierNotSupportedForBlobType", "PUT", "/acct/box/a", "", v, isAppend, "x-ms-access-tier: Cool")
	r := h.must(t, 201, "PUT", "/acct/box/a", "", v, isAppend, "x-ms-meta-k: v")
	require.Equal(t, "true", r.Header.Get("x-ms-request-server-encrypted"))
	require.Equal(t, "", string(h.must(t, 200, "GET", "/acct/box/a", "", v).Body))
	for i, part := range []string{"one ", "two ", "three"} {
		r := h.must(t, 201, "PUT", "/acct/box/a?comp=appendblock", part, v, fmt.Sprintf("x-ms-blob-condition-appendpos: %d", i*4))
		require.Equal(t, fmt.Sprint(i*4), r.Header.Get("x-ms-blob-append-offset"))
		require.Equal(t, fmt.Sprint(i+1), r.Header.Get("x-ms-blob-committed-block-count"))
		require.NotEmpty(t, r.Header.Get("x-ms-content-crc64"))
		require.NotEmpty(t, r.Header.Get("ETag"))
	}
	r = h.must(t, 200, "GET", "/acct/box/a", "", v)
	require.Equal(t, "one two three", string(r.Body))
	require.Equal(t, "AppendBlob", r.Header.Get("x-ms-blob-type"))
	require.Equal(t, "3", r.Header.Get("x-ms-blob-committed-block-count"))
	require.Equal(t, "wo thr", string(h.must(t, 206, "GET", "/acct/box/a", "", v, "x-ms-range: bytes=5-10").Body))

	app := "/acct/box/a?comp=appendblock"
	h.fails(t, 412, "AppendPositionConditionNotMet", "PUT", app, "x", v, "x-ms-blob-condition-appendpos: 12")
	h.fails(t, 412, "MaxBlobSizeConditionNotMet", "PUT", app, "xy", v, "x-ms-blob-condition-maxsize: 14")
	h.fails(t, 400, "InvalidHeaderValue", "PUT", app, "xy", v, "x-ms-blob-condition-maxsize: -1")
	h.fails(t, 400, "InvalidHeaderValue", "PUT", app, "", v)
	h.fails(t, 400, "Crc64Mismatch", "PUT", app, "xy", v, "x-ms-content-crc64: AAAAAAAAAAA=")
	h.fails(t, 400, "Md5Mismatch", "PUT", app, "xy", v, "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==")
	h.fails(t, 400, "InvalidMd5", "PUT", app, "xy", v, "Content-MD5: AAAA")
	h.fails(t, 404, "BlobNotFound", "PUT", "/acct/box/none?comp=appendblock", "x", v)
	h.fails(t, 404, "ContainerNotFound", "PUT", "/acct/none/a?comp=appendblock", "x", v)
	h.fails(t, 400, "InvalidQueryParameterValue", "PUT", "/acct/box/a?comp=appendblock&snapshot=2026-01-01T00:00:00.0000000Z", "x", v)
	h.fails(t, 412, "ConditionNotMet", "PUT", app, "x", v, `If-Match: "0x1"`)
	h.must(t, 201, "PUT", "/acct/box/block", "x", v, isBlock)
	h.fails(t, 409, "InvalidBlobType", "PUT", "/acct/box/block?comp=appendblock", "x", v)
	h.fails(t, 409, "InvalidBlobType", "PUT", "/acct/box/block?comp=seal", "", v)
	h.fails(t, 409, "InvalidBlobType", "PUT", "/acct/box/a?comp=block&blockid=QQ%3D%3D", "x", v)
	require.Equal(t, "one two three", string(h.must(t, 200, "GET", "/acct/box/a", "", v).Body), "what failed changed nothing")

	h.fails(t, 412, "AppendPositionConditionNotMet", "PUT", "/acct/box/a?comp=seal", "", v, "x-ms-blob-condition-appendpos: 12")
	r = h.must(t, 200, "PUT", "/acct/box/a?comp=seal", "", v, "x-ms-blob-condition-appendpos: 13")
	require.Equal(t, "true", r.Header.Get("x-ms-blob-sealed"))
	tag := r.Header.Get("ETag")
	require.Equal(t, tag, h.must(t, 200, "PUT", "/acct/box/a?comp=seal", "", v).Header.Get("ETag"), "sealing twice changes nothing")
	h.must(t, 201, "PUT", "/acct/box/a?comp=lease", "", v, "x-ms-lease-action: acquire", "x-ms-lease-duration: -1")
	h.must(t, 202, "PUT", "/acct/box/a?comp=lease", "", v, "x-ms-lease-action: break")
	h.must(t, 200, "PUT", "/acct/box/a?comp=seal", "", v)
	require.Equal(t, "broken", h.must(t, 200, "HEAD", "/acct/box/a", "", v).Header.Get("x-ms-lease-state"), "as it is no write")
	h.fails(t, 409, "BlobIsSealed", "PUT", app, "x", v)
	require.Equal(t, "true", h.must(t, 200, "HEAD", "/acct/box/a", "", v).Header.Get("x-ms-blob-sealed"))
	h.must(t, 201, "PUT", "/acct/box/a", "", v, isAppend)
	h.must(t, 201, "PUT", app, "anew", v)
}

// TestAppendLimits: bodies by version.
func TestAppendLimits(t *testing.T) {
	require.Equal(t, int64(4*miB), appendBlockLimit("2020-10-02"))
	require.Equal(t, int64(100*miB), appendBlockLimit("2022-11-02"))
}

// TestStructuredBodies: a message is taken apart and checked, and refused if it is not whole.
func TestStructuredBodies(t *testing.T) {
	h := newHouse(t)
	h.must(t, 201, "PUT", "/acct/box?restype=container", "", v)
	message, err := io.ReadAll(protocol.NewStructuredEncoder(io.NopCloser(strings.NewReader("content")), 7))
	require.NoError(t, err)
	structured := []string{v, isBlock, "x-ms-structured-body: XSM/1.0; properties=crc64", "x-ms-structured-content-length: 7"}
	r := h.must(t, 201, "PUT", "/acct/box/b", string(message), structured...)
	require.Equal(t, "XSM/1.0; properties=crc64", r.Header.Get("x-ms-structured-body"))
	require.Equal(t, "content", string(h.must(t, 200, "GET", "/acct/box/b", "", v).Body))
	message[25] ^= 1
	h.fails(t, 400, "Crc64Mismatch", "PUT", "/acct/box/b2", string(message), structured...)
	h.fails(t, 404, "BlobNotFound", "GET", "/acct/box/b2", "", v)
	h.fails(t, 400, "InvalidHeaderValue", "PUT", "/acct/box/b", "x", v, isBlock, "x-ms-structured-body: XSM/2.0")
	h.fails(t, 400, "MissingRequiredHeader", "PUT", "/acct/box/b", "x", v, isBlock, "x-ms-structured-body: XSM/1.0; properties=crc64")
}
