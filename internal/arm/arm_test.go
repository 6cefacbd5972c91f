package arm

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/directory"
	"github.com/blobd/blobd/internal/directory/issuer"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/table"
)

var ctx = context.Background()

const (
	base   = "https://management.local.example"
	secret = "correct horse battery"
)

// house is a server under test with its services, without HTTP between.
type house struct {
	*Server
	t      testing.TB
	engine engine.Store
	tokens map[string]string
}

func newHouse(t testing.TB) *house {
	e := enginetest.New(t)
	accounts, err := account.OpenStore(ctx, e, account.NewRegistry(), nil)
	require.NoError(t, err)
	d, err := directory.Open(ctx, e, accounts, time.Now)
	require.NoError(t, err)
	blobs := store.New(store.Options{Store: e, Accounts: accounts, Forget: Forget(d, accounts, auth.Blob)})
	tables := table.New(table.Options{Store: e, Accounts: accounts, Forget: Forget(d, accounts, auth.Table)})
	eraser := accounts.Erase(zap.NewNop(), blobs.DeleteAccount, tables.DeleteAccount)
	t.Cleanup(func() { eraser.Close(); tables.Close(); require.NoError(t, blobs.Close()) })
	return &house{t: t, engine: e, tokens: map[string]string{}, Server: New(Options{
		Directory: d, Issuer: issuer.New(base, d, time.Now), Accounts: accounts, Blobs: blobs, Tables: tables, Base: base, Location: "local", Suffix: "local.example",
		Endpoint: func(s auth.Service, name string) string {
			return "https://" + name + "." + s.String() + ".local.example/"
		}, Log: zap.NewNop(), Now: time.Now,
	})}
}

// someone makes a user and returns its object id.
func (h *house) someone(name string) string { return h.principal(directory.User, name) }

func (h *house) principal(kind directory.Kind, name string) string {
	p, err := h.Directory.AddPrincipal(ctx, kind, name, secret)
	require.NoError(h.t, err)
	return p.ObjectID
}

func (h *house) subscription(name string) string {
	s, err := h.Directory.AddSubscription(ctx, name, 10)
	require.NoError(h.t, err)
	return s.ID
}

func (h *house) assign(who, role, scope string) {
	_, err := h.Directory.Assign(ctx, directory.Assignment{ID: uuid.NewString(), Principal: who, Role: role, Scope: scope})
	require.NoError(h.t, err)
}

// token signs somebody in.
func (h *house) token(who, audience string) string {
	key := who + " " + audience
	if h.tokens[key] == "" {
		p := h.Directory.Principal(who)
		form := url.Values{"grant_type": {"password"}, "client_id": {uuid.NewString()}, "username": {p.Name}, "password": {secret}, "scope": {audience + "/.default"}}
		if p.Kind == directory.ServicePrincipal {
			form = url.Values{"grant_type": {"client_credentials"}, "client_id": {p.AppID}, "client_secret": {secret}, "scope": {audience + "/.default"}}
		}
		r := httptest.NewRequest("POST", base+"/adfs/oauth2/token", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		var body struct {
			Token string `json:"access_token"`
		}
		require.NoError(h.t, json.Unmarshal(w.Body.Bytes(), &body))
		h.tokens[key] = body.Token
	}
	return h.tokens[key]
}

type answer struct {
	status int
	header http.Header
	text   string
	body   map[string]any
}

func (a answer) code() string {
	e, _ := a.body["error"].(map[string]any)
	code, _ := e["code"].(string)
	return code
}

// at follows the names into the body.
func (a answer) at(names ...string) any {
	var v any = a.body
	for _, n := range names {
		m, _ := v.(map[string]any)
		v = m[n]
	}
	return v
}

// do asks as somebody, with the newest version unless the target names one.
func (h *house) do(who, method, target, body string) answer {
	h.t.Helper()
	if !strings.Contains(target, "api-version") {
		sep := "?"
		if strings.Contains(target, "?") {
			sep = "&"
		}
		target += sep + "api-version=2024-01-01"
	}
	r := httptest.NewRequest(method, base+target, strings.NewReader(body))
	if who != "" {
		r.Header.Set("Authorization", "Bearer "+h.token(who, base))
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	a := answer{status: w.Code, header: w.Header(), text: w.Body.String()}
	if a.text != "" && strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
		var v any
		require.NoError(h.t, json.Unmarshal(w.Body.Bytes(), &v), a.text)
		a.body, _ = v.(map[string]any)
	}
	return a
}

// ok is do that must succeed.
func (h *house) ok(status int, who, method, target, body string) answer {
	h.t.Helper()
	a := h.do(who, method, target, body)
	require.Equal(h.t, status, a.status, "%s %s: %s", method, target, a.text)
	return a
}

const newAccount = `{"sku":{"name":"Standard_LRS"},"kind":"StorageV2","location":"Local"}`

// tenant is a user with a subscription, a group and an account that has a container and a table.
type tenant struct{ user, sub, group, account string }

func (h *house) tenant(name string) tenant {
	t := tenant{user: h.someone(name + "@example"), sub: "/subscriptions/" + h.subscription(name)}
	h.assign(t.user, "Owner", t.sub)
	t.group = t.sub + "/resourceGroups/" + name + "Group"
	t.account = t.group + "/providers/Microsoft.Storage/storageAccounts/" + name + "acct"
	h.ok(201, t.user, "PUT", t.group, `{"location":"local"}`)
	h.ok(200, t.user, "PUT", t.account, newAccount)
	h.ok(201, t.user, "PUT", t.account+"/blobServices/default/containers/con", `{}`)
	h.ok(200, t.user, "PUT", t.account+"/tableServices/default/tables/Tab", `{}`)
	return t
}

// everything is all that the store has of accounts, resources, containers and tables, to compare.
func (h *house) everything() string {
	var all strings.Builder
	require.NoError(h.t, h.engine.View(ctx, nil, func(r engine.Reader) error {
		for _, space := range []engine.Space{engine.SpaceAccount, engine.SpaceResource, engine.SpaceContainer, engine.SpaceTable} {
			it := r.Scan(space, nil, nil)
			for it.Next() {
				v, err := it.Value()
				if err != nil {
					return err
				}
				all.Write(it.Key())
				all.Write(v)
			}
			if err := it.Close(); err != nil {
				return err
			}
		}
		return nil
	}))
	return all.String()
}

// Two tenants: whatever the operation, neither's user nor program finds, changes, keys, lists or can tell of anything of the other's, and
// nobody without a token gets anywhere. The operations are those of the table, so a new one is asked too.
func TestNobodySeesAnothers(t *testing.T) {
	h := newHouse(t)
	ours, theirs := h.tenant("ours"), h.tenant("theirs")
	stranger := h.someone("stranger@example") // with no subscription at all
	program := h.principal(directory.ServicePrincipal, "ours-program")
	h.assign(program, "Owner", ours.sub)
	h.assign(program, "Storage Blob Data Owner", ours.account)
	h.assign(theirs.user, "Reader", theirs.account)
	missing := "/subscriptions/" + uuid.NewString()
	h.ok(200, theirs.user, "GET", theirs.sub, "")
	before := h.everything()
	fill := func(o *operation, sub, group, acct string) string {
		p := strings.NewReplacer("{scope}", acct, "{subscription}", strings.TrimPrefix(sub, "/subscriptions/"), "{group}", group[strings.LastIndexByte(group, '/')+1:],
			"{account}", acct[strings.LastIndexByte(acct, '/')+1:], "{container}", "con", "{table}", "Tab", "{namespace}", "Microsoft.Storage", "{location}", "local",
			"{operation}", uuid.Nil.String(), "{role}", directory.ReaderRole, "{assignment}", uuid.NewString()).Replace(o.path)
		if !strings.HasPrefix(p, "/") {
			p = "/" + p
		}
		return p
	}
	for i := range operations {
		o := &operations[i]
		target := fill(o, theirs.sub, theirs.group, theirs.account)
		for _, body := range []string{"", "{}", newAccount, `{"keyName":"key1","location":"local"}`} {
			if a := h.do("", o.method, target, body); !o.open {
				require.Equal(t, 401, a.status, "%s without a token: %s", o.name, a.text)
				require.Contains(t, a.header.Get("WWW-Authenticate"), `Bearer authorization_uri="`+base+"/"+h.Directory.Tenant())
				r := httptest.NewRequest(o.method, base+target+"?api-version=2024-01-01", strings.NewReader(body))
				r.Header.Set("Authorization", "Bearer "+h.token(theirs.user, "https://storage.azure.com"))
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				require.Equal(t, 401, w.Code, "%s with a token for storage", o.name)
			}
			for _, who := range []string{ours.user, program, stranger} {
				a := h.do(who, o.method, target, body)
				require.NotContains(t, strings.ReplaceAll(a.text, target, ""), "theirsacct", "%s: %s", o.name, a.text)
				require.NotContains(t, a.text, `"displayName":"theirs"`, o.name)
				if !strings.Contains(o.path, "{subscription}") && !strings.Contains(o.path, "{scope}") {
					continue // it is the same for everybody, or lists what the caller may see: asked below
				}
				require.Equal(t, 404, a.status, "%s: %s", o.name, a.text)
				// What another has is told from what nobody has by nothing.
				none := h.do(who, o.method, strings.ReplaceAll(target, theirs.sub, missing), body)
				require.Equal(t, none.status, a.status, o.name)
				id := func(s string) string { return strings.TrimPrefix(s, "/subscriptions/") }
				require.Equal(t, strings.ReplaceAll(none.text, id(missing), id(theirs.sub)), a.text, o.name)
				// Nor does the caller's own subscription lead there.
				across := h.do(who, o.method, strings.ReplaceAll(target, theirs.sub, ours.sub), "")
				require.NotContains(t, across.text, `"name":"theirs`, o.name)
				// Nor does the caller's own group: there an account of theirs is told from one that nobody has by nothing but that it cannot be made.
				if who == stranger || !strings.Contains(target, "theirsacct") || o.name == "StorageAccounts_Create" {
					continue
				}
				inOurs := strings.ReplaceAll(strings.ReplaceAll(target, theirs.sub, ours.sub), "theirsGroup", "oursGroup")
				borrowed, absent := h.do(who, o.method, inOurs, body), h.do(who, o.method, strings.ReplaceAll(inOurs, "theirsacct", "nobodyacct"), body)
				require.Equal(t, absent.status, borrowed.status, "%s: %s", o.name, borrowed.text)
				require.Equal(t, strings.ReplaceAll(absent.text, "nobodyacct", "theirsacct"), borrowed.text, o.name)
			}
		}
	}
	require.Equal(t, before, h.everything(), "somebody else changed something")
	// What the signature makers are told to sign is in the account that signs.
	for _, resource := range []string{"/blob/theirsacct/con", "/blob/theirsacct/con/b", "/table/theirsacct/Tab", "/blob/oursacct/../theirsacct/con"} {
		a := h.do(ours.user, "POST", ours.account+"/ListServiceSas", `{"canonicalizedResource":"`+resource+`","signedResource":"c","signedPermission":"r","signedExpiry":"2030-01-01T00:00:00Z"}`)
		require.Equal(t, 400, a.status, "%s: %s", resource, a.text)
	}
	// Filters select among the caller's own.
	for _, filter := range []string{"name eq 'theirsacct'", "resourceGroup eq 'theirsGroup'", "resourceType eq 'Microsoft.Storage/storageAccounts' and name eq 'theirsacct'"} {
		require.Empty(t, h.ok(200, ours.user, "GET", ours.sub+"/resources?$filter="+url.QueryEscape(filter), "").body["value"])
	}
	require.NotContains(t, h.ok(200, ours.user, "GET", ours.sub+"/providers/Microsoft.Authorization/roleAssignments?$filter="+url.QueryEscape("principalId eq '"+theirs.user+"'"), "").text, theirs.sub)
	// A role of theirs is not found at a scope of ours, nor taken away there, though its id is known.
	held := h.Directory.Held(theirs.user, theirs.account)
	require.NotEmpty(t, held)
	for _, a := range held {
		at := ours.sub + "/providers/Microsoft.Authorization/roleAssignments/" + a.ID
		require.Equal(t, 404, h.do(ours.user, "GET", at, "").status)
		require.Equal(t, 204, h.do(ours.user, "DELETE", at, "").status)
		require.Equal(t, 404, h.do(ours.user, "DELETE", theirs.account+"/providers/Microsoft.Authorization/roleAssignments/"+a.ID, "").status)
	}
	require.Equal(t, before, h.everything(), "somebody else changed something")
	require.Equal(t, list([]any{})["value"], h.ok(200, stranger, "GET", "/subscriptions", "").body["value"])
	require.Len(t, h.ok(200, ours.user, "GET", "/subscriptions", "").body["value"], 1)

	// The name is taken, and that is all that is told.
	a := h.ok(200, ours.user, "POST", ours.sub+"/providers/Microsoft.Storage/checkNameAvailability", `{"name":"theirsacct","type":"Microsoft.Storage/storageAccounts"}`)
	require.Equal(t, "AlreadyExists", a.body["reason"])
	a = h.do(ours.user, "PUT", ours.group+"/providers/Microsoft.Storage/storageAccounts/theirsacct", newAccount)
	require.Equal(t, "StorageAccountAlreadyTaken", a.code())
	require.Equal(t, before, h.everything())
}

// Who has a role below the subscription sees what is below it; what an action is not in the role for is 403, before anything is told.
func TestRolesBound(t *testing.T) {
	h := newHouse(t)
	o := h.tenant("one")
	other := o.group[:len(o.group)-len("oneGroup")] + "other"
	h.ok(201, o.user, "PUT", other, `{"location":"local"}`)
	h.ok(200, o.user, "PUT", other+"/providers/Microsoft.Storage/storageAccounts/second", newAccount)
	reader := h.someone("reader@example")
	h.assign(reader, "Reader", o.account)
	h.ok(200, reader, "GET", o.account, "")
	for _, target := range []string{o.sub + "/providers/Microsoft.Storage/storageAccounts", o.sub + "/resources"} {
		all := h.ok(200, reader, "GET", target, "")
		require.Len(t, all.body["value"], 1)
		require.NotContains(t, all.text, "second")
	}
	require.Empty(t, h.ok(200, reader, "GET", o.sub+"/resourceGroups", "").body["value"])
	for i := range operations {
		op := &operations[i]
		if op.reads() || op.open || op.name == "StorageAccounts_CheckNameAvailability" {
			continue
		}
		target := strings.NewReplacer("{scope}", o.account, "{subscription}", strings.TrimPrefix(o.sub, "/subscriptions/"), "{group}", "oneGroup", "{account}", "oneacct",
			"{container}", "con", "{table}", "Tab", "{namespace}", "Microsoft.Storage", "{assignment}", uuid.NewString()).Replace(op.path)
		if target[0] != '/' {
			target = "/" + target
		}
		a := h.do(reader, op.method, target, newAccount)
		require.Equal(t, 403, a.status, "%s: %s", op.name, a.text)
		require.Equal(t, "AuthorizationFailed", a.code())
	}
	for _, absent := range []string{other, o.sub + "/resourceGroups/none"} { // alike
		require.Equal(t, "AuthorizationFailed", h.do(reader, "GET", absent, "").code())
	}
	contributor := h.someone("contributor@example")
	h.assign(contributor, "Contributor", o.group)
	h.ok(200, contributor, "POST", o.account+"/listKeys", "")
	escalate := `{"properties":{"roleDefinitionId":"` + directory.OwnerRole + `","principalId":"` + contributor + `"}}`
	require.Equal(t, "AuthorizationFailed", h.do(contributor, "PUT", o.account+"/providers/Microsoft.Authorization/roleAssignments/"+uuid.NewString(), escalate).code())
	require.NoError(t, h.Directory.SetSubscription(ctx, strings.TrimPrefix(o.sub, "/subscriptions/"), func(s *directory.Subscription) { s.Disabled = true }))
	require.Equal(t, "ReadOnlyDisabledSubscription", h.do(o.user, "PATCH", o.account, "{}").code())
	h.ok(200, o.user, "GET", o.account, "")
	require.NoError(t, h.Directory.RemovePrincipal(ctx, contributor))
	r := httptest.NewRequest("GET", base+"/subscriptions?api-version=2020-01-01", nil)
	r.Header.Set("Authorization", "Bearer "+h.tokens[contributor+" "+base])
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	text, _ := io.ReadAll(w.Body)
	require.Equal(t, 401, w.Code, string(text))
}
