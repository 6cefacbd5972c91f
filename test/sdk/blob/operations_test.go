package blob_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/appendblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/lease"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/pageblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/stretchr/testify/require"
)

// TestConcurrentAppenders: every block lands whole, once, where the answer says.
func TestConcurrentAppenders(t *testing.T) {
	ctx := context.Background()
	client := newClient(t)
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

func TestBatchSDK(t *testing.T) {
	ctx := context.Background()
	client := newClient(t)
	c := client.NewContainerClient("many")
	_, err := c.Create(ctx, nil)
	require.NoError(t, err)
	for i := range 3 {
		_, err = c.NewBlockBlobClient(fmt.Sprintf("b %d", i)).UploadBuffer(ctx, []byte("x"), nil)
		require.NoError(t, err)
	}
	tier, err := c.NewBatchBuilder()
	require.NoError(t, err)
	require.NoError(t, tier.SetTier("b 0", blob.AccessTierCool, nil))
	require.NoError(t, tier.SetTier("none", blob.AccessTierCool, nil))
	res, err := c.SubmitBatch(ctx, tier, nil)
	require.NoError(t, err)
	require.Len(t, res.Responses, 2)
	require.NoError(t, res.Responses[0].Error)
	require.ErrorContains(t, res.Responses[1].Error, "BlobNotFound")
	props, err := c.NewBlobClient("b 0").GetProperties(ctx, nil)
	require.NoError(t, err)
	require.Equal(t, "Cool", *props.AccessTier)
	del, err := client.NewBatchBuilder()
	require.NoError(t, err)
	for i := range 3 {
		require.NoError(t, del.Delete("many", fmt.Sprintf("b %d", i), nil))
	}
	all, err := client.SubmitBatch(ctx, del, nil)
	require.NoError(t, err)
	require.Len(t, all.Responses, 3)
	for i, r := range all.Responses {
		require.NoError(t, r.Error)
		require.Equal(t, i, *r.ContentID)
	}
	page, err := c.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{}).NextPage(ctx)
	require.NoError(t, err)
	require.Empty(t, page.Segment.BlobItems)
}

func TestCopyWithinTheServer(t *testing.T) {
	ctx := context.Background()
	client := newClient(t)
	con := client.NewContainerClient("con")
	_, err := con.Create(ctx, nil)
	require.NoError(t, err)
	big := pattern(10<<20, 1)
	src := con.NewBlockBlobClient("src ü/1")
	_, err = src.UploadStream(ctx, strings.NewReader(string(big)), &blockblob.UploadStreamOptions{BlockSize: 4 << 20, Concurrency: 1,
		HTTPHeaders: &blob.HTTPHeaders{BlobContentType: to.Ptr("text/x"), BlobContentLanguage: to.Ptr("en")}, Metadata: map[string]*string{"Aa": to.Ptr("1")}})
	require.NoError(t, err)
	content := func(c *blockblob.Client) string {
		got, err := c.DownloadStream(ctx, nil)
		require.NoError(t, err)
		b, err := io.ReadAll(got.Body)
		require.NoError(t, err)
		return string(b)
	}

	dst := con.NewBlockBlobClient("dst")
	started, err := dst.StartCopyFromURL(ctx, src.URL(), nil)
	require.NoError(t, err)
	require.Equal(t, blob.CopyStatusTypeSuccess, *started.CopyStatus)
	props, err := dst.GetProperties(ctx, nil)
	require.NoError(t, err)
	require.Equal(t, *started.CopyID, *props.CopyID)
	require.Equal(t, fmt.Sprintf("%d/%d", len(big), len(big)), *props.CopyProgress)
	require.Equal(t, src.URL(), *props.CopySource)
	require.Equal(t, "text/x", *props.ContentType)
	require.Equal(t, "1", *props.Metadata["Aa"])
	require.Equal(t, string(big), content(dst))
	list, err := dst.GetBlockList(ctx, blockblob.BlockListTypeCommitted, nil)
	require.NoError(t, err)
	require.Len(t, list.CommittedBlocks, 3)
	_, err = dst.AbortCopyFromURL(ctx, *started.CopyID, nil)
	require.ErrorContains(t, err, "NoPendingCopyOperation")

	// The copy outlives its source: their chunks are shared and counted.
	_, err = src.Delete(ctx, nil)
	require.NoError(t, err)
	require.Equal(t, string(big), content(dst))

	url, err := dst.GetSASURL(sas.BlobPermissions{Read: true}, time.Now().Add(time.Hour), nil)
	require.NoError(t, err)
	sync := con.NewBlockBlobClient("sync")
	copied, err := sync.CopyFromURL(ctx, url, &blob.CopyFromURLOptions{Metadata: map[string]*string{"b": to.Ptr("2")}, BlobTags: map[string]string{"t": "1"}})
	require.NoError(t, err)
	require.Len(t, copied.ContentCRC64, 8)
	require.Equal(t, string(big), content(sync))
	props, err = sync.GetProperties(ctx, nil)
	require.NoError(t, err)
	require.Nil(t, props.Metadata["Aa"])
	require.Equal(t, "2", *props.Metadata["B"])
	require.NotContains(t, *props.CopySource, "sig=")

	put := con.NewBlockBlobClient("put")
	sum := md5.Sum(big)
	_, err = put.UploadBlobFromURL(ctx, url, &blockblob.UploadBlobFromURLOptions{SourceContentMD5: sum[:], HTTPHeaders: &blob.HTTPHeaders{BlobContentType: to.Ptr("text/y")}})
	require.NoError(t, err)
	require.Equal(t, string(big), content(put))
	props, err = put.GetProperties(ctx, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"text/y", "en"}, []string{*props.ContentType, *props.ContentLanguage})
	require.Nil(t, props.CopyID)
	sum[0]++
	_, err = put.UploadBlobFromURL(ctx, url, &blockblob.UploadBlobFromURLOptions{SourceContentMD5: sum[:]})
	require.ErrorContains(t, err, "Md5Mismatch")

	// A block that is a whole chunk is shared, one that is not is copied.
	for id, rng := range map[string]blob.HTTPRange{"AAAA": {Offset: 4 << 20, Count: 4 << 20}, "BBBB": {Offset: 100, Count: 5 << 20}} {
		_, err = put.StageBlockFromURL(ctx, id, url, &blockblob.StageBlockFromURLOptions{Range: rng})
		require.NoError(t, err)
	}
	_, err = put.CommitBlockList(ctx, []string{"BBBB", "AAAA", "BBBB"}, nil)
	require.NoError(t, err)
	require.Equal(t, string(big[100:100+5<<20])+string(big[4<<20:8<<20])+string(big[100:100+5<<20]), content(put))

	_, err = sync.CopyFromURL(ctx, dst.URL()+"x", nil)
	require.ErrorContains(t, err, "CannotVerifyCopySource")
	_, err = sync.CopyFromURL(ctx, url, &blob.CopyFromURLOptions{SourceModifiedAccessConditions: &blob.SourceModifiedAccessConditions{SourceIfNoneMatch: copySourceTag(t, dst)}})
	require.ErrorContains(t, err, "304")
}

func copySourceTag(t *testing.T, c *blockblob.Client) *azcore.ETag {
	props, err := c.GetProperties(context.Background(), nil)
	require.NoError(t, err)
	return props.ETag
}

func TestLeaseSDK(t *testing.T) {
	ctx := context.Background()
	client := newClient(t)
	c := client.NewContainerClient("leased")
	_, err := c.Create(ctx, nil)
	require.NoError(t, err)
	cl, err := lease.NewContainerClient(c, nil)
	require.NoError(t, err)
	_, err = cl.AcquireLease(ctx, 15, nil)
	require.NoError(t, err)
	_, err = cl.RenewLease(ctx, nil)
	require.NoError(t, err)
	broken, err := cl.BreakLease(ctx, &lease.ContainerBreakOptions{BreakPeriod: to.Ptr(int32(0))})
	require.NoError(t, err)
	require.Equal(t, int32(0), *broken.LeaseTime)
	b := c.NewBlockBlobClient("b")
	_, err = b.UploadBuffer(ctx, []byte("x"), nil)
	require.NoError(t, err)
	bl, err := lease.NewBlobClient(b, nil)
	require.NoError(t, err)
	_, err = bl.AcquireLease(ctx, -1, nil)
	require.NoError(t, err)
	_, err = bl.ChangeLease(ctx, "22222222-2222-2222-2222-222222222222", nil)
	require.NoError(t, err)
	_, err = b.Delete(ctx, nil)
	require.ErrorContains(t, err, "LeaseIdMissing")
	_, err = bl.ReleaseLease(ctx, nil)
	require.NoError(t, err)
	_, err = b.Delete(ctx, nil)
	require.NoError(t, err)
}

// TestPageBlobSDK writes at random through the SDK, with snapshots, and reads everything back.
func TestPageBlobSDK(t *testing.T) {
	ctx := context.Background()
	client := newClient(t)
	c := client.NewContainerClient("disks")
	_, err := c.Create(ctx, nil)
	require.NoError(t, err)
	const size = 1 << 20
	p := c.NewPageBlobClient("disk.vhd")
	_, err = p.Create(ctx, size, nil)
	require.NoError(t, err)
	rnd := rand.New(rand.NewPCG(3, 4))
	model := make([]byte, size)
	type shot struct {
		id    string
		bytes []byte
	}
	var shots []shot
	for i := range 120 {
		from := int64(rnd.IntN(size/512)) * 512
		n := min(size-from, int64(1+rnd.IntN([]int{4, 200}[i%2]))*512)
		rng := blob.HTTPRange{Offset: from, Count: n}
		if i%7 == 6 {
			_, err = p.ClearPages(ctx, rng, nil)
			clear(model[from : from+n])
		} else {
			data := bytes.Repeat([]byte{byte(i + 1)}, int(n))
			_, err = p.UploadPages(ctx, streaming(data), rng, nil)
			copy(model[from:], data)
		}
		require.NoError(t, err)
		if i%30 == 29 {
			s, err := p.CreateSnapshot(ctx, nil)
			require.NoError(t, err)
			shots = append(shots, shot{*s.Snapshot, bytes.Clone(model)})
		}
	}
	read := func(b *pageblob.Client) []byte {
		got, err := b.DownloadStream(ctx, nil)
		require.NoError(t, err)
		body, err := io.ReadAll(got.Body)
		require.NoError(t, err)
		return body
	}
	require.True(t, bytes.Equal(model, read(p)))
	for _, s := range shots {
		past, err := p.WithSnapshot(s.id)
		require.NoError(t, err)
		require.True(t, bytes.Equal(s.bytes, read(past)))
		covered := make([]byte, size)
		for pager := p.NewGetPageRangesPager(&pageblob.GetPageRangesOptions{Snapshot: to.Ptr(s.id), MaxResults: to.Ptr(int32(3))}); pager.More(); {
			res, err := pager.NextPage(ctx)
			require.NoError(t, err)
			for _, r := range res.PageRange {
				copy(covered[*r.Start:*r.End+1], s.bytes[*r.Start:*r.End+1])
			}
		}
		require.True(t, bytes.Equal(s.bytes, covered), "what is not listed is zero")
	}
	// What the diff from the first snapshot lists, laid over it, gives the blob.
	got := bytes.Clone(shots[0].bytes)
	for pager := p.NewGetPageRangesDiffPager(&pageblob.GetPageRangesDiffOptions{PrevSnapshot: to.Ptr(shots[0].id), MaxResults: to.Ptr(int32(5))}); pager.More(); {
		res, err := pager.NextPage(ctx)
		require.NoError(t, err)
		for _, r := range res.PageRange {
			copy(got[*r.Start:*r.End+1], model[*r.Start:*r.End+1])
		}
		for _, r := range res.ClearRange {
			clear(got[*r.Start : *r.End+1])
		}
	}
	require.True(t, bytes.Equal(model, got))
	res, err := p.UpdateSequenceNumber(ctx, &pageblob.UpdateSequenceNumberOptions{ActionType: to.Ptr(pageblob.SequenceNumberActionTypeIncrement)})
	require.NoError(t, err)
	require.Equal(t, int64(1), *res.BlobSequenceNumber)
	_, err = p.Resize(ctx, 512, nil)
	require.NoError(t, err)
	require.True(t, bytes.Equal(model[:512], read(p)))
	require.True(t, bytes.Equal(shots[2].bytes, func() []byte {
		past, err := p.WithSnapshot(shots[2].id)
		require.NoError(t, err)
		return read(past)
	}()))
}

// TestStructuredBodies: the SDK's transfer validation, both ways, on every kind of upload.
func TestStructuredBodies(t *testing.T) {
	ctx := context.Background()
	client := newClient(t)
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
}
