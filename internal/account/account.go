// Package account knows the storage accounts: their keys, kind and switches.
package account

import (
	"sync"
	"sync/atomic"
	"time"
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

	Versioning             bool `json:"versioning,omitempty"`             // isVersioningEnabled
	ContainerRetentionDays int  `json:"containerRetentionDays,omitempty"` // containerDeleteRetentionPolicy; 0 is off
}

// Properties returns what Set Service Properties has set for the service, which may be nil.
func (a *Account) Properties(service byte) *Properties {
	if service == TableService {
		return a.Table
	}
	return a.Blob
}

// Registry finds accounts by name. Reading takes no lock.
type Registry struct {
	mu       sync.Mutex
	accounts atomic.Pointer[map[string]*Account]
}

// NewRegistry returns a registry of the given accounts.
func NewRegistry(accounts ...*Account) *Registry {
	r := &Registry{}
	m := make(map[string]*Account, len(accounts))
	for _, a := range accounts {
		m[a.Name] = a
	}
	r.accounts.Store(&m)
	return r
}

// Lookup returns the account of that name, nil if there is none.
func (r *Registry) Lookup(name string) *Account { return (*r.accounts.Load())[name] }

// Put adds or replaces an account.
func (r *Registry) Put(a *Account) {
	r.change(func(m map[string]*Account) { m[a.Name] = a })
}

// Remove takes an account out.
func (r *Registry) Remove(name string) {
	r.change(func(m map[string]*Account) { delete(m, name) })
}

// All returns every account, in no order.
func (r *Registry) All() []*Account {
	m := *r.accounts.Load()
	all := make([]*Account, 0, len(m))
	for _, a := range m {
		all = append(all, a)
	}
	return all
}

func (r *Registry) change(f func(map[string]*Account)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := *r.accounts.Load()
	m := make(map[string]*Account, len(old)+1)
	for k, v := range old {
		m[k] = v
	}
	f(m)
	r.accounts.Store(&m)
}
