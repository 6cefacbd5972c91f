// Package blob_test lets the Go SDK speak to the Blob service in this process, with real authorization.
package blob_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth/gate"
	blobservice "github.com/blobd/blobd/internal/blob"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/resttest"
)

// newClient serves the emulator's account and returns a client of it, without retries.
func newClient(t testing.TB) *service.Client {
	t.Helper()
	disk, registry := enginetest.New(t), account.NewRegistry()
	accounts, err := account.OpenStore(context.Background(), disk, registry, nil)
	require.NoError(t, err)
	require.NoError(t, accounts.Configure(context.Background(), account.Development(time.Now())))
	svc := blobservice.New(blobservice.Options{Store: disk, Accounts: accounts})
	t.Cleanup(func() { require.NoError(t, svc.Close()) })
	svc.Authorize(gate.New(gate.Options{Blob: svc}))
	server := resttest.Start(t, &rest.Front{Accounts: registry, Blob: svc})

	cred, err := azblob.NewSharedKeyCredential(account.DevName, account.DevKey)
	require.NoError(t, err)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client, err := service.NewClientWithSharedKeyCredential("http://"+server.Addr+"/"+account.DevName, cred, &service.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: &http.Client{Transport: transport}, Retry: policy.RetryOptions{MaxRetries: -1}}})
	require.NoError(t, err)
	return client
}

func pattern(n, seed int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*31>>2 + i>>11 + seed)
	}
	return b
}
