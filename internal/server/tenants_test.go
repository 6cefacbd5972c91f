package server_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/arm"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/auth/authtest"
	"github.com/blobd/blobd/internal/auth/bearer"
	"github.com/blobd/blobd/internal/auth/gate"
	"github.com/blobd/blobd/internal/auth/sas"
	"github.com/blobd/blobd/internal/blob"
	"github.com/blobd/blobd/internal/directory"
	"github.com/blobd/blobd/internal/directory/issuer"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/resttest"
	"github.com/blobd/blobd/internal/table"
)

// street is both services with the accounts of tenants, who sign in at one issuer.
type street struct {
	t           testing.TB
	engine      engine.Store
	gate        *gate.Gate
	accounts    *account.Store
	directory   *directory.Directory
	issuer      *issuer.Issuer
	blob, table string // addresses
	word        string // of ownersDoor
}

// streetDoor is a gate with a door for the test itself.
type streetDoor struct {
	*gate.Gate
	ownersDoor
}

// Authorize implements auth.Authorizer.
func (d streetDoor) Authorize(ctx context.Context, a *account.Account, r *auth.Request, needs *auth.Needs) (auth.Grant, error) {
	return d.ownersDoor.Authorize(ctx, a, r, needs)
}

// tenant has a subscription in which a user and a program may do everything, and an account there.
type tenant struct {
	account   *account.Account
	user, app *directory.Principal
	tokens    map[string]string // by who and audience
}

const (
	armBase      = "https://management.local.example"
	tenantSecret = "correct horse battery"
	storageOf    = "https://storage.azure.com"
)

func newStreet(t testing.TB) *street {
	ctx := context.Background()
	s := &street{t: t, engine: enginetest.New(t), word: rand.Text()}
	registry := account.NewRegistry()
	var err error
	s.accounts, err = account.OpenStore(ctx, s.engine, registry, nil)
	require.NoError(t, err)
	s.directory, err = directory.Open(ctx, s.engine, s.accounts, time.Now)
	require.NoError(t, err)
	s.issuer = issuer.New(armBase, s.directory, time.Now)
	blobs := blob.New(blob.Options{Store: s.engine, Accounts: s.accounts, Forget: arm.Forget(s.directory, s.accounts, auth.Blob)})
	tables := table.New(table.Options{Store: s.engine, Accounts: s.accounts, Forget: arm.Forget(s.directory, s.accounts, auth.Table)})
	t.Cleanup(func() { tables.Close(); require.NoError(t, blobs.Close()) })
	known, err := bearer.OpenDirectory(ctx, s.engine)
	require.NoError(t, err)
	verifier, err := bearer.New(bearer.Config{
		Issuer: s.issuer.URL(), Metadata: s.issuer.Metadata(), AuthorizationURI: s.issuer.AuthorizationURI(), Client: issuer.Client(s.issuer),
		Assigned: func(p *bearer.Principal, a *account.Account) []bearer.Assignment {
			return arm.DataRoles(s.directory, p.ObjectID, a)
		},
	}, known)
	require.NoError(t, err)
	s.gate = gate.New(gate.Options{Blob: blobs, Table: tables, Bearer: verifier})
	blobs.Authorize(streetDoor{s.gate, ownersDoor{s.gate, s.word}})
	tables.Authorize(streetDoor{s.gate, ownersDoor{s.gate, s.word}})
	s.blob = resttest.Start(t, &rest.Front{Accounts: registry, Blob: blobs}).Addr
	s.table = resttest.Start(t, &rest.Front{Accounts: registry, Table: tables}).Addr
	return s
}

// tenant makes one, whose account has something of everything; each of it holds a word that only this tenant may read.
func (s *street) tenant(name string) *tenant {
	ctx := context.Background()
	user, err := s.directory.AddPrincipal(ctx, directory.User, name+"@example", tenantSecret)
	require.NoError(s.t, err)
	app, err := s.directory.AddPrincipal(ctx, directory.ServicePrincipal, name+"-app", tenantSecret)
	require.NoError(s.t, err)
	sub, err := s.directory.AddSubscription(ctx, name, 10)
	require.NoError(s.t, err)
	_, _, err = s.directory.PutGroup(ctx, &directory.Group{Subscription: sub.ID, Name: "grp", Location: "local"})
	require.NoError(s.t, err)
	for _, who := range []*directory.Principal{user, app} {
		for _, role := range []string{directory.OwnerRole, directory.BlobOwnerRole, directory.TableContributorRole} {
			_, err := s.directory.Assign(ctx, directory.Assignment{ID: uuid.NewString(), Principal: who.ObjectID, Role: role, Scope: "/subscriptions/" + sub.ID})
			require.NoError(s.t, err)
		}
	}
	a := account.New(name+"acct", time.Now(), account.GenerateKey(), account.GenerateKey())
	a.Resource = &account.Resource{Subscription: sub.ID, Group: "grp", Location: "local", KeysCreated: [2]time.Time{time.Now(), time.Now()}}
	require.NoError(s.t, s.accounts.Create(ctx, a, 0))
	who := &tenant{account: s.accounts.Get(a.Name), user: user, app: app, tokens: map[string]string{}}

	canary := "SECRETof" + name
	own := func(service auth.Service, method, target, body string, header ...string) {
		r := s.request(service, who, method, target, body, header...)
		r.Header.Set("x-owner", s.word)
		require.Less(s.t, s.send(r).status, 300, "%s %s", method, target)
	}
	own(auth.Blob, "PUT", "/con?restype=container", "", "x-ms-meta-a: "+canary)
	for _, c := range []struct{ name, kind, length string }{{"dir/b", "BlockBlob", ""}, {"page", "PageBlob", "1024"}, {"append", "AppendBlob", ""}} {
		header := []string{"x-ms-blob-type: " + c.kind, "x-ms-tags: tag=" + canary, "x-ms-meta-m: " + canary}
		body := canary
		if c.kind != "BlockBlob" {
			body = ""
		}
		if c.length != "" {
			header = append(header, "x-ms-blob-content-length: "+c.length)
		}
		own(auth.Blob, "PUT", "/con/"+c.name, body, header...)
		own(auth.Blob, "PUT", "/con/"+c.name+"?comp=snapshot", "")
	}
	own(auth.Blob, "PUT", "/con/page?comp=page", canary+strings.Repeat(".", 512-len(canary)), "x-ms-page-write: update", "x-ms-range: bytes=0-511")
	own(auth.Blob, "PUT", "/con/append?comp=appendblock", canary)
	own(auth.Blob, "PUT", "/con/staged?comp=block&blockid=AAAA", canary)
	own(auth.Table, "POST", "/Tables", `{"TableName":"Tab"}`)
	own(auth.Table, "POST", "/Tab", `{"PartitionKey":"p","RowKey":"r","V":"`+canary+`"}`)
	return who
}

// token signs somebody of a tenant in.
func (s *street) token(who *tenant, p *directory.Principal, audience string) string {
	key := p.ObjectID + audience
	if who.tokens[key] == "" {
		form := url.Values{"grant_type": {"password"}, "client_id": {uuid.NewString()}, "username": {p.Name}, "password": {tenantSecret}, "scope": {audience + "/.default"}}
		if p.Kind == directory.ServicePrincipal {
			form = url.Values{"grant_type": {"client_credentials"}, "client_id": {p.AppID}, "client_secret": {tenantSecret}, "scope": {audience + "/.default"}}
		}
		r := httptest.NewRequest("POST", armBase+"/adfs/oauth2/token", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		s.issuer.ServeHTTP(w, r)
		var body struct {
			Token string `json:"access_token"`
		}
		require.NoError(s.t, json.Unmarshal(w.Body.Bytes(), &body), w.Body.String())
		who.tokens[key] = body.Token
	}
	return who.tokens[key]
}

// request addresses something of a tenant's account.
func (s *street) request(service auth.Service, at *tenant, method, target, body string, header ...string) *http.Request {
	addr := s.blob
	if service == auth.Table {
		addr = s.table
	}
	r, err := http.NewRequest(method, "http://"+addr+"/"+at.account.Name+target, strings.NewReader(body))
	require.NoError(s.t, err)
	r.Header.Set("x-ms-version", "2026-02-06")
	if service == auth.Table {
		r.Header.Set("Accept", "application/json;odata=nometadata")
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	return r
}

type reply struct {
	status int
	header http.Header
	text   string
}

func (s *street) send(r *http.Request) reply {
	a, err := http.DefaultClient.Do(r)
	require.NoError(s.t, err)
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	require.NoError(s.t, err)
	return reply{a.StatusCode, a.Header, string(text)}
}

// volatile is what differs between two answers that tell the same: ids, times, signatures, and what the reader has sent.
var volatile = regexp.MustCompile(`(?s)[Ss]tring to sign.*(?:</AuthenticationErrorDetail>|"}})|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.]+Z|[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} [\d:]+ GMT|[A-Za-z0-9+/]{43}=|Content-Length\S+`)

// shows is all that an answer tells its reader, but for the address that he has sent.
func (a reply) shows(target string) string {
	names := slices.Sorted(maps.Keys(a.header))
	path, _, _ := strings.Cut(target, "?")
	text := volatile.ReplaceAllString(fmt.Sprint(a.status, names, a.header.Get("x-ms-error-code"), a.header.Get("WWW-Authenticate"), a.text), "*")
	for _, p := range []string{path, strings.ReplaceAll(path, "'", "&#39;"), strings.ReplaceAll(path, "'", "&apos;"), strings.ToLower(path), url.PathEscape(path)} {
		text = strings.ReplaceAll(text, p, "@")
	}
	return text
}

// key is a way to sign a request, by what the holder has of his own account.
type key struct {
	name string
	// use adds to a request at somebody's account what its holder can make for it.
	use func(s *street, service auth.Service, holder, at *tenant, r *http.Request)
}

// toSign is the text that the server would have signed, as it tells in its refusal.
func (s *street) toSign(service auth.Service, at *tenant, r *http.Request) string {
	_, err := s.gate.Authorize(context.Background(), at.account, authtest.FromHTTP(service, r, time.Now()), &anything)
	for _, before := range []string{"String to sign used was ", "string to sign: '"} {
		if _, text, ok := strings.Cut(fmt.Sprint(err), before); ok {
			return strings.TrimSuffix(text, "'.")
		}
	}
	return ""
}

func byToken(user bool, audience string) func(*street, auth.Service, *tenant, *tenant, *http.Request) {
	return func(s *street, _ auth.Service, holder, _ *tenant, r *http.Request) {
		p := holder.app
		if user {
			p = holder.user
		}
		r.Header.Set("Authorization", "Bearer "+s.token(holder, p, audience))
	}
}

// bySharedKey signs with the holder's key: what the server expects, in the name of the account there or of the holder's.
func bySharedKey(scheme string, ownName bool) func(*street, auth.Service, *tenant, *tenant, *http.Request) {
	return func(s *street, service auth.Service, holder, at *tenant, r *http.Request) {
		r.Header.Set("x-ms-date", time.Now().UTC().Format(http.TimeFormat))
		r.Header.Set("Authorization", scheme+" "+at.account.Name+":eA==")
		text, name := s.toSign(service, at, r), at.account.Name
		if ownName {
			name = holder.account.Name
		}
		r.Header.Set("Authorization", scheme+" "+name+":"+holder.account.Keys[1].Sign([]byte(text)))
	}
}

// bySignature adds a shared access signature of the holder's: for the address where it is used, or for the same in his own account.
func bySignature(own bool, fields func(s *street, service auth.Service, holder *tenant, r *http.Request) (authtest.Pairs, account.Key)) func(*street, auth.Service, *tenant, *tenant, *http.Request) {
	return func(s *street, service auth.Service, holder, at *tenant, r *http.Request) {
		q, k := fields(s, service, holder, r)
		with := func(sig string) {
			query := r.URL.RawQuery
			for _, f := range append(slices.Clone(q), authtest.Pair{Name: "sig", Value: sig}) {
				query += "&" + url.QueryEscape(f.Name) + "=" + url.QueryEscape(f.Value)
			}
			r.URL.RawQuery = strings.TrimPrefix(query, "&")
		}
		before := r.URL.RawQuery
		with("x")
		text := s.toSign(service, at, r)
		if own {
			text = strings.ReplaceAll(text, at.account.Name, holder.account.Name)
		}
		r.URL.RawQuery = before
		with(k.Sign([]byte(text)))
	}
}

const endless = "2099-01-01T00:00:00Z"

func ofAccount(_ *street, _ auth.Service, holder *tenant, _ *http.Request) (authtest.Pairs, account.Key) {
	return pairs("sv", "2026-02-06", "ss", "bt", "srt", "sco", "sp", "rwdlacuptfxi", "se", endless), holder.account.Keys[0]
}

func ofService(_ *street, service auth.Service, holder *tenant, r *http.Request) (authtest.Pairs, account.Key) {
	if service == auth.Table {
		return pairs("sv", "2026-02-06", "sp", "raud", "se", endless, "tn", tableOf(r)), holder.account.Keys[0]
	}
	return pairs("sv", "2026-02-06", "sr", "c", "sp", "racwdxltfi", "se", endless), holder.account.Keys[0]
}

func ofUser(s *street, service auth.Service, holder *tenant, r *http.Request) (authtest.Pairs, account.Key) {
	k := sas.DelegationKey{ObjectID: holder.user.ObjectID, TenantID: s.directory.Tenant(), Start: "2026-01-01T00:00:00Z", Expiry: endless, Service: string(byte(service)), Version: "2026-02-06"}
	q := pairs("sv", k.Version, "se", endless, "skoid", k.ObjectID, "sktid", k.TenantID, "skt", k.Start, "ske", k.Expiry, "sks", k.Service, "skv", k.Version)
	if service == auth.Table {
		q = append(q, pairs("tn", tableOf(r), "sp", "raud")...)
	} else {
		q = append(q, pairs("sr", "c", "sp", "racwdxlt")...)
	}
	return q, k.Derive(holder.account)
}

// tableOf is the table that a path names.
func tableOf(r *http.Request) string {
	name, _, _ := strings.Cut(r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:], "(")
	return name
}

var keys = []key{
	{"nothing", func(*street, auth.Service, *tenant, *tenant, *http.Request) {}},
	{"a user's token", byToken(true, storageOf)},
	{"a program's token", byToken(false, storageOf)},
	{"a token for the resource manager", byToken(true, armBase)},
	{"shared key", bySharedKey("SharedKey", false)},
	{"shared key, own name", bySharedKey("SharedKey", true)},
	{"shared key lite", bySharedKey("SharedKeyLite", false)},
	{"account SAS", bySignature(false, ofAccount)},
	{"account SAS for the own account", bySignature(true, ofAccount)},
	{"service SAS", bySignature(false, ofService)},
	{"service SAS for the own account", bySignature(true, ofService)},
	{"user delegation SAS", bySignature(false, ofUser)},
	{"user delegation SAS for the own account", bySignature(true, ofUser)},
}

// opens tells whether its holder gets in at his own account by a key.
func (k *key) opens(service auth.Service) bool {
	return k.name != "nothing" && !strings.Contains(k.name, "resource manager")
}

// stored is all that the store has, to compare.
func (s *street) stored() map[string]string {
	all := map[string]string{}
	require.NoError(s.t, s.engine.View(context.Background(), nil, func(r engine.Reader) error {
		for space := engine.SpaceAccount; space <= engine.SpaceEntityPart; space++ {
			it := r.Scan(space, nil, nil)
			for it.Next() {
				v, err := it.Value()
				if err != nil {
					return err
				}
				all[fmt.Sprintf("%02x %q", byte(space), it.Key())] = string(v)
			}
			if err := it.Close(); err != nil {
				return err
			}
		}
		return nil
	}))
	return all
}

// way is how an operation is asked for.
type way struct {
	service     auth.Service
	name        string
	method      string
	query, body string
	header      []string
	level       rest.Level
	open        bool
}

// ways are all operations of both services with all their methods: what is in the tables is what is tried.
func ways() (all []way) {
	add := func(service auth.Service, name, methods string, level rest.Level, comp, restype string, when []rest.Selector, open bool) {
		w := way{service: service, name: name, level: level, open: open}
		for _, s := range when {
			switch {
			case s.Query:
				continue
			case s.Value == "":
				s.Value = "1"
			}
			w.header = append(w.header, s.Name+": "+s.Value)
		}
		q := url.Values{}
		for name, value := range map[string]string{"comp": comp, "restype": restype} {
			if value != "" {
				q.Set(name, value)
			}
		}
		w.query = q.Encode()
		for _, m := range strings.Fields(methods) {
			w.method = m
			if service == auth.Table && m != "GET" && m != "HEAD" && m != "DELETE" && level != rest.Account {
				w.body = `{"PartitionKey":"p","RowKey":"r","TableName":"Tab"}`
			}
			all = append(all, w)
		}
	}
	for i := range blob.Operations {
		op := &blob.Operations[i]
		add(auth.Blob, op.Name, op.Methods, op.Level, op.Comp, op.Restype, op.When, op.Needs.Open)
	}
	for i := range table.Operations {
		op := &table.Operations[i]
		add(auth.Table, op.Name, op.Methods, op.Level, op.Comp, op.Restype, op.When, op.Needs.Open)
	}
	return all
}

// theirs are places of each level that are there, each with some that are not.
var theirs = map[rest.Level][][]string{
	rest.Account:     {{""}, {"/"}},
	rest.Container:   {{"/con", "/not"}},
	rest.Blob:        {{"/con/dir/b", "/con/not/b", "/not/dir/b"}, {"/con/page"}, {"/con/append"}, {"/con/staged"}},
	rest.TableSet:    {{"/Tables('Tab')", "/Tables('Not')"}, {"/Tables"}},
	rest.Entities:    {{"/Tab", "/Not"}, {"/Tab()", "/Not()"}},
	rest.TableEntity: {{"/Tab(PartitionKey='p',RowKey='r')", "/Tab(PartitionKey='q',RowKey='r')", "/Not(PartitionKey='p',RowKey='r')"}},
	rest.Batch:       {{"/$batch"}},
}

// Two tenants on the data's side: with whatever its user and program have of their own - tokens, keys, signatures of every kind - neither
// reads, lists, changes or deletes anything in the other's account by any operation, nor learns what is there: what is there and what is
// not are refused in the same words.
func TestTenantsReachNoDataOfEachOther(t *testing.T) {
	s := newStreet(t)
	ours, them := s.tenant("ours"), s.tenant("theirs")
	for _, who := range []*tenant{ours, them} { // so that the service knows the maker of delegation keys
		r := s.request(auth.Blob, who, "POST", "/?restype=service&comp=userdelegationkey", "<KeyInfo><Expiry>"+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+"</Expiry></KeyInfo>")
		byToken(true, storageOf)(s, auth.Blob, who, who, r)
		a := s.send(r)
		require.Equal(t, 200, a.status, a.text)
	}
	for i := range keys {
		k := &keys[i]
		for service, target := range map[auth.Service]string{auth.Blob: "/con/dir/b", auth.Table: "/Tab(PartitionKey='p',RowKey='r')"} {
			r := s.request(service, them, "GET", target, "")
			k.use(s, service, them, them, r)
			a := s.send(r)
			require.Equal(t, k.opens(service), a.status == 200 && strings.Contains(a.text, "SECRETof"), "%s opens the own account: %d %s", k.name, a.status, a.text)
		}
	}

	before := s.stored()
	tried := 0
	for _, w := range ways() {
		for _, places := range theirs[w.level] {
			for i := range keys {
				k := &keys[i]
				first := ""
				for j, place := range places {
					target := strings.TrimSuffix(place+"?"+w.query, "?")
					r := s.request(w.service, them, w.method, target, w.body, w.header...)
					k.use(s, w.service, ours, them, r)
					a := s.send(r)
					tried++
					what := fmt.Sprintf("%s by %s at %s", w.name, k.name, r.URL)
					require.NotContains(t, fmt.Sprint(a.header, a.text), "SECRETof", what)
					if w.open {
						continue
					}
					require.GreaterOrEqual(t, a.status, 400, what)
					require.Less(t, a.status, 500, what)
					if shown := a.shows(place); j == 0 {
						first = shown
					} else {
						require.Equal(t, first, shown, "%s tells what is there", what)
					}
				}
			}
		}
	}
	require.Equal(t, before, s.stored())
	t.Logf("%d requests, %d ways, %d keys", tried, len(ways()), len(keys))
}

// What a tenant may do in its own account brings nothing over from the other's: not as the source of a copy, whatever it shows for it, nor
// in a batch.
func TestTenantsBringNothingOver(t *testing.T) {
	s := newStreet(t)
	ours, them := s.tenant("ours"), s.tenant("theirs")
	own := func(method, target, body string, header ...string) reply {
		r := s.request(auth.Blob, ours, method, target, body, header...)
		byToken(true, storageOf)(s, auth.Blob, ours, ours, r)
		return s.send(r)
	}
	source := func(holder *tenant, path string, k *key) string {
		r := s.request(auth.Blob, them, "GET", path, "")
		if k != nil {
			k.use(s, auth.Blob, holder, them, r)
		}
		return r.URL.String()
	}
	named := func(name string) *key {
		i := slices.IndexFunc(keys, func(k key) bool { return k.name == name })
		return &keys[i]
	}
	snapshot := url.QueryEscape(time.Now().UTC().Format("2006-01-02T15:04:05.0000000Z"))
	copies := 0
	for i, w := range ways() {
		from := slices.ContainsFunc(w.header, func(h string) bool { return strings.HasPrefix(h, "x-ms-copy-source") }) || w.name == "IncrementalCopyBlob"
		if w.service != auth.Blob || !from {
			continue
		}
		copies++
		to, there, missing, slot := fmt.Sprintf("/con/new%d", i), "/con/dir/b", "/con/not/b", ""
		extra := []string{"x-ms-source-range: bytes=0-3"}
		query := w.query
		switch w.name {
		case "AppendBlockFromURL":
			to = "/con/append"
		case "PutPageFromURL":
			to, there, missing, extra = "/con/page", "/con/page", "/con/none", []string{"x-ms-source-range: bytes=0-511", "x-ms-range: bytes=512-1023", "x-ms-page-write: update"}
		case "PutBlockFromURL":
			query += "&blockid=AAAA"
		case "IncrementalCopyBlob":
			there, missing, slot = "/con/page", "/con/none", "?snapshot="+snapshot
		}
		for _, by := range []*key{nil, named("account SAS"), named("account SAS for the own account"), named("service SAS"), named("service SAS for the own account"), named("user delegation SAS")} {
			for _, bearerToo := range []bool{false, true} {
				first := ""
				for j, path := range []string{there, missing, "/not/b"} {
					header := append(slices.Clone(w.header), extra...)
					header = append(header, "x-ms-copy-source: "+source(ours, path+slot, by))
					if bearerToo {
						header = append(header, "x-ms-copy-source-authorization: Bearer "+s.token(ours, ours.user, storageOf))
					}
					a := own("PUT", to+"?"+query, "", header...)
					what := fmt.Sprintf("%s from %s: %d %s", w.name, header[len(header)-1], a.status, a.text)
					require.GreaterOrEqual(t, a.status, 400, what)
					require.Less(t, a.status, 500, what)
					if shown := a.shows(path); j == 0 {
						first = shown
					} else {
						require.Equal(t, first, shown, what)
					}
				}
			}
		}
		require.NotContains(t, own("GET", to, "").text, "SECREToftheirs")
	}
	require.GreaterOrEqual(t, copies, 6)
	// The other way round it works: it is the signature that was missing.
	a := own("PUT", "/con/given", "", "x-ms-requires-sync: true", "x-ms-copy-source: "+source(them, "/con/dir/b", named("service SAS")))
	require.Equal(t, 202, a.status, a.text)
	require.Equal(t, "SECRETof"+"theirs", own("GET", "/con/given", "").text)

	before := s.stored()
	for _, path := range []string{"/theirsacct/con/dir/b", "/oursacct/../theirsacct/con/dir/b", "http://" + s.blob + "/theirsacct/con/dir/b"} {
		part := "--b\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\nContent-ID: 0\r\n\r\nDELETE " + path + " HTTP/1.1\r\nAuthorization: Bearer " +
			s.token(ours, ours.user, storageOf) + "\r\nContent-Length: 0\r\n\r\n--b--\r\n"
		a := own("POST", "/?comp=batch", part, "Content-Type: multipart/mixed; boundary=b")
		require.NotContains(t, a.text, "HTTP/1.1 202", path)
		change := "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\nDELETE http://" + s.table +
			"/theirsacct/Tab(PartitionKey='p',RowKey='r') HTTP/1.1\r\nIf-Match: *\r\n\r\n--c--\r\n--b--\r\n"
		r := s.request(auth.Table, ours, "POST", "/$batch", change, "Content-Type: multipart/mixed; boundary=b")
		byToken(true, storageOf)(s, auth.Table, ours, ours, r)
		s.send(r)
		changed := s.stored()
		for k, v := range before {
			if strings.Contains(k, "theirsacct") {
				require.Equal(t, v, changed[k], "%s changed %s", path, k)
			}
		}
	}
}
