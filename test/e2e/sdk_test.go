package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/appendblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/lease"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/pageblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
)

// TestGoSDK shows every operation that the Go SDK has a call for, and every error that it can be brought to meet; what blobd was
// asked and answered is what test/coverage.txt says.
func TestGoSDK(t *testing.T) {
	n := startNeighbours(t)
	for _, o := range operations {
		t.Run(o.name, func(t *testing.T) { o.show(t, newScene(t, n)) })
	}
	for _, r := range refusals {
		t.Run(r.code, func(t *testing.T) {
			s := newScene(t, n)
			if r.arrange != nil {
				r.arrange(s)
			}
			before := s.state()
			err := r.call(s)
			var refusal *azcore.ResponseError
			require.ErrorAs(t, err, &refusal)
			require.Equal(t, []any{r.status, r.code}, []any{refusal.StatusCode, refusal.ErrorCode}, "%v", err)
			require.Equal(t, before, s.state(), "a refusal has changed something")
			if s.copyID != "" {
				_, err := s.block("pending").AbortCopyFromURL(ctx, s.copyID, nil)
				require.NoError(t, err)
			}
		})
	}
	n.stop()
	asClaimed(t, "go", n.seen(t, "azsdk-go-azblob"))
}

// scene is a container of its own, and what stands in it.
type scene struct {
	*testing.T
	n              *neighbours
	svc            *service.Client
	c              *container.Client
	name           string
	first, second  string // snapshots
	leaseID, other string // of the lease that there is; of none
	copyID         string // of a pending copy
}

func newScene(t *testing.T, n *neighbours) *scene {
	return sceneOn(t, n, n.main)
}

func sceneOn(t *testing.T, n *neighbours, on *target) *scene {
	s := &scene{T: t, n: n, svc: on.service(t), name: newContainer(t, on), other: "11111111-2222-3333-4444-555555555555"}
	s.c = s.svc.NewContainerClient(s.name)
	return s
}

func (s *scene) block(name string) *blockblob.Client { return s.c.NewBlockBlobClient(name) }
func (s *scene) page() *pageblob.Client              { return s.c.NewPageBlobClient("p") }
func (s *scene) append() *appendblob.Client          { return s.c.NewAppendBlobClient("a") }

// put makes the block blob "b", with "data".
func put(s *scene) {
	s.Helper()
	_, err := s.block("b").Upload(ctx, body("data"), nil)
	require.NoError(s, err)
}

func putPages(s *scene) {
	s.Helper()
	_, err := s.page().Create(ctx, 1024, nil)
	require.NoError(s, err)
}

func putAppend(s *scene) {
	s.Helper()
	_, err := s.append().Create(ctx, nil)
	require.NoError(s, err)
}

// snapshots takes two of the page blob.
func snapshots(s *scene) {
	putPages(s)
	s.first = s.snapshot()
	s.second = s.snapshot()
}

func (s *scene) snapshot() string {
	r, err := s.page().CreateSnapshot(ctx, nil)
	require.NoError(s, err)
	return *r.Snapshot
}

// state is all that a client can see of the container.
func (s *scene) state() string {
	p, err := s.c.GetProperties(ctx, nil)
	require.NoError(s, err)
	pager := s.c.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Include: container.ListBlobsInclude{
		Copy: true, Deleted: true, Metadata: true, Snapshots: true, Tags: true, UncommittedBlobs: true}})
	page, err := pager.NextPage(ctx)
	require.NoError(s, err)
	text, err := json.Marshal([]any{p.ETag, p.LeaseState, p.Metadata, page.Segment})
	require.NoError(s, err)
	return string(text)
}

// readable is the blob's address with a signature.
func (s *scene) readable(name string) string {
	url, err := s.block(name).GetSASURL(sas.BlobPermissions{Read: true}, time.Now().Add(time.Hour), nil)
	require.NoError(s, err)
	return url
}

func (s *scene) content(name string) string { return text(s.T, s.block(name)) }

// leaseOf is a client of the lease on "b", by the id.
func (s *scene) leaseOf(id string) *lease.BlobClient {
	l, err := lease.NewBlobClient(s.block("b"), &lease.BlobClientOptions{LeaseID: &id})
	require.NoError(s, err)
	return l
}

// leased leases "b" for so many seconds, -1 for ever.
func leased(seconds int32) func(*scene) {
	return func(s *scene) {
		put(s)
		s.leaseID = "6a0a1d7e-8b2e-4f0f-9b59-000000000001"
		_, err := s.leaseOf(s.leaseID).AcquireLease(ctx, seconds, nil)
		require.NoError(s, err)
	}
}

// broken breaks it within so many seconds.
func broken(seconds int32) func(*scene) {
	return func(s *scene) {
		leased(60)(s)
		_, err := s.leaseOf(s.leaseID).BreakLease(ctx, &lease.BlobBreakOptions{BreakPeriod: &seconds})
		require.NoError(s, err)
	}
}

func (s *scene) leaseContainer() *lease.ContainerClient {
	l, err := lease.NewContainerClient(s.c, &lease.ContainerClientOptions{LeaseID: to.Ptr("6a0a1d7e-8b2e-4f0f-9b59-000000000002")})
	require.NoError(s, err)
	_, err = l.AcquireLease(ctx, 60, nil)
	require.NoError(s, err)
	return l
}

// pending copies from a server that never comes to its end.
func pending(s *scene) {
	r, err := s.block("pending").StartCopyFromURL(ctx, s.n.stalling, nil)
	require.NoError(s, err)
	s.copyID = *r.CopyID
}

// incremental copies the second snapshot of the page blob to "to".
func incremental(s *scene) {
	snapshots(s)
	_, err := s.c.NewPageBlobClient("to").StartCopyIncremental(ctx, s.page().URL(), s.second, nil)
	require.NoError(s, err)
}

// at is a client of another account or server, with the well-known key.
func (s *scene) at(url string) *service.Client {
	c, err := service.NewClientWithSharedKeyCredential(url, credential(s), &service.ClientOptions{ClientOptions: s.n.login.options})
	require.NoError(s, err)
	return c
}

// nobody is a client without credentials.
func (s *scene) nobody(url string) *service.Client {
	c, err := service.NewClientWithNoCredential(url, &service.ClientOptions{ClientOptions: s.n.login.options})
	require.NoError(s, err)
	return c
}

// bearer is a client with a token.
func (s *scene) bearer(token string) *service.Client {
	options := s.n.login.options
	options.PerRetryPolicies = []policy.Policy{withToken(token)}
	c, err := service.NewClientWithNoCredential(s.n.login.ip+"/"+account.DevName, &service.ClientOptions{ClientOptions: options})
	require.NoError(s, err)
	return c
}

// withToken adds a token as it is.
type withToken string

func (w withToken) Do(r *policy.Request) (*http.Response, error) {
	r.Raw().Header.Set("Authorization", "Bearer "+string(w))
	return r.Next()
}

// signed is the container with a signature over the account, but for what alter says.
func (s *scene) signed(alter func(*sas.AccountSignatureValues)) *container.Client {
	v := sas.AccountSignatureValues{ExpiryTime: time.Now().Add(time.Hour), Permissions: "rwdlac", ResourceTypes: "sco"}
	alter(&v)
	q, err := v.SignWithSharedKey(credential(s))
	require.NoError(s, err)
	return s.nobody(s.n.main.blob + "?" + q.Encode()).NewContainerClient(s.name)
}

// guest is the container with a signature that lets read, but for what alter says.
func (s *scene) guest(alter func(*sas.BlobSignatureValues)) *container.Client {
	v := sas.BlobSignatureValues{ContainerName: s.name, ExpiryTime: time.Now().Add(time.Hour), Permissions: "r"}
	alter(&v)
	q, err := v.SignWithSharedKey(credential(s))
	require.NoError(s, err)
	return s.nobody(s.n.main.blob + "?" + q.Encode()).NewContainerClient(s.name)
}

func read(c *container.Client) error { return err2(c.NewBlobClient("b").DownloadStream(ctx, nil)) }

// err2 drops the answer of a call that is expected to fail.
func err2[T any](_ T, err error) error { return err }

func repeated(text string, n int) *string { return to.Ptr(strings.Repeat(text, n)) }

func ifMatch(tag string) *blob.AccessConditions {
	return &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: to.Ptr(azcore.ETag(tag))}}
}

func ifNoneMatch(tag azcore.ETag) *blob.AccessConditions {
	return &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: &tag}}
}

func holding(lease string) *blob.AccessConditions {
	return &blob.AccessConditions{LeaseAccessConditions: &blob.LeaseAccessConditions{LeaseID: &lease}}
}
