// Package directory is who is known here and what belongs to whom: users and service principals with their secrets, subscriptions
// with their resource groups, and the roles that principals have at scopes. All of one store's directory is one tenant.
//
// What it guarantees:
//   - nothing is allowed but by a role assignment of the principal itself at the scope or above it, and an assignment never reaches
//     beyond its subscription;
//   - secrets are kept as argon2id hashes, whose computing is bounded in number and costs the same for a principal that is not there;
//   - what a method has acknowledged is durable; all is held in memory, so reading costs no look-up in the store.
//
// Records are JSON after the version byte 1 in engine.SpaceResource; docs/format.md lists them.
package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/blobd/blobd/internal/engine"
)

// Sealer encrypts under the master key, as account.Store does. ok is false if there is none.
type Sealer interface {
	Seal(context string, plain []byte) (sealed []byte, ok bool)
	Unseal(context string, sealed []byte) ([]byte, error)
}

// Directory is safe for concurrent use. Changes are serial.
type Directory struct {
	engine engine.Store
	sealer Sealer
	now    func() time.Time
	hashes hashing

	mu            sync.RWMutex
	tenant        string
	principals    map[string]*Principal // by object id
	logins        map[string]*Principal // by user name or application id, in lower case
	names         map[string]*Principal // by name, folded
	subscriptions map[string]*Subscription
	called        map[string]*Subscription     // by name, folded
	groups        map[string]map[string]*Group // by subscription and by name in lower case
	assignments   map[string]*Assignment       // by id
	assigned      *scopes                      // all of them
	held          map[string]*scopes           // by principal
	signers       []*Signer                    // the newest last
}

// Refusals.
var (
	ErrMissing = errors.New("it is not in the directory")
	ErrExists  = errors.New("it is in the directory already")
)

const recordVersion = 1

// The kinds of record, the first part of their keys.
const (
	keptTenant       = "tenant"
	keptPrincipal    = "principal"
	keptSubscription = "subscription"
	keptGroup        = "group"
	keptAssignment   = "assignment"
	keptSigner       = "signer"
)

// Open reads the directory; a store without one gets a new tenant id.
func Open(ctx context.Context, e engine.Store, sealer Sealer, now func() time.Time) (*Directory, error) {
	d := &Directory{
		engine: e, sealer: sealer, now: now, hashes: newHashing(), principals: map[string]*Principal{}, logins: map[string]*Principal{}, names: map[string]*Principal{},
		subscriptions: map[string]*Subscription{}, called: map[string]*Subscription{}, groups: map[string]map[string]*Group{},
		assignments: map[string]*Assignment{}, assigned: newScopes(), held: map[string]*scopes{},
	}
	err := e.View(ctx, nil, func(r engine.Reader) error {
		it := r.Scan(engine.SpaceResource, nil, nil)
		defer it.Close()
		for it.Next() {
			value, err := it.Value()
			if err != nil {
				return err
			}
			if err := d.load(string(it.Key()), value); err != nil {
				return err
			}
		}
		return it.Close()
	})
	if err != nil {
		return nil, fmt.Errorf("read the directory: %w", err)
	}
	if d.tenant == "" {
		id := uuid.NewString()
		if err := d.keep(ctx, keptTenant, id, tenantRecord{id}); err != nil {
			return nil, err
		}
		d.tenant = id
	}
	return d, d.reseal(ctx)
}

type tenantRecord struct {
	ID string `json:"id"`
}

func (d *Directory) load(key string, value []byte) error {
	kind, _, _ := strings.Cut(key, "/")
	if len(value) == 0 || value[0] != recordVersion {
		return fmt.Errorf("the record %q has a format that this version does not know", key)
	}
	read := func(v any) error {
		if err := json.Unmarshal(value[1:], v); err != nil {
			return fmt.Errorf("the record %q is malformed: %w", key, err)
		}
		return nil
	}
	switch kind {
	case keptTenant:
		var t tenantRecord
		if err := read(&t); err != nil {
			return err
		}
		d.tenant = t.ID
	case keptPrincipal:
		p := new(Principal)
		if err := read(p); err != nil {
			return err
		}
		d.note(p)
	case keptSubscription:
		s := new(Subscription)
		if err := read(s); err != nil {
			return err
		}
		d.noteSubscription(s)
	case keptGroup:
		g := new(Group)
		if err := read(g); err != nil {
			return err
		}
		d.noteGroup(g)
	case keptAssignment:
		a := new(Assignment)
		if err := read(a); err != nil {
			return err
		}
		d.hold(a)
	case keptSigner:
		var r signerRecord
		if err := read(&r); err != nil {
			return err
		}
		s, err := d.openSigner(&r)
		if err != nil {
			return err
		}
		d.noteSigner(s)
	default:
		return fmt.Errorf("a record of the directory, %q, is of a kind that this version does not know", key)
	}
	return nil
}

// Tenant is the directory's id.
func (d *Directory) Tenant() string { return d.tenant }

func recordKey(kind string, parts ...string) []byte {
	return []byte(kind + "/" + strings.Join(parts, "/") + "/")
}

func (d *Directory) keep(ctx context.Context, kind, id string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s %s: %w", kind, id, err)
	}
	key := recordKey(kind, id)
	err = d.engine.Update(ctx, key, func(tx engine.Tx) error {
		tx.Set(engine.SpaceResource, key, append([]byte{recordVersion}, body...))
		return nil
	})
	if err != nil {
		return fmt.Errorf("store %s %s: %w", kind, id, err)
	}
	return nil
}

func (d *Directory) drop(ctx context.Context, kind, id string) error {
	key := recordKey(kind, id)
	err := d.engine.Update(ctx, key, func(tx engine.Tx) error {
		tx.Delete(engine.SpaceResource, key)
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete %s %s: %w", kind, id, err)
	}
	return nil
}
