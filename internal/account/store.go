package account

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/usage"
)

// Store keeps accounts, with their keys and service properties, in the engine and the Registry in step with it: what the
// Registry shows is durable. Changes are serial; lock order is the store's lock, then the Registry's. Names are unique, those of
// deleted accounts too until their content is gone (delete.go).
//
// A record lies under "account/<name>/" in engine.SpaceAccount: one byte 1, the version of the format, and a JSON object (record).
// With a master key, keys and secret are sealed by AES-256-GCM under it, bound to the account's name; without, they are plain.
type Store struct {
	engine   engine.Store
	registry *Registry
	masters  []cipher.AEAD // the first seals, all open
	usage    *usage.Ledger

	mu      sync.Mutex
	saved   map[string]*Account            // by name, also those that are not served
	owned   map[string]map[string]*Account // those of saved that have a subscription, by it and by name
	deleted map[string]*deletion           // whose content is not yet gone
	begun   chan string                    // deletions for the Eraser to begin, nil without one
	// retention is for how long a deleted account of the resource provider can be had back.
	retention time.Duration
}

// Errors of Open.
var (
	// ErrNoMaster: keys are sealed and no master key was given.
	ErrNoMaster = errors.New("account keys are encrypted, and no master key is configured")
	// ErrWrongMaster: no master key that was given opens the keys.
	ErrWrongMaster = errors.New("account keys are encrypted with another master key than those configured")
)

// MasterSize is the length of a master key, in bytes.
const MasterSize = 32

// ParseMasters reads master keys, base64 of 32 bytes each, one a line. The first is used for sealing; the others still open what
// they sealed, so that a master key can be replaced. Errors do not repeat the text.
func ParseMasters(text string) ([][]byte, error) {
	var masters [][]byte
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(key) != MasterSize {
			return nil, fmt.Errorf("master key in line %d: base64 of %d bytes is needed", i+1, MasterSize)
		}
		masters = append(masters, key)
	}
	return masters, nil
}

const recordVersion = 1

// record is an account as it is stored.
type record struct {
	Name       string    `json:"name"`
	Configured bool      `json:"configured,omitempty"` // served only while the configuration names it
	Kind       string    `json:"kind"`
	SKU        string    `json:"sku"`
	Created    time.Time `json:"created"`
	// Secrets as JSON, plain or sealed: base64 of nonce and ciphertext.
	Secrets *secrets `json:"secrets,omitempty"`
	Sealed  string   `json:"sealed,omitempty"`

	Switches
	Disabled bool `json:"disabled,omitempty"`
	usage.Limits
	Network  *Network  `json:"network,omitempty"`
	Resource *Resource `json:"resource,omitempty"`
	// Deleted tells that the account is gone and its content is not yet. Nothing but the name goes with it, unless it can be had back: then
	// all is there, and DeletedAt.
	Deleted   bool      `json:"deleted,omitempty"`
	DeletedAt time.Time `json:"deletedAt,omitzero"`

	Blob  *Properties `json:"blob,omitempty"`
	Table *Properties `json:"table,omitempty"`
}

type secrets struct {
	Keys       []string `json:"keys"` // base64
	Delegation string   `json:"delegation"`
}

// OpenStore reads all accounts. Those that the configuration names are served after Configure, the others at once.
func OpenStore(ctx context.Context, e engine.Store, registry *Registry, masters [][]byte) (*Store, error) {
	s := &Store{engine: e, registry: registry, saved: map[string]*Account{}, owned: map[string]map[string]*Account{}, deleted: map[string]*deletion{}}
	for _, m := range masters {
		block, err := aes.NewCipher(m)
		if err != nil {
			return nil, fmt.Errorf("master key: %w", err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("master key: %w", err)
		}
		s.masters = append(s.masters, aead)
	}
	var err error
	if s.usage, err = usage.Open(ctx, e); err != nil {
		return nil, err
	}
	type stale struct {
		*Account
		deleted time.Time
	}
	var reseal []stale
	scope := []byte("account/")
	err = e.View(ctx, scope, func(r engine.Reader) error {
		it := r.Scan(engine.SpaceAccount, scope, []byte("account0"))
		for it.Next() {
			value, err := it.Value()
			if err != nil {
				return errors.Join(err, it.Close())
			}
			a, at, current, err := s.decode(value)
			if err != nil {
				return errors.Join(err, it.Close())
			}
			if !current {
				reseal = append(reseal, stale{a, at})
			}
			switch {
			case !a.Delegation.Valid(): // the mark of a deleted one
				s.deleted[a.Name] = newDeletion(nil)
			case !at.IsZero():
				s.keep(a, at, nil)
				s.meter(a)
			default:
				s.save(a)
			}
		}
		return it.Close()
	})
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	for _, a := range reseal {
		if err := s.write(ctx, a.Account, a.deleted); err != nil {
			return nil, err
		}
	}
	var served []*Account
	for _, a := range s.saved {
		if !a.Configured {
			served = append(served, a)
		}
	}
	registry.Put(served...)
	return s, nil
}

// Configure serves an account that the configuration names, with the keys and switches that it gives: what it does not switch on is off,
// whatever was stored. What else was stored of it before, such as its service properties, stays.
func (s *Store) Configure(ctx context.Context, a *Account) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := *a
	c.Configured = true
	if d := s.deleted[a.Name]; d != nil {
		return d.refusal()
	}
	if old := s.saved[a.Name]; old != nil {
		if old.Resource != nil {
			return fmt.Errorf("account %s belongs to subscription %s: leave it out of the configuration", a.Name, old.Resource.Subscription)
		}
		c = *old
		c.Configured, c.Keys, c.Switches = true, a.Keys, a.Switches
		if old.Configured && old.Switches == a.Switches && sameKeys(old.Keys, a.Keys) {
			s.registry.Put(old)
			return nil
		}
	}
	return s.put(ctx, &c)
}

func sameKeys(a, b []Key) bool {
	return slices.EqualFunc(a, b, func(a, b Key) bool { return string(a.Raw()) == string(b.Raw()) })
}

// Refusals of Create, Configure, Change and Delete.
var (
	ErrExists   = errors.New("the account exists")
	ErrMissing  = errors.New("there is no such account")
	ErrDeleting = errors.New("an account of that name was deleted, and its content is not yet gone")
	ErrTooMany  = errors.New("the subscription has as many accounts as it may")
)

// Create adds an account. most is how many its subscription may have, 0 for any number.
func (s *Store) Create(ctx context.Context, a *Account, most int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.saved[a.Name] != nil:
		return ErrExists
	case s.deleted[a.Name] != nil:
		return s.deleted[a.Name].refusal()
	case most > 0 && a.Resource != nil && len(s.owned[a.Resource.Subscription]) >= most:
		return ErrTooMany
	}
	return s.put(ctx, a)
}

// Get returns an account, also one that is not served, nil if there is none.
func (s *Store) Get(name string) *Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saved[name]
}

// Taken reports whether the name can not be given to a new account.
func (s *Store) Taken(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saved[name] != nil || s.deleted[name] != nil
}

// Owned returns the accounts of a subscription by their names' order.
func (s *Store) Owned(subscription string) []*Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.owned[subscription]), func(a, b *Account) int { return strings.Compare(a.Name, b.Name) })
}

// CountOwned is how many accounts a subscription has.
func (s *Store) CountOwned(subscription string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.owned[subscription])
}

// All returns every account by their names' order, also those that are not served.
func (s *Store) All() []*Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.saved), func(a, b *Account) int { return strings.Compare(a.Name, b.Name) })
}

// Change replaces an account by what f makes of it. f gets a copy, and changes it in place; slices and pointers in it are
// replaced, never written through. An error of f is returned as it is, and nothing changes.
func (s *Store) Change(ctx context.Context, name string, f func(a *Account) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.saved[name]
	if old == nil {
		return ErrMissing
	}
	c := *old
	if err := f(&c); err != nil {
		return err
	}
	c.Name = old.Name // which the store has for itself: name may lie in a request's memory
	return s.put(ctx, &c)
}

// SetProperties is Set Service Properties: the document is merged into what is stored.
func (s *Store) SetProperties(ctx context.Context, name string, service byte, update func(*Properties) (*Properties, error)) error {
	return s.Change(ctx, name, func(a *Account) error {
		next, err := update(a.Properties(service))
		if err != nil {
			return err
		}
		if service == TableService {
			a.Table = next
		} else {
			a.Blob = next
		}
		return nil
	})
}

// put writes and then shows an account. The lock is held.
func (s *Store) put(ctx context.Context, a *Account) error {
	if err := s.write(ctx, a, time.Time{}); err != nil {
		return err
	}
	s.save(a)
	s.registry.Put(a)
	return nil
}

// save notes an account as stored. The lock is held, and nobody else has it yet.
func (s *Store) save(a *Account) {
	s.saved[a.Name] = a
	s.meter(a)
	if a.Resource == nil {
		return
	}
	in := s.owned[a.Resource.Subscription]
	if in == nil {
		in = map[string]*Account{}
		s.owned[a.Resource.Subscription] = in
	}
	in[a.Name] = a
}

// meter gives an account its meter.
func (s *Store) meter(a *Account) {
	subscription := ""
	if a.Resource != nil {
		subscription = a.Resource.Subscription
	}
	a.Meter = s.usage.Assign(a.Name, subscription)
	a.Meter.Limit(a.Limits)
}

// write writes an account, with a time as a deleted one that can be had back.
func (s *Store) write(ctx context.Context, a *Account, deleted time.Time) error {
	value, err := s.encode(a, deleted)
	if err != nil {
		return err
	}
	err = s.engine.Update(ctx, partition(a.Name), func(tx engine.Tx) error {
		tx.Set(engine.SpaceAccount, partition(a.Name), value)
		return nil
	})
	if err != nil {
		return fmt.Errorf("store account %s: %w", a.Name, err)
	}
	return nil
}

func partition(name string) []byte { return []byte("account/" + name + "/") }

func (s *Store) encode(a *Account, deleted time.Time) ([]byte, error) {
	r := record{
		Deleted: !deleted.IsZero(), DeletedAt: deleted,
		Name: a.Name, Configured: a.Configured, Kind: a.Kind, SKU: a.SKU, Created: a.Created.UTC(),
		Switches: a.Switches, Disabled: a.Disabled, Limits: a.Limits, Network: a.Network, Resource: a.Resource, Blob: a.Blob, Table: a.Table,
	}
	sec := secrets{Delegation: a.Delegation.Base64()}
	for _, k := range a.Keys {
		sec.Keys = append(sec.Keys, k.Base64())
	}
	if len(s.masters) == 0 {
		r.Secrets = &sec
	} else {
		plain, err := json.Marshal(sec)
		if err != nil {
			return nil, fmt.Errorf("encode account %s: %w", a.Name, err)
		}
		sealed, _ := s.Seal(a.Name, plain)
		r.Sealed = base64.StdEncoding.EncodeToString(sealed)
	}
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode account %s: %w", a.Name, err)
	}
	return append([]byte{recordVersion}, body...), nil
}

// decode reads a record; current is false if it is not sealed as it would be now. deleted is since when it is that, if it can be had back.
func (s *Store) decode(value []byte) (a *Account, deleted time.Time, current bool, err error) {
	if len(value) == 0 || value[0] != recordVersion {
		return nil, deleted, false, errors.New("an account record has a format that this version does not know")
	}
	var r record
	if err := json.Unmarshal(value[1:], &r); err != nil {
		return nil, deleted, false, fmt.Errorf("an account record is malformed: %w", err)
	}
	if r.Deleted && r.DeletedAt.IsZero() {
		return &Account{Name: r.Name}, deleted, true, nil
	}
	current = len(s.masters) == 0
	if r.Sealed != "" {
		if r.Secrets, current, err = s.open(&r); err != nil {
			return nil, deleted, false, fmt.Errorf("account %s: %w", r.Name, err)
		}
	}
	if r.Secrets == nil {
		return nil, deleted, false, fmt.Errorf("account %s: its record has no keys", r.Name)
	}
	a = &Account{
		Name: r.Name, Configured: r.Configured, Kind: r.Kind, SKU: r.SKU, Created: r.Created,
		Switches: r.Switches, Disabled: r.Disabled, Limits: r.Limits, Network: r.Network, Resource: r.Resource, Blob: r.Blob, Table: r.Table,
	}
	for _, text := range r.Secrets.Keys {
		k, err := ParseKey(text)
		if err != nil {
			return nil, deleted, false, fmt.Errorf("account %s: a stored key: %w", r.Name, err)
		}
		a.Keys = append(a.Keys, k)
	}
	if a.Delegation, err = ParseKey(r.Secrets.Delegation); err != nil {
		return nil, deleted, false, fmt.Errorf("account %s: its delegation secret: %w", r.Name, err)
	}
	return a, r.DeletedAt, current, nil
}

// open opens sealed secrets; first tells that the first master key has sealed them.
func (s *Store) open(r *record) (sec *secrets, first bool, err error) {
	sealed, err := base64.StdEncoding.DecodeString(r.Sealed)
	if err != nil {
		return nil, false, fmt.Errorf("its sealed keys: %w", err)
	}
	plain, i, err := s.unseal(r.Name, sealed)
	if err != nil {
		return nil, false, err
	}
	sec = new(secrets)
	if err := json.Unmarshal(plain, sec); err != nil {
		return nil, false, errors.New("its sealed keys are malformed")
	}
	return sec, i == 0, nil
}

// Seal encrypts a secret under the first master key: a nonce of 12 bytes and the text under AES-256-GCM, bound to a context. ok is
// false if there is no master key.
func (s *Store) Seal(context string, plain []byte) (sealed []byte, ok bool) {
	if len(s.masters) == 0 {
		return nil, false
	}
	aead := s.masters[0]
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce)
	return aead.Seal(nonce, nonce, plain, []byte(context)), true
}

// Unseal opens what Seal has encrypted for the same context, by any of the master keys.
func (s *Store) Unseal(context string, sealed []byte) ([]byte, error) {
	plain, _, err := s.unseal(context, sealed)
	return plain, err
}

// unseal also tells which master key it was.
func (s *Store) unseal(context string, sealed []byte) (plain []byte, master int, err error) {
	if len(s.masters) == 0 {
		return nil, 0, ErrNoMaster
	}
	for i, aead := range s.masters {
		if len(sealed) < aead.NonceSize() {
			break
		}
		if plain, err = aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], []byte(context)); err == nil {
			return plain, i, nil
		}
	}
	return nil, 0, ErrWrongMaster
}

// Usage is what the accounts hold. A Store that is nil has a new one.
func (s *Store) Usage() *usage.Ledger {
	if s == nil {
		return usage.New()
	}
	return s.usage
}

// Lookup returns the account of that name as it is served, nil if there is none.
func (s *Store) Lookup(name string) *Account { return s.registry.Lookup(name) }

// Enter is Registry.Enter: the account cannot make room for another of its name until the use ends.
func (s *Store) Enter(name string) (*Account, *Uses) { return s.registry.Enter(name) }
