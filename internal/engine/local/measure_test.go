package local

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/blobd/blobd/internal/engine"
	"github.com/blobd/blobd/internal/engine/local/diskset"
)

// measured is what a store measures, by name and labels.
func measured(s *Store) map[string]float64 {
	all := make(map[string]float64)
	s.Measure(func(m engine.Measurement) { all[strings.Join(append([]string{m.Name}, m.Labels...), " ")] = m.Value })
	return all
}

// heldFS holds up who opens a format file, while it is told to.
type heldFS struct {
	vfs.FS
	hold    atomic.Bool
	met     chan struct{} // receives when somebody is held up
	release chan struct{} // closed when nobody is any more
}

func (fs *heldFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if fs.hold.Load() && strings.HasSuffix(name, diskset.FormatName) {
		fs.met <- struct{}{}
		<-fs.release
	}
	return fs.FS.Open(name, opts...)
}

// TestMeasureWaitsForNoDisk: while Pebble waits for its manifest and a record of the disks is being written, everything is measured that does
// not come from Pebble, what it said last is said again, and health is told.
func TestMeasureWaitsForNoDisk(t *testing.T) {
	disk := &heldFS{FS: vfs.NewMem(), met: make(chan struct{}, 2), release: make(chan struct{})} // the watch may come by, too
	s, err := Open(Options{FS: disk, Dirs: []string{"/a"}})
	require.NoError(t, err)
	require.NoError(t, s.Update(t.Context(), []byte("p"), func(tx engine.Tx) error { tx.Set(engine.SpaceEntity, []byte("p"), []byte("v")); return nil }))
	before := measured(s)
	s.keys.mu.Lock()
	disk.hold.Store(true)
	var mend sync.WaitGroup
	mend.Go(func() { _, _, _ = s.disks.Mend(0) }) // holds what is held while a record is written
	<-disk.met
	require.True(t, s.Health().Writable)
	during := measured(s)
	for range 3 { // and nobody waits behind it
		measured(s)
	}
	require.Subset(t, slices.Collect(maps.Keys(during)), slices.Collect(maps.Keys(before))) // the collector and the healer may have more to tell by now
	require.Equal(t, before[logIn.Name], during[logIn.Name])
	s.keys.mu.Unlock()
	close(disk.release)
	mend.Wait()
	require.NoError(t, s.Close())
	require.Empty(t, measured(s), "a store that is closed is not asked")
	require.Nil(t, (&keysMeter{closed: true}).ask(s.db))
}

// sizedFS is on a disk of which so much is free.
type sizedFS struct {
	vfs.FS
	free *atomic.Uint64
}

func (fs sizedFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: fs.free.Load(), TotalBytes: 1 << 41}, nil
}

// TestMeasureRefusals: the reason why writes are refused is measured.
func TestMeasureRefusals(t *testing.T) {
	disk := sizedFS{vfs.NewMem(), new(atomic.Uint64)}
	disk.free.Store(1 << 40)
	s, err := Open(Options{FS: disk, Dirs: []string{"/a"}})
	require.NoError(t, err)
	defer s.Close()
	refuses := func(want ...string) {
		t.Helper()
		for _, reason := range []string{"full", "exhausted", "stalled"} {
			require.Equal(t, slices.Contains(want, reason), measured(s)[refusing.Name+" "+reason] == 1, reason)
		}
	}
	left := func(bytes int64) {
		disk.free.Store(uint64(bytes))
		s.space.Check()
	}
	refuses()
	s.state.hold(engine.ErrUnavailable)
	refuses("stalled")
	s.state.hold(nil)
	refuses()
	left(s.space.Keep - 1)
	refuses("full")
	left(s.space.Last - 1)
	refuses("full", "exhausted")
	left(1 << 40)
	refuses()
	s.state.stalls.begin()
	require.EqualValues(t, 1, measured(s)[stalled.Name])
	s.state.stalls.end()
	require.Zero(t, measured(s)[stalled.Name])
	require.EqualValues(t, 1, measured(s)[stalls.Name])
}
