package local

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/invariants"
)

// View implements engine.Store.
//
// It does not know whether scope is one partition or wider, and waits for the stripe that scope hashes to. For a partition that is the
// one in which its transactions queue; for a wider scope it is an unrelated one, in which a wait is rare and short.
func (s *Store) View(ctx context.Context, scope []byte, fn func(engine.Reader) error) error {
	if !s.gate.enter() {
		return engine.ErrClosed
	}
	defer s.gate.leave()
	if err := ctx.Err(); err != nil {
		return err
	}
	err := s.view(fn)
	// What fn saw of the partition, and the error it made of it, may rest on a transaction whose sync is under way.
	if werr := s.stripes.of(scope).wait(s.state); werr != nil {
		return werr
	}
	return err
}

func (s *Store) view(fn func(engine.Reader) error) error {
	at := s.snapshots.enter(s.db)
	r := readerPool.Get().(*reader)
	r.src, r.rows, r.count, r.adds = at.snap, s.rows, at.applied, true
	defer func() {
		r.release()
		readerPool.Put(r)
		at.leave()
	}()
	return fn(r)
}

var readerPool = sync.Pool{New: func() any { return new(reader) }}

// Update implements engine.Store.
func (s *Store) Update(ctx context.Context, partition []byte, fn func(engine.Tx) error) error {
	if !s.gate.enter() {
		return engine.ErrClosed
	}
	defer s.gate.leave()
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.state.logging(); err != nil {
		return err
	}
	t := txPool.Get().(*tx)
	defer func() {
		t.reset()
		txPool.Put(t)
	}()
	t.begin(s, partition)

	p := s.stripes.of(partition)
	seq, err := s.run(p, t, fn)
	if t.waits != nil {
		seq, err = s.runWhenRoom(ctx, p, t, fn, err)
	}
	if err != nil || seq == 0 {
		// The refusal, too, may rest on a transaction whose sync is under way.
		if werr := p.wait(s.state); werr != nil {
			return werr
		}
		return err
	}
	limit := t.limit
	g := s.syncs.Begin()
	ended, err := g.Wait()
	err = commitError(err)
	if !ended {
		// Nobody knows yet what becomes of it: the log's disk will tell, some time.
		go func() {
			s.endCommit(p, seq, limit, commitError(g.Outcome()))
		}()
		return err
	}
	s.endCommit(p, seq, limit, err)
	return err
}

// freeingPatience is how long a transaction waits that frees space: less than clients' own patience, and than a server takes to stop.
const freeingPatience = 10 * time.Second

// runWhenRoom runs fn again, which makes room and was refused with err, until there is room for that, while its patience lasts.
func (s *Store) runWhenRoom(ctx context.Context, p *stripe, t *tx, fn func(engine.Tx) error, err error) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	var seq uint64
	for t.waits != nil {
		wait, partition := t.waits, t.partition
		t.reset()
		if !s.space.Wait(ctx, wait) {
			return 0, err
		}
		t.begin(s, partition)
		seq, err = s.run(p, t, fn)
	}
	return seq, err
}

// endCommit tells the outcome of a transaction to those who build on it.
func (s *Store) endCommit(p *stripe, seq uint64, limit engine.Stamp, err error) {
	p.endCommit(seq, err)
	if err == nil && limit != 0 {
		s.clock.durable(limit)
	}
}

// run runs fn under the stripe's lock and queues what it wrote, as number seq of the stripe; 0 if it wrote nothing.
func (s *Store) run(p *stripe, t *tx, fn func(engine.Tx) error) (seq uint64, err error) {
	p.tx.Lock()
	defer p.tx.Unlock()
	if err := fn(t); err != nil {
		return 0, err
	}
	if invariants.Enabled && t.err == nil && rand.N(8) == 0 {
		// fn may be run again, and must come to the same.
		partition := t.partition
		t.reset()
		t.begin(s, partition)
		if err := fn(t); err != nil {
			return 0, err
		}
	}
	t.countOwners()
	if t.err != nil {
		return 0, t.err
	}
	if t.batch.Empty() {
		return 0, nil
	}
	if err := t.admit(); err != nil {
		return 0, err
	}
	degraded := false
	if len(t.retained) > 0 {
		s.collecting.RLock()
		defer s.collecting.RUnlock()
		if err := t.checkRetained(); err != nil {
			return 0, err
		}
		if degraded = s.extents.Degraded(); degraded {
			if err := t.noteIncomplete(); err != nil {
				return 0, err
			}
		}
	}
	seq = p.queue()
	if err := s.apply(t.batch); err != nil {
		p.endCommit(seq, err)
		t.batch = nil // Pebble may still hold it
		return 0, err
	}
	if degraded {
		t.notedIncomplete()
	}
	return seq, nil
}

// apply queues a batch: it is visible, and durable once synced returns. Pebble panics once its log has failed: that becomes the
// store's failure.
func (s *Store) apply(b *pebble.Batch) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("commit: %w", s.fail(fmt.Errorf("%v", r)))
		}
	}()
	if err := s.state.Failed(); err != nil {
		return err
	}
	var buf [16]uint64
	w, err := s.rows.Begin(b, buf[:0])
	if err != nil {
		return fmt.Errorf("commit: %w", s.fail(err))
	}
	if err := s.db.Apply(b, pebble.NoSync); err != nil {
		return fmt.Errorf("commit: %w", s.fail(err))
	}
	s.rows.End(w, s.snapshots.advance())
	return nil
}

// synced returns when all that was applied before the call is durable: the log is a prefix.
func (s *Store) synced() error {
	_, err := s.syncs.Begin().Wait()
	return commitError(err)
}

func commitError(err error) error {
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// syncMark is the record that is written to have the log synced. It also tells the next start that what lies before it in the log
// was synced, once another one follows: see runConfirm.
var syncMark = []byte("sync")

// syncLog makes what is in the log durable.
func (s *Store) syncLog() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = s.fail(fmt.Errorf("%v", r))
		}
	}()
	if err := s.state.Failed(); err != nil {
		return err
	}
	if err := s.db.LogData(syncMark, pebble.Sync); err != nil {
		return s.fail(err)
	}
	// The log does not hand its errors to Pebble: see package guard.
	return s.state.Failed()
}

// fail makes the store refuse writes from now on and returns the error to give for it.
func (s *Store) fail(err error) error { return s.state.Fail(err) }

// writable returns why the store takes no writes, nil if it does.
func (s *Store) writable() error {
	if err := s.space.Full(); err != nil {
		return err
	}
	return s.state.working()
}

// confirmEvery is how long the store is idle before the end of its log is confirmed.
const confirmEvery = 250 * time.Millisecond

// runConfirm confirms the end of the log when the store falls idle: the last sync is followed by a record that says it was one.
// Without it, damage to the last record and a write that a crash cut off look alike.
func (s *Store) runConfirm(ctx context.Context) {
	tick := time.NewTicker(confirmEvery)
	defer tick.Stop()
	var seen, confirmed uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		n := s.snapshots.applied.Load()
		if n == seen && n != confirmed && s.state.Failed() == nil {
			if err := s.synced(); err != nil {
				if s.state.Failed() != nil {
					return
				}
				continue // the log is held up
			}
			confirmed = n
		}
		seen = n
	}
}
