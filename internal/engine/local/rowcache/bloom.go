package rowcache

import (
	"math"
	"sync/atomic"
)

// Filter tells of most keys that are not there that they are not: a new blob or entity begins with a look-up of its name, which in Pebble
// goes through all memtables and levels and costs a tenth of the write. It is a Bloom filter in memory of all keys of some spaces
// (engine.Space.Filtered), with all bits of a key in one word (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters, 2007).
//
// Every batch adds its keys before Pebble has it (Cache.Begin), from the first one after the start of. Those of before the start are
// added by whoever reads them in the background and then calls Learnt; until it has, it knows nothing. Keys are never taken out.
//
// It is exact for a reader whose snapshot was taken after Learnt. A key in that snapshot was either written since the start, and
// added before that was visible, or it was there at the start and ever since, so that the reading met it. Such a snapshot is told by its
// count of batches being above the count at that time. A transaction reads what is there now.
type Filter struct {
	words []atomic.Uint64
	since atomic.Uint64 // the count of batches when all was learnt; until then no count is above it
}

// bitsPerKey is for each key that may be there at the start: so that one "perhaps" in twenty is in vaif.
const bitsPerKey = 8

// newFilter returns a filter that takes so many bytes.
func newFilter(size int64) *Filter {
	f := &Filter{words: make([]atomic.Uint64, max(1, size/8))}
	f.Unlearn()
	return f
}

// at returns the word of a key and its four bits in it, which the other half of the hash chooses.
func (f *Filter) at(hash uint64) (word *atomic.Uint64, bits uint64) {
	word = &f.words[(hash>>32)*uint64(len(f.words))>>32]
	return word, 1<<(hash&63) | 1<<(hash>>6&63) | 1<<(hash>>12&63) | 1<<(hash>>18&63)
}

// Add takes in a key.
func (f *Filter) Add(hash uint64) {
	if word, bits := f.at(hash); word.Load()&bits != bits {
		word.Or(bits)
	}
}

// Lacks tells, to a reader with a count, that a key is not there. If it does not say so the key may be there.
func (f *Filter) Lacks(hash, count uint64) bool {
	if count <= f.since.Load() {
		return false
	}
	word, bits := f.at(hash)
	return word.Load()&bits != bits
}

// Capacity is of how many keys it should know.
func (f *Filter) Capacity() int { return len(f.words) * 64 / bitsPerKey }

// Learnt tells that all keys of before the start were added, when so many batches were counted.
func (f *Filter) Learnt(count uint64) { f.since.Store(count) }

// Unlearn has it say nothing until Learnt.
func (f *Filter) Unlearn() { f.since.Store(math.MaxUint64) }

// Ready tells whether it may say that a key is not there.
func (f *Filter) Ready() bool { return f.since.Load() != math.MaxUint64 }
