package e2e

import (
	"net"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/appendblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/pageblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
)

type metadata = map[string]*string

// refusals has one row for each error: what stands there before, and the call that is refused.
var refusals = []struct {
	status  int
	code    string
	arrange func(*scene)
	call    func(*scene) error
}{
	// getting in
	{400, "AccountRequiresHttps", nil, func(s *scene) error { return err2(s.at(s.n.secure.blob).GetProperties(ctx, nil)) }},
	{401, "InvalidAuthenticationInfo", nil, func(s *scene) error { return err2(s.bearer("nonsense").GetProperties(ctx, nil)) }},
	{401, "NoAuthenticationInformation", nil, func(s *scene) error {
		return err2(s.nobody(s.n.login.ip+"/"+account.DevName).NewContainerClient("private").GetProperties(ctx, nil))
	}},
	{403, "AuthenticationFailed", nil, func(s *scene) error {
		wrong, err := azblob.NewSharedKeyCredential(account.DevName, "YW5vdGhlciBrZXk=")
		require.NoError(s, err)
		c, err := service.NewClientWithSharedKeyCredential(s.n.main.blob, wrong, &service.ClientOptions{ClientOptions: noRetry})
		require.NoError(s, err)
		return err2(c.GetProperties(ctx, nil))
	}},
	{403, "AuthorizationFailure", nil, func(s *scene) error {
		return err2(s.signed(func(*sas.AccountSignatureValues) {}).GetAccessPolicy(ctx, nil))
	}},
	{403, "AuthorizationPermissionMismatch", put, func(s *scene) error {
		return err2(s.guest(func(*sas.BlobSignatureValues) {}).NewBlobClient("b").Delete(ctx, nil))
	}},
	{403, "AuthorizationProtocolMismatch", put, func(s *scene) error {
		return read(s.guest(func(v *sas.BlobSignatureValues) { v.Protocol = sas.ProtocolHTTPS }))
	}},
	{403, "AuthorizationResourceTypeMismatch", put, func(s *scene) error {
		return read(s.signed(func(v *sas.AccountSignatureValues) { v.ResourceTypes = "s" }))
	}},
	{403, "AuthorizationSourceIPMismatch", put, func(s *scene) error {
		return read(s.guest(func(v *sas.BlobSignatureValues) { v.IPRange.Start = net.IPv4(10, 1, 2, 3) }))
	}},
	{403, "InsufficientAccountPermissions", nil, func(s *scene) error {
		return err2(s.at(s.n.main.blob+"-secondary").CreateContainer(ctx, "more", nil))
	}},
	{403, "KeyBasedAuthenticationNotPermitted", nil, func(s *scene) error {
		return err2(s.at(s.n.login.ip+"/"+account.DevName).GetProperties(ctx, nil))
	}},
	{404, "ResourceNotFound", nil, func(s *scene) error {
		return err2(s.nobody(strings.Replace(s.n.main.blob, account.DevName, "nobody", 1)).NewContainerClient("c").GetProperties(ctx, nil))
	}},
	{409, "PublicAccessNotPermitted", nil, func(s *scene) error {
		return err2(s.at(s.n.versions.blob).CreateContainer(ctx, "public", &service.CreateContainerOptions{Access: to.Ptr(container.PublicAccessTypeBlob)}))
	}},
	// headers, parameters, bodies
	{304, "ConditionNotMet", put, func(s *scene) error {
		p, err := s.block("b").GetProperties(ctx, nil)
		require.NoError(s, err)
		return err2(s.block("b").GetProperties(ctx, &blob.GetPropertiesOptions{AccessConditions: ifNoneMatch(*p.ETag)}))
	}},
	{400, "Crc64Mismatch", put, func(s *scene) error {
		return err2(s.block("b").StageBlock(ctx, "AAAA", body("x"), &blockblob.StageBlockOptions{TransactionalValidation: blob.TransferValidationTypeCRC64(1)}))
	}},
	{400, "EmptyMetadataKey", put, func(s *scene) error { return err2(s.block("b").SetMetadata(ctx, metadata{"": to.Ptr("x")}, nil)) }},
	{400, "InvalidHeaderValue", put, func(s *scene) error { return err2(s.leaseOf(s.other).AcquireLease(ctx, 5, nil)) }},
	{400, "InvalidMd5", put, func(s *scene) error {
		return err2(s.block("b").StageBlock(ctx, "AAAA", body("x"), &blockblob.StageBlockOptions{TransactionalValidation: blob.TransferValidationTypeMD5{1, 2, 3}}))
	}},
	{400, "InvalidMetadata", put, func(s *scene) error { return err2(s.block("b").SetMetadata(ctx, metadata{"1a": to.Ptr("x")}, nil)) }},
	{400, "InvalidQueryParameterValue", put, func(s *scene) error {
		b, err := s.block("b").WithSnapshot("yesterday")
		require.NoError(s, err)
		return err2(b.DownloadStream(ctx, nil))
	}},
	{400, "InvalidResourceName", nil, func(s *scene) error { return err2(s.svc.CreateContainer(ctx, "UPPER", nil)) }},
	{400, "InvalidXmlDocument", nil, func(s *scene) error {
		var six []*container.SignedIdentifier
		for _, id := range []string{"1", "2", "3", "4", "5", "6"} {
			six = append(six, &container.SignedIdentifier{ID: &id, AccessPolicy: &container.AccessPolicy{Permission: to.Ptr("r")}})
		}
		return err2(s.c.SetAccessPolicy(ctx, &container.SetAccessPolicyOptions{ContainerACL: six}))
	}},
	{400, "InvalidXmlNodeValue", nil, func(s *scene) error {
		return err2(s.svc.SetProperties(ctx, &service.SetPropertiesOptions{CORS: []*service.CORSRule{{AllowedMethods: to.Ptr("BREW"), AllowedOrigins: to.Ptr("*"),
			AllowedHeaders: to.Ptr("x"), ExposedHeaders: to.Ptr("x"), MaxAgeInSeconds: to.Ptr(int32(5))}}}))
	}},
	{400, "Md5Mismatch", put, func(s *scene) error {
		return err2(s.block("b").StageBlock(ctx, "AAAA", body("x"), &blockblob.StageBlockOptions{TransactionalValidation: blob.TransferValidationTypeMD5(make([]byte, 16))}))
	}},
	{400, "MetadataTooLarge", put, func(s *scene) error {
		return err2(s.block("b").SetMetadata(ctx, metadata{"a": repeated("x", 9000)}, nil))
	}},
	{400, "MultipleConditionHeadersNotSupported", put, func(s *scene) error {
		both := ifMatch(`"0x1"`)
		both.ModifiedAccessConditions.IfNoneMatch = to.Ptr(azcore.ETag(`"0x2"`))
		return err2(s.block("b").Upload(ctx, body("x"), &blockblob.UploadOptions{AccessConditions: both}))
	}},
	{400, "OutOfRangeInput", nil, func(s *scene) error { return err2(s.svc.CreateContainer(ctx, "ab", nil)) }},
	{400, "OutOfRangeQueryParameterValue", nil, func(s *scene) error {
		return err2(s.c.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{MaxResults: to.Ptr(int32(0))}).NextPage(ctx))
	}},
	{400, "UnsatisfiableCondition", put, func(s *scene) error {
		return err2(s.block("b").DownloadStream(ctx, &blob.DownloadStreamOptions{AccessConditions: ifNoneMatch(azcore.ETagAny)}))
	}},
	{400, "UnsupportedHeader", put, func(s *scene) error {
		key := &blob.CPKInfo{EncryptionKey: repeated("A", 44), EncryptionKeySHA256: repeated("A", 44), EncryptionAlgorithm: to.Ptr(blob.EncryptionAlgorithmTypeAES256)}
		return err2(s.block("b").Upload(ctx, body("x"), &blockblob.UploadOptions{CPKInfo: key}))
	}},
	{412, "ConditionNotMet", put, func(s *scene) error {
		return err2(s.block("b").Delete(ctx, &blob.DeleteOptions{AccessConditions: ifMatch(`"0x1"`)}))
	}},
	{413, "RequestBodyTooLarge", func(s *scene) {
		_, err := s.page().Create(ctx, 8<<20, nil)
		require.NoError(s, err)
	}, func(s *scene) error {
		const size = 4<<20 + 512
		return err2(s.page().UploadPages(ctx, body(string(make([]byte, size))), blob.HTTPRange{Count: size}, nil))
	}},
	{416, "InvalidRange", put, func(s *scene) error {
		return err2(s.block("b").DownloadStream(ctx, &blob.DownloadStreamOptions{Range: blob.HTTPRange{Offset: 4}}))
	}},
	// containers and blobs
	{403, "RequestForbiddenByContainerEncryptionPolicy", nil, func(s *scene) error {
		on := s.svc.NewContainerClient(s.name + "-scoped")
		_, err := on.Create(ctx, &container.CreateOptions{CPKScopeInfo: &container.CPKScopeInfo{DefaultEncryptionScope: to.Ptr("one"), PreventEncryptionScopeOverride: to.Ptr(true)}})
		require.NoError(s, err)
		return err2(on.NewBlockBlobClient("b").Upload(ctx, body("x"), &blockblob.UploadOptions{CPKScopeInfo: &blob.CPKScopeInfo{EncryptionScope: to.Ptr("two")}}))
	}},
	{403, "UnauthorizedBlobOverwrite", put, func(s *scene) error {
		return err2(s.guest(func(v *sas.BlobSignatureValues) { v.Permissions = "c" }).NewBlockBlobClient("b").Upload(ctx, body("x"), nil))
	}},
	{404, "BlobNotFound", nil, func(s *scene) error { return err2(s.block("none").DownloadStream(ctx, nil)) }},
	{404, "ContainerNotFound", nil, func(s *scene) error { return err2(s.svc.NewContainerClient("none").GetProperties(ctx, nil)) }},
	{409, "BlobAlreadyExists", put, func(s *scene) error {
		return err2(s.block("b").Upload(ctx, body("x"), &blockblob.UploadOptions{AccessConditions: ifNoneMatch(azcore.ETagAny)}))
	}},
	{409, "BlobOperationNotSupported", put, func(s *scene) error { return err2(s.block("b").SetLegalHold(ctx, true, nil)) }},
	{409, "ContainerAlreadyExists", nil, func(s *scene) error { return err2(s.c.Create(ctx, nil)) }},
	{409, "InvalidBlobType", put, func(s *scene) error {
		return err2(s.c.NewAppendBlobClient("b").AppendBlock(ctx, body("x"), nil))
	}},
	// blocks
	{400, "BlockListTooLong", put, func(s *scene) error {
		return err2(s.block("b").CommitBlockList(ctx, slices.Repeat([]string{"AAAA"}, 50001), nil))
	}},
	{400, "InvalidBlobOrBlock", func(s *scene) {
		_, err := s.block("b").StageBlock(ctx, "AAAA", body("x"), nil)
		require.NoError(s, err)
	}, func(s *scene) error { return err2(s.block("b").StageBlock(ctx, "AAAAAAAA", body("x"), nil)) }},
	{400, "InvalidBlockId", put, func(s *scene) error { return err2(s.block("b").CommitBlockList(ctx, []string{"!!"}, nil)) }},
	{400, "InvalidBlockList", put, func(s *scene) error { return err2(s.block("b").CommitBlockList(ctx, []string{"AAAA"}, nil)) }},
	// pages
	{400, "PreviousSnapshotCannotBeNewer", snapshots, func(s *scene) error {
		return err2(s.page().NewGetPageRangesDiffPager(&pageblob.GetPageRangesDiffOptions{Snapshot: &s.first, PrevSnapshot: &s.second}).NextPage(ctx))
	}},
	{409, "BlobOverwritten", func(s *scene) { snapshots(s); putPages(s) }, func(s *scene) error {
		return err2(s.page().NewGetPageRangesDiffPager(&pageblob.GetPageRangesDiffOptions{PrevSnapshot: &s.first}).NextPage(ctx))
	}},
	{409, "BlobTierInadequateForContentLength", func(s *scene) {
		_, err := s.page().Create(ctx, 1<<36, nil)
		require.NoError(s, err)
	}, func(s *scene) error { return err2(s.page().SetTier(ctx, blob.AccessTierP4, nil)) }},
	{409, "CannotChangeToLowerTier", func(s *scene) {
		putPages(s)
		_, err := s.page().SetTier(ctx, blob.AccessTierP20, nil)
		require.NoError(s, err)
	}, func(s *scene) error { return err2(s.page().SetTier(ctx, blob.AccessTierP10, nil)) }},
	{409, "PreviousSnapshotNotFound", putPages, func(s *scene) error {
		return err2(s.page().NewGetPageRangesDiffPager(&pageblob.GetPageRangesDiffOptions{PrevSnapshot: to.Ptr("2020-01-01T00:00:00.0000000Z")}).NextPage(ctx))
	}},
	{409, "SequenceNumberIncrementTooLarge", func(s *scene) {
		_, err := s.page().Create(ctx, 512, &pageblob.CreateOptions{SequenceNumber: to.Ptr(int64(1<<63 - 1))})
		require.NoError(s, err)
	}, func(s *scene) error {
		return err2(s.page().UpdateSequenceNumber(ctx, &pageblob.UpdateSequenceNumberOptions{ActionType: to.Ptr(pageblob.SequenceNumberActionTypeIncrement)}))
	}},
	{412, "SequenceNumberConditionNotMet", putPages, func(s *scene) error {
		return err2(s.page().UploadPages(ctx, body(string(make([]byte, 512))), blob.HTTPRange{Count: 512}, &pageblob.UploadPagesOptions{
			SequenceNumberAccessConditions: &pageblob.SequenceNumberAccessConditions{IfSequenceNumberEqualTo: to.Ptr(int64(5))}}))
	}},
	{416, "InvalidPageRange", putPages, func(s *scene) error {
		return err2(s.page().UploadPages(ctx, body(string(make([]byte, 512))), blob.HTTPRange{Offset: 4096, Count: 512}, nil))
	}},
	// appends
	{409, "BlobIsSealed", func(s *scene) {
		putAppend(s)
		_, err := s.append().Seal(ctx, nil)
		require.NoError(s, err)
	}, func(s *scene) error { return err2(s.append().AppendBlock(ctx, body("x"), nil)) }},
	{412, "AppendPositionConditionNotMet", putAppend, func(s *scene) error {
		return err2(s.append().AppendBlock(ctx, body("x"), &appendblob.AppendBlockOptions{
			AppendPositionAccessConditions: &appendblob.AppendPositionAccessConditions{AppendPosition: to.Ptr(int64(1))}}))
	}},
	{412, "MaxBlobSizeConditionNotMet", putAppend, func(s *scene) error {
		return err2(s.append().AppendBlock(ctx, body("xx"), &appendblob.AppendBlockOptions{
			AppendPositionAccessConditions: &appendblob.AppendPositionAccessConditions{MaxSize: to.Ptr(int64(1))}}))
	}},
	// snapshots and versions
	{403, "OperationNotAllowedOnRootBlob", nil, func(s *scene) error {
		on := sceneOn(s.T, s.n, s.n.versions)
		put(on)
		p, err := on.block("b").GetProperties(ctx, nil)
		require.NoError(s, err)
		current, err := on.block("b").WithVersionID(*p.VersionID)
		require.NoError(s, err)
		return err2(current.Delete(ctx, nil))
	}},
	{409, "SnapshotsPresent", snapshots, func(s *scene) error { return err2(s.page().Delete(ctx, nil)) }},
	// leases
	{409, "LeaseAlreadyPresent", leased(-1), func(s *scene) error { return err2(s.leaseOf(s.other).AcquireLease(ctx, -1, nil)) }},
	{409, "LeaseIdMismatchWithLeaseOperation", leased(-1), func(s *scene) error { return err2(s.leaseOf(s.other).RenewLease(ctx, nil)) }},
	{409, "LeaseIsBreakingAndCannotBeAcquired", broken(60), func(s *scene) error { return err2(s.leaseOf(s.leaseID).AcquireLease(ctx, 60, nil)) }},
	{409, "LeaseIsBreakingAndCannotBeChanged", broken(60), func(s *scene) error { return err2(s.leaseOf(s.leaseID).ChangeLease(ctx, s.other, nil)) }},
	{409, "LeaseIsBrokenAndCannotBeRenewed", broken(0), func(s *scene) error { return err2(s.leaseOf(s.leaseID).RenewLease(ctx, nil)) }},
	{409, "LeaseNotPresentWithLeaseOperation", put, func(s *scene) error { return err2(s.leaseOf(s.other).ChangeLease(ctx, s.other, nil)) }},
	{412, "InfiniteLeaseDurationRequired", leased(60), func(s *scene) error {
		return err2(s.block("b").StartCopyFromURL(ctx, s.n.stalling, &blob.StartCopyFromURLOptions{AccessConditions: holding(s.leaseID)}))
	}},
	{412, "LeaseIdMismatchWithBlobOperation", leased(-1), func(s *scene) error {
		return err2(s.block("b").Upload(ctx, body("x"), &blockblob.UploadOptions{AccessConditions: holding(s.other)}))
	}},
	{412, "LeaseIdMismatchWithContainerOperation", func(s *scene) { s.leaseContainer() }, func(s *scene) error {
		return err2(s.c.SetMetadata(ctx, &container.SetMetadataOptions{Metadata: metadata{"a": to.Ptr("b")}, LeaseAccessConditions: &container.LeaseAccessConditions{LeaseID: &s.other}}))
	}},
	{412, "LeaseIdMissing", leased(-1), func(s *scene) error { return err2(s.block("b").Upload(ctx, body("x"), nil)) }},
	{412, "LeaseLost", broken(0), func(s *scene) error {
		return err2(s.block("b").Upload(ctx, body("x"), &blockblob.UploadOptions{AccessConditions: holding(s.leaseID)}))
	}},
	{412, "LeaseNotPresentWithBlobOperation", put, func(s *scene) error {
		return err2(s.block("b").Upload(ctx, body("x"), &blockblob.UploadOptions{AccessConditions: holding(s.other)}))
	}},
	{412, "LeaseNotPresentWithContainerOperation", nil, func(s *scene) error {
		return err2(s.c.SetMetadata(ctx, &container.SetMetadataOptions{Metadata: metadata{"a": to.Ptr("b")}, LeaseAccessConditions: &container.LeaseAccessConditions{LeaseID: &s.other}}))
	}},
	// copies
	{400, "BothUserTagsAndSourceTagsCopyPresentException", put, func(s *scene) error {
		return err2(s.block("to").UploadBlobFromURL(ctx, s.readable("b"), &blockblob.UploadBlobFromURLOptions{Tags: map[string]string{"a": "b"}, CopySourceTags: to.Ptr(blockblob.BlobCopySourceTagsCopy)}))
	}},
	{304, "CannotVerifyCopySource", put, func(s *scene) error {
		p, err := s.block("b").GetProperties(ctx, nil)
		require.NoError(s, err)
		return err2(s.block("to").CopyFromURL(ctx, s.readable("b"), &blob.CopyFromURLOptions{SourceModifiedAccessConditions: &blob.SourceModifiedAccessConditions{SourceIfNoneMatch: p.ETag}}))
	}},
	{409, "CannotVerifyCopySource", putPages, func(s *scene) error {
		return err2(s.block("to").CopyFromURL(ctx, s.readable("p"), nil))
	}},
	{404, "CannotVerifyCopySource", nil, func(s *scene) error {
		return err2(s.block("to").UploadBlobFromURL(ctx, s.readable("none"), nil))
	}},
	{500, "CannotVerifyCopySource", nil, func(s *scene) error {
		return err2(s.block("to").UploadBlobFromURL(ctx, "http://127.0.0.1:1/nothing", nil))
	}},
	{409, "CopyIdMismatch", pending, func(s *scene) error { return err2(s.block("pending").AbortCopyFromURL(ctx, s.other, nil)) }},
	{409, "NoPendingCopyOperation", put, func(s *scene) error { return err2(s.block("b").AbortCopyFromURL(ctx, s.other, nil)) }},
	{409, "PendingCopyOperation", pending, func(s *scene) error { return err2(s.block("pending").Upload(ctx, body("x"), nil)) }},
	{409, "IncrementalCopyBlobMismatch", func(s *scene) {
		incremental(s)
		another := s.c.NewPageBlobClient("another")
		_, err := another.Create(ctx, 1024, nil)
		require.NoError(s, err)
		r, err := another.CreateSnapshot(ctx, nil)
		require.NoError(s, err)
		s.first = *r.Snapshot
	}, func(s *scene) error {
		return err2(s.c.NewPageBlobClient("to").StartCopyIncremental(ctx, s.c.NewPageBlobClient("another").URL(), s.first, nil))
	}},
	{409, "IncrementalCopyOfEralierVersionSnapshotNotAllowed", incremental, func(s *scene) error {
		return err2(s.c.NewPageBlobClient("to").StartCopyIncremental(ctx, s.page().URL(), s.first, nil))
	}},
	{409, "IncrementalCopySourceMustBeSnapshot", putPages, func(s *scene) error {
		return err2(s.c.NewPageBlobClient("to").StartCopyIncremental(ctx, s.page().URL(), "", nil))
	}},
	{409, "InvalidSourceBlobUrl", nil, func(s *scene) error {
		return err2(s.c.NewPageBlobClient("to").StartCopyIncremental(ctx, "http://203.0.113.1/elsewhere/disk", "2026-01-01T00:00:00.0000000Z", nil))
	}},
	{409, "OperationNotAllowedOnIncrementalCopyBlob", incremental, func(s *scene) error {
		return err2(s.c.NewPageBlobClient("to").UploadPages(ctx, body(string(make([]byte, 512))), blob.HTTPRange{Count: 512}, nil))
	}},
	{409, "InvalidSourceBlobType", func(s *scene) {
		put(s)
		r, err := s.block("b").CreateSnapshot(ctx, nil)
		require.NoError(s, err)
		s.first = *r.Snapshot
	}, func(s *scene) error {
		return err2(s.c.NewPageBlobClient("to").StartCopyIncremental(ctx, s.block("b").URL(), s.first, nil))
	}},
	{412, "SourceConditionNotMet", put, func(s *scene) error {
		return err2(s.block("to").StartCopyFromURL(ctx, s.block("b").URL(), &blob.StartCopyFromURLOptions{
			SourceModifiedAccessConditions: &blob.SourceModifiedAccessConditions{SourceIfMatch: to.Ptr(azcore.ETag(`"0x1"`))}}))
	}},
	// tiers
	{400, "AccessTierNotSupportedForBlobType", put, func(s *scene) error { return err2(s.block("b").SetTier(ctx, blob.AccessTierP10, nil)) }},
	{409, "BlobArchived", archived, func(s *scene) error { return err2(s.block("b").DownloadStream(ctx, nil)) }},
	{409, "BlobBeingRehydrated", func(s *scene) {
		archived(s)
		_, err := s.block("b").SetTier(ctx, blob.AccessTierHot, nil)
		require.NoError(s, err)
	}, func(s *scene) error { return err2(s.block("b").SetTier(ctx, blob.AccessTierCool, nil)) }},
	// tags
	{400, "EmptyTagName", put, func(s *scene) error { return err2(s.block("b").SetTags(ctx, map[string]string{"": "x"}, nil)) }},
	{400, "InvalidTag", put, func(s *scene) error { return err2(s.block("b").SetTags(ctx, map[string]string{"a!": "x"}, nil)) }},
	{400, "TagsTooLarge", put, func(s *scene) error {
		tags := map[string]string{}
		for c := 'a'; c <= 'k'; c++ {
			tags[string(c)] = "x"
		}
		return err2(s.block("b").SetTags(ctx, tags, nil))
	}},
}

func archived(s *scene) {
	put(s)
	_, err := s.block("b").SetTier(ctx, blob.AccessTierArchive, nil)
	require.NoError(s, err)
}
