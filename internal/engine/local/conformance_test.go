package local_test

import (
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/enginetest"
	"github.com/blobd/blobd/internal/engine/local"
)

func TestConformance(t *testing.T) {
	for _, tt := range []struct {
		name string
		dirs []string
	}{
		{"1 disk", []string{"d0"}},
		{"2 disks, mirrored", []string{"d0", "d1"}},
		{"3 disks, 2+1", []string{"d0", "d1", "d2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			enginetest.Run(t, harness(tt.dirs))
		})
	}
}

// harness makes stores in memory.
func harness(dirs []string) enginetest.Harness {
	options := make(map[engine.Store]local.Options)
	open := func(t *testing.T, o local.Options) engine.Store {
		s, err := local.Open(o)
		require.NoError(t, err)
		t.Cleanup(func() { _ = s.Close() }) // closed already by most
		return s
	}
	var mu sync.Mutex
	return enginetest.Harness{
		Restore: func(t *testing.T) engine.Restorer {
			o := local.Options{Dirs: dirs, FS: vfs.NewMem(), CacheSize: 8 << 20, Restore: true}
			s := open(t, o)
			o.Restore = false
			mu.Lock()
			options[s] = o
			mu.Unlock()
			return s.(engine.Restorer)
		},
		Reopened: func(t *testing.T, s engine.Restorer) (engine.Store, error) {
			require.NoError(t, s.Close())
			mu.Lock()
			o := options[s]
			mu.Unlock()
			next, err := local.Open(o)
			if err == nil {
				t.Cleanup(func() { _ = next.Close() })
			}
			return next, err
		},
		Open: func(t *testing.T) engine.Store {
			o := local.Options{Dirs: dirs, FS: vfs.NewMem(), CacheSize: 8 << 20, SealGarbage: 1 << 20}
			s := open(t, o)
			mu.Lock()
			options[s] = o
			mu.Unlock()
			return s
		},
		Reopen: func(t *testing.T, s engine.Store, d time.Duration) engine.Store {
			require.NoError(t, s.Close())
			mu.Lock()
			o := options[s]
			mu.Unlock()
			o.Now = func() time.Time { return time.Now().Add(d) }
			next := open(t, o)
			mu.Lock()
			options[next] = o
			mu.Unlock()
			return next
		},
	}
}
