package rowcache

import (
	"encoding/binary"
	"errors"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
)

// rowModel is a key space whose every step is taken by hand: which batches are visible, which are counted, and what snapshots show.
type rowModel struct {
	t       *testing.T
	rng     *rand.Rand
	rows    *Cache
	history []map[byte]uint64 // values by key, after so many batches became visible
	counted uint64
	batches []*modelBatch
	readers []*modelReader
	hits    int
	next    uint64
}

type modelBatch struct {
	step         int // 0: begun, 1: visible, 2: counted
	set          map[byte]uint64
	lower, upper byte // deleted before anything is set
	w            Writes
	count        uint64
}

type modelReader struct {
	count   uint64
	shows   int // of the history; -1 before the snapshot was taken
	key     byte
	read    uint64
	reading bool // read, and not yet added
}

func modelKey(k byte) []byte { return []byte{byte(engine.SpaceEntity), k} }

func (m *rowModel) begin() {
	b := &modelBatch{set: make(map[byte]uint64)}
	batch := new(pebble.Batch)
	if m.rng.IntN(8) == 0 {
		b.lower = byte(m.rng.IntN(6))
		b.upper = b.lower + 1 + byte(m.rng.IntN(3))
		require.NoError(m.t, batch.DeleteRange(modelKey(b.lower), modelKey(b.upper), nil))
	}
	for range m.rng.IntN(3) {
		k := byte(m.rng.IntN(6))
		if m.rng.IntN(4) == 0 {
			b.set[k] = 0
			require.NoError(m.t, batch.Delete(modelKey(k), nil))
			continue
		}
		m.next++
		b.set[k] = m.next
		require.NoError(m.t, batch.Set(modelKey(k), binary.BigEndian.AppendUint64(nil, m.next), nil))
	}
	var err error
	b.w, err = m.rows.Begin(batch, nil)
	require.NoError(m.t, err)
	m.batches = append(m.batches, b)
}

func (m *rowModel) advance(i int) {
	b := m.batches[i]
	switch b.step {
	case 0:
		after := make(map[byte]uint64)
		for k, v := range m.history[len(m.history)-1] {
			if k < b.lower || k >= b.upper {
				after[k] = v
			}
		}
		for k, v := range b.set {
			after[k] = v
		}
		m.history = append(m.history, after)
	case 1:
		m.counted++
		b.count = m.counted
	case 2:
		m.rows.End(b.w, b.count)
		m.batches = append(m.batches[:i], m.batches[i+1:]...)
	}
	b.step++
}

// look reads a key as a reader of a snapshot does, or as a transaction does.
func (m *rowModel) look(k byte, count uint64, shows int) (want uint64, hit bool) {
	want = m.history[shows][k]
	v, hit := m.rows.Get(m.rows.Hash(modelKey(k)), modelKey(k), count)
	if hit {
		m.hits++
		require.Equal(m.t, want, binary.BigEndian.Uint64(v), "key %d in snapshot %d of %d", k, shows, len(m.history)-1)
	}
	return want, hit
}

func (m *rowModel) read(r *modelReader) {
	switch {
	case r.shows < 0:
		r.shows = len(m.history) - 1
	case r.reading:
		r.reading = false
		if r.read != 0 {
			m.rows.Add(m.rows.Hash(modelKey(r.key)), modelKey(r.key), binary.BigEndian.AppendUint64(nil, r.read), r.count)
		}
	default:
		r.key = byte(m.rng.IntN(6))
		want, hit := m.look(r.key, r.count, r.shows)
		r.read, r.reading = want, !hit
	}
}

// However the steps of batches and of readers fall, a hit is what the snapshot of the reader gives.
func TestAHitIsWhatTheSnapshotGives(t *testing.T) {
	const runs, steps = 300, 400
	hits := 0
	for seed := range uint64(runs) {
		m := &rowModel{t: t, rng: rand.New(rand.NewPCG(seed, 1)), rows: New(1<<20, 1<<10), history: []map[byte]uint64{{}}}
		for range steps {
			switch n := m.rng.IntN(20); {
			case n == 0 && len(m.batches) < 4:
				m.begin()
			case n < 4 && len(m.batches) > 0:
				m.advance(m.rng.IntN(len(m.batches)))
			case n == 4 && len(m.readers) < 6:
				m.readers = append(m.readers, &modelReader{count: m.counted, shows: -1})
			case n == 5 && len(m.readers) > 0:
				i := m.rng.IntN(len(m.readers))
				m.readers = append(m.readers[:i], m.readers[i+1:]...)
			case n == 6:
				m.look(byte(m.rng.IntN(6)), math.MaxUint64, len(m.history)-1)
			case len(m.readers) > 0:
				m.read(m.readers[m.rng.IntN(len(m.readers))])
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		hits += m.hits
		for len(m.batches) > 0 {
			m.advance(0)
		}
		for i := range m.rows.shards {
			s := &m.rows.shards[i]
			require.Zero(t, s.all.under, "seed %d", seed)
			for _, mark := range s.marks {
				require.Zero(t, mark.under, "seed %d", seed)
			}
		}
	}
	require.Greater(t, hits, runs*10, "the cache is used")
}

// modelBatches write the key 1, each in another way, and not the key 9.
var modelBatches = map[string]func(*pebble.Batch) error{
	"set":     func(b *pebble.Batch) error { return b.Set(modelKey(1), []byte("new"), nil) },
	"delete":  func(b *pebble.Batch) error { return b.Delete(modelKey(1), nil) },
	"a range": func(b *pebble.Batch) error { return b.DeleteRange(modelKey(1), modelKey(9), nil) },
	"two ranges": func(b *pebble.Batch) error {
		return errors.Join(b.DeleteRange(modelKey(0), modelKey(1), nil), b.DeleteRange(modelKey(1), modelKey(2), nil))
	},
}

// What a batch writes is taken away when it begins and comes back by no reader that may not have seen it, however often that
// reads; nor is it given to one.
func TestRowsAroundABatch(t *testing.T) {
	const before, counted = 6, 7
	for name, write := range modelBatches {
		t.Run(name, func(t *testing.T) {
			c := New(1<<20, 1<<10)
			// keeps tells whether a value that a reader with a count reads at a key is kept.
			keeps := func(k byte, count uint64) bool {
				hash := c.Hash(modelKey(k))
				for range 3 {
					c.Add(hash, modelKey(k), []byte("value"), count)
				}
				_, ok := c.Get(hash, modelKey(k), math.MaxUint64)
				return ok
			}
			has := func(k byte, count uint64) bool {
				_, ok := c.Get(c.Hash(modelKey(k)), modelKey(k), count)
				return ok
			}
			for c.shard(c.Hash(modelKey(1))) == c.shard(c.Hash(modelKey(9))) { // so that the two share no mark
				c.seed = maphash.MakeSeed()
			}
			require.True(t, keeps(1, before))
			require.True(t, keeps(9, before))
			batch := new(pebble.Batch)
			require.NoError(t, write(batch))
			w, err := c.Begin(batch, nil)
			require.NoError(t, err)
			require.False(t, has(1, math.MaxUint64), "gone")
			require.True(t, has(9, before), "not written to")
			require.False(t, keeps(1, math.MaxUint64), "under way")
			c.End(w, counted)
			require.False(t, keeps(1, before), "perhaps without the batch")
			require.True(t, keeps(1, counted))
			require.True(t, has(1, counted))
			if len(w.hashes) > 0 {
				require.False(t, has(1, before), "perhaps without the batch")
			}
			require.True(t, has(9, before))
		})
	}
}

// Two keys of one hash are told apart, and what the reader's buffer holds later is not the row's.
func TestARowIsOfItsKeyAndACopy(t *testing.T) {
	c := New(1<<20, 1<<10)
	key, value := modelKey(1), []byte("value")
	hash := c.Hash(key)
	c.Add(hash, key, value, 0)
	c.Add(hash, key, value, 0)
	key[1], value[0] = 2, 'V'
	_, ok := c.Get(hash, key, 0)
	require.False(t, ok)
	got, ok := c.Get(hash, modelKey(1), 0)
	require.True(t, ok)
	require.Equal(t, "value", string(got))
}

// offer reads a value at the i-th key.
func (c *Cache) offer(i, size int) {
	k := binary.BigEndian.AppendUint32(modelKey(1), uint32(i))
	c.Add(c.Hash(k), k, make([]byte, size), 0)
}

func (c *Cache) has(i int) bool {
	k := binary.BigEndian.AppendUint32(modelKey(1), uint32(i))
	_, ok := c.Get(c.Hash(k), k, 0)
	return ok
}

func (c *Cache) size() (n int) {
	for i := range c.shards {
		n += c.shards[i].bytes
	}
	return n
}

// What is read again stays while much more is read once, and large values are not taken.
func TestRowsReadOnceDoNotStay(t *testing.T) {
	const limit, hot = 4 << 20, 500
	c := New(limit, 1<<10)
	for i := range hot {
		c.offer(i, 1000)
		require.False(t, c.has(i), "read once")
		c.offer(i, 1000)
		require.True(t, c.has(i), "read twice")
	}
	for i := range 100_000 {
		c.offer(hot+i, 1000)
	}
	for i := range hot {
		require.True(t, c.has(i))
	}
	for range 2 {
		c.offer(-1, maxRow)
	}
	require.False(t, c.has(-1), "too large")
	// Twice as much as there is room for, read twice each.
	for i := range 2 * limit / 1000 {
		for range 2 {
			c.offer(1_000_000+i, 1000)
		}
	}
	require.LessOrEqual(t, c.size(), limit)
	require.Greater(t, c.size(), limit/2)
}

// Where there is no room, what is asked for stays and what is not makes room, in the same places.
func TestRowsThatAreAskedForStay(t *testing.T) {
	const limit, hot = 4 << 20, 500
	c := New(limit, 1<<10)
	for i := range hot {
		c.offer(i, 1000)
		c.offer(i, 1000)
		size := c.size()
		c.offer(i, 1000)
		require.Equal(t, size, c.size(), "kept once")
	}
	for round := range 40 {
		for i := range hot {
			require.True(t, c.has(i), "round %d", round)
		}
		for i := range limit / 1000 / 4 {
			for range 2 {
				c.offer((1+round)*1_000_000+i, 1000)
			}
		}
	}
	places, rows := 0, 0
	for i := range c.shards {
		places += len(c.shards[i].ring)
		rows += len(c.shards[i].index)
	}
	require.Greater(t, rows, 2*hot, "others are kept as well")
	require.Less(t, places, limit/1000+rowShards, "places are used again")
}

func TestAHitAllocatesNothing(t *testing.T) {
	c := New(1<<20, 1<<10)
	c.offer(1, 4096)
	c.offer(1, 4096)
	key := binary.BigEndian.AppendUint32(modelKey(1), 1)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, ok := c.Get(c.Hash(key), key, 0); !ok {
			t.Error("not there")
		}
	}))
}
