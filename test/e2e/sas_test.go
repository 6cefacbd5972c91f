package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/devissuer"
)

// task is for what a client is to make signatures.
type task struct {
	Account   string `json:"account"`
	Key       string `json:"key"`
	BlobURL   string `json:"blobURL"`
	TableURL  string `json:"tableURL"`
	Container string `json:"container"`
	Blob      string `json:"blob"`
	Table     string `json:"table"`
	Policy    string `json:"policy"` // a stored access policy of the container that lets read
	Snapshot  string `json:"snapshot"`
	Version   string `json:"version"`
}

// signature is one that a client made, and a GET that it lets in over HTTPS and from this machine.
type signature struct {
	Name    string            `json:"name"`
	URL     string            `json:"url"`
	Extra   string            `json:"extra"` // of the query, after the signature
	Other   string            `json:"other"` // a URL that it does not open
	SAS     string            `json:"sas"`
	Refused map[string]string `json:"refused"` // the same signature but expired, too early, or for an address elsewhere
}

// Every kind of signature that the Go and JS SDKs make lets in what it is for, in whatever order its parameters come. It does not
// let in once any one character or field is altered, when it has expired or is not valid yet, from another address, over HTTP, or
// to something else.
func TestSignaturesOfTheSDKs(t *testing.T) {
	l := startLogin(t, "--versioning")
	plain := shared(t)
	work := prepare(t, l)
	all := append(signaturesOfGo(t, l, work), signaturesOfJS(t, l, work)...)
	require.Len(t, all, 23)
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: l.options.Transport.(*http.Client).Transport.(*http.Transport).TLSClientConfig.RootCAs},
		MaxIdleConnsPerHost: 8,
	}}
	defer client.CloseIdleConnections()
	tried := 0
	for _, s := range all {
		t.Run(s.Name, func(t *testing.T) {
			// try returns the status and the error code, or the body.
			try := func(to, query string) (int, string) {
				base, rest, _ := strings.Cut(to, "?")
				parsed, err := url.Parse(base)
				if err != nil {
					return 0, err.Error()
				}
				parsed.RawQuery = query + s.Extra
				if rest != "" {
					parsed.RawQuery += "&" + rest
				}
				answer, err := client.Do(&http.Request{Method: "GET", URL: parsed, Header: http.Header{"Accept": {"application/json;odata=minimalmetadata"}}})
				if err != nil {
					return 0, err.Error()
				}
				defer answer.Body.Close()
				body, err := io.ReadAll(answer.Body)
				if err != nil {
					return 0, err.Error()
				}
				if answer.StatusCode != 200 {
					return answer.StatusCode, answer.Header.Get("x-ms-error-code")
				}
				return 200, string(body)
			}
			status, body := try(s.URL, s.SAS)
			require.Equal(t, 200, status, "%s", body)
			reordered := strings.Split(s.SAS, "&")
			slices.Reverse(reordered)
			status, body = try(s.URL, strings.Join(reordered, "&"))
			require.Equal(t, 200, status, "reordered: %s", body)

			for what, query := range s.Refused {
				status, code := try(s.URL, query)
				require.Equal(t, 403, status, what)
				require.Equal(t, map[string]string{"expired": "AuthenticationFailed", "early": "AuthenticationFailed", "elsewhere": "AuthorizationSourceIPMismatch"}[what], code, what)
			}
			status, _ = try(s.Other, s.SAS)
			require.Equal(t, 403, status, "something else")
			if !strings.Contains(s.Name, "delegation") { // whose key no other server has
				http := strings.NewReplacer(work.BlobURL, plain.blob, work.TableURL, plain.table)
				status, code := try(http.Replace(s.URL), s.SAS)
				require.Equal(t, 403, status, "over HTTP")
				require.Equal(t, map[bool]string{true: "AuthenticationFailed", false: "AuthorizationProtocolMismatch"}[strings.Contains(s.Name, "policy")], code)
			}

			altered := alterations(s.SAS)
			tried += len(altered)
			work := make(chan string)
			var workers sync.WaitGroup
			for range 4 {
				workers.Go(func() {
					for query := range work {
						if status, code := try(s.URL, query); status != 403 && status != 400 {
							t.Errorf("%d %.60s for %s\ninstead of %s", status, code, query, s.SAS)
						}
					}
				})
			}
			for _, query := range altered {
				work <- query
			}
			close(work)
			workers.Wait()
		})
	}
	t.Logf("%d alterations", tried)
}

// alterations are all queries that differ from a signature in one character (another, or none) or in one field: gone, empty,
// doubled, or exchanged with another.
func alterations(query string) (altered []string) {
	meaning := meaningOf(query)
	seen := map[string]bool{}
	add := func(q string) {
		if !seen[q] && meaningOf(q) != meaning {
			altered, seen[q] = append(altered, q), true
		}
	}
	for i := range query {
		before, c, after := query[:i], query[i], query[i+1:]
		add(before + after)
		for _, other := range []byte{c ^ 1, c ^ 0x20, 'A'} {
			if other > ' ' && other < 0x7f && other != '#' { // which no request line holds
				add(before + string(other) + after)
			}
		}
	}
	fields := strings.Split(query, "&")
	join := func(f []string) string { return strings.Join(f, "&") }
	for i, field := range fields {
		name, value, _ := strings.Cut(field, "=")
		add(join(slices.Delete(slices.Clone(fields), i, i+1)))
		for _, twice := range []string{field, name + "=", name + "=x"} {
			add(join(append(slices.Clone(fields), twice)))
			add(join(append([]string{twice}, fields...)))
		}
		f := slices.Clone(fields)
		f[i] = name + "="
		add(join(f))
		for j := range i {
			nameJ, valueJ, _ := strings.Cut(fields[j], "=")
			f := slices.Clone(fields)
			f[i], f[j] = name+"="+valueJ, nameJ+"="+value
			add(join(f))
		}
	}
	return altered
}

// meaningOf is equal for two queries that say the same: escapes, the case of names and that of a table's name do not matter.
func meaningOf(query string) string {
	var fields []string
	for field := range strings.SplitSeq(query, "&") {
		if field == "" {
			continue
		}
		name, value, _ := strings.Cut(field, "=")
		for _, part := range []*string{&name, &value} {
			if plain, err := url.QueryUnescape(*part); err == nil {
				*part = plain
			}
		}
		if name = strings.ToLower(name); name == "tn" {
			value = strings.ToLower(value)
		}
		fields = append(fields, name+"="+value)
	}
	return strings.Join(fields, "\n")
}

// prepare makes what the signatures are for, and as much of it elsewhere.
func prepare(t *testing.T, l *login) task {
	ctx := context.Background()
	work := task{
		Account: account.DevName, Key: account.DevKey, BlobURL: l.ip + "/" + account.DevName, TableURL: l.ipTable + "/" + account.DevName,
		Container: "con", Blob: "dir/b", Table: "MyTable", Policy: "read only",
	}
	blobs, err := service.NewClientWithSharedKeyCredential(work.BlobURL, credential(t), &service.ClientOptions{ClientOptions: l.options})
	require.NoError(t, err)
	for _, name := range []string{work.Container, "other"} {
		_, err := blobs.CreateContainer(ctx, name, nil)
		require.NoError(t, err)
		for _, blob := range []string{work.Blob, "other"} {
			_, err = blobs.NewContainerClient(name).NewBlockBlobClient(blob).UploadBuffer(ctx, []byte("hello"), nil)
			require.NoError(t, err)
		}
	}
	con := blobs.NewContainerClient(work.Container)
	b := con.NewBlobClient(work.Blob)
	properties, err := b.GetProperties(ctx, nil)
	require.NoError(t, err)
	snapshot, err := b.CreateSnapshot(ctx, nil)
	require.NoError(t, err)
	work.Snapshot, work.Version = *snapshot.Snapshot, *properties.VersionID
	_, err = con.SetAccessPolicy(ctx, &container.SetAccessPolicyOptions{ContainerACL: []*container.SignedIdentifier{{
		ID: &work.Policy, AccessPolicy: &container.AccessPolicy{Start: to.Ptr(time.Now().Add(-time.Hour).UTC()), Expiry: to.Ptr(time.Now().Add(time.Hour).UTC()), Permission: to.Ptr("r")},
	}}})
	require.NoError(t, err)
	key, err := aztables.NewSharedKeyCredential(account.DevName, account.DevKey)
	require.NoError(t, err)
	tables, err := aztables.NewServiceClientWithSharedKey(work.TableURL, key, &aztables.ClientOptions{ClientOptions: l.options})
	require.NoError(t, err)
	for _, name := range []string{work.Table, "Other"} {
		_, err = tables.CreateTable(ctx, name, nil)
		require.NoError(t, err)
	}
	return work
}

// signaturesOfJS are made by test/js/sas.
func signaturesOfJS(t *testing.T, l *login, work task) (all []signature) {
	text, err := json.Marshal(work)
	require.NoError(t, err)
	c := exec.Command("node", "sas/make.mjs")
	c.Dir = js
	c.Env = append(os.Environ(), "BLOBD_TASK="+string(text), "NODE_EXTRA_CA_CERTS="+l.ca, "BLOBD_ISSUER="+l.issuer,
		"BLOBD_TENANT="+devissuer.Tenant, "BLOBD_CLIENT_ID="+devissuer.ClientID, "BLOBD_CLIENT_SECRET="+l.secret)
	var complaint strings.Builder
	c.Stderr = &complaint
	out, err := c.Output()
	require.NoError(t, err, "%s", &complaint)
	require.NoError(t, json.Unmarshal(out, &all))
	return all
}

// signaturesOfGo are made by azblob and aztables.
func signaturesOfGo(t *testing.T, l *login, work task) (all []signature) {
	ctx := context.Background()
	now := time.Now().UTC()
	type terms struct {
		start, expiry time.Time
		addresses     sas.IPRange
	}
	variants := map[string]terms{
		"":          {now.Add(-10 * time.Minute), now.Add(time.Hour), sas.IPRange{Start: []byte{127, 0, 0, 0}, End: []byte{127, 255, 255, 255}}},
		"expired":   {now.Add(-10 * time.Minute), now.Add(-5 * time.Minute), sas.IPRange{}},
		"early":     {now.Add(10 * time.Minute), now.Add(time.Hour), sas.IPRange{}},
		"elsewhere": {now.Add(-10 * time.Minute), now.Add(time.Hour), sas.IPRange{Start: []byte{10, 9, 8, 7}}},
	}
	make := func(name, url, other, extra string, sign func(terms) (string, error)) {
		s := signature{Name: "Go " + name, URL: url, Other: other, Extra: extra, Refused: map[string]string{}}
		for variant, terms := range variants {
			query, err := sign(terms)
			require.NoError(t, err)
			if s.Refused[variant] = query; variant == "" {
				s.SAS = query
				delete(s.Refused, "")
			}
		}
		all = append(all, s)
	}
	theContainer, otherContainer := work.BlobURL+"/"+work.Container, work.BlobURL+"/other"
	theBlob, otherBlob := theContainer+"/"+work.Blob, theContainer+"/other"
	const list = "&restype=container&comp=list"
	moment, err := time.Parse("2006-01-02T15:04:05.0000000Z07:00", work.Snapshot)
	require.NoError(t, err)

	byService := func(how string, sign func(sas.BlobSignatureValues) (sas.QueryParameters, error)) {
		of := func(v sas.BlobSignatureValues, prefix string) func(terms) (string, error) {
			return func(terms terms) (string, error) {
				v.Protocol, v.StartTime, v.ExpiryTime, v.IPRange, v.ContainerName = sas.ProtocolHTTPS, terms.start, terms.expiry, terms.addresses, work.Container
				q, err := sign(v)
				return prefix + q.Encode(), err
			}
		}
		make(how+": blob", theBlob, otherBlob, "", of(sas.BlobSignatureValues{
			BlobName: work.Blob, Permissions: "r", CacheControl: "no-cache", ContentDisposition: `attachment; filename="ä b.txt"`, ContentEncoding: "identity",
			ContentLanguage: "de", ContentType: "text/x-sas; charset=utf-8", EncryptionScope: "scope",
		}, ""))
		make(how+": container", theContainer, otherContainer, list, of(sas.BlobSignatureValues{Permissions: "rl"}, ""))
		make(how+": directory", theBlob, otherBlob, "", of(sas.BlobSignatureValues{Permissions: "r", Directory: "dir"}, ""))
		make(how+": snapshot", theBlob, otherBlob, "", of(sas.BlobSignatureValues{BlobName: work.Blob, Permissions: "r", SnapshotTime: moment}, "snapshot="+url.QueryEscape(work.Snapshot)+"&"))
	}
	byService("service", func(v sas.BlobSignatureValues) (sas.QueryParameters, error) {
		return v.SignWithSharedKey(credential(t))
	})
	make("account", theBlob, theContainer+"?"+strings.TrimPrefix(list, "&"), "", func(terms terms) (string, error) {
		q, err := sas.AccountSignatureValues{
			Protocol: sas.ProtocolHTTPS, StartTime: terms.start, ExpiryTime: terms.expiry, IPRange: terms.addresses, Permissions: "rl", ResourceTypes: "o",
		}.SignWithSharedKey(credential(t))
		return q.Encode(), err
	})
	key, err := aztables.NewSharedKeyCredential(account.DevName, account.DevKey)
	require.NoError(t, err)
	make("table", work.TableURL+"/"+work.Table+"()", work.TableURL+"/Other()", "", func(terms terms) (string, error) {
		return aztables.SASSignatureValues{
			Protocol: aztables.SASProtocolHTTPS, StartTime: terms.start, ExpiryTime: terms.expiry, IPRange: aztables.IPRange(terms.addresses), Permissions: "r", TableName: work.Table,
		}.Sign(key)
	})
	make("table: account", work.TableURL+"/"+work.Table+"()", work.TableURL+"/Tables", "", func(terms terms) (string, error) {
		q, err := aztables.AccountSASSignatureValues{
			Protocol: aztables.SASProtocolHTTPS, StartTime: terms.start, ExpiryTime: terms.expiry, IPRange: aztables.IPRange(terms.addresses),
			Permissions: "r", Services: "t", ResourceTypes: "o",
		}.Sign(key)
		return q.Encode(), err
	})
	start, expiry := now.Add(-20*time.Minute).Format(time.RFC3339), now.Add(2*time.Hour).Format(time.RFC3339)
	delegation, err := l.client(t, l.credential(t, l.secret)).ServiceClient().GetUserDelegationCredential(ctx, service.KeyInfo{Start: &start, Expiry: &expiry}, nil)
	require.NoError(t, err)
	byService("delegation", func(v sas.BlobSignatureValues) (sas.QueryParameters, error) {
		v.CorrelationID = "11111111-2222-4333-8444-555555555555"
		return v.SignWithUserDelegation(delegation)
	})
	return all
}

// azcopy makes no signatures; it takes one apart and sends it in an order of its own. One that was altered gets it nowhere.
func TestAzcopyWithAnAlteredSignature(t *testing.T) {
	s := shared(t)
	name := newContainer(t, s)
	_, err := s.client(t).UploadBuffer(context.Background(), name, "b", []byte("hello"), nil)
	require.NoError(t, err)
	query := accountSAS(t)
	list := func(query string) (string, error) {
		return azcopyErr(t, "", "list", fmt.Sprintf("%s/%s?%s", s.blob, name, query), "--location=Blob")
	}
	out, err := list(query)
	require.NoError(t, err, "%s", out)
	require.Contains(t, out, "b; Content Length: 5.00 B")
	at := strings.Index(query, "sp=") + len("sp=")
	for _, altered := range []string{query[:at] + query[at+1:], strings.Replace(query, "sig=", "sig=A", 1)} {
		out, err = list(altered)
		require.Error(t, err)
		require.Contains(t, out, "AuthenticationFailed")
	}
}
