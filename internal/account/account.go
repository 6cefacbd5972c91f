// Package account knows the storage accounts: their keys, kind and switches.
package account

import (
	"encoding/json"
	"hash/maphash"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blobd/blobd/internal/usage"
)

// The emulator's account, known to every client (UseDevelopmentStorage=true). It is served only on loopback or when asked for.
const (
	DevName = "devstoreaccount1"
	DevKey  = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// Account is one storage account. It is immutable: a change makes a new one and puts it in the Registry, so a request works
// with one state from beginning to end.
type Account struct {
	Name string
	Keys []Key // key1 and key2; either signs
	// Delegation is the secret of which user delegation keys are made; a new one revokes them all.
	Delegation Key
	Kind       string // x-ms-account-kind
	SKU        string // x-ms-sku-name
	Created    time.Time

	// Configured tells that the account is served only while the configuration names it.
	Configured bool
	Disabled   bool
	Switches
	// Resource is the account's place in the resource provider, nil for an account of the configuration. It is not written through.
	Resource *Resource

	// Network is from where the account may be reached, nil for anywhere. It is not written through.
	Network *Network
	// Limits are what the account may use, in all services together.
	usage.Limits
	// Meter is what the account uses, nil for one that is not in a Store.
	Meter *usage.Meter

	// What Set Service Properties has set; nil for nothing yet.
	Blob, Table *Properties
}

// Switches are what the configuration, or else the resource provider, says of an account. They are one value, which is stored, compared
// and replaced whole: a new one is a field here and where it is asked. Azure's names of them stand beside; the zero value is Azure's
// default for a new account, but for secure transfer.
type Switches struct {
	DenyPublicAccess bool `json:"denyPublicAccess,omitempty"` // allowBlobPublicAccess=false
	DenySharedKey    bool `json:"denySharedKey,omitempty"`    // allowSharedKeyAccess=false
	RequireHTTPS     bool `json:"requireHTTPS,omitempty"`     // supportsHttpsTrafficOnly

	// MinimumTLS is the least version of TLS (crypto/tls numbers them), 0 for whatever the server speaks: minimumTlsVersion.
	MinimumTLS uint16 `json:"minimumTLS,omitempty"`

	Versioning             bool `json:"versioning,omitempty"`             // isVersioningEnabled
	ContainerRetentionDays int  `json:"containerRetentionDays,omitempty"` // containerDeleteRetentionPolicy; 0 is off
}

// Network is from where an account may be reached: networkAcls.
type Network struct {
	Deny   bool           `json:"deny,omitempty"` // all but those in Allow
	Allow  []netip.Prefix `json:"allow,omitempty"`
	Bypass string         `json:"bypass,omitempty"` // kept for its owner: there is no service here that could
}

// Admits tells whether requests may come from an address.
func (n *Network) Admits(from netip.Addr) bool {
	return n == nil || !n.Deny || slices.ContainsFunc(n.Allow, func(p netip.Prefix) bool { return p.Contains(from.Unmap()) })
}

// Properties returns what Set Service Properties has set for the service, which may be nil.
func (a *Account) Properties(service byte) *Properties {
	if service == TableService {
		return a.Table
	}
	return a.Blob
}

// Resource is what the resource provider knows of an account besides its keys and switches.
type Resource struct {
	Subscription string            `json:"subscription"`
	Group        string            `json:"group"` // as it was written when the group was made
	Location     string            `json:"location"`
	Tags         map[string]string `json:"tags,omitempty"`
	KeysCreated  [2]time.Time      `json:"keysCreated"`
	AccessTier   string            `json:"accessTier,omitempty"`
	// Noted holds the properties that are kept for their owner and change nothing here, as JSON.
	Noted map[string]json.RawMessage `json:"noted,omitempty"`
}

// ID is the path of the account in the resource manager.
func (r *Resource) ID(account string) string {
	return "/subscriptions/" + r.Subscription + "/resourceGroups/" + r.Group + "/providers/Microsoft.Storage/storageAccounts/" + account
}

// Registry finds accounts by name. Reading takes no lock. Accounts are in shards by their names, and a change makes a new map of one shard:
// it does not copy what the others have.
type Registry struct {
	seed   maphash.Seed
	shards [shards]shard
}

// shards is how many there are: few enough to be nothing in memory, and so many that ten thousand accounts are twenty in each.
const shards = 512

type shard struct {
	mu       sync.Mutex
	accounts atomic.Pointer[map[string]entry] // nil for none
}

type entry struct {
	*Account
	uses *Uses
}

// NewRegistry returns a registry of the given accounts.
func NewRegistry(accounts ...*Account) *Registry {
	r := &Registry{seed: maphash.MakeSeed()}
	r.Put(accounts...)
	return r
}

func (r *Registry) shard(name string) *shard { return &r.shards[maphash.String(r.seed, name)%shards] }

// all is what the shard has, not to be changed.
func (s *shard) all() map[string]entry {
	if m := s.accounts.Load(); m != nil {
		return *m
	}
	return nil
}

// Lookup returns the account of that name, nil if there is none.
func (r *Registry) Lookup(name string) *Account { return r.shard(name).all()[name].Account }

// Enter returns the account of that name for a request, nil if there is none. The request calls Leave when it has ended: until then
// the account's name is not given to another.
func (r *Registry) Enter(name string) (*Account, *Uses) {
	e := r.shard(name).all()[name]
	if e.Account == nil || !e.uses.enter() {
		return nil, nil
	}
	return e.Account, e.uses
}

// Put adds or replaces accounts.
func (r *Registry) Put(accounts ...*Account) {
	for _, a := range accounts {
		r.shard(a.Name).change(func(m map[string]entry) {
			e := m[a.Name]
			if e.uses == nil {
				e.uses = newUses()
			}
			e.Account = a
			m[a.Name] = e
		})
	}
}

// Remove takes an account out: no request enters it any more. It returns the uses that there still are, nil for no account.
func (r *Registry) Remove(name string) (left *Uses) {
	r.shard(name).change(func(m map[string]entry) {
		left = m[name].uses
		delete(m, name)
	})
	if left != nil {
		left.end()
	}
	return left
}

// All returns every account, in no order.
func (r *Registry) All() (all []*Account) {
	for i := range r.shards {
		for _, e := range r.shards[i].all() {
			all = append(all, e.Account)
		}
	}
	return all
}

func (s *shard) change(f func(map[string]entry)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.all()
	m := make(map[string]entry, len(old)+1)
	maps.Copy(m, old)
	f(m)
	s.accounts.Store(&m)
}
