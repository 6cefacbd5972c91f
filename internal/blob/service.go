package blob

import (
	"context"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/blob/store"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// Service serves the Blob service of all accounts. It is safe for concurrent use.
type Service struct {
	blobs      *store.Service
	accounts   *account.Store
	authorizer auth.Authorizer
	batch      *rest.Router[*Service]
}

var (
	_ rest.Service   = (*Service)(nil)
	_ auth.Resources = (*Service)(nil)
)

// New returns a Service whose sweeper runs until Close.
func New(o store.Options) *Service {
	return &Service{blobs: store.New(o), accounts: o.Accounts, batch: batchRouter()}
}

// Authorize sets who decides about requests. It is called once, before the first of them: the gate asks the service about public
// access, so neither can be made with the other.
func (s *Service) Authorize(a auth.Authorizer) { s.authorizer = a }

// Blobs is the service as plain Go.
func (s *Service) Blobs() *store.Service { return s.blobs }

// Access implements auth.Resources.
func (s *Service) Access(ctx context.Context, account, name string) (auth.Access, error) {
	return s.blobs.Access(ctx, account, name)
}

// CreateContainer makes a container without a request, as the command line asks for.
func (s *Service) CreateContainer(ctx context.Context, account, name string, public auth.PublicAccess) error {
	return s.blobs.CreateContainer(ctx, account, name, &record.Container{Public: public})
}

// DeleteAccount deletes all containers of a deleted account.
func (s *Service) DeleteAccount(ctx context.Context, account string) error {
	return s.blobs.DeleteAccount(ctx, account)
}

// Close ends the background work and waits for it. The store stays open.
func (s *Service) Close() error { return s.blobs.Close() }

var router = rest.NewRouter(Operations, tagUses...)

// Serve implements rest.Service.
func (s *Service) Serve(r *rest.Request) {
	rest.Dispatch(router, level(r), s, s.authorizer, r)
}

// level settles what is addressed. A single segment without restype=container is a blob of the root container.
func level(r *rest.Request) rest.Level {
	restype := protocol.Word(r.Query("restype"))
	switch {
	case r.Container == "":
		return rest.Account
	case r.Blob != "":
		return rest.Blob
	case restype == "container" || restype == "account":
		return rest.Container
	}
	r.Container, r.Blob = "$root", r.Container
	return rest.Blob
}

// DefaultVersion implements rest.VersionDefaulter.
func (s *Service) DefaultVersion(r *rest.Request) protocol.Version {
	if p := r.Account.Blob; p != nil {
		return p.DefaultServiceVersion
	}
	return ""
}

// Options of New.
type Options = store.Options
