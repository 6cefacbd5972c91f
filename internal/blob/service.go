package blob

import (
	"context"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// Options of New.
type Options struct {
	Store engine.Store
	// Accounts keeps what Set Service Properties sets.
	Accounts *account.Store
	Logger   *zap.Logger      // default: none
	Now      func() time.Time // default: time.Now
	// PrivateSources lets copies read from this machine and private networks.
	PrivateSources bool
}

// Service is the Blob service of all accounts. It is safe for concurrent use.
type Service struct {
	store      engine.Store
	accounts   *account.Store
	authorizer auth.Authorizer
	log        *zap.Logger
	clock      func() time.Time
	started    engine.Stamp
	work       chan struct{} // one token: the sweeper has something to do
	stop       context.CancelFunc
	swept      chan struct{} // closed when the sweeper has ended
	remote     *http.Client  // reads the sources of copies
	copyMu     sync.Mutex
	copies     map[[16]byte]*runningCopy // background copies by id; nil while closing
	copiesWait bool                      // of copyMu: some were not begun, as too many were running
	copyDone   sync.WaitGroup
	pins       pagePins
	tagging    tagWrites
	batch      *rest.Router[*Service]
	containers containerCache
	atOnce     int // maxAtOnce, but for tests
}

var (
	_ rest.Service   = (*Service)(nil)
	_ auth.Resources = (*Service)(nil)
)

// New returns a Service whose sweeper runs until Close.
func New(o Options) *Service {
	s := &Service{store: o.Store, accounts: o.Accounts, log: o.Logger, clock: o.Now, work: make(chan struct{}, 1), swept: make(chan struct{}),
		remote: newRemote(o.PrivateSources, maxStall), copies: map[[16]byte]*runningCopy{}, atOnce: maxAtOnce}
	s.batch = batchRouter()
	if s.log == nil {
		s.log = zap.NewNop()
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	s.started = s.now()
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go s.run(ctx)
	return s
}

// Authorize sets who decides about requests. It is called once, before the first of them: the gate asks the service about public
// access, so neither can be made with the other.
func (s *Service) Authorize(a auth.Authorizer) { s.authorizer = a }

// Close stops the sweeper and the background copies and waits for them. The store stays open.
func (s *Service) Close() error {
	s.stop()
	<-s.swept
	s.stopCopies()
	return nil
}

func (s *Service) now() engine.Stamp { return engine.StampOf(s.clock()) }

// wake tells the sweeper that there is work. A token that is there already will do.
func (s *Service) wake() {
	select {
	case s.work <- struct{}{}:
	default:
	}
}

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
