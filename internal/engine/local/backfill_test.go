package local

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/rowcache"
)

func hashOf(c *rowcache.Cache, n int) uint64 {
	return c.Hash(binary.BigEndian.AppendUint64([]byte{byte(engine.SpaceBlob)}, uint64(n)))
}

// filled makes a store with more keys of every named space than are learnt at a time, and opens it again.
func filled(t *testing.T, names int64) *Store {
	t.Helper()
	o := Options{Dirs: []string{"data"}, FS: vfs.NewMem(), CacheSize: 1 << 20, MemTableSize: 256 << 10}
	s, err := Open(o)
	require.NoError(t, err)
	require.NoError(t, s.Update(t.Context(), []byte("p"), func(tx engine.Tx) error {
		for _, space := range []engine.Space{engine.SpaceBlob, engine.SpaceBlock, engine.SpaceEntity} {
			for n := range backfillRun + 100 {
				tx.Set(space, fmt.Appendf(nil, "p%d/%d", n/3, n%3), []byte("value"))
			}
		}
		return nil
	}))
	require.NoError(t, s.Close())
	o.FilterSize = names
	s, err = Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

// TestKeysOfBeforeTheStartAreLearnt: all are learnt, and from then on those that are not there need no look-up.
func TestKeysOfBeforeTheStartAreLearnt(t *testing.T) {
	s := filled(t, 64<<10)
	s.backfill(t.Context())
	require.True(t, s.rows.Filter.Ready())
	look := func(r engine.Reader) error {
		for _, space := range []engine.Space{engine.SpaceBlob, engine.SpaceBlock, engine.SpaceEntity} {
			for n := range backfillRun + 100 {
				v, err := r.Get(space, fmt.Appendf(nil, "p%d/%d", n/3, n%3))
				if err != nil || string(v) != "value" {
					return fmt.Errorf("space %x, key %d: %q, %w", space, n, v, err)
				}
				if _, err = r.Get(space, fmt.Appendf(nil, "p%d/%d", n/3, 3)); err != engine.ErrNotFound {
					return fmt.Errorf("space %x, key %d: %w", space, n, err)
				}
			}
		}
		return nil
	}
	require.NoError(t, s.Update(t.Context(), []byte("q"), func(tx engine.Tx) error {
		tx.Set(engine.SpaceBlob, []byte("q"), nil) // so that later snapshots are known to be
		return look(tx)
	}))
	require.NoError(t, s.View(t.Context(), []byte("p"), func(r engine.Reader) error {
		lacking := 0
		for n := range 100 {
			if s.rows.Filter.Lacks(hashOf(s.rows, n), r.(*reader).count) {
				lacking++
			}
		}
		assert.Greater(t, lacking, 50)
		return look(r)
	}))
}

// TestReadsAreRightWhileKeysAreLearnt: by views and transactions, of keys of before and after the start.
func TestReadsAreRightWhileKeysAreLearnt(t *testing.T) {
	s := filled(t, 64<<10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 3 {
			s.rows.Filter.Unlearn()
			s.backfill(t.Context())
		}
	}()
	compareReads(t, s, 100)
	<-done
	compareReads(t, s, 100)
}

// TestTooManyKeysForTheFilter: they are not learnt, and all is looked up.
func TestTooManyKeysForTheFilter(t *testing.T) {
	s := filled(t, 64)
	s.backfill(t.Context())
	require.False(t, s.rows.Filter.Ready())
	compareReads(t, s, 50)
}

func TestKeysAreNotLearntInPart(t *testing.T) {
	s := filled(t, 64<<10)
	s.stop() // the one in the background
	s.background.Wait()
	s.rows.Filter.Unlearn()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.backfill(ctx)
	require.False(t, s.rows.Filter.Ready())
}
