package blob

import (
	"context"
	"errors"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// A soft-deleted container keeps its record, and with it its generation and all that is in it, under a key that adds the
// generation to the container's: so a name may have several deleted containers and a new one.

// retireContainer takes a container's record from its place: softly if the account keeps deleted containers.
func (s *Service) retireContainer(tx engine.Tx, a *account.Account, key []byte, c *record.Container) {
	tx.Delete(engine.SpaceContainer, key)
	if a.ContainerRetentionDays <= 0 {
		s.buryContainer(tx, key, c)
		return
	}
	now := tx.Stamp()
	gone := *c
	gone.Lease = lease.Lease{}
	gone.Deleted = record.SoftDelete{At: now, Until: now + engine.Stamp(a.ContainerRetentionDays)*record.Day}
	tx.Set(engine.SpaceContainer, record.DeletedContainerKey(key, c.Generation), gone.AppendTo(nil))
	tx.Set(engine.SpaceBlobQueue, record.AppendWorkKey(nil, key, record.WorkContainerExpiry, engine.Stamp(c.Generation)), nil)
}

// restoreContainer is Restore Container. The name in the address must be the one that the container had: the public references of
// the SDKs have withdrawn their option for another ("destination container name must match deleted container name").
func (s *Service) restoreContainer(r *rest.Request) error {
	if err := protocol.CheckContainerName(r.Container); err != nil {
		return err
	}
	name, version := r.Header("x-ms-deleted-container-name"), r.Header("x-ms-deleted-container-version")
	switch {
	case name == "":
		return protocol.MissingHeader("x-ms-deleted-container-name")
	case version == "":
		return protocol.MissingHeader("x-ms-deleted-container-version")
	case name != r.Container:
		return protocol.InvalidHeader("x-ms-deleted-container-name", name)
	}
	key := record.AppendContainerKey(nil, r.AccountName, r.Container)
	err := s.updateContainer(r.Context, key, func(tx engine.Tx) error {
		switch _, err := tx.Get(engine.SpaceContainer, key); {
		case err == nil:
			return protocol.ErrContainerAlreadyExists
		case !errors.Is(err, engine.ErrNotFound):
			return err
		}
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
	if err != nil {
		return err
	}
	r.Reply(201)
	return nil
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
	return s.store.Update(ctx, w.Partition, func(tx engine.Tx) error {
		c, err := getContainer(tx, key)
		switch {
		case errors.Is(err, protocol.ErrContainerNotFound):
		case err != nil:
			return err
		case c.Deleted.Until > s.now():
			return nil
		default:
			tx.Delete(engine.SpaceContainer, key)
			s.buryContainer(tx, w.Partition, c)
		}
		tx.Delete(engine.SpaceBlobQueue, w.Key)
		return nil
	})
}
