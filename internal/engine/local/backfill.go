package local

import (
	"context"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/speedup"
)

const (
	backfillRun   = 4096 // keys that are read at a time
	backfillShare = 4    // it works for one part in so many of the time
)

// backfill adds the keys of before the start to the Bloom filter, unless they are too many for its bits. It runs in the background while
// requests are served.
func (s *Store) backfill(ctx context.Context) {
	f := s.rows.Filter
	left := f.Capacity()
	for space := 0; space < 256; space++ {
		if !engine.Space(space).Filtered() {
			continue
		}
		for lower := []byte{byte(space)}; lower != nil && ctx.Err() == nil; {
			begun := time.Now()
			next, read, err := s.backfillFrom(lower, byte(space)+1)
			if err != nil {
				s.log.Warn("the keys in the store could not be read into the Bloom filter; writes of new ones take a little longer", zap.Error(err))
				return
			}
			if left -= read; left < 0 {
				return
			}
			if lower = next; lower != nil {
				select {
				case <-time.After((backfillShare - 1) * time.Since(begun)):
				case <-ctx.Done():
				}
			}
		}
	}
	if ctx.Err() == nil {
		speedup.FilterReady.Set(1)
		f.Learnt(s.snapshots.applied.Load())
	}
}

// backfillFrom adds a run of keys from lower on and returns where the next begins, nil at the end of the space. Each has an iterator
// of its own: what is written meanwhile is added by its batch.
func (s *Store) backfillFrom(lower []byte, end byte) (next []byte, read int, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: []byte{end}})
	if err != nil {
		return nil, 0, kind(err)
	}
	for valid := it.First(); valid; valid = it.Next() {
		if read == backfillRun {
			next = append([]byte(nil), it.Key()...)
			break
		}
		s.rows.Filter.Add(s.rows.Hash(it.Key()))
		read++
	}
	return next, read, kind(it.Close())
}
