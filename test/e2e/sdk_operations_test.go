package e2e

import (
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/appendblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/lease"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/pageblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"
	"github.com/stretchr/testify/require"
)

// operations has one row for each operation, by Azure's name.
var operations = []struct {
	name string
	show func(*testing.T, *scene)
}{
	// service
	{"ListContainers", func(t *testing.T, s *scene) {
		page, err := s.svc.NewListContainersPager(&service.ListContainersOptions{Prefix: &s.name}).NextPage(ctx)
		require.NoError(t, err)
		require.Len(t, page.ContainerItems, 1)
		require.Equal(t, s.name, *page.ContainerItems[0].Name)
	}},
	{"GetBlobServiceProperties and SetBlobServiceProperties", func(t *testing.T, s *scene) {
		_, err := s.svc.SetProperties(ctx, &service.SetPropertiesOptions{DefaultServiceVersion: to.Ptr("2020-10-02")})
		require.NoError(t, err)
		p, err := s.svc.GetProperties(ctx, nil)
		require.NoError(t, err)
		require.Equal(t, "2020-10-02", *p.DefaultServiceVersion)
	}},
	{"GetBlobServiceStats", func(t *testing.T, s *scene) {
		r, err := s.at(s.n.main.blob+"-secondary").GetStatistics(ctx, nil)
		require.NoError(t, err)
		require.Equal(t, service.BlobGeoReplicationStatusLive, *r.GeoReplication.Status)
	}},
	{"GetAccountInformation", func(t *testing.T, s *scene) {
		put(s)
		r, err := s.svc.GetAccountInfo(ctx, nil)
		require.NoError(t, err)
		ofContainer, err := s.c.GetAccountInfo(ctx, nil)
		require.NoError(t, err)
		ofBlob, err := s.block("b").GetAccountInfo(ctx, nil)
		require.NoError(t, err)
		require.Equal(t, []string{"StorageV2", "StorageV2", "StorageV2"}, []string{string(*r.AccountKind), string(*ofContainer.AccountKind), string(*ofBlob.AccountKind)})
	}},
	{"GetUserDelegationKey", func(t *testing.T, s *scene) {
		now := time.Now().UTC()
		_, err := s.n.login.client(t, s.n.login.credential(t, s.n.login.secret)).ServiceClient().GetUserDelegationCredential(ctx,
			service.KeyInfo{Start: to.Ptr(now.Format(time.RFC3339)), Expiry: to.Ptr(now.Add(time.Hour).Format(time.RFC3339))}, nil)
		require.NoError(t, err)
	}},
	{"BlobBatch", func(t *testing.T, s *scene) {
		put(s)
		b, err := s.svc.NewBatchBuilder()
		require.NoError(t, err)
		require.NoError(t, b.Delete(s.name, "b", nil))
		r, err := s.svc.SubmitBatch(ctx, b, nil)
		require.NoError(t, err)
		require.NoError(t, r.Responses[0].Error)
	}},
	{"BlobBatchInContainer", func(t *testing.T, s *scene) {
		put(s)
		b, err := s.c.NewBatchBuilder()
		require.NoError(t, err)
		require.NoError(t, b.SetTier("b", blob.AccessTierCool, nil))
		r, err := s.c.SubmitBatch(ctx, b, nil)
		require.NoError(t, err)
		require.NoError(t, r.Responses[0].Error)
	}},
	{"FindBlobsByTags and FindBlobsByTagsInContainer", func(t *testing.T, s *scene) {
		_, err := s.block("b").Upload(ctx, body("x"), &blockblob.UploadOptions{Tags: map[string]string{"of": s.name}})
		require.NoError(t, err)
		found, err := s.svc.FilterBlobs(ctx, "of='"+s.name+"'", nil)
		require.NoError(t, err)
		require.Equal(t, "b", *found.Blobs[0].Name)
		within, err := s.c.FilterBlobs(ctx, "of='"+s.name+"'", nil)
		require.NoError(t, err)
		require.Len(t, within.Blobs, 1)
	}},
	// containers
	{"CreateContainer, GetContainerProperties and SetContainerMetadata", func(t *testing.T, s *scene) {
		_, err := s.c.SetMetadata(ctx, &container.SetMetadataOptions{Metadata: metadata{"A": to.Ptr("b")}})
		require.NoError(t, err)
		p, err := s.c.GetProperties(ctx, nil)
		require.NoError(t, err)
		require.Equal(t, metadata{"A": to.Ptr("b")}, p.Metadata)
	}},
	{"GetContainerACL and SetContainerACL", func(t *testing.T, s *scene) {
		_, err := s.c.SetAccessPolicy(ctx, &container.SetAccessPolicyOptions{ContainerACL: []*container.SignedIdentifier{{ID: to.Ptr("p"), AccessPolicy: &container.AccessPolicy{Permission: to.Ptr("rl")}}}})
		require.NoError(t, err)
		r, err := s.c.GetAccessPolicy(ctx, nil)
		require.NoError(t, err)
		require.Equal(t, "rl", *r.SignedIdentifiers[0].AccessPolicy.Permission)
	}},
	{"ListBlobs", func(t *testing.T, s *scene) {
		put(s)
		page, err := s.c.NewListBlobsHierarchyPager("/", nil).NextPage(ctx)
		require.NoError(t, err)
		require.Equal(t, "b", *page.Segment.BlobItems[0].Name)
	}},
	{"DeleteContainer and RestoreContainer", func(t *testing.T, s *scene) {
		on := sceneOn(t, s.n, s.n.versions)
		put(on)
		_, err := on.c.Delete(ctx, nil)
		require.NoError(t, err)
		page, err := on.svc.NewListContainersPager(&service.ListContainersOptions{Prefix: &on.name, Include: service.ListContainersInclude{Deleted: true}}).NextPage(ctx)
		require.NoError(t, err)
		_, err = on.c.Restore(ctx, *page.ContainerItems[0].Version, nil)
		require.NoError(t, err)
		require.Equal(t, "data", on.content("b"))
	}},
	{"LeaseContainer", func(t *testing.T, s *scene) {
		l := s.leaseContainer()
		_, err := l.RenewLease(ctx, nil)
		require.NoError(t, err)
		_, err = l.ChangeLease(ctx, s.other, nil)
		require.NoError(t, err)
		_, err = l.BreakLease(ctx, &lease.ContainerBreakOptions{BreakPeriod: to.Ptr(int32(0))})
		require.NoError(t, err)
		_, err = l.ReleaseLease(ctx, nil)
		require.NoError(t, err)
	}},
	// blobs
	{"PutBlob, GetBlob, GetBlobProperties and DeleteBlob", func(t *testing.T, s *scene) {
		put(s)
		require.Equal(t, "data", s.content("b"))
		p, err := s.block("b").GetProperties(ctx, nil)
		require.NoError(t, err)
		require.EqualValues(t, 4, *p.ContentLength)
		_, err = s.block("b").Delete(ctx, nil)
		require.NoError(t, err)
	}},
	{"SetBlobProperties and SetBlobMetadata", func(t *testing.T, s *scene) {
		put(s)
		_, err := s.block("b").SetHTTPHeaders(ctx, blob.HTTPHeaders{BlobContentType: to.Ptr("x/y")}, nil)
		require.NoError(t, err)
		_, err = s.block("b").SetMetadata(ctx, metadata{"A": to.Ptr("b")}, nil)
		require.NoError(t, err)
		p, err := s.block("b").GetProperties(ctx, nil)
		require.NoError(t, err)
		require.Equal(t, "x/y", *p.ContentType)
		require.Equal(t, metadata{"A": to.Ptr("b")}, p.Metadata)
	}},
	{"UndeleteBlob", func(t *testing.T, s *scene) {
		_, err := s.svc.SetProperties(ctx, &service.SetPropertiesOptions{DeleteRetentionPolicy: &service.RetentionPolicy{Enabled: to.Ptr(true), Days: to.Ptr(int32(1))}})
		require.NoError(t, err)
		put(s)
		_, err = s.block("b").Delete(ctx, nil)
		require.NoError(t, err)
		_, err = s.block("b").Undelete(ctx, nil)
		require.NoError(t, err)
		require.Equal(t, "data", s.content("b"))
		_, err = s.svc.SetProperties(ctx, &service.SetPropertiesOptions{DeleteRetentionPolicy: &service.RetentionPolicy{Enabled: to.Ptr(false)}})
		require.NoError(t, err)
	}},
	{"SnapshotBlob", func(t *testing.T, s *scene) {
		put(s)
		r, err := s.block("b").CreateSnapshot(ctx, nil)
		require.NoError(t, err)
		_, err = s.block("b").Upload(ctx, body("new"), nil)
		require.NoError(t, err)
		old, err := s.block("b").WithSnapshot(*r.Snapshot)
		require.NoError(t, err)
		require.Equal(t, "data", text(t, old))
	}},
	{"SetBlobTier", func(t *testing.T, s *scene) {
		put(s)
		_, err := s.block("b").SetTier(ctx, blob.AccessTierCold, nil)
		require.NoError(t, err)
		p, err := s.block("b").GetProperties(ctx, nil)
		require.NoError(t, err)
		require.Equal(t, "Cold", *p.AccessTier)
	}},
	{"GetBlobTags and SetBlobTags", func(t *testing.T, s *scene) {
		put(s)
		_, err := s.block("b").SetTags(ctx, map[string]string{"a": "1"}, nil)
		require.NoError(t, err)
		r, err := s.block("b").GetTags(ctx, nil)
		require.NoError(t, err)
		require.Equal(t, "1", *r.BlobTagSet[0].Value)
	}},
	{"LeaseBlob", func(t *testing.T, s *scene) {
		leased(60)(s)
		l := s.leaseOf(s.leaseID)
		_, err := l.RenewLease(ctx, nil)
		require.NoError(t, err)
		_, err = l.ChangeLease(ctx, s.other, nil)
		require.NoError(t, err)
		_, err = l.BreakLease(ctx, &lease.BlobBreakOptions{BreakPeriod: to.Ptr(int32(0))})
		require.NoError(t, err)
		_, err = l.ReleaseLease(ctx, nil)
		require.NoError(t, err)
	}},
	// block blobs
	{"PutBlock, PutBlockFromURL, PutBlockList and GetBlockList", func(t *testing.T, s *scene) {
		put(s)
		b := s.block("to")
		_, err := b.StageBlock(ctx, "AAAA", body("one"), nil)
		require.NoError(t, err)
		_, err = b.StageBlockFromURL(ctx, "AAAB", s.readable("b"), &blockblob.StageBlockFromURLOptions{Range: blob.HTTPRange{Offset: 1, Count: 2}})
		require.NoError(t, err)
		_, err = b.CommitBlockList(ctx, []string{"AAAB", "AAAA"}, nil)
		require.NoError(t, err)
		require.Equal(t, "atone", s.content("to"))
		list, err := b.GetBlockList(ctx, blockblob.BlockListTypeAll, nil)
		require.NoError(t, err)
		require.Len(t, list.CommittedBlocks, 2)
	}},
	{"PutBlobFromURL", func(t *testing.T, s *scene) {
		put(s)
		_, err := s.block("to").UploadBlobFromURL(ctx, s.readable("b"), nil)
		require.NoError(t, err)
		require.Equal(t, "data", s.content("to"))
	}},
	// append blobs
	{"PutAppendBlob, AppendBlock, AppendBlockFromURL and SealAppendBlob", func(t *testing.T, s *scene) {
		put(s)
		putAppend(s)
		_, err := s.append().AppendBlock(ctx, body("one"), nil)
		require.NoError(t, err)
		_, err = s.append().AppendBlockFromURL(ctx, s.readable("b"), &appendblob.AppendBlockFromURLOptions{Range: blob.HTTPRange{Offset: 1, Count: 2}})
		require.NoError(t, err)
		_, err = s.append().Seal(ctx, nil)
		require.NoError(t, err)
		require.Equal(t, "oneat", s.content("a"))
	}},
	// page blobs
	{"PutPageBlob, PutPage, PutPageFromURL and GetPageRanges", func(t *testing.T, s *scene) {
		putPages(s)
		page := random(512)
		_, err := s.page().UploadPages(ctx, body(string(page)), blob.HTTPRange{Offset: 512, Count: 512}, nil)
		require.NoError(t, err)
		ranges, err := s.page().NewGetPageRangesPager(nil).NextPage(ctx)
		require.NoError(t, err)
		require.Equal(t, []*pageblob.PageRange{{Start: to.Ptr(int64(512)), End: to.Ptr(int64(1023))}}, ranges.PageRange)
		_, err = s.page().UploadPagesFromURL(ctx, s.readable("p"), 512, 0, 512, nil)
		require.NoError(t, err)
		require.Equal(t, string(page)+string(page), s.content("p"))
		_, err = s.page().ClearPages(ctx, blob.HTTPRange{Count: 1024}, nil)
		require.NoError(t, err)
		require.Equal(t, string(make([]byte, 1024)), s.content("p"))
	}},
	{"ResizePageBlob and UpdateSequenceNumber", func(t *testing.T, s *scene) {
		putPages(s)
		_, err := s.page().Resize(ctx, 512, nil)
		require.NoError(t, err)
		r, err := s.page().UpdateSequenceNumber(ctx, &pageblob.UpdateSequenceNumberOptions{ActionType: to.Ptr(pageblob.SequenceNumberActionTypeMax), SequenceNumber: to.Ptr(int64(9))})
		require.NoError(t, err)
		require.EqualValues(t, 9, *r.BlobSequenceNumber)
	}},
	{"IncrementalCopyBlob", func(t *testing.T, s *scene) {
		incremental(s)
		p, err := s.c.NewPageBlobClient("to").GetProperties(ctx, nil)
		require.NoError(t, err)
		require.True(t, *p.IsIncrementalCopy)
	}},
	// copies
	{"CopyBlob and CopyBlobFromURL", func(t *testing.T, s *scene) {
		put(s)
		_, err := s.block("to").StartCopyFromURL(ctx, s.block("b").URL(), nil)
		require.NoError(t, err)
		_, err = s.block("sync").CopyFromURL(ctx, s.readable("b"), nil)
		require.NoError(t, err)
		require.Equal(t, "datadata", s.content("to")+s.content("sync"))
	}},
	{"AbortCopyBlob", func(t *testing.T, s *scene) {
		pending(s)
		_, err := s.block("pending").AbortCopyFromURL(ctx, s.copyID, nil)
		require.NoError(t, err)
	}},
	// refused, as blobd has them not
	{"SetImmutabilityPolicy, DeleteImmutabilityPolicy, SetLegalHold and SetBlobExpiry", func(t *testing.T, s *scene) {
		put(s)
		putAppend(s)
		_, err := s.block("b").SetImmutabilityPolicy(ctx, time.Now().Add(time.Hour), nil)
		isCode(t, err, "BlobOperationNotSupported")
		_, err = s.block("b").DeleteImmutabilityPolicy(ctx, nil)
		isCode(t, err, "BlobOperationNotSupported")
		_, err = s.block("b").SetLegalHold(ctx, true, nil)
		isCode(t, err, "BlobOperationNotSupported")
		_, err = s.append().SetExpiry(ctx, appendblob.ExpiryTypeNever{}, nil)
		isCode(t, err, "BlobOperationNotSupported")
	}},
}
