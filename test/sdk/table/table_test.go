package table_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth/gate"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/resttest"
	"github.com/blobd/blobd/internal/table"
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

func (s *server) url() string { return "http://" + s.Addr + "/" + account.DevName }

func options() *aztables.ClientOptions {
	return &aztables.ClientOptions{ClientOptions: azcore.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}}}
}

func (s *server) client() *aztables.ServiceClient {
	cred, err := aztables.NewSharedKeyCredential(account.DevName, account.DevKey)
	require.NoError(s.t, err)
	c, err := aztables.NewServiceClientWithSharedKey(s.url(), cred, options())
	require.NoError(s.t, err)
	return c
}

// table makes a table and returns a client of it.
func (s *server) table(name string) *aztables.Client {
	c := s.client().NewClient(name)
	_, err := c.CreateTable(ctx, nil)
	require.NoError(s.t, err)
	return c
}

// requireCode checks an SDK's error.
func requireCode(t testing.TB, err error, status int, code string) {
	t.Helper()
	var e *azcore.ResponseError
	require.ErrorAs(t, err, &e)
	require.Equal(t, code, e.ErrorCode)
	require.Equal(t, status, e.StatusCode)
}

// requireFailed checks the SDK's error of a transaction, which has the code in its body.
func requireFailed(t testing.TB, err error, code string) {
	t.Helper()
	var e *azcore.ResponseError
	require.ErrorAs(t, err, &e)
	require.Equal(t, 202, e.StatusCode)
	require.ErrorContains(t, err, `"code":"`+code+`"`)
}

func encode(t testing.TB, e map[string]any) []byte {
	b, err := json.Marshal(e)
	require.NoError(t, err)
	return b
}

func TestTables(t *testing.T) {
	s := serve(t)
	c := s.client()
	_, err := c.CreateTable(ctx, "people", nil)
	require.NoError(t, err)
	_, err = c.CreateTable(ctx, "People", nil)
	requireCode(t, err, 409, "TableAlreadyExists")
	for i := range 5 {
		_, err := c.CreateTable(ctx, fmt.Sprintf("Numbers%d", i), nil)
		require.NoError(t, err)
	}
	list := func(o *aztables.ListTablesOptions) (names []string) {
		for p := c.NewListTablesPager(o); p.More(); {
			page, err := p.NextPage(ctx)
			require.NoError(t, err)
			if o != nil && o.Top != nil {
				require.LessOrEqual(t, len(page.Tables), int(*o.Top))
			}
			for _, one := range page.Tables {
				names = append(names, *one.Name)
			}
		}
		return names
	}
	all := []string{"Numbers0", "Numbers1", "Numbers2", "Numbers3", "Numbers4", "people"}
	require.Equal(t, all, list(nil))
	require.Equal(t, all, list(&aztables.ListTablesOptions{Top: to.Ptr(int32(2))}))
	require.Equal(t, all[5:], list(&aztables.ListTablesOptions{Filter: to.Ptr("TableName eq 'PEOPLE'")}))
	require.Equal(t, all[1:3], list(&aztables.ListTablesOptions{Filter: to.Ptr("TableName ge 'numbers1' and TableName lt 'numbers3'")}))

	_, err = c.DeleteTable(ctx, "PEOPLE", nil)
	require.NoError(t, err)
	_, err = c.DeleteTable(ctx, "people", nil)
	requireCode(t, err, 404, "ResourceNotFound")
	require.Equal(t, all[:5], list(nil))

	for name, code := range map[string]string{"ab": "OutOfRangeInput", strings.Repeat("a", 64): "OutOfRangeInput", "1abc": "InvalidResourceName", "a-bc": "InvalidResourceName", "tables": "InvalidResourceName"} {
		_, err = c.CreateTable(ctx, name, nil)
		requireCode(t, err, 400, code)
	}
}

func TestDeletedTableStartsEmpty(t *testing.T) {
	s := serve(t)
	c := s.table("people")
	add(t, c, "p", "r", nil)
	_, err := c.Delete(ctx, nil)
	require.NoError(t, err)
	_, err = c.GetEntity(ctx, "p", "r", nil)
	requireCode(t, err, 404, "TableNotFound")
	_, err = c.AddEntity(ctx, encode(t, map[string]any{"PartitionKey": "p", "RowKey": "r"}), nil)
	requireCode(t, err, 404, "TableNotFound")
	_, err = c.CreateTable(ctx, nil)
	require.NoError(t, err)
	require.Empty(t, query(t, c, nil))
	for left := true; left; { // the sweeper was told, and comes to it: Close would stop it on its way
		require.NoError(t, s.store.View(ctx, nil, func(r engine.Reader) error {
			it := r.Scan(engine.SpaceTableQueue, nil, nil)
			left = it.Next()
			return it.Close()
		}))
	}
}

func add(t testing.TB, c *aztables.Client, pk, rk string, props map[string]any) azcore.ETag {
	t.Helper()
	e := map[string]any{"PartitionKey": pk, "RowKey": rk}
	for k, v := range props {
		e[k] = v
	}
	resp, err := c.AddEntity(ctx, encode(t, e), nil)
	require.NoError(t, err)
	return resp.ETag
}

func get(t testing.TB, c *aztables.Client, pk, rk string) aztables.EDMEntity {
	t.Helper()
	resp, err := c.GetEntity(ctx, pk, rk, nil)
	require.NoError(t, err)
	var e aztables.EDMEntity
	require.NoError(t, json.Unmarshal(resp.Value, &e))
	return e
}

func query(t testing.TB, c *aztables.Client, o *aztables.ListEntitiesOptions) (keys []string) {
	t.Helper()
	for p := c.NewListEntitiesPager(o); p.More(); {
		page, err := p.NextPage(ctx)
		require.NoError(t, err)
		if o != nil && o.Top != nil {
			require.LessOrEqual(t, len(page.Entities), int(*o.Top))
		}
		for _, raw := range page.Entities {
			var e aztables.EDMEntity
			require.NoError(t, json.Unmarshal(raw, &e))
			keys = append(keys, e.PartitionKey+"/"+e.RowKey)
		}
	}
	return keys
}

func TestEveryTypeRoundTrips(t *testing.T) {
	c := serve(t).table("people")
	want := map[string]any{
		"Text": "Grüße \U0001F600 \"\\\n", "Empty": "", "Yes": true, "No": false, "Int32": int32(math.MinInt32), "Int64": aztables.EDMInt64(math.MaxInt64),
		"Double": 1.5, "Large": 1.7976931348623157e308, "Binary": aztables.EDMBinary("\x00\x01\xff"), "Guid": aztables.EDMGUID("a455c695-df98-5678-aaaa-81d3367e5a34"),
		"When": aztables.EDMDateTime(time.Date(2020, 1, 1, 1, 5, 0, 123456700, time.UTC)),
	}
	e := aztables.EDMEntity{Entity: aztables.Entity{PartitionKey: `Aaaa"`, RowKey: "ä \U0001F600&=+%"}, Properties: want}
	b, err := json.Marshal(e)
	require.NoError(t, err)
	_, err = c.AddEntity(ctx, b, nil)
	require.NoError(t, err)
	got := get(t, c, `Aaaa"`, "ä \U0001F600&=+%")
	require.Equal(t, want, got.Properties)
	require.NotEmpty(t, got.ETag)
	require.WithinDuration(t, time.Now(), time.Time(got.Timestamp), time.Minute)
	require.Equal(t, []string{`Aaaa"/` + "ä \U0001F600&=+%"}, query(t, c, &aztables.ListEntitiesOptions{Filter: to.Ptr(
		"PartitionKey eq 'Aaaa\"' and Int64 eq 9223372036854775807L and Guid eq guid'a455c695-df98-5678-aaaa-81d3367e5a34' and Binary eq X'0001ff' and When eq datetime'2020-01-01T01:05:00.1234567Z'")}))

	add(t, c, `A'aaa"`, "''", map[string]any{"N": 1})
	require.Equal(t, map[string]any{"N": int32(1)}, get(t, c, `A'aaa"`, "''").Properties)
	require.Equal(t, []string{`A'aaa"/''`}, query(t, c, &aztables.ListEntitiesOptions{Filter: to.Ptr(`PartitionKey eq 'A''aaa"'`)}))
}

func TestWritesAndETags(t *testing.T) {
	c := serve(t).table("people")
	first := add(t, c, "p", "r", map[string]any{"A": 1, "B": 2})
	_, err := c.AddEntity(ctx, encode(t, map[string]any{"PartitionKey": "p", "RowKey": "r"}), nil)
	requireCode(t, err, 409, "EntityAlreadyExists")

	// A merge keeps what it does not name, a replace does not.
	patch := encode(t, map[string]any{"PartitionKey": "p", "RowKey": "r", "B": 3, "C": 4})
	resp, err := c.UpdateEntity(ctx, patch, &aztables.UpdateEntityOptions{IfMatch: &first, UpdateMode: aztables.UpdateModeMerge})
	require.NoError(t, err)
	require.NotEqual(t, first, resp.ETag)
	e := get(t, c, "p", "r")
	require.Equal(t, map[string]any{"A": int32(1), "B": int32(3), "C": int32(4)}, e.Properties)
	require.Equal(t, resp.ETag, azcore.ETag(e.ETag))
	for _, mode := range []aztables.UpdateMode{aztables.UpdateModeMerge, aztables.UpdateModeReplace} {
		_, err = c.UpdateEntity(ctx, patch, &aztables.UpdateEntityOptions{IfMatch: &first, UpdateMode: mode})
		requireCode(t, err, 412, "UpdateConditionNotSatisfied")
	}
	_, err = c.UpdateEntity(ctx, patch, &aztables.UpdateEntityOptions{UpdateMode: aztables.UpdateModeReplace}) // If-Match: *
	require.NoError(t, err)
	require.Equal(t, map[string]any{"B": int32(3), "C": int32(4)}, get(t, c, "p", "r").Properties)

	// The upserts make what is not there.
	for i, mode := range []aztables.UpdateMode{aztables.UpdateModeMerge, aztables.UpdateModeReplace} {
		rk := fmt.Sprint("new", i)
		missing := encode(t, map[string]any{"PartitionKey": "p", "RowKey": rk, "A": 1})
		_, err = c.UpdateEntity(ctx, missing, &aztables.UpdateEntityOptions{UpdateMode: mode})
		requireCode(t, err, 404, "ResourceNotFound")
		_, err = c.UpsertEntity(ctx, missing, &aztables.UpsertEntityOptions{UpdateMode: mode})
		require.NoError(t, err)
		_, err = c.UpsertEntity(ctx, encode(t, map[string]any{"PartitionKey": "p", "RowKey": rk, "B": 2}), &aztables.UpsertEntityOptions{UpdateMode: mode})
		require.NoError(t, err)
		require.Len(t, get(t, c, "p", rk).Properties, 2-i)
	}

	_, err = c.DeleteEntity(ctx, "p", "r", &aztables.DeleteEntityOptions{IfMatch: &first})
	requireCode(t, err, 412, "UpdateConditionNotSatisfied")
	_, err = c.DeleteEntity(ctx, "p", "r", nil)
	require.NoError(t, err)
	_, err = c.DeleteEntity(ctx, "p", "r", nil)
	requireCode(t, err, 404, "ResourceNotFound")
	_, err = c.GetEntity(ctx, "p", "r", nil)
	requireCode(t, err, 404, "ResourceNotFound")
	require.Equal(t, []string{"p/new0", "p/new1"}, query(t, c, nil))
}

func TestLargeEntities(t *testing.T) {
	c := serve(t).table("people")
	value := func(n int) map[string]any {
		e := map[string]any{"PartitionKey": "p", "RowKey": "r"}
		for i := range n {
			e[fmt.Sprintf("P%d", i)] = strings.Repeat("€", 32<<10)
		}
		return e
	}
	_, err := c.AddEntity(ctx, encode(t, value(15)), nil)
	require.NoError(t, err)
	require.Len(t, get(t, c, "p", "r").Properties, 15)
	_, err = c.UpsertEntity(ctx, encode(t, value(16)), nil)
	requireCode(t, err, 400, "EntityTooLarge")

	// A merge grows, a filter looks into the parts, and a shorter row leaves nothing of the longer one.
	_, err = c.UpsertEntity(ctx, encode(t, map[string]any{"PartitionKey": "p", "RowKey": "r", "Small": "x"}), &aztables.UpsertEntityOptions{UpdateMode: aztables.UpdateModeMerge})
	require.NoError(t, err)
	require.Len(t, get(t, c, "p", "r").Properties, 16)
	_, err = c.UpsertEntity(ctx, encode(t, map[string]any{"PartitionKey": "p", "RowKey": "r", "More": strings.Repeat("x", 32<<10)}), &aztables.UpsertEntityOptions{UpdateMode: aztables.UpdateModeMerge})
	requireCode(t, err, 400, "EntityTooLarge")
	require.Equal(t, []string{"p/r"}, query(t, c, &aztables.ListEntitiesOptions{Filter: to.Ptr("Small eq 'x'")}))
	require.Empty(t, query(t, c, &aztables.ListEntitiesOptions{Filter: to.Ptr("Small eq 'y'")}))
	add(t, c, "p", "s", nil)
	require.Equal(t, []string{"p/r", "p/s"}, query(t, c, nil))
	_, err = c.UpsertEntity(ctx, encode(t, value(1)), &aztables.UpsertEntityOptions{UpdateMode: aztables.UpdateModeReplace})
	require.NoError(t, err)
	require.Len(t, get(t, c, "p", "r").Properties, 1)
	_, err = c.DeleteEntity(ctx, "p", "r", nil)
	require.NoError(t, err)
	require.Equal(t, []string{"p/s"}, query(t, c, nil))
}

func TestPagesAreBoundedInBytes(t *testing.T) {
	c := serve(t).table("people")
	for i := range 6 {
		e := map[string]any{"PartitionKey": "p", "RowKey": fmt.Sprint(i)}
		for j := range 15 {
			e[fmt.Sprintf("P%d@odata.type", j)], e[fmt.Sprintf("P%d", j)] = "Edm.Binary", strings.Repeat("A", 64<<10)
		}
		_, err := c.AddEntity(ctx, encode(t, e), nil)
		require.NoError(t, err)
	}
	page, err := c.NewListEntitiesPager(nil).NextPage(ctx)
	require.NoError(t, err)
	require.Len(t, page.Entities, 5)
	require.NotNil(t, page.NextPartitionKey)
	require.Len(t, query(t, c, nil), 6)
}

func TestDeleteAccount(t *testing.T) {
	s := serve(t)
	c := s.table("people")
	s.table("more")
	require.NoError(t, s.svc.DeleteAccount(ctx, account.DevName))
	_, err := c.GetEntity(ctx, "p", "r", nil)
	requireCode(t, err, 404, "TableNotFound")
	next, err := s.svc.Tables(ctx, account.DevName, "", func(name string) bool { t.Errorf("%s is left", name); return true })
	require.NoError(t, err)
	require.Empty(t, next)
}

func TestPagesSurviveDeletes(t *testing.T) {
	c := serve(t).table("people")
	var want []string
	for p := range 3 {
		for r := range 7 {
			pk, rk := fmt.Sprint("p", p), fmt.Sprint("r", r)
			add(t, c, pk, rk, map[string]any{"N": p*7 + r})
			want = append(want, pk+"/"+rk)
		}
	}
	require.Equal(t, want, query(t, c, nil))
	require.Equal(t, want, query(t, c, &aztables.ListEntitiesOptions{Top: to.Ptr(int32(4))}))
	require.Equal(t, want[7:14], query(t, c, &aztables.ListEntitiesOptions{Top: to.Ptr(int32(7)), Filter: to.Ptr("PartitionKey eq 'p1'")}))
	require.Equal(t, want[10:], query(t, c, &aztables.ListEntitiesOptions{Top: to.Ptr(int32(1)), Filter: to.Ptr("N ge 10")}))

	pager := c.NewListEntitiesPager(&aztables.ListEntitiesOptions{Top: to.Ptr(int32(5))})
	page, err := pager.NextPage(ctx)
	require.NoError(t, err)
	require.Len(t, page.Entities, 5)
	require.NotNil(t, page.NextPartitionKey)
	for _, rk := range []string{"r5", "r6"} { // where the next page would begin
		_, err := c.DeleteEntity(ctx, "p0", rk, nil)
		require.NoError(t, err)
	}
	page, err = pager.NextPage(ctx)
	require.NoError(t, err)
	var first aztables.EDMEntity
	require.NoError(t, json.Unmarshal(page.Entities[0], &first))
	require.Equal(t, "p1/r0", first.PartitionKey+"/"+first.RowKey)

	// An exact page has no continuation.
	exact := c.NewListEntitiesPager(&aztables.ListEntitiesOptions{Top: to.Ptr(int32(7)), Filter: to.Ptr("PartitionKey eq 'p2'")})
	_, err = exact.NextPage(ctx)
	require.NoError(t, err)
	require.False(t, exact.More())
}

func TestSelect(t *testing.T) {
	c := serve(t).table("people")
	add(t, c, "p", "r", map[string]any{"A": 1, "B": 2})
	p := c.NewListEntitiesPager(&aztables.ListEntitiesOptions{Select: to.Ptr("RowKey,B,Absent")})
	page, err := p.NextPage(ctx)
	require.NoError(t, err)
	var e map[string]any
	require.NoError(t, json.Unmarshal(page.Entities[0], &e))
	delete(e, "odata.etag")
	require.Equal(t, map[string]any{"RowKey": "r", "B": 2.0, "Absent": nil}, e)
}

func TestTransaction(t *testing.T) {
	c := serve(t).table("people")
	add(t, c, "p", "replaced", map[string]any{"A": 1})
	add(t, c, "p", "merged", map[string]any{"A": 1})
	tag := add(t, c, "p", "deleted", nil)
	action := func(kind aztables.TransactionType, rk string, match *azcore.ETag) aztables.TransactionAction {
		return aztables.TransactionAction{ActionType: kind, Entity: encode(t, map[string]any{"PartitionKey": "p", "RowKey": rk, "B": 2}), IfMatch: match}
	}
	resp, err := c.SubmitTransaction(ctx, []aztables.TransactionAction{
		action(aztables.TransactionTypeAdd, "added", nil),
		action(aztables.TransactionTypeUpdateReplace, "replaced", nil),
		action(aztables.TransactionTypeUpdateMerge, "merged", nil),
		action(aztables.TransactionTypeInsertReplace, "upserted", nil),
		action(aztables.TransactionTypeInsertMerge, "upserted2", nil),
		action(aztables.TransactionTypeDelete, "deleted", &tag),
	}, nil)
	require.NoError(t, err)
	_ = resp
	require.Equal(t, []string{"p/added", "p/merged", "p/replaced", "p/upserted", "p/upserted2"}, query(t, c, nil))
	require.Equal(t, map[string]any{"A": int32(1), "B": int32(2)}, get(t, c, "p", "merged").Properties)
	require.Equal(t, map[string]any{"B": int32(2)}, get(t, c, "p", "replaced").Properties)
	require.Equal(t, get(t, c, "p", "merged").ETag, get(t, c, "p", "added").ETag, "one transaction has one Timestamp")

	// Nothing of a failing one is done.
	_, err = c.SubmitTransaction(ctx, []aztables.TransactionAction{
		action(aztables.TransactionTypeAdd, "x", nil), action(aztables.TransactionTypeInsertReplace, "merged", nil), action(aztables.TransactionTypeAdd, "added", nil),
	}, nil)
	requireFailed(t, err, "EntityAlreadyExists")
	require.ErrorContains(t, err, `"2:The specified entity already exists.\nRequestId:`)
	_, err = c.SubmitTransaction(ctx, []aztables.TransactionAction{action(aztables.TransactionTypeAdd, "x", nil), action(aztables.TransactionTypeUpdateMerge, "added", &tag)}, nil)
	requireFailed(t, err, "UpdateConditionNotSatisfied")
	require.Equal(t, []string{"p/added", "p/merged", "p/replaced", "p/upserted", "p/upserted2"}, query(t, c, nil))
	require.Equal(t, map[string]any{"A": int32(1), "B": int32(2)}, get(t, c, "p", "merged").Properties)

	var many []aztables.TransactionAction
	for i := range 101 {
		many = append(many, action(aztables.TransactionTypeAdd, fmt.Sprintf("%03d", i), nil))
	}
	_, err = c.SubmitTransaction(ctx, many, nil)
	requireFailed(t, err, "InvalidInput")
	require.ErrorContains(t, err, "The batch request operation exceeds the maximum 100 changes per change set.")
	_, err = c.SubmitTransaction(ctx, many[:100], nil)
	require.NoError(t, err)
	require.Len(t, query(t, c, nil), 105)

	_, err = c.SubmitTransaction(ctx, append(many[:1:1], many[0]), nil)
	requireFailed(t, err, "InvalidDuplicateRow")
	require.ErrorContains(t, err, `"1:The batch request contains multiple changes with same row key.`)
	other := aztables.TransactionAction{ActionType: aztables.TransactionTypeAdd, Entity: encode(t, map[string]any{"PartitionKey": "q", "RowKey": "r"})}
	_, err = c.SubmitTransaction(ctx, []aztables.TransactionAction{action(aztables.TransactionTypeAdd, "y", nil), other}, nil)
	requireFailed(t, err, "CommandsInBatchActOnDifferentPartitions")
	require.ErrorContains(t, err, `"1:All commands in a batch must operate on same entity group.`)
	_, err = serve(t).client().NewClient("missing").SubmitTransaction(ctx, []aztables.TransactionAction{other}, nil)
	requireFailed(t, err, "TableNotFound")
}

func TestSASKeyRange(t *testing.T) {
	s := serve(t)
	c := s.table("people")
	for _, k := range [][2]string{{"a", "1"}, {"b", "1"}, {"b", "2"}, {"c", "1"}, {"d", "1"}, {"d", "2"}} {
		add(t, c, k[0], k[1], map[string]any{"N": 1})
	}
	cred, err := aztables.NewSharedKeyCredential(account.DevName, account.DevKey)
	require.NoError(t, err)
	signed := func(permissions string) *aztables.Client {
		values := aztables.SASSignatureValues{Protocol: aztables.SASProtocolHTTPSandHTTP, ExpiryTime: time.Now().Add(time.Hour).UTC(), Permissions: permissions, TableName: "people",
			StartPartitionKey: "b", StartRowKey: "2", EndPartitionKey: "d", EndRowKey: "1"}
		q, err := values.Sign(cred)
		require.NoError(t, err)
		url := s.url() + "/?" + q + "&spk=b&srk=2&epk=d&erk=1" // which aztables v1.4.1 signs and leaves out
		sc, err := aztables.NewServiceClientWithNoCredential(url, options())
		require.NoError(t, err)
		return sc.NewClient("people")
	}
	sas := signed("raud")
	require.Equal(t, []string{"b/2", "c/1", "d/1"}, query(t, sas, nil))
	require.Equal(t, []string{"b/2", "d/1"}, query(t, sas, &aztables.ListEntitiesOptions{Filter: to.Ptr("PartitionKey ne 'c'")}))
	require.Empty(t, query(t, sas, &aztables.ListEntitiesOptions{Filter: to.Ptr("PartitionKey eq 'a'")}))
	require.EqualValues(t, 1, get(t, sas, "c", "1").Properties["N"])
	_, err = sas.GetEntity(ctx, "a", "1", nil)
	requireCode(t, err, 404, "ResourceNotFound")
	row := func(pk, rk string) []byte { return encode(t, map[string]any{"PartitionKey": pk, "RowKey": rk}) }
	_, err = sas.AddEntity(ctx, row("c", "2"), nil)
	require.NoError(t, err)
	for _, out := range [][2]string{{"b", "11"}, {"d", "11"}, {"e", ""}} {
		_, err = sas.AddEntity(ctx, row(out[0], out[1]), nil)
		requireCode(t, err, 403, "AuthorizationFailure")
		_, err = sas.SubmitTransaction(ctx, []aztables.TransactionAction{{ActionType: aztables.TransactionTypeInsertReplace, Entity: row(out[0], out[1])}}, nil)
		requireFailed(t, err, "AuthorizationFailure")
	}
	_, err = sas.DeleteEntity(ctx, "a", "1", nil)
	requireCode(t, err, 403, "AuthorizationFailure")

	// Letters, within a transaction too.
	reader := signed("r")
	_, err = reader.AddEntity(ctx, row("c", "3"), nil)
	requireCode(t, err, 403, "AuthorizationPermissionMismatch")
	_, err = reader.SubmitTransaction(ctx, []aztables.TransactionAction{{ActionType: aztables.TransactionTypeAdd, Entity: row("c", "3")}}, nil)
	requireCode(t, err, 403, "AuthorizationPermissionMismatch")
	_, err = signed("a").UpsertEntity(ctx, row("c", "3"), nil)
	requireCode(t, err, 403, "AuthorizationPermissionMismatch")
	_, err = signed("au").UpsertEntity(ctx, row("c", "3"), nil)
	require.NoError(t, err)
	_, err = signed("a").CreateTable(ctx, nil)
	requireCode(t, err, 403, "AuthorizationFailure")
}

func TestStoredPolicies(t *testing.T) {
	s := serve(t)
	c := s.table("people")
	start, expiry := time.Now().Add(-time.Hour).UTC().Truncate(time.Second), time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	_, err := c.SetAccessPolicy(ctx, &aztables.SetAccessPolicyOptions{TableACL: []*aztables.SignedIdentifier{
		{ID: to.Ptr("readers"), AccessPolicy: &aztables.AccessPolicy{Start: &start, Expiry: &expiry, Permission: to.Ptr("r")}}}})
	require.NoError(t, err)
	got, err := c.GetAccessPolicy(ctx, nil)
	require.NoError(t, err)
	require.Len(t, got.SignedIdentifiers, 1)
	require.Equal(t, "readers", *got.SignedIdentifiers[0].ID)
	require.Equal(t, "r", *got.SignedIdentifiers[0].AccessPolicy.Permission)
	require.True(t, expiry.Equal(*got.SignedIdentifiers[0].AccessPolicy.Expiry))

	cred, err := aztables.NewSharedKeyCredential(account.DevName, account.DevKey)
	require.NoError(t, err)
	q, err := aztables.SASSignatureValues{TableName: "people", Identifier: "readers"}.Sign(cred)
	require.NoError(t, err)
	sc, err := aztables.NewServiceClientWithNoCredential(s.url()+"/?"+q, options())
	require.NoError(t, err)
	sas := sc.NewClient("people")
	require.Empty(t, query(t, sas, nil))
	_, err = sas.AddEntity(ctx, encode(t, map[string]any{"PartitionKey": "p", "RowKey": "r"}), nil)
	requireCode(t, err, 403, "AuthorizationPermissionMismatch")
	_, err = c.SetAccessPolicy(ctx, nil)
	require.NoError(t, err)
	_, err = sas.GetEntity(ctx, "p", "r", nil)
	requireCode(t, err, 403, "AuthenticationFailed")

	var six []*aztables.SignedIdentifier
	for i := range 6 {
		six = append(six, &aztables.SignedIdentifier{ID: to.Ptr(fmt.Sprint(i)), AccessPolicy: &aztables.AccessPolicy{Permission: to.Ptr("r"), Start: &start, Expiry: &expiry}})
	}
	_, err = c.SetAccessPolicy(ctx, &aztables.SetAccessPolicyOptions{TableACL: six})
	require.Error(t, err)
	_, err = s.client().NewClient("missing").GetAccessPolicy(ctx, nil)
	requireCode(t, err, 404, "TableNotFound")
}

func TestServiceProperties(t *testing.T) {
	s := serve(t)
	c := s.client()
	_, err := c.SetProperties(ctx, aztables.ServiceProperties{
		Logging: &aztables.Logging{Version: to.Ptr("1.0"), Read: to.Ptr(true), Write: to.Ptr(false), Delete: to.Ptr(true), RetentionPolicy: &aztables.RetentionPolicy{Enabled: to.Ptr(true), Days: to.Ptr(int32(5))}},
		Cors:    []*aztables.CorsRule{{AllowedOrigins: to.Ptr("http://a.example"), AllowedMethods: to.Ptr("GET,MERGE"), AllowedHeaders: to.Ptr("x-ms-*"), ExposedHeaders: to.Ptr("*"), MaxAgeInSeconds: to.Ptr(int32(7))}},
	}, nil)
	require.NoError(t, err)
	got, err := c.GetProperties(ctx, nil)
	require.NoError(t, err)
	require.True(t, *got.Logging.Read)
	require.EqualValues(t, 5, *got.Logging.RetentionPolicy.Days)
	require.Equal(t, "http://a.example", *got.Cors[0].AllowedOrigins)
	answer := s.Do("OPTIONS", "/devstoreaccount1/people", "", "Origin: http://a.example", "Access-Control-Request-Method: MERGE")
	require.Equal(t, 200, answer.Status)
	require.Equal(t, "http://a.example", answer.Header.Get("Access-Control-Allow-Origin"))
	answer = s.Do("OPTIONS", "/devstoreaccount1/people", "", "Origin: http://b.example", "Access-Control-Request-Method: MERGE")
	require.Equal(t, "CorsPreflightFailure", answer.Code())

	_, err = c.GetStatistics(ctx, nil)
	requireCode(t, err, 400, "InvalidQueryParameterValue")
	cred, err := aztables.NewSharedKeyCredential(account.DevName, account.DevKey)
	require.NoError(t, err)
	secondary, err := aztables.NewServiceClientWithSharedKey(s.url()+"-secondary", cred, options())
	require.NoError(t, err)
	stats, err := secondary.GetStatistics(ctx, nil)
	require.NoError(t, err)
	require.Equal(t, aztables.GeoReplicationStatusLive, *stats.GeoReplication.Status)
	_, err = secondary.CreateTable(ctx, "people", nil)
	requireCode(t, err, 403, "InsufficientAccountPermissions")
}

func TestWrongKey(t *testing.T) {
	s := serve(t)
	cred, err := aztables.NewSharedKeyCredential(account.DevName, base64.StdEncoding.EncodeToString([]byte("wrong")))
	require.NoError(t, err)
	c, err := aztables.NewServiceClientWithSharedKey(s.url(), cred, options())
	require.NoError(t, err)
	_, err = c.CreateTable(ctx, "people", nil)
	requireCode(t, err, 403, "AuthenticationFailed")
	var e *azcore.ResponseError
	require.True(t, errors.As(err, &e))
	require.Equal(t, "application/json", e.RawResponse.Header.Get("Content-Type"))
}

func TestLimits(t *testing.T) {
	s := serve(t)
	c := s.table("people")
	s.svc.Authorize(resttest.AllowAll{})
	entity := func(pk, rk string, props map[string]any) []byte {
		e := map[string]any{"PartitionKey": pk, "RowKey": rk}
		for k, v := range props {
			e[k] = v
		}
		return encode(t, e)
	}
	many := map[string]any{}
	for i := range 253 {
		many[fmt.Sprintf("P%d", i)] = i
	}
	for _, tt := range []struct {
		name string
		body []byte
		code string
	}{
		{"slash in a key", entity("a/b", "r", nil), "OutOfRangeInput"},
		{"control character in a key", entity("p", "\x01", nil), "OutOfRangeInput"},
		{"long key", entity(strings.Repeat("k", 1025), "r", nil), "KeyValueTooLarge"},
		{"too many properties", entity("p", "r", many), "TooManyProperties"},
		{"long string", entity("p", "r", map[string]any{"A": strings.Repeat("x", 32<<10+1)}), "PropertyValueTooLarge"},
		{"long binary", entity("p", "r", map[string]any{"A@odata.type": "Edm.Binary", "A": base64.StdEncoding.EncodeToString(make([]byte, 64<<10+1))}), "PropertyValueTooLarge"},
		{"long name", entity("p", "r", map[string]any{strings.Repeat("n", 256): 1}), "PropertyNameTooLong"},
		{"bad name", entity("p", "r", map[string]any{"a-b": 1}), "PropertyNameInvalid"},
		{"no keys", []byte(`{"A":1}`), "PropertiesNeedValue"},
		{"no row key", []byte(`{"PartitionKey":"p"}`), "PropertiesNeedValue"},
		{"null key", []byte(`{"PartitionKey":"p","RowKey":null}`), "PropertiesNeedValue"},
		{"twice", []byte(`{"PartitionKey":"p","RowKey":"r","A":1,"A":2}`), "DuplicatePropertiesSpecified"},
		{"early date", entity("p", "r", map[string]any{"A@odata.type": "Edm.DateTime", "A": "0001-01-01T00:00:00Z"}), "OutOfRangeInput"},
		{"no date", entity("p", "r", map[string]any{"A@odata.type": "Edm.DateTime", "A": "x"}), "InvalidInput"},
		{"cut off", []byte(`{"PartitionKey":"p",`), "InvalidInput"},
	} {
		answer := s.Do("POST", "/devstoreaccount1/people", string(tt.body), "Content-Type: application/json", "Accept: application/json;odata=nometadata")
		require.Equal(t, 400, answer.Status, tt.name)
		require.Equal(t, tt.code, answer.Code(), tt.name)
		require.Empty(t, query(t, c, nil), tt.name)
	}
	delete(many, "P252")
	_, err := c.AddEntity(ctx, entity("p", strings.Repeat("€", 1024), many), nil)
	require.NoError(t, err)
}

func TestBadQueries(t *testing.T) {
	c := serve(t).table("people")
	for filter, code := range map[string]string{"A eq": "InvalidInput", "((": "InvalidInput", "A eq B": "InvalidInput", "startswith(A,'x')": "NotImplemented"} {
		_, err := c.NewListEntitiesPager(&aztables.ListEntitiesOptions{Filter: &filter}).NextPage(ctx)
		status := 400
		if code == "NotImplemented" {
			status = 501
		}
		requireCode(t, err, status, code)
	}
	for _, top := range []int32{0, -1, 1001} {
		_, err := c.NewListEntitiesPager(&aztables.ListEntitiesOptions{Top: &top}).NextPage(ctx)
		requireCode(t, err, 400, "InvalidInput")
	}
	_, err := c.NewListEntitiesPager(&aztables.ListEntitiesOptions{NextPartitionKey: to.Ptr("1!9!!")}).NextPage(ctx)
	requireCode(t, err, 400, "InvalidQueryParameterValue")
	missing := serve(t).client().NewClient("missing")
	_, err = missing.NewListEntitiesPager(nil).NextPage(ctx)
	requireCode(t, err, 404, "TableNotFound")
}

func TestThousandsInPages(t *testing.T) {
	c := serve(t).table("people")
	var want []string
	for i := 0; i < 2500; i += 100 {
		var actions []aztables.TransactionAction
		for j := range 100 {
			rk := fmt.Sprintf("%05d", i+j)
			want = append(want, "p/"+rk)
			actions = append(actions, aztables.TransactionAction{ActionType: aztables.TransactionTypeAdd, Entity: encode(t, map[string]any{"PartitionKey": "p", "RowKey": rk})})
		}
		_, err := c.SubmitTransaction(ctx, actions, nil)
		require.NoError(t, err)
	}
	p := c.NewListEntitiesPager(nil)
	var sizes []int
	for p.More() {
		page, err := p.NextPage(ctx)
		require.NoError(t, err)
		sizes = append(sizes, len(page.Entities))
	}
	require.Equal(t, []int{1000, 1000, 500}, sizes)
	require.True(t, slices.Equal(want, query(t, c, nil)))
}
