package table

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
	"github.com/blobd/blobd/internal/sweeper"
	"github.com/blobd/blobd/internal/table/entity"
	"github.com/blobd/blobd/internal/table/filter"
	"github.com/blobd/blobd/internal/usage"
)

// Service is the Table service of all accounts. It is safe for concurrent use.
type Service struct {
	store      engine.Store
	accounts   *account.Store
	usage      *usage.Ledger
	authorizer auth.Authorizer
	log        *zap.Logger
	forget     func(ctx context.Context, account, table string) error
	router     *rest.Router[*call]

	mu     sync.RWMutex
	tables map[string]*table // of mu: those in use, by tableKey; at most maxTables, but for those that are being written to
	most   int               // maxTables, less in a test
	seed   maphash.Seed
	names  [64]sync.Mutex

	sweeper sweeper.Sweeper // empties deleted tables: those that an earlier run of the process left, and then each that is deleted
}

// Options are what the service is made of.
type Options struct {
	Store engine.Store
	// Accounts keeps what Set Service Properties sets.
	Accounts *account.Store
	Logger   *zap.Logger // default: none
	// Forget takes away what is kept elsewhere about a table, which is the roles at it; nil for nothing. It is called when one is
	// deleted, and before one is made.
	Forget func(ctx context.Context, account, table string) error
}

// New returns the service and starts its sweeper. Close ends it.
func New(o Options) *Service {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	s := &Service{
		store: o.Store, accounts: o.Accounts, usage: o.Accounts.Usage(), log: o.Logger, forget: o.Forget,
		most: maxTables, router: rest.NewRouter(Operations), tables: map[string]*table{}, seed: maphash.MakeSeed(),
	}
	s.sweeper.Start(s.log, "sweep deleted tables", s.sweepAll)
	return s
}

// Authorize sets the decision point, which asks the service itself about stored policies. It is called before the first request.
func (s *Service) Authorize(a auth.Authorizer) { s.authorizer = a }

// Close waits for the sweeper. No request is under way or comes after.
func (s *Service) Close() { s.sweeper.Close() }

// table is a table in use: what is known of it, and the gate between its writers and its deletion.
type table struct {
	record // without policies
	key    []byte
	place  usage.Place  // as its use is counted
	meter  *usage.Meter // of its account
	acl    atomic.Pointer[[]auth.Policy]

	mu   sync.RWMutex // read: a write of entities is under way; write: the deletion
	gone bool         // of mu: deleted, or no longer in memory, where another has taken its place if it is used
}

// maxTables bounds the tables in memory.
const maxTables = 10_000

func newTable(r record) *table {
	t := &table{record: r}
	t.acl.Store(&r.policies)
	return t
}

// prefix is what the keys of all the table's entities begin with.
func (t *table) prefix() []byte { return entity.AppendTablePrefix(nil, t.generation) }

// find returns a table, TableNotFound if there is none.
func (s *Service) find(ctx context.Context, account, name string) (*table, error) {
	var buf [128]byte
	key := append(buf[:0], 't')
	key = append(append(key, account...), 0)
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		key = append(key, c)
	}
	key = append(key, 0)
	if t := s.inUse(key); t != nil {
		return t, nil
	}
	if !validName(name) {
		if err := checkName(name); err != nil {
			return nil, err
		}
	}
	defer s.lockName(key)()
	return s.load(ctx, bytes.Clone(key))
}

// inUse returns the table with that key if it is in memory.
func (s *Service) inUse(key []byte) *table {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.tables[string(key)]
}

// use puts a table into memory, or with nil takes it out. The lock of its name is held.
func (s *Service) use(key []byte, t *table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t == nil {
		delete(s.tables, string(key))
		return
	}
	for other, old := range s.tables {
		if len(s.tables) < s.most {
			break
		}
		if !old.mu.TryLock() {
			continue // a write is under way, which a deletion must find
		}
		old.gone = true // for a writer that has found it and not begun
		old.mu.Unlock()
		delete(s.tables, other)
	}
	account, _, _ := bytes.Cut(key[1:], []byte{0})
	t.place = usage.Place{Service: usage.Tables, Account: string(account), Generation: t.generation}
	t.meter = s.usage.Account(t.place.Account)
	t.key = bytes.Clone(key)
	s.tables[string(key)] = t
}

// enter begins a write of a table's entities, which ends with t.mu.RUnlock, on what has taken its place if it left the memory since it
// was found. TableNotFound if it was deleted since.
func (s *Service) enter(ctx context.Context, t *table) (*table, error) {
	for generation := t.generation; ; {
		t.mu.RLock()
		if !t.gone {
			return t, nil
		}
		t.mu.RUnlock()
		unlock := s.lockName(t.key)
		now, err := s.load(ctx, t.key)
		unlock()
		if err != nil {
			return nil, err
		}
		if t = now; t.generation != generation {
			return nil, protocol.ErrTableNotFound
		}
	}
}

// lockName takes the lock of a table's name and returns what gives it back.
func (s *Service) lockName(key []byte) (unlock func()) {
	mu := &s.names[maphash.Bytes(s.seed, key)%uint64(len(s.names))]
	mu.Lock()
	return mu.Unlock
}

// load returns the table with that key from memory or from the store. The lock of its name is held.
func (s *Service) load(ctx context.Context, key []byte) (*table, error) {
	if t := s.inUse(key); t != nil {
		return t, nil
	}
	var r record
	err := s.store.View(ctx, key, func(v engine.Reader) error {
		b, err := v.Get(engine.SpaceTable, key)
		if err == nil {
			r, err = decodeRecord(b)
		}
		return err
	})
	if errors.Is(err, engine.ErrNotFound) {
		return nil, protocol.ErrTableNotFound
	}
	if err != nil {
		return nil, err
	}
	t := newTable(r)
	s.use(key, t)
	return t, nil
}

// CreateTable makes a table and returns its name.
func (s *Service) CreateTable(ctx context.Context, account, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	key := tableKey(account, name)
	defer s.lockName(key)()
	if s.forget != nil { // the deletion of a former one may have come no further
		_, err := s.load(ctx, key)
		switch {
		case err == nil:
			return protocol.ErrTableAlreadyExists
		case !errors.Is(err, protocol.ErrTableNotFound):
			return err
		}
		if err := s.forget(ctx, account, name); err != nil {
			return err
		}
	}
	var r record
	err := s.store.Update(ctx, key, func(tx engine.Tx) error {
		_, err := tx.Get(engine.SpaceTable, key)
		if err == nil {
			return protocol.ErrTableAlreadyExists
		}
		if !errors.Is(err, engine.ErrNotFound) {
			return err
		}
		r = record{name: strings.Clone(name), generation: uint64(tx.Stamp())}
		tx.Set(engine.SpaceTable, key, r.encode())
		return nil
	})
	if err != nil {
		return err
	}
	s.use(key, newTable(r))
	return nil
}

// DeleteTable deletes a table with its entities.
func (s *Service) DeleteTable(ctx context.Context, account, name string) error {
	key := tableKey(account, name)
	defer s.lockName(key)()
	t, err := s.load(ctx, key)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	err = s.store.Update(ctx, key, func(tx engine.Tx) error {
		if _, err := tx.Get(engine.SpaceTable, key); err != nil {
			return err
		}
		tx.Delete(engine.SpaceTable, key)
		t.place.Bury(tx)
		tx.Set(engine.SpaceTableQueue, queueKey(account, name, t.generation), nil)
		return nil
	})
	// Also after a failure: the next one to use the table looks at the store, and no writer of before comes through.
	t.gone = true
	s.use(key, nil)
	if errors.Is(err, engine.ErrNotFound) {
		return protocol.ErrTableNotFound
	}
	if err != nil {
		return err
	}
	s.usage.Buried(&t.place)
	s.sweeper.Wake()
	if s.forget == nil {
		return nil
	}
	return s.forget(ctx, account, name)
}

// Tables calls fn with the names of an account's tables, from a name on, until it returns false; next is the table it was
// called for then.
func (s *Service) Tables(ctx context.Context, account, from string, fn func(name string) bool) (next string, err error) {
	return s.listTables(ctx, account, &filter.Filter{}, from, fn)
}

// DeleteAccount deletes all tables of an account. No request for the account is under way or comes after.
func (s *Service) DeleteAccount(ctx context.Context, account string) error {
	var names []string
	if _, err := s.Tables(ctx, account, "", func(name string) bool { names = append(names, name); return true }); err != nil {
		return err
	}
	for _, name := range names {
		if err := s.DeleteTable(ctx, account, name); err != nil && !errors.Is(err, protocol.ErrTableNotFound) {
			return fmt.Errorf("delete table %s: %w", name, err)
		}
	}
	return nil
}

// Policies returns the stored access policies of a table.
func (s *Service) Policies(ctx context.Context, account, name string) ([]auth.Policy, error) {
	t, err := s.find(ctx, account, name)
	if err != nil {
		return nil, err
	}
	return *t.acl.Load(), nil
}

// SetPolicies replaces the stored access policies of a table.
func (s *Service) SetPolicies(ctx context.Context, account, name string, policies []auth.Policy) error {
	key := tableKey(account, name)
	defer s.lockName(key)()
	t, err := s.load(ctx, key)
	if err != nil {
		return err
	}
	r := t.record
	r.policies = policies
	err = s.store.Update(ctx, key, func(tx engine.Tx) error {
		tx.Set(engine.SpaceTable, key, r.encode())
		return nil
	})
	if err == nil {
		t.acl.Store(&policies)
	}
	return err
}

// Access implements auth.Resources.
func (s *Service) Access(ctx context.Context, account, name string) (auth.Access, error) {
	policies, err := s.Policies(ctx, account, name)
	return auth.Access{Policies: policies}, err
}

// validName tells the names that tables may have: a letter, then 2 to 62 letters and digits.
func validName(name string) bool {
	if len(name) < 3 || len(name) > 63 {
		return false
	}
	for i := 0; i < len(name); i++ {
		c := name[i] | 0x20
		if (c < 'a' || c > 'z') && (i == 0 || name[i] < '0' || name[i] > '9') {
			return false
		}
	}
	return !strings.EqualFold(name, "tables")
}

// checkName words the refusal of a name.
func checkName(name string) error {
	switch {
	case validName(name):
		return nil
	case len(name) < 3 || len(name) > 63:
		return protocol.ErrOutOfRangeInput.Saying("The specified resource name length is not within the permissible limits.")
	}
	return protocol.ErrInvalidResourceName
}
