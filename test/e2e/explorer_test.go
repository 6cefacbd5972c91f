package e2e

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
)

// explorer speaks as Azure Storage Explorer does: by the JS SDKs of its time within Electron, over endpoints that it got by one
// of the ways to attach an account.
type explorer struct {
	blob, table string // endpoints of the account
	key         []byte // of the account, or
	sas         string // what it was given instead
	client      *http.Client
}

// explorerCall is one request and the essential of its answer.
type explorerCall struct {
	method, path, query string // path within the endpoint; the service is Table if the path begins with "T:"
	headers             string // Name: value, one to a line
	body                string
	status              int
	code                string // of an error
	contains            []string
	answer              map[string]string // headers
}

func (e *explorer) do(t *testing.T, c explorerCall) {
	t.Helper()
	endpoint, path := e.blob, c.path
	ofTable := strings.HasPrefix(path, "T:")
	if ofTable {
		endpoint, path = e.table, strings.TrimPrefix(path, "T:")
	}
	query := c.query
	if e.sas != "" {
		query = strings.TrimPrefix(query+"&"+e.sas, "&")
	}
	target, err := url.Parse(endpoint + path)
	require.NoError(t, err)
	target.RawQuery = query
	r := &http.Request{Method: c.method, URL: target, Header: http.Header{}, ContentLength: int64(len(c.body)), Body: io.NopCloser(strings.NewReader(c.body))}
	if c.body == "" {
		r.Body = http.NoBody
	}
	r.Header.Set("x-ms-client-request-id", "3f6dd5c1-7a3e-4c0b-9b40-0b1f7a2e9d11")
	r.Header.Set("x-ms-date", time.Now().UTC().Format(http.TimeFormat))
	r.Header.Set("Accept-Language", "en-US")
	if ofTable {
		r.Header.Set("User-Agent", "azsdk-js-data-tables/13.2.2 Microsoft Azure Storage Explorer/1.36.0 (linux) core-rest-pipeline/1.16.0 Node/18.18.2")
		r.Header.Set("x-ms-version", "2019-02-02")
		r.Header.Set("DataServiceVersion", "3.0")
		r.Header.Set("Accept", "application/json;odata=minimalmetadata")
	} else {
		r.Header.Set("User-Agent", "Microsoft Azure Storage Explorer/1.36.0 (linux) azsdk-js-storageblob/12.24.0 (NODE-VERSION v18.18.2; Linux 6.1.0)")
		r.Header.Set("x-ms-version", "2024-08-04")
		r.Header.Set("Accept", "application/xml")
	}
	for line := range strings.Lines(c.headers) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		r.Header[name] = []string{value} // in the case given: that of metadata is kept
	}
	if e.key != nil {
		e.sign(r, ofTable)
	}
	answer, err := e.client.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	what := fmt.Sprintf("%s %s?%s: %s", c.method, c.path, c.query, body)
	require.Equal(t, c.status, answer.StatusCode, what)
	require.Equal(t, c.code, answer.Header.Get("x-ms-error-code"), what)
	require.Equal(t, "3f6dd5c1-7a3e-4c0b-9b40-0b1f7a2e9d11", answer.Header.Get("x-ms-client-request-id"), what)
	for _, part := range c.contains {
		require.Contains(t, string(body), part, what)
	}
	for name, value := range c.answer {
		require.Equal(t, value, answer.Header.Get(name), "%s of %s", name, what)
	}
}

// sign writes the Authorization of the JS SDKs: SharedKey for blobs, SharedKeyLite for tables.
func (e *explorer) sign(r *http.Request, ofTable bool) {
	resource := "/" + account.DevName + r.URL.EscapedPath()
	scheme, text := "SharedKeyLite", r.Header.Get("x-ms-date")+"\n"+resource
	query := r.URL.Query()
	if comp := query.Get("comp"); comp != "" {
		text += "?comp=" + comp
	}
	if !ofTable {
		length := ""
		if r.ContentLength > 0 {
			length = fmt.Sprint(r.ContentLength)
		}
		lines := []string{r.Method, "", "", length, r.Header.Get("Content-MD5"), r.Header.Get("Content-Type"), "", "", "", "", "", ""}
		var headers, parameters []string
		for name, values := range r.Header {
			if name := strings.ToLower(name); strings.HasPrefix(name, "x-ms-") {
				headers = append(headers, name+":"+values[0])
			}
		}
		for name, values := range query {
			parameters = append(parameters, strings.ToLower(name)+":"+strings.Join(values, ","))
		}
		sort.Strings(headers)
		sort.Strings(parameters)
		scheme, text = "SharedKey", strings.Join(append(append(lines, headers...), append([]string{resource}, parameters...)...), "\n")
	}
	mac := hmac.New(sha256.New, e.key)
	mac.Write([]byte(text))
	r.Header.Set("Authorization", scheme+" "+account.DevName+":"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

// connect reads a connection string as it does.
func connect(t *testing.T, text string) *explorer {
	parts := map[string]string{}
	for part := range strings.SplitSeq(strings.TrimSuffix(text, ";"), ";") {
		name, value, ok := strings.Cut(part, "=")
		require.True(t, ok, part)
		parts[name] = value
	}
	e := &explorer{blob: parts["BlobEndpoint"], table: parts["TableEndpoint"], sas: parts["SharedAccessSignature"]}
	if e.blob == "" {
		scheme := parts["DefaultEndpointsProtocol"] + "://" + parts["AccountName"]
		e.blob, e.table = scheme+".blob."+parts["EndpointSuffix"], scheme+".table."+parts["EndpointSuffix"]
	}
	if text, ok := parts["AccountKey"]; ok {
		key, err := base64.StdEncoding.DecodeString(text)
		require.NoError(t, err)
		e.key = key
	}
	return e
}

// Every way in which Storage Explorer attaches an account, and the calls that it then makes when nodes are opened, a folder is
// made, blobs and entities are edited and deleted.
func TestStorageExplorer(t *testing.T) {
	s := startBlobd(t)
	dial := &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 4,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) { // a domain of one's own leads to where the service is
			target := addr
			switch {
			case strings.Contains(addr, ".blob."):
				target = strings.Split(s.blob, "/")[2]
			case strings.Contains(addr, ".table."):
				target = strings.Split(s.table, "/")[2]
			}
			return new(net.Dialer).DialContext(ctx, network, target)
		},
	}}
	defer dial.CloseIdleConnections()
	ofAccount, err := sas.AccountSignatureValues{
		Protocol: sas.ProtocolHTTPSandHTTP, ExpiryTime: time.Now().Add(time.Hour).UTC(), Permissions: "rwdxylacuptfi", ResourceTypes: "sco",
	}.SignWithSharedKey(credential(t))
	require.NoError(t, err)
	// azblob signs for blobs only; the portal's signature is for all services.
	portal := portalSAS(t, "btqf", "sco", "rwdlacup")

	for i, way := range []struct{ name, connection string }{
		{"connection string", fmt.Sprintf("DefaultEndpointsProtocol=http;AccountName=%s;AccountKey=%s;BlobEndpoint=%s;TableEndpoint=%s;", account.DevName, account.DevKey, s.blob, s.table)},
		{"account name and key", fmt.Sprintf("DefaultEndpointsProtocol=http;AccountName=%s;AccountKey=%s;EndpointSuffix=localhost", account.DevName, account.DevKey)},
		{"emulator", fmt.Sprintf("AccountName=%s;AccountKey=%s;DefaultEndpointsProtocol=http;BlobEndpoint=%s;QueueEndpoint=http://127.0.0.1:10001/%[1]s;TableEndpoint=%[4]s;", account.DevName, account.DevKey, s.blob, s.table)},
		{"SAS URI", fmt.Sprintf("BlobEndpoint=%s;TableEndpoint=%s;SharedAccessSignature=%s", s.blob, s.table, portal)},
	} {
		t.Run(way.name, func(t *testing.T) {
			e := connect(t, way.connection)
			e.client = dial
			container, table := fmt.Sprintf("/con%d", i), fmt.Sprintf("Tab%d", i)
			acl := explorerCall{method: "GET", path: container, query: "restype=container&comp=acl", status: 200, contains: []string{"<SignedIdentifiers"}}
			if e.sas != "" {
				acl = explorerCall{method: "GET", path: container, query: "restype=container&comp=acl", status: 403, code: "AuthorizationFailure"}
			}
			for _, c := range []explorerCall{
				// The account's node is opened.
				{method: "GET", path: "/", query: "restype=account&comp=properties", status: 200, answer: map[string]string{"x-ms-account-kind": "StorageV2", "x-ms-sku-name": "Standard_RAGRS"}},
				{method: "GET", path: "/", query: "restype=service&comp=properties", status: 200, contains: []string{"<StorageServiceProperties>", "<Cors", "<DeleteRetentionPolicy>"}},
				{method: "GET", path: "/", query: "comp=list&include=metadata&maxresults=1000", status: 200, contains: []string{"<EnumerationResults ServiceEndpoint=", "<NextMarker"}},
				{method: "PUT", path: container, query: "restype=container", status: 201},
				{method: "GET", path: "/", query: "comp=list&include=metadata&prefix=" + container[1:], status: 200, contains: []string{"<Name>" + container[1:] + "</Name>", "<LeaseState>available</LeaseState>"}},
				// A container is opened, a folder and a blob are made, and the folder is opened.
				{method: "GET", path: container, query: "restype=container", status: 200, answer: map[string]string{"x-ms-lease-state": "available", "x-ms-has-legal-hold": "false"}},
				acl,
				{method: "GET", path: container, query: "restype=container&comp=list&delimiter=%2F&include=metadata&maxresults=1000", status: 200, contains: []string{"<Delimiter>/</Delimiter>", "<Blobs"}},
				{method: "PUT", path: container + "/folder", headers: "x-ms-blob-type: BlockBlob\nx-ms-meta-hdi_isfolder: true", status: 201, answer: map[string]string{"x-ms-request-server-encrypted": "true"}},
				{method: "PUT", path: container + "/folder/b%20%C3%A4.txt", headers: "x-ms-blob-type: BlockBlob\nx-ms-blob-content-type: text/plain\nContent-Type: application/octet-stream", body: "hello", status: 201},
				{method: "GET", path: container, query: "restype=container&comp=list&delimiter=%2F&include=metadata%2Csnapshots%2Cversions%2Cdeleted&maxresults=1000", status: 200, contains: []string{"<Name>folder</Name>", "<hdi_isfolder>true</hdi_isfolder>", "<BlobPrefix><Name>folder/</Name>"}},
				{method: "GET", path: container, query: "restype=container&comp=list&delimiter=%2F&prefix=folder%2F&include=metadata&maxresults=1000", status: 200, contains: []string{"<Name>folder/b ä.txt</Name>", "<Content-Length>5</Content-Length>"}},
				// A blob's properties are opened and edited, it is previewed, snapshotted, and deleted with the snapshot.
				{method: "HEAD", path: container + "/folder/b%20%C3%A4.txt", status: 200, answer: map[string]string{"x-ms-blob-type": "BlockBlob", "Content-Length": "5", "Content-Type": "text/plain", "x-ms-access-tier": "Hot"}},
				{method: "PUT", path: container + "/folder/b%20%C3%A4.txt", query: "comp=metadata", headers: "x-ms-meta-Owner: me", status: 200},
				{method: "PUT", path: container + "/folder/b%20%C3%A4.txt", query: "comp=properties", headers: "x-ms-blob-content-type: text/x-new\nx-ms-blob-cache-control: no-cache", status: 200},
				{method: "GET", path: container + "/folder/b%20%C3%A4.txt", headers: "x-ms-range: bytes=0-1", status: 206, contains: []string{"he"}, answer: map[string]string{"Content-Range": "bytes 0-1/5", "Content-Type": "text/x-new", "x-ms-meta-Owner": "me"}},
				{method: "PUT", path: container + "/folder/b%20%C3%A4.txt", query: "comp=tier", headers: "x-ms-access-tier: Cool", status: 200},
				{method: "PUT", path: container + "/folder/b%20%C3%A4.txt", query: "comp=snapshot", status: 201},
				{method: "DELETE", path: container + "/folder/b%20%C3%A4.txt", status: 409, code: "SnapshotsPresent"},
				{method: "DELETE", path: container + "/folder/b%20%C3%A4.txt", headers: "x-ms-delete-snapshots: include", status: 202},
				{method: "DELETE", path: container, query: "restype=container", status: 202},
				// The tables' node is opened, a table made and its entities edited and deleted.
				{method: "GET", path: "T:/Tables", query: "$top=1000", status: 200, contains: []string{`"odata.metadata"`, `"value":[`}},
				{method: "POST", path: "T:/Tables", headers: "Content-Type: application/json\nPrefer: return-no-content", body: `{"TableName":"` + table + `"}`, status: 204},
				{method: "POST", path: "T:/" + table, headers: "Content-Type: application/json\nPrefer: return-no-content", body: `{"PartitionKey":"p","RowKey":"1","Big":"9007199254740993","Big@odata.type":"Edm.Int64"}`, status: 204},
				{method: "PUT", path: "T:/" + table + "(PartitionKey='p',RowKey='2')", headers: "Content-Type: application/json", body: `{"PartitionKey":"p","RowKey":"2","Text":"x"}`, status: 204},
				{method: "MERGE", path: "T:/" + table + "(PartitionKey='p',RowKey='2')", headers: "Content-Type: application/json\nIf-Match: *", body: `{"PartitionKey":"p","RowKey":"2","More":true}`, status: 204},
				{method: "GET", path: "T:/" + table + "()", query: "$top=1000&$filter=PartitionKey%20eq%20%27p%27", status: 200, contains: []string{`"Big":"9007199254740993"`, `"Big@odata.type":"Edm.Int64"`, `"Text":"x"`, `"More":true`}},
				{
					method: "POST", path: "T:/$batch", headers: "Content-Type: multipart/mixed; boundary=batch_1", status: 202,
					body: crlf("--batch_1", "Content-Type: multipart/mixed; boundary=changeset_1", "",
						"--changeset_1", "Content-Type: application/http", "Content-Transfer-Encoding: binary", "",
						"DELETE "+e.table+"/"+table+"(PartitionKey='p',RowKey='1') HTTP/1.1", "Accept: application/json", "DataServiceVersion: 3.0", "If-Match: *", "", "",
						"--changeset_1", "Content-Type: application/http", "Content-Transfer-Encoding: binary", "",
						"DELETE "+e.table+"/"+table+"(PartitionKey='p',RowKey='2') HTTP/1.1", "Accept: application/json", "DataServiceVersion: 3.0", "If-Match: *", "", "",
						"--changeset_1--", "--batch_1--", ""),
					contains: []string{"HTTP/1.1 204 No Content"},
				},
				{method: "GET", path: "T:/" + table + "()", query: "$top=1000", status: 200, contains: []string{`"value":[]`}},
				{method: "DELETE", path: "T:/Tables('" + table + "')", status: 204},
			} {
				e.do(t, c)
			}
		})
	}

	t.Run("container SAS URI", func(t *testing.T) {
		owner := connect(t, fmt.Sprintf("BlobEndpoint=%s;SharedAccessSignature=%s", s.blob, ofAccount.Encode()))
		owner.client = dial
		for _, name := range []string{"/mine", "/theirs"} {
			owner.do(t, explorerCall{method: "PUT", path: name, query: "restype=container", status: 201})
		}
		ofContainer, err := sas.BlobSignatureValues{ExpiryTime: time.Now().Add(time.Hour).UTC(), ContainerName: "mine", Permissions: "racwdl"}.SignWithSharedKey(credential(t))
		require.NoError(t, err)
		e := &explorer{blob: s.blob, sas: ofContainer.Encode(), client: dial}
		for _, c := range []explorerCall{
			{method: "GET", path: "/mine", query: "restype=container&comp=list&delimiter=%2F&include=metadata&maxresults=1000", status: 200, contains: []string{"<Blobs"}},
			// What such a signature never opens: it shows the container without its properties then.
			{method: "GET", path: "/mine", query: "restype=container", status: 403, code: "AuthorizationFailure"},
			{method: "GET", path: "/mine", query: "restype=container&comp=acl", status: 403, code: "AuthorizationFailure"},
			{method: "GET", path: "/mine", query: "restype=account&comp=properties", status: 200, answer: map[string]string{"x-ms-account-kind": "StorageV2"}},
			{method: "PUT", path: "/mine/b", headers: "x-ms-blob-type: BlockBlob", body: "hello", status: 201},
			{method: "PUT", path: "/mine/large", query: "comp=block&blockid=AAAA", body: "block", status: 201},
			{method: "PUT", path: "/mine/large", query: "comp=blocklist", headers: "Content-Type: application/xml; charset=UTF-8", body: `<?xml version="1.0" encoding="UTF-8" standalone="yes"?><BlockList><Latest>AAAA</Latest></BlockList>`, status: 201},
			{method: "HEAD", path: "/mine/large", status: 200, answer: map[string]string{"Content-Length": "5"}},
			{method: "GET", path: "/mine/b", headers: "x-ms-range: bytes=0-4194303", status: 206, contains: []string{"hello"}, answer: map[string]string{"Content-Range": "bytes 0-4/5"}},
			{method: "DELETE", path: "/mine/b", headers: "x-ms-delete-snapshots: include", status: 202},
			{method: "GET", path: "/mine", query: "restype=container&comp=list&delimiter=%2F", status: 200, contains: []string{"<Name>large</Name>"}},
			{method: "GET", path: "/theirs", query: "restype=container&comp=list", status: 403, code: "AuthenticationFailed"},
			{method: "DELETE", path: "/mine", query: "restype=container", status: 403, code: "AuthorizationFailure"},
		} {
			e.do(t, c)
		}
	})
}

func crlf(lines ...string) string { return strings.Join(lines, "\r\n") }

// portalSAS is an account SAS as the portal makes it, for all services at once.
func portalSAS(t *testing.T, services, types, permissions string) string {
	key, err := base64.StdEncoding.DecodeString(account.DevKey)
	require.NoError(t, err)
	const version = "2024-11-04"
	start, expiry := time.Now().UTC().Add(-time.Hour).Format(time.RFC3339), time.Now().UTC().Add(time.Hour).Format(time.RFC3339)
	var text bytes.Buffer
	for _, line := range []string{account.DevName, permissions, services, types, start, expiry, "", "https,http", version, ""} {
		text.WriteString(line + "\n")
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(text.Bytes())
	return fmt.Sprintf("sv=%s&ss=%s&srt=%s&sp=%s&se=%s&st=%s&spr=https,http&sig=%s", version, services, types, permissions,
		url.QueryEscape(expiry), url.QueryEscape(start), url.QueryEscape(base64.StdEncoding.EncodeToString(mac.Sum(nil))))
}
