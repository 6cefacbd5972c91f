package local

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/speedup"
)

// names tells of most keys that are not there that they are not: a new blob or entity begins with a look-up of its name, which in Pebble
// goes through all memtables and levels and costs a tenth of the write. It is a Bloom filter in memory of all keys of some spaces
// (named), with all bits of a key in one word (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters, 2007).
//
// Every batch adds its keys before Pebble has it (rows.begin), from the first one after the start on. Those of before the start are
// added by learn, which reads them in the background; until it has, names knows nothing. Keys are never taken out.
//
// It is exact for a reader whose snapshot was taken after learn was done. A key in that snapshot was either written since the start, and
// added before that was visible, or it was there at the start and ever since, so that learn met it. Such a snapshot is told by its
// count of batches being above the count at that time. A transaction reads what is there now.
type names struct {
	words []atomic.Uint64
	since atomic.Uint64 // the count of batches when all was learnt; until then no count is above it
}

const (
	perName    = 8    // bits for each key that may be there at the start: so that one "perhaps" in twenty is in vain
	lesson     = 4096 // keys that learn reads at a time
	learnShare = 4    // learn works for one part in so many of the time
)

// newNames returns names that take so many bytes.
func newNames(size int64) *names {
	n := &names{words: make([]atomic.Uint64, max(1, size/8))}
	n.since.Store(math.MaxUint64)
	return n
}

// named tells whether the keys of a space are in names: where new keys are looked up all the time.
func named(space byte) bool {
	switch engine.Space(space) {
	case engine.SpaceBlob, engine.SpaceBlock, engine.SpaceEntity:
		return true
	}
	return false
}

// at returns the word of a key and its four bits in it, which the other half of the hash chooses.
func (n *names) at(hash uint64) (word *atomic.Uint64, bits uint64) {
	word = &n.words[(hash>>32)*uint64(len(n.words))>>32]
	return word, 1<<(hash&63) | 1<<(hash>>6&63) | 1<<(hash>>12&63) | 1<<(hash>>18&63)
}

// add takes in a key.
func (n *names) add(hash uint64) {
	if word, bits := n.at(hash); word.Load()&bits != bits {
		word.Or(bits)
	}
}

// lacks tells, to a reader with a count, that a key is not there. If it does not say so the key may be there.
func (n *names) lacks(hash, count uint64) bool {
	if count <= n.since.Load() {
		return false
	}
	word, bits := n.at(hash)
	return word.Load()&bits != bits
}

// learn adds the keys of before the start, unless they are too many for the bits. It works beside the first requests of a start.
func (s *Store) learn(ctx context.Context) {
	n := s.rows.names
	left := len(n.words) * 64 / perName
	for space := 0; space < 256; space++ {
		if !named(byte(space)) {
			continue
		}
		for lower := []byte{byte(space)}; lower != nil && ctx.Err() == nil; {
			begun := time.Now()
			next, read, err := s.learnFrom(lower, byte(space)+1)
			if err != nil {
				s.log.Warn("the names in the store are not known; writes of new ones take a little longer", zap.Error(err))
				return
			}
			if left -= read; left < 0 {
				return
			}
			if lower = next; lower != nil {
				select {
				case <-time.After((learnShare - 1) * time.Since(begun)):
				case <-ctx.Done():
				}
			}
		}
	}
	if ctx.Err() == nil {
		speedup.FilterReady.Set(1)
		n.since.Store(s.moments.applied.Load())
	}
}

// learnFrom adds a lesson of keys from lower on and returns where the next begins, nil at the end of the space. Each has an iterator
// of its own: what is written meanwhile is added by its batch.
func (s *Store) learnFrom(lower []byte, end byte) (next []byte, read int, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: []byte{end}})
	if err != nil {
		return nil, 0, kind(err)
	}
	for valid := it.First(); valid; valid = it.Next() {
		if read == lesson {
			next = append([]byte(nil), it.Key()...)
			break
		}
		s.rows.names.add(s.rows.hash(it.Key()))
		read++
	}
	return next, read, kind(it.Close())
}
