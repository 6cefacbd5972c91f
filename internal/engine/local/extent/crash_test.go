package extent

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
)

// TestPowerCutAtEveryFileOperation cuts the power before every operation that changes a file, in a script of Puts, seals and
// drops, with none (and with few columns also half or all) of what was not synced on the disks, and looks at what the next start finds: every chunk that
// was acknowledged and not dropped is whole.
func TestPowerCutAtEveryFileOperation(t *testing.T) {
	forWidths(t, func(t *testing.T, k, m int) {
		const seed = 21
		t.Logf("seed %d", seed)
		mem := vfs.NewCrashableMem()
		var (
			mu     sync.Mutex // serialises the cuts; guards what follows
			acked  = map[engine.Ref][]byte{}
			rng    = rand.New(rand.NewPCG(seed, uint64(k)))
			ops    int
			points int
		)
		opts := func(fs vfs.FS) Options {
			o := options(k, m, disksOn(fs, k+m))
			o.ExtentSize = int64(250 << 10 / k)
			return o
		}
		cut := func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			ops++
			for _, percent := range []int{0, 50 + 50*(ops%2)}[:max(1, 3-k)] {
				points++
				// What is acknowledged from here on may be in the clone as well; what was until here must be.
				after := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
				s, err := Open(opts(after))
				if err != nil {
					t.Errorf("%d %% kept before %v %s: %v", percent, op.Kind, op.Path, err)
					continue
				}
				for ref, want := range acked {
					got, err := read(s, ref, 0, Size(ref))
					if err != nil || !bytes.Equal(got, want) {
						t.Errorf("%d %% kept before %v %s: a chunk of %d bytes that was acknowledged: %v", percent, op.Kind, op.Path, Size(ref), err)
					}
				}
				if n := s.Rebuilt(); n != 0 {
					t.Errorf("%d rows had to be rebuilt: not every column was synced", n)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
			return nil
		}
		s := open(t, opts(errorfs.Wrap(mem, errorfs.InjectorFunc(cut))))
		script := []int64{1, 70_000, 3000, 64 << 10, 200_000, 5, 90_000, 20_000}
		for i, n := range script {
			var wg sync.WaitGroup
			for w := range 2 { // together, so that rows and syncs are shared
				wg.Go(func() {
					data := pattern(uint64(i*10+w), n)
					c, err := s.Put(context.Background(), bytes.NewReader(data), n)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					acked[c.Ref] = data
					mu.Unlock()
				})
			}
			wg.Wait()
			if i == 4 { // garbage goes while writers go on
				s.work.idle()
				info := s.Extents()[0]
				require.False(t, info.Open)
				mu.Lock()
				for ref := range acked {
					if ID(ref) == info.ID {
						delete(acked, ref)
					}
				}
				mu.Unlock()
				require.NoError(t, s.Drop(info.ID))
			}
		}
		for _, info := range s.Extents() {
			require.NoError(t, s.Seal(info.ID))
		}
		s.work.idle()
		require.NoError(t, s.Close())
		t.Logf("%d power cuts", points)
		require.Greater(t, points, 100)
	})
}

// TestAnInterruptedExtentIsNotAppendedTo: what a crash left is sealed as it is, and new chunks go elsewhere.
func TestAnInterruptedExtentIsNotAppendedTo(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s := open(t, options(2, 1, disksOn(mem, 3)))
	first := put(t, s, pattern(1, 300_000))
	after := mem.CrashClone(vfs.CrashCloneCfg{})

	s = open(t, options(2, 1, disksOn(after, 3)))
	second := put(t, s, pattern(2, 300_000))
	require.Greater(t, ID(second), ID(first))
	requireContent(t, s, first, pattern(1, 300_000))
	s.work.idle()
	for _, info := range s.Extents() {
		require.Equal(t, info.ID == ID(first), info.Sealed, fmt.Sprint(info))
		require.Equal(t, info.ID == ID(second), info.Open, fmt.Sprint(info))
	}
}

// TestIdsAreNotGivenTwice, also when the newest extent was dropped before a restart.
func TestIdsAreNotGivenTwice(t *testing.T) {
	opts := options(1, 0, disksOn(vfs.NewMem(), 1))
	seen := map[uint64]bool{}
	for range 4 {
		s := open(t, opts)
		id := ID(put(t, s, pattern(1, 100)))
		require.False(t, seen[id])
		seen[id] = true
		require.NoError(t, s.Seal(id))
		require.NoError(t, s.Drop(id))
		for _, info := range s.Extents() {
			require.Zero(t, info.Data)
		}
		require.NoError(t, s.Close())
		s = open(t, opts)
		for _, info := range s.Extents() {
			require.NoError(t, s.Drop(info.ID))
		}
		require.NoError(t, s.Close())
	}
}

// TestTheNewestExtentGivesItsRoomBack: its id is kept by the next one, unless there is no room for that.
func TestTheNewestExtentGivesItsRoomBack(t *testing.T) {
	mem := vfs.NewMem()
	var full atomic.Bool
	disks := disksOn(errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && op.Kind == errorfs.OpCreate {
			return syscall.ENOSPC
		}
		return nil
	})), 3)
	s := open(t, options(2, 1, disks))
	columns := func(id uint64) (n int) {
		for _, d := range disks {
			names, err := mem.List(d.Dir)
			require.NoError(t, err)
			for _, name := range names {
				if have, _, ok := parseColumnName(name); ok && have == id {
					n++
				}
			}
		}
		return n
	}
	drop := func() uint64 {
		id := ID(put(t, s, pattern(1, 300_000)))
		require.NoError(t, s.Seal(id))
		s.work.idle()
		full.Store(id > 1)
		require.NoError(t, s.Drop(id))
		full.Store(false)
		return id
	}
	require.Zero(t, columns(drop()))
	last := drop()
	require.Equal(t, 3, columns(last), "they keep the id")
	require.Greater(t, ID(put(t, s, pattern(2, 100))), last)
	require.Zero(t, columns(last))
}
