package auth_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/auth/authtest"
	"github.com/blobd/blobd/internal/auth/sharedkey"
)

// capture is a transport that checks each request and answers nothing useful.
type capture struct {
	t       *testing.T
	service auth.Service
	seen    int
}

func (c *capture) Do(req *http.Request) (*http.Response, error) {
	r := authtest.FromHTTP(c.service, req, time.Now())
	if req.ContentLength > 0 || req.Body != nil {
		r.Headers = r.Headers.(authtest.Pairs).With("Content-Length", req.Header.Get("Content-Length"))
	}
	authorization, _ := r.Headers.Get("authorization")
	credential, ok := sharedkey.Parse(authorization)
	require.True(c.t, ok, authorization)
	require.NoError(c.t, sharedkey.Verify(context.Background(), dev, r, credential), req.Method+" "+req.URL.String())
	c.seen++
	return &http.Response{StatusCode: 404, Request: req, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(nil))}, nil
}

// What the SDKs sign is accepted, at host-style and path-style addresses.
func TestSDKs(t *testing.T) {
	ctx := context.Background()
	for _, endpoint := range []string{"http://devstoreaccount1.blob.localhost:10000", "http://127.0.0.1:10000/devstoreaccount1", "http://127.0.0.1:10000/devstoreaccount1-secondary"} {
		c := &capture{t: t, service: auth.Blob}
		cred, err := azblob.NewSharedKeyCredential(account.DevName, account.DevKey)
		require.NoError(t, err)
		client, err := azblob.NewClientWithSharedKeyCredential(endpoint, cred, &azblob.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: c, Retry: policy.RetryOptions{MaxRetries: -1}}})
		require.NoError(t, err)
		_, _ = client.NewListContainersPager(nil).NextPage(ctx)
		_, _ = client.NewListBlobsFlatPager("c", &azblob.ListBlobsFlatOptions{Prefix: to.Ptr("a b/ä+&=")}).NextPage(ctx)
		_, _ = client.CreateContainer(ctx, "c", nil)
		value := "1"
		blobClient := client.ServiceClient().NewContainerClient("c").NewBlockBlobClient("a//../ä +%'(b)")
		_, _ = blobClient.Upload(ctx, streaming.NopCloser(strings.NewReader("hello")), nil)
		_, _ = blobClient.Upload(ctx, streaming.NopCloser(strings.NewReader("")), nil)
		_, _ = blobClient.SetMetadata(ctx, map[string]*string{"a_b": &value, "Ab": &value, "a0": &value, "abc": &value}, nil)
		_, _ = blobClient.DownloadStream(ctx, &blob.DownloadStreamOptions{Range: blob.HTTPRange{Offset: 1, Count: 2}})
		require.Equal(t, 7, c.seen)
	}
	for _, endpoint := range []string{"http://devstoreaccount1.table.localhost:10002", "http://127.0.0.1:10002/devstoreaccount1"} {
		c := &capture{t: t, service: auth.Table}
		cred, err := aztables.NewSharedKeyCredential(account.DevName, account.DevKey)
		require.NoError(t, err)
		client, err := aztables.NewServiceClientWithSharedKey(endpoint, cred, &aztables.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: c, Retry: policy.RetryOptions{MaxRetries: -1}}})
		require.NoError(t, err)
		table := client.NewClient("T")
		_, _ = client.GetProperties(ctx, nil)
		_, _ = client.NewListTablesPager(nil).NextPage(ctx)
		_, _ = table.AddEntity(ctx, []byte(`{"PartitionKey":"a","RowKey":"b"}`), nil)
		_, _ = table.GetEntity(ctx, "a'b ä", "c/(d)", nil)
		_, _ = table.DeleteEntity(ctx, "a", "b", nil)
		_, _ = table.NewListEntitiesPager(&aztables.ListEntitiesOptions{Filter: to.Ptr("PartitionKey eq 'a'")}).NextPage(ctx)
		require.Equal(t, 6, c.seen)
	}
}
