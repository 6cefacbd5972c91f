package store

import (
	"context"
	"errors"

	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// SetProperties sets all five content headers and the MD5 of a blob, absent ones cleared. It returns the blob as it is then.
func (s *Service) SetProperties(ctx context.Context, a *Target, h *record.HTTPProperties, md5 string) (after record.Blob, err error) {
	err = s.modify(ctx, a, func(t *txn, rec *record.Blob) error {
		rec.HTTP, rec.MD5 = *h, md5
		rec.Changed = t.Stamp()
		after = *rec
		return nil
	})
	return after, err
}

// SetMetadata replaces a blob's metadata, which makes a version where there are versions. It returns the blob as it is then.
func (s *Service) SetMetadata(ctx context.Context, a *Target, metadata []protocol.Pair) (after record.Blob, err error) {
	err = s.modify(ctx, a, func(t *txn, rec *record.Blob) error {
		if err := rec.Readable(a.Now); err != nil {
			return err
		}
		if t.account.Versioning {
			if err := t.keepVersion(rec); err != nil {
				return err
			}
			rec.Version = t.Stamp()
		}
		rec.Metadata = metadata
		rec.Changed = t.Stamp()
		after = *rec
		return nil
	})
	return after, err
}

// SetTier changes a blob's tier, and returns how it stands then.
func (s *Service) SetTier(ctx context.Context, a *Target, slot Selector, to record.Tier, high bool) (after record.Tiering, err error) {
	p, err := s.place(ctx, a)
	if err != nil {
		return after, err
	}
	err = s.change(ctx, p, func(t *txn) error {
		rec, at, err := slot.find(t.Tx, p)
		if err != nil {
			return err
		}
		// No lease is needed, one that is given is checked; ETag conditions are not the operation's.
		if rec == nil {
			return protocol.ErrBlobNotFound
		}
		if err := rec.Lease.CheckRead(a.Now, a.Lease, lease.Blob); err != nil {
			return err
		}
		if err := a.checkTags(rec); err != nil {
			return err
		}
		if rec.Tier.At(a.Now).Pending != record.TierUnset && a.Version != "" && a.Version < protocol.V20200612 {
			high = false // it could be set once
		}
		if rec.Tier, err = rec.Tier.Change(a.Now, to, high, rec.Type, rec.Size); err != nil {
			return err
		}
		after = rec.Tier
		t.set(at, rec)
		return nil
	})
	return after, err
}

// SetTags replaces a blob's tags, which are sorted by key. It changes neither ETag nor Last-Modified.
func (s *Service) SetTags(ctx context.Context, a *Target, slot Selector, tags []protocol.Pair) error {
	p, err := s.place(ctx, a)
	if err != nil {
		return err
	}
	return s.changeTagged(ctx, p, tags, func(t *txn) error {
		rec, at, err := slot.find(t, p)
		if err != nil {
			return err
		}
		terms := *a
		if at.Kind != record.SlotCurrent {
			terms.Lease = lease.ID{}
		}
		if err := terms.write(rec); err != nil && !errors.Is(err, protocol.ErrPendingCopyOperation) {
			return err
		}
		if at.Kind == record.SlotCurrent {
			t.untag = rec.Tags
		} else {
			t.untag = tags // the index knows current blobs only
		}
		rec.Tags = tags
		t.set(at, rec)
		return nil
	})
}

// LeaseBlob acquires, renews, changes, releases or breaks a blob's lease. It changes neither ETag nor Last-Modified, and returns
// the stamp of these.
func (s *Service) LeaseBlob(ctx context.Context, a *Target, q *lease.Request) (res lease.Result, changed engine.Stamp, err error) {
	err = s.changeCurrent(ctx, a, func(t *txn, rec *record.Blob) error {
		if err := a.Cond.Write(rec.Changed, false); err != nil {
			return err
		}
		if err := a.checkTags(rec); err != nil {
			return err
		}
		if res, err = rec.Lease.Apply(a.Now, q); err != nil {
			return err
		}
		rec.Lease, changed = res.Lease, rec.Changed
		t.Modify(rec)
		return nil
	})
	return res, changed, err
}

// modify changes the current blob's record, on the terms of a write, with the content that it has.
func (s *Service) modify(ctx context.Context, a *Target, edit func(*txn, *record.Blob) error) error {
	return s.changeCurrent(ctx, a, func(t *txn, rec *record.Blob) error {
		if err := a.write(rec); err != nil {
			return err
		}
		rec.Lease = rec.Lease.Written(a.Now)
		if err := edit(t, rec); err != nil {
			return err
		}
		t.Modify(rec)
		return nil
	})
}

// changeCurrent runs a transaction on the current blob, which must exist. Which of the terms bind it is for fn to say.
func (s *Service) changeCurrent(ctx context.Context, a *Target, fn func(t *txn, rec *record.Blob) error) error {
	p, err := s.place(ctx, a)
	if err != nil {
		return err
	}
	return s.change(ctx, p, func(t *txn) error {
		rec, err := t.Record(record.Slot{})
		if err != nil {
			return err
		}
		if err := a.known(rec); err != nil {
			return err
		}
		return fn(t, rec)
	})
}
