package directory

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"
)

// Kind is what a principal is, in Azure's words.
type Kind string

// The kinds.
const (
	User             Kind = "User"
	ServicePrincipal Kind = "ServicePrincipal"
)

// Principal is somebody who may sign in. It is immutable: a change makes a new one.
type Principal struct {
	ObjectID string `json:"oid"`
	Kind     Kind   `json:"kind"`
	// Name is how a user signs in (user principal name), and what a service principal is called.
	Name string `json:"name"`
	// AppID is how a service principal signs in (client id).
	AppID   string    `json:"appId,omitempty"`
	Secrets []Secret  `json:"secrets"`
	Created time.Time `json:"created"`
	// Disabled ends every session at once.
	Disabled bool `json:"disabled,omitempty"`
	// Since is when the secrets were last replaced: sessions of before are over.
	Since time.Time `json:"since"`
}

// Secret is a password or client secret as it is kept.
type Secret struct {
	Hash    string    `json:"hash"` // argon2id, in the PHC form
	Created time.Time `json:"created"`
}

// login is the name by which the principal is found, in lower case.
func (p *Principal) login() string {
	if p.Kind == ServicePrincipal {
		return strings.ToLower(p.AppID)
	}
	return strings.ToLower(p.Name)
}

// note is called with the lock held, or before anybody knows the directory.
func (d *Directory) note(p *Principal) {
	d.principals[p.ObjectID] = p
	d.logins[p.login()] = p
	d.names[Fold(p.Name)] = p
}

// Principal finds a principal by its object id, nil if there is none.
func (d *Directory) Principal(objectID string) *Principal {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.principals[strings.ToLower(objectID)]
}

// Find finds a principal by object id, user name, application id or the name of a service principal.
func (d *Directory) Find(who string) *Principal {
	d.mu.RLock()
	defer d.mu.RUnlock()
	who = strings.ToLower(who)
	if p := d.principals[who]; p != nil {
		return p
	}
	if p := d.logins[who]; p != nil {
		return p
	}
	return d.names[Fold(who)]
}

// Principals returns all, by their names' order.
func (d *Directory) Principals() []*Principal {
	d.mu.RLock()
	defer d.mu.RUnlock()
	all := make([]*Principal, 0, len(d.principals))
	for _, p := range d.principals {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *Principal) int { return strings.Compare(a.Name+a.ObjectID, b.Name+b.ObjectID) })
	return all
}

// MinPassword is the shortest password of a user, in bytes.
const MinPassword = 12

// CheckName tells whether a principal may be called so: 1 to 113 characters without spaces at the ends, control characters and what
// would make it another kind of id.
func CheckName(name string) error {
	if name == "" || len(name) > 113 || strings.TrimSpace(name) != name || strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || r == '/' }) {
		return fmt.Errorf("the name %q: 1 to 113 characters are needed, without control characters and slashes", name)
	}
	if uuid.Validate(name) == nil {
		return fmt.Errorf("the name %q has the form of an id: choose another", name)
	}
	return nil
}

func checkSecret(secret string) error {
	if len(secret) < MinPassword || len(secret) > 1024 {
		return fmt.Errorf("a secret has %d to 1024 bytes", MinPassword)
	}
	return nil
}

// AddPrincipal adds somebody with a first secret.
func (d *Directory) AddPrincipal(ctx context.Context, kind Kind, name, secret string) (*Principal, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	if err := checkSecret(secret); err != nil {
		return nil, err
	}
	now := d.now().UTC()
	p := &Principal{ObjectID: uuid.NewString(), Kind: kind, Name: name, Created: now, Since: now, Secrets: []Secret{{hashSecret(secret), now}}}
	if kind == ServicePrincipal {
		p.AppID = uuid.NewString()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names[Fold(name)] != nil {
		return nil, fmt.Errorf("%s: %w", name, ErrExists)
	}
	if err := d.keep(ctx, keptPrincipal, p.ObjectID, p); err != nil {
		return nil, err
	}
	d.note(p)
	return p, nil
}

// changePrincipal replaces a principal by what f makes of a copy.
func (d *Directory) changePrincipal(ctx context.Context, objectID string, f func(*Principal) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.principals[objectID]
	if old == nil {
		return ErrMissing
	}
	p := *old
	if err := f(&p); err != nil {
		return err
	}
	if err := d.keep(ctx, keptPrincipal, p.ObjectID, &p); err != nil {
		return err
	}
	d.note(&p)
	return nil
}

// SetSecret replaces all secrets of a principal and ends its sessions: what was issued before is not renewed.
func (d *Directory) SetSecret(ctx context.Context, objectID, secret string) error {
	if err := checkSecret(secret); err != nil {
		return err
	}
	now := d.now().UTC()
	hash := hashSecret(secret)
	return d.changePrincipal(ctx, objectID, func(p *Principal) error {
		p.Secrets, p.Since = []Secret{{hash, now}}, now
		return nil
	})
}

// SetDisabled keeps a principal out, or lets it in again.
func (d *Directory) SetDisabled(ctx context.Context, objectID string, disabled bool) error {
	return d.changePrincipal(ctx, objectID, func(p *Principal) error {
		p.Disabled = disabled
		return nil
	})
}

// RemovePrincipal removes somebody with its role assignments.
func (d *Directory) RemovePrincipal(ctx context.Context, objectID string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.principals[objectID]
	if p == nil {
		return ErrMissing
	}
	if err := d.drop(ctx, keptPrincipal, objectID); err != nil {
		return err
	}
	delete(d.principals, objectID)
	delete(d.logins, p.login())
	delete(d.names, Fold(p.Name))
	// An assignment that is left by a failure is good for nobody: object ids are not used again.
	for _, a := range d.held[objectID].all() {
		if err := d.unassign(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// Refusals of Authenticate.
var (
	ErrWrongSecret = errors.New("the name or the secret is wrong")
	ErrLocked      = errors.New("too many wrong passwords: try again in a minute")
	ErrBusy        = errors.New("too many sign in at this moment")
)

// Authenticate returns who signs in with a user name and password, or an application id and secret. Whether there is nobody of the name or
// the secret is another, the answer and its cost are the same. from is the client's address, the zero one for this process.
func (d *Directory) Authenticate(ctx context.Context, from netip.Addr, kind Kind, login, secret string) (*Principal, error) {
	d.mu.RLock()
	p := d.logins[strings.ToLower(login)]
	d.mu.RUnlock()
	if p != nil && (p.Kind != kind || p.Disabled) {
		p = nil
	}
	if kind == User && d.hashes.locked(login, d.now()) {
		return nil, ErrLocked
	}
	hashes := []string{noHash()}
	if p != nil {
		hashes = hashes[:0]
		for _, s := range p.Secrets {
			hashes = append(hashes, s.Hash)
		}
	}
	right, err := d.hashes.verify(ctx, from, secret, hashes)
	if err != nil {
		return nil, err
	}
	if kind == User {
		d.hashes.tried(login, right && p != nil, d.now())
	}
	if p == nil || !right {
		return nil, ErrWrongSecret
	}
	return p, nil
}
