package local

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/extent"
)

// While a disk is missing or failed, chunks are stored without their part on it. The transaction that retains such a chunk records
// its extent as incomplete in the same commit, so that the next start with all disks knows what to heal, also after a crash.

// incomplete is the set of extents that are recorded as incomplete.
type incomplete struct {
	mu  sync.Mutex
	ids map[uint64]bool
}

func (i *incomplete) has(id uint64) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.ids[id]
}

func (i *incomplete) set(id uint64, is bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ids == nil {
		i.ids = make(map[uint64]bool)
	}
	if is {
		i.ids[id] = true
	} else {
		delete(i.ids, id)
	}
}

func (i *incomplete) all() []uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	ids := make([]uint64, 0, len(i.ids))
	for id := range i.ids {
		ids = append(ids, id)
	}
	return ids
}

// noteIncomplete adds to the batch the extents of the chunks it retains that are not recorded yet.
func (t *tx) noteIncomplete() error {
	for _, ref := range t.retained {
		id := extent.ID(ref)
		if !t.store.incomplete.has(id) {
			if err := t.batch.Set(systemKey(sysIncomplete, binary.BigEndian.AppendUint64(nil, id)), nil, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// notedIncomplete remembers what noteIncomplete added, once it is applied: whoever relies on it is behind it in the log.
func (t *tx) notedIncomplete() {
	for _, ref := range t.retained {
		t.store.incomplete.set(extent.ID(ref), true)
	}
}

// loadIncomplete reads the records at start.
func (s *Store) loadIncomplete() error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: systemKey(sysIncomplete, nil), UpperBound: systemKey(sysIncomplete+1, nil)})
	if err != nil {
		return kind(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		key := it.Key()[2:]
		if len(key) != 8 {
			return errors.Join(fmt.Errorf("incomplete extent %x: %w", key, engine.ErrCorrupt), it.Close())
		}
		s.incomplete.set(binary.BigEndian.Uint64(key), true)
	}
	return kind(it.Close())
}

// Heal rebuilds what is missing of extents since a disk was away, if all disks are there, and repairs the metadata replicas.
func (s *Store) Heal(ctx context.Context) error {
	if !s.gate.enter() {
		return engine.ErrClosed
	}
	defer s.gate.leave()
	err := s.healExtents(ctx)
	if s.meta != nil {
		tick := time.NewTicker(time.Second * verifyStep / verifyRate)
		defer tick.Stop()
		if _, serr := s.meta.Scrub(ctx, pacer(tick.C, verifyStep)); serr != nil {
			err = errors.Join(err, serr)
		}
	}
	return err
}

// The metadata replicas are read beside the first requests of a start, when the caches are empty and the disks busy: no faster than a
// third of what a hard disk gives, so that the requests have the rest of it. Nothing waits for the end.
const (
	verifyRate = 64 << 20 // bytes a second
	verifyStep = 1 << 20  // bytes that are read at a time
)

// pacer returns a function that lets a step of bytes pass at each tick.
func pacer(tick <-chan time.Time, step int) func(ctx context.Context, bytes int) {
	passed := 0
	return func(ctx context.Context, bytes int) {
		for passed += bytes; passed >= step; passed -= step {
			select {
			case <-tick:
			case <-ctx.Done():
				return
			}
		}
	}
}

// healExtents rebuilds what is missing of extents.
func (s *Store) healExtents(ctx context.Context) error {
	if s.extents.Failed() {
		return nil
	}
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(s.unhealed())) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.healExtent(ctx, id); err != nil { // no reason to leave the others as they are
			errs = append(errs, fmt.Errorf("heal extent %016x: %w", id, err))
		}
		if s.extents.Failed() {
			break
		}
	}
	return errors.Join(errs...)
}

func (s *Store) healExtent(ctx context.Context, id uint64) error {
	_, err := s.extents.Heal(ctx, id)
	if err != nil && !errors.Is(err, engine.ErrNotFound) { // not found: it was collected
		return err
	}
	if s.extents.Failed() || !s.incomplete.has(id) {
		return nil
	}
	if err := s.complete(id); err != nil {
		return err
	}
	s.incomplete.set(id, false)
	s.did.healed.Add(1)
	s.log.Info("healed an extent", zap.Uint64("extent", id))
	return nil
}

// unhealed is the set of extents that lack something.
func (s *Store) unhealed() map[uint64]bool {
	due := make(map[uint64]bool)
	for _, id := range s.incomplete.all() {
		due[id] = true
	}
	for _, id := range s.extents.Lacking() {
		due[id] = true
	}
	for _, info := range s.extents.Extents() {
		if info.Missing > 0 {
			due[info.ID] = true
		}
	}
	return due
}

// complete removes the record of an extent.
func (s *Store) complete(id uint64) error {
	b := s.db.NewBatch()
	defer b.Close()
	if err := b.Delete(systemKey(sysIncomplete, binary.BigEndian.AppendUint64(nil, id)), nil); err != nil {
		return err
	}
	return s.commit(b)
}

// healEvery is how often what could not be healed is tried again.
const (
	healEvery = time.Minute
	healRetry = 5 * time.Second // after a failure: what is not healed may be all that is left
)

// runHealer heals at the start, when a disk is in use again, and from time to time what could not be healed before.
func (s *Store) runHealer(ctx context.Context) {
	tick := time.NewTicker(healEvery)
	defer tick.Stop()
	for heal := s.Heal; ; heal = s.healExtents {
		var again <-chan time.Time
		if err := heal(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, engine.ErrClosed) {
			s.did.healFails.Add(1)
			s.log.Error("healing did not finish; it is tried again", zap.Error(err))
			again = time.After(healRetry)
		}
		if len(s.unhealed()) == 0 {
			s.did.whole.Store(s.opts.Now().UnixNano())
		}
		select {
		case <-ctx.Done():
			return
		case <-s.healDue:
		case <-tick.C:
		case <-again:
		}
	}
}

// healSoon has runHealer look for what to heal.
func (s *Store) healSoon() {
	select {
	case s.healDue <- struct{}{}:
	default:
	}
}
