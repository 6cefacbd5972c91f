package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/lease"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/protocol"
)

// softDelete returns what a blob that is deleted now is marked with; ok is false if the account does not keep deleted blobs.
func (t *txn) softDelete() (d record.SoftDelete, ok bool) {
	props := t.account.Properties(account.BlobService)
	if props == nil || !props.DeleteRetention.Enabled {
		return record.SoftDelete{}, false
	}
	now := t.Stamp()
	return record.SoftDelete{At: now, Until: now + engine.Stamp(props.DeleteRetention.Days)*record.Day}, true
}

// retire takes the current blob out of its place. With versioning it becomes a version, else with soft delete a deleted blob, else
// its content goes. kept tells that it can still be had.
func (t *txn) retire(old *record.Blob, inlineFollows bool) (kept bool, err error) {
	if old == nil {
		return false, nil
	}
	gone := *old
	gone.Lease = lease.Lease{}
	var slot record.Slot
	if t.account.Versioning {
		slot = old.VersionSlot()
		gone.Version, gone.Tier = slot.Stamp, gone.Tier.Cancel(t.Stamp())
	} else if d, ok := t.softDelete(); ok {
		slot, gone.Deleted = record.Slot{Stamp: d.At, Kind: record.SlotDeleted}, d
		t.enqueueExpiry(slot, d.Until)
	} else {
		t.used.Bytes -= old.Size
		return false, t.drop(old, record.Slot{}, inlineFollows)
	}
	if err := t.move(old, record.Slot{}, slot, inlineFollows); err != nil {
		return false, err
	}
	t.used.Objects++
	t.set(slot, &gone)
	return true, nil
}

// move takes content along with its record to another slot. Only inline bytes lie under the slot.
func (t *txn) move(r *record.Blob, from, to record.Slot, inlineFollows bool) error {
	if r.Content.Kind != record.ContentInline {
		return nil
	}
	v, err := t.Get(engine.SpaceBlobData, t.slotKey(from))
	if err != nil {
		return fmt.Errorf("inline content of %q: %w", t.name, corrupt(err))
	}
	t.Set(engine.SpaceBlobData, t.slotKey(to), append([]byte(nil), v...))
	if !inlineFollows {
		t.Delete(engine.SpaceBlobData, t.slotKey(from))
	}
	return nil
}

// keepVersion makes a version of the current blob, which is about to change in its properties only.
func (t *txn) keepVersion(old *record.Blob) error {
	slot := old.VersionSlot()
	kept := *old
	kept.Lease, kept.Version = lease.Lease{}, slot.Stamp
	var err error
	if kept.Content, err = t.share(old, record.Slot{}, slot); err != nil {
		return err
	}
	t.used = t.used.Plus(engine.Amount{Bytes: kept.Size, Objects: 1})
	t.set(slot, &kept)
	return nil
}

// enqueueExpiry leaves a soft-deleted blob to the sweeper. Its item tells until when it is kept, so that the sweeper need not look:
// there may be very many.
func (t *txn) enqueueExpiry(s record.Slot, until engine.Stamp) {
	v := append(append([]byte{byte(s.Kind)}, t.account.Name...), 0)
	t.Set(engine.SpaceBlobQueue, record.AppendWorkKey(nil, t.key, record.WorkExpiry, s.Stamp), record.AppendStamp(v, until))
}

// visitHistory calls visit for the blobs in the history of a name, oldest first, until it returns false. from is the slot to begin
// with, the zero Slot for the first.
func visitHistory(r engine.Reader, p *place, from record.Slot, visit func(record.Slot, *record.Blob) (bool, error)) error {
	it := r.Scan(engine.SpaceBlobHistory, p.slotKey(from), record.After(append([]byte(nil), p.key...)))
	defer it.Close()
	for it.Next() {
		slot, ok := record.ParseSlot(it.Key()[len(p.key):])
		if !ok {
			return record.ErrBlob
		}
		v, err := it.Value()
		if err != nil {
			return err
		}
		rec := &record.Blob{}
		if err := rec.Decode(string(v)); err != nil {
			return fmt.Errorf("blob %q: %w", p.name, err)
		}
		if more, err := visit(slot, rec); err != nil || !more {
			return err
		}
	}
	return it.Close()
}

// SnapshotsToo is what a delete of a blob does with its snapshots.
type SnapshotsToo byte

const (
	SnapshotsRefuse  SnapshotsToo = iota // there must be none
	SnapshotsInclude                     // they go too
	SnapshotsOnly                        // only they go
)

// DeleteRequest is which blob, snapshot or version is to be deleted, and on what terms.
type DeleteRequest struct {
	Target
	Slot      Selector
	Snapshots SnapshotsToo
	Permanent bool // a snapshot or version that is soft-deleted already goes for good

	// TierModified and TierUnmodified are conditions on when the tier was set last, zero for none.
	TierModified, TierUnmodified time.Time
}

// meet checks the terms of a delete of rec, which must exist.
func (q *DeleteRequest) meet(rec *record.Blob) error {
	if err := q.write(rec); err != nil {
		return err
	}
	set := rec.Tier.At(q.Now).Changed
	if set == 0 {
		set = rec.Created // with the tier that it still has
	}
	return protocol.ModifiedWithin(set, q.TierModified, q.TierUnmodified)
}

// deleteBase deletes a blob, its snapshots, or both, from a snapshot on. next is the snapshot to go on with in another transaction,
// the zero Slot if all is done. The blob goes in the last: wherever it ends early, all that is there has its blob, and to ask again
// does the rest.
func (t *txn) deleteBase(q *DeleteRequest, from record.Slot) (kept bool, next record.Slot, err error) {
	rec, err := t.Record(record.Slot{})
	if err != nil {
		return false, next, err
	}
	if err := q.meet(rec); err != nil {
		return false, next, err
	}
	err = visitHistory(t, t.place, from, func(s record.Slot, snap *record.Blob) (bool, error) {
		switch {
		case s.Kind != record.SlotSnapshot || snap.Deleted.At != 0:
			return true, nil
		case q.Snapshots == SnapshotsRefuse:
			return false, protocol.ErrSnapshotsPresent
		case t.wrote >= t.svc.historyStep:
			next = s
			return false, nil
		}
		kept, err = t.forget(s, snap)
		return err == nil, err
	})
	if err == nil && next == (record.Slot{}) && from != next {
		// An undelete may have brought back some that an earlier transaction deleted.
		err = visitHistory(t, t.place, record.Slot{}, func(s record.Slot, snap *record.Blob) (bool, error) {
			if s.Stamp >= from.Stamp {
				return false, nil
			}
			if s.Kind == record.SlotSnapshot && snap.Deleted.At == 0 {
				next = s
			}
			return next == record.Slot{}, nil
		})
	}
	if err != nil || q.Snapshots == SnapshotsOnly || next != (record.Slot{}) {
		return kept, next, err
	}
	kept, err = t.Remove(rec)
	return kept, next, err
}

// forget deletes a snapshot or version, softly if the account has it so.
func (t *txn) forget(s record.Slot, rec *record.Blob) (kept bool, err error) {
	if d, ok := t.softDelete(); ok {
		rec.Deleted = d
		t.set(s, rec)
		t.enqueueExpiry(s, d.Until)
		return true, nil
	}
	return false, t.erase(s, rec)
}

// erase takes a blob out of the history for good. A snapshot's bytes were never counted.
func (t *txn) erase(s record.Slot, rec *record.Blob) error {
	if s.Kind != record.SlotSnapshot {
		t.used.Bytes -= rec.Size
	}
	t.used.Objects--
	t.Delete(engine.SpaceBlobHistory, t.slotKey(s))
	return t.drop(rec, s, false)
}

// deletePast deletes a snapshot or version.
func (t *txn) deletePast(q *DeleteRequest) (kept bool, err error) {
	slot := record.Slot{Stamp: q.Slot.Snapshot, Kind: record.SlotSnapshot}
	if q.Slot.Version != 0 {
		slot = record.Slot{Stamp: q.Slot.Version, Kind: record.SlotVersion}
		rec, err := t.Record(record.Slot{})
		if err != nil {
			return false, err
		}
		if rec != nil && rec.Version == q.Slot.Version {
			return false, protocol.ErrOperationNotAllowedOnRootBlob
		}
	}
	rec, err := t.Record(slot)
	if err != nil {
		return false, err
	}
	if q.Permanent {
		props := t.account.Properties(account.BlobService)
		switch {
		case rec == nil:
			return false, protocol.ErrBlobNotFound
		case rec.Deleted.At == 0 || props == nil || !props.DeleteRetention.AllowPermanentDelete:
			return false, protocol.ErrBlobOperationNotSupported
		}
		return false, t.erase(slot, rec)
	}
	if rec != nil && rec.Deleted.At != 0 {
		rec = nil
	}
	q.Lease = lease.ID{} // what is past has none
	if err := q.meet(rec); err != nil {
		return false, err
	}
	return t.forget(slot, rec)
}

// errTagsMoved tells that a blob has other tags than a look before the transaction had shown.
var errTagsMoved = errors.New("the tags changed meanwhile")

// undelete brings back the blob itself, if there is none, and of its history what one transaction takes. next is where to go on with
// restoreHistory, the zero Slot if all is done, and based tells that there is a blob then.
func (s *Service) undelete(ctx context.Context, p *place) (next record.Slot, based bool, err error) {
	// The tags of what comes back are put in the index before it is there.
	var tags []protocol.Pair
	err = s.store.View(ctx, p.key, func(v engine.Reader) error {
		found, _, err := restorable(v, p)
		if found != nil {
			tags = found.Tags
		}
		return err
	})
	if err != nil {
		return next, false, err
	}
	err = s.changeTagged(ctx, p, tags, func(t *txn) error {
		current, err := t.Record(record.Slot{})
		if err != nil {
			return err
		}
		back, at, err := restorable(t, p)
		if err != nil {
			return err
		}
		if back == nil && len(tags) > 0 || back != nil && !samePairs(back.Tags, tags) {
			return errTagsMoved
		}
		if based = current != nil || back != nil; back != nil {
			if err := t.restore(back, at, record.Slot{}); err != nil {
				return err
			}
		}
		var known bool
		next, known, err = t.restoreHistory(record.Slot{}, at)
		if err == nil && !known && !based {
			return protocol.ErrBlobNotFound
		}
		return err
	})
	return next, based, err
}

// restoreHistory brings back soft-deleted snapshots and versions, from a slot on, but one that is taken care of. next is the slot to go
// on with in another transaction, the zero Slot if all is done; known tells that there was any history.
func (t *txn) restoreHistory(from, but record.Slot) (next record.Slot, known bool, err error) {
	err = visitHistory(t, t.place, from, func(slot record.Slot, rec *record.Blob) (bool, error) {
		known = true
		if rec.Deleted.At == 0 || slot == but {
			return true, nil
		}
		if t.wrote >= t.svc.historyStep {
			next = slot
			return false, nil
		}
		to := slot
		if slot.Kind == record.SlotDeleted {
			to.Kind = record.SlotSnapshot
			t.used.Bytes -= rec.Size
		}
		return true, t.restore(rec, slot, to)
	})
	return next, known, err
}

// restore makes a soft-deleted blob one that is there, in another slot if it lay in that of a deleted one.
func (t *txn) restore(rec *record.Blob, from, to record.Slot) error {
	rec.Deleted = record.SoftDelete{}
	t.set(to, rec)
	if from == to {
		return nil
	}
	t.Delete(engine.SpaceBlobHistory, t.slotKey(from))
	return t.move(rec, from, to, false)
}

// restorable returns the blob that an undelete makes the current one again and its slot, nil if there is none: the last that was
// deleted, if nothing took its place.
func restorable(r engine.Reader, p *place) (back *record.Blob, at record.Slot, err error) {
	current, err := getRecord(r, p, record.Slot{})
	if current != nil || err != nil {
		return nil, at, err
	}
	err = visitHistory(r, p, record.Slot{}, func(slot record.Slot, rec *record.Blob) (bool, error) {
		if slot.Kind == record.SlotDeleted {
			back, at = rec, slot
		}
		return true, nil
	})
	return back, at, err
}

// sweepExpired takes a soft-deleted blob away for good once its retention has ended.
func (s *Service) sweepExpired(ctx context.Context, p *place, w *record.Work) error {
	slot := record.Slot{Stamp: w.Stamp, Kind: record.SlotKind(w.Value[0])}
	name, until, _ := record.CutZero(w.Value[1:])
	if end, ok := record.DecodeStamp(until); ok && end > s.now() {
		return nil
	}
	p.account = &account.Account{Name: string(name)}
	return s.change(ctx, p, func(t *txn) error {
		rec, err := t.Record(slot)
		switch {
		case err != nil:
			return err
		case rec == nil || rec.Deleted.At == 0:
		case rec.Deleted.Until > s.now():
			return nil
		default:
			if err := t.erase(slot, rec); err != nil {
				return err
			}
		}
		t.Delete(engine.SpaceBlobQueue, w.Key)
		return nil
	})
}

// Snapshot makes a snapshot of a blob, with the metadata given or else the blob's own. It returns the snapshot and its id.
func (s *Service) Snapshot(ctx context.Context, a *Target, metadata []protocol.Pair) (snap record.Blob, id engine.Stamp, err error) {
	err = s.changeCurrent(ctx, a, func(t *txn, rec *record.Blob) error {
		if err := rec.Lease.CheckRead(a.Now, a.Lease, lease.Blob); err != nil {
			return err
		}
		if err := a.Cond.Write(rec.Changed, false); err != nil {
			return err
		}
		if err := a.checkTags(rec); err != nil {
			return err
		}
		if err := rec.Readable(a.Now); err != nil {
			return err
		}
		id = t.Stamp()
		slot := record.Slot{Stamp: id, Kind: record.SlotSnapshot}
		snap = *rec
		snap.Lease = lease.Lease{}
		var err error
		if snap.Content, err = t.share(rec, record.Slot{}, slot); err != nil {
			return err
		}
		if len(metadata) > 0 {
			snap.Metadata, snap.Changed = metadata, id
		}
		t.used.Objects++
		t.set(slot, &snap)
		return nil
	})
	return snap, id, err
}

// Delete deletes a blob, a snapshot or a version; kept tells that it can still be had. More snapshots than one transaction takes go in
// several, the oldest first and the blob in the last.
func (s *Service) Delete(ctx context.Context, q *DeleteRequest) (kept bool, err error) {
	p, err := s.place(ctx, &q.Target)
	if err != nil {
		return false, err
	}
	for from := (record.Slot{}); ; {
		var step bool
		var next record.Slot
		err = s.change(ctx, p, func(t *txn) (err error) {
			if q.Slot.IsBase() {
				step, next, err = t.deleteBase(q, from)
			} else {
				step, err = t.deletePast(q)
			}
			return err
		})
		kept = kept || step
		if err != nil || next == (record.Slot{}) {
			return kept, err
		}
		from = next
	}
}

// Undelete brings back soft-deleted snapshots and versions, and without versioning the blob itself if there is none. More history than
// one transaction takes comes back in several, after the blob.
func (s *Service) Undelete(ctx context.Context, a *Target) error {
	p, err := s.place(ctx, a)
	if err != nil {
		return err
	}
	from, based, err := s.undelete(ctx, p)
	for errors.Is(err, errTagsMoved) {
		from, based, err = s.undelete(ctx, p)
	}
	for err == nil && from != (record.Slot{}) {
		var next record.Slot
		err = s.change(ctx, p, func(t *txn) error {
			if based {
				if rec, err := t.Record(record.Slot{}); rec == nil || err != nil { // somebody deleted it again
					next = record.Slot{}
					return err
				}
			}
			var err error
			next, _, err = t.restoreHistory(from, record.Slot{})
			return err
		})
		from = next
	}
	return err
}
