package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/extent"
)

// held is the snapshots that are not closed. A collection drops no extent, and no forward, that one of them needs. A snapshot that is made
// while a collection runs need not be seen by it: what it shows was owned, or protected, at the moment of the collection too.
type held struct {
	mu    sync.Mutex // not held while a snapshot is read: that may take as long as a collection, and reads and backups would wait for it
	snaps []*snapshot
}

// snapshot implements engine.Snapshot.
type snapshot struct {
	*sharedSnapshot
	store *Store
	stamp engine.Stamp
}

// Snapshot implements engine.Snapshotter. The store is not closed before it is.
func (s *Store) Snapshot(ctx context.Context) (_ engine.Snapshot, err error) {
	if !s.gate.enter() {
		return nil, engine.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		s.gate.leave()
		return nil, err
	}
	h := &snapshot{store: s}
	s.held.mu.Lock()
	h.sharedSnapshot = &sharedSnapshot{snap: s.db.NewSnapshot()}
	h.users.Store(1)
	s.held.snaps = append(s.held.snaps, h)
	s.held.mu.Unlock()
	if h.stamp, err = h.limit(); err == nil {
		err = s.synced() // it may show what is on its way to the disk
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("snapshot: %w", err), h.Close())
	}
	return h, nil
}

func (h *snapshot) limit() (engine.Stamp, error) {
	r := &reader{src: h.snap}
	defer r.release()
	n, err := r.integer(sysStamp, nil)
	return engine.Stamp(n), err
}

// Close implements engine.Snapshot.
func (h *snapshot) Close() error {
	s := h.store
	s.held.mu.Lock()
	i := slices.Index(s.held.snaps, h)
	if i >= 0 {
		s.held.snaps = slices.Delete(s.held.snaps, i, i+1)
	}
	s.held.mu.Unlock()
	if i < 0 {
		return nil
	}
	h.leave()
	s.released.Store(true) // what only it has kept is garbage now
	s.gate.leave()
	return nil
}

// Store implements engine.Snapshot.
func (h *snapshot) Store() [16]byte { return h.store.disks.Store }

// Stamp implements engine.Snapshot.
func (h *snapshot) Stamp() engine.Stamp { return h.stamp }

// Entries implements engine.Snapshot.
func (h *snapshot) Entries(ctx context.Context, fn func(space engine.Space, key, value []byte) error) error {
	return h.each(ctx, []byte{byte(engine.SpaceSystem) + 1}, []byte{0xff}, func(key, v []byte) error {
		return fn(engine.Space(key[0]), key[1:], v)
	})
}

// Counters implements engine.Snapshot.
func (h *snapshot) Counters(ctx context.Context, fn func(name []byte, value engine.Amount) error) error {
	return h.each(ctx, systemKey(sysCounter, nil), systemKey(sysCounter+1, nil), func(key, v []byte) error {
		n, err := decodeAmount(v)
		if err != nil {
			return fmt.Errorf("counter %q: %w: %w", key[2:], engine.ErrCorrupt, err)
		}
		if n == (engine.Amount{}) {
			return nil
		}
		return fn(key[2:], n)
	})
}

func (h *snapshot) each(ctx context.Context, lower, upper []byte, fn func(key, v []byte) error) error {
	it, err := h.snap.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return kind(err)
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		if err = ctx.Err(); err != nil {
			break
		}
		v, verr := it.ValueAndErr()
		if verr != nil {
			err = kind(verr)
			break
		}
		err = fn(it.Key(), v)
	}
	return errors.Join(err, kind(it.Close()))
}

// Chunks implements engine.Snapshot.
func (h *snapshot) Chunks(ctx context.Context, fn func(ref engine.Ref, size, owners int64) error) error {
	return h.store.ownersIn(ctx, h.snap, func(ref engine.Ref, n int64) error { return fn(ref, extent.Size(ref), n) })
}

// enter returns the snapshots that are not closed. The caller leaves each.
func (l *held) enter() []*snapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.snaps {
		h.join()
	}
	return slices.Clone(l.snaps)
}

func leaveAll(snaps []*snapshot) {
	for _, h := range snaps {
		h.leave()
	}
}

// owned tells whether a chunk has an owner in a snapshot.
func (l *held) owned(ref engine.Ref) (bool, error) {
	snaps := l.enter()
	defer leaveAll(snaps)
	for _, h := range snaps {
		r := &reader{src: h.snap}
		n, err := r.integer(sysRef, ref[:])
		r.release()
		if err != nil || n > 0 {
			return n > 0, err
		}
	}
	return false, nil
}

// onlyThere runs fn on the chunks that have owners in a snapshot, and none in now.
func (l *held) onlyThere(ctx context.Context, s *Store, now source, fn func(engine.Ref)) error {
	snaps := l.enter()
	defer leaveAll(snaps)
	for _, h := range snaps {
		it, err := now.NewIter(&pebble.IterOptions{LowerBound: systemKey(sysRef, nil), UpperBound: systemKey(sysRef+1, nil)})
		if err != nil {
			return kind(err)
		}
		more := it.First()
		err = s.eachRef(ctx, h.snap, sysRef, func(ref engine.Ref, v []byte) error {
			if n, err := decodeInt(v); err != nil || n == 0 {
				return err
			}
			for more && bytes.Compare(it.Key()[2:], ref[:]) < 0 {
				more = it.Next()
			}
			if more && bytes.Equal(it.Key()[2:], ref[:]) {
				v, err := it.ValueAndErr()
				if err != nil {
					return kind(err)
				}
				if n, err := decodeInt(v); err != nil || n > 0 {
					return err
				}
			}
			fn(ref)
			return nil
		})
		if err = errors.Join(err, kind(it.Close())); err != nil {
			return err
		}
	}
	return nil
}
