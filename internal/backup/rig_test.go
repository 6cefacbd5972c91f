package backup_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/backup"
	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local"
)

var background = context.Background()

const dir = "backups"

// A thing is a record in two spaces of a partition of its own, with two chunks of content made from its seed, and one on a counter.
const (
	things  = engine.SpaceEntity
	seconds = engine.SpaceBlobData
)

func content(seed uint64, n int) []byte {
	b := make([]byte, n)
	rng := rand.NewPCG(seed, 9)
	for i := 0; i < n; i += 8 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], rng.Uint64())
		copy(b[i:], word[:])
	}
	return b
}

func sizes(seed uint64) [2]int { return [2]int{int(1 + seed*7919%5000), int(1 + seed*104729%150_000)} }

func key(id int) []byte { return fmt.Appendf(nil, "thing %04d/", id) }

// set writes a thing in the place of what it was.
func set(s engine.Store, id int, seed uint64) error {
	value := binary.BigEndian.AppendUint64([]byte{'R'}, seed)
	var refs []engine.Ref
	defer func() { s.Forget(refs...) }()
	for i, n := range sizes(seed) {
		c, err := s.Put(background, bytes.NewReader(content(seed+uint64(i)<<32, n)), int64(n))
		if err != nil {
			return err
		}
		refs = append(refs, c.Ref)
		value = append(value, c.Ref[:]...)
	}
	return update(s, id, value)
}

func update(s engine.Store, id int, value []byte) error {
	return s.Update(background, key(id), func(tx engine.Tx) error {
		old, err := tx.Get(things, key(id))
		switch {
		case err == nil:
			_ = visit(things, nil, old, func(ref []byte, _ int64) error { tx.Release(engine.Ref(ref)); return nil })
		case err != engine.ErrNotFound:
			return err
		case value != nil:
			tx.Add([]byte("things"), engine.Amount{Objects: 1})
		}
		if value == nil {
			if err == nil {
				tx.Add([]byte("things"), engine.Amount{Objects: -1})
			}
			tx.Delete(things, key(id))
			tx.Delete(seconds, key(id))
			return nil
		}
		_ = visit(things, nil, value, func(ref []byte, _ int64) error { tx.Retain(engine.Ref(ref)); return nil })
		tx.Set(things, key(id), value)
		tx.Set(seconds, key(id), value[1:9])
		return nil
	})
}

// visit is the RefVisitor of things.
func visit(space engine.Space, _, v []byte, fn func(ref []byte, size int64) error) error {
	if space != things || v[0] != 'R' {
		return nil
	}
	for i, v := 0, v[9:]; len(v) > 0; i, v = i+1, v[24:] {
		if err := fn(v[:24], 1); err != nil {
			return err
		}
	}
	return nil
}

// state is the seeds of the things in a store, each of which is whole; lost are those whose content is not there.
func state(t testing.TB, s engine.Store) (seeds map[int]uint64, lost []int) {
	t.Helper()
	seeds = make(map[int]uint64)
	refs := make(map[int][]engine.Ref)
	require.NoError(t, s.View(background, nil, func(r engine.Reader) error {
		it := r.Scan(things, nil, nil)
		for it.Next() {
			v, err := it.Value()
			require.NoError(t, err)
			var id int
			_, err = fmt.Sscanf(string(it.Key()), "thing %d/", &id)
			require.NoError(t, err)
			seeds[id] = binary.BigEndian.Uint64(v[1:])
			require.NoError(t, visit(things, nil, v, func(ref []byte, _ int64) error {
				refs[id] = append(refs[id], engine.Ref(ref))
				return nil
			}))
			second, err := r.Get(seconds, key(id))
			require.NoError(t, err)
			require.Equal(t, v[1:9], second)
		}
		n, err := r.Counter([]byte("things"))
		require.NoError(t, err)
		require.Equal(t, len(seeds), int(n.Objects))
		return it.Close()
	}))
	for id, seed := range seeds {
		for i, n := range sizes(seed) {
			r, err := s.Open(background, refs[id][i], 0, int64(n))
			var b []byte
			if err == nil {
				b, err = io.ReadAll(r)
				_ = r.Close()
			}
			if err != nil {
				require.ErrorIs(t, err, engine.ErrCorrupt)
				lost = append(lost, id)
				break
			}
			require.True(t, bytes.Equal(content(seed+uint64(i)<<32, n), b), "thing %d", id)
		}
	}
	return seeds, lost
}

func open(t testing.TB, o local.Options) *local.Store {
	t.Helper()
	o.CacheSize, o.ScrubRate, o.SealGarbage, o.ExtentSize = 8<<20, -1, 1<<20, 4<<20
	s, err := local.Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func dirs(n int) (d []string) {
	for i := range n {
		d = append(d, fmt.Sprint("disk", i))
	}
	return d
}

// fill makes a store of n things.
func fill(t testing.TB, n int) *local.Store {
	s := open(t, local.Options{Dirs: dirs(1), FS: vfs.NewMem()})
	for id := range n {
		require.NoError(t, set(s, id, uint64(id)))
	}
	return s
}

func run(t testing.TB, fs vfs.FS, s backup.Store, o backup.Options) *backup.Manifest {
	t.Helper()
	o.Dir, o.FS = dir, fs
	m, err := backup.Run(background, s, o)
	require.NoError(t, err)
	return m
}

// restore makes a store of so many disks from the last backup.
func restore(fs vfs.FS, to vfs.FS, disks int, o backup.RestoreOptions) error {
	o.Dir, o.FS, o.Refs = dir, fs, visit
	o.Open = func() (engine.Restorer, error) {
		return local.Open(local.Options{Dirs: dirs(disks), FS: to, Restore: true, CacheSize: 8 << 20, ScrubRate: -1})
	}
	_, err := backup.Restore(background, o)
	return err
}
