package blob

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/appendblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/pageblob"
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

// TestConcurrentAppenders: every block lands whole, once, where the answer says.
func TestConcurrentAppenders(t *testing.T) {
	ctx := context.Background()
	_, client := newSDK(t)
	c := client.NewContainerClient("log")
	_, err := c.Create(ctx, nil)
	require.NoError(t, err)
	a := c.NewAppendBlobClient("a")
	_, err = a.Create(ctx, nil)
	require.NoError(t, err)
	const writers, each = 8, 25
	var wg sync.WaitGroup
	offsets := make([]map[string]string, writers)
	for w := range writers {
		offsets[w] = map[string]string{}
		wg.Go(func() {
			for i := range each {
				line := fmt.Sprintf("<%d:%03d>", w, i)
				res, err := a.AppendBlock(ctx, streaming([]byte(line)), nil)
				if err != nil {
					t.Error(err)
					return
				}
				offsets[w][*res.BlobAppendOffset] = line
			}
		})
	}
	wg.Wait()
	props, err := a.GetProperties(ctx, nil)
	require.NoError(t, err)
	require.Equal(t, int32(writers*each), *props.BlobCommittedBlockCount)
	body := make([]byte, *props.ContentLength)
	_, err = a.DownloadBuffer(ctx, body, nil)
	require.NoError(t, err)
	require.Len(t, body, writers*each*len("<0:000>"))
	for _, m := range offsets {
		require.Len(t, m, each)
		for offset, line := range m {
			var at int
			_, err := fmt.Sscan(offset, &at)
			require.NoError(t, err)
			require.Equal(t, line, string(body[at:at+len(line)]))
		}
	}
	_, err = a.Seal(ctx, nil)
	require.NoError(t, err)
	_, err = a.AppendBlock(ctx, streaming([]byte("x")), nil)
	require.ErrorContains(t, err, "BlobIsSealed")
}

// TestStructuredBodies: the SDK's transfer validation, both ways, on every kind of upload.
func TestStructuredBodies(t *testing.T) {
	ctx := context.Background()
	_, client := newSDK(t)
	c := client.NewContainerClient("checked")
	_, err := c.Create(ctx, nil)
	require.NoError(t, err)
	data := []byte(strings.Repeat("0123456789abcdef", 2<<16)) // 2 MiB
	checked := blob.TransferValidationTypeComputeStructuredMessageCRC64(1 << 20)
	a, b, p := c.NewAppendBlobClient("append"), c.NewBlockBlobClient("block"), c.NewPageBlobClient("page")
	_, err = a.Create(ctx, nil)
	require.NoError(t, err)
	_, err = a.AppendBlock(ctx, streaming(data), &appendblob.AppendBlockOptions{TransactionalValidation: checked})
	require.NoError(t, err)
	_, err = b.StageBlock(ctx, "QUFB", streaming(data), &blockblob.StageBlockOptions{TransactionalValidation: checked})
	require.NoError(t, err)
	_, err = b.CommitBlockList(ctx, []string{"QUFB"}, nil)
	require.NoError(t, err)
	_, err = c.NewBlockBlobClient("put").Upload(ctx, streaming(data), &blockblob.UploadOptions{TransactionalValidation: checked})
	require.NoError(t, err)
	_, err = p.Create(ctx, int64(len(data)), nil)
	require.NoError(t, err)
	_, err = p.UploadPages(ctx, streaming(data), blob.HTTPRange{Count: int64(len(data))}, &pageblob.UploadPagesOptions{TransactionalValidation: checked})
	require.NoError(t, err)
	for _, name := range []string{"append", "block", "put", "page"} {
		for _, rng := range []blob.HTTPRange{{}, {Offset: 12345, Count: 1 << 20}, {Offset: 1, Count: 1}} {
			got, err := c.NewBlobClient(name).DownloadStream(ctx, &blob.DownloadStreamOptions{Range: rng, TransactionalValidation: checked})
			require.NoError(t, err, name)
			body, err := io.ReadAll(got.Body)
			require.NoError(t, err, name)
			want := data[rng.Offset:]
			if rng.Count > 0 {
				want = want[:rng.Count]
			}
			require.True(t, bytes.Equal(want, body), name)
		}
	}
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
