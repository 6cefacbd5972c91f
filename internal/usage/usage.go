// Package usage counts what accounts hold, exactly: the bytes and objects of each container and table are a counter of the engine,
// which changes in the transaction that changes them, and is right after a crash as they are.
//
// A counter belongs to one life of a container or table (its generation), so that what is made again under the same name begins at
// nothing. When a container or table is deleted its room is given back at once (Bury), though its contents are swept later: a mark in the
// same transaction tells so after a restart, and both go when it is empty (Drop).
//
// The Ledger has all of it in memory, summed up by account and subscription, since reading an engine's counter takes as long as it has
// changes that are not yet merged on disk.
package usage

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/blobd/blobd/internal/engine"
)

// The services whose use is counted, by their letter.
const (
	Blobs  = 'b'
	Tables = 't'
)

// Place is a container or table in one of its lives.
type Place struct {
	Service    byte
	Account    string
	Generation uint64
}

// The keys of the engine's counters: a letter, then for a place its service, account, a zero byte and its generation (8 bytes,
// big endian), and for one that is deleted the same and one byte more.
const (
	placeKey = 'h'
	// countedKey is 1 once everything in the store is counted.
	countedKey = "v"
	buriedKey  = 'd'
)

func (p *Place) appendKey(b []byte) []byte {
	b = append(append(b, placeKey, p.Service), p.Account...)
	return binary.BigEndian.AppendUint64(append(b, 0), p.Generation)
}

// parseKey reads the key of a place; buried tells that it is of the mark.
func parseKey(key []byte) (p Place, buried bool, err error) {
	if len(key) > 2 && key[0] == placeKey {
		if n := bytes.IndexByte(key[2:], 0); n >= 0 {
			name, rest := key[2:2+n], key[3+n:]
			if len(rest) == 8 || len(rest) == 9 && rest[8] == buriedKey {
				return Place{key[1], string(name), binary.BigEndian.Uint64(rest)}, len(rest) == 9, nil
			}
		}
	}
	return p, false, fmt.Errorf("the key of a counter, %q, cannot be read: %w", key, engine.ErrCorrupt)
}

// Add counts in a transaction what a place holds more. The caller tells the Ledger once the transaction has succeeded.
func (p *Place) Add(tx engine.Tx, by engine.Amount) {
	if by == (engine.Amount{}) {
		return
	}
	key := keys.Get().(*[]byte)
	*key = p.appendKey((*key)[:0])
	tx.Add(*key, by)
	keys.Put(key)
}

var keys = sync.Pool{New: func() any { return new([]byte) }}

// Bury marks in a transaction that a place is deleted.
func (p *Place) Bury(tx engine.Tx) {
	tx.Add(append(p.appendKey(nil), buriedKey), engine.Amount{Objects: 1})
}

// Drop takes away, in a transaction, the counter of a place that is deleted and empty.
func (p *Place) Drop(tx engine.Tx) {
	key := p.appendKey(nil)
	tx.Drop(key)
	tx.Drop(append(key, buriedKey))
}

// Ledger is what all accounts hold. It is safe for concurrent use.
type Ledger struct {
	shards [64]shard
	mu     sync.Mutex
	meters map[string]*Meter // of accounts
	owners map[string]*Meter // of subscriptions
}

type shard struct {
	mu       sync.RWMutex
	holdings map[holdingKey]*holding
}

type holdingKey struct {
	service    byte
	generation uint64
}

// holding is what a place holds.
type holding struct {
	mu     sync.Mutex
	amount engine.Amount
	meter  *Meter
	buried bool
}

// New returns a Ledger of nothing.
func New() *Ledger {
	l := &Ledger{meters: map[string]*Meter{}, owners: map[string]*Meter{}}
	for i := range l.shards {
		l.shards[i].holdings = map[holdingKey]*holding{}
	}
	return l
}

// Open returns the Ledger of a store that nobody writes to yet.
func Open(ctx context.Context, store engine.Store) (*Ledger, error) {
	l := New()
	var counted []Held
	buried := map[holdingKey]bool{}
	err := store.View(ctx, nil, func(r engine.Reader) error {
		return r.Counters([]byte{placeKey}, func(key []byte, n engine.Amount) error {
			p, mark, err := parseKey(key)
			switch {
			case err != nil:
			case mark:
				buried[holdingKey{p.Service, p.Generation}] = true
			case n != (engine.Amount{}):
				counted = append(counted, Held{p, n})
			}
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read what accounts use: %w", err)
	}
	for i := range counted {
		h := &counted[i]
		l.add(&h.Place, h.Amount, buried[holdingKey{h.Service, h.Generation}])
	}
	return l, nil
}

// Held is what a place holds.
type Held struct {
	Place
	engine.Amount
}

func (l *Ledger) shard(k holdingKey) *shard {
	return &l.shards[(k.generation^k.generation>>20)%uint64(len(l.shards))]
}

// holding returns what is known of a place, which begins now if nothing is.
func (l *Ledger) holding(p *Place) *holding {
	k := holdingKey{p.Service, p.Generation}
	s := l.shard(k)
	s.mu.RLock()
	h := s.holdings[k]
	s.mu.RUnlock()
	if h != nil {
		return h
	}
	m := l.Account(p.Account)
	s.mu.Lock()
	defer s.mu.Unlock()
	if h = s.holdings[k]; h == nil {
		h = &holding{meter: m}
		s.holdings[k] = h
	}
	return h
}

// Added tells that a transaction with p.Add has succeeded.
func (l *Ledger) Added(p *Place, by engine.Amount) {
	if by != (engine.Amount{}) {
		l.add(p, by, false)
	}
}

func (l *Ledger) add(p *Place, by engine.Amount, buried bool) {
	h := l.holding(p)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.amount = h.amount.Plus(by)
	if h.buried = h.buried || buried; !h.buried {
		h.meter.add(p.Service, by)
	}
}

// Buried tells that a transaction with p.Bury has succeeded: the account does not hold it any more.
func (l *Ledger) Buried(p *Place) {
	h := l.holding(p)
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.buried {
		h.buried = true
		h.meter.add(p.Service, engine.Amount{}.Minus(h.amount))
	}
}

// Dropped tells that a transaction with p.Drop has succeeded. Buried was called before it.
func (l *Ledger) Dropped(p *Place) {
	k := holdingKey{p.Service, p.Generation}
	s := l.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.holdings, k)
}

// Of returns what a place holds now.
func (l *Ledger) Of(p *Place) engine.Amount {
	k := holdingKey{p.Service, p.Generation}
	s := l.shard(k)
	s.mu.RLock()
	h := s.holdings[k]
	s.mu.RUnlock()
	if h == nil {
		return engine.Amount{}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.amount
}

// Account returns the meter of an account, which has one from when it is first asked for.
func (l *Ledger) Account(name string) *Meter { return l.meter(l.meters, name) }

// Subscription returns the meter of a subscription, which has one from when it is first asked for.
func (l *Ledger) Subscription(id string) *Meter { return l.meter(l.owners, id) }

// Subscriptions are those that have a meter.
func (l *Ledger) Subscriptions() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.owners))
}

func (l *Ledger) meter(of map[string]*Meter, name string) *Meter {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := of[name]
	if m == nil {
		m = new(Meter)
		of[strings.Clone(name)] = m
	}
	return m
}

// Assign tells which subscription an account belongs to, none for the empty one. It is called before the account is served: what it holds
// stays as it is meanwhile.
func (l *Ledger) Assign(account, subscription string) *Meter {
	m := l.Account(account)
	var to *Meter
	if subscription != "" {
		to = l.Subscription(subscription)
	}
	if from := m.owner.Swap(to); from != to {
		for _, service := range []byte{Blobs, Tables} {
			held := m.Held(service)
			from.add(service, engine.Amount{}.Minus(held))
			to.add(service, held)
		}
	}
	return m
}
