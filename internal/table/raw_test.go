package table_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth/gate"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/resttest"
	"github.com/blobd/blobd/internal/table"
)

const (
	root     = "/devstoreaccount1/"
	people   = root + "people"
	jsonBody = "Content-Type: application/json"
	plain    = "Accept: application/json;odata=nometadata"
)

var ctx = context.Background()

// server is the service behind the front, with the emulator's account.
type server struct {
	*resttest.Server
	t     testing.TB
	store engine.Store
	svc   *table.Service
}

func serve(t testing.TB) *server { return serveOn(t, enginetest.New(t)) }

func serveOn(t testing.TB, store engine.Store) *server {
	registry := account.NewRegistry()
	kept, err := account.OpenStore(ctx, store, registry, nil)
	require.NoError(t, err)
	require.NoError(t, kept.Configure(ctx, account.Development(time.Now())))
	svc := table.New(table.Options{Store: store, Accounts: kept})
	svc.Authorize(gate.New(gate.Options{Table: svc}))
	t.Cleanup(svc.Close)
	s := resttest.Start(t, &rest.Front{Accounts: registry, Table: svc})
	return &server{s, t, store, svc}
}

// open is the service with everybody let in.
func open(t testing.TB) *server {
	s := serve(t)
	s.svc.Authorize(resttest.AllowAll{})
	return s
}

// openPeople is the service with everybody let in and a table.
func openPeople(t *testing.T) *server {
	s := open(t)
	answer := s.Do("POST", root+"Tables", `{"TableName":"people"}`, jsonBody, "Prefer: return-no-content")
	require.Equal(t, 204, answer.Status, answer)
	return s
}

// anonymous takes out of an answer what differs from run to run.
func anonymous(text string) string {
	for pattern, with := range map[string]string{
		`\d{4}-\d\d-\d\dT\d\d(:|%3A)\d\d(:|%3A)\d\d(\.\d+)?Z`:          "TIME",
		`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`: "ID",
	} {
		text = regexp.MustCompile(pattern).ReplaceAllString(text, with)
	}
	return text
}

func TestHeadersOfAnswers(t *testing.T) {
	s := openPeople(t)
	answer := s.Do("POST", people, `{"PartitionKey":"A'aaa_bbbb2\"","RowKey":"r","N":1}`, jsonBody, "Accept: application/json;odata=minimalmetadata")
	require.Equal(t, 201, answer.Status)
	h := answer.Header
	require.Equal(t, "application/json;odata=minimalmetadata;streaming=true;charset=utf-8", h.Get("Content-Type"))
	require.Equal(t, "no-cache", h.Get("Cache-Control"))
	require.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
	require.Equal(t, "Windows-Azure-Table/1.0 Microsoft-HTTPAPI/2.0", h.Get("Server"))
	require.Equal(t, "http://127.0.0.1/devstoreaccount1/people(PartitionKey='A''aaa_bbbb2%22',RowKey='r')", h.Get("Location"))
	require.Equal(t, `W/"datetime'TIME'"`, anonymous(h.Get("ETag")))
	require.Equal(t, `{"odata.metadata":"http://127.0.0.1/devstoreaccount1/$metadata#people/@Element","odata.etag":"W/\"datetime'TIME'\"","PartitionKey":"A'aaa_bbbb2\"","RowKey":"r","Timestamp":"TIME","N":1}`, anonymous(string(answer.Body)))

	answer = s.Do("POST", people, `{"PartitionKey":"p","RowKey":"r"}`, jsonBody, "Prefer: return-no-content", plain)
	require.Equal(t, 204, answer.Status)
	require.Equal(t, "return-no-content", answer.Header.Get("Preference-Applied"))
	require.Equal(t, answer.Header.Get("Location"), answer.Header.Get("DataServiceId"))
	answer = s.Do("POST", people, `{"PartitionKey":"p","RowKey":"s"}`, jsonBody, "Prefer: return-content", plain)
	require.Equal(t, 201, answer.Status)
	require.Equal(t, "return-content", answer.Header.Get("Preference-Applied"))

	answer = s.Do("POST", root+"Tables", `{"TableName":"more"}`, jsonBody)
	require.Equal(t, 201, answer.Status)
	require.Equal(t, "http://127.0.0.1/devstoreaccount1/Tables('more')", answer.Header.Get("Location"))

	// By host name there is no account in the path.
	answer = s.Do("GET", "/Tables('MORE')", "", "Host: devstoreaccount1.table.example.org", "Accept: application/json;odata=fullmetadata")
	require.Equal(t, `{"odata.metadata":"http://devstoreaccount1.table.example.org/$metadata#Tables/@Element","odata.type":"devstoreaccount1.Tables","odata.id":"http://devstoreaccount1.table.example.org/Tables('more')","odata.editLink":"Tables('more')","TableName":"more"}`, string(answer.Body))
}

// What a page of another origin can send without asking first changes nothing: a POST of no type, or of those that forms have.
func TestPostsNeedTheirType(t *testing.T) {
	s := openPeople(t)
	for target, body := range map[string]string{
		root + "Tables": `{"TableName":"evil"}`, people: `{"PartitionKey":"p","RowKey":"r"}`, root + "$batch": "--b\r\n\r\n--b--\r\n",
		people + "(PartitionKey='p',RowKey='r')": `{"PartitionKey":"p","RowKey":"r"}`,
	} {
		for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "text/plain;application/json"} {
			header := []string{"Content-Type: " + kind}
			if kind == "" {
				header = nil
			}
			if answer := s.Do("POST", target, body, header...); answer.Status < 400 {
				t.Errorf("POST %s of type %q: %s", target, kind, answer)
			}
		}
	}
	require.Equal(t, "MediaTypeNotSupported", s.Do("POST", root+"Tables", `{"TableName":"evil"}`).Code())
	require.Equal(t, `{"value":[{"TableName":"people"}]}`, string(s.Do("GET", root+"Tables", "", plain).Body))
	require.Equal(t, `{"value":[]}`, string(s.Do("GET", people, "", plain).Body))
}

func TestFormatOverridesAccept(t *testing.T) {
	s := openPeople(t)
	s.Do("POST", people, `{"PartitionKey":"p","RowKey":"r","L@odata.type":"Edm.Int64","L":"5"}`, jsonBody)
	entity := people + "(RowKey='r',PartitionKey='p')"
	for target, want := range map[string]string{
		entity + "?$format=application/json;odata=nometadata":                `{"PartitionKey":"p","RowKey":"r","Timestamp":"TIME","L":"5"}`,
		entity + "?$select=L,X":                                              `{"odata.metadata":"http://127.0.0.1/devstoreaccount1/$metadata#people/@Element&$select=L,X","odata.etag":"W/\"datetime'TIME'\"","L@odata.type":"Edm.Int64","L":"5","X":null}`,
		people + "()?$format=application%2Fjson%3Bodata%3Dfullmetadata":      `{"odata.metadata":"http://127.0.0.1/devstoreaccount1/$metadata#people","value":[{"odata.type":"devstoreaccount1.people","odata.id":"http://127.0.0.1/devstoreaccount1/people(PartitionKey='p',RowKey='r')","odata.etag":"W/\"datetime'TIME'\"","odata.editLink":"people(PartitionKey='p',RowKey='r')","PartitionKey":"p","RowKey":"r","Timestamp@odata.type":"Edm.DateTime","Timestamp":"TIME","L@odata.type":"Edm.Int64","L":"5"}]}`,
		people + "?$select=RowKey&$format=application/json;odata=nometadata": `{"value":[{"RowKey":"r"}]}`,
	} {
		answer := s.Do("GET", target, "", "Accept: application/json;odata=minimalmetadata")
		require.Equal(t, 200, answer.Status, answer)
		require.Equal(t, want, anonymous(string(answer.Body)))
	}
	require.Equal(t, "MediaTypeNotSupported", s.Do("GET", people, "", "Accept: text/html").Code())
	require.Equal(t, "AtomFormatNotSupported", s.Do("GET", people, "", "Accept: application/atom+xml").Code())
	require.Equal(t, "JsonFormatNotSupported", s.Do("GET", people, "", "Accept: application/json", "x-ms-version: 2012-02-12").Code())
	require.Equal(t, "MediaTypeNotSupported", s.Do("POST", people, "x", "Content-Type: text/plain").Code())
}

func TestErrorBodies(t *testing.T) {
	s := openPeople(t)
	answer := s.Do("GET", people+"(PartitionKey='p',RowKey='r')", "", plain)
	require.Equal(t, 404, answer.Status)
	require.Equal(t, "application/json;odata=nometadata;streaming=true;charset=utf-8", answer.Header.Get("Content-Type"))
	require.Equal(t, `{"odata.error":{"code":"ResourceNotFound","message":{"lang":"en-US","value":"The specified resource does not exist.\nRequestId:ID\nTime:TIME"}}}`, anonymous(string(answer.Body)))

	answer = s.Do("GET", people+"(PartitionKey='p',RowKey='r')", "", "x-ms-version: 2011-08-18")
	require.Equal(t, 404, answer.Status)
	require.Equal(t, "<?xml version=\"1.0\" encoding=\"utf-8\" standalone=\"yes\"?><error xmlns=\"http://schemas.microsoft.com/ado/2007/08/dataservices/metadata\"><code>ResourceNotFound</code><message xml:lang=\"en-US\">The specified resource does not exist.\nRequestId:ID\nTime:TIME</message></error>", anonymous(string(answer.Body)))

	answer = s.Do("GET", root+"missing?comp=acl", "")
	require.Equal(t, 404, answer.Status)
	require.Contains(t, string(answer.Body), "<m:code>TableNotFound</m:code>")

	for _, c := range []struct{ method, target, code string }{
		{"PUT", people, "MethodNotAllowed"}, {"DELETE", people, "MethodNotAllowed"}, {"POST", people + "(PartitionKey='p',RowKey='r')", "MethodNotAllowed"},
		{"DELETE", root + "Tables", "MethodNotAllowed"}, {"GET", people + "(PartitionKey='p')", "InvalidUri"}, {"GET", people + "?comp=nope", "InvalidQueryParameterValue"},
		{"PUT", root + "Tables('people')", "MethodNotAllowed"}, {"POST", root + "Tables", "InvalidInput"}, {"GET", root + "Tables('nope')", "ResourceNotFound"},
		{"GET", root + "no", "OutOfRangeInput"}, {"GET", root + "a-b-c", "InvalidResourceName"},
	} {
		require.Equal(t, c.code, s.Do(c.method, c.target, "", plain).Code(), "%s %s", c.method, c.target)
	}
}

func TestTunnelledMethods(t *testing.T) {
	s := openPeople(t)
	entity := people + "(PartitionKey='p',RowKey='r')"
	do := func(method, body string, header ...string) *resttest.Response {
		return s.Do(method, entity, body, append(header, jsonBody, plain)...)
	}
	require.Equal(t, 204, do("POST", `{"A":1,"PartitionKey":"other"}`, "X-HTTP-Method: PUT").Status)
	require.Equal(t, 204, do("POST", `{"B":2}`, "X-HTTP-Method: MERGE").Status)
	require.Equal(t, 204, do("MERGE", `{"C":3}`, "If-Match: *").Status)
	require.Equal(t, `{"PartitionKey":"p","RowKey":"r","Timestamp":"TIME","A":1,"B":2,"C":3}`, anonymous(string(do("GET", "").Body)))
	require.Equal(t, 204, do("POST", `{"C":4}`, "X-HTTP-Method: MERGE", "If-Match: *").Status)
	require.Equal(t, 204, do("POST", `{"D":4}`, "X-HTTP-Method: PUT", "If-Match: *").Status)
	require.Equal(t, `{"PartitionKey":"p","RowKey":"r","Timestamp":"TIME","D":4}`, anonymous(string(do("GET", "").Body)))
	require.Equal(t, "XMethodNotUsingPost", do("PUT", `{}`, "X-HTTP-Method: MERGE").Code())
	require.Equal(t, "XMethodIncorrectCount", do("POST", `{}`, "X-HTTP-Method: MERGE", "X-HTTP-Method: PUT").Code())
	require.Equal(t, "XMethodIncorrectValue", do("POST", `{}`, "X-HTTP-Method: NOPE").Code())
	require.Equal(t, 204, do("POST", "", "X-HTTP-Method: DELETE", "If-Match: *").Status)
	require.Equal(t, 404, do("POST", `{}`, "X-HTTP-Method: MERGE", "If-Match: *").Status)
	require.Equal(t, 204, s.Do("POST", root+"Tables('people')", "", "X-HTTP-Method: DELETE").Status)
}

func TestConditions(t *testing.T) {
	s := openPeople(t)
	entity := people + "(PartitionKey='p',RowKey='r')"
	s.Do("POST", people, `{"PartitionKey":"p","RowKey":"r"}`, jsonBody)
	for _, c := range []struct {
		method string
		header []string
		status int
		code   string
		text   string
	}{
		{"DELETE", nil, 400, "MissingRequiredHeader", ""},
		{"PUT", []string{"If-None-Match: *"}, 400, "InvalidInput", "If-None-Match HTTP header cannot be specified for PUT operations."},
		{"DELETE", []string{"If-None-Match: *"}, 400, "InvalidInput", "If-None-Match HTTP header cannot be specified for DELETE operations."},
		{"PUT", []string{"If-None-Match: *", "If-Match: *"}, 400, "InvalidInput", "Both If-Match and If-None-Match HTTP headers cannot be specified at the same time. Please specify either one of the headers or none of them."},
		{"PUT", []string{"If-Match: nope"}, 400, "InvalidInput", "The etag value 'nope' specified in one of the request headers is not valid. Please make sure only one etag value is specified and is valid."},
		{"DELETE", []string{`If-Match: W/"a",W/"b"`}, 400, "InvalidInput", ""},
		{"PUT", []string{`If-Match: W/"nope"`}, 412, "UpdateConditionNotSatisfied", "The update condition specified in the request was not satisfied."},
		{"MERGE", []string{`If-Match: W/"datetime'2020-01-01T00%3A00%3A00Z'"`}, 412, "UpdateConditionNotSatisfied", ""},
		{"DELETE", []string{`If-Match: "0x8D"`}, 412, "UpdateConditionNotSatisfied", ""},
		{"PUT", []string{"x-ms-version: 2009-09-19", "Content-Type: application/atom+xml"}, 400, "MissingRequiredHeader", ""},
	} {
		header := append([]string{plain}, c.header...)
		if !strings.Contains(strings.Join(header, ""), "Content-Type") {
			header = append(header, jsonBody)
		}
		answer := s.Do(c.method, entity, `{"A":1}`, header...)
		require.Equal(t, c.status, answer.Status, "%v: %s", c, answer)
		require.Equal(t, c.code, answer.Code())
		require.Contains(t, string(answer.Body), c.text)
	}
	require.Equal(t, 200, s.Do("GET", entity, "").Status, "nothing of it changed the entity")
}

func TestEmptyKeys(t *testing.T) {
	s := openPeople(t)
	require.Equal(t, 204, s.Do("POST", people, `{"PartitionKey":"","RowKey":"","A":1}`, jsonBody, "Prefer: return-no-content").Status)
	require.Equal(t, 409, s.Do("POST", people, `{"PartitionKey":"","RowKey":""}`, jsonBody).Status)
	require.Equal(t, 204, s.Do("POST", people, `{"PartitionKey":"","RowKey":"a","A":2}`, jsonBody, "Prefer: return-no-content").Status)
	require.Equal(t, `{"PartitionKey":"","RowKey":"","Timestamp":"TIME","A":1}`, anonymous(string(s.Do("GET", people+"(PartitionKey='',RowKey='')", "", plain).Body)))
	require.Equal(t, `{"value":[{"A":1}]}`, string(s.Do("GET", people+"?$select=A&$filter=PartitionKey%20eq%20''+and+RowKey+eq+''", "", plain).Body))
	answer := s.Do("GET", people+"?$top=1&$select=A", "", plain)
	next := "&NextPartitionKey=" + answer.Header.Get("x-ms-continuation-NextPartitionKey") + "&NextRowKey=" + answer.Header.Get("x-ms-continuation-NextRowKey")
	require.Equal(t, `{"value":[{"A":2}]}`, string(s.Do("GET", people+"?$top=1&$select=A"+next, "", plain).Body))
	require.Equal(t, 204, s.Do("DELETE", people+"(PartitionKey='',RowKey='')", "", "If-Match: *").Status)
}

// TestAtom is a client of before JSON.
func TestAtom(t *testing.T) {
	s := open(t)
	entry := func(properties string) string {
		return `<?xml version="1.0" encoding="utf-8" standalone="yes"?><entry xmlns:d="http://schemas.microsoft.com/ado/2007/08/dataservices" xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata" xmlns="http://www.w3.org/2005/Atom"><title /><updated>2009-03-18T11:48:34.9840639-07:00</updated><author><name /></author><id /><content type="application/xml"><m:properties>` + properties + `</m:properties></content></entry>`
	}
	do := func(method, target, body string, header ...string) *resttest.Response {
		header = append(header, "x-ms-version: 2012-02-12", "Content-Type: application/atom+xml", "Accept: application/atom+xml,application/xml", "DataServiceVersion: 1.0;NetFx", "MaxDataServiceVersion: 2.0;NetFx")
		return s.Do(method, target, body, header...)
	}
	answer := do("POST", root+"Tables", entry(`<d:TableName>people</d:TableName>`))
	require.Equal(t, 201, answer.Status, answer)
	require.Equal(t, "application/atom+xml;charset=utf-8", answer.Header.Get("Content-Type"))
	require.Contains(t, string(answer.Body), "<d:TableName>people</d:TableName>")
	require.Contains(t, string(do("GET", root+"Tables()", "").Body), "<d:TableName>people</d:TableName>")
	answer = do("POST", people, entry(`<d:PartitionKey>p</d:PartitionKey><d:RowKey>r</d:RowKey><d:Timestamp m:type="Edm.DateTime">0001-01-01T00:00:00</d:Timestamp><d:Age m:type="Edm.Int32">23</d:Age><d:N m:type="Edm.Int64">255</d:N><d:None m:null="true" />`))
	require.Equal(t, 201, answer.Status, answer)
	require.Contains(t, string(answer.Body), `<d:Age m:type="Edm.Int32">23</d:Age><d:N m:type="Edm.Int64">255</d:N></m:properties>`)
	require.Equal(t, 204, do("MERGE", people+"(PartitionKey='p',RowKey='r')", entry(`<d:Age m:type="Edm.Int32">24</d:Age>`), "If-Match: *").Status)
	answer = do("GET", people+"()?$filter=Age%20eq%2024", "")
	require.Equal(t, 200, answer.Status)
	require.Contains(t, string(answer.Body), `<d:N m:type="Edm.Int64">255</d:N><d:Age m:type="Edm.Int32">24</d:Age></m:properties></content></entry></feed>`)
	answer = do("POST", people, entry(`<d:PartitionKey>p</d:PartitionKey><d:RowKey>r</d:RowKey>`))
	require.Equal(t, 409, answer.Status)
	require.Contains(t, string(answer.Body), "<code>EntityAlreadyExists</code>")

	batch := "--batch_1\r\nContent-Type: multipart/mixed; boundary=changeset_2\r\n\r\n--changeset_2\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\nPUT http://127.0.0.1/devstoreaccount1/people(PartitionKey='p',RowKey='s') HTTP/1.1\r\nContent-Type: application/atom+xml;type=entry\r\n\r\nBODY\r\n--changeset_2--\r\n--batch_1--"
	body := entry(`<d:Age m:type="Edm.Int32">25</d:Age>`)
	answer = s.Do("POST", root+"$batch", strings.Replace(batch, "BODY", body, 1), "x-ms-version: 2012-02-12", "Content-Type: multipart/mixed; boundary=batch_1", "Accept: application/atom+xml")
	require.Equal(t, 202, answer.Status, answer)
	require.Contains(t, string(answer.Body), "HTTP/1.1 204 No Content")
	require.Contains(t, string(do("GET", people+"(PartitionKey='p',RowKey='s')", "").Body), `<d:Age m:type="Edm.Int32">25</d:Age>`)
	require.Equal(t, 204, do("DELETE", people+"(PartitionKey='p',RowKey='s')", "", "If-Match: *").Status)
}

// jsBatch is what the JavaScript SDK sends: lower-case headers, blank lines where none belong.
const jsBatch = `

--batch_5
content-type: multipart/mixed; boundary=changeset_5

--changeset_5
content-type: application/http
content-transfer-encoding: binary

POST http://127.0.0.1/devstoreaccount1/people?$format=application%2Fjson%3Bodata%3Dnometadata HTTP/1.1
accept: application/json;odata=nometadata
content-type: application/json
content-id: 1
prefer: return-content


{"PartitionKey":"p","RowKey":"a","N":1}

--changeset_5
content-type: application/http
content-transfer-encoding: binary
Content-ID: 7

PATCH http://127.0.0.1/devstoreaccount1/people(PartitionKey='p',RowKey='b') HTTP/1.1
content-type: application/json
Content-ID: 8


{"PartitionKey":"p","RowKey":"b","N":2}
--changeset_5
content-type: application/http
content-transfer-encoding: binary

DELETE /devstoreaccount1/people(PartitionKey='p',RowKey='c') HTTP/1.1
if-match: *


--changeset_5--
--batch_5
`

func TestBatchOnTheWire(t *testing.T) {
	s := openPeople(t)
	s.Do("POST", people, `{"PartitionKey":"p","RowKey":"c"}`, jsonBody)
	body := jsBatch + "--batch_5--\n"
	body = strings.Replace(body, "--batch_5\n--batch_5--", "--batch_5--", 1)
	for _, eol := range []string{"\n", "\r\n"} {
		answer := s.Do("POST", root+"$batch", strings.ReplaceAll(body, "\n", eol), `Content-Type: multipart/mixed; boundary="batch_5"`, "Accept: application/json")
		require.Equal(t, 202, answer.Status, answer)
		require.Equal(t, "multipart/mixed; boundary=batchresponse_ID", anonymous(answer.Header.Get("Content-Type")))
		want := batchAnswer
		if eol == "\r\n" { // the second time the entity is there
			want = batchConflict
		}
		require.Equal(t, strings.ReplaceAll(want, "\n", "\r\n"), anonymous(string(answer.Body)))
	}
	require.Equal(t, `{"value":[{"RowKey":"a","N":1},{"RowKey":"b","N":2}]}`, string(s.Do("GET", people+"?$select=RowKey,N", "", plain).Body))
}

const batchAnswer = `--batchresponse_ID
Content-Type: multipart/mixed; boundary=changesetresponse_ID

--changesetresponse_ID
Content-Type: application/http
Content-Transfer-Encoding: binary

HTTP/1.1 201 Created
Content-ID: 1
Content-Type: application/json;odata=nometadata;streaming=true;charset=utf-8
X-Content-Type-Options: nosniff
Cache-Control: no-cache
Preference-Applied: return-content
DataServiceVersion: 3.0;
Location: http://127.0.0.1/devstoreaccount1/people(PartitionKey='p',RowKey='a')
ETag: W/"datetime'TIME'"

{"PartitionKey":"p","RowKey":"a","Timestamp":"TIME","N":1}
--changesetresponse_ID
Content-Type: application/http
Content-Transfer-Encoding: binary

HTTP/1.1 204 No Content
Content-ID: 8
X-Content-Type-Options: nosniff
Cache-Control: no-cache
DataServiceVersion: 1.0;
ETag: W/"datetime'TIME'"


--changesetresponse_ID
Content-Type: application/http
Content-Transfer-Encoding: binary

HTTP/1.1 204 No Content
X-Content-Type-Options: nosniff
Cache-Control: no-cache
DataServiceVersion: 1.0;


--changesetresponse_ID--
--batchresponse_ID--
`

const batchConflict = `--batchresponse_ID
Content-Type: multipart/mixed; boundary=changesetresponse_ID

--changesetresponse_ID
Content-Type: application/http
Content-Transfer-Encoding: binary

HTTP/1.1 409 Conflict
Content-ID: 1
X-Content-Type-Options: nosniff
Cache-Control: no-cache
Preference-Applied: return-content
DataServiceVersion: 3.0;
Content-Type: application/json;odata=minimalmetadata;streaming=true;charset=utf-8

{"odata.error":{"code":"EntityAlreadyExists","message":{"lang":"en-US","value":"0:The specified entity already exists.\nRequestId:ID\nTime:TIME"}}}
--changesetresponse_ID--
--batchresponse_ID--
`

// inBatch wraps operations in a batch; with set they stand in a change set.
func inBatch(set bool, ops ...string) string {
	var b strings.Builder
	b.WriteString("--b\r\n")
	if set {
		b.WriteString("Content-Type: multipart/mixed; boundary=c\r\n\r\n")
	}
	for _, op := range ops {
		if set {
			b.WriteString("--c\r\n")
		}
		b.WriteString("Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n" + op + "\r\n")
	}
	if set {
		b.WriteString("--c--\r\n")
	}
	return b.String() + "--b--\r\n"
}

// TestPartsOfABatchAnswerAsAlone sends operations of all kinds in random order: what is taken from the part before must not show.
func TestPartsOfABatchAnswerAsAlone(t *testing.T) {
	s := openPeople(t)
	const entity = "http://127.0.0.1/devstoreaccount1/people(PartitionKey='PK',RowKey='RK')"
	kinds := []string{
		"POST /devstoreaccount1/people HTTP/1.1\r\nContent-Type: application/json\r\nPrefer: return-no-content\r\n\r\n{\"PartitionKey\":\"PK\",\"RowKey\":\"RK\",\"A\":1}",
		"POST /devstoreaccount1/people HTTP/1.1\r\nContent-Type: application/json\r\nPrefer: return-content\r\n\r\n{\"PartitionKey\":\"PK\",\"RowKey\":\"RK\",\"A\":1}",
		"POST /devstoreaccount1/people HTTP/1.1\r\nContent-Type: application/json\r\nPrefer: return-content\r\n\r\n{\"RowKey\":\"RK\",\"PartitionKey\":\"PK\",\"\\u0041\":1.5}",
		"POST /devstoreaccount1/people?$format=application/json;odata=fullmetadata HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{\"PartitionKey\":\"PK\",\"RowKey\":\"RK\",\"A\":1}",
		"POST /devstoreaccount1/people HTTP/1.1\r\nContent-Type: application/json\r\nAccept: application/json;odata=nometadata\r\nContent-ID: RK\r\n\r\n{\"PartitionKey\":\"PK\",\"RowKey\":\"RK\"}",
		"PUT " + entity + " HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{\"A\":1}",
		"PATCH " + entity + " HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"A\":1}",
		"POST " + entity + " HTTP/1.1\r\nContent-Type: application/json\r\nX-HTTP-Method: MERGE\r\n\r\n{\"A\":1}",
		"DELETE " + entity + " HTTP/1.1\r\nIf-Match: *\r\n\r\n",
	}
	batch := func(ops ...string) string {
		answer := s.Do("POST", root+"$batch", inBatch(true, ops...), "Content-Type: multipart/mixed; boundary=b", "Accept: application/json")
		require.Equal(t, 202, answer.Status, answer)
		return anonymous(string(answer.Body))
	}
	const head, tail = "--batchresponse_ID\r\nContent-Type: multipart/mixed; boundary=changesetresponse_ID\r\n\r\n", "--changesetresponse_ID--\r\n--batchresponse_ID--\r\n"
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for turn := range 50 {
		var ops []string
		want := ""
		for i := range 1 + rng.IntN(10) {
			kind := kinds[rng.IntN(1+rng.IntN(len(kinds)))]
			rk := fmt.Sprintf("%d-%d-%d", rng.IntN(2), turn, i)
			if strings.HasPrefix(kind, "DELETE") {
				for _, pk := range []string{"p", "q"} {
					require.Equal(t, 204, s.Do("PUT", people+"(PartitionKey='"+pk+"',RowKey='"+rk+"')", "{}", jsonBody).Status)
				}
			}
			ops = append(ops, strings.NewReplacer("PK", "p", "RK", rk).Replace(kind))
			alone := batch(strings.NewReplacer("PK", "q", "RK", rk).Replace(kind))
			alone = strings.NewReplacer("'q'", "'p'", `"q"`, `"p"`).Replace(alone)
			want += strings.TrimSuffix(strings.TrimPrefix(alone, head), tail)
		}
		require.Equal(t, head+want+tail, batch(ops...))
	}
}

// TestARowTwiceInABatch: whatever the order, the second of a RowKey is told.
func TestARowTwiceInABatch(t *testing.T) {
	s := openPeople(t)
	for rks, second := range map[string]string{"aa": "1", "aba": "2", "baa": "2", "cbac": "3", "cbaa": "3", "abcdb": "4", "abcd": "", "dcba": "", "badc": ""} {
		var ops []string
		for _, rk := range rks {
			ops = append(ops, "PUT /devstoreaccount1/people(PartitionKey='p',RowKey='"+string(rk)+"') HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{}")
		}
		answer := s.Do("POST", root+"$batch", inBatch(true, ops...), "Content-Type: multipart/mixed; boundary=b", plain)
		require.Equal(t, 202, answer.Status)
		if second == "" {
			require.Equal(t, len(rks), strings.Count(string(answer.Body), "HTTP/1.1 204"), rks)
			continue
		}
		require.Contains(t, string(answer.Body), `"code":"InvalidDuplicateRow","message":{"lang":"en-US","value":"`+second+`:`, rks)
	}
}

// TestTooManyChanges: the part that says so has no Cache-Control and no Preference-Applied, as none of the operations was looked at.
func TestTooManyChanges(t *testing.T) {
	s := openPeople(t)
	const most = 100
	ops := make([]string, most+1)
	for i := range ops {
		ops[i] = fmt.Sprintf("POST /devstoreaccount1/people HTTP/1.1\r\nContent-Type: application/json\r\nPrefer: return-no-content\r\n\r\n{\"PartitionKey\":\"p\",\"RowKey\":\"%d\"}", i)
	}
	send := func(n int) string {
		answer := s.Do("POST", root+"$batch", inBatch(true, ops[:n]...), "Content-Type: multipart/mixed; boundary=b", plain)
		require.Equal(t, 202, answer.Status)
		return string(answer.Body)
	}
	body := send(len(ops))
	require.Equal(t, 1, strings.Count(body, "HTTP/1.1 "))
	require.Contains(t, body, "HTTP/1.1 400 Bad Request\r\nX-Content-Type-Options: nosniff\r\nDataServiceVersion: 3.0;\r\nContent-Type: application/json;")
	require.Contains(t, body, `"code":"InvalidInput","message":{"lang":"en-US","value":"99:The batch request operation exceeds the maximum 100 changes per change set.`)
	require.Equal(t, most, strings.Count(send(most), "HTTP/1.1 204"))
}

func TestQueryInBatch(t *testing.T) {
	s := openPeople(t)
	for _, rk := range []string{"a", "b"} {
		s.Do("POST", people, `{"PartitionKey":"p","RowKey":"`+rk+`"}`, jsonBody)
	}
	do := func(body string) string {
		answer := s.Do("POST", root+"$batch", body, "Content-Type: multipart/mixed; boundary=b", "Accept: application/json;odata=nometadata")
		require.Equal(t, 202, answer.Status, answer)
		return anonymous(string(answer.Body))
	}
	got := do(inBatch(false, "GET http://127.0.0.1/devstoreaccount1/people()?$filter=RowKey%20eq%20'b'&$select=RowKey HTTP/1.1\r\nAccept: application/json;odata=nometadata\r\n"))
	require.Equal(t, "--batchresponse_ID\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: application/json;odata=nometadata;streaming=true;charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-cache\r\nDataServiceVersion: 3.0;\r\n\r\n{\"value\":[{\"RowKey\":\"b\"}]}\r\n--batchresponse_ID--\r\n", got)
	require.Contains(t, do(inBatch(false, "GET /devstoreaccount1/people?$top=1 HTTP/1.1\r\n")), "x-ms-continuation-NextPartitionKey: 1!4!cA--\r\n")
	require.Contains(t, do(inBatch(false, "GET /devstoreaccount1/people(PartitionKey='p',RowKey='a')?$select=RowKey HTTP/1.1\r\n")), `{"RowKey":"a"}`)
	require.Contains(t, do(inBatch(false, "GET /devstoreaccount1/people(PartitionKey='p',RowKey='x') HTTP/1.1\r\n")), "HTTP/1.1 404 Not Found")
	require.Contains(t, do(inBatch(true, "GET /devstoreaccount1/people() HTTP/1.1\r\n")), `"value":"A query operation cannot be in a change set.`)
}

// TestDateTimeFinerThanATick: Java's clock has nine digits, of which the service keeps seven.
func TestDateTimeFinerThanATick(t *testing.T) {
	s := openPeople(t)
	answer := s.Do("POST", people, `{"PartitionKey":"p","RowKey":"r","D@odata.type":"Edm.DateTime","D":"2024-01-02T17:39:07.668243378Z"}`, jsonBody, plain)
	require.Equal(t, 201, answer.Status, answer)
	require.Contains(t, string(answer.Body), `"D":"2024-01-02T17:39:07.6682434Z"`)
	for filter, found := range map[string]bool{"D eq datetime'2024-01-02T17:39:07.66824343Z'": true, "D lt datetime'2024-01-02T17:39:07.668243378000Z'": false, "Timestamp ge datetime'2024-01-02T17:39:07.668243378Z'": true} {
		answer = s.Do("GET", people+"()?$filter="+url.QueryEscape(filter), "", plain)
		require.Equal(t, found, strings.Contains(string(answer.Body), `"D":`), filter)
	}
}

// TestFiltersOnTheWire: what filters other than the SDKs' ask, and what the service refuses.
func TestFiltersOnTheWire(t *testing.T) {
	s := openPeople(t)
	for rk, props := range map[string]string{"dbl": `"Foo":1.5`, "dt": `"Foo@odata.type":"Edm.DateTime","Foo":"2024-01-01T00:00:00Z"`, "flag": `"Flag":true`, "int": `"Foo":64`, "str": `"Foo":"x"`} {
		require.Equal(t, 204, s.Do("POST", people, `{"PartitionKey":"p","RowKey":"`+rk+`",`+props+`}`, jsonBody, "Prefer: return-no-content").Status)
	}
	query := func(filter string) *resttest.Response {
		return s.Do("GET", people+"()?$select=RowKey&$filter="+url.QueryEscape(filter), "", plain)
	}
	for filter, want := range map[string]string{
		"Foo ne ''": "dbl dt int str", "Foo lt ''": "dbl dt int", "Foo gt ''": "str", "not (Foo ne '')": "flag", "Foo eq 64": "int", "Foo eq 64L": "", "Foo lt 64.0": "dbl dt int str",
		"Flag and (RowKey ge 'a')": "flag", "Flag eq True": "flag", "(PartitionKey)\neq\n('p') and Foo eq 1.5d": "dbl",
	} {
		var rows []string
		for _, m := range regexp.MustCompile(`"RowKey":"(\w+)"`).FindAllStringSubmatch(string(query(filter).Body), -1) {
			rows = append(rows, m[1])
		}
		require.Equal(t, want, strings.Join(rows, " "), filter)
	}
	for _, filter := range []string{"PartitionKey eq 5", "(PartitionKey ) and (RowKey ge 'a')", "RowKey ge 'a' and PartitionKey", "Foo eq 2147483648"} {
		require.Equal(t, "InvalidInput", query(filter).Code(), filter)
	}
	for _, option := range []string{"$orderby=RowKey%20desc", "$skip=1", "$expand=A", "$inlinecount=allpages"} {
		for _, path := range []string{people + "()", root + "Tables", people + "(PartitionKey='p',RowKey='int')"} {
			answer := s.Do("GET", path+"?$top=1&"+option, "", plain)
			require.Equal(t, 501, answer.Status, option)
			require.Equal(t, "NotImplemented", answer.Code())
		}
		answer := s.Do("POST", root+"$batch", inBatch(false, "GET /devstoreaccount1/people()?"+option+" HTTP/1.1\r\n"), "Content-Type: multipart/mixed; boundary=b", plain)
		require.Contains(t, string(answer.Body), "HTTP/1.1 501 ")
	}
	require.Equal(t, 200, s.Do("GET", people+"()?$orderbyABC=RowKey", "", plain).Status, "an option that there is not means nothing")
}

// TestPreferenceIsToldOnFailures: recorded of 400 and of 409.
func TestPreferenceIsToldOnFailures(t *testing.T) {
	s := openPeople(t)
	body := `{"PartitionKey":"p","RowKey":"r"}`
	for _, c := range []struct {
		target, body string
		status       int
	}{{people, body, 204}, {people, body, 409}, {people, "{", 400}, {root + "Tables", `{"TableName":"people"}`, 409}, {root + "Tables", `{"TableName":"x"}`, 400}, {root + "missing", body, 404}} {
		answer := s.Do("POST", c.target, c.body, jsonBody, "Prefer: return-no-content")
		require.Equal(t, c.status, answer.Status, answer)
		require.Equal(t, "return-no-content", answer.Header.Get("Preference-Applied"), answer)
	}
}

// TestWhatOtherClientsSend: a weak ETag with a small w, a continuation in plain text, a property that no entity can hold.
func TestWhatOtherClientsSend(t *testing.T) {
	s := openPeople(t)
	for _, rk := range []string{"a", "b", "c"} {
		s.Do("POST", people, `{"PartitionKey":"p","RowKey":"`+rk+`"}`, jsonBody)
	}
	tag := s.Do("GET", people+"(PartitionKey='p',RowKey='a')", "", plain).Header.Get("ETag")
	require.Equal(t, 204, s.Do("PUT", people+"(PartitionKey='p',RowKey='a')", "{}", jsonBody, "If-Match: w"+tag[1:]).Status)
	require.Equal(t, 412, s.Do("PUT", people+"(PartitionKey='p',RowKey='a')", "{}", jsonBody, "If-Match: w"+tag[1:]).Status)
	require.Equal(t, `{"value":[{"RowKey":"b"},{"RowKey":"c"}]}`, string(s.Do("GET", people+"()?$select=RowKey&NextPartitionKey=p&NextRowKey=b", "", plain).Body))
	for n, code := range map[int]string{32<<10 + 1: "PropertyValueTooLarge", 1 << 19: "EntityTooLarge", 1 << 20: "EntityTooLarge"} {
		require.Equal(t, code, s.Do("POST", people, `{"PartitionKey":"p","RowKey":"r","A":"`+strings.Repeat("x", n)+`"}`, jsonBody).Code())
	}
}

// TestStatusLines: what OData answers has the usual text, what the front of the service refuses has its message.
func TestStatusLines(t *testing.T) {
	s := openPeople(t)
	for target, want := range map[string]string{
		people + "(PartitionKey='p',RowKey='x')":   "404 Not Found",
		people + "()?$filter=%E2%82%AC%0D%0AX-A:1": "400 Bad Request",
		root + "missing?comp=acl":                  "404 The table specified does not exist.",
	} {
		line, _, _ := strings.Cut(s.Do("GET", target, "", plain).Raw, "\r\n")
		require.Equal(t, "HTTP/1.1 "+want, line)
	}
}

// TestSelectIsInTheMetadata: recorded, also for a blank and for an empty list.
func TestSelectIsInTheMetadata(t *testing.T) {
	s := openPeople(t)
	s.Do("POST", people, `{"PartitionKey":"p","RowKey":"r","age":1}`, jsonBody)
	for query, want := range map[string]string{"?$select=PartitionKey%2CRowKey,sex": "&$select=PartitionKey,RowKey,sex", "?$select=age,%20sex": "&$select=age,%20sex", "?$select=": "&$select=", "": "", "?$select=%22%0A": "&$select=%22%0A", "?$select=*": "&$select=*"} {
		for _, level := range []string{"minimal", "full"} {
			accept := "Accept: application/json;odata=" + level + "metadata"
			require.Contains(t, string(s.Do("GET", people+query, "", accept).Body), `/$metadata#people`+want+`","value":[`, query)
			require.Contains(t, string(s.Do("GET", people+"(PartitionKey='p',RowKey='r')"+query, "", accept).Body), `/$metadata#people/@Element`+want+`",`, query)
		}
	}
}

func TestEmptyChangeSet(t *testing.T) {
	s := openPeople(t)
	for _, body := range []string{inBatch(true), strings.TrimSuffix(inBatch(true), "\r\n")} {
		answer := s.Do("POST", root+"$batch", body, "Content-Type: multipart/mixed; boundary=b", plain)
		require.Equal(t, 202, answer.Status, answer)
		require.Equal(t, "--batchresponse_ID\r\nContent-Type: multipart/mixed; boundary=changesetresponse_ID\r\n\r\n--changesetresponse_ID--\r\n--batchresponse_ID--\r\n", anonymous(string(answer.Body)))
	}
}

// TestBatchOfTheFormerJava: its lengths count the line end after the entity, and it takes no third header in a part.
func TestBatchOfTheFormerJava(t *testing.T) {
	s := openPeople(t)
	entity := `{"PartitionKey":"p","RowKey":"r"}`
	op := func(line string) string {
		return line + " HTTP/1.1\r\nContent-ID: 0\r\nContent-Length: " + strconv.Itoa(len(entity)+2) + "\r\nContent-Type: application/json\r\n\r\n" + entity
	}
	for _, line := range []string{"POST http://127.0.0.1/devstoreaccount1/people()", "PUT /devstoreaccount1/people(PartitionKey='p',RowKey='r')", "POST /devstoreaccount1/people()"} {
		answer := s.Do("POST", root+"$batch", inBatch(true, op(line)), "Content-Type: multipart/mixed; boundary===b=", plain)
		require.Equal(t, "InvalidInput", answer.Code())
		answer = s.Do("POST", root+"$batch", strings.ReplaceAll(inBatch(true, op(line)), "--b", "--==b="), "Content-Type: multipart/mixed; boundary===b=", plain)
		require.Equal(t, 202, answer.Status, answer)
		require.Regexp(t, "Content-Transfer-Encoding: binary\r\n\r\nHTTP/1.1 (201 Created|204 No Content|409 Conflict)\r\nContent-ID: 0\r\n", string(answer.Body))
	}
	require.Contains(t, string(s.Do("GET", people, "", plain).Body), entity[:len(entity)-1])
}

func TestBadBatches(t *testing.T) {
	s := openPeople(t)
	op := func(url, body string) string {
		return "PUT " + url + " HTTP/1.1\r\nContent-Type: application/json\r\n\r\n" + body
	}
	a := op("/devstoreaccount1/people(PartitionKey='p',RowKey='a')", `{"A":1}`)
	for _, c := range []struct{ name, body, want string }{
		{"bad JSON", inBatch(true, a, op("/devstoreaccount1/people(PartitionKey='p',RowKey='b')", `{`)), `"code":"InvalidInput","message":{"lang":"en-US","value":"1:`},
		{"two tables", inBatch(true, a, op("/devstoreaccount1/other(PartitionKey='p',RowKey='b')", `{}`)), `"code":"InvalidInput","message":{"lang":"en-US","value":"1:`},
		{"a bad URL", inBatch(true, a, op("/devstoreaccount1/people(PartitionKey='p')", `{}`)), `"code":"InvalidUri","message":{"lang":"en-US","value":"1:`},
		{"a table", inBatch(true, a, "DELETE /devstoreaccount1/Tables('people') HTTP/1.1\r\n"), `"code":"NotImplemented","message":{"lang":"en-US","value":"1:`},
		{"a bad key", inBatch(true, op("/devstoreaccount1/people(PartitionKey='p',RowKey='%2F')", `{}`)), `"code":"OutOfRangeInput","message":{"lang":"en-US","value":"The`},
		{"a method", inBatch(true, a, "POST /devstoreaccount1/people(PartitionKey='p',RowKey='b') HTTP/1.1\r\n"), `"code":"MethodNotAllowed"`},
		{"no If-Match", inBatch(true, a, "DELETE /devstoreaccount1/people(PartitionKey='p',RowKey='b') HTTP/1.1\r\n"), `"code":"MissingRequiredHeader"`},
	} {
		answer := s.Do("POST", root+"$batch", c.body, "Content-Type: multipart/mixed; boundary=b", plain)
		require.Equal(t, 202, answer.Status, c.name)
		require.Contains(t, string(answer.Body), c.want, c.name)
	}
	for name, body := range map[string]string{"empty": "", "no end": strings.TrimSuffix(inBatch(true, a), "--b--\r\n"), "nothing in it": "--b--\r\n", "no request": inBatch(true, "nope"), "two sets": strings.TrimSuffix(inBatch(true, a), "--b--\r\n") + inBatch(true, a)} {
		answer := s.Do("POST", root+"$batch", body, "Content-Type: multipart/mixed; boundary=b", plain)
		require.Contains(t, []int{400, 202}, answer.Status, name)
		require.Contains(t, string(answer.Body), "InvalidInput", name)
	}
	require.Equal(t, "InvalidInput", s.Do("POST", root+"$batch", inBatch(true, a), "Content-Type: text/plain").Code())
	require.Equal(t, "RequestBodyTooLarge", s.Do("POST", root+"$batch", "", "Content-Length: 4194305", "Content-Type: multipart/mixed; boundary=b").Code())
	require.Equal(t, `{"value":[]}`, string(s.Do("GET", people, "", plain).Body), "nothing of it was done")
}

func TestACLDocument(t *testing.T) {
	s := openPeople(t)
	answer := s.Do("GET", people+"?comp=acl", "")
	require.Equal(t, 200, answer.Status)
	require.Equal(t, "\ufeff<?xml version=\"1.0\" encoding=\"utf-8\"?><SignedIdentifiers />", string(answer.Body))
	doc := `<?xml version="1.0" encoding="utf-8"?><SignedIdentifiers><SignedIdentifier><Id>x</Id><AccessPolicy><Start>2026-01-01T00:00:00Z</Start><Expiry>2026-01-02</Expiry><Permission>raud</Permission></AccessPolicy></SignedIdentifier></SignedIdentifiers>`
	require.Equal(t, 204, s.Do("PUT", people+"?comp=acl", doc).Status)
	stored := strings.NewReplacer("00:00:00Z", "00:00:00.0000000Z", "2026-01-02<", "2026-01-02T00:00:00.0000000Z<").Replace(doc)
	require.Equal(t, "\ufeff"+stored, string(s.Do("GET", people+"()?comp=acl", "").Body))
	require.Equal(t, 200, s.Do("HEAD", people+"?comp=acl", "").Status)
	for body, code := range map[string]string{
		"x": "InvalidXmlDocument", "<Nope/>": "InvalidXmlDocument", strings.Replace(doc, "raud", "raw", 1): "InvalidXmlDocument", strings.Replace(doc, "2026-01-02", "soon", 1): "InvalidXmlNodeValue",
		strings.Replace(doc, "<Id>x</Id>", "", 1): "InvalidXmlDocument", strings.Replace(doc, "<Id>x</Id>", "<Id>"+strings.Repeat("x", 65)+"</Id>", 1): "InvalidXmlNodeValue",
		"<SignedIdentifiers>" + strings.Repeat("<SignedIdentifier><Id>x</Id></SignedIdentifier>", 2) + "</SignedIdentifiers>": "InvalidXmlDocument",
	} {
		require.Equal(t, code, s.Do("PUT", people+"?comp=acl", body).Code(), body)
	}
	require.Equal(t, "\ufeff"+stored, string(s.Do("GET", people+"?comp=acl", "").Body))
	require.Equal(t, 204, s.Do("PUT", people+"?comp=acl", "").Status)
	require.Equal(t, "TableNotFound", s.Do("PUT", root+"missing?comp=acl", doc).Code())
}
