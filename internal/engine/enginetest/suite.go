package enginetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/minio/crc64nvme"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
)

// Harness makes the stores that a conformance test needs.
type Harness struct {
	// Open returns an empty store.
	Open func(t *testing.T) engine.Store
	// Reopen closes a store and returns it opened again on the same disks, its clock moved by d.
	Reopen func(t *testing.T, s engine.Store, d time.Duration) engine.Store
	// Restore returns a store that is to be filled, and Reopened closes it and opens what it has become.
	Restore  func(t *testing.T) engine.Restorer
	Reopened func(t *testing.T, s engine.Restorer) (engine.Store, error)
}

// Run holds an implementation to the contract of package engine.
func Run(t *testing.T, h Harness) {
	tests := []struct {
		name string
		test func(*testing.T, Harness)
	}{
		{"an update is seen by views, and survives a restart", testUpdate},
		{"a transaction that fails writes nothing", testFailedUpdate},
		{"a transaction reads the state before itself", testReadsBefore},
		{"a transaction keeps to its partition and its limits", testTxLimits},
		{"transactions on one partition are serial", testSerial},
		{"a view is one snapshot", testSnapshot},
		{"spaces lie apart", testSpaces},
		{"scans go in byte order, seek both ways and keep their bounds", testScan},
		{"many keys at once give what each gives alone", testGetEach},
		{"a range delete ends where the partition ends", testDeleteRange},
		{"counters commute", testCounters},
		{"stamps increase, also when the clock goes back over a restart", testStamps},
		{"chunks read back what was put, in any range", testChunks},
		{"a chunk whose source lies about its length is not kept", testShortChunk},
		{"chunks are kept by count and by readers", testOwnership},
		{"a chunk that nobody owns cannot be retained", testRetainGone},
		{"a snapshot holds what it shows", testSnapshotHolds},
		{"a snapshot shows chunks by the Refs that records hold", testSnapshotOfMoved},
		{"a store is filled whole, or of no use", testRestored},
		{"a closed store says so", testClosed},
		{"a cancelled context stops an operation", testCancelled},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.test(t, h)
		})
	}
}

var background = context.Background()

const space = engine.SpaceEntity

func set(t *testing.T, s engine.Store, partition, key, value string) {
	t.Helper()
	require.NoError(t, s.Update(background, []byte(partition), func(tx engine.Tx) error {
		tx.Set(space, []byte(key), []byte(value))
		return nil
	}))
}

// get returns a value, "<none>" if there is none.
func get(t *testing.T, s engine.Store, key string) (value string) {
	t.Helper()
	require.NoError(t, s.View(background, []byte(key), func(r engine.Reader) error {
		v, err := r.Get(space, []byte(key))
		if err == engine.ErrNotFound { // the contract: bare
			value = "<none>"
			return nil
		}
		value = string(v)
		return err
	}))
	return value
}

// scan returns the entries of [lower, upper) as "key=value" words.
func scan(t *testing.T, s engine.Store, lower, upper []byte) string {
	t.Helper()
	var words []string
	require.NoError(t, s.View(background, nil, func(r engine.Reader) error {
		it := r.Scan(space, lower, upper)
		for it.Next() {
			v, err := it.Value()
			require.NoError(t, err)
			words = append(words, fmt.Sprintf("%s=%s", it.Key(), v))
		}
		return it.Close()
	}))
	return strings.Join(words, " ")
}

func testUpdate(t *testing.T, h Harness) {
	s := h.Open(t)
	set(t, s, "p/", "p/a", "1")
	set(t, s, "p/", "p/b", "2")
	set(t, s, "q/", "q/a", "3")
	require.NoError(t, s.Update(background, []byte("p/"), func(tx engine.Tx) error {
		tx.Set(space, []byte("p/a"), []byte("4"))
		tx.Delete(space, []byte("p/b"))
		tx.Set(space, []byte("p/c"), nil)
		return nil
	}))
	check := func(s engine.Store) {
		assert.Equal(t, "4", get(t, s, "p/a"))
		assert.Equal(t, "<none>", get(t, s, "p/b"))
		assert.Equal(t, "", get(t, s, "p/c"))
		assert.Equal(t, "3", get(t, s, "q/a"))
	}
	check(s)
	check(h.Reopen(t, s, 0))
}

func testFailedUpdate(t *testing.T, h Harness) {
	s := h.Open(t)
	refused := errors.New("refused")
	err := s.Update(background, []byte("p/"), func(tx engine.Tx) error {
		tx.Set(space, []byte("p/a"), []byte("1"))
		tx.Add([]byte("n"), engine.Amount{Bytes: 1})
		return refused
	})
	assert.True(t, err == refused, "the error is returned as it is")
	assert.Equal(t, "<none>", get(t, s, "p/a"))
	assert.Zero(t, counter(t, s, "n"))
}

func testReadsBefore(t *testing.T, h Harness) {
	s := h.Open(t)
	set(t, s, "p/", "p/a", "old")
	require.NoError(t, s.Update(background, []byte("p/"), func(tx engine.Tx) error {
		tx.Set(space, []byte("p/a"), []byte("new"))
		v, err := tx.Get(space, []byte("p/a"))
		require.NoError(t, err)
		assert.Equal(t, "old", string(v))
		return nil
	}))
	assert.Equal(t, "new", get(t, s, "p/a"))
}

func testTxLimits(t *testing.T, h Harness) {
	s := h.Open(t)
	long := func(n int) []byte { return append([]byte("p/"), bytes.Repeat([]byte{'k'}, n-2)...) }
	tests := []struct {
		name string
		fn   func(tx engine.Tx)
		is   error // nil: any
	}{
		{"set outside", func(tx engine.Tx) { tx.Set(space, []byte("q/a"), nil) }, nil},
		{"set of a shorter key", func(tx engine.Tx) { tx.Set(space, []byte("p"), nil) }, nil},
		{"delete outside", func(tx engine.Tx) { tx.Delete(space, []byte("q/a")) }, nil},
		{"range from outside", func(tx engine.Tx) { tx.DeleteRange(space, []byte("o"), []byte("p/z")) }, nil},
		{"range to outside", func(tx engine.Tx) { tx.DeleteRange(space, []byte("p/a"), []byte("q/")) }, nil},
		{"the engine's own space", func(tx engine.Tx) { tx.Set(engine.SpaceSystem, []byte("p/a"), nil) }, nil},
		{"key", func(tx engine.Tx) { tx.Set(space, long(engine.MaxKey+1), nil) }, engine.ErrTooLarge},
		{"value", func(tx engine.Tx) { tx.Set(space, []byte("p/a"), make([]byte, engine.MaxValue+1)) }, engine.ErrTooLarge},
		{"transaction", func(tx engine.Tx) {
			for i := range engine.MaxTransaction/engine.MaxValue + 1 {
				tx.Set(space, fmt.Appendf(nil, "p/%d", i), make([]byte, engine.MaxValue))
			}
		}, engine.ErrTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := s.Update(background, []byte("p/"), func(tx engine.Tx) error {
				tx.Set(space, []byte("p/x"), []byte("1"))
				tt.fn(tx)
				return nil
			})
			require.Error(t, err)
			if tt.is != nil {
				assert.ErrorIs(t, err, tt.is)
			}
		})
	}
	assert.Empty(t, scan(t, s, nil, nil), "nothing was written")
	require.NoError(t, s.Update(background, []byte("p/"), func(tx engine.Tx) error {
		tx.Set(space, long(engine.MaxKey), make([]byte, engine.MaxValue))
		return nil
	}), "the limits themselves are allowed")
}

func testSerial(t *testing.T, h Harness) {
	s := h.Open(t)
	const workers, each = 8, 25
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				assert.NoError(t, s.Update(background, []byte("p/"), func(tx engine.Tx) error {
					v, err := tx.Get(space, []byte("p/n"))
					if err != nil && err != engine.ErrNotFound {
						return err
					}
					tx.Set(space, []byte("p/n"), append(bytes.Clone(v), 'x'))
					return nil
				}))
			}
		})
	}
	wg.Wait()
	assert.Len(t, get(t, s, "p/n"), workers*each)
}

func testSnapshot(t *testing.T, h Harness) {
	s := h.Open(t)
	write := func(v string) {
		require.NoError(t, s.Update(background, []byte("p/"), func(tx engine.Tx) error {
			tx.Set(space, []byte("p/a"), []byte(v))
			tx.Set(engine.SpaceBlob, []byte("p/a"), []byte(v))
			return nil
		}))
	}
	write("1")
	require.NoError(t, s.View(background, []byte("p/"), func(r engine.Reader) error {
		a, err := r.Get(space, []byte("p/a"))
		require.NoError(t, err)
		write("2")
		b, err := r.Get(engine.SpaceBlob, []byte("p/a"))
		require.NoError(t, err)
		assert.Equal(t, "1", string(a), "a value stays valid until the view returns")
		assert.Equal(t, "1", string(b))
		it := r.Scan(space, []byte("p/"), nil)
		require.True(t, it.Next())
		v, err := it.Value()
		require.NoError(t, err)
		assert.Equal(t, "1", string(v))
		return it.Close()
	}))
	assert.Equal(t, "2", get(t, s, "p/a"))
}

func testSpaces(t *testing.T, h Harness) {
	s := h.Open(t)
	require.NoError(t, s.Update(background, []byte("p/"), func(tx engine.Tx) error {
		tx.Set(engine.SpaceEntity, []byte("p/\xff"), []byte("entity"))
		tx.Set(engine.SpaceTableQueue, []byte("p/"), []byte("queue"))
		return nil
	}))
	assert.Equal(t, "p/\xff=entity", scan(t, s, nil, nil), "a nil upper bound ends with the space")
}

func testScan(t *testing.T, h Harness) {
	s := h.Open(t)
	for _, k := range []string{"p/b", "p/a", "p/d", "p/c", "p/", "p/a\x00", "p/\xff\xff"} {
		set(t, s, "p/", k, "v")
	}
	assert.Equal(t, "p/=v p/a=v p/a\x00=v p/b=v p/c=v p/d=v p/\xff\xff=v", scan(t, s, []byte("p/"), nil))
	assert.Equal(t, "p/a\x00=v p/b=v", scan(t, s, []byte("p/a\x00"), []byte("p/c")))
	assert.Empty(t, scan(t, s, []byte("p/c"), []byte("p/c")))
	require.NoError(t, s.View(background, []byte("p/"), func(r engine.Reader) error {
		it := r.Scan(space, []byte("p/a"), []byte("p/d"))
		at := func(ok bool) string {
			if !ok {
				return "end"
			}
			return string(it.Key())
		}
		assert.Equal(t, "p/a", at(it.Next()))
		assert.Equal(t, "p/c", at(it.SeekGE([]byte("p/b\x00"))))
		assert.Equal(t, "end", at(it.Next()))
		assert.Equal(t, "p/a", at(it.SeekGE([]byte("p/"))), "a seek keeps the lower bound")
		assert.Equal(t, "p/a\x00", at(it.SeekLT([]byte("p/b"))))
		assert.Equal(t, "p/b", at(it.Next()))
		assert.Equal(t, "p/c", at(it.SeekLT([]byte("z"))), "a seek keeps the upper bound")
		assert.Equal(t, "end", at(it.SeekLT([]byte("p/a"))))
		assert.Equal(t, "end", at(it.SeekGE([]byte("p/d"))))
		return it.Close()
	}))
	require.NoError(t, s.View(background, []byte("p/"), func(r engine.Reader) error {
		a, b := r.Scan(space, []byte("p/b"), nil), r.Scan(space, []byte("p/c"), nil)
		assert.True(t, a.Next() && b.Next(), "two scans at once")
		assert.Equal(t, "p/b p/c", string(a.Key())+" "+string(b.Key()))
		return errors.Join(a.Close(), b.Close())
	}))
}

// Runs of keys of which some are there, some were and some never were, asked for in one go and one by one.
func testGetEach(t *testing.T, h Harness) {
	s := h.Open(t)
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	name := func(n int) []byte { return fmt.Appendf(nil, "p/%03d", n) }
	for range 5 {
		require.NoError(t, s.Update(background, []byte("p/"), func(tx engine.Tx) error {
			for range 100 {
				if key := name(rng.IntN(300)); rng.IntN(3) == 0 {
					tx.Delete(space, key)
				} else {
					tx.Set(space, key, fmt.Appendf(nil, "%s:%d", key, rng.IntN(1000)))
				}
			}
			return nil
		}))
		read := func(r engine.Reader) error {
			for range 50 {
				var keys [][]byte
				for n, most := rng.IntN(300), 1+rng.IntN(20); n < 310; n += 1 + rng.IntN(most) {
					keys = append(keys, name(n))
				}
				want, got := map[int]string{}, map[int]string{}
				for i, key := range keys {
					if v, err := r.Get(space, key); err == nil {
						want[i] = string(v)
					} else if !errors.Is(err, engine.ErrNotFound) {
						return err
					}
				}
				if err := r.GetEach(space, keys, func(i int, v []byte) error { got[i] = string(v); return nil }); err != nil {
					return err
				}
				assert.Equal(t, want, got, "seed %d", seed)
			}
			return nil
		}
		require.NoError(t, s.View(background, []byte("p/"), read))
		require.NoError(t, s.Update(background, []byte("p/"), func(tx engine.Tx) error { return read(tx) }))
	}
	require.NoError(t, s.View(background, []byte("p/"), func(r engine.Reader) error {
		return r.GetEach(space, nil, func(int, []byte) error { return errors.New("no key was asked for") })
	}))
	stop := errors.New("enough")
	set(t, s, "p/", "p/000", "v")
	require.ErrorIs(t, s.View(background, []byte("p/"), func(r engine.Reader) error {
		return r.GetEach(space, [][]byte{name(0), name(1)}, func(int, []byte) error { return stop })
	}), stop)
}

func testDeleteRange(t *testing.T, h Harness) {
	s := h.Open(t)
	for _, k := range []string{"p/a", "p/b", "p/c", "p0", "q"} {
		set(t, s, k, k, "v")
	}
	del := func(lower, upper string) error {
		return s.Update(background, []byte("p/"), func(tx engine.Tx) error {
			tx.DeleteRange(space, []byte(lower), []byte(upper))
			return nil
		})
	}
	require.NoError(t, del("p/a", "p/b"))
	assert.Equal(t, "p/b=v p/c=v p0=v q=v", scan(t, s, nil, nil))
	require.NoError(t, del("p/c", "p/b"), "an empty range")
	require.NoError(t, del("p/", "p0"), "the whole partition")
	assert.Equal(t, "p0=v q=v", scan(t, s, nil, nil))
}

func counter(t *testing.T, s engine.Store, name string) (n engine.Amount) {
	t.Helper()
	require.NoError(t, s.View(background, []byte(name), func(r engine.Reader) (err error) {
		n, err = r.Counter([]byte(name))
		return err
	}))
	return n
}

func testCounters(t *testing.T, h Harness) {
	s := h.Open(t)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 20 {
				assert.NoError(t, s.Update(background, fmt.Appendf(nil, "p%d/", w), func(tx engine.Tx) error {
					tx.Add([]byte("n/both"), engine.Amount{Bytes: int64(i), Objects: -1})
					tx.Add([]byte("n/objects"), engine.Amount{Objects: 1})
					tx.Add([]byte("n/zero"), engine.Amount{Bytes: int64(1 - 2*(i%2)), Objects: int64(2*(i%2) - 1)})
					tx.Add([]byte("o"), engine.Amount{Bytes: 1})
					return nil
				}))
			}
		})
	}
	wg.Wait()
	check := func(s engine.Store) {
		assert.Equal(t, engine.Amount{Bytes: 8 * 190, Objects: -160}, counter(t, s, "n/both"))
		assert.Equal(t, engine.Amount{Objects: 160}, counter(t, s, "n/objects"))
		assert.Zero(t, counter(t, s, "n/zero"))
		all := map[string]engine.Amount{}
		require.NoError(t, s.View(background, nil, func(r engine.Reader) error {
			return r.Counters([]byte("n/"), func(key []byte, n engine.Amount) error {
				if n != (engine.Amount{}) {
					all[string(key)] = n
				}
				return nil
			})
		}))
		assert.Equal(t, map[string]engine.Amount{"n/both": {Bytes: 8 * 190, Objects: -160}, "n/objects": {Objects: 160}}, all)
	}
	check(s)
	s = h.Reopen(t, s, 0)
	check(s)
	require.NoError(t, s.Update(background, []byte("p/"), func(tx engine.Tx) error {
		tx.Add([]byte("n/objects"), engine.Amount{Objects: -161})
		tx.Add([]byte("n/zero"), engine.Amount{Bytes: 2})
		tx.Drop([]byte("n/both"))
		return nil
	}))
	assert.Equal(t, engine.Amount{Objects: -1}, counter(t, s, "n/objects"))
	assert.Equal(t, engine.Amount{Bytes: 2}, counter(t, s, "n/zero"))
	assert.Zero(t, counter(t, s, "n/both"))
	require.NoError(t, s.Update(background, []byte("p/"), func(tx engine.Tx) error {
		tx.Add([]byte("n/both"), engine.Amount{Bytes: 7})
		return nil
	}))
	s = h.Reopen(t, s, 0)
	assert.Equal(t, engine.Amount{Bytes: 7}, counter(t, s, "n/both"))
}

func testStamps(t *testing.T, h Harness) {
	s := h.Open(t)
	var last engine.Stamp
	stamp := func() {
		t.Helper()
		require.NoError(t, s.Update(background, []byte("p/"), func(tx engine.Tx) error {
			st := tx.Stamp()
			assert.Equal(t, st, tx.Stamp(), "one stamp for a transaction")
			require.Greater(t, st, last)
			last = st
			tx.Set(space, []byte("p/a"), nil)
			return nil
		}))
	}
	for range 100 {
		stamp()
	}
	assert.WithinDuration(t, time.Now(), last.Time(), time.Minute)
	s = h.Reopen(t, s, -time.Hour)
	for range 10 {
		stamp()
	}
	s = h.Reopen(t, s, 0)
	stamp()
}

// content returns n bytes that differ from seed to seed and do not repeat.
func content(seed uint64, n int) []byte {
	b := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	rng.Read(b) // never fails
	return b
}

func put(t *testing.T, s engine.Store, b []byte) engine.Chunk {
	t.Helper()
	c, err := s.Put(background, bytes.NewReader(b), int64(len(b)))
	require.NoError(t, err)
	require.Equal(t, int64(len(b)), c.Size)
	require.Equal(t, crc64nvme.Checksum(b), c.CRC64)
	require.NotZero(t, c.Ref)
	return c
}

func own(t *testing.T, s engine.Store, fn func(tx engine.Tx)) {
	t.Helper()
	require.NoError(t, s.Update(background, []byte("p/"), func(tx engine.Tx) error {
		fn(tx)
		return nil
	}))
}

func read(s engine.Store, ref engine.Ref, offset, length int64) ([]byte, error) {
	r, err := s.Open(background, ref, offset, length)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

func readWhole(s engine.Store, c engine.Chunk) ([]byte, error) {
	r, err := s.OpenWhole(background, c)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

func testChunks(t *testing.T, h Harness) {
	s := h.Open(t)
	sizes := []int{1, 511, 4096, 64<<10 - 1, 64 << 10, 64<<10 + 1, 200_000, 1 << 20, engine.MaxChunk}
	type stored struct {
		chunk engine.Chunk
		b     []byte
	}
	var all []stored
	for i, n := range sizes {
		b := content(uint64(i), n)
		c := put(t, s, b)
		own(t, s, func(tx engine.Tx) { tx.Retain(c.Ref) })
		s.Forget(c.Ref)
		all = append(all, stored{c, b})
	}
	check := func(s engine.Store) {
		for _, st := range all {
			n := int64(len(st.b))
			ranges := [][2]int64{{0, n}, {0, 0}, {n, 0}, {n - 1, 1}, {n / 2, n - n/2}, {n / 3, n / 3}, {0, min(n, 64<<10)}}
			if n > 1<<20 {
				ranges = ranges[:4]
			}
			for _, rg := range ranges {
				got, err := read(s, st.chunk.Ref, rg[0], rg[1])
				require.NoError(t, err, "size %d range %v", n, rg)
				require.True(t, bytes.Equal(st.b[rg[0]:rg[0]+rg[1]], got), "size %d range %v", n, rg)
			}
			for _, rg := range [][2]int64{{0, n + 1}, {n + 1, 0}, {-1, 1}, {0, -1}} {
				_, err := read(s, st.chunk.Ref, rg[0], rg[1])
				require.Error(t, err, "size %d range %v", n, rg)
			}
			r, err := s.Open(background, st.chunk.Ref, 0, n)
			require.NoError(t, err)
			var w bytes.Buffer
			written, err := r.(io.WriterTo).WriteTo(&w)
			require.NoError(t, err)
			require.Equal(t, n, written)
			require.True(t, bytes.Equal(st.b, w.Bytes()))
			require.NoError(t, r.Close())

			got, err := readWhole(s, st.chunk)
			require.NoError(t, err, "size %d", n)
			require.True(t, bytes.Equal(st.b, got), "size %d", n)
			other := st.chunk
			other.CRC64++
			got, err = readWhole(s, other)
			require.ErrorIs(t, err, engine.ErrCorrupt, "size %d", n)
			require.Less(t, int64(len(got)), n, "what is not what was put is never handed out whole")
			other = st.chunk
			other.Size++
			_, err = readWhole(s, other)
			require.ErrorIs(t, err, engine.ErrCorrupt, "size %d", n)
		}
	}
	check(s)
	check(h.Reopen(t, s, 0))
}

func testShortChunk(t *testing.T, h Harness) {
	s := h.Open(t)
	_, err := s.Put(background, strings.NewReader("abc"), 4)
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	broken := errors.New("connection reset")
	_, err = s.Put(background, io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(broken)), 400_000)
	assert.ErrorIs(t, err, broken)
	_, err = s.Put(background, strings.NewReader(""), 0)
	assert.Error(t, err)
	_, err = s.Put(background, strings.NewReader("a"), engine.MaxChunk+1)
	assert.ErrorIs(t, err, engine.ErrTooLarge)
	r := strings.NewReader("abcdef")
	c, err := s.Put(background, r, 3)
	require.NoError(t, err)
	assert.Equal(t, 3, r.Len(), "it takes exactly its size")
	b, err := read(s, c.Ref, 0, 3)
	require.NoError(t, err)
	assert.Equal(t, "abc", string(b))
	s.Forget(c.Ref)
}

func testOwnership(t *testing.T, h Harness) {
	s := h.Open(t)
	b := content(1, 100_000)
	c := put(t, s, b)
	own(t, s, func(tx engine.Tx) { tx.Retain(c.Ref) })
	s.Forget(c.Ref)
	own(t, s, func(tx engine.Tx) { tx.Retain(c.Ref) })
	own(t, s, func(tx engine.Tx) { tx.Release(c.Ref) })
	got, err := read(s, c.Ref, 0, c.Size)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(b, got), "one owner is left")

	r, err := s.Open(background, c.Ref, 0, c.Size)
	require.NoError(t, err)
	own(t, s, func(tx engine.Tx) { tx.Release(c.Ref) })
	collect(t, s)
	got, err = io.ReadAll(r)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(b, got), "a reader keeps it")
	require.NoError(t, r.Close())
}

// collect runs a collection where the implementation lets a caller do so.
func collect(t *testing.T, s engine.Store) {
	t.Helper()
	if c, ok := s.(interface{ Collect(context.Context) error }); ok {
		require.NoError(t, c.Collect(background))
	}
}

func testRetainGone(t *testing.T, h Harness) {
	s := h.Open(t)
	c := put(t, s, content(1, 1000))
	own(t, s, func(tx engine.Tx) { tx.Retain(c.Ref) })
	s.Forget(c.Ref)
	own(t, s, func(tx engine.Tx) { tx.Release(c.Ref) })
	err := s.Update(background, []byte("p/"), func(tx engine.Tx) error {
		tx.Set(space, []byte("p/a"), []byte("1"))
		tx.Retain(c.Ref)
		return nil
	})
	assert.ErrorIs(t, err, engine.ErrReleased)
	assert.Equal(t, "<none>", get(t, s, "p/a"))
}

func testClosed(t *testing.T, h Harness) {
	s := h.Open(t)
	set(t, s, "p/", "p/a", "1")
	require.NoError(t, s.Close())
	never := func() { t.Error("ran on a closed store") }
	assert.ErrorIs(t, s.View(background, nil, func(engine.Reader) error { never(); return nil }), engine.ErrClosed)
	assert.ErrorIs(t, s.Update(background, []byte("p/"), func(engine.Tx) error { never(); return nil }), engine.ErrClosed)
	_, err := s.Put(background, strings.NewReader("a"), 1)
	assert.ErrorIs(t, err, engine.ErrClosed)
	_, err = s.Open(background, engine.Ref{}, 0, 0)
	assert.ErrorIs(t, err, engine.ErrClosed)
	assert.ErrorIs(t, s.Close(), engine.ErrClosed)
}

func testCancelled(t *testing.T, h Harness) {
	s := h.Open(t)
	ctx, cancel := context.WithCancel(background)
	cancel()
	var ran atomic.Bool
	assert.ErrorIs(t, s.View(ctx, nil, func(engine.Reader) error { ran.Store(true); return nil }), context.Canceled)
	assert.ErrorIs(t, s.Update(ctx, []byte("p/"), func(engine.Tx) error { ran.Store(true); return nil }), context.Canceled)
	_, err := s.Put(ctx, strings.NewReader("a"), 1)
	assert.ErrorIs(t, err, context.Canceled)
	assert.False(t, ran.Load())
}
