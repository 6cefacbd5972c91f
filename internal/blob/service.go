package blob

import (
	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// Service serves the Blob service of all accounts. It is safe for concurrent use.
type Service struct {
	*core
	accounts   *account.Store
	authorizer auth.Authorizer
	batch      *rest.Router[*Service]
}

var _ rest.Service = (*Service)(nil)

// New returns a Service whose sweeper runs until Close.
func New(o Options) *Service {
	return &Service{core: newCore(o), accounts: o.Accounts, batch: batchRouter()}
}

// Authorize sets who decides about requests. It is called once, before the first of them: the gate asks the service about public
// access, so neither can be made with the other.
func (s *Service) Authorize(a auth.Authorizer) { s.authorizer = a }

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
