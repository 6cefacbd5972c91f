package local

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
)

// measured is what a store measures, by name and labels.
func measured(s *Store) map[string]float64 {
	all := make(map[string]float64)
	s.Measure(func(m engine.Measurement) { all[strings.Join(append([]string{m.Name}, m.Labels...), " ")] = m.Value })
	return all
}

// TestMeasureWaitsForNoDisk: while Pebble waits for its manifest and a record of the disks is being written, everything is measured that does
// not come from Pebble, what it said last is said again, and health is told.
func TestMeasureWaitsForNoDisk(t *testing.T) {
	s, err := Open(Options{FS: vfs.NewMem(), Dirs: []string{"/a"}})
	require.NoError(t, err)
	require.NoError(t, s.Update(t.Context(), []byte("p"), func(tx engine.Tx) error { tx.Set(engine.SpaceEntity, []byte("p"), []byte("v")); return nil }))
	before := measured(s)
	s.keys.mu.Lock()
	s.disks.mu.Lock()
	require.True(t, s.Health().Writable)
	during := measured(s)
	for range 3 { // and nobody waits behind it
		measured(s)
	}
	require.Subset(t, slices.Collect(maps.Keys(during)), slices.Collect(maps.Keys(before))) // the collector and the healer may have more to tell by now
	require.Equal(t, before[logIn.Name], during[logIn.Name])
	s.keys.mu.Unlock()
	s.disks.mu.Unlock()
	require.NoError(t, s.Close())
	require.Empty(t, measured(s), "a store that is closed is not asked")
	require.Nil(t, (&keysMeter{closed: true}).ask(s.db))
}

// TestMeasureRefusals: the reason why writes are refused is measured.
func TestMeasureRefusals(t *testing.T) {
	s, err := Open(Options{FS: vfs.NewMem(), Dirs: []string{"/a"}})
	require.NoError(t, err)
	defer s.Close()
	for reason, set := range map[string]func(err error){"full": s.state.setFull, "exhausted": s.state.setExhausted, "stalled": s.state.hold} {
		require.Zero(t, measured(s)[refusing.Name+" "+reason])
		set(engine.ErrNoSpace)
		require.EqualValues(t, 1, measured(s)[refusing.Name+" "+reason])
		set(nil)
		require.Zero(t, measured(s)[refusing.Name+" "+reason])
	}
	s.state.stalls.begin()
	require.EqualValues(t, 1, measured(s)[stalled.Name])
	s.state.stalls.end()
	require.Zero(t, measured(s)[stalled.Name])
	require.EqualValues(t, 1, measured(s)[stalls.Name])
}

// TestTallied: what is counted is in the first bucket whose bound it is not over.
func TestTallied(t *testing.T) {
	sizes := newTallied(groupBounds)
	for v, bucket := range map[int64]int{1: 0, 2: 1, 3: 2, 4: 2, 5: 3, 2048: 11, 2049: 12, 1 << 40: 12} {
		was := sizes.counts[bucket]
		sizes.add(v)
		require.Equal(t, was+1, sizes.counts[bucket], v)
	}
}
