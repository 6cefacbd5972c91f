package server_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/auth/authtest"
	"github.com/blobd/blobd/internal/auth/bearer"
	"github.com/blobd/blobd/internal/auth/gate"
	"github.com/blobd/blobd/internal/blob"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/table"
)

// row is what authorization has of an operation.
type row struct {
	service auth.Service
	name    string
	method  string
	level   rest.Level
	needs   *auth.Needs
}

// rows are all operations of both services: what is in the tables is what is tested.
func rows() (all []row) {
	for i := range blob.Operations {
		op := &blob.Operations[i]
		name := op.Name
		if slices.ContainsFunc(op.When, func(s rest.Selector) bool { return s.Name == "x-ms-lease-action" }) {
			name += "/break"
		}
		all = append(all, row{auth.Blob, name, op.Methods, op.Level, &op.Needs})
	}
	for i := range table.Operations {
		op := &table.Operations[i]
		all = append(all, row{auth.Table, op.Name, op.Methods, op.Level, &op.Needs})
	}
	return all
}

// expected says who is let in to each operation, from the REST pages on SAS and on permissions for operations: the letters of a service
// SAS, the letters of an account SAS, its resource types, the level of public access. An operation that is not here fails the test.
var expected = func() map[string][4]string {
	text, err := os.ReadFile("testdata/authorization.txt")
	if err != nil {
		panic(err)
	}
	m := map[string][4]string{}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		m[f[0]] = [4]string{f[1], f[2], f[3], f[4]}
	}
	return m
}()

const none = "-"

// known is since when a letter opens anything, by kind of resource: b blob, c container, s account, t table.
var known = map[byte]map[rune]string{
	'b': {'r': "", 'd': "", 'w': "", 'a': "2015-04-05", 'c': "2015-04-05", 'x': "2019-10-10", 'y': "2019-10-10", 't': "2019-12-12",
		'm': "2020-02-10", 'e': "2020-02-10", 'o': "2020-02-10", 'p': "2020-02-10", 'i': "2020-06-12"},
	'c': {'r': "", 'd': "", 'w': "", 'l': "", 'a': "2015-04-05", 'c': "2015-04-05", 'x': "2019-10-10", 't': "2019-12-12", 'f': "2021-04-10",
		'm': "2020-02-10", 'e': "2020-02-10", 'o': "2020-02-10", 'p': "2020-02-10", 'i': "2020-06-12"},
	's': {'r': "", 'd': "", 'w': "", 'l': "", 'a': "", 'c': "", 'u': "", 'p': "", 'x': "2019-10-10", 'y': "2019-10-10", 't': "2019-12-12",
		'f': "2019-12-12", 'm': "2020-02-10", 'e': "2020-02-10", 'o': "2020-02-10", 'i': "2020-06-12"},
	't': {'r': "", 'a': "", 'u': "", 'd': ""},
}

const letters = "rwdxylacuptfimeo"

// opens evaluates an expectation for letters that are known at a version.
func opens(expression, letters string, kind byte, version protocol.Version) bool {
	if expression == none {
		return false
	}
	if expression == "*" {
		return true
	}
	for alternative := range strings.SplitSeq(expression, "|") {
		all := true
		for letter := range strings.SplitSeq(alternative, "&") {
			since, ok := known[kind][rune(letter[0])]
			all = all && strings.Contains(letters, letter) && ok && string(version) >= since
		}
		if all {
			return true
		}
	}
	return false
}

var (
	clock = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	owner = account.Development(clock)
)

// request addresses what the operation works on.
func (r *row) request(query authtest.Pairs) *auth.Request {
	q := &auth.Request{
		Service: r.service, Method: strings.Fields(r.method)[0], Account: owner.Name, RawPath: "/x", Version: protocol.Newest,
		Headers: authtest.Pairs{{Name: "x-ms-version", Value: string(protocol.Newest)}}, Query: query, ContentLength: -1,
		Client: netip.MustParseAddr("127.0.0.1"), HTTPS: true, Now: clock,
	}
	switch r.level {
	case rest.Container:
		q.Container = "c"
	case rest.Blob:
		q.Container, q.Blob = "c", "b"
	case rest.Entities, rest.TableEntity:
		q.Table = "Tab"
	}
	return q
}

func pairs(nameValue ...string) (p authtest.Pairs) {
	for i := 0; i < len(nameValue); i += 2 {
		p = append(p, authtest.Pair{Name: nameValue[i], Value: nameValue[i+1]})
	}
	return p
}

const expiry = "2026-11-23T13:00:00Z"

// accountSAS is signed as the reference says, apart from the code under test.
func accountSAS(v protocol.Version, permission, services, types string) authtest.Pairs {
	text := owner.Name + "\n" + permission + "\n" + services + "\n" + types + "\n\n" + expiry + "\n\n\n" + string(v) + "\n"
	if v >= "2020-12-06" {
		text += "\n"
	}
	return pairs("sv", string(v), "ss", services, "srt", types, "sp", permission, "se", expiry, "sig", owner.Keys[0].Sign([]byte(text)))
}

// serviceSAS is for a blob (kind b), its container (c) or a table (t).
func serviceSAS(v protocol.Version, kind byte, permission string) authtest.Pairs {
	resource := "/" + owner.Name + map[byte]string{'b': "/c/b", 'c': "/c", 't': "/tab"}[kind]
	if v >= "2015-02-21" {
		resource = map[byte]string{'b': "/blob", 'c': "/blob", 't': "/table"}[kind] + resource
	}
	lines := []string{permission, "", expiry, resource, ""}
	if v >= "2015-04-05" {
		lines = append(lines, "", "")
	}
	lines = append(lines, string(v))
	tail := 0
	switch {
	case kind == 't':
		tail = 4
	case v >= "2020-12-06":
		lines, tail = append(lines, string(kind)), 7
	case v >= "2018-11-09":
		lines, tail = append(lines, string(kind)), 6
	case v >= "2013-08-15":
		tail = 5
	}
	lines = append(lines, make([]string, tail)...)
	q := pairs("sv", string(v), "sp", permission, "se", expiry, "sig", owner.Keys[0].Sign([]byte(strings.Join(lines, "\n"))))
	if kind == 't' {
		return append(q, pairs("tn", "Tab")...)
	}
	return append(q, pairs("sr", string(kind))...)
}

// levels answers for every container and table alike.
type levels auth.Access

func (l levels) Access(context.Context, string, string) (auth.Access, error) {
	return auth.Access(l), nil
}

// Every operation, at every signed version, by every kind of signature, with each letter alone and, at the newest version, with
// each two: let in exactly when the reference says so.
func TestAuthorizationMatrix(t *testing.T) {
	g := gate.New(gate.Options{Blob: levels{}, Table: levels{}})
	permissions := strings.Split(letters, "")
	pairsOfLetters := slices.Clone(permissions)
	for i := range letters {
		for j := i + 1; j < len(letters); j++ {
			pairsOfLetters = append(pairsOfLetters, string(letters[i])+string(letters[j]))
		}
	}
	decisions := 0
	check := func(r *row, q authtest.Pairs, want bool, what string) {
		t.Helper()
		decisions++
		_, err := g.Authorize(context.Background(), owner, r.request(q), r.needs)
		if (err == nil) != want {
			t.Errorf("%s %s: got %v, want let in: %v", r.name, what, err, want)
		}
	}
	for _, r := range rows() {
		want, ok := expected[r.name]
		require.True(t, ok, "%s is not in testdata/authorization.txt: who may call it?", r.name)
		if r.needs.Open {
			require.Equal(t, "open", want[3])
			continue
		}
		for _, v := range protocol.KnownVersions() {
			if v < "2012-02-12" {
				continue
			}
			some := permissions
			if v == protocol.Newest {
				some = pairsOfLetters
			}
			for _, p := range some {
				kinds := "bc"
				if r.service == auth.Table {
					kinds = "t"
				}
				for _, kind := range []byte(kinds) {
					addressed := r.level == rest.Blob || r.level == rest.Container && kind == 'c' || r.service == auth.Table && (r.level == rest.Entities || r.level == rest.TableEntity || r.level == rest.Batch)
					check(&r, serviceSAS(v, kind, p), addressed && !r.needs.BearerOnly && opens(want[0], p, kind, v), fmt.Sprintf("%s by %c with %s", v, kind, p))
				}
				if v < "2015-04-05" {
					continue
				}
				for _, types := range []string{"s", "c", "o"} {
					ok := strings.Contains(want[2], types) && !r.needs.BearerOnly && opens(want[1], p, 's', v)
					check(&r, accountSAS(v, p, string(byte(r.service)), types), ok, fmt.Sprintf("%s by account with %s, %s", v, p, types))
				}
			}
		}
		for _, types := range []string{"s", "c", "o"} {
			other := map[auth.Service]string{auth.Blob: "tqf", auth.Table: "bqf"}[r.service]
			check(&r, accountSAS(protocol.Newest, "rwdxylacuptfi", other, types), false, "by account for other services")
		}
	}
	t.Logf("%d decisions", decisions)
}

// Without credentials, an operation lets in at the levels of public access that the reference says, and by GET and HEAD only.
func TestAnonymousMatrix(t *testing.T) {
	for _, r := range rows() {
		want := expected[r.name][3]
		for level, let := range map[auth.PublicAccess]bool{
			auth.PublicNever:     want == "open",
			auth.PublicBlob:      want == "open" || want == "blob",
			auth.PublicContainer: want == "open" || want == "blob" || want == "container",
		} {
			g := gate.New(gate.Options{Blob: levels{Public: level}, Table: levels{Public: level}})
			for method := range strings.FieldsSeq(r.method) {
				q := r.request(nil)
				q.Query, q.Method = authtest.Pairs{}, method
				grant, err := g.Authorize(context.Background(), owner, q, r.needs)
				require.Equal(t, let, err == nil, "%s %s, public level %d: %v", r.name, method, level, err)
				if err == nil {
					require.Equal(t, auth.Anonymous, grant.Scheme)
					continue
				}
				require.ErrorIs(t, err, protocol.ErrResourceNotFound)
			}
			if want != "open" && want != none {
				closed := *owner
				closed.DenyPublicAccess = true
				q := r.request(nil)
				q.Query = authtest.Pairs{}
				_, err := g.Authorize(context.Background(), &closed, q, r.needs)
				require.ErrorIs(t, err, protocol.ErrPublicAccessNotPermitted)
			}
		}
	}
}

// BenchmarkAuthorize is the whole decision on one request, from the header to the grant.
func BenchmarkAuthorize(b *testing.B) {
	tokens, token := benchIssuer(b)
	g := gate.New(gate.Options{Blob: levels{}, Bearer: tokens})
	read := &row{auth.Blob, "GetBlob", "GET", rest.Blob, &auth.Needs{SAS: "r", AccountSAS: "r", ResourceTypes: "o", Role: auth.ActionRead}}
	borne := read.request(authtest.Pairs{})
	borne.HTTPS, borne.Headers = true, pairs("Host", "127.0.0.1:10000", "User-Agent", "azsdk-go-azblob/v1.8.3", "X-Ms-Version", "2026-12-06", "Authorization", "Bearer "+token)
	keyed := read.request(authtest.Pairs{})
	message := "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-client-request-id:6b2a4c1e-6f1f-4d7a-8a53-2f2b7f0f7a11\nx-ms-date:Mon, 23 Nov 2026 12:00:00 GMT\nx-ms-version:2026-12-06\n/devstoreaccount1/x"
	keyed.Headers = pairs("Host", "127.0.0.1:10000", "User-Agent", "azsdk-go-azblob/v1.8.3", "X-Ms-Client-Request-Id", "6b2a4c1e-6f1f-4d7a-8a53-2f2b7f0f7a11",
		"X-Ms-Date", "Mon, 23 Nov 2026 12:00:00 GMT", "X-Ms-Version", "2026-12-06", "Authorization", "SharedKey devstoreaccount1:"+owner.Keys[0].Sign([]byte(message)))
	for _, c := range []struct {
		name    string
		request *auth.Request
	}{
		{"SharedKey", keyed},
		{"AccountSAS", read.request(accountSAS(protocol.Newest, "rwdxylacuptfi", "b", "sco"))},
		{"ServiceSAS", read.request(serviceSAS(protocol.Newest, 'c', "rl"))},
		{"Bearer", borne},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := g.Authorize(context.Background(), owner, c.request, read.needs); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// benchIssuer is a verifier of the tokens of an issuer, and one of them: of three groups, one of which may read.
func benchIssuer(b *testing.B) (*bearer.Verifier, string) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(b, err)
	key := jose.JSONWebKey{Key: private, KeyID: "k", Algorithm: "RS256", Use: "sig"}
	var issuer *httptest.Server
	issuer = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keys" {
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.Public()}})
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": issuer.URL, "jwks_uri": issuer.URL + "/keys"})
	}))
	b.Cleanup(issuer.Close)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: private}, (&jose.SignerOptions{}).WithHeader("kid", key.KeyID))
	require.NoError(b, err)
	token, err := jwt.Signed(signer).Claims(map[string]any{"iss": issuer.URL, "aud": bearer.Resource, "oid": "11111111-1111-1111-1111-111111111111",
		"tid": "22222222-2222-2222-2222-222222222222", "groups": []string{"a", "b", "readers"}, "nbf": clock.Add(-time.Minute).Unix(), "exp": clock.Add(time.Hour).Unix()}).Serialize()
	require.NoError(b, err)
	v, err := bearer.New(bearer.Config{Issuer: issuer.URL, Now: func() time.Time { return clock }, Roles: []bearer.Assignment{
		{ID: "somebody", Role: bearer.BlobOwner}, {Kind: bearer.Group, ID: "readers", Role: bearer.BlobReader},
	}}, nil)
	require.NoError(b, err)
	return v, token
}
