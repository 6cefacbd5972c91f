package store

import (
	"context"
	"errors"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/source"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/sweeper"
	"github.com/blobd/blobd/internal/tally"
	"github.com/blobd/blobd/internal/usage"
)

// Options of New.
type Options struct {
	Store    engine.Store
	Accounts *account.Store
	Logger   *zap.Logger      // default: none
	Now      func() time.Time // default: time.Now
	// PrivateSources lets copies read from this machine and private networks.
	PrivateSources bool
	// ClosedSources are addresses that no copy reads from: where this server is managed.
	ClosedSources []netip.AddrPort
	// Stall is how long the source of a copy may send nothing; default: a minute.
	Stall time.Duration
	// AtOnce is the most entries of a chunk list that one transaction writes; 0 for as many as fit. Longer lists are laid in several.
	AtOnce int
	// HistoryStep is how many bytes one transaction writes, about, of a history as long as clients make it; default: a quarter of
	// engine.MaxTransaction.
	HistoryStep int
	// Forget takes away what is kept elsewhere about a container, which is the roles at it; nil for nothing. It is called when one is
	// deleted, and before one is made or brought back.
	Forget func(ctx context.Context, account, container string) error
}

// Service is the Blob service of all accounts. It is safe for concurrent use.
type Service struct {
	store      engine.Store
	accounts   *account.Store
	usage      *usage.Ledger
	log        *zap.Logger
	clock      func() time.Time
	started    engine.Stamp
	sweeper    sweeper.Sweeper
	indexed    sync.WaitGroup // the sweep of the tag index
	stop       context.CancelFunc
	remote     *source.Client
	copyMu     sync.Mutex
	copies     map[[16]byte]*runningCopy // background copies by id; nil while closing
	copiesWait bool                      // of copyMu: some were not begun, as too many were running
	copyDone   sync.WaitGroup
	pins       pagePins
	tagging    tally.Tally[string] // writes under way that give a blob tags or take some away, by its partition
	containers containerCache
	atOnce     int // entries of a chunk list

	historyStep int // bytes
	looked      int // maxLooked

	forget func(ctx context.Context, account, container string) error
	seed   maphash.Seed
	names  [64]sync.Mutex // of containers that are made or deleted, by the hash of their keys
}

var _ auth.Resources = (*Service)(nil)

// New returns a service whose sweeper runs until Close.
func New(o Options) *Service {
	if o.Stall == 0 {
		o.Stall = source.MaxStall
	}
	s := &Service{store: o.Store, accounts: o.Accounts, usage: o.Accounts.Usage(), log: o.Logger, clock: o.Now,
		remote: source.NewClient(o.PrivateSources, o.Stall, o.ClosedSources), copies: map[[16]byte]*runningCopy{}, atOnce: maxAtOnce,
		historyStep: engine.MaxTransaction / 4, looked: maxLooked, forget: o.Forget, seed: maphash.MakeSeed()}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	if o.AtOnce > 0 {
		s.atOnce = o.AtOnce
	}
	if o.HistoryStep > 0 {
		s.historyStep = o.HistoryStep
	}
	s.started = s.now()
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.sweeper.Start(s.log, "sweep", s.Sweep)
	s.indexed.Go(func() {
		if err := s.SweepTags(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, engine.ErrClosed) {
			s.log.Warn("sweep the tag index", zap.Error(err))
		}
	})
	return s
}

// Copying counts the copies that are read in the background now.
func (s *Service) Copying() int {
	s.copyMu.Lock()
	defer s.copyMu.Unlock()
	return len(s.copies)
}

// Pinned counts the contents that are kept from the sweeper because somebody reads or lays them.
func (s *Service) Pinned() int { return s.pins.Len() }

// Close stops the sweeper and the background copies and waits for them. The store stays open.
func (s *Service) Close() error {
	s.stop()
	s.sweeper.Close()
	s.indexed.Wait()
	s.stopCopies()
	return nil
}

func (s *Service) now() engine.Stamp { return engine.StampOf(s.clock()) }
