package server_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/auth/authtest"
	"github.com/blobd/blobd/internal/auth/gate"
	"github.com/blobd/blobd/internal/blob"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/resttest"
	"github.com/blobd/blobd/internal/table"
)

// ownersDoor lets the test itself in by a header that nobody can guess; everybody else comes to the gate.
type ownersDoor struct {
	auth.Authorizer
	word string
}

func (d ownersDoor) Authorize(ctx context.Context, a *account.Account, r *auth.Request, needs *auth.Needs) (auth.Grant, error) {
	if word, _ := r.Headers.Get("x-owner"); word == d.word {
		return auth.Grant{Scheme: auth.SharedKey, Letters: auth.AllLetters, Principal: a.Name}, nil
	}
	return d.Authorizer.Authorize(ctx, a, r, needs)
}

// prison is both services with a little of everything, of which each credential opens a part.
type prison struct {
	t           testing.TB // of the moment
	blob, table string     // addresses
	word        string
	credentials []credential
}

// credential is a signature, or none, with what it may change and what it must not show.
type credential struct {
	name      string
	service   auth.Service
	signature authtest.Pairs
	changes   func(key string) bool
	hidden    []string // canaries
}

const home = "/" + account.DevName

func newPrison(t testing.TB) *prison {
	store, registry := enginetest.New(t), account.NewRegistry()
	accounts, err := account.OpenStore(context.Background(), store, registry, nil)
	require.NoError(t, err)
	require.NoError(t, accounts.Configure(context.Background(), account.Development(time.Now())))
	blobs, tables := blob.New(blob.Options{Store: store, Accounts: accounts}), table.New(table.Options{Store: store, Accounts: accounts})
	t.Cleanup(func() { _ = blobs.Close() })
	t.Cleanup(tables.Close)
	g := gate.New(gate.Options{Blob: blobs, Table: tables})
	p := &prison{t: t, word: rand.Text()}
	blobs.Authorize(ownersDoor{g, p.word})
	tables.Authorize(ownersDoor{g, p.word})
	p.blob = resttest.Start(t, &rest.Front{Accounts: registry, Blob: blobs}).Addr
	p.table = resttest.Start(t, &rest.Front{Accounts: registry, Table: tables}).Addr

	p.owner(p.blob, "PUT", "/mine?restype=container", "")
	p.owner(p.blob, "PUT", "/secret?restype=container", "", "x-ms-meta-a: SECRETcontainer")
	p.owner(p.blob, "PUT", "/public?restype=container", "", "x-ms-blob-public-access: blob")
	for _, name := range []string{"mine/dir", "mine/dir/a", "mine/other", "mine/d/1", "mine/d/2", "secret/b", "public/p"} {
		canary := strings.ReplaceAll(name, "/", "-")
		p.owner(p.blob, "PUT", "/"+name, "SECRET"+canary+".", "x-ms-blob-type: BlockBlob", "x-ms-tags: tag=SECRETtag", "x-ms-meta-m: SECRET"+canary+".")
	}
	taken, _ := p.owner(p.blob, "PUT", "/mine/dir?comp=snapshot", "")
	snapshot := taken.Get("x-ms-snapshot")
	for _, name := range []string{"Mine", "Other"} {
		p.owner(p.table, "POST", "/Tables", `{"TableName":"`+name+`"}`, "Content-Type: application/json")
		for _, pk := range []string{"a", "b", "c"} {
			p.owner(p.table, "POST", "/"+name, fmt.Sprintf(`{"PartitionKey":%q,"RowKey":"r","V":"SECRET%s-%s."}`, pk, name, pk), "Content-Type: application/json")
		}
	}
	const (
		dir, below, other, d1, d2, secret, public = "SECRETmine-dir.", "SECRETmine-dir-a.", "SECRETmine-other.", "SECRETmine-d-1.", "SECRETmine-d-2.", "SECRETsecret-b.", "SECRETpublic-p."
		tags, container                           = "SECRETtag", "SECRETcontainer"
	)
	sign := func(service auth.Service, resource string, q authtest.Pairs) authtest.Pairs {
		return signFor(t, service, resource, q)
	}
	const until = "2099-01-01"
	none := func(string) bool { return false }
	p.credentials = []credential{
		{"blob", auth.Blob, sign(auth.Blob, "mine/dir", pairs("sv", "2017-04-17", "sr", "b", "sp", "racwd", "se", until)),
			func(k string) bool { return strings.HasPrefix(k, "blob mine/dir ") }, []string{below, other, d1, d2, secret, container}},
		{"blob", auth.Blob, sign(auth.Blob, "mine/dir", pairs("sv", "2026-02-06", "sr", "b", "sp", "rcw", "se", until)),
			func(k string) bool { return strings.HasPrefix(k, "blob mine/dir ") }, []string{below, other, d1, d2, secret, container, tags}},
		{"snapshot", auth.Blob, sign(auth.Blob, "mine/dir", pairs("sv", "2026-02-06", "sr", "bs", "sp", "rcw", "se", until, "snapshot", snapshot)),
			none, []string{below, other, d1, d2, secret, container, tags}},
		{"container", auth.Blob, sign(auth.Blob, "mine", pairs("sv", "2014-02-14", "sr", "c", "sp", "rl", "se", until)), none, []string{secret, container, tags}},
		{"directory", auth.Blob, sign(auth.Blob, "mine/d/1", pairs("sv", "2026-12-06", "sr", "d", "sdd", "1", "sp", "racwlf", "se", until)),
			func(k string) bool {
				return strings.HasPrefix(k, "blob mine/d/") || strings.HasPrefix(k, "blob mine/d ")
			}, []string{dir, below, other, secret, container, tags}},
		{"table", auth.Table, sign(auth.Table, "Mine", pairs("sv", "2019-02-02", "tn", "Mine", "sp", "raud", "se", until, "spk", "a", "epk", "b")),
			func(k string) bool { return strings.HasPrefix(k, "row Mine a") || strings.HasPrefix(k, "row Mine b") }, []string{"SECRETMine-c.", "SECRETOther-"}},
		{"account", auth.Blob, sign(auth.Blob, "mine/dir", pairs("sv", "2019-07-07", "ss", "b", "srt", "o", "sp", "r", "se", until)), none, []string{container, tags, "SECRETMine", "SECRETOther"}},
		{"nobody", auth.Blob, nil, none, []string{dir, below, other, d1, d2, secret, container, tags}},
		{"nobody on tables", auth.Table, nil, none, []string{"SECRET"}},
	}
	return p
}

// signFor signs for a resource by the account's key.
func signFor(t testing.TB, service auth.Service, resource string, q authtest.Pairs) authtest.Pairs {
	request := &auth.Request{Service: service, Method: "GET", Account: account.DevName, RawPath: "/x", PathStyle: true, Version: protocol.Newest,
		Headers: authtest.Pairs{}, ContentLength: -1, Now: time.Now(), Query: append(q, authtest.Pair{Name: "sig", Value: "x"})}
	request.Container, request.Blob, _ = strings.Cut(resource, "/")
	if service == auth.Table {
		request.Container, request.Table = "", resource
	}
	_, err := gate.New(gate.Options{}).Authorize(context.Background(), owner, request, &anything)
	_, text, ok := strings.Cut(fmt.Sprint(err), "String to sign used was ")
	require.True(t, ok, "%v", err)
	return append(q, authtest.Pair{Name: "sig", Value: owner.Keys[0].Sign([]byte(text))})
}

// owner sends a request that is let in.
func (p *prison) owner(addr, method, target, body string, header ...string) (http.Header, string) {
	status, h, text := p.ask(addr, method, target, body, header...)
	require.Less(p.t, status, 300, "%s %s: %s", method, target, text)
	return h, text
}

func (p *prison) read(addr, target string) string {
	_, text := p.owner(addr, "GET", target, "")
	return text
}

func (p *prison) ask(addr, method, target, body string, header ...string) (int, http.Header, string) {
	raw := method + " " + home + target + " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nx-ms-version: " + string(protocol.Newest) +
		"\r\nAccept: application/json;odata=nometadata\r\nx-owner: " + p.word + "\r\n"
	for _, line := range header {
		raw += line + "\r\n"
	}
	status, h, text, err := send(addr, raw+fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body), method)
	require.NoError(p.t, err)
	return status, h, text
}

// list is everything that there is, by a key that tells where it is.
func (p *prison) list() map[string]string {
	all := map[string]string{}
	type blobs struct {
		Blobs struct {
			Blob []struct {
				Name     string `xml:"Name"`
				Snapshot string `xml:"Snapshot"`
				Inner    string `xml:",innerxml"`
			} `xml:"Blob"`
		} `xml:"Blobs"`
	}
	var containers struct {
		Containers struct {
			Container []struct {
				Name  string `xml:"Name"`
				Inner string `xml:",innerxml"`
			} `xml:"Container"`
		} `xml:"Containers"`
	}
	require.NoError(p.t, xml.Unmarshal([]byte(p.read(p.blob, "?comp=list&include=metadata,deleted")), &containers))
	for _, c := range containers.Containers.Container {
		all["container "+c.Name] = c.Inner
		all["acl "+c.Name] = p.read(p.blob, "/"+c.Name+"?restype=container&comp=acl")
		var list blobs
		require.NoError(p.t, xml.Unmarshal([]byte(p.read(p.blob, "/"+c.Name+"?restype=container&comp=list&include=snapshots,metadata,uncommittedblobs,copy,deleted,tags,versions")), &list))
		for _, b := range list.Blobs.Blob {
			key, slot := "blob "+c.Name+"/"+b.Name+" "+b.Snapshot, ""
			if b.Snapshot != "" {
				slot = "?snapshot=" + url.QueryEscape(b.Snapshot)
			}
			all[key] = b.Inner
			if status, _, content := p.ask(p.blob, "GET", "/"+c.Name+"/"+strings.ReplaceAll(url.PathEscape(b.Name), "%2F", "/")+slot, ""); status < 400 {
				all[key] += content
			}
		}
	}
	all["properties"] = p.read(p.blob, "?restype=service&comp=properties")
	all["table properties"] = p.read(p.table, "/?restype=service&comp=properties")
	all["tables"] = p.read(p.table, "/Tables")
	for _, name := range []string{"Mine", "Other"} {
		all["table acl "+name] = p.read(p.table, "/"+name+"?comp=acl")
		for _, pk := range []string{"a", "b", "c"} {
			all["row "+name+" "+pk] = p.read(p.table, "/"+name+"()?$filter=PartitionKey%20eq%20'"+pk+"'")
		}
		all["rows elsewhere "+name] = p.read(p.table, "/"+name+"()?$filter=PartitionKey%20lt%20'a'%20or%20PartitionKey%20ge%20'd'")
	}
	return all
}

// send sends a request as it is and returns the answer, or an error if the server closed the connection on it.
func send(addr, raw, method string) (int, http.Header, string, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, nil, "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, raw); err != nil {
		return 0, nil, "", err
	}
	_ = c.(*net.TCPConn).CloseWrite()
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		return 0, nil, "", err
	}
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(b), err
}

// attempt lets the holder of a credential send a request: edits alter its signature ("sr=d&sdd=1", "-si" takes out), and query, header
// and body are the request's own. What it must not show is not in the answer, and what it must not change is as it was.
func (p *prison) attempt(t *testing.T, c *credential, before map[string]string, method, path, query, edits, headers, body string) map[string]string {
	if strings.ContainsAny(method+path+query, " \r\n") || strings.Contains(headers, p.word) {
		return before
	}
	signature := c.signature
	for edit := range strings.SplitSeq(edits, "&") {
		if name, ok := strings.CutPrefix(edit, "-"); ok {
			signature = signature.Without(name)
		} else if name, value, ok := strings.Cut(edit, "="); ok {
			signature = signature.With(name, value)
		}
	}
	for _, f := range signature {
		query += "&" + url.QueryEscape(f.Name) + "=" + url.QueryEscape(f.Value)
	}
	raw := method + " " + home + path + "?" + query + " HTTP/1.1\r\nHost: 127.0.0.1\r\n"
	for line := range strings.SplitSeq(headers, "\n") {
		if line = strings.Trim(line, "\r"); line != "" {
			raw += line + "\r\n"
		}
	}
	if !strings.Contains(strings.ToLower(headers), "x-ms-version:") {
		raw += "x-ms-version: " + string(protocol.Newest) + "\r\n"
	}
	raw += fmt.Sprintf("Connection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	server := p.blob
	if c.service == auth.Table {
		server = p.table
	}
	status, header, answer, err := send(server, raw, method)
	if err != nil {
		return before
	}
	shown := fmt.Sprint(header) + answer
	if status < 300 || method != "POST" { // a transaction's refusal tells what was sent
		for _, canary := range c.hidden {
			if strings.Contains(shown, canary) && !strings.Contains(raw, canary) {
				t.Fatalf("%s sees %s: %d %s\n%s", c.name, canary, status, raw, shown)
			}
		}
	}
	if status >= 300 || method == "GET" || method == "HEAD" {
		return before
	}
	after := p.list()
	for key := range maps.Keys(merged(before, after)) {
		if before[key] != after[key] && !c.changes(key) {
			t.Fatalf("%s changes %q from %q to %q: %d %s", c.name, key, before[key], after[key], status, raw)
		}
		for _, canary := range c.hidden { // copied to where it can be read
			if c.changes(key) && before[key] != after[key] && strings.Contains(after[key], canary) && canary != "SECRETtag" && !strings.Contains(raw, canary) {
				t.Fatalf("%s copies %s: %s", c.name, canary, raw)
			}
		}
	}
	return after
}

func merged(a, b map[string]string) map[string]string {
	m := maps.Clone(a)
	maps.Copy(m, b)
	return m
}

// FuzzConfinement lets holders of limited credentials send whatever they like: nothing outside what they were given is shown to
// them, or changed by them.
func FuzzConfinement(f *testing.F) {
	p := newPrison(f)
	places := map[rest.Level][]string{
		rest.Account: {"", "/", "/mine"}, rest.Container: {"/mine", "/secret", "/public", "/mine%2Fdir", "/new", "/mine/dir"},
		rest.Blob:     {"/mine/dir", "/mine/dir/a", "/mine/d/1", "/mine/other", "/secret/b", "/public/p", "/mine/d/new", "/mine/new", "/mine"},
		rest.TableSet: {"/Tables", "/Tables('Other')", "/Tables('Mine')"}, rest.Entities: {"/Mine", "/Other", "/Mine()", "/Other()"},
		rest.TableEntity: {"/Mine(PartitionKey='a',RowKey='r')", "/Mine(PartitionKey='c',RowKey='r')", "/Other(PartitionKey='a',RowKey='r')"}, rest.Batch: {"/$batch"},
	}
	type way struct {
		service                auth.Service
		method, query, headers string
		places                 []string
	}
	var ways []way
	add := func(service auth.Service, methods string, level rest.Level, comp, restype string, when []rest.Selector) {
		query, headers := "", ""
		if comp != "" {
			query += "comp=" + comp
		}
		if restype != "" {
			query += "&restype=" + restype
		}
		for _, s := range when {
			switch {
			case s.Name == "x-ms-copy-source":
				s.Value = "http://127.0.0.1" + home + "/secret/b"
			case s.Value == "":
				s.Value = "*"
			}
			headers += s.Name + ": " + s.Value + "\n"
		}
		if service == auth.Table {
			headers += "Accept: application/json;odata=nometadata\nContent-Type: application/json\n"
		}
		for _, m := range strings.Fields(methods) {
			ways = append(ways, way{service, m, query, headers, places[level]})
		}
	}
	for i := range blob.Operations {
		op := &blob.Operations[i]
		add(auth.Blob, op.Methods, op.Level, op.Comp, op.Restype, op.When)
	}
	for i := range table.Operations {
		op := &table.Operations[i]
		add(auth.Table, op.Methods, op.Level, op.Comp, op.Restype, op.When)
	}
	edits := []string{"", "sr=d&sdd=1", "sr=d&sdd=2", "sr=c", "sr=bs", "-sr", "-snapshot", "tn=Other", "tn=Other&spk=&epk=", "-spk&-epk", "sp=racwdxylt", "ss=bt&srt=sco", "-si", "-sig"}
	extras := []string{"", "snapshot=x", "prefix=d/", "include=tags", "include=metadata,tags,versions", "prefix=d/&where=tag%3D'SECRETtag'", "$filter=PartitionKey%20eq%20'c'"}
	tags := []string{"", "x-ms-if-tags: tag='SECRETtag'", "x-ms-copy-source-tag-option: COPY", "x-ms-tags: a=b", "x-ms-meta-a: b", "Content-Type: application/json", "If-Match: *",
		"x-ms-copy-source: http://127.0.0.1" + home + "/mine/other\nx-ms-requires-sync: true", "x-ms-copy-source: http://127.0.0.1" + home + "/mine/dir\nx-ms-requires-sync: true"}
	for i := range p.credentials {
		for k, w := range ways {
			if w.service != p.credentials[i].service {
				continue
			}
			for e := range extras {
				if w.method == "GET" {
					f.Add(byte(i), byte(k), byte(0), byte(0), byte(e), byte(0), "", "", "", "", "")
				}
			}
			// Every operation everywhere, plainly; and with something altered or added in turn.
			for place := range w.places {
				f.Add(byte(i), byte(k), byte(place), byte(0), byte(0), byte(0), "", "", "", "", `{"PartitionKey":"c","RowKey":"x"}`)
				f.Add(byte(i), byte(k), byte(place), byte((k+place+i)%len(edits)), byte(0), byte(0), "", "", "", "", `{"PartitionKey":"b","RowKey":"x"}`)
				f.Add(byte(i), byte(k), byte(place), byte(0), byte((k+place)%len(extras)), byte((k+place+i)%len(tags)), "", "", "", "", "")
			}
		}
	}
	before := p.list()
	// What is chosen of each list, so that a change of a byte is another request that makes sense, and what is added to it.
	f.Fuzz(func(t *testing.T, credential, way, place, edit, extra, tag byte, morePath, moreQuery, moreEdits, moreHeaders, body string) {
		p.t = t
		w := &ways[int(way)%len(ways)]
		before = p.attempt(t, &p.credentials[int(credential)%len(p.credentials)], before, w.method, w.places[int(place)%len(w.places)]+morePath,
			w.query+"&"+extras[int(extra)%len(extras)]+"&"+moreQuery, edits[int(edit)%len(edits)]+"&"+moreEdits, w.headers+tags[int(tag)%len(tags)]+"\n"+moreHeaders, body)
	})
}
