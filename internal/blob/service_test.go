package blob

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/rest/resttest"
	"github.com/blobd/blobd/internal/usage"
)

// house is a Service behind the real front, with a real store and real authorization if it is asked for.
type house struct {
	*resttest.Server
	svc      *Service
	registry *account.Registry
	accounts *account.Store
	now      func() time.Time
	ahead    atomic.Int64 // by how much requests come later than they do, in nanoseconds
	private  bool         // copies may read from this machine
	served   *sync.Map    // if set, the names of the operations that were served
	atOnce   int          // Options.AtOnce
	stall    time.Duration
	master   []byte

	disk       *enginetest.Disk
	store      engine.Store
	authorizer func(auth.Resources) auth.Authorizer
}

type option func(*house, *account.Account)

// newHouse serves account "acct" and lets everybody in.
func newHouse(t testing.TB, options ...option) *house { return build(t, nil, options...) }

func build(t testing.TB, authorizer func(auth.Resources) auth.Authorizer, options ...option) *house {
	t.Helper()
	h := &house{now: time.Now, disk: enginetest.NewDisk(), authorizer: authorizer}
	acct, dev := resttest.Account(), account.Development(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	acct.Delegation = account.GenerateKey()
	for _, o := range options {
		o(h, acct)
	}
	h.open(t, acct, dev)
	t.Cleanup(func() { require.NoError(t, h.svc.Close()) })
	return h
}

// open starts the service on the disk, and makes new accounts.
func (h *house) open(t testing.TB, accounts ...*account.Account) {
	t.Helper()
	h.serve(t, h.disk.Open(t), accounts...)
}

// serve is open with a store that is open already.
func (h *house) serve(t testing.TB, on engine.Store, accounts ...*account.Account) {
	t.Helper()
	h.store, h.registry = on, account.NewRegistry()
	var err error
	var masters [][]byte
	if h.master != nil {
		masters = append(masters, h.master)
	}
	h.accounts, err = account.OpenStore(context.Background(), h.store, h.registry, masters)
	require.NoError(t, err)
	for _, a := range accounts {
		require.NoError(t, h.accounts.Create(context.Background(), a, 0))
	}
	h.svc = New(store.Options{Store: h.store, Accounts: h.accounts, Now: func() time.Time { return h.now() }, PrivateSources: h.private, AtOnce: h.atOnce, Stall: h.stall})
	if h.authorizer == nil {
		h.svc.Authorize(resttest.AllowAll{})
	} else {
		h.svc.Authorize(h.authorizer(h.svc))
	}
	h.Server = resttest.Start(t, &rest.Front{Accounts: h.registry, Blob: ahead{h.svc, h}, Done: func(r *rest.Request) {
		if h.served != nil {
			h.served.Store(strings.Clone(r.Operation), true)
		}
	}})
}

// ahead is the service as it meets requests so much later than they come.
type ahead struct {
	*Service
	h *house
}

func (a ahead) Serve(r *rest.Request) {
	r.Now = r.Now.Add(time.Duration(a.h.ahead.Load()))
	a.Service.Serve(r)
}

// restart closes service and store and opens them again.
func (h *house) restart(t testing.TB) {
	t.Helper()
	require.NoError(t, h.svc.Close())
	require.NoError(t, h.store.Close())
	h.open(t)
}

// must sends a request and holds the answer to a status.
func (h *house) must(t testing.TB, status int, method, target, body string, header ...string) *resttest.Response {
	t.Helper()
	r := h.Do(method, target, body, header...)
	require.Equal(t, status, r.Status, "%s %s: %s", method, target, r)
	return r
}

// fails sends a request and holds the answer to an error.
func (h *house) fails(t testing.TB, status int, code, method, target, body string, header ...string) *resttest.Response {
	t.Helper()
	r := h.Do(method, target, body, header...)
	require.Equal(t, status, r.Status, "%s %s: %s", method, target, r)
	require.Equal(t, code, r.Code(), "%s %s: %s", method, target, r)
	return r
}

// unpinned waits for what readers have pinned: an answer may have come before its reader has let go.
func (h *house) unpinned() {
	for h.svc.blobs.Pinned() > 0 {
		runtime.Gosched()
	}
}

// used is what the account holds by its counters, in bytes.
func used(t testing.TB, h *house) (n int64) {
	t.Helper()
	l, err := usage.Open(context.Background(), h.store)
	require.NoError(t, err)
	return l.Account("acct").Held(usage.Blobs).Bytes
}
