package auth_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	azsas "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/auth/authtest"
	"github.com/blobd/blobd/internal/auth/sas"
	"github.com/blobd/blobd/internal/protocol"
)

// What the Go SDK signs is accepted, for blobs of odd names too.
func TestGoSDK(t *testing.T) {
	cred, err := azblob.NewSharedKeyCredential(account.DevName, account.DevKey)
	require.NoError(t, err)
	start, expiry := now.Add(-time.Hour), now.Add(time.Hour)
	const name = "a//../b ä+%?#&=.txt"
	const base = "https://devstoreaccount1.blob.localhost"
	values := azsas.BlobSignatureValues{
		Protocol: azsas.ProtocolHTTPS, StartTime: start, ExpiryTime: expiry, Permissions: "rcw", ContainerName: "c", BlobName: name,
		IPRange: azsas.IPRange{Start: []byte{127, 0, 0, 1}, End: []byte{127, 0, 0, 9}}, ContentDisposition: `attachment; filename="ä b.txt"`,
		ContentType: "text/plain; charset=utf-8", CacheControl: "no-cache", EncryptionScope: "scope",
	}
	container := values
	container.BlobName, container.Permissions = "", "rlw"
	snapshot := values
	snapshot.SnapshotTime, snapshot.Permissions = now.Add(-time.Minute), "r"
	directory := values
	directory.BlobName, directory.Directory = "", "a/b"
	for _, c := range []struct {
		name   string
		values azsas.BlobSignatureValues
		path   string
		extra  string
		needs  auth.Needs
	}{
		{"blob", values, "/c/" + url.PathEscape(name), "", auth.Needs{SAS: "r"}},
		{"container: blob", container, "/c/any/blob", "", auth.Needs{SAS: "r"}},
		{"container: list", container, "/c", "&restype=container&comp=list", auth.Needs{SAS: "l"}},
		{"snapshot", snapshot, "/c/" + url.PathEscape(name), "&snapshot=" + url.QueryEscape(snapshot.SnapshotTime.Format("2006-01-02T15:04:05.0000000Z07:00")), auth.Needs{SAS: "r"}},
		{"directory: blob", directory, "/c/a/b/deep/er", "", auth.Needs{SAS: "r"}},
		{"directory: itself", directory, "/c/a/b", "", auth.Needs{SAS: "r"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			q, err := c.values.SignWithSharedKey(cred)
			require.NoError(t, err)
			req, err := http.NewRequest("GET", base+c.path+"?"+q.Encode()+c.extra, nil)
			require.NoError(t, err)
			grant, err := authorize(authtest.FromHTTP(auth.Blob, req, now), &c.needs, nil)
			require.NoError(t, err)
			require.Equal(t, auth.ServiceSAS, grant.Scheme)
			require.Equal(t, "scope", grant.EncryptionScope)
			require.Equal(t, `attachment; filename="ä b.txt"`, grant.Override.ContentDisposition)
		})
	}

	q, err := azsas.AccountSignatureValues{
		Protocol: azsas.ProtocolHTTPS, StartTime: start, ExpiryTime: expiry, Permissions: "rwdxylacuptfi", ResourceTypes: "sco",
	}.SignWithSharedKey(cred)
	require.NoError(t, err)
	req, err := http.NewRequest("PUT", base+"/c?restype=container&"+q.Encode(), nil)
	require.NoError(t, err)
	grant, err := authorize(authtest.FromHTTP(auth.Blob, req, now), &auth.Needs{AccountSAS: "c|w", ResourceTypes: "c"}, nil)
	require.NoError(t, err)
	require.Equal(t, auth.AccountSAS, grant.Scheme)

	// A user delegation SAS, with the key that the server derives.
	key := sas.DelegationKey{
		ObjectID: "11111111-1111-1111-1111-111111111111", TenantID: "22222222-2222-2222-2222-222222222222",
		Start: start.Format(time.RFC3339), Expiry: expiry.Format(time.RFC3339), Service: "b", Version: "2026-12-06",
	}
	udc := delegationCredential(t, key)
	for _, v := range []azsas.BlobSignatureValues{
		values,
		func() azsas.BlobSignatureValues {
			v := values
			v.SignedRequestHeaders = map[string]string{"x-ms-foo": "bar"}
			v.SignedRequestQueryParameters = map[string]string{"foo": "b r"}
			v.CorrelationID = "44444444-4444-4444-4444-444444444444"
			return v
		}(),
	} {
		q, err = v.SignWithUserDelegation(udc)
		require.NoError(t, err)
		req, err = http.NewRequest("GET", base+"/c/"+url.PathEscape(name)+"?"+q.Encode()+"&foo=b%20r", nil)
		require.NoError(t, err)
		req.Header.Set("X-Ms-Foo", "bar")
		grant, err = authorize(authtest.FromHTTP(auth.Blob, req, now), &auth.Needs{SAS: "r"}, nil)
		require.NoError(t, err)
		require.Equal(t, auth.UserDelegationSAS, grant.Scheme)
	}
	values.AuthorizedObjectID = "33333333-3333-3333-3333-333333333333" // for accounts with a hierarchical namespace
	q, err = values.SignWithUserDelegation(udc)
	require.NoError(t, err)
	req, err = http.NewRequest("GET", base+"/c/"+url.PathEscape(name)+"?"+q.Encode(), nil)
	require.NoError(t, err)
	_, err = authorize(authtest.FromHTTP(auth.Blob, req, now), &auth.Needs{SAS: "r"}, nil)
	require.ErrorIs(t, err, protocol.ErrAuthorizationFailure)
}

func TestGoTablesSDK(t *testing.T) {
	cred, err := aztables.NewSharedKeyCredential(account.DevName, account.DevKey)
	require.NoError(t, err)
	q, err := aztables.SASSignatureValues{
		Protocol: aztables.SASProtocolHTTPS, StartTime: now.Add(-time.Hour), ExpiryTime: now.Add(time.Hour),
		Permissions: "raud", TableName: "MyTable", StartPartitionKey: "a", StartRowKey: "1", EndPartitionKey: "b", EndRowKey: "2",
	}.Sign(cred)
	require.NoError(t, err)
	q += "&spk=a&srk=1&epk=b&erk=2" // which aztables v1.4.1 signs and leaves out
	req, err := http.NewRequest("GET", "https://devstoreaccount1.table.localhost/MyTable()?"+q, nil)
	require.NoError(t, err)
	grant, err := authorize(authtest.FromHTTP(auth.Table, req, now), &auth.Needs{SAS: "r"}, nil)
	require.NoError(t, err)
	require.Equal(t, &auth.KeyRange{StartPK: "a", StartRK: "1", EndPK: "b", EndRK: "2", HasStartPK: true, HasStartRK: true, HasEndPK: true, HasEndRK: true}, grant.Keys)

	p, err := aztables.AccountSASSignatureValues{
		Protocol: aztables.SASProtocolHTTPS, StartTime: now.Add(-time.Hour), ExpiryTime: now.Add(time.Hour),
		Permissions: aztables.AccountSASPermissions{Read: true, Add: true}.String(), Services: "t", ResourceTypes: "o",
	}.Sign(cred)
	require.NoError(t, err)
	req, err = http.NewRequest("GET", "https://devstoreaccount1.table.localhost/MyTable()?"+p.Encode(), nil)
	require.NoError(t, err)
	grant, err = authorize(authtest.FromHTTP(auth.Table, req, now), &auth.Needs{AccountSAS: "r", ResourceTypes: "o"}, nil)
	require.NoError(t, err)
	require.Equal(t, auth.AccountSAS, grant.Scheme)
}

// answer is a transport with one answer to everything.
type answer string

func (a answer) Do(req *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: 200, Request: req, Header: http.Header{"Content-Type": {"application/xml"}},
		Body: io.NopCloser(strings.NewReader(string(a))),
	}, nil
}

type noToken struct{}

func (noToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "t", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// delegationCredential is what the SDK makes of the answer of Get User Delegation Key.
func delegationCredential(t *testing.T, k sas.DelegationKey) *service.UserDelegationCredential {
	body := fmt.Sprintf("<UserDelegationKey><SignedOid>%s</SignedOid><SignedTid>%s</SignedTid><SignedStart>%s</SignedStart><SignedExpiry>%s</SignedExpiry>"+
		"<SignedService>%s</SignedService><SignedVersion>%s</SignedVersion><Value>%s</Value></UserDelegationKey>",
		k.ObjectID, k.TenantID, k.Start, k.Expiry, k.Service, k.Version, k.Value(dev))
	client, err := service.NewClient("https://devstoreaccount1.blob.localhost", noToken{}, &service.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: answer(body)}})
	require.NoError(t, err)
	credential, err := client.GetUserDelegationCredential(context.Background(), service.KeyInfo{Start: &k.Start, Expiry: &k.Expiry}, nil)
	require.NoError(t, err)
	return credential
}

var (
	now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	dev = account.Development(now)
)

// authorize does as the gate does.
func authorize(r *auth.Request, needs *auth.Needs, resources auth.Resources) (auth.Grant, error) {
	token, err := sas.Parse(r, false)
	if err != nil {
		return auth.Grant{}, err
	}
	defer token.Release()
	if err := token.Verify(dev, r); err != nil {
		return auth.Grant{}, err
	}
	return token.Grant(context.Background(), r, needs, resources)
}
