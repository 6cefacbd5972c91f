package operator

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/directory"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/usage"
	"github.com/blobd/blobd/internal/usage/daily"
)

// What an operator does, and what is refused with a word on what to do.
func TestCommands(t *testing.T) {
	ctx := context.Background()
	e := enginetest.New(t)
	accounts, err := account.OpenStore(ctx, e, account.NewRegistry(), nil)
	require.NoError(t, err)
	require.NoError(t, accounts.Configure(ctx, account.New("configured", time.Now(), account.GenerateKey())))
	d, err := directory.Open(ctx, e, accounts, time.Now)
	require.NoError(t, err)
	book, err := daily.Open(ctx, e, accounts.Usage(), accounts.CountOwned, time.Now)
	require.NoError(t, err)
	o := &Operator{Directory: d, Accounts: accounts, Daily: book, Base: "https://management.example",
		KnownScope: func(_ context.Context, scope string) (string, error) { return "", errors.New("is not there") }, Location: "local", Log: zap.NewNop()}
	do := func(status int, command, body string) Reply {
		t.Helper()
		w := httptest.NewRecorder()
		o.ServeHTTP(w, httptest.NewRequest("POST", "/"+command, strings.NewReader(body)))
		require.Equal(t, status, w.Code, "%s: %s", command, w.Body)
		var r Reply
		_ = json.Unmarshal(w.Body.Bytes(), &r) // an error of HTTP is a text
		return r
	}
	first := do(200, "init", `{"name":"admin@blobd","subscription":"main"}`)
	require.Len(t, first.Users[0].Secret, 43)
	_, err = d.Authenticate(ctx, netip.Addr{}, directory.User, "admin@blobd", first.Users[0].Secret)
	require.NoError(t, err)
	sub := first.Subscriptions[0].ID
	require.True(t, d.Allowed(first.Users[0].ObjectID, "Microsoft.Storage/storageAccounts/write", "/subscriptions/"+sub))
	for _, c := range []struct{ command, body, words string }{
		{"init", `{"name":"x","subscription":"y"}`, "has users already"},
		{"user/create", `{"name":"ADMIN@blobd"}`, "already"},
		{"user/create", `{"name":"bob","secret":"short"}`, "12 to 1024 bytes"},
		{"user/delete", `{"name":"nobody"}`, `no user or service principal "nobody"`},
		{"user/delete", `{}`, "no user"},
		{"subscription/create", `{"name":"other","owner":"nobody"}`, "no user"},
		{"subscription/delete", `{"name":"nothing"}`, `no subscription "nothing"`},
		{"role/assign", `{"name":"admin@blobd","role":"King","scope":"main"}`, "the roles are Owner, Contributor"},
		{"role/assign", `{"name":"admin@blobd","role":"Reader","scope":"/subscriptions/x"}`, "the scope /subscriptions/x: is not there"},
		{"role/remove", `{"name":"x"}`, "not in the directory"},
		{"account/create", `{"name":"Bad_Name","subscription":"main"}`, "only lower-case letters"},
		{"account/create", `{"name":"configured","subscription":"main"}`, "the account exists"},
		{"account/delete", `{"name":"configured"}`, "belongs to the configuration"},
		{"account/disable", `{"name":"none"}`, `no account "none"`},
	} {
		require.Contains(t, do(409, c.command, c.body).Error, c.words, c.command)
	}
	do(404, "user/everything", `{}`)
	do(400, "user/list", `{`)
	require.Len(t, do(200, "account/create", `{"name":"made","subscription":"MAIN"}`).Accounts, 1)
	require.Len(t, do(200, "account/keys", `{"name":"made"}`).Accounts[0].Keys, 2)
	do(200, "account/disable", `{"name":"configured"}`)
	require.True(t, accounts.Lookup("configured").Disabled)
	require.Len(t, do(200, "account/list", `{}`).Accounts, 2)
	require.Contains(t, do(409, "subscription/delete", `{"name":"main"}`).Error, "delete them first")
	do(200, "subscription/limit", `{"name":"main","maxAccounts":1}`)
	require.Contains(t, do(409, "account/create", `{"name":"more","subscription":"main"}`).Error, "as many accounts as it may")
	do(200, "account/limit", `{"name":"made","capacity":100}`)
	require.False(t, accounts.Lookup("made").Meter.Admits(101))
	require.True(t, accounts.Lookup("made").Meter.Admits(100))
	do(200, "subscription/limit", `{"name":"main","capacity":60}`)
	require.False(t, accounts.Lookup("made").Meter.Admits(61))
	require.True(t, accounts.Lookup("made").Meter.Admits(60))
	require.True(t, accounts.Lookup("configured").Meter.Admits(1000))
	for body, words := range map[string]string{`"capacity":-1`: "0 (no limit) or more bytes", `"requests":-1`: "0 (no limit) or more a second", `"capacity":7,"egress":-5`: "more bytes a second", `"x":1`: "a limit is missing"} {
		for _, command := range []string{"account/limit", "subscription/limit"} {
			name := map[string]string{"account/limit": "made", "subscription/limit": "main"}[command]
			require.Contains(t, do(409, command, `{"name":"`+name+`",`+body+`}`).Error, words, command)
		}
	}
	require.True(t, accounts.Lookup("made").Meter.Admits(60), "a refused command changes nothing")
	require.Equal(t, []Usage{{Account: "configured"}, {Account: "made", Subscription: sub, Limits: usage.Limits{Capacity: 100}}}, do(200, "account/usage", `{}`).Usage)
	require.Equal(t, 1, do(200, "subscription/list", `{}`).Subscriptions[0].MaxAccounts)
	again, err := account.OpenStore(ctx, e, account.NewRegistry(), nil)
	require.NoError(t, err)
	require.Equal(t, int64(100), again.Get("made").Capacity)
	do(200, "account/limit", `{"name":"made","requests":3,"egress":4}`)
	do(200, "subscription/limit", `{"name":"main","requests":2}`)
	require.Equal(t, usage.Limits{Capacity: 100, Requests: 3, Egress: 4}, accounts.Lookup("made").Limits)
	require.Equal(t, usage.Limits{Capacity: 60, Requests: 2}, do(200, "subscription/list", `{}`).Subscriptions[0].Limits)
	m, now := accounts.Lookup("made").Meter, time.Now()
	for i := range 3 {
		over, subscription, _ := m.Enter(now)
		require.Equal(t, i == 2, over == usage.OverRequests && subscription)
	}
	do(200, "subscription/limit", `{"name":"main","requests":0}`)
	over, _, _ := m.Enter(now) // the third of its own
	require.Equal(t, usage.OverRequests, over, "of its own")
	do(200, "account/limit", `{"name":"made","requests":0}`)
	over, _, _ = m.Enter(now)
	require.Equal(t, usage.Within, over)
	accounts.Lookup("made").Meter.Leave(7, 8, now)
	days := do(200, "usage", `{"subscription":"MAIN"}`).Days
	require.Equal(t, []any{"main", sub, 1, usage.Passed{Requests: 3, Received: 7, Sent: 8}}, []any{days[0].Name, days[0].Subscription, days[0].Accounts, days[0].Passed})
	require.Equal(t, days, do(200, "usage", `{"subscription":"`+sub+`","from":"2020-01-01","to":"2099-01-01"}`).Days)
	require.Empty(t, do(200, "usage", `{"to":"2020-01-01"}`).Days)
	require.Contains(t, do(409, "usage", `{"from":"monday"}`).Error, "YYYY-MM-DD")
	require.Contains(t, do(409, "usage", `{"subscription":"nothing"}`).Error, "no subscription")
	accounts.Retain(time.Hour)
	do(200, "account/delete", `{"name":"made"}`)
	require.Nil(t, accounts.Lookup("made"))
	kept := do(200, "account/deleted", `{}`).Accounts
	require.Equal(t, []any{"made", sub, true}, []any{kept[0].Name, kept[0].Subscription, kept[0].Until > kept[0].Deleted})
	require.NoError(t, d.RemoveGroup(ctx, sub, "default"))
	do(200, "account/restore", `{"name":"made"}`)
	require.NotNil(t, accounts.Lookup("made"))
	require.NotNil(t, d.Group(sub, "default"))
	for _, command := range []string{"account/restore", "account/purge"} {
		require.Contains(t, do(409, command, `{"name":"made"}`).Error, "account deleted")
	}
	do(200, "account/delete", `{"name":"made"}`)
	do(200, "account/purge", `{"name":"made"}`)
	require.Empty(t, do(200, "account/deleted", `{}`).Accounts)
	do(200, "subscription/disable", `{"name":"main"}`)
	require.True(t, do(200, "subscription/list", `{}`).Subscriptions[0].Disabled)
	do(200, "user/secret", `{"name":"admin@blobd","secret":"a secret of my own"}`)
	_, err = d.Authenticate(ctx, netip.Addr{}, directory.User, "admin@blobd", "a secret of my own")
	require.NoError(t, err)
	require.Empty(t, do(200, "user/list", `{}`).Users[0].Secret)
	do(200, "user/disable", `{"name":"admin@blobd"}`)
	require.False(t, d.Allowed(first.Users[0].ObjectID, "Microsoft.Storage/storageAccounts/read", "/subscriptions/"+sub))
	do(200, "user/delete", `{"name":"admin@blobd"}`)
	require.Empty(t, do(200, "role/list", `{}`).Roles)
}
