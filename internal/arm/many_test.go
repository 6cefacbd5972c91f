package arm

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/directory"
)

// crowd is a house with many subscriptions of ten accounts each. One user owns the first of them, one has a role in every one, and the
// accounts of all the others have a role each.
type crowd struct {
	*house
	one, everywhere string
	first           string // the subscription
}

const perSubscription = 10

func newCrowd(t testing.TB, subscriptions int) *crowd {
	h := newHouse(t)
	c := &crowd{house: h, one: h.someone("one@example"), everywhere: h.someone("everywhere@example")}
	other := h.someone("other@example")
	for i := range subscriptions {
		s, err := h.Directory.AddSubscription(ctx, fmt.Sprintf("sub%d", i), directory.DefaultMaxAccounts)
		require.NoError(t, err)
		sub := "/subscriptions/" + s.ID
		if i == 0 {
			c.first = sub
			h.assign(c.one, directory.OwnerRole, sub)
		}
		h.assign(c.everywhere, directory.ContributorRole, sub)
		_, _, err = h.Directory.PutGroup(ctx, &directory.Group{Subscription: s.ID, Name: "grp", Location: "local"})
		require.NoError(t, err)
		for j := range perSubscription {
			a := account.New(fmt.Sprintf("a%dx%d", i, j), time.Now(), account.GenerateKey(), account.GenerateKey())
			a.Resource = &account.Resource{Subscription: s.ID, Group: "grp", Location: "local", KeysCreated: [2]time.Time{a.Created, a.Created}}
			require.NoError(t, h.Accounts.Create(ctx, a, 0))
			h.assign(other, directory.BlobReaderRole, accountID(a))
		}
	}
	return c
}

func (c *crowd) at(name string) string {
	return c.first + "/resourceGroups/grp/providers/Microsoft.Storage/storageAccounts/" + name
}

// asked is what is done with accounts all the time. Each leaves things as they were.
var asked = []struct {
	name string
	do   func(c *crowd, who string)
}{
	{"get", func(c *crowd, who string) { c.ok(200, who, "GET", c.at("a0x1"), "") }},
	{"keys", func(c *crowd, who string) { c.ok(200, who, "POST", c.at("a0x1")+"/listKeys", "") }},
	{"update", func(c *crowd, who string) { c.ok(200, who, "PATCH", c.at("a0x1"), `{"tags":{"a":"b"}}`) }},
	{"create and delete", func(c *crowd, who string) {
		c.ok(200, who, "PUT", c.at("fresh"), newAccount)
		c.ok(200, who, "DELETE", c.at("fresh"), "")
		require.NoError(c.t, c.Accounts.Erased(ctx, "fresh"))
	}},
	{"list", func(c *crowd, who string) {
		require.Len(c.t, c.ok(200, who, "GET", c.first+"/providers/Microsoft.Storage/storageAccounts", "").body["value"], perSubscription)
	}},
	{"usages", func(c *crowd, who string) {
		c.ok(200, who, "GET", c.first+"/providers/Microsoft.Storage/locations/local/usages", "")
	}},
	{"roles", func(c *crowd, who string) {
		c.ok(200, who, "GET", c.at("a0x1")+"/providers/Microsoft.Authorization/roleAssignments", "")
	}},
	{"role at data", func(c *crowd, who string) {
		a, uses := c.Accounts.Enter("a0x1")
		defer uses.Leave()
		require.NotEmpty(c.t, DataRoles(c.Directory, who, a))
	}},
	{"delete a container", func(c *crowd, _ string) {
		require.NoError(c.t, Forget(c.Directory, c.Accounts, 'b')(ctx, "a0x1", "con"))
	}},
	{"subscription by name", func(c *crowd, _ string) { require.NotNil(c.t, c.Directory.FindSubscription("sub0")) }},
	{"another subscription", func(c *crowd, _ string) {
		s, err := c.Directory.AddSubscription(ctx, "fresh", 1)
		require.NoError(c.t, err)
		require.NoError(c.t, c.Directory.RemoveSubscription(ctx, s.ID))
	}},
	{"role", func(c *crowd, who string) {
		id := uuid.NewString()
		_, err := c.Directory.Assign(ctx, directory.Assignment{ID: id, Principal: who, Role: directory.ReaderRole, Scope: c.at("a0x1")})
		require.NoError(c.t, err)
		require.NoError(c.t, c.Directory.Unassign(ctx, id))
	}},
}

// BenchmarkManyAccounts is what is asked of a server with 100 accounts in 10 subscriptions, and of one with 10 000 in 1000; and its start.
func BenchmarkManyAccounts(b *testing.B) {
	for _, subscriptions := range []int{10, 1000} {
		c := newCrowd(b, subscriptions)
		for _, a := range asked {
			b.Run(fmt.Sprintf("accounts=%d/%s", subscriptions*perSubscription, a.name), func(b *testing.B) {
				c.t = b
				b.ReportAllocs()
				for b.Loop() {
					a.do(c, c.everywhere)
				}
			})
		}
		b.Run(fmt.Sprintf("accounts=%d/start", subscriptions*perSubscription), func(b *testing.B) {
			for b.Loop() {
				accounts, err := account.OpenStore(ctx, c.engine, account.NewRegistry(), nil)
				require.NoError(b, err)
				_, err = directory.Open(ctx, c.engine, accounts, time.Now)
				require.NoError(b, err)
			}
		})
	}
}
