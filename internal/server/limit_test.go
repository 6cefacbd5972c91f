package server_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth/gate"
	"github.com/blobd/blobd/internal/blob"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/resttest"
	"github.com/blobd/blobd/internal/table"
	"github.com/blobd/blobd/internal/usage"
)

// Beyond what may come or go in a second a request gets the service's words and the time to wait, and does nothing; a stranger's takes
// nothing from it, and no limit holds a moment longer than it is set.
func TestRequestsAndEgressAreLimited(t *testing.T) {
	ctx := context.Background()
	store, registry := enginetest.New(t), account.NewRegistry()
	accounts, err := account.OpenStore(ctx, store, registry, nil)
	require.NoError(t, err)
	a := resttest.Account()
	a.Resource = &account.Resource{Subscription: "sub"}
	require.NoError(t, accounts.Create(ctx, a, 0))
	blobs, tables := blob.New(blob.Options{Store: store, Accounts: accounts}), table.New(table.Options{Store: store, Accounts: accounts})
	t.Cleanup(func() { tables.Close(); require.NoError(t, blobs.Close()) })
	const word = "let me in"
	blobs.Authorize(ownersDoor{gate.New(gate.Options{Blob: blobs}), word})
	tables.Authorize(resttest.AllowAll{})
	s := resttest.Start(t, &rest.Front{Accounts: registry, Blob: blobs})
	tabled := resttest.Start(t, &rest.Front{Accounts: registry, Table: tables})
	limit := func(l usage.Limits) {
		require.NoError(t, accounts.Change(ctx, a.Name, func(a *account.Account) error { a.Limits = l; return nil }))
	}
	do := func(method, target, body string, header ...string) *resttest.Response {
		return s.Do(method, target, body, append(header, "x-owner: "+word)...)
	}
	require.Equal(t, 201, do("PUT", "/acct/con?restype=container", "").Status)
	busy := func(got *resttest.Response, words string) {
		t.Helper()
		require.Equal(t, "503 ServerBusy", fmt.Sprint(got.Status, " ", got.Code()))
		require.Contains(t, string(got.Body), words)
		require.Regexp(t, `^\d+$`, got.Header.Get("Retry-After"))
	}

	limit(usage.Limits{Requests: 1})
	before := accounts.Usage().Account(a.Name).Passed()
	for range 10 { // they are nobody's
		require.Equal(t, 404, s.Do("GET", "/acct/con/none", "").Status)
	}
	require.Equal(t, before, accounts.Usage().Account(a.Name).Passed())
	require.Equal(t, 201, do("PUT", "/acct/con/a", "hello", "x-ms-blob-type: BlockBlob").Status)
	refused := 0
	for range 50 {
		if got := do("PUT", "/acct/con/b", "hello", "x-ms-blob-type: BlockBlob"); got.Status != 201 {
			busy(got, "Operations per second is over the account limit.")
			refused++
		}
	}
	require.NotZero(t, refused)
	after := accounts.Usage().Account(a.Name).Passed()
	require.Equal(t, before.Requests+51-int64(refused), after.Requests)
	require.Equal(t, before.Received+5*(51-int64(refused)), after.Received)

	// What an answer took is charged before the next request of its connection.
	c := s.Dial()
	get := func() *resttest.Response { return c.Do("GET", "/acct/con/a", "", "x-owner: "+word) }
	limit(usage.Limits{})
	require.Equal(t, 200, get().Status)
	limit(usage.Limits{Egress: 1})
	require.Equal(t, 200, get().Status) // five seconds' worth
	for range 5 {
		busy(get(), "Egress is over the account limit.")
		busy(tabled.Do("GET", "/acct/Tables", "", "Accept: application/json"), "Egress is over the account limit.")
	}
	limit(usage.Limits{})
	require.Equal(t, 200, get().Status)
	accounts.Usage().Subscription("sub").Limit(usage.Limits{Egress: 1})
	require.Equal(t, 200, get().Status)
	busy(get(), "Egress is over the subscription limit.")
	accounts.Usage().Subscription("sub").Limit(usage.Limits{})
	require.Equal(t, 200, get().Status)
}
