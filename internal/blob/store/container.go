package store

import (
	"context"
	"encoding/hex"
	"errors"
	"hash/maphash"
	"strings"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/auth"
	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/usage"
	"github.com/blobd/blobd/internal/view"
)

// fillContainer runs fn, which makes the container of a name, if there is none.
func (s *Service) fillContainer(ctx context.Context, account, name string, fn func(tx engine.Tx, key []byte) error) error {
	if err := protocol.CheckContainerName(name); err != nil {
		return err
	}
	key := record.AppendContainerKey(nil, account, name)
	defer s.lockName(key)()
	if s.forget != nil { // the deletion of a former one may have come no further
		if err := s.store.View(ctx, key, func(v engine.Reader) error { return vacant(v, key) }); err != nil {
			return err
		}
		if err := s.forget(ctx, account, name); err != nil {
			return err
		}
	}
	return s.updateContainer(ctx, key, func(tx engine.Tx) error {
		if err := vacant(tx, key); err != nil {
			return err
		}
		return fn(tx, key)
	})
}

// lockName takes the lock of a container's name and returns what gives it back.
func (s *Service) lockName(key []byte) (unlock func()) {
	mu := &s.names[maphash.Bytes(s.seed, key)%uint64(len(s.names))]
	mu.Lock()
	return mu.Unlock
}

// CreateContainer makes a container of a record, in which it sets the stamp.
func (s *Service) CreateContainer(ctx context.Context, account, name string, c *record.Container) error {
	return s.fillContainer(ctx, account, name, func(tx engine.Tx, key []byte) error {
		c.Changed = tx.Stamp()
		c.Generation = record.Generation(c.Changed)
		tx.Set(engine.SpaceContainer, key, c.AppendTo(nil))
		return nil
	})
}

// vacant makes sure that there is no container of a name.
func vacant(r engine.Reader, key []byte) error {
	_, err := r.Get(engine.SpaceContainer, key)
	switch {
	case err == nil:
		return protocol.ErrContainerAlreadyExists
	case errors.Is(err, engine.ErrNotFound):
		return nil
	}
	return err
}

// Access implements auth.Resources.
func (s *Service) Access(ctx context.Context, account, name string) (auth.Access, error) {
	c, err := s.container(ctx, account, name)
	if err != nil {
		return auth.Access{}, err
	}
	return auth.Access{Public: c.Public, Policies: c.Policies}, nil
}

// buryContainer leaves the contents of a deleted container to the sweeper. Its account holds them no more; the caller tells so
// (s.usage.Buried) once the transaction has succeeded.
func (s *Service) buryContainer(tx engine.Tx, key []byte, c *record.Container) usage.Place {
	account, _, _ := record.CutZero(key)
	place := containerPlace(string(account), c.Generation)
	place.Bury(tx)
	died := record.AppendStamp(nil, tx.Stamp())
	tx.Set(engine.SpaceBlobQueue, record.AppendWorkKey(nil, key, record.WorkContainer, engine.Stamp(c.Generation)), died)
	return place
}

// retireContainer takes a container's record from its place: softly if the account keeps deleted containers, else it buries it.
func (s *Service) retireContainer(tx engine.Tx, a *account.Account, key []byte, c *record.Container) (buried usage.Place) {
	tx.Delete(engine.SpaceContainer, key)
	if a.ContainerRetentionDays <= 0 {
		return s.buryContainer(tx, key, c)
	}
	now := tx.Stamp()
	gone := *c
	gone.Lease = lease.Lease{}
	gone.Deleted = record.SoftDelete{At: now, Until: now + engine.Stamp(a.ContainerRetentionDays)*record.Day}
	tx.Set(engine.SpaceContainer, record.DeletedContainerKey(key, c.Generation), gone.AppendTo(nil))
	tx.Set(engine.SpaceBlobQueue, record.AppendWorkKey(nil, key, record.WorkContainerExpiry, engine.Stamp(c.Generation)), nil)
	return buried
}

// buried tells the ledger of a container that a transaction has buried, none for the zero Place.
func (s *Service) buried(p usage.Place) {
	if p.Service != 0 {
		s.usage.Buried(&p)
	}
}

// findDeletedContainer finds one of the deleted containers of a name by its version, nil if there is none.
func findDeletedContainer(r engine.Reader, key []byte, version string) (*record.Container, error) {
	it := r.Scan(engine.SpaceContainer, append(append([]byte(nil), key...), 0), record.After(append([]byte(nil), key...)))
	defer it.Close()
	for it.Next() {
		v, err := it.Value()
		if err != nil {
			return nil, err
		}
		c := &record.Container{}
		if err := c.Decode(string(v)); err != nil {
			return nil, err
		}
		if c.DeletedVersion() == version {
			return c, nil
		}
	}
	return nil, it.Close()
}

// sweepDeletedContainer lets a soft-deleted container go once its retention has ended.
func (s *Service) sweepDeletedContainer(ctx context.Context, w *record.Work) error {
	key := record.DeletedContainerKey(w.Partition, record.Generation(w.Stamp))
	var buried usage.Place
	err := s.store.Update(ctx, w.Partition, func(tx engine.Tx) error {
		c, err := getContainer(tx, key)
		switch {
		case errors.Is(err, protocol.ErrContainerNotFound):
		case err != nil:
			return err
		case c.Deleted.Until > s.now():
			return nil
		default:
			tx.Delete(engine.SpaceContainer, key)
			buried = s.buryContainer(tx, w.Partition, c)
		}
		tx.Delete(engine.SpaceBlobQueue, w.Key)
		return nil
	})
	if err == nil {
		s.buried(buried)
	}
	return err
}

// Container reads a container for an operation that changes nothing; a lease id is checked if there is one. The record is shared:
// it is not to be changed.
func (s *Service) Container(ctx context.Context, a *Target) (*record.Container, error) {
	if err := protocol.CheckContainerName(a.Container); err != nil {
		return nil, err
	}
	c, err := s.container(ctx, a.Account.Name, a.Container)
	if err != nil {
		return nil, err
	}
	return c, c.Lease.CheckRead(a.Now, a.Lease, lease.Container)
}

// SetContainerMetadata replaces a container's metadata. It returns the stamp of the change.
func (s *Service) SetContainerMetadata(ctx context.Context, a *Target, metadata []protocol.Pair) (engine.Stamp, error) {
	return s.editContainer(ctx, a, func(c *record.Container) { c.Metadata = metadata })
}

// SetContainerACL replaces a container's level of public access and its stored access policies. It returns the stamp of the change.
func (s *Service) SetContainerACL(ctx context.Context, a *Target, public auth.PublicAccess, policies []auth.Policy) (engine.Stamp, error) {
	return s.editContainer(ctx, a, func(c *record.Container) { c.Public, c.Policies = public, policies })
}

// editContainer changes a container's record and with it ETag and Last-Modified.
func (s *Service) editContainer(ctx context.Context, a *Target, edit func(*record.Container)) (changed engine.Stamp, err error) {
	err = s.changeContainer(ctx, a, func(tx engine.Tx, c *record.Container) error {
		if err := c.Lease.CheckRead(a.Now, a.Lease, lease.Container); err != nil {
			return err
		}
		if err := a.Cond.Write(c.Changed, false); err != nil {
			return err
		}
		edit(c)
		c.Changed = tx.Stamp()
		changed = c.Changed
		return nil
	})
	return changed, err
}

// LeaseContainer acquires, renews, changes, releases or breaks a container's lease. It changes neither ETag nor Last-Modified, and
// returns the stamp of these.
func (s *Service) LeaseContainer(ctx context.Context, a *Target, q *lease.Request) (res lease.Result, changed engine.Stamp, err error) {
	err = s.changeContainer(ctx, a, func(_ engine.Tx, c *record.Container) error {
		if err := a.Cond.Write(c.Changed, false); err != nil {
			return err
		}
		if res, err = c.Lease.Apply(a.Now, q); err != nil {
			return containerWords(err)
		}
		c.Lease, changed = res.Lease, c.Changed
		return nil
	})
	return res, changed, err
}

// containerWords words the errors of Apply, which speak of a blob, for a container.
func containerWords(err error) error {
	var e *protocol.Error
	if !errors.As(err, &e) {
		return err
	}
	return e.Saying(strings.ReplaceAll(e.Message, "blob", "container"))
}

// DeleteContainer deletes a container: the record goes at once, what was in it is left to the sweeper.
func (s *Service) DeleteContainer(ctx context.Context, a *Target) error {
	if err := protocol.CheckContainerName(a.Container); err != nil {
		return err
	}
	key := record.AppendContainerKey(nil, a.Account.Name, a.Container)
	defer s.lockName(key)()
	var buried usage.Place
	err := s.updateContainer(ctx, key, func(tx engine.Tx) error {
		c, err := getContainer(tx, key)
		if err != nil {
			return err
		}
		if err := c.Lease.CheckWrite(a.Now, a.Lease, lease.Container); err != nil {
			return err
		}
		if err := a.Cond.Write(c.Changed, false); err != nil {
			return err
		}
		buried = s.retireContainer(tx, a.Account, key, c)
		return nil
	})
	if err != nil {
		return err
	}
	s.buried(buried)
	s.sweeper.Wake()
	if s.forget == nil {
		return nil
	}
	return s.forget(ctx, a.Account.Name, a.Container)
}

// A soft-deleted container keeps its record, and with it its generation and all that is in it, under a key that adds the
// generation to the container's: so a name may have several deleted containers and a new one.

// RestoreContainer brings back the deleted container of a name that has this version.
func (s *Service) RestoreContainer(ctx context.Context, account, name, version string) error {
	return s.fillContainer(ctx, account, name, func(tx engine.Tx, key []byte) error {
		c, err := findDeletedContainer(tx, key, version)
		if err != nil {
			return err
		}
		if c == nil || c.Deleted.Until <= s.now() {
			return protocol.ErrContainerNotFound
		}
		c.Deleted = record.SoftDelete{}
		tx.Delete(engine.SpaceContainer, record.DeletedContainerKey(key, c.Generation))
		tx.Delete(engine.SpaceBlobQueue, record.AppendWorkKey(nil, key, record.WorkContainerExpiry, engine.Stamp(c.Generation)))
		tx.Set(engine.SpaceContainer, key, c.AppendTo(nil))
		return nil
	})
}

// ContainersQuery is which containers of an account are to be listed.
type ContainersQuery struct {
	Account, Prefix, From string
	Limit                 int
	Deleted               bool // also those that are soft-deleted
	Now                   engine.Stamp
}

// Containers calls visit for the containers of an account in the order of their names, until it says that it takes no more. It returns the
// place to go on from, empty at the end: a name, and of a deleted one "/" and which life of it. What visit is given lives until it returns.
func (s *Service) Containers(ctx context.Context, q *ContainersQuery, visit func(name string, c *record.Container) (full bool)) (next string, err error) {
	scope := append([]byte(q.Account), 0)
	from, life, within := strings.Cut(q.From, "/")
	if within {
		key, err := hex.DecodeString(life)
		if err != nil {
			return "", protocol.InvalidQuery("marker", q.From, "")
		}
		from += "\x00" + string(key)
	}
	lower := append(append([]byte(nil), scope...), max(q.Prefix, from)...)
	upper := record.After(append(append([]byte(nil), scope...), q.Prefix...))
	err = s.store.View(ctx, scope, func(v engine.Reader) error {
		it := v.Scan(engine.SpaceContainer, lower, upper)
		defer it.Close()
		full := false
		for n, looked, ok := 0, 0, it.Next(); ok; ok = it.Next() {
			name, life, _ := strings.Cut(string(it.Key()[len(scope):]), "\x00")
			if looked++; looked%ctxEvery == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			if n == q.Limit || full || looked > s.looked {
				if next = name; life != "" {
					next += "/" + hex.EncodeToString([]byte(life))
				}
				break
			}
			if life != "" && !q.Deleted {
				continue
			}
			value, err := it.Value()
			if err != nil {
				return err
			}
			var c record.Container
			if err := c.Decode(view.String(value)); err != nil {
				return err
			}
			if c.Deleted.At != 0 && c.Deleted.Until <= q.Now {
				continue
			}
			n++
			full = visit(name, &c)
		}
		return it.Close()
	})
	return next, err
}
