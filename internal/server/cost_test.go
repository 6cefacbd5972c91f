//go:build race || invariants

package server_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth/gate"
	"github.com/blobd/blobd/internal/blob"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/invariants"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/resttest"
	"github.com/blobd/blobd/internal/table"
)

// many joins n pieces.
func many(n int, separator string, piece func(i int) string) string {
	pieces := make([]string, n)
	for i := range pieces {
		pieces[i] = piece(i)
	}
	return strings.Join(pieces, separator)
}

// word is a short name for a number.
func word(i int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	return string([]byte{letters[i%26], letters[i/26%26], letters[i/676%26]})
}

// costly is a request that has n of something, once the server is prepared for it.
type costly struct {
	name    string
	n       int // as many, and four times as many
	table   bool
	gate    bool // it comes to the gate, else it is let in
	prepare func(do func(method, target, body string, header ...string), n int)
	method  string
	target  func(n int) string
	body    func(n int) string
	header  func(n int) []string
}

func at(target string) func(int) string { return func(int) string { return target } }

func lines(of func(i int) string) func(n int) []string {
	return func(n int) []string { return strings.Split(many(n, "\n", of), "\n") }
}

const cors = `<StorageServiceProperties><Cors><CorsRule><AllowedMethods>GET</AllowedMethods><AllowedOrigins>*</AllowedOrigins><AllowedHeaders>x-ms-*</AllowedHeaders><ExposedHeaders>x-ms-meta-*</ExposedHeaders><MaxAgeInSeconds>1</MaxAgeInSeconds></CorsRule></Cors></StorageServiceProperties>`

func blockID(i int) string { return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%08d", i)) }

// sameBlocks is a list of one block n times.
func sameBlocks(n int) string {
	return "<BlockList>" + many(n, "", func(int) string { return "<Latest>" + blockID(0) + "</Latest>" }) + "</BlockList>"
}

// jsonBody is an entity of n properties.
func jsonBody(n int) string {
	return `{"PartitionKey":"p","RowKey":"r",` + many(n, ",", func(i int) string { return `"` + word(i) + `":1` }) + `}`
}

func filterOf(text func(n int) string) func(n int) string {
	return func(n int) string { return "/acct/Tab()?$filter=" + strings.ReplaceAll(text(n), " ", "%20") }
}

// widest is a row with as many properties as there may be.
func widest(do func(method, target, body string, header ...string), _ int) {
	wide(do, 252)
}

// wide is a row of n properties.
func wide(do func(method, target, body string, header ...string), n int) {
	do("PUT", "/acct/Tab(PartitionKey='p',RowKey='r')", jsonBody(n), "Content-Type: application/json")
}

var metadata = lines(func(i int) string { return "x-ms-meta-" + word(i) + ": v" })

func withMetadata(do func(method, target, body string, header ...string), n int) {
	do("PUT", "/acct/con/b", "", append(metadata(n), "x-ms-blob-type: BlockBlob")...)
}

var costlies = []costly{
	{name: "headers of a stranger", n: 900, gate: true, method: "GET", target: at("/acct/con/b"), header: lines(func(i int) string { return fmt.Sprintf("x-%d: v", i) })},
	{name: "signed headers", n: 900, gate: true, method: "GET", target: at("/acct/con/b"), header: func(n int) []string {
		return append(lines(func(i int) string { return "x-ms-" + word(i) + ": v" })(n), "Authorization: SharedKey acct:c2ln", "x-ms-date: "+time.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"))
	}},
	{name: "parameters", n: 60, gate: true, method: "GET", target: func(n int) string {
		return "/acct/con/b?sv=2026-02-06&sr=b&sp=r&se=2099-01-01&sig=x&" + many(n, "&", word)
	}},
	{name: "headers that a SAS binds", n: 16, gate: true, method: "GET", target: func(n int) string {
		return "/acct/con/b?sv=2026-04-06&sr=b&sp=r&se=2099-01-01&skoid=a&sktid=b&skt=2020-01-01&ske=2099-01-01&sks=b&skv=2026-04-06&sig=x&srh=" + many(n, ",", word)
	}, header: lines(func(i int) string { return word(i) + ": v" })},
	{name: "metadata written", n: 400, method: "PUT", target: at("/acct/con/b"), header: func(n int) []string { return append(metadata(n), "x-ms-blob-type: BlockBlob") }},
	{name: "metadata read", n: 400, prepare: withMetadata, method: "GET", target: at("/acct/con/b")},
	{name: "metadata shown to other origins", n: 400, prepare: func(do func(method, target, body string, header ...string), n int) {
		withMetadata(do, n)
		do("PUT", "/acct/?restype=service&comp=properties", cors)
	}, method: "GET", target: at("/acct/con/b"), header: func(int) []string { return []string{"Origin: http://a.example"} }},
	{name: "preflight headers", n: 60, prepare: func(do func(method, target, body string, header ...string), n int) {
		do("PUT", "/acct/?restype=service&comp=properties", cors)
	}, method: "OPTIONS", target: at("/acct/con/b"), header: func(n int) []string {
		return []string{"Origin: http://a.example", "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: " + many(n, ",", func(i int) string { return "x-ms-" + word(i) })}
	}},
	{name: "text in pieces", n: 1500, method: "PUT", target: at("/acct/con?restype=container&comp=acl"),
		body: func(n int) string {
			return "<SignedIdentifiers><SignedIdentifier><Id>" + many(n, "<!---->", at("a")) + "</Id></SignedIdentifier></SignedIdentifiers>"
		}},
	{name: "elements", n: 900, method: "PUT", target: at("/acct/?restype=service&comp=properties"), body: func(n int) string {
		return "<StorageServiceProperties><Cors>" + many(n, "", at("<CorsRule/>")) + "</Cors></StorageServiceProperties>"
	}},
	{name: "where", n: 80, method: "GET", target: func(n int) string {
		return "/acct/?comp=blobs&where=a%3D'b'%20and%20" + many(n, "%20and%20", at("@container%3D'c'"))
	}},
	{name: "tag conditions", n: 80, method: "GET", prepare: withMetadata, target: at("/acct/con/b"), header: func(n int) []string {
		return []string{"x-ms-if-tags: " + many(n, " or ", func(i int) string { return word(i) + "='v'" }) + " or not a='b'"}
	}},
	{name: "ETags", n: 400, method: "GET", prepare: withMetadata, target: at("/acct/con/b"), header: func(n int) []string {
		return []string{"If-None-Match: " + many(n, ",", func(i int) string { return `"` + word(i) + `"` })}
	}},
	{name: "block list", n: 200, prepare: func(do func(method, target, body string, header ...string), n int) {
		do("PUT", "/acct/con/l?comp=block&blockid="+blockID(0), "x")
		do("PUT", "/acct/con/l?comp=blocklist", sameBlocks(n))
	}, method: "PUT", target: at("/acct/con/l?comp=blocklist"), body: sameBlocks},
	{name: "block list of missing blocks", n: 500, method: "PUT", target: at("/acct/con/l?comp=blocklist"), body: func(n int) string {
		return "<BlockList>" + many(n, "", func(i int) string { return "<Latest>" + blockID(i) + "</Latest>" }) + "</BlockList>"
	}},
	{name: "page ranges", n: 50, prepare: func(do func(method, target, body string, header ...string), n int) {
		do("PUT", "/acct/con/p", "", "x-ms-blob-type: PageBlob", "x-ms-blob-content-length: 1048576")
		for i := range n {
			do("PUT", "/acct/con/p?comp=page", strings.Repeat("x", 512), "x-ms-page-write: update", fmt.Sprintf("x-ms-range: bytes=%d-%d", 1024*i, 1024*i+511))
		}
	}, method: "GET", target: at("/acct/con/p?comp=pagelist")},
	{name: "prefixes", n: 50, prepare: func(do func(method, target, body string, header ...string), n int) {
		for i := range n {
			do("PUT", "/acct/con/"+word(i)+"/x", "", "x-ms-blob-type: BlockBlob")
		}
	}, method: "GET", target: at("/acct/con?restype=container&comp=list&delimiter=/")},
	{name: "a long prefix", n: 250, method: "GET", target: func(n int) string {
		return "/acct/con?restype=container&comp=list&delimiter=" + many(n, "/", at("a")) + "&prefix=" + many(n, "/", at("b"))
	}},
	{name: "includes", n: 250, method: "GET", target: func(n int) string {
		return "/acct/con?restype=container&comp=list&include=" + many(n, ",", at("metadata"))
	}},
	{name: "parts of a batch", n: 60, method: "POST", target: at("/acct/?comp=batch"), body: func(n int) string {
		return many(n, "", func(i int) string {
			return "--b\r\nContent-Type: application/http\r\nContent-ID: " + word(i) + "\r\n\r\nDELETE /acct/con/" + word(i) + " HTTP/1.1\r\nContent-Length: 0\r\n\r\n\r\n"
		}) + "--b--\r\n"
	}, header: func(int) []string { return []string{"Content-Type: multipart/mixed; boundary=b"} }},
	{name: "delimiters that are none", n: 1000, method: "POST", target: at("/acct/?comp=batch"), body: func(n int) string {
		return many(n, "", at("--bx\r\n"))
	}, header: func(int) []string { return []string{"Content-Type: multipart/mixed; boundary=b"} }},

	{name: "names in a filter", n: 250, table: true, prepare: widest, method: "GET", target: filterOf(func(n int) string {
		return many(n, " or ", func(i int) string { return word(i) + " eq 2" })
	})},
	{name: "a chain from the right", n: 240, table: true, method: "GET", target: filterOf(func(n int) string {
		return strings.Repeat("A eq 2 or (", n) + "A eq 2" + strings.Repeat(")", n)
	})},
	{name: "a chain from the left", n: 240, table: true, method: "GET", target: filterOf(func(n int) string {
		return strings.Repeat("(", n) + "A eq 2" + strings.Repeat(") or A eq 2", n)
	})},
	{name: "a long chain far within", n: 160, table: true, method: "GET", target: filterOf(func(n int) string {
		return strings.Repeat("A eq 2 or (", n) + many(n, " or ", at("A eq 2")) + strings.Repeat(")", n)
	})},
	{name: "not", n: 240, table: true, method: "GET", target: filterOf(func(n int) string { return strings.Repeat("not ", n) + "A eq 2" })},
	{name: "conditions on keys", n: 250, table: true, method: "GET", target: filterOf(func(n int) string {
		return many(n, " and ", func(i int) string { return "RowKey ne '" + word(i) + "'" })
	})},
	{name: "alternating conditions on keys", n: 100, table: true, method: "GET", target: filterOf(func(n int) string {
		return many(n, "", func(i int) string {
			return "RowKey ne '" + word(i) + "' and (RowKey eq '" + word(i) + "' or ("
		}) + "RowKey gt 'a'" + strings.Repeat("))", n)
	})},
	{name: "select", n: 60, table: true, prepare: wide, method: "GET", target: func(n int) string { return "/acct/Tab()?$select=" + many(n, ",", word) }},
	{name: "properties", n: 250, table: true, method: "PUT", target: at("/acct/Tab(PartitionKey='p',RowKey='r')"), body: jsonBody, header: func(int) []string { return []string{"Content-Type: application/json"} }},
	{name: "a transaction", n: 25, table: true, method: "POST", target: at("/acct/$batch"), body: func(n int) string {
		return "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n" + many(n, "", func(i int) string {
			return "--c\r\nContent-Type: application/http\r\n\r\nPUT /acct/Tab(PartitionKey='q',RowKey='" + word(n-i) + "') HTTP/1.1\r\nContent-Type: application/json\r\n\r\n" + "{}\r\n"
		}) + "--c--\r\n--b--\r\n"
	}, header: func(int) []string { return []string{"Content-Type: multipart/mixed; boundary=b"} }},
}

// bench is both services behind their fronts, one that lets everybody in, and for the Blob service one with the gate.
type bench struct{ open, gated, tables *resttest.Server }

func newBench(t *testing.T) *bench {
	store, registry := enginetest.New(t), account.NewRegistry()
	accounts, err := account.OpenStore(context.Background(), store, registry, nil)
	require.NoError(t, err)
	require.NoError(t, accounts.Configure(context.Background(), resttest.Account()))
	blobs := func() *blob.Service {
		s := blob.New(blob.Options{Store: store, Accounts: accounts})
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	open, gated, tables := blobs(), blobs(), table.New(table.Options{Store: store, Accounts: accounts})
	t.Cleanup(tables.Close)
	open.Authorize(resttest.AllowAll{})
	gated.Authorize(gate.New(gate.Options{Blob: gated}))
	tables.Authorize(resttest.AllowAll{})
	b := &bench{resttest.Start(t, &rest.Front{Accounts: registry, Blob: open}), resttest.Start(t, &rest.Front{Accounts: registry, Blob: gated}), resttest.Start(t, &rest.Front{Accounts: registry, Table: tables})}
	require.Equal(t, 201, b.open.Do("PUT", "/acct/con?restype=container", "").Status)
	require.Equal(t, 201, b.tables.Do("POST", "/acct/Tables", `{"TableName":"Tab"}`, "Content-Type: application/json").Status)
	return b
}

// What a request costs grows with its size, and no faster: what its loops look at, and the memory that it takes, are counted for n of
// what a client may choose the number of and for four times as many.
func TestCostIsLinear(t *testing.T) {
	b := newBench(t)
	for _, c := range costlies {
		t.Run(c.name, func(t *testing.T) {
			looks, bytes := c.measure(t, b, c.n)
			manyLooks, manyBytes := c.measure(t, b, 4*c.n)
			require.LessOrEqual(t, manyLooks, 5*looks+2000, "loops")
			require.LessOrEqual(t, manyBytes, 6*bytes+3<<20, "bytes allocated") // buffers of pools come and go
		})
	}
}

// measure is the least that a request of n costs, of some.
func (c *costly) measure(t *testing.T, b *bench, n int) (looks int64, bytes uint64) {
	s := b.open
	switch {
	case c.table:
		s = b.tables
	case c.gate:
		s = b.gated
	}
	if c.prepare != nil {
		c.prepare(func(method, target, body string, header ...string) {
			r := s.Do(method, target, body, header...)
			require.Less(t, r.Status, 300, "%s", r)
		}, n)
	}
	var body string
	if c.body != nil {
		body = c.body(n)
	}
	var header []string
	if c.header != nil {
		header = c.header(n)
	}
	target := c.target(n)
	for i := range 3 {
		conn := s.Dial()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		looked := invariants.Looked()
		r := conn.Do(c.method, target, body, header...)
		now := invariants.Looked() - looked
		runtime.ReadMemStats(&after)
		require.NotContains(t, []int{414, 431, 500, 503}, r.Status, "%s", r)
		if i == 0 {
			looks, bytes = now, after.TotalAlloc-before.TotalAlloc
		}
		looks, bytes = min(looks, now), min(bytes, after.TotalAlloc-before.TotalAlloc)
	}
	return looks, bytes
}
