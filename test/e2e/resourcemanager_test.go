package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/storage/armstorage"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/stretchr/testify/require"
)

// region is a server with the resource manager.
type region struct {
	t       *testing.T
	data    string
	arm     string
	options azcore.ClientOptions // that trust its certificate
}

func startRegion(t *testing.T) *region {
	t.Helper()
	r := &region{t: t, data: filepath.Join(t.TempDir(), "d")}
	s := startBlobd(t, "--data", r.data, "--tls-self-signed", "--arm-addr", "127.0.0.1:0")
	r.arm = s.arm
	text, err := os.ReadFile(filepath.Join(r.data, "tls", "cert.pem"))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(text))
	r.options = azcore.ClientOptions{
		Transport: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}, Retry: noRetry.Retry,
		Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: r.arm + "/", Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: r.arm, Audience: r.arm},
		}},
	}
	return r
}

// operate runs an operator's command and returns what it answers.
func (r *region) operate(args ...string) (reply struct {
	Tenant string
	Users  []struct{ Name, ObjectID, AppID, Secret string }

	Subscriptions []struct{ Name, ID string }
}) {
	r.t.Helper()
	c := exec.Command(blobdBinary, append(args, "--operator-socket", filepath.Join(r.data, "operator.sock"), "-o", "json")...)
	out, err := c.Output()
	require.NoError(r.t, err, "%s", args)
	require.NoError(r.t, json.Unmarshal(out, &reply))
	return reply
}

// robot makes a service principal with a subscription of its own.
func (r *region) robot(name string) (cred azcore.TokenCredential, subscription, objectID string) {
	r.t.Helper()
	app := r.operate("user", "create", name, "--app")
	sub := r.operate("subscription", "create", name, "--owner", name)
	cred, err := azidentity.NewClientSecretCredential("adfs", app.Users[0].AppID, app.Users[0].Secret, &azidentity.ClientSecretCredentialOptions{ClientOptions: r.options})
	require.NoError(r.t, err)
	return cred, sub.Subscriptions[0].ID, app.Users[0].ObjectID
}

// A service principal signs in with the identity library, in both families, makes a group and an account with the management libraries, and
// uses it; what it switches there holds at once.
func TestResourceManager(t *testing.T) {
	ctx := context.Background()
	r := startRegion(t)
	socket, err := os.Stat(filepath.Join(r.data, "operator.sock"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), socket.Mode().Perm())
	cred, sub, objectID := r.robot("robot")
	options := &arm.ClientOptions{ClientOptions: r.options}
	groups, err := armresources.NewResourceGroupsClient(sub, cred, options)
	require.NoError(t, err)
	_, err = groups.CreateOrUpdate(ctx, "grp", armresources.ResourceGroup{Location: to.Ptr("local"), Tags: map[string]*string{"k": to.Ptr("v")}}, nil)
	require.NoError(t, err)
	accounts, err := armstorage.NewAccountsClient(sub, cred, options)
	require.NoError(t, err)
	available, err := accounts.CheckNameAvailability(ctx, armstorage.AccountCheckNameAvailabilityParameters{Name: to.Ptr("goacct"), Type: to.Ptr("Microsoft.Storage/storageAccounts")}, nil)
	require.NoError(t, err)
	require.True(t, *available.NameAvailable)
	create := func() armstorage.Account {
		t.Helper()
		poller, err := accounts.BeginCreate(ctx, "grp", "goacct", armstorage.AccountCreateParameters{
			Kind: to.Ptr(armstorage.KindStorageV2), Location: to.Ptr("local"), SKU: &armstorage.SKU{Name: to.Ptr(armstorage.SKUNameStandardLRS)},
			Properties: &armstorage.AccountPropertiesCreateParameters{AllowBlobPublicAccess: to.Ptr(false), MinimumTLSVersion: to.Ptr(armstorage.MinimumTLSVersionTLS12)},
		}, nil)
		require.NoError(t, err)
		made, err := poller.PollUntilDone(ctx, nil)
		require.NoError(t, err)
		return made.Account
	}
	made := create()
	require.Equal(t, armstorage.ProvisioningStateSucceeded, *made.Properties.ProvisioningState)
	keys, err := accounts.ListKeys(ctx, "grp", "goacct", nil)
	require.NoError(t, err)
	require.Len(t, keys.Keys, 2)

	endpoint := strings.TrimSuffix(*made.Properties.PrimaryEndpoints.Blob, "/")
	byKey := func(key string) *azblob.Client {
		c, err := azblob.NewSharedKeyCredential("goacct", key)
		require.NoError(t, err)
		client, err := azblob.NewClientWithSharedKeyCredential(endpoint, c, &azblob.ClientOptions{ClientOptions: r.options})
		require.NoError(t, err)
		return client
	}
	one, two := byKey(*keys.Keys[0].Value), byKey(*keys.Keys[1].Value)
	_, err = one.CreateContainer(ctx, "con", nil)
	require.NoError(t, err)
	_, err = two.UploadBuffer(ctx, "con", "b", []byte("hello"), nil)
	require.NoError(t, err)
	fails := func(c *azblob.Client, code bloberror.Code) {
		t.Helper()
		_, err := c.UploadBuffer(ctx, "con", "b", []byte("hello"), nil)
		require.True(t, bloberror.HasCode(err, code), "%v", err)
	}

	t.Run("keys", func(t *testing.T) {
		again, err := accounts.RegenerateKey(ctx, "grp", "goacct", armstorage.AccountRegenerateKeyParameters{KeyName: to.Ptr("key1")}, nil)
		require.NoError(t, err)
		fails(one, bloberror.AuthenticationFailed)
		require.Equal(t, *keys.Keys[1].Value, *again.Keys[1].Value)
		_, err = byKey(*again.Keys[0].Value).UploadBuffer(ctx, "con", "b", []byte("hello"), nil)
		require.NoError(t, err)
	})
	t.Run("switches", func(t *testing.T) {
		set := func(on bool) {
			_, err := accounts.Update(ctx, "grp", "goacct", armstorage.AccountUpdateParameters{Properties: &armstorage.AccountPropertiesUpdateParameters{AllowSharedKeyAccess: &on}}, nil)
			require.NoError(t, err)
		}
		set(false)
		fails(two, bloberror.Code("KeyBasedAuthenticationNotPermitted"))
		set(true)
		_, err := two.UploadBuffer(ctx, "con", "b", []byte("hello"), nil)
		require.NoError(t, err)
		r.operate("account", "disable", "goacct")
		fails(two, bloberror.AccountIsDisabled)
		r.operate("account", "enable", "goacct")
	})
	t.Run("roles", func(t *testing.T) {
		// The owner of an account reaches no data by a token until it has a role for data.
		client, err := azblob.NewClient(strings.TrimSuffix(endpoint, "/goacct")+"/goacct", cred, &azblob.ClientOptions{ClientOptions: r.options})
		require.NoError(t, err)
		fails(client, bloberror.AuthorizationPermissionMismatch)
		r.operate("role", "assign", objectID, "Storage Blob Data Contributor", *made.ID+"/blobServices/default/containers/con")
		_, err = client.UploadBuffer(ctx, "con", "b", []byte("by role"), nil)
		require.NoError(t, err)
		_, err = client.CreateContainer(ctx, "other", nil)
		require.True(t, bloberror.HasCode(err, bloberror.AuthorizationPermissionMismatch), "%v", err)
	})
	t.Run("signatures", func(t *testing.T) {
		expiry := time.Now().Add(time.Hour)
		account, err := accounts.ListAccountSAS(ctx, "grp", "goacct", armstorage.AccountSasParameters{
			Services: to.Ptr(armstorage.ServicesB), ResourceTypes: to.Ptr(armstorage.SignedResourceTypes("sco")), Permissions: to.Ptr(armstorage.Permissions("rl")), SharedAccessExpiryTime: &expiry}, nil)
		require.NoError(t, err)
		signed, err := azblob.NewClientWithNoCredential(endpoint+"?"+*account.AccountSasToken, &azblob.ClientOptions{ClientOptions: r.options})
		require.NoError(t, err)
		page, err := signed.NewListBlobsFlatPager("con", nil).NextPage(ctx)
		require.NoError(t, err)
		require.Len(t, page.Segment.BlobItems, 1)
		fails(signed, bloberror.AuthorizationPermissionMismatch)
		service, err := accounts.ListServiceSAS(ctx, "grp", "goacct", armstorage.ServiceSasParameters{
			CanonicalizedResource: to.Ptr("/blob/goacct/con/b"), Resource: to.Ptr(armstorage.SignedResourceB), Permissions: to.Ptr(armstorage.Permissions("r")), SharedAccessExpiryTime: &expiry, KeyToSign: to.Ptr("key2")}, nil)
		require.NoError(t, err)
		resp, err := r.options.Transport.(*http.Client).Get(endpoint + "/con/b?" + *service.ServiceSasToken)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, 200, resp.StatusCode)
	})
	t.Run("services", func(t *testing.T) {
		services, err := armstorage.NewBlobServicesClient(sub, cred, options)
		require.NoError(t, err)
		set, err := services.SetServiceProperties(ctx, "grp", "goacct", armstorage.BlobServiceProperties{BlobServiceProperties: &armstorage.BlobServicePropertiesProperties{
			IsVersioningEnabled: to.Ptr(true), DeleteRetentionPolicy: &armstorage.DeleteRetentionPolicy{Enabled: to.Ptr(true), Days: to.Ptr(int32(3))},
			Cors: &armstorage.CorsRules{CorsRules: []*armstorage.CorsRule{{AllowedOrigins: []*string{to.Ptr("https://a.example")}, AllowedMethods: []*armstorage.CorsRuleAllowedMethodsItem{to.Ptr(armstorage.CorsRuleAllowedMethodsItemGET)},
				AllowedHeaders: []*string{to.Ptr("*")}, ExposedHeaders: []*string{}, MaxAgeInSeconds: to.Ptr(int32(5))}}},
		}}, nil)
		require.NoError(t, err)
		require.True(t, *set.BlobServiceProperties.BlobServiceProperties.IsVersioningEnabled)
		uploaded, err := two.UploadBuffer(ctx, "con", "versioned", []byte("x"), nil)
		require.NoError(t, err)
		require.NotNil(t, uploaded.VersionID)
		containers, err := armstorage.NewBlobContainersClient(sub, cred, options)
		require.NoError(t, err)
		_, err = containers.Create(ctx, "grp", "goacct", "bymanager", armstorage.BlobContainer{ContainerProperties: &armstorage.ContainerProperties{Metadata: map[string]*string{"a": to.Ptr("b")}}}, nil)
		require.NoError(t, err)
		pager := containers.NewListPager("grp", "goacct", &armstorage.BlobContainersClientListOptions{Maxpagesize: to.Ptr("1")})
		var names []string
		for pager.More() {
			page, err := pager.NextPage(ctx)
			require.NoError(t, err)
			require.Len(t, page.Value, 1)
			names = append(names, *page.Value[0].Name)
		}
		require.Equal(t, []string{"bymanager", "con"}, names)
		got, err := containers.Get(ctx, "grp", "goacct", "bymanager", nil)
		require.NoError(t, err)
		require.Equal(t, "b", *got.ContainerProperties.Metadata["a"])
		_, err = containers.Update(ctx, "grp", "goacct", "bymanager", armstorage.BlobContainer{ContainerProperties: &armstorage.ContainerProperties{PublicAccess: to.Ptr(armstorage.PublicAccessBlob)}}, nil)
		require.ErrorContains(t, err, "PublicAccessNotPermitted")
		_, err = containers.Delete(ctx, "grp", "goacct", "bymanager", nil)
		require.NoError(t, err)
		tables, err := armstorage.NewTableClient(sub, cred, options)
		require.NoError(t, err)
		_, err = tables.Create(ctx, "grp", "goacct", "Tab", nil)
		require.NoError(t, err)
		shared, err := aztables.NewSharedKeyCredential("goacct", *keys.Keys[1].Value)
		require.NoError(t, err)
		data, err := aztables.NewServiceClientWithSharedKey(strings.TrimSuffix(*made.Properties.PrimaryEndpoints.Table, "/"), shared, &aztables.ClientOptions{ClientOptions: r.options})
		require.NoError(t, err)
		_, err = data.NewClient("Tab").AddEntity(ctx, []byte(`{"PartitionKey":"p","RowKey":"r"}`), nil)
		require.NoError(t, err)
	})
	t.Run("another tenant", func(t *testing.T) {
		other, own, _ := r.robot("other")
		foreign, err := armstorage.NewAccountsClient(sub, other, options)
		require.NoError(t, err)
		_, err = foreign.ListKeys(ctx, "grp", "goacct", nil)
		require.ErrorContains(t, err, "SubscriptionNotFound")
		mine, err := armstorage.NewAccountsClient(own, other, options)
		require.NoError(t, err)
		page, err := mine.NewListPager(nil).NextPage(ctx)
		require.NoError(t, err)
		require.Empty(t, page.Value)
	})
	t.Run("delete", func(t *testing.T) {
		_, err := accounts.Delete(ctx, "grp", "goacct", nil)
		require.NoError(t, err)
		fails(two, bloberror.Code("ResourceNotFound"))
		again := create() // which waits until the name is free
		require.NotEqual(t, *made.Properties.CreationTime, *again.Properties.CreationTime)
		fails(two, bloberror.AuthenticationFailed)
		poller, err := groups.BeginDelete(ctx, "grp", nil)
		require.NoError(t, err)
		_, err = poller.PollUntilDone(ctx, nil)
		require.NoError(t, err)
		_, err = accounts.GetProperties(ctx, "grp", "goacct", nil)
		require.ErrorContains(t, err, "ResourceGroupNotFound")
	})
}
