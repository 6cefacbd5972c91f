package blob_test

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/stretchr/testify/require"
)

func TestSDKBlockBlob(t *testing.T) {
	ctx := context.Background()
	client := newClient(t)
	c := client.NewContainerClient("things")
	_, err := c.Create(ctx, &container.CreateOptions{Metadata: map[string]*string{"Colour": to.Ptr("red")}})
	require.NoError(t, err)

	small := c.NewBlockBlobClient("a//../b%2Fc é+ü.")
	up, err := small.UploadBuffer(ctx, []byte("Hello World"), &blockblob.UploadBufferOptions{
		HTTPHeaders: &blob.HTTPHeaders{BlobContentType: to.Ptr("text/plain"), BlobCacheControl: to.Ptr("no-cache")},
		Metadata:    map[string]*string{"CamelCase": to.Ptr("Value")}, Tags: map[string]string{"k": "v"}})
	require.NoError(t, err)
	require.NotNil(t, up.ETag)

	got, err := small.DownloadStream(ctx, nil)
	require.NoError(t, err)
	body, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	require.Equal(t, "Hello World", string(body))
	require.Equal(t, "text/plain", *got.ContentType)
	require.Equal(t, up.ETag, got.ETag)
	require.Equal(t, int32(1), int32(*got.TagCount))

	props, err := small.GetProperties(ctx, nil)
	require.NoError(t, err)
	require.Equal(t, int64(11), *props.ContentLength)
	require.Equal(t, "Value", *props.Metadata["Camelcase"])
	require.Equal(t, "Hot", *props.AccessTier)

	big := make([]byte, 30<<20)
	for i := range big {
		big[i] = byte(i * 7 >> 3)
	}
	large := c.NewBlockBlobClient("large")
	_, err = large.UploadStream(ctx, bytes.NewReader(big), &blockblob.UploadStreamOptions{BlockSize: 4 << 20})
	require.NoError(t, err)
	list, err := large.GetBlockList(ctx, blockblob.BlockListTypeAll, nil)
	require.NoError(t, err)
	require.Len(t, list.CommittedBlocks, 8)
	require.Empty(t, list.UncommittedBlocks)
	back := make([]byte, len(big))
	n, err := large.DownloadBuffer(ctx, back, nil)
	require.NoError(t, err)
	require.Equal(t, int64(len(big)), n)
	require.True(t, bytes.Equal(big, back))

	_, err = large.Upload(ctx, streaming(big[:20<<20]), nil)
	require.NoError(t, err)
	back = make([]byte, 12<<20)
	_, err = large.DownloadBuffer(ctx, back, &blob.DownloadBufferOptions{Range: blob.HTTPRange{Offset: 5<<20 + 3, Count: 12 << 20}})
	require.NoError(t, err)
	require.True(t, bytes.Equal(big[5<<20+3:17<<20+3], back))

	_, err = c.NewBlockBlobClient("empty").UploadBuffer(ctx, nil, nil)
	require.NoError(t, err)
	n, err = c.NewBlockBlobClient("empty").DownloadBuffer(ctx, back, nil)
	require.NoError(t, err)
	require.Zero(t, n)

	var names []string
	for pager := c.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{MaxResults: to.Ptr(int32(1)), Include: container.ListBlobsInclude{Metadata: true, Tags: true}}); pager.More(); {
		page, err := pager.NextPage(ctx)
		require.NoError(t, err)
		for _, item := range page.Segment.BlobItems {
			names = append(names, *item.Name)
		}
	}
	require.Equal(t, []string{"a//../b%2Fc é+ü.", "empty", "large"}, names)

	_, err = small.Delete(ctx, nil)
	require.NoError(t, err)
	_, err = c.Delete(ctx, nil)
	require.NoError(t, err)
}

func streaming(b []byte) io.ReadSeekCloser {
	return struct{ *nopCloser }{&nopCloser{bytes.NewReader(b)}}
}

type nopCloser struct{ *bytes.Reader }

func (*nopCloser) Close() error { return nil }

// Structured messages, both ways: the SDK checks what it gets, the service what it is sent.
func TestSDKStructuredBody(t *testing.T) {
	ctx := context.Background()
	client := newClient(t)
	c := client.NewContainerClient("con")
	_, err := c.Create(ctx, nil)
	require.NoError(t, err)
	data := pattern(9<<20+5, 4)
	whole := blob.TransferValidationTypeComputeStructuredMessageCRC64(0)
	b := c.NewBlockBlobClient("b")
	_, err = b.Upload(ctx, streaming(data), &blockblob.UploadOptions{TransactionalValidation: whole})
	require.NoError(t, err)
	for _, size := range []int64{1, 100, 4 << 20, int64(len(data))} {
		got, err := b.DownloadStream(ctx, &blob.DownloadStreamOptions{Range: blob.HTTPRange{Count: size}, TransactionalValidation: whole})
		require.NoError(t, err)
		back, err := io.ReadAll(got.Body)
		require.NoError(t, err)
		require.True(t, bytes.Equal(data[:size], back))
	}
	_, err = b.StageBlock(ctx, "QUFB", streaming(data[:5<<20]), &blockblob.StageBlockOptions{TransactionalValidation: whole})
	require.NoError(t, err)
	_, err = b.CommitBlockList(ctx, []string{"QUFB"}, nil)
	require.NoError(t, err)
	got, err := b.DownloadStream(ctx, &blob.DownloadStreamOptions{})
	require.NoError(t, err)
	back, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data[:5<<20], back))
}
