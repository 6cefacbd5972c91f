package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/blobd/blobd/internal/account"
	"github.com/blobd/blobd/internal/blob/record"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/view"
)

const (
	// sweepBatch bounds what one transaction of the sweeper takes on: records, or pages of a list.
	sweepBatch = 64
	// lateWrite is how long a write may be under way after it looked its container up, in stamps.
	lateWrite = 3600 * 10_000_000
)

// Sweep goes through the queue once and does what is due. It can stop anywhere and begin again. An item that fails is left for
// the next time.
func (s *Service) Sweep(ctx context.Context) error {
	var failed error
	var from []byte
	for {
		var items []record.Work
		err := s.store.View(ctx, nil, func(r engine.Reader) error {
			it := r.Scan(engine.SpaceBlobQueue, from, nil)
			defer it.Close()
			for len(items) < sweepBatch && it.Next() {
				v, err := it.Value()
				if err != nil {
					return err
				}
				w, ok := record.ParseWork(it.Key(), v)
				if !ok {
					failed = errors.Join(failed, fmt.Errorf("work item %q cannot be read", it.Key()))
				}
				items = append(items, w)
			}
			return it.Close()
		})
		if err != nil || len(items) == 0 {
			return errors.Join(failed, err)
		}
		for i := range items {
			if items[i].Kind == 0 {
				continue
			}
			if err := s.sweep(ctx, &items[i]); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				failed = errors.Join(failed, fmt.Errorf("work %d at %q: %w", items[i].Kind, items[i].Partition, err))
			}
		}
		from = append(items[len(items)-1].Key, 0)
	}
}

// placeOf returns the blob name that the item belongs to. The account is known by name only.
func placeOf(w *record.Work) (*place, bool) {
	name, n, ok := record.SplitKey(w.Partition)
	if !ok || n != len(w.Partition) || len(w.Value) < 1 {
		return nil, false
	}
	gen := record.Generation(binary.BigEndian.Uint64(w.Partition))
	return &place{&account.Account{Name: string(w.Value[1:])}, gen, string(name), w.Partition}, true
}

func (s *Service) sweep(ctx context.Context, w *record.Work) error {
	switch w.Kind {
	case record.WorkContainer:
		return s.sweepContainer(ctx, w)
	case record.WorkContainerExpiry:
		return s.sweepDeletedContainer(ctx, w)
	}
	p, ok := placeOf(w)
	if !ok {
		return record.ErrBlob
	}
	switch w.Kind {
	case record.WorkContent:
		if record.ContentKind(w.Value[0]) == record.ContentPages {
			for more := true; more; {
				var err error
				if more, err = s.sweepPages(ctx, p, w.Stamp); err != nil {
					return err
				}
			}
			return nil
		}
		return s.sweepList(ctx, p, w)
	case record.WorkPending:
		return s.sweepPending(ctx, p, w)
	case record.WorkCopy:
		return s.sweepCopy(ctx, p, w)
	case record.WorkExpiry:
		return s.sweepExpired(ctx, p, w)
	case record.WorkFold:
		for more := true; more; {
			var err error
			if more, err = s.foldPages(ctx, p, w.Stamp); err != nil {
				return err
			}
		}
	}
	return nil
}

// due tells whether a work item is still there. The sweeper read it some time ago: content that was being laid then may be a
// record's by now (adoptLaid), and is not to be taken away.
func (t *txn) due(item []byte) (bool, error) {
	_, err := t.Get(engine.SpaceBlobQueue, item)
	if errors.Is(err, engine.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// sweepList releases the chunks of a list without an owner, some pages at a time.
func (s *Service) sweepList(ctx context.Context, p *place, w *record.Work) error {
	for done := false; !done; {
		err := s.change(ctx, p, func(t *txn) error {
			if done = s.pins.held(p.key, w.Stamp); done { // somebody still reads it: later
				return nil
			}
			if due, err := t.due(w.Key); err != nil || !due {
				done = true
				return err
			}
			prefix := record.AppendContentKey(nil, p.key, record.KeyContentPage, w.Stamp)
			it := t.Scan(engine.SpaceBlock, prefix, record.After(append([]byte(nil), prefix...)))
			defer it.Close()
			pages := 0
			for ; pages < sweepBatch && it.Next(); pages++ {
				v, err := it.Value()
				if err != nil {
					return err
				}
				if err := record.VisitPage(view.String(v), func(p *record.Piece) bool { t.Release(p.Ref); return true }); err != nil {
					return err
				}
				t.Delete(engine.SpaceBlock, append([]byte(nil), it.Key()...))
			}
			if done = pages < sweepBatch; done {
				t.Delete(engine.SpaceBlobQueue, w.Key)
			}
			return it.Close()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// sweepPending takes away uncommitted blocks whose epoch is over, or is a week behind the last block.
func (s *Service) sweepPending(ctx context.Context, p *place, w *record.Work) error {
	for done := false; !done; {
		err := s.change(ctx, p, func(t *txn) error {
			h, err := getPending(t.Tx, p)
			if err != nil {
				return err
			}
			if h != nil && h.Epoch == w.Stamp {
				if h.Last+uncommittedLife > s.now() {
					done = true
					return nil
				}
				t.Delete(engine.SpaceBlock, record.PendingKey(p.key))
				t.Delete(engine.SpaceUncommitted, p.key)
			}
			n := 0
			err = visitPending(t.Tx, p, &record.Pending{Epoch: w.Stamp}, func(b *block) error {
				if n += 1 + len(b.Chunks); n > 10*sweepBatch && n > 1+len(b.Chunks) {
					return errEnough
				}
				t.releaseAll(b.Chunks)
				t.used.Bytes -= b.Size
				t.Delete(engine.SpaceBlock, append(record.PendingPrefix(p.key, w.Stamp), b.ID...))
				return nil
			})
			if errors.Is(err, errEnough) {
				return nil
			}
			if done = err == nil; done {
				t.Delete(engine.SpaceBlobQueue, w.Key)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

var errEnough = errors.New("enough for one transaction")

// contents are the spaces with what lies in a container, in the order in which names are looked for.
var contents = [...]engine.Space{engine.SpaceBlob, engine.SpaceBlobHistory, engine.SpaceUncommitted}

// sweepContainer empties a dead generation, name by name.
func (s *Service) sweepContainer(ctx context.Context, w *record.Work) error {
	died, ok := record.DecodeStamp(w.Value)
	if !ok {
		return record.ErrBlob
	}
	name, _, _ := record.CutZero(w.Partition)
	owner := &account.Account{Name: string(name)}
	generation := record.AppendGeneration(nil, record.Generation(w.Stamp))
	for {
		var names [][]byte
		var rest bool
		err := s.store.View(ctx, generation, func(r engine.Reader) error {
			upper := record.After(append([]byte(nil), generation...))
			for _, space := range contents {
				it := r.Scan(space, generation, upper)
				for ok := it.Next(); ok && len(names) < sweepBatch; {
					_, n, good := record.SplitKey(it.Key())
					if !good {
						ok = it.Next()
						continue
					}
					partition := append([]byte(nil), it.Key()[:n]...)
					names = append(names, partition)
					ok = it.SeekGE(record.After(append([]byte(nil), partition...)))
				}
				if err := it.Close(); err != nil {
					return err
				}
				if len(names) > 0 {
					return nil
				}
			}
			// What is still queued under the generation comes later in the same pass, or in the next.
			it := r.Scan(engine.SpaceBlobQueue, generation, upper)
			rest = it.Next()
			return it.Close()
		})
		if err != nil {
			return err
		}
		if len(names) == 0 {
			if rest || died >= s.started && died+lateWrite > s.now() {
				return nil
			}
			if err := s.dropTagIndex(ctx, owner.Name, record.Generation(w.Stamp)); err != nil {
				return err
			}
			place := containerPlace(owner.Name, record.Generation(w.Stamp))
			err := s.store.Update(ctx, w.Partition, func(tx engine.Tx) error {
				place.Drop(tx)
				tx.Delete(engine.SpaceBlobQueue, w.Key)
				return nil
			})
			if err == nil {
				s.usage.Dropped(&place)
			}
			return err
		}
		for _, partition := range names {
			name, _, _ := record.SplitKey(partition)
			p := &place{owner, record.Generation(w.Stamp), string(name), partition}
			for done := false; !done; {
				err := s.change(ctx, p, func(t *txn) (err error) {
					done, err = t.purge()
					return err
				})
				if err != nil {
					return err
				}
			}
		}
	}
}

// purge takes a name away for good, with its history. Long content goes by work items of its own. It returns false if there
// was too much history for one transaction.
func (t *txn) purge() (done bool, err error) {
	upper := record.After(append([]byte(nil), t.key...))
	it := t.Scan(engine.SpaceBlobHistory, t.key, upper)
	defer it.Close()
	n := 0
	for ; n < sweepBatch && it.Next(); n++ {
		slot, ok := record.ParseSlot(it.Key()[len(t.key):])
		if !ok {
			return false, record.ErrBlob
		}
		rec, err := t.Record(slot)
		if err != nil {
			return false, err
		}
		if err := t.erase(slot, rec); err != nil {
			return false, err
		}
	}
	if err := it.Close(); err != nil || n == sweepBatch {
		return false, err
	}
	rec, err := t.Record(record.Slot{})
	if err != nil {
		return false, err
	}
	if rec != nil {
		t.used = t.used.Minus(engine.Amount{Bytes: rec.Size, Objects: 1})
		if err := t.drop(rec, record.Slot{}, false); err != nil {
			return false, err
		}
		t.Delete(engine.SpaceBlob, t.key)
	}
	t.Delete(engine.SpaceUncommitted, t.key)
	return true, t.dropPending()
}
