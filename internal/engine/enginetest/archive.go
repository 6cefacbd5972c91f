package enginetest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
)

func snapshotOf(t *testing.T, s engine.Store) engine.Snapshot {
	t.Helper()
	shot, ok := s.(engine.Snapshotter)
	require.True(t, ok, "a store has snapshots: no backup of it could be made without")
	snap, err := shot.Snapshot(background)
	require.NoError(t, err)
	t.Cleanup(func() { _ = snap.Close() })
	return snap
}

// shown is all that a snapshot shows, as text.
func shown(t *testing.T, snap engine.Snapshot) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, snap.Entries(background, func(space engine.Space, key, value []byte) error {
		fmt.Fprintf(&b, "%x %s=%s\n", byte(space), key, value)
		return nil
	}))
	require.NoError(t, snap.Counters(background, func(name []byte, value engine.Amount) error {
		fmt.Fprintf(&b, "%s: %d\n", name, value)
		return nil
	}))
	require.NoError(t, snap.Chunks(background, func(ref engine.Ref, size, owners int64) error {
		fmt.Fprintf(&b, "%x: %d bytes, %d owners\n", ref, size, owners)
		return nil
	}))
	return b.String()
}

// testSnapshotHolds: what a snapshot shows stays as it was, chunks too, whatever is written, released and collected.
func testSnapshotHolds(t *testing.T, h Harness) {
	s := h.Open(t)
	var chunks []engine.Chunk
	for i := range 12 {
		c := put(t, s, content(uint64(i), 300_000))
		own(t, s, func(tx engine.Tx) {
			tx.Retain(c.Ref)
			tx.Retain(c.Ref)
			tx.Add([]byte("chunks"), engine.Amount{Objects: 1})
		})
		s.Forget(c.Ref)
		chunks = append(chunks, c)
	}
	set(t, s, "p/", "p/a", "1")
	set(t, s, "q/", "q/a", "2")
	snap := snapshotOf(t, s)
	before := shown(t, snap)
	assert.Equal(t, 12, strings.Count(before, "300000 bytes, 2 owners"), before)
	assert.Contains(t, before, "chunks: {0 12}\n")
	assert.Contains(t, before, "p/a=1\n")

	set(t, s, "p/", "p/a", "3")
	set(t, s, "r/", "r/a", "4")
	late := put(t, s, content(99, 1000))
	own(t, s, func(tx engine.Tx) { tx.Retain(late.Ref) })
	s.Forget(late.Ref)
	release := func(chunks []engine.Chunk) {
		own(t, s, func(tx engine.Tx) {
			for _, c := range chunks {
				tx.Release(c.Ref)
				tx.Release(c.Ref)
			}
		})
		for range 2 { // what the first empties the second drops
			collect(t, s)
		}
	}
	// Most go, so that the rest is moved, and is let go of afterwards.
	release(chunks[:8])
	release(chunks[8:])
	assert.Equal(t, before, shown(t, snap))
	for i, c := range chunks {
		got, err := read(s, c.Ref, 0, c.Size)
		require.NoError(t, err, "chunk %d", i)
		require.True(t, bytes.Equal(content(uint64(i), 300_000), got))
	}
	require.NoError(t, snap.Close())
	for range 3 { // closes, empties, drops
		collect(t, s)
	}
	for _, c := range chunks {
		_, err := read(s, c.Ref, 0, c.Size)
		assert.ErrorIs(t, err, engine.ErrReleased)
	}
	after := shown(t, snapshotOf(t, s))
	assert.Contains(t, after, "p/a=3\n")
	assert.Equal(t, 1, strings.Count(after, " owners\n"), after)
}

// testSnapshotOfMoved: chunks are shown as the Refs that records hold, with the owners that they were given, also when they were moved
// before the snapshot.
func testSnapshotOfMoved(t *testing.T, h Harness) {
	s := h.Open(t)
	var chunks []engine.Chunk
	for i := range 8 {
		c := put(t, s, content(uint64(i), 3<<20))
		own(t, s, func(tx engine.Tx) { tx.Retain(c.Ref) })
		s.Forget(c.Ref)
		chunks = append(chunks, c)
	}
	own(t, s, func(tx engine.Tx) {
		for _, c := range chunks[1:] {
			tx.Release(c.Ref)
		}
	})
	collect(t, s)
	collect(t, s)
	snap := snapshotOf(t, s)
	assert.Contains(t, shown(t, snap), fmt.Sprintf("%x: %d bytes, 1 owners\n", chunks[0].Ref, chunks[0].Size))
	assert.Equal(t, 1, strings.Count(shown(t, snap), " owners\n"), shown(t, snap))
	own(t, s, func(tx engine.Tx) { tx.Release(chunks[0].Ref) })
	collect(t, s)
	collect(t, s)
	got, err := read(s, chunks[0].Ref, 0, chunks[0].Size)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(content(0, 3<<20), got))
}

// fill restores two entries, a counter, a chunk of two owners and one of 70 000 bytes that are lost.
func fill(t *testing.T, s engine.Restorer, b []byte) (c engine.Chunk, gone engine.Ref) {
	t.Helper()
	c, gone = put(t, s, b), s.Lost(70_000)
	require.NoError(t, s.Load(background, func(tx engine.Tx) error {
		tx.Set(engine.SpaceRestore, []byte("map"), []byte("x"))
		tx.Set(space, []byte("p/a"), []byte("1"))
		tx.Set(space, []byte("q/a"), []byte("2"))
		tx.Add([]byte("n"), engine.Amount{Bytes: 7, Objects: 2})
		tx.Retain(c.Ref)
		tx.Retain(c.Ref)
		tx.Retain(gone)
		return nil
	}))
	s.Forget(c.Ref, gone)
	return c, gone
}

// testRestored: a store that is filled is what was put in, and of no use before it is finished.
func testRestored(t *testing.T, h Harness) {
	require.NotNil(t, h.Restore, "a store is filled from a backup")
	s := h.Restore(t)
	b := content(1, 500_000)
	fill(t, s, b)
	_, err := h.Reopened(t, s)
	require.ErrorContains(t, err, "interrupted")

	s = h.Restore(t)
	c, gone := fill(t, s, b)
	stamp := engine.Stamp(1) << 62
	require.NoError(t, s.Finish(background, stamp))
	next, err := h.Reopened(t, s)
	require.NoError(t, err)
	assert.Equal(t, "1", get(t, next, "p/a"))
	assert.Equal(t, "2", get(t, next, "q/a"))
	snap := snapshotOf(t, next)
	text := shown(t, snap)
	assert.NotContains(t, text, "map")
	assert.Contains(t, text, "n: {7 2}\n")
	assert.Contains(t, text, "500000 bytes, 2 owners\n")
	assert.GreaterOrEqual(t, snap.Stamp(), stamp)
	got, err := read(next, c.Ref, 0, c.Size)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(b, got))
	_, err = read(next, gone, 0, 70_000)
	assert.ErrorIs(t, err, engine.ErrCorrupt)
	require.NoError(t, next.Update(background, []byte("p/"), func(tx engine.Tx) error {
		assert.Greater(t, tx.Stamp(), stamp)
		tx.Delete(space, []byte("p/a"))
		return nil
	}))
	require.Error(t, next.(engine.Restorer).Load(context.Background(), func(engine.Tx) error { return nil }))
}
