// Package rowcache answers look-ups of the key space from memory. The row cache (Cache) keeps values that are read again and again: a
// look-up in Pebble makes an iterator on every level, which costs more than the rest of a small read. The Bloom filter (Filter) tells of
// most keys that are not there that they are not.
//
// A hit is exactly what the snapshot of the reader would give; the argument is this.
//
// Every batch that is applied is announced by Begin before Pebble has it, and by End after it was counted (advance), with
// the count. Between the two it may become visible at any time, and several are under way at once. Begin takes the rows of the
// batch's keys away. A mark, which the keys of a hash share, knows how many batches between Begin and End write one of them, and
// the highest count that End gave.
//
// A reader has a snapshot, and the count of batches that it read before it took the snapshot: what was counted by then is visible
// in it. It adds what it read only if, at that instant, no batch is under way on the key's mark and its count is not below the
// mark's. So everything that had begun to write the key is visible in its snapshot, and as the snapshot is older than the
// instant, nothing else is. A range that is deleted is under way on every mark of every shard, with a count of its own. The row keeps the
// count of its key's mark alone: a range that is deleted took the row away, or the row was written after it and is visible only with it.
//
// A reader is given a row only if its count is not below the row's. At that instant nothing has begun to write the key since the
// row was added, or Begin would have taken it away. What began before is counted in the reader's count and visible in its
// snapshot, and what begins later is not: the snapshot is older. So the row is what the snapshot gives.
//
// A transaction reads what is visible now: in its own partition, which its stripe keeps still, and of others whatever is there at
// that instant. A row that is there is the value that everything begun so far has made and that nothing under way changes, so a
// transaction may have any row. It adds none.
//
// A batch whose outcome is not known has no end: its keys are never kept again, and the store takes no writes any more.
//
// That a key is not there is never cached; the Bloom filter, which is exact in another way, may tell.
//
// What is read once is not kept: a value is taken the second time that it is read within a while, and where there is no room it
// takes that of one that was not asked for since the hand of a clock last passed it. Scans go past it.
package rowcache

import (
	"bytes"
	"hash/maphash"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/speedup"
)

// Cache is the row cache and the Bloom filter of one store. It is safe for concurrent use.
type Cache struct {
	Filter *Filter
	seed   maphash.Seed
	shards [rowShards]rowShard
}

const (
	rowShards = 64
	rowMarks  = 64       // marks of a shard
	rowSeen   = 2048     // keys of a shard that are remembered to have been read
	rowCost   = 128      // bytes that a row takes beyond its key and value, about
	maxRow    = 32 << 10 // bytes of key and value
)

// mark is what the keys of one hash share.
type mark struct {
	under uint32 // batches between Begin and End
	count uint64 // highest count of a batch that ended
}

// still tells whether all that began to write on the mark is visible to a reader with a count.
func (m *mark) still(count uint64) bool { return m.under == 0 && count >= m.count }

func (m *mark) end(count uint64) {
	m.under--
	m.count = max(m.count, count)
}

type rowShard struct {
	mu    sync.Mutex
	marks [rowMarks]mark
	all   mark            // of batches that delete ranges
	seen  [rowSeen]uint32 // parts of the hashes of keys that were read and not kept
	index map[uint64]int  // by hash, into ring
	ring  []row           // the clock's; an empty one has no key
	free  []int           // empty ones
	hand  int
	bytes int // taken
	limit int
}

// row is one kept value. Key and value are never written to: a reader that was given them may have them for ever.
type row struct {
	hash  uint64
	key   []byte // stored, with its space
	value []byte
	count uint64 // least count of a reader that may have it
	used  bool   // given since the hand passed
}

// New returns a row cache of at most so many bytes, and a Bloom filter of so many.
func New(limit, filter int64) *Cache {
	c := &Cache{seed: maphash.MakeSeed(), Filter: newFilter(filter)}
	for i := range c.shards {
		c.shards[i].limit = int(limit / rowShards)
		c.shards[i].index = make(map[uint64]int)
	}
	return c
}

// Hash is what Get, Add and Filter know a stored key by.
func (c *Cache) Hash(key []byte) uint64 { return maphash.Bytes(c.seed, key) }

func (c *Cache) shard(hash uint64) *rowShard { return &c.shards[hash>>58] }

func (s *rowShard) mark(hash uint64) *mark { return &s.marks[hash%rowMarks] }

// Get returns the value at a stored key for a reader with a count.
func (c *Cache) Get(hash uint64, key []byte, count uint64) ([]byte, bool) {
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.index[hash]
	if !ok {
		speedup.RowMisses.Add(hash, 1)
		return nil, false
	}
	r := &s.ring[i]
	if count < r.count || !bytes.Equal(r.key, key) {
		speedup.RowMisses.Add(hash, 1)
		return nil, false
	}
	speedup.RowHits.Add(hash, 1)
	r.used = true
	return r.value, true
}

// Add offers the value that a reader with a count has read at a stored key. It is copied.
func (c *Cache) Add(hash uint64, key, value []byte, count uint64) {
	if len(key)+len(value) > maxRow {
		return
	}
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.mark(hash)
	if !m.still(count) || !s.all.still(count) {
		return
	}
	if seen, print := &s.seen[hash>>6%rowSeen], uint32(hash>>26); *seen != print {
		*seen = print
		return
	}
	size := len(key) + len(value) + rowCost
	if _, ok := s.index[hash]; ok || size > s.limit {
		return
	}
	if !s.room(size) {
		return
	}
	b := append(append(make([]byte, 0, len(key)+len(value)), key...), value...)
	r := row{hash: hash, key: b[:len(key):len(key)], value: b[len(key):], count: m.count}
	i := len(s.ring)
	if n := len(s.free); n > 0 {
		i, s.free = s.free[n-1], s.free[:n-1]
		s.ring[i] = r
	} else {
		s.ring = append(s.ring, r)
	}
	s.index[hash] = i
	s.bytes += size
	speedup.RowBytes.Add(hash, int64(size))
}

// room makes room for a row by eviction (CLOCK). The hand of the clock moves on: what was not given since it last passed goes; at what was, it stops,
// and that stays instead of the new one. So where more is read again than there is room for, little is taken in and out.
func (s *rowShard) room(size int) bool {
	for s.bytes+size > s.limit {
		if s.hand++; s.hand >= len(s.ring) {
			s.hand = 0
		}
		r := &s.ring[s.hand]
		switch {
		case r.key == nil:
		case r.used:
			r.used = false
			return false
		default:
			s.remove(s.hand)
		}
	}
	return true
}

func (s *rowShard) remove(i int) {
	r := &s.ring[i]
	size := len(r.key) + len(r.value) + rowCost
	s.bytes -= size
	speedup.RowBytes.Add(r.hash, int64(-size))
	delete(s.index, r.hash)
	*r = row{}
	s.free = append(s.free, i)
}

// Writes is what a batch under way writes of what is kept.
type Writes struct {
	hashes []uint64 // of keys
	ranges int      // and so many ranges
}

// Begin announces a batch that is about to be applied. buf is room for its writes.
func (c *Cache) Begin(b *pebble.Batch, buf []uint64) (w Writes, err error) {
	w.hashes = buf
	for r := b.Reader(); ; {
		kind, key, value, ok, err := r.Next()
		if err != nil || !ok {
			return w, err
		}
		if len(key) == 0 || kind == pebble.InternalKeyKindLogData {
			continue
		}
		if kind == pebble.InternalKeyKindRangeDelete {
			if engine.Space(key[0]).Cached() {
				w.ranges++
				c.beginRange(key, value)
			}
			continue
		}
		if !engine.Space(key[0]).Cached() {
			if engine.Space(key[0]).Filtered() {
				c.Filter.Add(c.Hash(key))
			}
			continue
		}
		hash := c.Hash(key)
		if engine.Space(key[0]).Filtered() {
			c.Filter.Add(hash)
		}
		w.hashes = append(w.hashes, hash)
		s := c.shard(hash)
		s.mu.Lock()
		s.mark(hash).under++
		if i, ok := s.index[hash]; ok {
			s.remove(i)
		}
		s.mu.Unlock()
	}
}

// beginRange takes away what lies in a range of stored keys.
func (c *Cache) beginRange(lower, upper []byte) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.all.under++
		for i := range s.ring {
			if key := s.ring[i].key; key != nil && bytes.Compare(key, lower) >= 0 && bytes.Compare(key, upper) < 0 {
				s.remove(i)
			}
		}
		s.mu.Unlock()
	}
}

// End tells that a batch was applied, and counted as the one with that number.
func (c *Cache) End(w Writes, count uint64) {
	for _, hash := range w.hashes {
		s := c.shard(hash)
		s.mu.Lock()
		s.mark(hash).end(count)
		s.mu.Unlock()
	}
	for range w.ranges {
		for i := range c.shards {
			s := &c.shards[i]
			s.mu.Lock()
			s.all.end(count)
			s.mu.Unlock()
		}
	}
}
