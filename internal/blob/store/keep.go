package store

import (
	"context"
	"fmt"

	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// Keep takes the current blob out of its place and makes it the snapshot or version that slot names, as it was one in another store. A blob
// is put together again from its past to the present: every state is made the current blob, and then kept. version is the id of the version
// that it is, or that a snapshot was taken of; 0 for none.
func (s *Service) Keep(ctx context.Context, a *Target, slot record.Slot, version engine.Stamp) error {
	p, err := s.place(ctx, a)
	if err != nil {
		return err
	}
	return s.change(ctx, p, func(t *txn) error {
		rec, err := t.present(slot)
		if err != nil {
			return err
		}
		kept := *rec
		kept.Lease, kept.Version = lease.Lease{}, version
		if slot.Kind == record.SlotSnapshot {
			t.used.Bytes -= kept.Size // a snapshot's bytes are not counted
		}
		if err := t.move(rec, record.Slot{}, slot, false); err != nil {
			return err
		}
		t.Delete(engine.SpaceBlob, t.key)
		t.untag = rec.Tags
		t.set(slot, &kept)
		return nil
	})
}

// SetVersion gives the current blob the version id that it had in another store.
func (s *Service) SetVersion(ctx context.Context, a *Target, id engine.Stamp) error {
	p, err := s.place(ctx, a)
	if err != nil {
		return err
	}
	return s.change(ctx, p, func(t *txn) error {
		rec, err := t.present(record.Slot{Stamp: id, Kind: record.SlotVersion})
		if err != nil {
			return err
		}
		rec.Version = id
		t.Modify(rec)
		return nil
	})
}

// present returns the current blob, which is about to get the id of a slot that must be free and in the past: what comes later gets later ones.
func (t *txn) present(slot record.Slot) (*record.Blob, error) {
	if slot.Stamp == 0 || slot.Stamp >= t.Stamp() {
		return nil, fmt.Errorf("the snapshot or version of %s is later than now: see to the clock", slot.Stamp.Time())
	}
	there, err := t.Record(slot)
	if err != nil {
		return nil, err
	}
	if there != nil {
		return nil, protocol.ErrBlobAlreadyExists
	}
	rec, err := t.Record(record.Slot{})
	if err == nil && rec == nil {
		err = protocol.ErrBlobNotFound
	}
	return rec, err
}
