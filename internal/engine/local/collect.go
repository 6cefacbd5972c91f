package local

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/extent"
)

// Garbage collection frees the space of chunks without owner (reference count 0). It works on whole extents: one in which nothing lives is dropped; one that
// is mostly garbage is emptied first, by copying what lives to the open extent. (docs/design/003-collection.md has the reasons.)
//
// A Ref is never changed in the records that hold it. A chunk that moved leaves a forward (forwarding pointer), old Ref -> new Ref, which is an owner
// of the new one and goes when the old one's owners have.
//
// It is safe to stop, or to crash, at any point, as each step is a durable transaction that leaves a consistent store:
//
//  1. The copy is put. Nobody owns it: garbage, if it ends here.
//  2. The forwards of a run of chunks are committed with their ownership of the copies. Both places are readable.
//  3. The extent is dropped when all that lives in it has a durable forward and everything that made the rest garbage is durable
//     too. An extent whose files come back after a crash has nothing alive in it and is dropped again.

const (
	collectEvery     = 10 * time.Minute
	collectThreshold = 0.5      // an extent with a smaller part alive is emptied
	fullThreshold    = 0.9      // the same, while there is no room
	collectSeal      = 16 << 20 // bytes from which on an open extent that is mostly garbage is closed to new chunks
	collectRun       = 64       // forwards to a transaction
	countsRun        = 4096     // counts to a transaction
	tightRest        = 5 * time.Second
)

// survey is what a collection knows of an extent.
type survey struct {
	info   extent.Info
	live   int64        // bytes of chunks alive in it
	refs   []engine.Ref // those that are owned
	pinned bool         // someone is between Put and Forget of a chunk in it that nobody owns, or a snapshot shows one
	newest bool         // it keeps its id from being given again
}

// Collect frees what is garbage now. Chunks that became garbage while it runs are left for the next time. What fails in one extent is
// no reason to leave the others.
func (s *Store) Collect(ctx context.Context) error {
	if !s.gate.enter() {
		return engine.ErrClosed
	}
	defer s.gate.leave()
	s.collector.Lock()
	defer s.collector.Unlock()
	sealed, err := s.collect(ctx)
	if err == nil && sealed {
		_, err = s.collect(ctx) // what lives in an extent that was open is known only now that it takes no more chunks
	}
	if err != nil {
		return fmt.Errorf("collect: %w", err)
	}
	return nil
}

// collect goes over the extents once, and tells whether it closed one to new chunks.
func (s *Store) collect(ctx context.Context) (sealed bool, err error) {
	defer s.did.collected(time.Now(), &err)
	if err := errors.Join(s.state.Failed(), s.state.held()); err != nil {
		return false, err
	}
	// While memtables cannot be flushed no more is written to them. That extents in which nothing lives are dropped may mend it.
	stuck := s.state.Stuck()
	if !stuck {
		if err := s.sweepForwards(ctx); err != nil {
			return false, err
		}
	}
	all, dead, err := s.survey(ctx)
	if err != nil {
		return false, err
	}
	if !stuck {
		if err := s.dropCounts(dead); err != nil {
			return false, err
		}
	}
	// What made a chunk garbage must not be lost by a crash after its bytes are.
	if err := s.synced(); err != nil {
		return false, err
	}
	var errs []error
	for _, x := range inOrder(all) {
		if err := ctx.Err(); err != nil {
			return sealed, err
		}
		if stuck && x.live > 0 {
			break
		}
		err := s.collectExtent(ctx, x, &sealed)
		if errors.Is(err, engine.ErrClosed) || err != nil && s.state.working() != nil && !stuck {
			return sealed, err
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("extent %016x: %w", x.info.ID, err))
		}
	}
	var left, live int64
	for _, info := range s.extents.Extents() {
		if x := all[info.ID]; x != nil {
			left += max(0, info.Data-x.live)
			live += x.live
		}
	}
	s.garbage.Store(left)
	s.did.live.Store(live + 1)
	return sealed, errors.Join(errs...)
}

// inOrder lists extents as they are collected: first those that give room and take none, then those in which least lives.
func inOrder(all map[uint64]*survey) []*survey {
	list := make([]*survey, 0, len(all))
	for _, x := range all {
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b *survey) int {
		return cmp.Or(cmp.Compare(a.alive(), b.alive()), cmp.Compare(a.info.ID, b.info.ID))
	})
	return list
}

// alive is the part of an extent's content that lives.
func (x *survey) alive() float64 { return float64(x.live) / float64(max(1, x.info.Data)) }

// collectExtent frees an extent if that is worth it. One that is still open is closed to new chunks.
func (s *Store) collectExtent(ctx context.Context, x *survey, sealed *bool) error {
	full := s.space.Short()
	mostly := x.alive() < collectThreshold || full && x.alive() < fullThreshold
	switch {
	case x.info.Data == 0 && (x.info.Open || x.newest):
		return nil
	case x.info.Open:
		if x.live > 0 && (!mostly || x.info.Data < s.opts.SealGarbage && !full) {
			return nil
		}
		err := s.extents.Seal(x.info.ID)
		if errors.Is(err, engine.ErrNotFound) {
			return nil
		}
		*sealed = err == nil
		return err
	case x.pinned:
		return nil
	case x.live == 0:
		return s.extents.Drop(x.info.ID)
	case mostly && s.space.Fits(s.chunkSpace(x.live)): // the copies take room before the extent gives it back
		err := s.empty(ctx, x)
		if full {
			s.space.Look() // there may be enough now
		}
		return err
	}
	return nil
}

// survey finds what lives in each extent, and the chunks without owner whose extent is gone.
//
// The order is what makes it miss nothing. Extents are listed first: in one that is not open then, every chunk is pinned
// or owned or garbage for good. Pins are read before counts: a pin is let go only after the transaction that retains the
// chunk is applied, so a chunk that is missing among the pins is found among the counts. And the counts are read at a moment when
// no transaction is between its check of a chunk that it retains and its application.
func (s *Store) survey(ctx context.Context) (all map[uint64]*survey, dead []engine.Ref, err error) {
	all = make(map[uint64]*survey)
	infos := s.extents.Extents()
	for i, info := range infos {
		all[info.ID] = &survey{info: info, newest: i == len(infos)-1}
	}
	pinned := s.pins.All()
	s.collecting.Lock()
	snap := s.db.NewSnapshot()
	s.collecting.Unlock()
	defer snap.Close()

	r := &reader{src: snap}
	defer r.release()
	for _, ref := range pinned {
		x := all[extent.ID(ref)]
		if x == nil {
			continue
		}
		n, err := r.integer(sysRef, ref[:])
		if err != nil {
			return nil, nil, err
		}
		if n == 0 {
			x.pinned = true
		}
	}
	moved := make(map[engine.Ref]bool)
	if err := s.eachRef(ctx, snap, sysForward, func(ref engine.Ref, _ []byte) error {
		moved[ref] = true
		return nil
	}); err != nil {
		return nil, nil, err
	}
	err = s.eachRef(ctx, snap, sysRef, func(ref engine.Ref, v []byte) error {
		n, err := decodeInt(v)
		if err != nil || n < 0 {
			return fmt.Errorf("chunk %x has %d owners: %w", ref, n, errors.Join(engine.ErrCorrupt, err))
		}
		x := all[extent.ID(ref)]
		switch {
		case n == 0 && x == nil && !moved[ref]:
			dead = append(dead, ref)
			return nil
		case n == 0 || x == nil || moved[ref]:
			return nil
		}
		x.live += extent.Size(ref)
		x.refs = append(x.refs, ref)
		return nil
	})
	if err == nil {
		err = s.held.onlyThere(ctx, s, snap, func(ref engine.Ref) {
			if x := all[extent.ID(ref)]; x != nil {
				x.pinned = true
			}
		})
	}
	return all, dead, err
}

// dropCounts removes the counts of chunks whose extent is gone. They are zero, and nobody can raise them: only an owner could, or who has a
// pin. The survey cannot tell: an extent that it does not know may have been made since, and a chunk of it be pinned, or owned by now.
func (s *Store) dropCounts(dead []engine.Ref) error {
	for len(dead) > 0 {
		n := min(len(dead), countsRun)
		if err := s.dropRun(dead[:n]); err != nil {
			return err
		}
		dead = dead[n:]
	}
	return nil
}

// dropRun looks at each chunk again while no transaction is between its check of what it retains and its application.
func (s *Store) dropRun(dead []engine.Ref) error {
	s.collecting.Lock()
	defer s.collecting.Unlock()
	b := s.db.NewBatch()
	defer b.Close()
	for _, ref := range dead {
		gone, err := s.gone(ref)
		if err != nil {
			return err
		}
		if !gone || s.extents.Has(extent.ID(ref)) {
			continue
		}
		if err := b.Delete(systemKey(sysRef, ref[:]), nil); err != nil {
			return err
		}
	}
	if b.Empty() {
		return nil
	}
	return s.apply(b)
}

// eachRef runs fn on the entries of a family that is keyed by Ref.
func (s *Store) eachRef(ctx context.Context, src source, family byte, fn func(ref engine.Ref, v []byte) error) error {
	it, err := src.NewIter(&pebble.IterOptions{LowerBound: systemKey(family, nil), UpperBound: systemKey(family+1, nil)})
	if err != nil {
		return kind(err)
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		if err = ctx.Err(); err != nil {
			break
		}
		key := it.Key()[2:]
		v, verr := it.ValueAndErr()
		switch {
		case verr != nil:
			err = kind(verr)
		case len(key) != len(engine.Ref{}):
			err = fmt.Errorf("key %x of family %c: %w", key, family, engine.ErrCorrupt)
		default:
			err = fn(engine.Ref(key), v)
		}
	}
	return errors.Join(err, kind(it.Close()))
}

// empty copies what lives in an extent elsewhere, and drops it. A chunk that cannot be read stays, and the extent with it, until its
// owners let go of it.
func (s *Store) empty(ctx context.Context, x *survey) error {
	refs := slices.DeleteFunc(x.refs, func(ref engine.Ref) bool { return s.damaged[ref] })
	stays := len(x.refs) > len(refs)
	if len(refs) == 0 {
		return nil
	}
	s.noteForwarded(x.info.ID) // before the first forward is there: a reader that finds no chunk looks for one
	buf := make([]byte, 0, engine.MaxChunk)
	for len(refs) > 0 {
		n := min(len(refs), collectRun)
		moved, err := s.move(ctx, refs[:n], buf)
		if err != nil {
			return err
		}
		stays = stays || moved < n
		refs = refs[n:]
	}
	if stays {
		return nil
	}
	if err := s.extents.Drop(x.info.ID); err != nil {
		return err
	}
	s.log.Info("collected an extent", zap.Uint64("extent", x.info.ID), zap.Int64("bytes", x.info.Data), zap.Int64("moved", x.live))
	return nil
}

// move copies chunks to the open extent and commits their forwards. It tells how many could be read.
func (s *Store) move(ctx context.Context, refs []engine.Ref, buf []byte) (moved int, err error) {
	b := s.db.NewBatch()
	defer b.Close()
	var copies []engine.Ref
	defer func() { s.Forget(copies...) }()
	for _, ref := range refs {
		// It is read whole before any of it is written: what cannot be read would leave half a copy at every collection.
		content := buf[:extent.Size(ref)]
		if err := s.readWhole(ctx, ref, content); err != nil {
			if ok := s.noteDamaged(ref, err); ok {
				continue
			}
			return 0, err
		}
		c, err := s.extents.Put(ctx, bytes.NewReader(content), int64(len(content)))
		if err != nil {
			return 0, kind(err)
		}
		copies = append(copies, c.Ref)
		err = errors.Join(b.Set(systemKey(sysForward, ref[:]), c.Ref[:], nil),
			b.Merge(systemKey(sysRef, c.Ref[:]), appendInt(nil, 1), nil))
		if err != nil {
			return 0, err
		}
	}
	if b.Empty() {
		return 0, nil
	}
	if err := s.commit(b); err != nil {
		return len(copies), err
	}
	for _, ref := range copies {
		s.did.moved.Add(extent.Size(ref))
	}
	return len(copies), nil
}

func (s *Store) readWhole(ctx context.Context, ref engine.Ref, p []byte) error {
	r, err := s.extents.Open(ctx, ref, 0, int64(len(p)))
	if err != nil {
		return err
	}
	_, err = io.ReadFull(r, p)
	return errors.Join(err, r.Close())
}

// noteDamaged tells whether a collection passes over a chunk for an error. One that is damaged is not read again by this process; one
// of which too little is there now may be whole when the disks are back.
func (s *Store) noteDamaged(ref engine.Ref, err error) bool {
	if !errors.Is(err, engine.ErrCorrupt) {
		return errors.Is(err, engine.ErrUnavailable)
	}
	s.log.Error("a chunk is damaged and cannot be rebuilt; it stays where it is, and its extent with it",
		zap.String("chunk", fmt.Sprintf("%x", ref)), zap.Uint64("extent", extent.ID(ref)), zap.Error(err))
	if s.damaged == nil {
		s.damaged = make(map[engine.Ref]bool)
	}
	s.damaged[ref] = true
	return true
}

// sweepForwards removes the forwards of chunks that nobody owns any more, and lets a chain of them end in one step.
func (s *Store) sweepForwards(ctx context.Context) error {
	if s.forwarded.Load() == nil {
		return nil
	}
	s.collecting.Lock()
	defer s.collecting.Unlock()
	b := s.db.NewBatch()
	defer b.Close()
	r := &reader{src: s.db}
	defer r.release()
	left := make(map[uint64]struct{})
	err := s.eachRef(ctx, s.db, sysForward, func(ref engine.Ref, v []byte) error {
		if len(v) != len(engine.Ref{}) {
			return fmt.Errorf("forward of chunk %x: %w", ref, engine.ErrCorrupt)
		}
		next := engine.Ref(v)
		n, err := r.integer(sysRef, ref[:])
		if err != nil {
			return err
		}
		held := false
		if n == 0 {
			if held, err = s.held.owned(ref); err != nil {
				return err
			}
		}
		if n == 0 && !held && !s.pins.pinned(ref) {
			return errors.Join(b.Delete(systemKey(sysForward, ref[:]), nil),
				b.Merge(systemKey(sysRef, next[:]), appendInt(nil, -1), nil))
		}
		left[extent.ID(ref)] = struct{}{}
		end, err := s.resolve(next)
		if err != nil || end == next {
			return err
		}
		return errors.Join(b.Set(systemKey(sysForward, ref[:]), end[:], nil),
			b.Merge(systemKey(sysRef, next[:]), appendInt(nil, -1), nil),
			b.Merge(systemKey(sysRef, end[:]), appendInt(nil, 1), nil))
	})
	if err != nil {
		return err
	}
	if !b.Empty() {
		if err := s.commit(b); err != nil {
			return err
		}
	}
	if len(left) == 0 {
		s.forwarded.Store(nil)
	} else {
		s.forwarded.Store(&left)
	}
	return nil
}

// noteForwarded lets resolve look for forwards of chunks in an extent. Only the collector changes the set.
func (s *Store) noteForwarded(id uint64) {
	set := map[uint64]struct{}{id: {}}
	if old := s.forwarded.Load(); old != nil {
		for k := range *old {
			set[k] = struct{}{}
		}
	}
	s.forwarded.Store(&set)
}

// loadForwarded finds the extents with forwards at start.
func (s *Store) loadForwarded() error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: systemKey(sysForward, nil), UpperBound: systemKey(sysForward+1, nil)})
	if err != nil {
		return kind(err)
	}
	for ok := it.First(); ok; {
		key := it.Key()[2:]
		if len(key) != len(engine.Ref{}) {
			return errors.Join(fmt.Errorf("forward %x: %w", key, engine.ErrCorrupt), it.Close())
		}
		ref := engine.Ref(key)
		id := extent.ID(ref)
		s.noteForwarded(id)
		for i := range 8 {
			ref[i] = byte((id + 1) >> (56 - 8*i))
		}
		clear(ref[8:])
		if id == math.MaxUint64 {
			break
		}
		ok = it.SeekGE(systemKey(sysForward, ref[:]))
	}
	return kind(it.Close())
}

// commit applies a batch of the engine's own and returns when it is durable.
func (s *Store) commit(b *pebble.Batch) error {
	if err := s.apply(b); err != nil {
		return err
	}
	return s.synced()
}

// runCollector collects at the start, as what an earlier run left is garbage that nobody will tell of: a process may live for seconds,
// and leave as much each time. Then it collects from time to time, if something was released since, and when it is asked to.
func (s *Store) runCollector(ctx context.Context) {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	var freed uint64 // s.freed when room was last made on a full disk
	again := true    // it was not finished then
	for first := true; ; first = false {
		if now := s.freed.Load(); s.space.Short() && (again || now != freed) {
			freed = now
			s.released.Store(false)
			begun := time.Now()
			again = s.noteCollected(ctx, s.reclaim(ctx))
			// The others have their turn. Where writers find room it may be long: there is little else to gain.
			rest := time.Since(begun)
			if again || s.space.Full() == nil {
				rest = max(rest, tightRest)
			}
			select {
			case <-ctx.Done():
			case <-time.After(rest):
			}
		} else if s.released.Swap(false) || first {
			if s.noteCollected(ctx, s.Collect(ctx)) {
				s.released.Store(true)
			}
		}
		if first {
			close(s.collected)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.collectDue:
		}
	}
}

// noteCollected says how a collection ended, and tells whether it is to be made again.
func (s *Store) noteCollected(ctx context.Context, err error) (again bool) {
	if err == nil || ctx.Err() != nil || errors.Is(err, engine.ErrClosed) || s.state.Failed() != nil {
		return false
	}
	s.log.Warn("collection did not finish", zap.Error(err))
	return true
}
