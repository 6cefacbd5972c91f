package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/devissuer"
)

// login is a server over HTTPS with its issuer for development.
type login struct {
	ip, ipTable string // https://127.0.0.1:PORT of the blobs and the tables
	blob, table string // host style: from another, the SDK cannot tell the account of a user delegation key
	issuer      string // without the tenant
	secret      string
	ca          string
	stop        func()
	options     azcore.ClientOptions // trusts the server's certificate
}

func startLogin(t *testing.T, args ...string) *login {
	t.Helper()
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	l := &login{secret: "a secret of this test", ca: filepath.Join(data, "tls", "cert.pem")}
	s := startBlobd(t, append([]string{"--data", data, "--tls-self-signed", "--oauth-dev-issuer", "127.0.0.1:0", "--oauth-dev-secret", l.secret}, args...)...)
	l.stop = s.stop
	l.ip, l.ipTable = strings.TrimSuffix(s.blob, "/"+account.DevName), strings.TrimSuffix(s.table, "/"+account.DevName)
	l.blob = strings.Replace(l.ip, "127.0.0.1", account.DevName+".blob.localhost", 1)
	l.table = strings.Replace(l.ipTable, "127.0.0.1", account.DevName+".table.localhost", 1)
	l.issuer, _, _ = strings.Cut(s.issuer, "/"+devissuer.Tenant)
	files, err := filepath.Glob(filepath.Join(data, "tls", "*"))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		if pool.AppendCertsFromPEM(text) {
			l.ca = f
		}
	}
	transport := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) { // whatever the name
			_, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+port)
		},
	}}
	l.options = azcore.ClientOptions{
		Transport: transport, Retry: noRetry.Retry,
		Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: l.issuer, Services: cloud.AzurePublic.Services},
	}
	return l
}

func (l *login) credential(t *testing.T, secret string) azcore.TokenCredential {
	c, err := azidentity.NewClientSecretCredential(devissuer.Tenant, devissuer.ClientID, secret,
		&azidentity.ClientSecretCredentialOptions{ClientOptions: l.options, DisableInstanceDiscovery: true})
	require.NoError(t, err)
	return c
}

func (l *login) client(t *testing.T, c azcore.TokenCredential) *azblob.Client {
	client, err := azblob.NewClient(l.blob, c, &azblob.ClientOptions{ClientOptions: l.options})
	require.NoError(t, err)
	return client
}

// A bearer login from the identity library to the data, and a user delegation SAS made from it.
func TestBearerLogin(t *testing.T) {
	ctx := context.Background()
	l := startLogin(t)
	client := l.client(t, l.credential(t, l.secret))
	_, err := client.CreateContainer(ctx, "con", nil)
	require.NoError(t, err)
	_, err = client.UploadBuffer(ctx, "con", "dir/b", []byte("hello"), nil)
	require.NoError(t, err)
	buffer := make([]byte, 5)
	_, err = client.DownloadBuffer(ctx, "con", "dir/b", buffer, nil)
	require.NoError(t, err)
	require.Equal(t, "hello", string(buffer))
	page, err := client.NewListBlobsFlatPager("con", nil).NextPage(ctx)
	require.NoError(t, err)
	require.Len(t, page.Segment.BlobItems, 1)

	t.Run("user delegation SAS", func(t *testing.T) {
		now := time.Now().UTC()
		start, expiry := now.Add(-time.Minute).Format(time.RFC3339), now.Add(time.Hour).Format(time.RFC3339)
		key, err := client.ServiceClient().GetUserDelegationCredential(ctx, service.KeyInfo{Start: &start, Expiry: &expiry}, nil)
		require.NoError(t, err)
		query, err := sas.BlobSignatureValues{
			Protocol: sas.ProtocolHTTPS, ExpiryTime: now.Add(30 * time.Minute), ContainerName: "con", BlobName: "dir/b",
			Permissions: (&sas.BlobPermissions{Read: true}).String(), ContentType: "text/x-from-sas",
		}.SignWithUserDelegation(key)
		require.NoError(t, err)
		signed, err := blob.NewClientWithNoCredential(l.blob+"/con/dir/b?"+query.Encode(), &blob.ClientOptions{ClientOptions: l.options})
		require.NoError(t, err)
		properties, err := signed.GetProperties(ctx, nil)
		require.NoError(t, err)
		require.Equal(t, "text/x-from-sas", *properties.ContentType)
		_, err = signed.Delete(ctx, nil)
		require.True(t, bloberror.HasCode(err, bloberror.AuthorizationPermissionMismatch), "%v", err)
		long := now.Add(8 * 24 * time.Hour).Format(time.RFC3339)
		_, err = client.ServiceClient().GetUserDelegationCredential(ctx, service.KeyInfo{Start: &start, Expiry: &long}, nil)
		require.True(t, bloberror.HasCode(err, bloberror.InvalidXMLNodeValue), "%v", err)
		keyed, err := service.NewClientWithSharedKeyCredential(l.blob, credential(t), &service.ClientOptions{ClientOptions: l.options})
		require.NoError(t, err)
		_, err = keyed.GetUserDelegationCredential(ctx, service.KeyInfo{Start: &start, Expiry: &expiry}, nil)
		require.True(t, bloberror.HasCode(err, bloberror.AuthenticationFailed), "%v", err)
	})

	t.Run("tables", func(t *testing.T) {
		tables := l.tables(t)
		_, err := tables.CreateTable(ctx, "Tab", nil)
		require.NoError(t, err)
		_, err = tables.NewClient("Tab").AddEntity(ctx, []byte(`{"PartitionKey":"p","RowKey":"r","V":1}`), nil)
		require.NoError(t, err)
		got, err := tables.NewClient("Tab").GetEntity(ctx, "p", "r", nil)
		require.NoError(t, err)
		require.Contains(t, string(got.Value), `"V":1`)
	})

	t.Run("device code", func(t *testing.T) {
		c, err := azidentity.NewDeviceCodeCredential(&azidentity.DeviceCodeCredentialOptions{
			ClientOptions: l.options, TenantID: devissuer.Tenant, ClientID: devissuer.ClientID, DisableInstanceDiscovery: true,
			UserPrompt: func(_ context.Context, m azidentity.DeviceCodeMessage) error {
				page, err := l.options.Transport.(*http.Client).PostForm(m.VerificationURL, url.Values{"user_code": {m.UserCode}})
				if err != nil {
					return err
				}
				return page.Body.Close()
			},
		})
		require.NoError(t, err)
		_, err = l.client(t, c).DownloadBuffer(ctx, "con", "dir/b", buffer, nil)
		require.NoError(t, err)
	})

	t.Run("a wrong secret gets no token", func(t *testing.T) {
		_, err := l.client(t, l.credential(t, "wrong")).DownloadBuffer(ctx, "con", "dir/b", buffer, nil)
		require.ErrorContains(t, err, "invalid_client")
	})

	t.Run("no credentials", func(t *testing.T) {
		anonymous, err := azblob.NewClientWithNoCredential(l.blob, &azblob.ClientOptions{ClientOptions: l.options})
		require.NoError(t, err)
		_, err = anonymous.DownloadBuffer(ctx, "con", "dir/b", buffer, nil)
		var refusal *azcore.ResponseError
		require.ErrorAs(t, err, &refusal)
		require.Equal(t, 401, refusal.StatusCode)
		require.Equal(t, fmt.Sprintf("Bearer authorization_uri=%s/%s/oauth2/authorize resource_id=https://storage.azure.com", l.issuer, devissuer.Tenant), refusal.RawResponse.Header.Get("WWW-Authenticate"))
	})
}

// Without the role there is no way in, and what is let in by role is bounded by its scope.
func TestBearerRoles(t *testing.T) {
	ctx := context.Background()
	l := startLogin(t, "--oauth-role", devissuer.ClientID+"=blob-contributor@devstoreaccount1/mine", "--oauth-role", "*=blob-reader@other")
	client := l.client(t, l.credential(t, l.secret))
	_, err := client.CreateContainer(ctx, "mine", nil)
	require.NoError(t, err)
	_, err = client.UploadBuffer(ctx, "mine", "b", []byte("x"), nil)
	require.NoError(t, err)
	_, err = client.CreateContainer(ctx, "theirs", nil)
	require.True(t, bloberror.HasCode(err, bloberror.AuthorizationPermissionMismatch), "%v", err)
	_, err = client.NewListContainersPager(nil).NextPage(ctx)
	require.True(t, bloberror.HasCode(err, bloberror.AuthorizationPermissionMismatch), "%v", err)
}

// Storage Account Contributor administers the services and their access policies by token, and reaches no data.
func TestBearerAccountContributor(t *testing.T) {
	ctx := context.Background()
	l := startLogin(t, "--oauth-role", devissuer.ClientID+"=Storage Account Contributor")
	keyed, err := azblob.NewClientWithSharedKeyCredential(l.blob, credential(t), &azblob.ClientOptions{ClientOptions: l.options})
	require.NoError(t, err)
	_, err = keyed.CreateContainer(ctx, "con", nil)
	require.NoError(t, err)
	_, err = keyed.UploadBuffer(ctx, "con", "b", []byte("x"), nil)
	require.NoError(t, err)
	blobs := l.client(t, l.credential(t, l.secret)).ServiceClient()
	enabled, days := true, int32(3)
	_, err = blobs.SetProperties(ctx, &service.SetPropertiesOptions{DeleteRetentionPolicy: &service.RetentionPolicy{Enabled: &enabled, Days: &days}})
	require.NoError(t, err)
	got, err := blobs.GetProperties(ctx, nil)
	require.NoError(t, err)
	require.Equal(t, days, *got.DeleteRetentionPolicy.Days)
	con := blobs.NewContainerClient("con")
	_, err = con.SetAccessPolicy(ctx, nil)
	require.NoError(t, err)
	_, err = con.GetAccessPolicy(ctx, nil)
	require.NoError(t, err)
	_, err = con.NewBlobClient("b").GetProperties(ctx, nil)
	require.True(t, bloberror.HasCode(err, bloberror.AuthorizationPermissionMismatch), "%v", err)
	_, err = con.NewListBlobsFlatPager(nil).NextPage(ctx)
	require.True(t, bloberror.HasCode(err, bloberror.AuthorizationPermissionMismatch), "%v", err)

	keyedTables := l.keyedTables(t)
	_, err = keyedTables.CreateTable(ctx, "Tab", nil)
	require.NoError(t, err)
	tables := l.tables(t)
	version := "1.0"
	_, err = tables.SetProperties(ctx, aztables.ServiceProperties{Logging: &aztables.Logging{
		Read: &enabled, Write: &enabled, Delete: &enabled, Version: &version, RetentionPolicy: &aztables.RetentionPolicy{Enabled: &enabled, Days: &days},
	}}, nil)
	require.NoError(t, err)
	properties, err := tables.GetProperties(ctx, nil)
	require.NoError(t, err)
	require.True(t, *properties.Logging.Read)
	tab := tables.NewClient("Tab")
	_, err = tab.SetAccessPolicy(ctx, nil)
	require.NoError(t, err)
	_, err = tab.GetAccessPolicy(ctx, nil)
	require.NoError(t, err)
	_, err = tab.NewListEntitiesPager(nil).NextPage(ctx)
	require.ErrorContains(t, err, "AuthorizationPermissionMismatch")
	_, err = tab.SubmitTransaction(ctx, oneInsert, nil)
	require.ErrorContains(t, err, "AuthorizationPermissionMismatch")
}

// A role on one table does transactions there and nowhere else, and does not administer.
func TestBearerTableRole(t *testing.T) {
	ctx := context.Background()
	l := startLogin(t, "--oauth-role", devissuer.ClientID+"=table-contributor@devstoreaccount1/Mine")
	keyed := l.keyedTables(t)
	for _, name := range []string{"Mine", "Theirs"} {
		_, err := keyed.CreateTable(ctx, name, nil)
		require.NoError(t, err)
	}
	tables := l.tables(t)
	_, err := tables.NewClient("Mine").SubmitTransaction(ctx, oneInsert, nil)
	require.NoError(t, err)
	_, err = tables.NewClient("Theirs").SubmitTransaction(ctx, oneInsert, nil)
	require.ErrorContains(t, err, "AuthorizationPermissionMismatch")
	page, err := keyed.NewClient("Theirs").NewListEntitiesPager(nil).NextPage(ctx)
	require.NoError(t, err)
	require.Empty(t, page.Entities)
	_, err = tables.GetProperties(ctx, nil)
	require.ErrorContains(t, err, "AuthorizationPermissionMismatch")
	_, err = tables.NewClient("Mine").GetAccessPolicy(ctx, nil)
	require.ErrorContains(t, err, "AuthorizationPermissionMismatch")
}

var oneInsert = []aztables.TransactionAction{{ActionType: aztables.TransactionTypeAdd, Entity: []byte(`{"PartitionKey":"p","RowKey":"r"}`)}}

// tables is a client of the tables by token.
func (l *login) tables(t *testing.T) *aztables.ServiceClient {
	client, err := aztables.NewServiceClient(l.table, l.credential(t, l.secret), &aztables.ClientOptions{ClientOptions: l.options})
	require.NoError(t, err)
	return client
}

// keyedTables is a client of the tables by the account's key.
func (l *login) keyedTables(t *testing.T) *aztables.ServiceClient {
	key, err := aztables.NewSharedKeyCredential(account.DevName, account.DevKey)
	require.NoError(t, err)
	client, err := aztables.NewServiceClientWithSharedKey(l.table, key, &aztables.ClientOptions{ClientOptions: l.options})
	require.NoError(t, err)
	return client
}

// The JS SDKs sign in as a service principal, read and write, and make signatures of a user delegation key.
func TestBearerJS(t *testing.T) {
	l := startLogin(t)
	runJS(t, "login", "BLOBD_BLOB_URL="+l.ip+"/"+account.DevName, "BLOBD_TABLE_URL="+l.ipTable+"/"+account.DevName, "NODE_EXTRA_CA_CERTS="+l.ca,
		"BLOBD_ISSUER="+l.issuer, "BLOBD_TENANT="+devissuer.Tenant, "BLOBD_CLIENT_ID="+devissuer.ClientID, "BLOBD_CLIENT_SECRET="+l.secret)
}

// azcopy signs in as a service principal and copies both ways. It asks the public cloud about an authority unless the tenant is
// that of a federation server, "adfs".
func TestBearerAzcopy(t *testing.T) {
	l := startLogin(t)
	_, err := l.client(t, l.credential(t, l.secret)).CreateContainer(context.Background(), "con", nil)
	require.NoError(t, err)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("by azcopy"), 0o600))
	run := func(args ...string) {
		c := exec.Command(azcopyPath(), args...)
		c.Env = append(os.Environ(), "SSL_CERT_FILE="+l.ca, "AZCOPY_AUTO_LOGIN_TYPE=SPN", "AZCOPY_SPA_APPLICATION_ID="+devissuer.ClientID,
			"AZCOPY_SPA_CLIENT_SECRET="+l.secret, "AZCOPY_TENANT_ID=adfs", "AZCOPY_ACTIVE_DIRECTORY_ENDPOINT="+l.issuer,
			"AZCOPY_LOG_LOCATION="+dir, "AZCOPY_JOB_PLAN_LOCATION="+dir, "AZCOPY_DISABLE_SYSLOG=true")
		out, err := c.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	remote, trust := l.ip+"/"+account.DevName+"/con/copied", "--trusted-microsoft-suffixes="+strings.TrimPrefix(l.ip, "https://")
	run("copy", file, remote, "--from-to=LocalBlob", trust)
	back := filepath.Join(dir, "back")
	run("copy", remote, back, "--from-to=BlobLocal", trust)
	got, err := os.ReadFile(back)
	require.NoError(t, err)
	require.Equal(t, "by azcopy", string(got))
}
