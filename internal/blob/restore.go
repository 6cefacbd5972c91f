package blob

import (
	"context"
	"errors"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
	"github.com/blobd/blobd/internal/rest"
)

// A soft-deleted container keeps its record, and with it its generation and all that is in it, under a key that adds the
// generation to the container's: so a name may have several deleted containers and a new one.

func deletedContainerKey(key []byte, g Generation) []byte {
	return appendGeneration(append([]byte(nil), key...), g)
}

// retireContainer takes a container's record from its place: softly if the account keeps deleted containers.
func (s *Service) retireContainer(tx engine.Tx, a *account.Account, key []byte, c *ContainerRecord) {
	tx.Delete(engine.SpaceContainer, key)
	if a.ContainerRetentionDays <= 0 {
		s.buryContainer(tx, key, c)
		return
	}
	now := tx.Stamp()
	gone := *c
	gone.Lease = lease.Lease{}
	gone.Deleted = SoftDelete{At: now, Until: now + engine.Stamp(a.ContainerRetentionDays)*day}
	tx.Set(engine.SpaceContainer, deletedContainerKey(key, c.Generation), gone.AppendTo(nil))
	tx.Set(engine.SpaceBlobQueue, appendWorkKey(nil, key, workContainerExpiry, engine.Stamp(c.Generation)), nil)
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
	key := appendContainerKey(nil, r.AccountName, r.Container)
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
		c.Deleted = SoftDelete{}
		tx.Delete(engine.SpaceContainer, deletedContainerKey(key, c.Generation))
		tx.Delete(engine.SpaceBlobQueue, appendWorkKey(nil, key, workContainerExpiry, engine.Stamp(c.Generation)))
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
func findDeletedContainer(r engine.Reader, key []byte, version string) (*ContainerRecord, error) {
	it := r.Scan(engine.SpaceContainer, append(append([]byte(nil), key...), 0), after(append([]byte(nil), key...)))
	defer it.Close()
	for it.Next() {
		v, err := it.Value()
		if err != nil {
			return nil, err
		}
		c := &ContainerRecord{}
		if err := c.Decode(string(v)); err != nil {
			return nil, err
		}
		if c.deletedVersion() == version {
			return c, nil
		}
	}
	return nil, it.Close()
}

// sweepDeletedContainer lets a soft-deleted container go once its retention has ended.
func (s *Service) sweepDeletedContainer(ctx context.Context, w *work) error {
	key := deletedContainerKey(w.partition, Generation(w.stamp))
	return s.store.Update(ctx, w.partition, func(tx engine.Tx) error {
		c, err := getContainer(tx, key)
		switch {
		case errors.Is(err, protocol.ErrContainerNotFound):
		case err != nil:
			return err
		case c.Deleted.Until > s.now():
			return nil
		default:
			tx.Delete(engine.SpaceContainer, key)
			s.buryContainer(tx, w.partition, c)
		}
		tx.Delete(engine.SpaceBlobQueue, w.key)
		return nil
	})
}
