package local

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
)

// TestExtentsAskForOwnersWhileKeysAreReopened: a start on a full disk opens the key space twice, when extents of version 1 are read already.
func TestExtentsAskForOwnersWhileKeysAreReopened(t *testing.T) {
	o := Options{Dirs: []string{"d0"}, FS: Memory(), CacheSize: 1 << 20}
	s, err := Open(o)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	o.Still = true // nobody else uses the key space
	s, err = Open(o)
	require.NoError(t, err)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				s.owned(engine.Ref{1})
			}
		}
	})
	for range 5 {
		require.NoError(t, s.reopenKeys())
	}
	close(done)
	wg.Wait()
	require.NoError(t, s.Close())
}
