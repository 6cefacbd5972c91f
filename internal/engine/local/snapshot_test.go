package local

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
)

// TestSnapshotsComeAndGoDuringASurvey: a collection goes over a snapshot for long, and nobody waits for it who makes, closes or asks one.
// What it goes over stays readable when its owner closes it meanwhile.
func TestSnapshotsComeAndGoDuringASurvey(t *testing.T) {
	s, err := Open(Options{Dirs: []string{"d"}, FS: vfs.NewMem()})
	require.NoError(t, err)
	refs := []engine.Ref{{7: 1, 15: 1}, {7: 1, 15: 2}}
	change := func(do func(engine.Tx, engine.Ref)) {
		t.Helper()
		require.NoError(t, s.Update(t.Context(), []byte("p/"), func(tx engine.Tx) error {
			for _, ref := range refs {
				do(tx, ref)
			}
			return nil
		}))
	}
	for _, ref := range refs {
		s.pins.pin(ref)
	}
	change(engine.Tx.Retain)
	first, err := s.Snapshot(t.Context())
	require.NoError(t, err)
	change(engine.Tx.Release)

	var only []engine.Ref
	require.NoError(t, s.held.onlyThere(t.Context(), s, s.db, func(ref engine.Ref) {
		only = append(only, ref)
		require.True(t, s.held.mu.TryLock(), "it is held over the survey")
		s.held.mu.Unlock()
		held, err := s.held.owned(ref)
		require.NoError(t, err)
		require.Equal(t, len(only) == 1, held)
		next, err := s.Snapshot(t.Context())
		require.NoError(t, err)
		require.NoError(t, next.Close())
		require.NoError(t, first.Close())
	}))
	require.Equal(t, refs, only)
	require.NoError(t, s.Close())
}
