package directory_test

import (
	"bytes"
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/directory"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/enginetest"
)

var ctx = context.Background()

const secret = "correct horse battery"

type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

// open is a start of the server.
func open(t *testing.T, e engine.Store, c *clock, masters ...[]byte) *directory.Directory {
	t.Helper()
	sealer, err := account.OpenStore(ctx, e, account.NewRegistry(), masters)
	require.NoError(t, err)
	d, err := directory.Open(ctx, e, sealer, c.now)
	require.NoError(t, err)
	return d
}

func TestDirectoryIsKept(t *testing.T) {
	e, c := enginetest.New(t), &clock{time.Now()}
	d := open(t, e, c)
	u, err := d.AddPrincipal(ctx, directory.User, "ann@example", secret)
	require.NoError(t, err)
	p, err := d.AddPrincipal(ctx, directory.ServicePrincipal, "robot", secret)
	require.NoError(t, err)
	_, err = d.AddPrincipal(ctx, directory.User, "ANN@example", secret)
	require.ErrorIs(t, err, directory.ErrExists)
	_, err = d.AddPrincipal(ctx, directory.User, uuid.NewString(), secret)
	require.ErrorContains(t, err, "has the form of an id")
	_, err = d.AddPrincipal(ctx, directory.User, "bob", "short")
	require.ErrorContains(t, err, "a secret has 12 to 1024 bytes")
	s, err := d.AddSubscription(ctx, "one", 5)
	require.NoError(t, err)
	g, created, err := d.PutGroup(ctx, &directory.Group{Subscription: s.ID, Name: "Grp", Location: "local"})
	require.NoError(t, err)
	require.True(t, created)
	scope := "/subscriptions/" + s.ID + "/resourceGroups/" + g.Name
	a, err := d.Assign(ctx, directory.Assignment{ID: uuid.NewString(), Principal: u.ObjectID, Role: "Reader", Scope: scope})
	require.NoError(t, err)
	_, err = d.Assign(ctx, directory.Assignment{ID: uuid.NewString(), Principal: u.ObjectID, Role: "reader", Scope: strings.ToUpper(scope) + "/"})
	require.ErrorIs(t, err, directory.ErrExists)
	for name, bad := range map[string]directory.Assignment{
		"principal": {Principal: uuid.NewString(), Role: "Reader", Scope: scope}, "role": {Principal: u.ObjectID, Role: "King", Scope: scope},
		"everything": {Principal: u.ObjectID, Role: "Reader", Scope: "/"}, "subscription": {Principal: u.ObjectID, Role: "Reader", Scope: "/subscriptions/" + uuid.NewString()},
	} {
		bad.ID = uuid.NewString()
		_, err = d.Assign(ctx, bad)
		require.ErrorIs(t, err, directory.ErrMissing, name)
	}
	key, err := d.Signer(ctx)
	require.NoError(t, err)

	again := open(t, e, c)
	require.Equal(t, d.Tenant(), again.Tenant())
	require.Equal(t, u.ObjectID, again.Find("Ann@Example").ObjectID)
	require.Equal(t, p.ObjectID, again.Find(strings.ToUpper(p.AppID)).ObjectID)
	require.Equal(t, s.ID, again.FindSubscription("ONE").ID)
	require.Equal(t, "Grp", again.Group(s.ID, "gRP").Name)
	require.Equal(t, a.ID, again.Assignment(a.ID).ID)
	require.True(t, again.Allowed(u.ObjectID, "Microsoft.Storage/storageAccounts/read", scope+"/providers/Microsoft.Storage/storageAccounts/a"))
	same, err := again.Signer(ctx)
	require.NoError(t, err)
	require.Equal(t, key.ID, same.ID)
	_, err = again.Authenticate(ctx, netip.Addr{}, directory.User, "ann@example", secret)
	require.NoError(t, err)

	require.ErrorContains(t, again.RemoveSubscription(ctx, s.ID), "has resource groups")
	require.NoError(t, again.RemoveGroup(ctx, s.ID, "grp"))
	require.Nil(t, again.Assignment(a.ID), "a role at what is gone")
	require.NoError(t, again.RemovePrincipal(ctx, u.ObjectID))
	require.NoError(t, again.RemoveSubscription(ctx, s.ID))
	last := open(t, e, c)
	require.Len(t, last.Principals(), 1)
	require.Empty(t, last.Subscriptions())
}

// What the store has of secrets is a hash, and signing keys are sealed under the master key from the first start with one on.
func TestSecretsAreNotKept(t *testing.T) {
	e, c := enginetest.New(t), &clock{time.Now()}
	d := open(t, e, c)
	_, err := d.AddPrincipal(ctx, directory.User, "ann", secret)
	require.NoError(t, err)
	key, err := d.Signer(ctx)
	require.NoError(t, err)
	stored := func() (all []byte) {
		require.NoError(t, e.View(ctx, nil, func(r engine.Reader) error {
			it := r.Scan(engine.SpaceResource, nil, nil)
			for it.Next() {
				v, err := it.Value()
				require.NoError(t, err)
				all = append(all, v...)
			}
			return it.Close()
		}))
		return all
	}
	require.NotContains(t, string(stored()), secret)
	require.Contains(t, string(stored()), "$argon2id$v=19$m=64,t=2,p=1$")
	require.Contains(t, string(stored()), `"key":"`)
	master := bytes.Repeat([]byte{1}, 32)
	sealed := open(t, e, c, master)
	require.NotContains(t, string(stored()), `"key":"`)
	same, err := open(t, e, c, master).Signer(ctx)
	require.NoError(t, err)
	require.Equal(t, key.ID, same.ID)
	require.Len(t, sealed.Signers(), 1)

	// Keys change, and stay known as long as a token of theirs is good.
	c.at = c.at.Add(31 * 24 * time.Hour)
	next, err := sealed.Signer(ctx)
	require.NoError(t, err)
	require.NotEqual(t, key.ID, next.ID)
	require.Len(t, sealed.Signers(), 2)
	c.at = c.at.Add(31 * 24 * time.Hour)
	_, err = sealed.Signer(ctx)
	require.NoError(t, err)
	require.Len(t, open(t, e, c, master).Signers(), 2)
}

func TestAuthenticate(t *testing.T) {
	c := &clock{time.Now()}
	d := open(t, enginetest.New(t), c)
	u, err := d.AddPrincipal(ctx, directory.User, "ann", secret)
	require.NoError(t, err)
	p, err := d.AddPrincipal(ctx, directory.ServicePrincipal, "robot", secret)
	require.NoError(t, err)
	is := func(want error, kind directory.Kind, login, s string) {
		t.Helper()
		_, err := d.Authenticate(ctx, netip.Addr{}, kind, login, s)
		require.ErrorIs(t, err, want)
	}
	is(nil, directory.User, "ANN", secret)
	is(nil, directory.ServicePrincipal, p.AppID, secret)
	is(directory.ErrWrongSecret, directory.User, "ann", secret+" ")
	is(directory.ErrWrongSecret, directory.User, "nobody", secret)
	is(directory.ErrWrongSecret, directory.ServicePrincipal, "ann", secret)
	is(directory.ErrWrongSecret, directory.User, p.AppID, secret)
	is(directory.ErrWrongSecret, directory.User, "robot", secret)
	require.NoError(t, d.SetDisabled(ctx, u.ObjectID, true))
	is(directory.ErrWrongSecret, directory.User, "ann", secret)
	require.NoError(t, d.SetDisabled(ctx, u.ObjectID, false))
	require.NoError(t, d.SetSecret(ctx, u.ObjectID, "another secret"))
	is(directory.ErrWrongSecret, directory.User, "ann", secret)
	is(nil, directory.User, "ann", "another secret")
	for range 10 {
		is(directory.ErrWrongSecret, directory.User, "ann", "a wrong password")
	}
	is(directory.ErrLocked, directory.User, "ann", "another secret")
	c.at = c.at.Add(time.Minute)
	is(nil, directory.User, "ann", "another secret")

	// No more are computed than the bound, and no more wait.
	var busy sync.WaitGroup
	full := make(chan struct{}, 200)
	for range 200 {
		busy.Go(func() {
			if _, err := d.Authenticate(ctx, netip.Addr{}, directory.ServicePrincipal, "nobody", secret); err == directory.ErrBusy {
				full <- struct{}{}
			}
		})
	}
	busy.Wait()
	require.NotEmpty(t, full)
}

// A role reaches its scope and what is below, segment by segment, and never another subscription.
func TestAllowed(t *testing.T) {
	d := open(t, enginetest.New(t), &clock{time.Now()})
	u, err := d.AddPrincipal(ctx, directory.User, "ann", secret)
	require.NoError(t, err)
	one, err := d.AddSubscription(ctx, "one", 1)
	require.NoError(t, err)
	two, err := d.AddSubscription(ctx, "two", 1)
	require.NoError(t, err)
	sub := "/subscriptions/" + one.ID
	const read, write, keys = "Microsoft.Storage/storageAccounts/read", "Microsoft.Storage/storageAccounts/write", "Microsoft.Storage/storageAccounts/listKeys/action"
	for _, r := range []struct {
		role, scope, action, at string
		allowed                 bool
	}{
		{"Owner", sub, "Microsoft.Authorization/roleAssignments/write", sub + "/resourceGroups/g", true},
		{"Owner", sub, read, "/subscriptions/" + two.ID, false},
		{"Owner", sub, read, "/", false},
		{"Owner", sub + "/resourceGroups/g", read, sub, false},
		{"Owner", sub + "/resourceGroups/g", read, sub + "/resourceGroups/G/providers/x", true},
		{"Owner", sub + "/resourceGroups/g", read, sub + "/resourceGroups/gg", false},
		{"Contributor", sub, write, sub, true},
		{"Contributor", sub, "Microsoft.Authorization/roleAssignments/write", sub, false},
		{"Contributor", sub, "microsoft.authorization/roleassignments/DELETE", sub, false},
		{"Contributor", sub, "Microsoft.Authorization/roleAssignments/read", sub, true},
		{"Reader", sub, read, sub, true}, {"Reader", sub, write, sub, false}, {"Reader", sub, keys, sub, false},
		{"Storage Account Contributor", sub, keys, sub, true}, {"Storage Account Contributor", sub, "Microsoft.Resources/subscriptions/resourceGroups/write", sub, false},
		{"Storage Account Key Operator Service Role", sub, keys, sub, true}, {"Storage Account Key Operator Service Role", sub, read, sub, false},
		{"Storage Blob Data Owner", sub, keys, sub, false}, {"Storage Blob Data Reader", sub, "Microsoft.Storage/storageAccounts/blobServices/containers/read", sub, true},
	} {
		a, err := d.Assign(ctx, directory.Assignment{ID: uuid.NewString(), Principal: u.ObjectID, Role: r.role, Scope: r.scope})
		require.NoError(t, err)
		require.Equal(t, r.allowed, d.Allowed(u.ObjectID, r.action, r.at), "%s at %s: %s at %s", r.role, r.scope, r.action, r.at)
		require.NoError(t, d.SetDisabled(ctx, u.ObjectID, true))
		require.False(t, d.Allowed(u.ObjectID, r.action, r.at))
		require.NoError(t, d.SetDisabled(ctx, u.ObjectID, false))
		require.NoError(t, d.Unassign(ctx, a.ID))
		require.False(t, d.Allowed(u.ObjectID, r.action, r.at))
	}
}
